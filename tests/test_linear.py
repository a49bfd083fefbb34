"""`milpcomp.bounds.linear`, `relaxation`, `optimise`: sound whatever the numbers, tight, the right gradient."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution, Trace, linear_bounds
from milpcomp.bounds.optimise import optimise, slope_gradient
from milpcomp.bounds.rational import row_minimum
from milpcomp.bounds.relaxation import default_alphas, relaxation
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box
from milpcomp.network import INPUT, Affine, Concat, Dense, Network, Rectifier, Scale
from tests.exact import PALETTE, awkward_array, awkward_box, cases, concat_network, exact_values, points
from tests.nets import chain, diamond, mlp, residual_cnn

Case = tuple[Network, np.ndarray, np.ndarray, np.random.Generator]


def both_sides(substitution: Substitution) -> tuple[np.ndarray, np.ndarray]:
    """Return units and signs for lower and upper bounds of every element of the source."""
    width = substitution.network.width(substitution.source)
    return np.tile(np.arange(width), 2), np.repeat([1.0, -1.0], width)


def random_alphas(substitution: Substitution, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return alphas of every rectifier below the source, a row for each of `count` rows or one for all."""
    rows = count if rng.random() < 0.5 else 1
    return {
        name: rng.integers(0, 256, size=(rows, substitution.network.width(name))).astype(np.uint8)
        for name in substitution.relaxations
    }


@given(cases())
@settings(max_examples=50)
def test_linear_bounds_enclose_exact_values(case: Case) -> None:
    """Whatever the alphas, no exact pre-activation at a point of the box lies outside its linear bounds."""
    network, low, high, rng = case
    values = interval_bounds(network, Box(low, high)).values
    exact = [exact_values(network, x) for x in points(rng, low, high, 3)]
    for node in network.rectifiers:
        substitution = Substitution(network, values, node.inputs[0])
        units, signs = both_sides(substitution)
        lower = substitution.lower(substitution.rows(units, signs), random_alphas(substitution, len(units), rng))
        assert not np.isnan(lower).any()
        assert (lower < np.inf).all()
        for sample in exact:
            for unit, sign, bound in zip(units.tolist(), signs.tolist(), lower.tolist(), strict=True):
                assert bound == -np.inf or Fraction(bound) <= int(sign) * sample[node.inputs[0]][unit]


@given(cases())
@settings(max_examples=30)
def test_optimised_bounds_enclose_exact_values(case: Case) -> None:
    """Optimised bounds enclose too, are never worse than the default ones, and are what `linear_bounds` replays."""
    network, low, high, rng = case
    values = interval_bounds(network, Box(low, high)).values
    node = network.rectifiers[-1]
    substitution = Substitution(network, values, node.inputs[0])
    units, signs = both_sides(substitution)
    best = optimise(substitution, units, signs, steps=3)
    assert (best.lower >= substitution.lower(substitution.rows(units, signs), substitution.default_alphas())).all()
    for x in points(rng, low, high, 3):
        sample = exact_values(network, x)[node.inputs[0]]
        for unit, sign, bound in zip(units.tolist(), signs.tolist(), best.lower.tolist(), strict=True):
            assert bound == -np.inf or Fraction(bound) <= int(sign) * sample[unit]
    for side, sign in (("lower", 1.0), ("upper", -1.0)):
        rows = signs == sign
        alphas = {name: alpha[rows] for name, alpha in best.alphas.items()}
        replayed = linear_bounds(network, values, node.name, side, units[rows], alphas)
        np.testing.assert_allclose(replayed, sign * best.lower[rows], rtol=1e-9, atol=1e-290)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_affine_chain_is_its_exact_minimum(seed: int, width: int) -> None:
    """Without rectifiers the linear bound is the least value over all corners, never above it and hardly below."""
    rng = np.random.default_rng(seed)
    first, second = awkward_array(rng, (3, width), PALETTE), awkward_array(rng, (2, 3), PALETTE)
    bias, shift = awkward_array(rng, (3,), PALETTE), awkward_array(rng, (2,), PALETTE)
    low, high = awkward_box(rng, (width,))
    network = chain((width,), Dense(first, bias), Scale(0.1, 0.3), Dense(second, shift), Rectifier())
    values = interval_bounds(network, Box(low, high)).values
    bounds = linear_bounds(network, values, "3", "lower", [0, 1], {})
    corners = [exact_values(network, np.array(c)) for c in product(*zip(low.tolist(), high.tolist(), strict=True))]
    reach = np.abs(first) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(bias)
    for unit in range(2):
        least = min(corner["2"][unit] for corner in corners)
        spread = np.abs(second[unit]) @ (0.1 * reach + 0.3) + np.abs(shift[unit])
        room = Fraction(1e-13 * float(spread) + 1e-250)
        assert Fraction(float(bounds[unit])) <= least <= Fraction(float(bounds[unit])) + room


@pytest.mark.parametrize(
    "build",
    [residual_cnn, concat_network, lambda rng: mlp([4, 6, 6, 5], rng, None, None), lambda rng: mlp([3, 5, 5], rng)],
)
def test_substitution_in_fractions_agrees(build: object) -> None:
    """The same lines substituted in exact arithmetic give the same bounds, up to 1e-9 of their size."""
    rng = np.random.default_rng(5)
    network: Network = build(rng)  # type: ignore[operator]
    box = Box(-0.5, 0.75).fit(network.input_shape)
    values = interval_bounds(network, box).values
    for node in network.rectifiers:
        substitution = Substitution(network, values, node.inputs[0])
        units, signs = (a[:6] for a in both_sides(substitution))
        trace = Trace()
        lower = substitution.lower(substitution.rows(units, signs), random_alphas(substitution, len(units), rng), trace)
        for k in range(0, len(units), 3):
            exact = exact_substitution(substitution, int(units[k]), int(signs[k]), trace, k)
            assert Fraction(lower[k]) <= exact
            assert float(exact) == pytest.approx(lower[k], rel=1e-9, abs=1e-9)


def exact_substitution(substitution: Substitution, unit: int, sign: int, trace: Trace, k: int) -> Fraction:
    """Substitute row k of a trace backward in Fractions, with dictionaries from unit to coefficient."""
    network = substitution.network
    rows: dict[str, dict[int, Fraction]] = {substitution.source: {unit: Fraction(sign)}}
    constant = Fraction(0)

    def send(name: str, entry: int, value: Fraction) -> None:
        row = rows.setdefault(name, {})
        row[entry] = row.get(entry, Fraction(0)) + value

    for node in reversed(substitution.nodes):
        shapes = [network.shape(name) for name in node.inputs]
        for entry, value in rows.pop(node.name, {}).items():
            if isinstance(node.layer, Affine):
                matrix = node.layer.matrix(shapes[0])
                for i in range(matrix.indptr[entry], matrix.indptr[entry + 1]):
                    send(node.inputs[0], int(matrix.indices[i]), value * Fraction(float(matrix.data[i])))
                offset = np.broadcast_to(node.layer.offset(), network.shape(node.name)).reshape(-1)
                constant += value * Fraction(float(offset[entry]))
            elif isinstance(node.layer, Rectifier):
                slope, intercept = trace.lines[node.name]
                send(node.inputs[0], entry, value * Fraction(float(slope[k, entry])))
                constant += value * Fraction(float(intercept[k, entry]))
            elif isinstance(node.layer, Concat):
                ids = [np.full(shape, i) for i, shape in enumerate(shapes)]
                positions = [np.arange(np.prod(shape)).reshape(shape) for shape in shapes]
                part = int(np.concatenate(ids, axis=node.layer.axis).reshape(-1)[entry])
                send(node.inputs[part], int(np.concatenate(positions, node.layer.axis).reshape(-1)[entry]), value)
            else:
                for name in node.inputs:
                    send(name, entry, value)
    bounds = substitution.values[INPUT]
    low, high = bounds.lower.reshape(-1).tolist(), bounds.upper.reshape(-1).tolist()
    return constant + sum((v * Fraction(low[i] if v > 0 else high[i]) for i, v in rows[INPUT].items()), Fraction(0))


def test_diamond_by_hand() -> None:
    """h1 + 2 h2 - 1 with h2 = 0 and alpha g1 <= h1 <= (g1 + 1) / 2 lies in [-1, 0]; with alpha = 1, in [-2, 0]."""
    network = diamond()
    with_end = Network((2,), [*network.nodes, type(network.nodes[0])("end", Rectifier(), ("2",))])
    values = interval_bounds(with_end, Box(0.0, 1.0)).values
    alphas = {"1": np.array([[0, 0]], dtype=np.uint8)}
    assert linear_bounds(with_end, values, "end", "lower", [0], alphas)[0] == pytest.approx(-1.0, abs=1e-13)
    assert linear_bounds(with_end, values, "end", "upper", [0], alphas)[0] == pytest.approx(0.0, abs=1e-13)
    steep = {"1": np.array([[255, 0]], dtype=np.uint8)}
    assert linear_bounds(with_end, values, "end", "lower", [0], steep)[0] == pytest.approx(-2.0, abs=1e-13)


def test_absolute_value_by_hand() -> None:
    """|x| - 2 x on [-1, 3]: chord |x| <= (x + 3) / 2 gives the upper bound 3, tangent x the lower bound -3."""
    network = chain((1,), Dense([[1.0], [2.0]]), Rectifier([1.0, 1.0], [-1.0, 1.0]), Dense([[1.0, -1.0]]), Rectifier())
    values = interval_bounds(network, Box(-1.0, 3.0)).values
    one = {"1": np.array([[255, 255]], dtype=np.uint8)}
    assert linear_bounds(network, values, "3", "lower", [0], one)[0] == pytest.approx(-3.0, abs=1e-12)
    assert linear_bounds(network, values, "3", "upper", [0], one)[0] == pytest.approx(3.0, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_lines_enclose_the_rectifier_exactly(seed: int) -> None:
    """For slopes of any sign, chord and tangents lie on the right sides of the rectifier at both ends and at 0."""
    rng = np.random.default_rng(seed)
    slopes = awkward_array(rng, (2, 6), PALETTE)
    ends = np.abs(awkward_array(rng, (2, 6), [5e-324, 1e-300, 1.0, 0.1, 1e12, 3.0]))
    bounds = Interval(-ends[0], ends[1])
    layer = Rectifier(*slopes)
    lines = relaxation(layer, bounds)
    tangents = lines.tangent(rng.integers(0, 256, size=(1, 6)).astype(np.uint8))[0]
    for i, (p, n) in enumerate(zip(*(map(Fraction, s.tolist()) for s in slopes), strict=True)):
        for z in (Fraction(-ends[0, i]), Fraction(0), Fraction(ends[1, i])):
            y = (p if z > 0 else n) * z
            chord = Fraction(lines.chord[i]) * z + Fraction(lines.intercept[i])
            above, below = (chord, Fraction(tangents[i]) * z) if lines.convex[i] else (Fraction(tangents[i]) * z, chord)
            assert below <= y <= above


def test_stable_neurons_are_exact() -> None:
    """A neuron that does not change sign is its own line, without intercept: no relaxation, no alpha."""
    lines = relaxation(Rectifier(2.0, -0.5), Interval(np.array([0.0, -3.0, -1.0]), np.array([2.0, 0.0, 1.0])))
    assert lines.open.tolist() == [False, False, True]
    assert lines.chord[:2].tolist() == [2.0, -0.5]
    assert lines.intercept[:2].tolist() == [0.0, 0.0]
    assert lines.tangent(np.array([[0, 255, 255]], dtype=np.uint8)).tolist() == [[2.0, -0.5, 2.0]]


def test_default_alphas_follow_the_larger_side() -> None:
    """Alpha is 1 where the upper bound exceeds minus the lower one."""
    assert default_alphas(Interval(np.array([-1.0, -2.0, -1.0]), np.array([2.0, 1.0, 1.0]))).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize(
    "build",
    [
        lambda rng: mlp([4, 7, 6, 5, 3], rng, None, None),
        residual_cnn,
        concat_network,
        lambda rng: mlp([3, 8, 8, 4], rng),
    ],
)
def test_gradient_is_that_of_autograd(build: object) -> None:
    """The analytic derivative by alpha equals what torch differentiates through the same substitution."""
    rng = np.random.default_rng(11)
    network: Network = build(rng)  # type: ignore[operator]
    values = interval_bounds(network, Box(-0.4, 0.6)).values
    node = network.rectifiers[-1]
    substitution = Substitution(network, values, node.inputs[0])
    units, signs = (a[:4] for a in both_sides(substitution))
    rows = substitution.rows(units, signs)
    alphas = {n: rng.integers(1, 255, size=(4, network.width(n))).astype(float) for n in substitution.relaxations}
    trace = Trace()
    lower = substitution.lower(rows, alphas, trace)
    leaves = {n: torch.tensor(a / 255, requires_grad=True) for n, a in alphas.items()}
    reference = torch_lower(substitution, torch.tensor(rows), leaves)
    np.testing.assert_allclose(reference.detach().numpy(), lower, rtol=1e-9)
    reference.sum().backward()
    for name, gradient in slope_gradient(substitution, trace).items():
        expected = leaves[name].grad
        assert expected is not None
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-7, atol=1e-9)


def torch_lower(substitution: Substitution, rows: torch.Tensor, alphas: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the bounds by dense matrices in torch, differentiable in alphas of shape (T, neurons)."""
    network, values = substitution.network, substitution.values
    waiting = {substitution.source: rows}
    constant = torch.zeros(len(rows), dtype=torch.float64)
    for node in reversed(substitution.nodes):
        row = waiting.pop(node.name)
        parts = [row] * len(node.inputs)
        if isinstance(node.layer, Affine):
            matrix = torch.tensor(node.layer.matrix(network.shape(node.inputs[0])).toarray())
            offset = np.broadcast_to(node.layer.offset(), network.shape(node.name)).reshape(-1)
            constant, parts = constant + row @ torch.tensor(offset.copy()), [row @ matrix]
        elif isinstance(node.layer, Rectifier):
            p, n = (torch.tensor(s.copy()) for s in node.layer.slopes(network.shape(node.name)))
            bounds = values[node.inputs[0]]
            low, high = torch.tensor(bounds.lower.reshape(-1)), torch.tensor(bounds.upper.reshape(-1))
            crossing = (low < 0) & (high > 0)
            chord = torch.where(crossing, (p * high - n * low) / (high - low), torch.where(low >= 0, p, n))
            intercept = torch.where(crossing, (p - n) * -low * high / (high - low), 0.0)
            tangent = torch.where(crossing, n + alphas[node.name] * (p - n), chord)
            on_tangent = (row >= 0) == (p >= n)
            constant = constant + (row * torch.where(on_tangent, 0.0, intercept)).sum(dim=1)
            parts = [row * torch.where(on_tangent, tangent, chord)]
        elif isinstance(node.layer, Concat):
            shapes = [network.shape(name) for name in node.inputs]
            joined = row.reshape(len(row), *network.shape(node.name))
            pieces = torch.split(joined, [shape[node.layer.axis] for shape in shapes], dim=node.layer.axis + 1)
            parts = [piece.reshape(len(row), -1) for piece in pieces]
        for name, part in zip(node.inputs, parts, strict=True):
            waiting[name] = waiting[name] + part if name in waiting else part
    low, high = (torch.tensor(b.reshape(-1)) for b in (values[INPUT].lower, values[INPUT].upper))
    row = waiting[INPUT]
    return constant + row.clamp_min(0) @ low + row.clamp_max(0) @ high


def test_optimisation_pays() -> None:
    """Twenty steps close a good part of the gap that the default slopes leave to three hundred steps."""
    network = mlp([10, 20, 20, 20], np.random.default_rng(2))
    values = interval_bounds(network, Box(-0.3, 0.3)).values
    substitution = Substitution(network, values, "2")
    units, signs = both_sides(substitution)
    default = substitution.lower(substitution.rows(units, signs), substitution.default_alphas())
    short, long = (optimise(substitution, units, signs, steps).lower for steps in (20, 300))
    open_rows = long < 0
    assert (short - default)[open_rows].sum() > 0.9 * (long - default)[open_rows].sum() > 0


def test_optimisation_stops_at_the_deadline() -> None:
    """After the deadline the default slopes are evaluated, and nothing else."""
    network = mlp([4, 6, 6], np.random.default_rng(0))
    values = interval_bounds(network, Box(-1.0, 1.0)).values
    substitution = Substitution(network, values, "2")
    units, signs = both_sides(substitution)
    best = optimise(substitution, units, signs, steps=10_000_000, deadline=0.0)
    default = substitution.lower(substitution.rows(units, signs), substitution.default_alphas())
    np.testing.assert_array_equal(best.lower, default)


def test_unknown_bounds_prove_nothing() -> None:
    """Where a bound below is infinite, linear bounds are infinite as well, and never NaN."""
    network = mlp([2, 3, 3], np.random.default_rng(0))
    values = dict(interval_bounds(network, Box(-1.0, 1.0)).values)
    values["0"] = Interval(values["0"].lower, np.array([np.inf, 1.0, 1.0]))
    values["1"] = Interval(values["1"].lower, np.array([np.inf, 1.0, 1.0]))
    ends = chain((2,), *(node.layer for node in network.nodes), Rectifier())
    alphas = {"1": np.zeros((1, 3), dtype=np.uint8)}
    assert linear_bounds(ends, values, "3", "lower", [0, 1, 2], alphas).tolist() == [-np.inf] * 3
    assert linear_bounds(ends, values, "3", "upper", [0, 1, 2], alphas).tolist() == [np.inf] * 3


def test_blocks_do_not_change_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds computed a few rows at a time are those computed at once, up to the order of sums."""
    network = residual_cnn(np.random.default_rng(4))
    values = interval_bounds(network, Box(0.0, 1.0)).values
    substitution = Substitution(network, values, "add")
    units = np.arange(network.width("add"))
    whole = linear_bounds(network, values, "relu3", "upper", units, substitution.default_alphas())
    monkeypatch.setattr("milpcomp.bounds.linear.BLOCK_ELEMENTS", 500)
    assert len(list(substitution.blocks(len(units)))) > 5
    cut = linear_bounds(network, values, "relu3", "upper", units, substitution.default_alphas())
    np.testing.assert_allclose(cut, whole, rtol=1e-9)


def test_row_minimum_is_what_the_first_layer_gets() -> None:
    """On the first layer the linear bound is the exact interval bound, up to the last bits."""
    rng = np.random.default_rng(8)
    network = mlp([5, 4, 2], rng)
    box = Box(-1.0, 2.0).fit((5,))
    values = interval_bounds(network, box).values
    layer = network["0"].layer
    assert isinstance(layer, Dense)
    for unit, bound in enumerate(linear_bounds(network, values, "1", "lower", range(4), {})):
        least = row_minimum(layer.weight[unit], float(layer.bias[unit]), box.lower, box.upper)
        assert Fraction(bound) <= least
        assert float(least) == pytest.approx(bound, rel=1e-13)
