r"""Is sign * g <= 0 on the whole domain? Semidefinite bounds of the layer below, and cases of its convex units.

    stack = [the domain]
    take a node and climb to a maximum of its relaxation (`milpcomp.branch.spheres`), from where its parent's was
        its multipliers prove the node closed (`milpcomp.bounds.curved`)      a leaf
        else           split the convex unit that the relaxation pays most for, w (|G| - |g|) / 2

The last layer below the target is relaxed over the box of what it reads; deeper layers enter by their bounds and by
lines. So this is strong where many small terms add up (under a second for what phases left open after minutes), and no
help where a few large units deep in the network matter: if the root is far from closed, the search leaves the question
to others.

Random hyperplanes turn the vectors into corners of the box, which are offered as witnesses (Goemans, Williamson, J. ACM
42, 1995).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from milpcomp.bounds.curved import Curve, upper_bound
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.multipliers import Cases, upper_bounds
from milpcomp.branch import spheres
from milpcomp.branch.layer_sum import Case, Layer, layer_below
from milpcomp.branch.question import NODE_BYTES, Limits, Outcome, Question
from milpcomp.branch.spheres import Maximum
from milpcomp.branch.tree import Tree
from milpcomp.domain import FloatArray
from milpcomp.network import INPUT, Network

HOPELESS = 1.5
"""A root whose maximum is above this share of the bound it starts from is left to others."""

OPEN, FAR, SETTLED = 0.02, 2.0, 10.0
"""A node whose maximum stays between those shares of the bound, from that stiffness on, will not close."""

MARGIN = 1e-9
"""A leaf counts as closed from this share of that bound below 0: room for a checker's other rounding."""

CORNERS = 32
"""How many corners are offered, at the root."""


def start(
    network: Network,
    values: Mapping[str, Interval],
    question: Question,
    offer: Callable[[FloatArray], object],
) -> Search | None:
    """Return a search, parameters as for `milpcomp.branch.phases.Search`; None where there is no layer to relax."""
    with np.errstate(all="ignore"):
        layer = layer_below(network, values, question)
        return None if layer is None else Search(network, values, question, layer, offer)


class Search:
    """A search for a proof, which can be stopped and goes on where it was; made by `start`.

    Notes
    -----
    **Trusts** the given bounds and what `milpcomp.bounds.rounding` trusts.
    """

    stuck = False

    def __init__(
        self,
        network: Network,
        values: Mapping[str, Interval],
        question: Question,
        layer: Layer,
        offer: Callable[[FloatArray], object],
    ) -> None:
        self.network, self.values, self.question, self.layer, self.offer = network, values, question, layer, offer
        self.substitution = Substitution(network, values, network[question.layer].inputs[0])
        self.row = np.zeros(network.width(question.layer))
        self.row[question.unit] = question.sign
        names = [node.name for node in network.rectifiers]
        self.index = names.index(layer.rectifier)
        self.sizes = {layer.rectifier: len(layer.coefficient)}
        if layer.below is not None:
            self.sizes[layer.read.source] = len(layer.below.lower)
        self.columns = np.concatenate(
            [np.stack([np.full(size, names.index(name)), np.arange(size)], axis=1) for name, size in self.sizes.items()]
        )
        self.tree = Tree()
        inputs = layer.read.matrix.shape[1]
        self.stack = [(0, spheres.start(inputs), np.full(len(layer.coefficient), np.nan))]
        self.nodes = self.stored = 0
        self.fits = True
        self.limits = Limits(np.inf, lambda: False, 2**24)

    def run(self, limits: Limits) -> Outcome:
        """Search until the limits."""
        self.limits = limits
        with np.errstate(all="ignore"):  # numbers that are not finite close nothing
            while self.stack:
                if self.stuck or not self._visit(*self.stack.pop()):
                    return Outcome(False, None, self.nodes, 0)
        question = self.question
        proof = self.tree.proof(question.layer, question.unit, question.sign, self.columns) if self.fits else None
        return Outcome(True, proof, self.nodes, 0)

    @property
    def nbytes(self) -> int:
        """About how many bytes it holds."""
        waiting = sum(vectors.nbytes + slopes.nbytes for _, vectors, slopes in self.stack)
        return waiting + self.stored + NODE_BYTES * len(self.tree.parent)

    def _visit(self, node: int, vectors: FloatArray, slopes: FloatArray) -> bool:
        """Close a node or split it; tell whether the search can go on."""
        case = Case(self.layer, self._splits(node))
        found = self._climb(node, case, vectors, case.first_slopes(slopes))
        self.nodes += 1
        if found is None:
            return True
        state = found.vectors, case.slopes(found)
        unit = case.costliest(found)
        ended = self._ended()
        if ended or unit is None or self._hopeless(node, found):
            self.stuck = not ended
            self.stack.append((node, *state))
            return False
        self.stack += [(child, *state) for child in self.tree.split(node, self.index, unit, 0.0)]
        return True

    def _ended(self) -> bool:
        return time.monotonic() > self.limits.deadline or self.limits.settled()

    def _hopeless(self, node: int, found: Maximum) -> bool:
        return node == 0 and found.value > HOPELESS

    def _splits(self, node: int) -> dict[int, bool]:
        return {self.tree.unit_of[k]: bool(self.tree.above[k]) for k in self.tree.path(node)}

    def _climb(self, node: int, case: Case, vectors: FloatArray, slopes: FloatArray) -> Maximum | None:
        """Return the maximum of a node, or None once it is closed."""
        before = np.inf
        for stiffness in spheres.STIFFNESS[0 if node == 0 else 2 :]:
            found = spheres.maximise(case.total, vectors, slopes, stiffness)
            vectors, slopes = found.vectors, found.slopes
            if node == 0 and stiffness == spheres.STIFFNESS[0]:
                self._offer(found)
            if found.value < OPEN and self._closed(node, case, found):
                return None
            settled = stiffness >= SETTLED and 0.95 * before < found.value < FAR
            if self._ended() or (settled and found.value > OPEN):
                break
            before = found.value
        # the box knows less of deep layers than lines do, which the proof goes on with
        return None if self.layer.read.source != INPUT and self._closed(node, case, found) else found

    def _closed(self, node: int, case: Case, found: Maximum) -> bool:
        curve = case.curve(found)
        multipliers = case.multipliers(found, curve)
        if not np.isfinite(multipliers).all():
            return False
        if not self._bound(case, curve, multipliers) <= -MARGIN * self.layer.reach:
            return False
        self.stored += multipliers.nbytes + (0 if curve is None else curve.nbytes)
        self.fits = self.fits and self.stored <= self.limits.bytes
        if self.fits:
            self.tree.close(node, True, multipliers, self._by_columns(curve))
        return True

    def _by_columns(self, curve: Curve | None) -> Curve | None:
        """Return a curve with curvatures for all columns of the proof."""
        if curve is None:
            return None
        others = len(self.columns) - len(curve.curvature)
        return replace(curve, curvature=np.append(curve.curvature, np.zeros(others)))

    def _bound(self, case: Case, curve: Curve | None, multipliers: FloatArray) -> float:
        rectifier, substitution = self.layer.rectifier, self.substitution
        lower, upper = case.bounds()
        shared = {
            name: Interval(self.values[name].lower.reshape(1, -1), self.values[name].upper.reshape(1, -1))
            for name in (INPUT, *(self.network[r].inputs[0] for r in substitution.relaxations))
        }
        values = Cases({**shared, self.network[rectifier].inputs[0]: Interval(lower[None], upper[None])})
        parts = np.split(multipliers[None], np.cumsum(list(self.sizes.values()))[:-1], axis=1)
        given = dict(zip(self.sizes, parts, strict=True))
        if curve is None:
            return float(upper_bounds(substitution, self.row[None], values, np.zeros(1, dtype=np.int64), given)[0])
        return upper_bound(substitution, self.row, values, rectifier, curve, given)

    def _offer(self, found: Maximum) -> None:
        """Offer corners of the box, where it is the domain's."""
        if self.layer.read.source != INPUT:
            return
        planes = np.random.default_rng(0).standard_normal((CORNERS, found.vectors.shape[1]))
        signs = np.vstack([found.vectors[:, 0], planes @ found.vectors.T * np.sign(planes[:, :1])]) >= 0
        box = self.values[INPUT]
        self.offer(np.where(signs.reshape(-1, *box.lower.shape), box.upper, box.lower))
