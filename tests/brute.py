"""A brute-force prover by cases: triangle LPs on scipy, splits until every case is closed. For tiny networks.

Variables are the input, and for every rectifier its pre-activations g and outputs y; all other values are affine
expressions in them. The equation ``g = expression`` has the dual that a proof records as its multiplier; a case without
inputs is refuted by the duals of the least violation of these equations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linprog

from milpcomp.bounds.branch_proof import INPUT_SPLIT, ROOT, BranchProof
from milpcomp.checker.document import read_network
from milpcomp.checker.sweep import prove_bounds
from milpcomp.domain import Box
from milpcomp.network import INPUT, Add, Affine, Concat, Network, Rectifier

MARGIN = 1e-4
"""By how much a linear program must beat the claim, since multipliers are rounded to float32."""

Limits = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass
class _Node:
    """A case: where it comes from, its intervals by node name, and how it was closed."""

    parent: int
    split: tuple[int, int, float, bool]
    rebound: bool
    limits: Limits
    multipliers: np.ndarray | None = None
    objective: bool = True


@dataclass
class Program:
    """The triangle relaxation below one rectifier."""

    network: Network
    layer: str
    columns: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rectifiers = [node.name for node in self.network.rectifiers]
        self.below = self.rectifiers[: self.rectifiers.index(self.layer)]
        sizes = [self.network.width(INPUT), *(2 * self.network.width(name) for name in self.below)]
        self.start = dict(zip((INPUT, *self.below), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.size = int(sum(sizes))
        self.columns = [(i, unit) for i, name in enumerate(self.below) for unit in range(self.network.width(name))]

    def expressions(self) -> dict[str, np.ndarray]:
        """Return every value as rows (coefficients of the variables ..., constant)."""
        rows: dict[str, np.ndarray] = {INPUT: np.eye(self.network.width(INPUT), self.size + 1)}
        for node in self.network.nodes:
            sources = [rows[name] for name in node.inputs if name in rows]
            if len(sources) < len(node.inputs) or (node.name in self.rectifiers and node.name not in self.below):
                continue
            if isinstance(node.layer, Rectifier):
                width, start = self.network.width(node.name), self.start[node.name]
                rows[node.name] = np.eye(self.size + 1)[start + width : start + 2 * width]
            elif isinstance(node.layer, Affine):
                rows[node.name] = node.layer.matrix(self.network.shape(node.inputs[0])) @ sources[0]
                rows[node.name][:, -1] += np.broadcast_to(node.layer.offset(), self.network.shape(node.name)).reshape(
                    -1
                )
            elif isinstance(node.layer, Add):
                rows[node.name] = sum(sources[1:], sources[0])
            else:
                assert isinstance(node.layer, Concat)
                rows[node.name] = np.concatenate(sources)
        return rows

    def solve(self, unit: int, sign: float, limits: Limits) -> tuple[float, np.ndarray]:
        """Return the maximum of ``sign * pre-activation`` (-inf for an empty case) and the multipliers."""
        rows = self.expressions()
        target = sign * rows[self.network[self.layer].inputs[0]][unit]
        equations = np.array([rows[self.network[self.below[i]].inputs[0]][u] for i, u in self.columns])
        equations = -equations.reshape(len(self.columns), self.size + 1)
        at = [self.start[self.below[i]] + u for i, u in self.columns]
        equations[np.arange(len(at)), at] += 1.0
        boxes = [pair for name in (INPUT, *self.below) for pair in self._boxes(name, limits)]
        triangles = self._triangles(limits)
        given: dict[str, Any] = {"A_ub": triangles[:, :-1], "b_ub": triangles[:, -1]} if len(triangles) else {}
        if at:
            given |= {"A_eq": equations[:, :-1], "b_eq": -equations[:, -1]}
        result = linprog(-target[:-1], bounds=boxes, **given)
        if result.status == 0:
            return target[-1] - result.fun, -result.eqlin.marginals if at else np.zeros(0)
        assert result.status == 2, result.message
        slack = np.concatenate([np.eye(len(at)), -np.eye(len(at))], axis=1)
        cost = np.concatenate([np.zeros(self.size), np.ones(2 * len(at))])
        given["A_eq"] = np.concatenate([given["A_eq"], slack], axis=1)
        given["A_ub"] = np.concatenate([given["A_ub"], np.zeros((len(given["A_ub"]), 2 * len(at)))], axis=1)
        result = linprog(cost, bounds=[*boxes, *[(0, None)] * (2 * len(at))], **given)
        assert result.status == 0, result.message
        return -np.inf, -result.eqlin.marginals

    def _boxes(self, name: str, limits: Limits) -> list[tuple[float, float]]:
        lower, upper = limits[INPUT if name == INPUT else self.network[name].inputs[0]]
        pairs = [(float(a), float(b)) for a, b in zip(lower, upper, strict=True)]
        if name == INPUT:
            return pairs
        positive, negative = self._slopes(name)
        ends = [sorted((_r(a, p, n), _r(b, p, n), 0.0)) for (a, b), p, n in zip(pairs, positive, negative, strict=True)]
        return [*pairs, *((each[0], each[-1]) for each in ends)]

    def _slopes(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        layer = self.network[name].layer
        assert isinstance(layer, Rectifier)
        positive, negative = layer.slopes(self.network.shape(name))
        return positive.reshape(-1), negative.reshape(-1)

    def _triangles(self, limits: Limits) -> np.ndarray:
        """Return rows (a, b) with ``a . variables <= b``: y between the two arms and the chord."""
        rows: list[np.ndarray] = []
        for i, unit in self.columns:
            name = self.below[i]
            low, high = (float(end[unit]) for end in limits[self.network[name].inputs[0]])
            p, n = (float(slopes[unit]) for slopes in self._slopes(name))
            convex = 1.0 if p >= n else -1.0
            chord = (_r(high, p, n) - _r(low, p, n)) / (high - low) if high > low else (p if low >= 0 else n)
            arms = [p] if low >= 0 else [n] if high <= 0 else [p, n]
            lines = [(slope, 0.0, convex) for slope in arms] + [(chord, _r(low, p, n) - chord * low, -convex)]
            for slope, height, side in lines:  # side * y >= side * (slope * g + height)
                row = np.zeros(self.size + 1)
                row[self.start[name] + unit] = side * slope
                row[self.start[name] + self.network.width(name) + unit] = -side
                row[-1] = -side * height
                rows.append(row)
        return np.array(rows).reshape(len(rows), self.size + 1)


def _r(g: float, positive: float, negative: float) -> float:
    return positive * g if g >= 0 else negative * g


def prove(
    network: Network,
    domain: Box,
    layer: str,
    unit: int,
    side: str,
    bound: float = 0.0,
    rng: np.random.Generator | None = None,
    most: int = 400,
) -> BranchProof | None:
    """Return a proof by cases that ``pre-activation <= bound`` (side "upper") or ``>= bound``, or None.

    With a generator, splits are drawn at random, some of them of the input and with bounds derived anew.
    """
    program, sign = Program(network, layer), 1.0 if side == "upper" else -1.0
    box = domain.fit(network.input_shape)
    base = prove_bounds(read_network(network), (box.lower.reshape(-1), box.upper.reshape(-1)))
    limits = {name: (interval.lower, interval.upper) for name, interval in base.items()}
    nodes = [_Node(-1, (ROOT, 0, 0.0, False), False, limits)]
    waiting = [0]
    while waiting:
        k = waiting.pop()
        value, duals = program.solve(unit, sign, nodes[k].limits)
        if value == -np.inf or value <= sign * bound - MARGIN:
            nodes[k].multipliers, nodes[k].objective = duals, bool(value > -np.inf)
            continue
        split = _choose(program, nodes[k].limits, rng)
        if split is None or len(nodes) >= most:
            return None
        rebound = rng is not None and bool(rng.random() < 0.4)
        for above in (False, True):
            waiting.append(len(nodes))
            nodes.append(_Node(k, (*split, above), rebound, _narrowed(program, nodes[k].limits, split, above)))
    return _record(nodes, program.columns, layer, unit, side, bound)


def _choose(program: Program, limits: Limits, rng: np.random.Generator | None) -> tuple[int, int, float] | None:
    """Return a split of an unstable pre-activation at 0, or sometimes of an input in the middle."""
    open_units = []
    for i, unit in program.columns:
        low, high = (end[unit] for end in limits[program.network[program.below[i]].inputs[0]])
        if low < 0 < high:
            open_units.append((i, unit, 0.0))
    if rng is None:
        return open_units[0] if open_units else None
    if not open_units or rng.random() < 0.2:
        lower, upper = limits[INPUT]
        unit = int(rng.integers(len(lower)))
        return INPUT_SPLIT, unit, float(0.5 * lower[unit] + 0.5 * upper[unit])
    return open_units[int(rng.integers(len(open_units)))]


def _narrowed(program: Program, limits: Limits, split: tuple[int, int, float], above: bool) -> Limits:
    layer, unit, point = split
    name = INPUT if layer == INPUT_SPLIT else program.network[program.below[layer]].inputs[0]
    lower, upper = (end.copy() for end in limits[name])
    if above:
        lower[unit] = max(lower[unit], point)
    else:
        upper[unit] = min(upper[unit], point)
    return {**limits, name: (lower, upper)}


def _record(
    nodes: list[_Node], columns: list[tuple[int, int]], layer: str, unit: int, side: str, bound: float
) -> BranchProof:
    leaves = [k for k, node in enumerate(nodes) if node.multipliers is not None]
    values = [nodes[k].multipliers for k in leaves]
    return BranchProof(
        layer,
        unit,
        side,
        bound,
        np.array([node.parent for node in nodes], dtype=np.int32),
        np.array([node.split[0] for node in nodes], dtype=np.int32),
        np.array([node.split[1] for node in nodes], dtype=np.int32),
        np.array([node.split[2] for node in nodes], dtype=np.float64),
        np.array([node.split[3] for node in nodes], dtype=np.bool_),
        np.array([node.rebound for node in nodes], dtype=np.bool_),
        np.array(leaves, dtype=np.int32),
        np.array([nodes[k].objective for k in leaves], dtype=np.bool_),
        np.array(columns, dtype=np.int32).reshape(len(columns), 2),
        np.array(values, dtype=np.float32).reshape(len(leaves), len(columns)),
    )


def bounds_of(ranges: Mapping[str, Any], layer: str, unit: int) -> tuple[float, float]:
    """Return the true (minimum, maximum) of one pre-activation as floats."""
    least, most = ranges[layer][unit]
    return float(least), float(most)
