"""Reading the record of a proof by cases, and whether its cases cover the domain.

A tree of nodes: the root is the whole domain, and every node that is no leaf has exactly two children, which split the
same pre-activation (or input coordinate) at the same point, one keeping what is <= it and one what is >= it. So every
input of the domain lies in some leaf, whatever the points are. Parents come before their children, so there is no cycle
and nothing hangs in the air.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from milpcomp.checker.claims import Unreadable, array_of, attribute, is_integer, shown
from milpcomp.checker.curvature import Curvature, read_curvature
from milpcomp.checker.document import INPUT, Model, Rectifier
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray

ROOT, INPUT_SPLIT = -2, -1
"""What `Tree.layer_of` says of the root, and of a node that an input coordinate was split for."""

Boxes = Mapping[str, Interval]
"""Bounds of the input and of the sources of rectifiers, each of shape (B, n) for B cases or (1, n) for all of them."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A proof by cases, read: K nodes, L leaves in ascending order, M columns of multipliers.

    Parameters
    ----------
    target : Rectifier
    unit : int
    upper : bool
        Whether it proves pre-activation <= bound, else >= bound.
    bound : float
    names : tuple of str
        The value that rectifier i of the network reads, and last the input: ``names[layer_of]`` is what a node splits.
    parent, layer_of, unit_of : ndarray, shape (K,)
    point : ndarray, shape (K,)
    above, rebound : ndarray, shape (K,)
    leaf, objective : ndarray, shape (L,)
    columns : mapping from rectifier name to (units, columns)
        Where the multipliers of a rectifier's units are.
    multipliers : ndarray, shape (L, M)
    curvature : Curvature or None
        What closes curved leaves, if there are any.
    """

    target: Rectifier
    unit: int
    upper: bool
    bound: float
    names: tuple[str, ...]
    parent: IntArray
    layer_of: IntArray
    unit_of: IntArray
    point: FloatArray
    above: BoolArray
    rebound: BoolArray
    leaf: IntArray
    objective: BoolArray
    columns: Mapping[str, tuple[IntArray, IntArray]]
    multipliers: FloatArray
    curvature: Curvature | None

    @property
    def title(self) -> str:
        """What messages call the proof."""
        return f"the {'upper' if self.upper else 'lower'} bound of {self.target.name}[{self.unit}] by cases"

    @property
    def sign(self) -> float:
        """The factor with which the pre-activation is bounded from above."""
        return 1.0 if self.upper else -1.0

    @cached_property
    def split(self) -> frozenset[str]:
        """The values that some node splits."""
        return frozenset(self.names[layer] for layer in np.unique(self.layer_of[1:]))

    @cached_property
    def anchored(self) -> BoolArray:
        """Which nodes have bounds of their own: the root, and those whose bounds are derived anew."""
        return self.rebound | (self.layer_of == ROOT)

    @cached_property
    def anchor(self) -> IntArray:
        """For every node, the nearest anchored node from it upwards."""
        found: list[int] = []
        for node, (above, anchored) in enumerate(zip(self.parent.tolist(), self.anchored.tolist(), strict=True)):
            found.append(node if anchored else found[above])
        return np.array(found, dtype=np.int64)

    def narrow(self, boxes: Boxes, rows: IntArray, nodes: IntArray, own: bool) -> dict[str, Interval]:
        """Return the bounds of nodes: those at `rows` of `boxes`, met with the splits on the way up to an anchor.

        With `own`, anchored nodes among them are narrowed by their own splits, and those up to the next anchor.
        """
        lower, upper = {}, {}
        for name, box in boxes.items():
            alone = len(box.lower) == 1 and name not in self.split
            lower[name], upper[name] = (box.lower, box.upper) if alone else (box.lower[rows], box.upper[rows])
        case, node = np.arange(len(nodes)), nodes
        if not own:
            inside = ~self.anchored[node]
            case, node = case[inside], node[inside]
        while len(node):
            for layer in np.unique(self.layer_of[node]):
                name = self.names[layer]
                for side, keep, tighter in ((lower, True, np.maximum), (upper, False, np.minimum)):
                    here = (self.layer_of[node] == layer) & (self.above[node] == keep)
                    place = case[here], self.unit_of[node[here]]
                    side[name][place] = tighter(side[name][place], self.point[node[here]])
            node = self.parent[node]
            inside = ~self.anchored[node]
            case, node = case[inside], node[inside]
        return {name: Interval(lower[name], upper[name]) for name in boxes}


def is_tree(record: Any) -> bool:
    """Tell whether a record looks like a proof by cases."""
    return attribute(record, "parent") is not None


def read_tree(record: Any, model: Model) -> Tree:
    """Read a proof by cases.

    Raises
    ------
    Unreadable
        If a piece is missing or of another kind, an index out of range, or the cases do not cover the domain.
    """
    layer, unit, side, bound = (attribute(record, name) for name in ("layer", "unit", "side", "bound"))
    target = next((step for step in model.rectifiers if type(layer) is str and step.name == layer), None)
    if target is None:
        raise Unreadable(f"the network has no rectifier called {shown(layer)}")
    if not is_integer(unit) or not 0 <= unit < len(target.positive):
        raise Unreadable(f"{layer!r} has no neuron called {shown(unit)}")
    if type(side) is not str or side not in ("lower", "upper"):
        raise Unreadable(f"a side is 'lower' or 'upper', not {shown(side)}")
    if type(bound) not in (float, np.float64) or not np.isfinite(bound):
        raise Unreadable(f"its bound is {shown(bound)}, not a finite number")
    parent, layer_of, unit_of = (array_of(record, name, "i") for name in ("parent", "layer_of", "unit_of"))
    point, above, rebound = (
        array_of(record, "point", "f"),
        array_of(record, "above", "b"),
        array_of(record, "rebound", "b"),
    )
    if not len(parent) or any(len(a) != len(parent) for a in (layer_of, unit_of, point, above, rebound)):
        raise Unreadable("its arrays of nodes have different lengths, or none")
    _require_splits(layer_of, unit_of, model)
    leaf, objective = array_of(record, "leaf", "i"), array_of(record, "objective", "b")
    _require_cover(parent, layer_of, unit_of, point, above, leaf)
    columns, multipliers = _columns(record, model), array_of(record, "multipliers", "f", 2)
    count = sum(len(units) for units, _ in columns.values())
    if objective.shape != leaf.shape or multipliers.shape != (len(leaf), count):
        raise Unreadable(f"{len(leaf)} leaves and {count} columns have multipliers of shape {multipliers.shape}")
    names = (*(step.source for step in model.rectifiers), INPUT)
    return Tree(
        target, int(unit), side == "upper", float(bound), names,
        parent, layer_of, unit_of, point, above, rebound, leaf, objective, columns, multipliers,
        read_curvature(record, model, objective, columns),
    )  # fmt: skip


def _require_splits(layer_of: IntArray, unit_of: IntArray, model: Model) -> None:
    """Raise `Unreadable` unless the root is one, and every other node splits a unit or an input that exists."""
    widths = np.array([*(len(step.positive) for step in model.rectifiers), model.size(INPUT)])
    if layer_of[0] != ROOT or ((layer_of[1:] < INPUT_SPLIT) | (layer_of[1:] >= len(widths) - 1)).any():
        raise Unreadable("its splits are about rectifiers that the network does not have")
    if ((unit_of[1:] < 0) | (unit_of[1:] >= widths[layer_of[1:]])).any():
        raise Unreadable("its splits are about units that the network does not have")


def _require_cover(
    parent: IntArray, layer_of: IntArray, unit_of: IntArray, point: FloatArray, above: BoolArray, leaf: IntArray
) -> None:
    """Raise `Unreadable` unless the nodes are a tree whose leaves cover the domain."""
    nodes = np.arange(len(parent))
    if parent[0] != -1 or ((parent[1:] < 0) | (parent[1:] >= nodes[1:])).any():
        raise Unreadable("its nodes are no tree with parents before their children")
    children = np.bincount(parent[1:], minlength=len(parent))
    if not np.isin(children, (0, 2)).all():
        raise Unreadable("a node has a number of children that is neither none nor two")
    if not np.array_equal(leaf, np.flatnonzero(children == 0)):
        raise Unreadable("its leaves are not the nodes without children, in ascending order")
    pairs = 1 + np.argsort(parent[1:], kind="stable").reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    same = (layer_of[first] == layer_of[second]) & (unit_of[first] == unit_of[second])
    if not (same & (point[first] == point[second]) & (above[first] != above[second])).all():
        raise Unreadable("two children do not cover their parent: they are not the two sides of one split")


def _columns(record: Any, model: Model) -> dict[str, tuple[IntArray, IntArray]]:
    """Return, by rectifier, the units that have multipliers and the columns of these."""
    table = array_of(record, "columns", "i", 2)
    rectifiers = model.rectifiers
    if table.shape[1] != 2 or len(np.unique(table, axis=0)) != len(table):
        raise Unreadable("its columns are no distinct pairs of a rectifier and a unit")
    if ((table[:, 0] < 0) | (table[:, 0] >= len(rectifiers))).any():
        raise Unreadable("its columns are about rectifiers that the network does not have")
    found = {}
    for index in np.unique(table[:, 0]):
        columns = np.flatnonzero(table[:, 0] == index)
        units = table[columns, 1]
        if ((units < 0) | (units >= len(rectifiers[index].positive))).any():
            raise Unreadable("its columns are about units that the network does not have")
        found[rectifiers[index].name] = units, columns
    return found
