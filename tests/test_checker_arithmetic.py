"""The checker's arithmetic encloses the exact values, on weights chosen to break it."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.checker.arithmetic import require_ieee
from milpcomp.checker.document import INPUT, Linear, Model, read_network
from milpcomp.checker.exact import exact_elements
from milpcomp.checker.intervals import Interval, interval_step, rounded_up
from milpcomp.checker.linear import chord, linear_bounds
from milpcomp.checker.records import Slopes, earlier_rectifiers
from milpcomp.checker.sweep import prove_bounds
from milpcomp.checker.witnesses import forward
from milpcomp.domain import Box
from milpcomp.network import Add, Dense, Network, Node, Rectifier, Scale
from tests.nets import chain, mlp
from tests.oracle import exact_ranges

NASTY = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-300, -1e-300, 5e-324, -5e-324, 1e12, -1e12, 0.1, -0.1, 2.0**-537, 1e150]),
    st.floats(-4, 4, allow_subnormal=True),
)
SLOPE = st.sampled_from([0.0, 1.0, -1.0, 0.1, -0.3, 1.5, 1e-300, 1e10])


@st.composite
def nasty_networks(draw: st.DrawFn, inputs: int = 2, widths: tuple[int, ...] = (3, 3, 1)) -> Network:
    """Draw a dense network with slopes of any sign, a residual connection, and weights of any size."""

    def numbers(*shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return np.array(draw(st.lists(NASTY, min_size=count, max_size=count))).reshape(shape)

    nodes, last, width = [], INPUT, inputs
    for i, wide in enumerate(widths):
        nodes.append(Node(f"dense{i}", Dense(numbers(wide, width), numbers(wide)), (last,)))
        slopes = [np.array(draw(st.lists(SLOPE, min_size=wide, max_size=wide))) for _ in range(2)]
        nodes.append(Node(f"relu{i}", Rectifier(*slopes), (f"dense{i}",)))
        last = f"relu{i}"
        if wide == width:
            nodes.append(Node(f"add{i}", Add(), (last, nodes[-2].inputs[0])))
            last = f"add{i}"
        width = wide
    nodes.append(Node("end", Dense(numbers(2, width), numbers(2)), (last,)))
    nodes.append(Node("last", Rectifier(), ("end",)))
    return Network((inputs,), nodes)


def fractions_of(model: Model, x: np.ndarray) -> dict[str, list[Fraction]]:
    """Evaluate every value with `Fraction`, entry by entry."""
    values = {INPUT: [Fraction(float(v)) for v in x.reshape(-1)]}
    for step in model.steps:
        if isinstance(step, Linear):
            sums = [Fraction(float(b)) for b in step.offset]
            for source, matrix in step.matrices.items():
                table = matrix.toarray()
                for i, row in enumerate(table):
                    sums[i] += sum(Fraction(float(w)) * v for w, v in zip(row, values[source], strict=True))
            values[step.name] = sums
        else:
            source_values = values[step.source]
            values[step.name] = [
                Fraction(float(p if v >= 0 else n)) * v
                for p, n, v in zip(step.positive, step.negative, source_values, strict=True)
            ]
    return values


@settings(max_examples=60)
@given(nasty_networks(), st.lists(NASTY, min_size=4, max_size=4))
def test_balls_and_exact_evaluation(network: Network, numbers: list[float]) -> None:
    """Every exact value lies in its ball, and the integer evaluation is the Fraction evaluation."""
    model = read_network(network)
    points = np.array(numbers).reshape(2, 2)
    balls = forward(model, points)
    for column, point in enumerate(points):
        truth = fractions_of(model, point)
        for name, expected in truth.items():
            ball = balls[name]
            for i, value in enumerate(expected):
                assert ball.lower[i, column] == -np.inf or Fraction(float(ball.lower[i, column])) <= value
                assert ball.upper[i, column] == np.inf or Fraction(float(ball.upper[i, column])) >= value
            units = list(range(len(expected)))[::-1]
            if name != INPUT:
                assert exact_elements(model, point, name, units) == expected[::-1]


def records_for(model: Model, rng: np.random.Generator) -> list[Slopes]:
    """Return records of random slopes for both sides of every neuron."""
    return [
        Slopes(
            step.name,
            upper,
            np.arange(model.size(step.name)),
            {
                name: rng.integers(0, 256, size=(int(rng.choice([1, model.size(step.name)])), model.size(name))).astype(
                    np.uint8
                )
                for name in earlier_rectifiers(model, step)
            },
            sweep,
        )
        for step in model.rectifiers
        for upper in (False, True)
        for sweep in (0, 1)
    ]


@settings(max_examples=60)
@given(nasty_networks(), st.integers(0, 2**32 - 1), st.lists(NASTY, min_size=4, max_size=4))
def test_bounds_enclose_exact_values(network: Network, seed: int, numbers: list[float]) -> None:
    """Interval bounds and linear bounds with any slopes hold at every point of the box, exactly evaluated."""
    model, rng = read_network(network), np.random.default_rng(seed)
    low, high = np.sort(np.array(numbers).reshape(2, 2), axis=0)
    bounds = prove_bounds(model, (low, high), records_for(model, rng))
    points = [
        low,
        high,
        np.array([low[0], high[1]]),
        *(np.clip(low + rng.random(2) * (high - low), low, high) for _ in range(2)),
    ]
    for point in points:
        for name, values in fractions_of(model, point).items():
            for i, value in enumerate(values):
                assert bounds[name].lower[i] == -np.inf or Fraction(float(bounds[name].lower[i])) <= value
                assert bounds[name].upper[i] == np.inf or Fraction(float(bounds[name].upper[i])) >= value


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_bounds_enclose_true_ranges(seed: int) -> None:
    """Over a box, bounds enclose the true range of every pre-activation, and linear ones are no looser."""
    rng = np.random.default_rng(seed)
    network = mlp([2, 3, 3, 2], rng, *((None, None) if seed % 2 else (1.0, 0.0)))
    network = Network((2,), [*network.nodes, Node("end", Rectifier(), (network.output,))])
    model, box = read_network(network), Box(np.array([-1.0, 0.0]), np.array([1.0, 0.5]))
    plain = prove_bounds(model, (box.lower, box.upper))
    tight = prove_bounds(model, (box.lower, box.upper), records_for(model, rng))
    for name, truth in exact_ranges(network, box).items():
        source = network[name].inputs[0]
        for i, (least, most) in enumerate(truth):
            assert plain[source].lower[i] <= tight[source].lower[i] <= least
            assert plain[source].upper[i] >= tight[source].upper[i] >= most


@given(st.floats(-1e6, 0, exclude_max=True), st.floats(0, 1e6, exclude_min=True), st.floats(-4, 4), st.floats(-4, 4))
def test_chords_pass_both_ends(low: float, high: float, p: float, n: float) -> None:
    """The heights of a chord, exactly evaluated, put it above and below the rectifier at both ends of its interval."""
    with np.errstate(all="ignore"):
        slope, above, below = chord(Interval(np.array([low]), np.array([high])), np.array([p]), np.array([n]))
    assert np.isfinite(above).all()
    for x, y in ((low, Fraction(n) * Fraction(low)), (high, Fraction(p) * Fraction(high))):
        line = Fraction(float(slope[0])) * Fraction(x)
        assert line + Fraction(float(below[0])) <= y <= line + Fraction(float(above[0]))


def test_linear_bound_by_hand() -> None:
    """For h1 - h2 of x + 1 and x over [-1, 1], intervals give [-1, 2], the chord 0, and slopes 0 and 1 give 2 and 1."""
    network = chain((1,), Dense([[1.0], [1.0]], [1.0, 0.0]), Rectifier(), Dense([[1.0, -1.0]]), Rectifier())
    model, box = read_network(network), (np.array([-1.0]), np.array([1.0]))
    plain = prove_bounds(model, box)["2"]
    assert (plain.lower[0], plain.upper[0]) == (pytest.approx(-1.0), pytest.approx(2.0))
    for alpha, most in ((0, 2.0), (255, 1.0)):
        slopes = {"1": np.full((1, 2), alpha, dtype=np.uint8)}
        records = [Slopes("3", upper, np.array([0]), slopes, 0) for upper in (False, True)]
        found = prove_bounds(model, box, records)["2"]
        assert found.lower[0] == pytest.approx(0.0, abs=1e-13)  # 1 + x - (x + 1) / 2 at x = -1
        assert found.upper[0] == pytest.approx(most, abs=1e-13)


@pytest.mark.parametrize("order", list(permutations([2.0**60, 1.0, -(2.0**60)])))
def test_cancelling_coefficients(order: tuple[float, ...]) -> None:
    """The coefficient of x in 2^60 x + x - 2^60 x is 1, whatever floats make of it: the bounds over [-1, 1] hold."""
    network = chain((1,), Dense([[w] for w in order]), Rectifier(1.0, 1.0), Dense([[1.0, 1.0, 1.0]]), Rectifier())
    model = read_network(network)
    slopes = {"1": np.zeros((1, 3), dtype=np.uint8)}
    for upper in (False, True):
        with np.errstate(all="ignore"):
            boxes = prove_bounds(model, (np.array([-1.0]), np.array([1.0])))
            found = linear_bounds(model, boxes, Slopes("3", upper, np.array([0]), slopes, 0))[0]
        assert found >= 1.0 if upper else found <= -1.0


@pytest.mark.parametrize(
    ("weight", "bias", "upper"),
    [
        ([[-1.0, -2.0]], [0.0], 0.0),
        ([[0.0, 0.0]], [0.0], 0.0),
        ([[0.1, -0.5]], [-0.1], 0.0),
        ([[0.1, 0.2]], [-(0.1 + 0.2)], 0.0),  # 0.1 + 0.2 rounds up, so the true maximum is negative
        ([[1e12, 1e-300]], [-1e12], 1e-300),
        ([[1e12, -1e-300]], [-1e12], 0.0),
    ],
)
def test_maxima_near_zero_are_exact(weight: list[list[float]], bias: list[float], upper: float) -> None:
    """Where rounding alone leaves the sign of a bound open, exact arithmetic decides it."""
    model = read_network(chain((2,), Dense(weight, bias), Rectifier()))
    found = interval_step(model.steps[0], {INPUT: Interval(np.zeros(2), np.ones(2))}).upper[0]
    truth = sum((max(Fraction(w), Fraction(0)) for w in weight[0]), Fraction(bias[0]))
    assert truth <= found <= upper


def test_overflow_is_no_bound() -> None:
    """Where floats overflow, nothing is claimed."""
    network = chain((1,), Dense([[1e308]], [1e308]), Rectifier(), Scale(1e10), Dense([[1.0]], [-1.0]), Rectifier())
    model = read_network(network)
    bounds = prove_bounds(model, (np.array([-1.0]), np.array([1.0])))
    assert bounds["3"].upper[0] == np.inf
    assert bounds["3"].lower[0] <= -1.0
    ball = forward(model, np.array([[1.0]]))["3"]
    assert ball.upper[0, 0] == np.inf
    assert ball.lower[0, 0] <= 1e308


@given(st.fractions())
def test_rounding_up(number: Fraction) -> None:
    """A fraction is rounded to a float that is not below it, and exact ones are kept."""
    assert rounded_up(number) >= number
    assert rounded_up(Fraction(float(number))) == float(number)


def test_rounding_up_beyond_floats() -> None:
    """What no float can hold becomes infinity above and the least float below."""
    assert rounded_up(Fraction(10) ** 400) == np.inf
    assert rounded_up(-(Fraction(10) ** 400)) == -float(np.finfo(np.float64).max)


def test_denormals_are_kept_here() -> None:
    """The floating-point mode that the error bounds need is the one that is on."""
    require_ieee()
    assert np.full(4, 5e-324).sum() == 4 * 5e-324


def test_denormal_inputs_times_huge_weights() -> None:
    """3 fl(0.1) - fl(0.3) = 2^-55 exactly, and a float sum says 2^-54; scaled by 2^1000 and 2^-1074 it is enclosed."""
    network = chain((2,), Dense([[0.1 * 2.0**1000, -0.3 * 2.0**1000]]), Rectifier())
    value = forward(read_network(network), np.array([[3.0, 1.0]]) * 2.0**-1074)["0"]
    assert value.lower[0, 0] <= 2.0**-55 * 2.0**-74 <= value.upper[0, 0]
    assert value.centre[0, 0] == 2.0**-54 * 2.0**-74
