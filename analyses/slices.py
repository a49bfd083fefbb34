"""The exact picture of a network on a plane: its linear regions, the lines where neurons switch, the decision boundary.

A plane through the input space, x(p) = origin + p_1 u + p_2 v, meets the box of a domain in a convex polygon. On it the
network is linear in pieces, and the pieces are found without sampling, layer by layer:

    cell            a convex polygon and, of every value h in use, its affine map h(p) = h_0 + p_1 h_u + p_2 h_v
    affine layer    maps (h_0, h_u, h_v) like three samples, the last two without the offset
    rectifier       g(p) is affine on the cell, so the neuron switches on the line g(p) = 0; every line that crosses the
                    cell cuts it in two, and on each part every neuron has one slope

What is left after the last layer are the regions on which all neurons keep their phase, and f is affine on each of
them. Within a region the greatest output changes on lines too (`decisions`).

"Exact" is said of the method, whose polygons are computed and not sampled; corners are float64 numbers. A corner is
taken to lie on a line if it is as close as rounding (`MARGIN` of the layer's largest value on the cell).

Source: Humayun, Balestriero, Balakrishnan and Baraniuk, SplineCam (CVPR 2023); the code is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from milpcomp.domain import Box
from milpcomp.network import INPUT, Network
from milpcomp.network.graph import Node
from milpcomp.network.layers import Affine, Concat, FloatArray, Rectifier
from milpcomp.network.opaque import refuse_opaque

MARGIN = 1e-12
"""Part of the largest value of a layer on a cell below which a value at a corner counts as zero."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The points ``origin + p[0] * u + p[1] * v``; u and v are orthonormal, so distances are those of the inputs."""

    origin: FloatArray
    u: FloatArray
    v: FloatArray

    @classmethod
    def through(cls, a: FloatArray, b: FloatArray, c: FloatArray) -> Plane:
        """Return the plane through three inputs of one shape: a is its origin, b lies on its first axis.

        Raises
        ------
        ValueError
            If the three lie on one line.
        """
        first, second = b - a, c - a
        u = first / np.linalg.norm(first) if first.any() else first
        v = second - (second * u).sum() * u
        if not first.any() or np.linalg.norm(v) <= 1e-9 * np.linalg.norm(second):
            raise ValueError("the three points lie on one line, through which there are many planes; take others")
        return cls(a, u, v / np.linalg.norm(v))

    def lift(self, p: FloatArray) -> FloatArray:
        """Return the inputs at points p (N, 2) of the plane, shape (N, *input_shape)."""
        return self.origin + np.tensordot(p, np.stack([self.u, self.v]), axes=1)

    def locate(self, x: FloatArray) -> FloatArray:
        """Return the coordinates (N, 2) of the feet of inputs x (N, *input_shape)."""
        away = (x - self.origin).reshape(len(x), -1)
        return away @ np.stack([self.u.ravel(), self.v.ravel()]).T

    def window(self, domain: Box) -> FloatArray:
        """Return the corners (K, 2) of the polygon in which the plane meets a box that holds its origin."""
        box = domain.fit(self.origin.shape)
        reach = float(np.linalg.norm(box.upper - box.lower))
        polygon = reach * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        above = np.stack([self.origin - box.lower, self.u, self.v]).reshape(3, -1)
        below = np.stack([box.upper - self.origin, -self.u, -self.v]).reshape(3, -1)
        lines = np.concatenate([above, below], axis=1)
        for line in lines[:, np.abs(lines[1:]).max(axis=0) > 0].T:
            polygon, _ = cut(polygon, line, reach * MARGIN)
        return polygon


@dataclass(frozen=True, eq=False)
class Cell:
    """A convex polygon on which every neuron keeps its phase.

    Parameters
    ----------
    polygon : ndarray, shape (K, 2)
        Corners, in order.
    active : ndarray of bool, shape (neurons,)
        Which neurons have a pre-activation above 0, in the order of the network's rectifiers.
    output : ndarray, shape (3, outputs)
        f at the origin of the plane, continued from this cell, and what it gains along u and v.
    """

    polygon: FloatArray
    active: NDArray[np.bool_]
    output: FloatArray


@dataclass(frozen=True, eq=False)
class Crease:
    """Where a neuron switches within one cell: neuron `unit` of rectifier number `layer`, and the segment (2, 2)."""

    layer: int
    unit: int
    segment: FloatArray


@dataclass(frozen=True, eq=False)
class Slice:
    """A network on the part of a plane that lies in a domain."""

    plane: Plane
    cells: tuple[Cell, ...]
    creases: tuple[Crease, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """A cell in the making: the values in use, each as (3, *shape)."""

    polygon: FloatArray
    active: tuple[NDArray[np.bool_], ...]
    values: dict[str, FloatArray]


def slice_through(network: Network, plane: Plane, polygons: Sequence[FloatArray]) -> Slice:
    """Return `network` on the given polygons of a plane.

    Parameters
    ----------
    network : Network
        Of affine layers and rectifiers, with any connections.
    plane : Plane
    polygons : sequence of ndarray, shape (K, 2)
        Convex and without overlaps: `Plane.window`, or the cells of another network.

    Raises
    ------
    UnsupportedOperatorError
        If the network holds layers that are not linear in pieces.
    """
    refuse_opaque(network, "the linear regions on a plane")
    start = {INPUT: np.stack([plane.origin, plane.u, plane.v])}
    parts = [_Part(polygon, (), start) for polygon in polygons]
    creases: list[Crease] = []
    depth = 0
    for at, node in enumerate(network.nodes):
        used = {name for later in network.nodes[at + 1 :] for name in later.inputs} | {network.output}
        if isinstance(node.layer, Rectifier):
            slopes = node.layer.slopes(network.shape(node.name))
            parts = [piece for part in parts for piece in _rectified(part, node, slopes, depth, creases)]
            depth += 1
        else:
            values = _linear(node, [part.values for part in parts])
            parts = [
                replace(part, values=part.values | {node.name: own}) for part, own in zip(parts, values, strict=True)
            ]
        parts = [replace(part, values={k: v for k, v in part.values.items() if k in used}) for part in parts]
    empty = np.zeros(0, dtype=bool)
    cells = [
        Cell(part.polygon, np.concatenate([empty, *part.active]), part.values[network.output].reshape(3, -1))
        for part in parts
    ]
    return Slice(plane, tuple(cells), tuple(creases))


def decisions(cell: Cell) -> dict[int, FloatArray]:
    """Return for each class that wins somewhere in a cell the polygon in which its output is the greatest."""
    at = affine(cell.output, cell.polygon)
    everywhere = (at == at.max(axis=1, keepdims=True)).all(axis=0)
    if everywhere.any():
        return {int(everywhere.argmax()): cell.polygon}
    found = {}
    slack = MARGIN * float(np.abs(at).max())
    for i in range(at.shape[1]):
        polygon = cell.polygon
        for j in range(at.shape[1]):
            if j != i and len(polygon):
                polygon, _ = cut(polygon, cell.output[:, i] - cell.output[:, j], slack)
        if len(polygon):
            found[i] = polygon
    return found


def boundaries(cell: Cell, pieces: dict[int, FloatArray]) -> list[tuple[int, int, FloatArray]]:
    """Return the boundary between the `decisions` inside a cell: classes i < j and the segment (2, 2) of both."""
    found = []
    scale = float(np.abs(affine(cell.output, cell.polygon)).max())
    for i, polygon in pieces.items():
        at = affine(cell.output, polygon)
        for j in pieces:
            if i < j:
                ends = _ends(polygon, at[:, i] - at[:, j], MARGIN * scale)
                if len(ends):
                    found.append((i, j, ends))
    return found


def greatest_difference(a: Network, b: Network, joint: Slice) -> float:
    """Return the largest difference of the outputs of two networks at all corners of a slice.

    If the slice is that of b, made of the cells of a, then both networks are affine on each of its cells, and so is
    their difference: it is the largest on the whole slice, up to rounding.
    """
    corners = np.unique(np.concatenate([cell.polygon for cell in joint.cells]), axis=0)
    x = joint.plane.lift(corners)
    return float(np.abs(a.forward(x) - b.forward(x)).max())


def affine(map_: FloatArray, p: FloatArray) -> FloatArray:
    """Return ``map_[0] + p[:, 0] map_[1] + p[:, 1] map_[2]`` for points p (N, 2)."""
    return map_[0] + p @ map_[1:]


def area(polygon: FloatArray) -> float:
    """Return the area of a polygon."""
    x, y = (polygon - polygon.mean(axis=0)).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def cut(polygon: FloatArray, line: FloatArray, slack: float) -> tuple[FloatArray, FloatArray]:
    """Cut a convex polygon along the line ``line[0] + line[1:] @ p = 0``.

    Returns
    -------
    positive, negative : ndarrays, shape (K, 2)
        The parts on both sides. One is empty, and the other is the whole polygon, if no corner lies farther than
        `slack` on that side.
    """
    at = affine(line, polygon)
    nothing = polygon[:0]
    if at.min() >= -slack:
        return polygon, nothing
    if at.max() <= slack:
        return nothing, polygon
    after, next_at = np.roll(polygon, -1, axis=0), np.roll(at, -1)
    sides: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for here, there, g, h in zip(polygon, after, at, next_at, strict=True):
        sign = 0 if abs(g) <= slack else (1 if g > 0 else -1)
        for side, own in zip(sides, (1, -1), strict=True):
            if sign in (0, own):
                side.append(here)
        if sign and abs(h) > slack and (h > 0) != (g > 0):
            crossing = here + g / (g - h) * (there - here)
            for side in sides:
                side.append(crossing)
    positive, negative = (np.array(side) for side in sides)
    return positive, negative


def _linear(node: Node, values: list[dict[str, FloatArray]]) -> list[FloatArray]:
    """Return the value of a node that is no rectifier on every cell."""
    inputs = [np.stack([own[name] for own in values]) for name in node.inputs]
    if isinstance(node.layer, Affine):
        count = len(inputs[0])
        mapped = node.layer.linear(inputs[0].reshape(-1, *inputs[0].shape[2:]))
        mapped = mapped.reshape(count, 3, *mapped.shape[1:])
        mapped[:, 0] += node.layer.offset()
        return list(mapped)
    if isinstance(node.layer, Concat):
        return list(np.concatenate(inputs, axis=node.layer.axis + 2))
    return list(sum(inputs[1:], start=inputs[0]))


def _rectified(
    part: _Part, node: Node, slopes: tuple[FloatArray, FloatArray], depth: int, creases: list[Crease]
) -> list[_Part]:
    """Cut a cell along the lines of one layer, note the creases, and rectify on every piece."""
    value = part.values[node.inputs[0]]
    flat = value.reshape(3, -1)
    at = affine(flat, part.polygon)
    slack = MARGIN * float(np.abs(at).max(initial=0.0))
    positive, negative = slopes
    bends = positive != negative
    crossing = np.flatnonzero((at.min(axis=0) < -slack) & (at.max(axis=0) > slack) & bends)
    pieces = [part.polygon]
    for unit in crossing:
        halves = [cut(polygon, flat[:, unit], slack) for polygon in pieces]
        pieces = [half for both in halves for half in both if len(half)]
        for plus, minus in halves:
            if len(plus) and len(minus):
                ends = _ends(plus, affine(flat[:, unit], plus), slack)
                creases.append(Crease(depth, int(unit), ends))
    found = []
    for polygon in pieces:
        active = affine(flat, polygon.mean(axis=0)[None])[0] > slack
        rectified = np.where(active, positive, negative) * flat
        values = part.values | {node.name: rectified.reshape(value.shape)}
        found.append(_Part(polygon, (*part.active, active), values))
    return found


def _ends(polygon: FloatArray, at: FloatArray, slack: float) -> FloatArray:
    """Return the two corners farthest from each other of those at which `at` is zero; none if that is one or none."""
    zero = polygon[np.abs(at) <= max(slack, 1e-9 * float(np.abs(at).max()))]
    if len(zero) < 2:
        return zero[:0]
    apart = np.linalg.norm(zero[:, None] - zero[None], axis=2)
    return zero[list(np.unravel_index(int(apart.argmax()), apart.shape))]
