"""Is sign * g <= 0 on the whole domain? Branch and bound over the input box, many boxes at a time.

    boxes = [the domain]
    take many, bound the target in each by the standard rule (`milpcomp.bounds.rebound`)
        closed        its box is a leaf: the checker bounds it again by the same rule, so nothing is stored but the box
        else          halve the coordinate that promises most

For networks with few inputs: there, bounds derived anew in small boxes beat branching over phases by orders of
magnitude, from the third hidden layer on. The corners where the linear bounds are largest are offered as witnesses.

Every box is bounded from the bounds of the domain alone. Handing bounds down from box to sub-box was measured to save
less than 1% of the boxes; without it only leaves have to be bounded to check a proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.bounds.branch_proof import INPUT_SPLIT
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.rebound import Rebound
from milpcomp.branch.question import NODE_BYTES, Limits, Outcome, Question
from milpcomp.branch.tree import Tree
from milpcomp.domain import FloatArray
from milpcomp.network import INPUT, Network
from milpcomp.network.layers import IntArray

FEW_INPUTS = 10
"""Up to how many inputs boxes are worth splitting."""

BATCH, BATCH_WORK = 256, 4_000_000
"""How many boxes are bounded at a time, at most, and for wide networks: boxes times squares of the layers' widths."""

MARGIN = 1e-10
"""A box counts as closed from this share of the target's range below 0: room for a checker's other rounding."""

PROOF_BYTES = 30
"""What a node of a tree takes in a proof."""


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Open boxes (N, *input_shape), and their nodes in the tree."""

    lower: FloatArray
    upper: FloatArray
    node: IntArray

    def rows(self, chosen: IntArray | slice) -> _Boxes:
        return _Boxes(self.lower[chosen], self.upper[chosen], self.node[chosen])


class Search:
    """A search for a proof, which can be stopped and goes on where it was.

    Parameters are those of `milpcomp.branch.phases.Search`.

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
        offer: Callable[[FloatArray], object],
    ) -> None:
        self.question, self.offer = question, offer
        self.rebound = Rebound(network, values, question.layer, question.unit, question.sign)
        with np.errstate(all="ignore"):
            self.margin = MARGIN * float(values[self.rebound.source].magnitude().reshape(-1)[question.unit])
        box = values[INPUT]
        self.tree: Tree | None = Tree()
        work = sum(network.width(node.name) ** 2 for node in network.rectifiers)
        self.batch = max(1, min(BATCH, BATCH_WORK // work))
        self.stack = [_Boxes(box.lower[None], box.upper[None], np.zeros(1, dtype=np.int64))]
        self.nodes = 0

    def run(self, limits: Limits) -> Outcome:
        """Search until the limits."""
        with np.errstate(all="ignore"):  # numbers that are not finite close nothing
            while self.stack:
                if self.stuck or time.monotonic() > limits.deadline or limits.settled():
                    return Outcome(False, None, self.nodes, 0)
                self._visit(_taken(self.stack, self.batch), limits.bytes)
        question, tree, no_columns = self.question, self.tree, np.zeros((0, 2), dtype=np.int64)
        proof = tree.proof(question.layer, question.unit, question.sign, no_columns) if tree is not None else None
        return Outcome(True, proof, self.nodes, 0)

    @property
    def nbytes(self) -> int:
        """About how many bytes it holds."""
        waiting = sum(boxes.lower.nbytes + boxes.upper.nbytes for boxes in self.stack)
        return waiting + (0 if self.tree is None else NODE_BYTES * len(self.tree.parent))

    def _visit(self, here: _Boxes, room: int) -> None:
        """Close boxes, and halve those that stay open."""
        self.nodes += len(here.node)
        found = self.rebound.bounds(here.lower, here.upper)
        self.offer(found.corner)
        closed = found.upper <= -self.margin
        if self.tree is not None:
            for node in here.node[closed].tolist():
                self.tree.close(node, True)
            if PROOF_BYTES * len(self.tree.parent) > room:
                self.tree = None  # the search goes on, but its proof is too large to keep
        left = np.flatnonzero(~closed)
        if len(left):
            rows = here.rows(left)
            halves = _halves(self.tree, rows, found.score[left])
            self.stuck = halves is None
            self.stack.append(rows if halves is None else halves)


def _taken(stack: list[_Boxes], room: int) -> _Boxes:
    """Take up to `room` boxes from the top of the stack."""
    parts: list[_Boxes] = []
    while stack and room:
        top = stack.pop()
        if len(top.node) > room:
            stack.append(top.rows(slice(None, -room)))
            top = top.rows(slice(-room, None))
        parts.append(top)
        room -= len(top.node)
    return _Boxes(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("lower", "upper", "node")))


def _halves(tree: Tree | None, boxes: _Boxes, score: FloatArray) -> _Boxes | None:
    """Return both halves of every box, entered in the tree if there is one; None where a box cannot be halved."""
    count, rows, best = len(boxes.node), np.arange(len(boxes.node)), score.argmax(axis=1)
    lower, upper = (a.reshape(count, -1) for a in (boxes.lower, boxes.upper))
    point = lower[rows, best] + (upper[rows, best] - lower[rows, best]) / 2
    if not ((lower[rows, best] < point) & (point < upper[rows, best])).all():
        return None
    below, above = upper.copy(), lower.copy()
    below[rows, best] = above[rows, best] = point
    nodes = [
        (0, 0) if tree is None else tree.split(node, INPUT_SPLIT, coordinate, cut)
        for node, coordinate, cut in zip(boxes.node.tolist(), best.tolist(), point.tolist(), strict=True)
    ]
    shape = (2 * count, *boxes.lower.shape[1:])
    return _Boxes(
        np.stack([lower, above], axis=1).reshape(shape),
        np.stack([below, upper], axis=1).reshape(shape),
        np.array(nodes, dtype=np.int64).reshape(-1),
    )
