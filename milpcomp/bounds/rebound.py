r"""Linear bounds over many boxes at once: the standard rule of a proof by cases, every step error-bounded.

For each box, which lies in the domain of proved bounds `values`:

    interval step of every node, met with `values`
    at each node that feeds a rectifier:  met with linear bounds, with the standard slopes, of all elements whose
                                          interval contains 0 in its interior

in topological order up to the target. All boxes share one walk through the network; a row of coefficients belongs to
one element in one box, so rows of all boxes are carried back together (as in `milpcomp.bounds.linear`, with the
magnitudes of the whole domain in the error bounds, which hold in every box).

Where to split next. Row -> bound loses at each rectifier that takes its chord the height of that chord at 0 times the
row's coefficient. How much of that would vanish by halving an input coordinate i is estimated by the share that i has
in the width of the rectifier's own linear bound:

    score_i  =  sum over units j of  loss_j * |a_ji| w_i / sum_k |a_jk| w_k  +  LINEAR * |a_i| w_i

with w the widths of the box, a_j the coefficients of unit j's linear bound at the input, a those of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.bounds.interval import Interval, step
from milpcomp.bounds.linear import Run, Substitution
from milpcomp.bounds.relaxation import default_alphas, relaxation
from milpcomp.bounds.rounding import SLACK, below
from milpcomp.network import INPUT, Network, Node, Rectifier
from milpcomp.network.layers import FloatArray, IntArray

LINEAR = 0.1
"""How much the width of the target's linear bound counts for a split; measured on ACAS Xu, where 0 .. 0.5 are alike."""


BLOCK_ELEMENTS = 50_000
"""How many coefficients a block of rows may have at the node it starts from: what a core's own cache holds."""


@dataclass(frozen=True, eq=False)
class BoxBounds:
    """What is known of the target in B boxes.

    Parameters
    ----------
    upper : ndarray, shape (B,)
        Proved upper bound of sign * (pre-activation of the target).
    corner : ndarray, shape (B, *input_shape)
        Where the linear bound is largest.
    score : ndarray, shape (B, inputs)
        How much a split of each input coordinate promises.
    """

    upper: FloatArray
    corner: FloatArray
    score: FloatArray


@dataclass(frozen=True, eq=False)
class _Lines:
    """The lower lines of ``c * y`` around one rectifier in every box, (B, neurons), by the sign of c.

    ``c y >= c * (rise * g)`` with the tangent or the chord in place of rise, plus c times the chord's intercept.
    """

    rise: FloatArray  # slope where c >= 0
    fall: FloatArray  # slope where c < 0
    rise_height: FloatArray | None  # intercepts; None where all are 0
    fall_height: FloatArray | None


def _lines(layer: Rectifier, bounds: Interval) -> _Lines:
    """Return the lines with standard slopes over bounds with a batch axis."""
    found, count = relaxation(layer, bounds), len(bounds.lower)
    tangent = found.tangent(default_alphas(bounds)).reshape(count, -1)
    chord, intercept, convex = (a.reshape(count, -1) for a in (found.chord, found.intercept, found.convex))
    heights = np.where(convex, 0.0, intercept), np.where(convex, intercept, 0.0)
    rise_height, fall_height = (height if height.any() else None for height in heights)
    return _Lines(np.where(convex, tangent, chord), np.where(convex, chord, tangent), rise_height, fall_height)


class Rebound:
    """Bounds of one signed pre-activation over boxes.

    Parameters
    ----------
    network : Network
    values : mapping from node name to Interval
        Proved bounds of all nodes over the domain, without batch axis.
    layer : str
        The target's rectifier.
    unit, sign : int
    """

    def __init__(self, network: Network, values: Mapping[str, Interval], layer: str, unit: int, sign: int) -> None:
        self.network, self.values = network, values
        self.source, self.unit, self.sign = network[layer].inputs[0], unit, sign
        self.target = Substitution(network, values, self.source)
        fed = [network[name].inputs[0] for name in self.target.relaxations]
        self.substitutions = {name: Substitution(network, values, name) for name in dict.fromkeys(fed)}

    def bounds(self, lower: FloatArray, upper: FloatArray) -> BoxBounds:
        """Return bounds over the boxes ``lower[k] <= x <= upper[k]``, each of shape (B, *input_shape)."""
        with np.errstate(all="ignore"):
            return _Walk(self, lower, upper).target()


class _Walk:
    """One batch of boxes on its way through the network."""

    def __init__(self, shared: Rebound, lower: FloatArray, upper: FloatArray) -> None:
        self.shared, self.count = shared, len(lower)
        self.box = Interval(lower, upper)
        self.width = (upper - lower).reshape(self.count, -1)
        self.values = {INPUT: self.box}
        self.lines: dict[str, _Lines] = {}
        self.shares: dict[str, tuple[IntArray, IntArray, FloatArray]] = {}  # by source: box, unit, share per input
        for node in shared.target.nodes:
            self._visit(node)

    def target(self) -> BoxBounds:
        """Return what the walk found of the target."""
        shared, value = self.shared, self.values[self.shared.source]
        known = value.upper if shared.sign > 0 else -value.lower
        row = np.zeros((1, shared.network.width(shared.source)))
        row[0, shared.unit] = -shared.sign
        run = self._run(shared.target, np.arange(self.count))
        upper = -run.bound(np.repeat(row, self.count, axis=0))
        score = LINEAR * np.abs(run.final) * self.width
        for name, loss in run.loss.items():
            box, unit, share = self.shares[shared.network[name].inputs[0]]
            np.add.at(score, box, -loss[box, unit, None] * share)
        lower_corner, upper_corner = (a.reshape(self.count, -1) for a in (self.box.lower, self.box.upper))
        corner = np.where(run.final > 0, lower_corner, upper_corner).reshape(self.box.lower.shape)
        bound = np.minimum(upper, known.reshape(self.count, -1)[:, shared.unit])
        return BoxBounds(bound, corner, np.where(self.width > 0, score, -1.0))

    def _visit(self, node: Node) -> None:
        value = step(node.layer, [self.values[name] for name in node.inputs]).meet(self.shared.values[node.name])
        if isinstance(node.layer, Rectifier):
            self.lines[node.name] = _lines(node.layer, self.values[node.inputs[0]])
        elif node.name in self.shared.substitutions:
            value = self._tightened(node.name, value)
        self.values[node.name] = value

    def _tightened(self, name: str, value: Interval) -> Interval:
        lower, upper = (a.reshape(self.count, -1).copy() for a in (value.lower, value.upper))
        box, unit = np.nonzero((lower < 0) & (upper > 0))
        if not len(unit):
            self.shares[name] = box, unit, np.zeros((0, self.width.shape[1]))
            return value
        substitution, share = self.shared.substitutions[name], np.zeros((len(unit), self.width.shape[1]))
        block = max(1, BLOCK_ELEMENTS // self.shared.network.width(name))
        for start in range(0, len(unit), block):
            some = slice(start, start + block)
            at, rows = (box[some], unit[some]), substitution.rows(unit[some], np.ones(len(unit[some])))
            upper[at] = np.minimum(upper[at], -self._run(substitution, box[some]).bound(-rows))
            run = self._run(substitution, box[some])
            lower[at] = np.maximum(lower[at], run.bound(rows))
            reach = np.abs(run.final) * self.width[box[some]]
            share[some] = reach / np.maximum(reach.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        self.shares[name] = box, unit, share
        return Interval(lower.reshape(value.lower.shape), upper.reshape(value.lower.shape))

    def _run(self, substitution: Substitution, case: IntArray) -> _BoxRun:
        return _BoxRun(substitution, self.box, self.lines, case)


class _BoxRun(Run):
    """One substitution in which every row has its own box; keeps its last row, and what each chord costs it."""

    def __init__(self, substitution: Substitution, box: Interval, lines: Mapping[str, _Lines], case: IntArray) -> None:
        super().__init__(substitution, len(case), {}, None)
        self.box, self.lines, self.case = box, lines, case
        self.loss: dict[str, FloatArray] = {}
        self.final = np.zeros((len(case), 0))

    def bound(self, rows: FloatArray) -> FloatArray:
        """Return lower bounds of ``rows @ value of the source``, each over the box of its case."""
        self.send(self.shared.source, rows)
        for node in reversed(self.shared.nodes):
            self.through(node)
        return self.finish()

    def _rectifier(self, node: Node, row: FloatArray) -> FloatArray:
        lines, base = self.lines[node.name], self.shared.relaxations[node.name]
        self._account(row, base.weight, row.shape[1], node.inputs[0])
        positive, negative = np.maximum(row, 0.0), np.minimum(row, 0.0)
        for part, height in ((positive, lines.rise_height), (negative, lines.fall_height)):
            if height is not None:
                loss = part * height.take(self.case, axis=0)
                self._add(loss.sum(axis=1))
                self.loss[node.name] = loss + self.loss.get(node.name, 0.0)
        positive *= lines.rise.take(self.case, axis=0)
        negative *= lines.fall.take(self.case, axis=0)
        positive += negative
        return positive

    def finish(self) -> FloatArray:
        """Take the least value over the boxes, and subtract all errors."""
        row = self.final = self.waiting.pop(INPUT)
        count = len(self.box.lower)
        lower, upper = (a.reshape(count, -1)[self.case] for a in (self.box.lower, self.box.upper))
        self._account(row, self.shared.magnitudes[INPUT], 2 * row.shape[1] + 2, INPUT)
        self._add((row * np.where(row > 0, lower, upper)).sum(axis=1))
        return below(self.constant, self.error * SLACK)
