"""Proofs by cases: a tree proves what it claims if every one of its leaves is closed.

    for each region (the nodes from an anchored node down to the next ones):
        bounds of the anchored node = those of its parent's region, met with the splits between them, derived anew
        for each leaf of the region:  closed if
            an interval is empty, or
            its own bounds of the target suffice, or
            its multipliers bound the target by what is claimed, or the constant 0 by less than 0
            (in a curved leaf, together with its parabolas: `milpcomp.checker.parabolas`)

Where rounding alone leaves a leaf open, exact arithmetic decides, as far as that is cheap, and never for a curved one.
A proof that holds tightens the bound of its unit, and by the interval step those of later layers, for the proofs after
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from milpcomp.checker.backward import Frame, frame_of, substitute, unit_rows
from milpcomp.checker.branch_tree import Boxes, Tree
from milpcomp.checker.curvature import Curvature
from milpcomp.checker.document import INPUT, Model, Rectifier
from milpcomp.checker.exact_leaf import exact_bound, products
from milpcomp.checker.intervals import Interval, interval_step
from milpcomp.checker.linear import Sum
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray
from milpcomp.checker.multipliers import Multipliers
from milpcomp.checker.parabolas import Parabolas, Unproved
from milpcomp.checker.rebound import rebound
from milpcomp.errors import MilpcompError

EXACT_PRODUCTS = 300_000
"""How many products of fractions one proof may spend on leaves that rounding leaves open (about a second)."""

Bounds = dict[str, Interval]


@dataclass(frozen=True, eq=False)
class Proved:
    """What proofs by cases add: the bounds with them, how many leaves each proved side has, what failed and why.

    The sides are named by (rectifier, unit, whether it is the upper bound).
    """

    bounds: Bounds
    leaves: Mapping[tuple[str, int, bool], int]
    problems: tuple[str, ...]


def prove_trees(model: Model, bounds: Bounds, trees: Sequence[Tree]) -> Proved:
    """Check proofs by cases, in their order, on top of proved bounds of every value.

    Notes
    -----
    **Trusts** `bounds`, IEEE float64 arithmetic, and Python's integers; nothing of the proofs.
    """
    frame, leaves, problems = frame_of(model, bounds), dict[tuple[str, int, bool], int](), list[str]()
    with np.errstate(all="ignore"):
        for tree in trees:
            open_leaf = _open_leaf(frame, bounds, tree)
            if open_leaf:
                problems.append(f"{tree.title} is not proved: {open_leaf}")
                continue
            key = (tree.target.name, tree.unit, tree.upper)
            leaves[key] = leaves.get(key, 0) + len(tree.leaf)
            bounds = _tightened(model, bounds, tree)
    return Proved(bounds, leaves, tuple(problems))


def _tightened(model: Model, bounds: Bounds, tree: Tree) -> Bounds:
    """Return the bounds with what a tree proves, and the interval steps of later layers."""
    source = tree.target.source
    lower, upper = bounds[source].lower.copy(), bounds[source].upper.copy()
    side, improve = (upper, min) if tree.upper else (lower, max)
    if side[tree.unit] == improve(side[tree.unit], tree.bound):
        return bounds
    side[tree.unit] = tree.bound
    tight, changed = {**bounds, source: Interval(lower, upper)}, {source}
    for step in model.steps:
        if step.name != source and changed & ({step.source} if isinstance(step, Rectifier) else set(step.matrices)):
            tight[step.name] = interval_step(step, tight).meet(bounds[step.name])
            changed.add(step.name)
    for name in changed:
        if not (tight[name].lower <= tight[name].upper).all():
            raise MilpcompError(f"the checker's bounds of {name!r} contradict each other: report this defect")
    return tight


def _open_leaf(frame: Frame, bounds: Bounds, tree: Tree) -> str:
    """Return why a tree does not prove what it claims, or "" where it does."""
    leaves, regions = _Groups(tree.anchor[tree.leaf], len(tree.parent)), _regions(tree)
    cases = _Cases(frame, bounds, tree, EXACT_PRODUCTS // max(1, products(frame.model)))
    start = {name: Interval(bounds[name].lower[None], bounds[name].upper[None]) for name in {INPUT, *tree.names}}
    root = np.zeros(1, dtype=np.int64)
    waiting: list[tuple[IntArray, IntArray, Boxes]] = [(root, root, start)]
    while waiting:
        anchors, rows, boxes = waiting.pop()
        alive = np.ones(len(anchors), dtype=bool)
        if anchors[0] != 0:
            boxes = tree.narrow(boxes, rows, anchors, own=True)
        if tree.rebound[anchors[0]]:
            boxes, empty = rebound(frame, bounds, boxes, tree)
            alive = alive & ~empty & ~cases.own_bound_suffices(boxes)
        for found, place in leaves.of(anchors, alive, frame.chunk):
            reason = cases.open_leaf(boxes, place, found)
            if reason:
                return reason
        waiting += [(found, place, boxes) for found, place in regions.of(anchors, alive, frame.chunk)]
    return ""


def _regions(tree: Tree) -> _Groups:
    """Return the anchored nodes, grouped by the next anchored node above them."""
    nodes = 1 + np.flatnonzero(tree.anchored[1:])
    return _Groups(tree.anchor[tree.parent[nodes]], len(tree.parent), nodes)


class _Groups:
    """Members (by default 0, 1, ...) grouped by their keys, which are nodes."""

    def __init__(self, keys: IntArray, nodes: int, members: IntArray | None = None) -> None:
        order = np.argsort(keys, kind="stable")
        self.members = order if members is None else members[order]
        self.counts = np.bincount(keys, minlength=nodes)
        self.starts = np.cumsum(self.counts) - self.counts

    def of(self, nodes: IntArray, alive: BoolArray, chunk: int) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the members of those nodes that are alive, with the positions of their nodes, in pieces."""
        rows = np.flatnonzero(alive)
        counts = self.counts[nodes[rows]]
        place = np.repeat(rows, counts)
        first = self.starts[nodes[rows]] - (np.cumsum(counts) - counts)
        members = self.members[np.repeat(first, counts) + np.arange(len(place))]
        for start in range(0, len(members), chunk):
            yield members[start : start + chunk], place[start : start + chunk]


class _Cases:
    """The leaves of one tree, and how many of them may still be decided in exact arithmetic."""

    def __init__(self, frame: Frame, bounds: Bounds, tree: Tree, exact_leaves: int) -> None:
        self.frame, self.bounds, self.tree, self.exact_leaves = frame, bounds, tree, exact_leaves
        self.goal = tree.sign * tree.bound

    def own_bound_suffices(self, boxes: Boxes) -> BoolArray:
        """Tell in which cases the bounds of the target prove what is claimed."""
        box, unit = boxes[self.tree.target.source], self.tree.unit
        return box.upper[:, unit] <= self.goal if self.tree.upper else -box.lower[:, unit] <= self.goal

    def open_leaf(self, boxes: Boxes, place: IntArray, leaves: IntArray) -> str:
        """Return what is wrong with one of some leaves, or "" where all of them are closed."""
        tree = self.tree
        boxes = tree.narrow(boxes, place, tree.leaf[leaves], own=False)
        closed = np.broadcast_to(self.own_bound_suffices(boxes), len(leaves)).copy()
        for box in boxes.values():
            closed |= (box.lower > box.upper).any(axis=1)
        if tree.curvature is not None:
            for row in np.flatnonzero(~closed & np.isin(leaves, tree.curvature.leaves)):
                own = {name: _at(box, np.arange(len(leaves)) == row) for name, box in boxes.items()}
                reason = self._open_curved(own, leaves[row : row + 1], tree.curvature)
                if reason:
                    return reason
                closed[row] = True
        if closed.any():
            boxes = {name: _at(box, ~closed) for name, box in boxes.items()}
            leaves = leaves[~closed]
        return self._open_flat(boxes, leaves) if len(leaves) else ""

    def _open_curved(self, boxes: Boxes, leaf: IntArray, curvature: Curvature) -> str:
        """Return why a curved leaf is not closed, or "" where it is."""
        rows, result = self._rows(leaf)
        position = int(np.searchsorted(curvature.leaves, leaf[0]))
        lines, box = self._lines(boxes, leaf), self.bounds[curvature.source]
        try:
            parabolas = Parabolas(self.frame, curvature, position, box, lines)
            parabolas.begin(rows, result)
            upper = substitute(self.frame, rows, boxes[INPUT], parabolas.relax, result).upper()[0]
        except Unproved as error:
            return f"what is recorded for the curved leaf {leaf[0]} bounds nothing: {error}"
        if upper <= self.goal:
            return ""
        return f"what is recorded for the curved leaf {leaf[0]} bounds it by {self.tree.sign * upper:.6g} only"

    def _rows(self, leaves: IntArray) -> tuple[dict[str, FloatArray], Sum]:
        """Return the rows that are to be bounded, of the target or of the constant 0."""
        tree = self.tree
        factors = np.where(tree.objective[leaves], tree.sign, 0.0)
        return unit_rows(self.frame, tree.target.source, np.full(len(leaves), tree.unit), factors)

    def _lines(self, boxes: Boxes, leaves: IntArray) -> Multipliers:
        """Return the relaxation that the multipliers of some leaves make."""
        values = self.tree.multipliers[leaves]
        recorded = {name: (units, values[:, columns]) for name, (units, columns) in self.tree.columns.items()}
        return Multipliers(self.frame, boxes, recorded, len(leaves))

    def _open_flat(self, boxes: Boxes, leaves: IntArray) -> str:
        """Return what is wrong with one of some leaves that are not curved, or "" where all of them are closed."""
        tree, objective = self.tree, self.tree.objective[leaves]
        rows, result = self._rows(leaves)
        result = substitute(self.frame, rows, boxes[INPUT], self._lines(boxes, leaves).relax, result)
        upper, least = result.upper(), result.least()
        for row in np.flatnonzero(~self._closes(upper, objective)).tolist():
            if (
                self._closes(least, objective)[row]
                and self.exact_leaves > 0
                and self._exactly_closed(boxes, leaves, row)
            ):
                continue
            what = f"bounds it by {tree.sign * upper[row]:.6g} only" if objective[row] else "does not refute it"
            return f"what is recorded for leaf {leaves[row]} {what}"
        return ""

    def _closes(self, bound: FloatArray, objective: BoolArray) -> BoolArray:
        return np.where(objective, bound <= self.goal, bound < 0)

    def _exactly_closed(self, boxes: Boxes, leaves: IntArray, row: int) -> bool:
        """Tell whether exact arithmetic closes a leaf."""
        self.exact_leaves -= 1
        tree, leaf = self.tree, leaves[row]
        own = {
            name: Interval(*(end[0 if len(end) == 1 else row] for end in (box.lower, box.upper)))
            for name, box in boxes.items()
        }
        recorded = {
            name: dict(zip(units.tolist(), tree.multipliers[leaf, columns].tolist(), strict=True))
            for name, (units, columns) in tree.columns.items()
        }
        start = {tree.target.source: {tree.unit: Fraction(int(tree.sign))}} if tree.objective[leaf] else {}
        bound = exact_bound(self.frame.model, start, own, recorded)
        return bound is not None and (bound <= Fraction(self.goal) if tree.objective[leaf] else bound < 0)


def _at(box: Interval, rows: BoolArray) -> Interval:
    """Return some rows of bounds of shape (B, n), or the only one of (1, n)."""
    return Interval(*(end if len(end) == 1 else end[rows] for end in (box.lower, box.upper)))
