"""`milpcomp.bounds.interval` encloses exact arithmetic, and is exact where it can be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.interval import Interval, propagate, step
from milpcomp.bounds.rational import row_minimum
from milpcomp.network import Add, Dense, Network, Rectifier, Scale
from tests.exact import PALETTE, awkward_array, awkward_box, cases, exact_values, points
from tests.nets import chain, diamond, mlp, residual_cnn

Case = tuple[Network, np.ndarray, np.ndarray, np.random.Generator]


def encloses(interval: Interval, exact: list[Fraction]) -> bool:
    """Tell whether a sample's interval (with or without batch axis of one) holds the exact values."""
    pairs = zip(interval.lower.reshape(-1).tolist(), interval.upper.reshape(-1).tolist(), exact, strict=True)
    return all((lo == -np.inf or Fraction(lo) <= v) and (hi == np.inf or v <= Fraction(hi)) for lo, hi, v in pairs)


@given(cases())
@settings(max_examples=50)
def test_every_value_is_enclosed(case: Case) -> None:
    """At points of the box, the exact value of every node lies between its bounds; no bound is NaN."""
    network, lower, upper, rng = case
    bounds = propagate(network, lower[None], upper[None])
    for x in points(rng, lower, upper, 3):
        for name, exact in exact_values(network, x).items():
            assert encloses(bounds[name], exact), name
    assert not any(np.isnan(b.lower).any() or np.isnan(b.upper).any() for b in bounds.values())


@given(cases())
@settings(max_examples=30)
def test_points_are_enclosed(case: Case) -> None:
    """A point is a box: the exact values at the point lie between its bounds."""
    network, lower, upper, rng = case
    x = points(rng, lower, upper, 1)
    bounds, values = propagate(network, x, x), exact_values(network, x[0])
    assert all(encloses(bounds[name], exact) for name, exact in values.items())


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_one_layer_is_exact_up_to_rounding(seed: int, width: int) -> None:
    """Bounds of an affine layer over a box are its exact extremes, up to an error relative to its magnitudes."""
    rng = np.random.default_rng(seed)
    weight, bias = awkward_array(rng, (3, width), PALETTE), awkward_array(rng, (3,), PALETTE)
    lower, upper = awkward_box(rng, (width,))
    bounds = step(Dense(weight, bias), [Interval(lower[None], upper[None])])
    with np.errstate(all="ignore"):
        slack = 1e-13 * (np.abs(weight) @ np.maximum(np.abs(lower), np.abs(upper)) + np.abs(bias)) + 1e-300
    for row in range(3):
        least = row_minimum(weight[row], float(bias[row]), lower, upper)
        greatest = -row_minimum(-weight[row], -float(bias[row]), lower, upper)
        low, high, room = float(bounds.lower[0, row]), float(bounds.upper[0, row]), float(slack[row])
        assert least - Fraction(room) <= Fraction(low) <= least
        assert greatest <= Fraction(high) <= greatest + Fraction(room)


@given(st.integers(0, 2**32 - 1))
def test_signs_of_one_layer_are_decided(seed: int) -> None:
    """Over a box, an affine row has lower >= 0 exactly when its exact minimum is, and upper <= 0 likewise."""
    rng = np.random.default_rng(seed)
    weight, bias = awkward_array(rng, (4, 3), PALETTE), awkward_array(rng, (4,), PALETTE)
    lower, upper = awkward_box(rng, (3,))
    bounds = step(Dense(weight, bias), [Interval(lower[None], upper[None])])
    for row in range(4):
        least = row_minimum(weight[row], float(bias[row]), lower, upper)
        greatest = -row_minimum(-weight[row], -float(bias[row]), lower, upper)
        assert (bounds.lower[0, row] >= 0) == (least >= 0)
        assert (bounds.upper[0, row] <= 0) == (greatest <= 0)


def test_diamond_by_hand() -> None:
    """On the unit square g1 is in [-1, 1], g2 in [-3, -1], the output in [-1, 0]: exactly, up to the last bits."""
    bounds = propagate(diamond(), np.zeros((1, 2)), np.ones((1, 2)))
    np.testing.assert_allclose(bounds["0"].lower, [[-1.0, -3.0]], rtol=1e-14)
    np.testing.assert_allclose(bounds["0"].upper, [[1.0, -1.0]], rtol=1e-14)
    assert bounds["1"].lower.tolist() == [[0.0, 0.0]]
    assert bounds["1"].upper[0, 1] == 0.0
    assert bounds["2"].lower.tolist() == [[-1.0]]  # h = 0 is exact, so is the bias
    assert 0.0 <= bounds["2"].upper[0, 0] < 1e-14


def test_zeros_stay_zeros() -> None:
    """Dead rows, non-positive rows with b <= 0 and rectified lower bounds are exact: no rounding, no error."""
    rows = Dense([[0.0, 0.0], [-1 / 3, -0.1], [-0.7, 0.0], [0.1, 0.3]], [0.0, 0.0, -0.2, 0.0])
    network = chain((2,), Scale(1 / 3, 0.1), Rectifier(), Dense([[-1.0, -1.0], [0.1, -0.3]]), Rectifier(), rows)
    bounds = propagate(network, np.full((1, 2), -1.0), np.ones((1, 2)))
    assert (bounds["1"].lower == 0.0).all()
    assert bounds["2"].upper[0, 0] == 0.0
    assert bounds["3"].upper[0, 0] == 0.0
    assert (bounds["4"].lower[0, 0], bounds["4"].upper[0, 0]) == (0.0, 0.0)
    assert bounds["4"].upper[0, :3].tolist() == [0.0, 0.0, -0.2]
    assert bounds["4"].lower[0, 3] == 0.0


def test_cancelling_row_is_decided_exactly() -> None:
    """A row whose exact maximum is 0 has upper bound 0, although its float sum rounds: 0.1 + 0.2 - 0.3, exactly."""
    weight = np.array([[0.1, 0.2, -(0.1 + 0.2)]])
    excess = sum((Fraction(w) for w in weight[0].tolist()), Fraction(0))
    assert excess != 0  # the three floats do not cancel exactly
    top = step(Dense(weight, [-float(excess)]), [Interval(np.ones((1, 3)), np.ones((1, 3)))])
    assert (top.lower[0, 0], top.upper[0, 0]) == (0.0, 0.0)
    ball = Interval(np.array([[0.0, 0.0, 1.0]]), np.ones((1, 3)))
    assert step(Dense(weight, [-float(excess)]), [ball]).upper[0, 0] == 0.0


@pytest.mark.parametrize(
    ("slopes", "box", "expected"),
    [
        ((1.0, 0.0), (-2.0, 3.0), (0.0, 3.0)),
        ((1.0, -1.0), (-2.0, 3.0), (0.0, 3.0)),
        ((1.0, -1.0), (-4.0, 3.0), (0.0, 4.0)),
        ((1.0, -1.0), (-4.0, -1.0), (1.0, 4.0)),
        ((-1.0, 1.0), (-4.0, 3.0), (-4.0, 0.0)),
        ((-1.0, 0.0), (-4.0, 3.0), (-3.0, 0.0)),
        ((0.0, 0.0), (-np.inf, np.inf), (0.0, 0.0)),
        ((1.0, 0.0), (-np.inf, np.inf), (0.0, np.inf)),
        ((1.0, 1.0), (-4.0, 3.0), (-4.0, 3.0)),
    ],
)
def test_rectifier_by_hand(
    slopes: tuple[float, float], box: tuple[float, float], expected: tuple[float, float]
) -> None:
    """Rectifiers of any slopes, |x| and unknown values included, have the range that a drawing shows."""
    result = step(Rectifier(*slopes), [Interval(np.array([[box[0]]]), np.array([[box[1]]]))])
    assert (result.lower[0, 0], result.upper[0, 0]) == expected


def test_rectifier_products_round_outward() -> None:
    """0.1 * 0.1 is not a float: its bounds are the floats on either side of the real product."""
    point = np.array([[0.1]])
    result = step(Rectifier(0.1, 0.0), [Interval(point, point)])
    assert Fraction(float(result.lower[0, 0])) < Fraction(0.1) ** 2 < Fraction(float(result.upper[0, 0]))


def test_overflow_fails_closed() -> None:
    """Sums that overflow, and what is built on them, are unbounded; other rows keep their bounds."""
    network = chain((1,), Dense([[1e308], [1.0]], [1e308, 0.0]), Rectifier(), Dense([[1e10, -1e10], [1.0, -1.0]]))
    bounds = propagate(network, np.zeros((1, 1)), np.full((1, 1), 10.0))
    assert (bounds["0"].lower[0, 0], bounds["0"].upper[0, 0]) == (1e308, np.inf) or bounds["0"].lower[0, 0] == -np.inf
    assert bounds["0"].upper[0, 1] < 10.1
    assert bounds["2"].lower[0].tolist() == [-np.inf, -np.inf]
    assert bounds["2"].upper[0].tolist() == [np.inf, np.inf]


def test_sums_of_one_value_are_exact() -> None:
    """An addition in which only one input is non-zero does not round."""
    a, b = np.array([[0.1, 0.1]]), np.array([[0.0, 0.2]])
    total = step(Add(), [Interval(a, a), Interval(b, b)])
    assert (total.lower[0, 0], total.upper[0, 0]) == (0.1, 0.1)
    assert total.lower[0, 1] < 0.1 + 0.2 < total.upper[0, 1]


@pytest.mark.parametrize("build", [residual_cnn, lambda rng: mlp([4, 6, 5, 3], rng, None, None)])
def test_batches_are_samples(build: object) -> None:
    """Each box of a batch gets the bounds that it gets alone, up to the order in which sums are taken."""
    rng = np.random.default_rng(3)
    network = build(rng)  # type: ignore[operator]
    centre = rng.normal(size=(3, *network.input_shape))
    radius = rng.random(centre.shape) * np.array([0.0, 0.1, 1.0]).reshape(3, *[1] * len(network.input_shape))
    together = propagate(network, centre - radius, centre + radius)
    for i in range(3):
        alone = propagate(network, (centre - radius)[i : i + 1], (centre + radius)[i : i + 1])
        for name, bounds in alone.items():
            np.testing.assert_allclose(together[name].lower[i], bounds.lower[0], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(together[name].upper[i], bounds.upper[0], rtol=1e-9, atol=1e-9)


def test_meeting_keeps_the_tighter_side() -> None:
    """The intersection of two intervals has the greater lower and the lesser upper bound."""
    met = Interval(np.array([0.0, -2.0]), np.array([3.0, 1.0])).meet(
        Interval(np.array([-1.0, -1.0]), np.array([2.0, 4.0]))
    )
    assert met.lower.tolist() == [0.0, -1.0]
    assert met.upper.tolist() == [2.0, 1.0]
    assert met.magnitude().tolist() == [2.0, 1.0]
