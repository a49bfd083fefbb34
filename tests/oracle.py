"""Brute-force oracles for the range of every pre-activation, by code that shares nothing with the provers.

Both walk over the cells of the input domain on which every neuron keeps one sign, and carry each node's value on a
cell as an affine function of the input.

`exact_ranges`   two inputs; cells are polygons cut by the neurons' lines, all in rational arithmetic: the true ranges
`lp_ranges`      any number of inputs; cells are systems of inequalities, ranges by linear programming (to about 1e-9)
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import linprog

from milpcomp.domain import Box
from milpcomp.network import INPUT, Add, Affine, Concat, Network, Rectifier

Ranges = dict[str, list[tuple[Any, Any]]]
Point = tuple[Fraction, Fraction]


def exact_ranges(network: Network, domain: Box) -> Ranges:
    """Return the exact (minimum, maximum) of every pre-activation, by rectifier, for a network with two inputs."""
    (x0, y0), (x1, y1) = ([Fraction(float(v)) for v in bound] for bound in (domain.lower, domain.upper))
    square = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]

    def cut(polygon: list[Point], row: np.ndarray, sign: int) -> list[Point] | None:
        heights = [sign * (row[0] * x + row[1] * y + row[2]) for x, y in polygon]
        kept: list[Point] = []
        for i, (point, height) in enumerate(zip(polygon, heights, strict=True)):
            after, next_height = polygon[(i + 1) % len(polygon)], heights[(i + 1) % len(polygon)]
            if height >= 0:
                kept.append(point)
            if height * next_height < 0:
                share = height / (height - next_height)
                kept.append((point[0] + share * (after[0] - point[0]), point[1] + share * (after[1] - point[1])))
        return kept or None

    def extent(polygon: list[Point], row: np.ndarray) -> tuple[Fraction, Fraction]:
        values = [row[0] * x + row[1] * y + row[2] for x, y in polygon]
        return min(values), max(values)

    return _walk(network, square, cut, extent, Fraction)


def lp_ranges(network: Network, domain: Box) -> Ranges:
    """Return (minimum, maximum) of every pre-activation, by rectifier, by linear programming over all cells."""
    box = list(zip(domain.lower.reshape(-1), domain.upper.reshape(-1), strict=True))

    def optimum(cell: list[np.ndarray], cost: np.ndarray) -> float | None:
        cost, rows = cost.astype(float), np.array(cell, dtype=float).reshape(len(cell), len(box) + 1)
        result = linprog(cost[:-1], -rows[:, :-1], rows[:, -1], bounds=box) if cell else linprog(cost[:-1], bounds=box)
        assert result.status in (0, 2), result.message
        return None if result.status == 2 else float(result.fun + cost[-1])

    def cut(cell: list[np.ndarray], row: np.ndarray, sign: int) -> list[np.ndarray] | None:
        smaller = [*cell, sign * row]
        return smaller if optimum(smaller, np.zeros(len(row))) is not None else None

    def extent(cell: list[np.ndarray], row: np.ndarray) -> tuple[float, float]:
        low, high = optimum(cell, row), optimum(cell, -row)
        assert low is not None
        assert high is not None
        return low, -high

    return _walk(network, [], cut, extent, float)


def _walk(
    network: Network,
    domain: Any,
    cut: Callable[[Any, np.ndarray, int], Any],
    extent: Callable[[Any, np.ndarray], tuple[Any, Any]],
    number: Callable[[float], Any],
) -> Ranges:
    """Walk over all cells; a row is (coefficients of the inputs ..., constant)."""
    inputs = int(np.prod(network.input_shape))
    identity = np.array([[number(float(i == j)) for j in range(inputs + 1)] for i in range(inputs)], dtype=object)
    cells = [(domain, {INPUT: identity})]
    ranges: Ranges = {}
    for node in network:
        if isinstance(node.layer, Rectifier):
            found: list[list[tuple[Any, Any]]] = []
            split = []
            slopes = node.layer.slopes(network.shape(node.name))
            for cell, values in cells:
                found.append([extent(cell, row) for row in values[node.inputs[0]]])
                split += _split(cell, values, node.name, node.inputs[0], slopes, cut, number)
            cells = split
            ranges[node.name] = [(min(e[0] for e in es), max(e[1] for e in es)) for es in zip(*found, strict=True)]
        else:
            for _, values in cells:
                values[node.name] = _apply(network, node, [values[name] for name in node.inputs], number)
    return ranges


def _split(cell: Any, values: Any, name: str, source: str, slopes: Any, cut: Any, number: Any) -> list[Any]:
    """Return the parts of a cell on which every unit keeps its sign, with the rectifier's rows on each."""
    parts: list[tuple[Any, list[np.ndarray]]] = [(cell, [])]
    for unit, row in enumerate(values[source]):
        parts = [
            (smaller, [*rows, row * number(float(slope[unit]))])
            for part, rows in parts
            for sign, slope in zip((1, -1), slopes, strict=True)
            if (smaller := cut(part, row, sign)) is not None
        ]
    width = values[INPUT].shape[1]
    return [(part, values | {name: np.array(rows, dtype=object).reshape(-1, width)}) for part, rows in parts]


def _apply(network: Network, node: Any, inputs: list[np.ndarray], number: Callable[[float], Any]) -> np.ndarray:
    if isinstance(node.layer, Add):
        return sum(inputs[1:], inputs[0])
    if isinstance(node.layer, Concat):
        return np.concatenate(inputs)
    assert isinstance(node.layer, Affine)
    shape = network.shape(node.inputs[0])
    matrix = node.layer.matrix(shape).toarray()
    rows = np.array([[number(float(w)) for w in row] for row in matrix], dtype=object).reshape(matrix.shape) @ inputs[0]
    offset = np.broadcast_to(node.layer.offset(), network.shape(node.name)).reshape(-1)
    rows[:, -1] += np.array([number(float(b)) for b in offset], dtype=object)
    return rows
