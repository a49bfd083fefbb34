"""`milpcomp.bounds.multipliers`: sound for any multipliers and any case, exact with the duals of the relaxation."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.multipliers import Cases, upper_bounds
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box
from milpcomp.network import INPUT, Dense, Network, Rectifier
from tests.exact import cases, exact_values, points
from tests.nets import diamond, mlp

Case = tuple[Network, np.ndarray, np.ndarray, np.random.Generator]


def case_around(
    network: Network,
    values: dict[str, Interval],
    x: np.ndarray,
    exact: dict[str, list[Fraction]],
    rng: np.random.Generator,
) -> dict[str, Interval]:
    """Return a case that x is in: a part of the input box, and some pre-activations cut at 0 on the side of x."""
    box = values[INPUT]
    corner = np.where(rng.random(x.shape) < 0.5, box.lower, box.upper)
    found = {INPUT: Interval(np.minimum(x, corner).reshape(-1), np.maximum(x, corner).reshape(-1))}
    for node in network.rectifiers:
        source = node.inputs[0]
        lower, upper = values[source].lower.reshape(-1).copy(), values[source].upper.reshape(-1).copy()
        for unit in np.flatnonzero((lower < 0) & (upper > 0) & (rng.random(len(lower)) < 0.5)):
            (lower if exact[source][unit] > 0 else upper)[unit] = 0.0
        found[source] = Interval(lower, upper)
    return found


@given(cases())
@settings(max_examples=60)
def test_bounds_hold_in_their_cases(case: Case) -> None:
    """Whatever the multipliers, the exact value at an input of the case is not above the bound, for any row."""
    network, low, high, rng = case
    values = dict(interval_bounds(network, Box(low, high)).values)
    inputs = points(rng, low, high, 3)
    exact = [exact_values(network, x) for x in inputs]
    parts = [case_around(network, values, x, e, rng) for x, e in zip(inputs, exact, strict=True)]
    stacked = {
        name: Interval(np.stack([p[name].lower for p in parts]), np.stack([p[name].upper for p in parts]))
        for name in parts[0]
    }
    for node in network.rectifiers:
        source, width = node.inputs[0], network.width(node.name)
        substitution = Substitution(network, values, source)
        which = np.repeat(np.arange(3), 4)
        rows = np.zeros((12, width))
        units = rng.integers(0, width, size=12)
        rows[np.arange(12), units] = rng.choice([1.0, -1.0, 0.0, 0.5], size=12)
        multipliers = {
            name: np.where(
                rng.random((12, network.width(name))) < 0.3, np.nan, rng.normal(size=(12, network.width(name)))
            )
            for name in substitution.relaxations
            if rng.random() < 0.8
        }
        bounds = upper_bounds(substitution, rows, Cases(stacked), which, multipliers)
        assert not np.isnan(bounds).any()
        for row, unit, at, bound in zip(rows, units.tolist(), which.tolist(), bounds.tolist(), strict=True):
            assert bound == np.inf or Fraction(row[unit]) * exact[at][source][unit] <= Fraction(bound)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_no_multipliers_means_standard_lines(seed: int) -> None:
    """Without multipliers, over the whole domain, the bounds are the linear ones with the default slopes."""
    rng = np.random.default_rng(seed)
    network = mlp([3, 5, 4, 3], rng, None, None)
    values = interval_bounds(network, Box(-np.ones(3), np.ones(3))).values
    substitution = Substitution(network, values, network.rectifiers[-1].inputs[0])
    rows = rng.normal(size=(6, 4))
    whole = Cases({name: Interval(v.lower[None], v.upper[None]) for name, v in values.items()})
    bounds = upper_bounds(substitution, rows, whole, np.zeros(6, dtype=np.int64))
    linear = -substitution.lower(-rows, substitution.default_alphas())
    np.testing.assert_allclose(bounds, linear, rtol=1e-12, atol=1e-12)


def triangle_optimum(
    network: Network, values: dict[str, Interval], objective: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """Return max of objective @ the last pre-activation over the triangle relaxation, and the duals of g = W y + b.

    A second code path: columns (x, g1, y1, g2, y2, ...) by hand for a chain of dense layers and rectifiers.
    """
    widths = [network.width(INPUT), *(network.width(n.name) for n in network.rectifiers for _ in range(2))][:-1]
    starts = np.cumsum([0, *widths])
    columns = [slice(a, b) for a, b in pairwise(starts)]
    bounds = [*zip(values[INPUT].lower.tolist(), values[INPUT].upper.tolist(), strict=True)]
    equal, right, below, limit = [], [], [], []
    for i, node in enumerate(network.rectifiers):
        dense, value = network[node.inputs[0]].layer, values[node.inputs[0]]
        assert isinstance(dense, Dense)
        assert isinstance(node.layer, Rectifier)
        g = columns[2 * i + 1]
        block = np.zeros((len(dense.weight), starts[-1]))
        block[:, columns[2 * i]], block[:, g] = -dense.weight, np.eye(len(dense.weight))
        equal.append(block)
        right.append(dense.bias)
        bounds += [*zip(value.lower.tolist(), value.upper.tolist(), strict=True)]
        if 2 * i + 2 >= len(columns):
            break
        positive, negative = node.layer.slopes(value.lower.shape)
        for j, (low, high, p, n) in enumerate(zip(value.lower, value.upper, positive, negative, strict=True)):
            chord = (p * high - n * low) / (high - low) if low < 0 < high else (p if low >= 0 else n)
            height = (p - chord) * high if low < 0 < high else 0.0
            sign = 1.0 if p >= n else -1.0
            for slope, intercept, direction in ((chord, height, sign), (p, 0.0, -sign), (n, 0.0, -sign)):
                if not low < 0 < high:
                    slope = chord
                row = np.zeros(starts[-1])
                row[columns[2 * i + 2].start + j], row[g.start + j] = direction, -direction * slope
                below.append(row)
                limit.append(direction * intercept)
        bounds += [(None, None)] * len(positive)
    cost = np.zeros(starts[-1])
    cost[columns[-1]] = -objective
    solution = linprog(cost, np.array(below), np.array(limit), np.concatenate(equal), np.concatenate(right), bounds)
    assert solution.status == 0
    duals = np.split(-solution.eqlin.marginals, np.cumsum([len(block) for block in equal])[:-1])
    return -solution.fun, {n.name: d for n, d in zip(network.rectifiers, duals, strict=True)}


@pytest.mark.parametrize("seed", range(12))
def test_duals_reach_the_optimum_of_the_relaxation(seed: int) -> None:
    """With the duals of the triangle relaxation the bound is its optimum; without, or with others, it is not below."""
    rng = np.random.default_rng(seed)
    slopes = (1.0, 0.0) if seed < 6 else (None, None)
    network = mlp([4, 6, 5, 3], rng, *slopes)
    values = dict(interval_bounds(network, Box(-np.ones(4), np.ones(4))).values)
    last = network.rectifiers[-1]
    objective = rng.normal(size=network.width(last.name))
    optimum, duals = triangle_optimum(network, values, objective)
    substitution = Substitution(network, values, last.inputs[0])
    whole = Cases({name: Interval(v.lower[None], v.upper[None]) for name, v in values.items()})

    def bound(multipliers: dict[str, np.ndarray]) -> float:
        return float(upper_bounds(substitution, objective[None], whole, np.zeros(1, dtype=np.int64), multipliers)[0])

    given_duals = {name: d[None] for name, d in duals.items() if name != last.name}
    assert bound(given_duals) == pytest.approx(optimum, rel=1e-7, abs=1e-7)
    assert bound({}) >= optimum - 1e-9
    assert bound({name: d + 0.1 * rng.normal(size=d.shape) for name, d in given_duals.items()}) >= optimum - 1e-9


def test_an_empty_case_is_shown_by_hand() -> None:
    """x1 - x2 >= 3/4 cannot hold for x1 <= 1/2: the multiplier 1 gives max (x1 - x2) + max (-g1) = 1/2 - 3/4 < 0."""
    network = diamond()
    values = interval_bounds(network, Box(np.zeros(2), np.ones(2))).values
    case = {
        INPUT: Interval(np.array([[0.0, 0.0]]), np.array([[0.5, 1.0]])),
        "0": Interval(np.array([[0.75, -3.0]]), np.array([[1.0, -1.0]])),
    }
    substitution = Substitution(network, values, network.nodes[-1].name)
    zero, only = np.zeros((1, 1)), np.zeros(1, dtype=np.int64)
    bound = upper_bounds(substitution, zero, Cases(case), only, {"1": np.array([[1.0, 0.0]])})
    assert -0.25 <= bound[0] < -0.25 + 1e-12
    assert upper_bounds(substitution, zero, Cases(case), only)[0] >= 0.0
