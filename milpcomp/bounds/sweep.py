"""One sweep over the layers, in topological order, so that each bound serves all later ones.

    bounds of a node  =  interval step from the bounds of its inputs, met with what was known

and, where the node feeds a rectifier and elements are unstable (lower < 0 < upper) by these bounds,

                         met with linear bounds with default slopes
                         met with linear bounds with optimised slopes, where they are still unstable

*Targets* are the sides of neurons on which a verdict is open; they come first. Other unstable neurons are tightened as
well, as far as the work allows, if a layer with targets depends on them. Every linear bound that improved something
leaves a `LinearProof`; `milpcomp.bounds.slopes` says how they are replayed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval, step
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.optimise import optimise
from milpcomp.bounds.relaxation import Alphas
from milpcomp.bounds.rounding import require_gradual_underflow
from milpcomp.bounds.slopes import LinearProof
from milpcomp.network import INPUT, Affine, Network, Node, Rectifier, Scale
from milpcomp.network.index_maps import IndexMap
from milpcomp.network.layers import FloatArray, IntArray

Mask = NDArray[np.bool_]
Targets = Mapping[str, tuple[Mask, Mask]]
"""Per rectifier: of which neurons a lower bound >= 0, and of which an upper bound <= 0, would decide something."""

WORK = 2e10
"""About how many multiplications one layer may take for neurons that are not targets (some seconds on one core)."""

TARGET_WORK = 2e11
"""The same for targets; what is beyond keeps the bounds it has."""


@dataclass(frozen=True, eq=False)
class _Claim:
    """Linear bounds of some sides of one node, and the alphas that prove them (a row for each, or one for all)."""

    sides: IntArray
    bounds: FloatArray
    alphas: Alphas


class Sweep:
    """The bounds so far, and the proofs of those that are linear.

    A node with m elements has 2 m *sides*: side k is ``lower[k]``, side m + k is ``-upper[k]``, and larger is tighter.

    Parameters
    ----------
    network : Network
    known : mapping from node name to Interval
        Proved bounds of every node.
    targets : mapping
    steps : int
        Steps of slope optimisation.
    deadline : float
        ``time.monotonic()`` value after which only interval steps are taken.
    number : int
        The round that the proofs belong to.
    """

    def __init__(
        self,
        network: Network,
        known: Mapping[str, Interval],
        targets: Targets,
        steps: int,
        deadline: float,
        number: int,
    ) -> None:
        require_gradual_underflow()
        self.network, self.known, self.targets = network, known, targets
        self.steps, self.deadline, self.number = steps, deadline, number
        self.values: dict[str, Interval] = {INPUT: known[INPUT]}
        self.proofs: list[LinearProof] = []
        self.useful = _below_targets(network, targets)

    def visit(self, node: Node, layers: Sequence[str]) -> None:
        """Bound a node, which feeds the rectifiers `layers`; its inputs have been visited."""
        inputs = [Interval(self.values[name].lower[None], self.values[name].upper[None]) for name in node.inputs]
        bounds = step(node.layer, inputs)
        value = Interval(bounds.lower[0], bounds.upper[0]).meet(self.known[node.name])
        target = self._targets(layers)
        wanted = target | (not self.useful.isdisjoint(layers))
        sides = np.concatenate([value.lower.reshape(-1), -value.upper.reshape(-1)])
        if (wanted & _unstable(sides)).any() and not _interval_is_exact(self.network, node):
            lower, negated_upper = np.split(self._linear(node, layers[0], sides, wanted, target), 2)
            value = Interval(lower.reshape(value.lower.shape), -negated_upper.reshape(value.lower.shape))
        self.values[node.name] = value

    def _targets(self, layers: Sequence[str]) -> Mask:
        """Return which sides of the node that feeds `layers` are targets."""
        asked = [np.concatenate(self.targets[layer]) for layer in layers if layer in self.targets]
        return np.any(asked, axis=0) if asked else np.zeros(1, dtype=bool)

    def _linear(self, node: Node, layer: str, sides: FloatArray, wanted: Mask, target: Mask) -> FloatArray:
        """Return the sides of a node, met with linear bounds."""
        substitution = Substitution(self.network, self.values, node.name)
        best, claims = sides.copy(), []
        for passes, prove in ((1, self._default), (2 * self.steps + 1, self._optimised))[: 2 if self.steps else 1]:
            chosen = _affordable(best, wanted, target, substitution.work * passes)
            claims.append(prove(substitution, chosen))
            best[chosen] = np.maximum(best[chosen], claims[-1].bounds)
        self._record(layer, sides, claims)
        return best

    def _default(self, substitution: Substitution, sides: IntArray) -> _Claim:
        alphas, bounds = substitution.default_alphas(), np.full(len(sides), -np.inf)
        for block in substitution.blocks(len(sides)):
            if time.monotonic() > self.deadline:
                break
            bounds[block] = substitution.lower(substitution.rows(*_elements(substitution, sides[block])), alphas)
        return _Claim(sides, bounds, alphas)

    def _optimised(self, substitution: Substitution, sides: IntArray) -> _Claim:
        bounds, alphas = (
            np.full(len(sides), -np.inf),
            {
                name: np.zeros((len(sides), alpha.shape[1]), dtype=np.uint8)
                for name, alpha in substitution.default_alphas().items()
            },
        )
        for block in substitution.blocks(len(sides)):
            if time.monotonic() > self.deadline:
                break
            best = optimise(substitution, *_elements(substitution, sides[block]), self.steps, self.deadline)
            bounds[block] = best.lower
            for name, alpha in best.alphas.items():
                alphas[name][block] = alpha
        return _Claim(sides, bounds, alphas)

    def _record(self, layer: str, known: FloatArray, claims: Sequence[_Claim]) -> None:
        """Keep a proof of each side whose known bound some claim improved, from the claim that did so most."""
        best, owner = known.copy(), np.full(len(known), -1)
        for i, claim in enumerate(claims):
            better = claim.bounds > best[claim.sides]
            owner[claim.sides[better]] = i
            best[claim.sides[better]] = claim.bounds[better]
        width = len(known) // 2
        for i, claim in enumerate(claims):
            for side, half in (("lower", claim.sides < width), ("upper", claim.sides >= width)):
                used = half & (owner[claim.sides] == i)
                if used.any():
                    alphas = {name: a if len(a) == 1 else a[used] for name, a in claim.alphas.items()}
                    self.proofs.append(LinearProof(layer, side, claim.sides[used] % width, alphas, self.number))


def _unstable(sides: FloatArray) -> Mask:
    """Return for each side whether its element is unstable."""
    lower, negated_upper = np.split(sides, 2)
    return np.tile((lower < 0) & (negated_upper < 0), 2)


def _elements(substitution: Substitution, sides: IntArray) -> tuple[IntArray, FloatArray]:
    """Return unit and sign of each side."""
    width = substitution.network.width(substitution.source)
    return sides % width, np.where(sides < width, 1.0, -1.0)


def _affordable(sides: FloatArray, wanted: Mask, target: Mask, work: int) -> IntArray:
    """Return the unstable wanted sides that the work allows: targets first, then those nearest to a decision."""
    lower, negated_upper = np.split(sides, 2)
    with np.errstate(all="ignore"):
        distance = np.nan_to_num(sides / np.tile(lower + negated_upper, 2), nan=1.0)  # -bound / (upper - lower)
    chosen = np.flatnonzero(wanted & _unstable(sides))
    asked = np.broadcast_to(target, sides.shape)[chosen]
    count = max(min(int(asked.sum()), int(TARGET_WORK / work)), int(WORK / work))
    return chosen[np.lexsort((distance[chosen], ~asked))][:count]


def _below_targets(network: Network, targets: Targets) -> set[str]:
    """Return the rectifiers that some layer with targets depends on."""
    needed = {network[layer].inputs[0] for layer, masks in targets.items() if np.any(masks)}
    useful = set()
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
            if isinstance(node.layer, Rectifier):
                useful.add(node.name)
    return useful


def _interval_is_exact(network: Network, node: Node) -> bool:
    """Tell whether the node is one affine layer on the input, up to layers that keep elements apart."""
    mixing = 0
    while isinstance(node.layer, Affine):
        source = node.inputs[0]
        apart = isinstance(node.layer, IndexMap) and node.layer.terms(network.shape(source)) == 1
        mixing += not (apart or isinstance(node.layer, Scale))
        if source == INPUT:
            return mixing <= 1
        node = network[source]
    return False
