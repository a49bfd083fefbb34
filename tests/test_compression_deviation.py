"""The proved deviation: balls against Fractions, and the bound by hand and against exact evaluation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.interval import Interval
from milpcomp.compression import Fix, Fold, Join, Merge, Remove, rewrite
from milpcomp.compression.balls import Ball, accumulate
from milpcomp.compression.dependence import dependent_rows, parallel_rows
from milpcomp.compression.deviation import deviation, ranges
from milpcomp.compression.edits import Edit
from milpcomp.domain import Box
from milpcomp.errors import EditError
from milpcomp.network import AveragePool, Conv2d, Dense, Network, Rectifier, Reshape
from tests.exact import exact_values
from tests.handmade import interval_report, points, verdict
from tests.nets import chain

SQUARE = Box(np.zeros(2), np.ones(2))

floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1e-320, 1e-300, 0.1, 1 / 3, 1e300])


# ---------------------------------------------------------------------------------------------------- balls


@given(floats, floats, floats)
def test_balls_contain_the_exact_result(a: float, b: float, c: float) -> None:
    """The exact a * b + c - a lies in its ball, underflow and overflow included."""
    x, y, z = (Ball.exact(v) for v in (a, b, c))
    result = x * y + z - x
    exact = Fraction(a) * Fraction(b) + Fraction(c) - Fraction(a)
    if np.isfinite(result.bound):
        assert abs(Fraction(float(result.value)) - exact) <= Fraction(float(result.bound))
    if np.isfinite(result.magnitude):
        assert abs(exact) <= Fraction(float(result.magnitude))


@given(st.integers(-(2**20), 2**20), st.integers(-(2**20), 2**20), st.integers(-40, 40))
def test_balls_of_exact_operations_are_points(m: int, n: int, k: int) -> None:
    """Products and sums of small whole numbers times powers of two round nothing, and the bound is exactly 0."""
    a, b = np.ldexp(float(m), k), np.ldexp(float(n), -k)
    result = Ball.exact(a) * Ball.exact(b) + Ball.exact(np.ldexp(float(n), 0)) * Ball.exact(3.0)
    assert result.bound == 0.0
    assert Fraction(float(result.value)) == Fraction(float(a)) * Fraction(float(b)) + 3 * n


def test_balls_tell_rounding() -> None:
    """1/10 + 2/10 is off by one unit in the last place at most, and more than nothing."""
    total = Ball.exact(0.1) + Ball.exact(0.2)
    off = abs(Fraction(float(total.value)) - Fraction(0.1) - Fraction(0.2))
    assert 0 < off <= Fraction(float(total.bound)) <= 2 * off


def test_overflow_is_an_infinite_ball() -> None:
    """Nothing is known of a product beyond the largest float."""
    assert (Ball.exact(1e200) * Ball.exact(1e200)).bound == np.inf
    assert (Ball.exact(1e308) + Ball.exact(1e308)).bound == np.inf


@pytest.mark.parametrize("few", [0, 4])
@pytest.mark.parametrize("small", [0, 10**6])
def test_accumulated_products_contain_the_exact_ones(monkeypatch: pytest.MonkeyPatch, few: int, small: int) -> None:
    """Known errors and a-priori bounds both cover the exact start + left @ right, given radii included."""
    monkeypatch.setattr("milpcomp.compression.balls.FEW_TERMS", few)
    monkeypatch.setattr("milpcomp.compression.balls.SMALL_PRODUCT", small)
    rng = np.random.default_rng(0)
    start, left, right = (
        rng.normal(size=(5, 7)),
        rng.normal(size=(5, 6)) * (rng.random((5, 6)) < 0.6),
        rng.normal(size=(6, 7)),
    )
    found = accumulate(Ball.exact(start), Ball.exact(left), Ball(right, np.full((6, 7), 1e-3)))
    for i, j in np.ndindex(5, 7):
        moved = [Fraction(float(right[k, j])) + Fraction(1, 1000) * int(np.sign(left[i, k])) for k in range(6)]
        exact = Fraction(float(start[i, j])) + sum(Fraction(float(left[i, k])) * moved[k] for k in range(6))
        assert abs(exact - Fraction(float(found.value[i, j]))) <= Fraction(float(found.bound[i, j]))
    whole = accumulate(Ball.exact(np.round(start)), Ball.exact(np.round(left)), Ball.exact(np.round(right)))
    assert np.array_equal(whole.value, np.round(start) + np.round(left) @ np.round(right))
    assert (whole.bound == 0).all() == (small > 0 or few > 0)


# ---------------------------------------------------------------------------------------------------- dependence


def test_dependent_rows_by_hand() -> None:
    """Of [1 0], [0 1], [3 -2], [1/2 0], two are a base, whichever, and the others follow exactly."""
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, -2.0], [0.5, 0.0]])
    found = dependent_rows(rows)
    assert (len(found.base), len(found.dependent)) == (2, 2)
    assert np.allclose(found.matrix @ rows[found.base], rows[found.dependent], rtol=0, atol=1e-15)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_planted_rank_is_found_whatever_the_scale_of_rows(seed: int) -> None:
    """Products (m x r) (r x n) with rows scaled from 1e-9 to 1e9 have r base rows; whole numbers come out exactly."""
    rng = np.random.default_rng(seed)
    rank, count = int(rng.integers(0, 6)), int(rng.integers(6, 12))
    independent = rng.normal(size=(rank, 20))
    mixing = np.vstack([np.eye(rank), rng.integers(-3, 4, size=(count - rank, rank))])
    rows = (mixing @ independent) * 10.0 ** rng.integers(-9, 10, size=(count, 1))
    found = dependent_rows(rows)
    assert len(found.base) == rank
    error = np.abs(found.matrix @ rows[found.base] - rows[found.dependent]).max(axis=1, initial=0.0)
    assert (error <= 1e-11 * (np.abs(found.matrix) @ np.abs(rows[found.base])).max(axis=1, initial=0.0) + 1e-300).all()


def test_parallel_rows_have_one_sign() -> None:
    """Positive multiples are found, with their factor; negative ones and zero rows are not."""
    rows = np.array([[1.0, -2.0], [0.0, 0.0], [3.0, -6.0], [-1.0, 2.0], [-0.5, 1.0], [0.0, 0.0], [0.0, -2.0]])
    assert parallel_rows(rows) == [(2, 0, 3.0), (4, 3, 0.5)]


# ---------------------------------------------------------------------------------------------------- the bound by hand


def bound(network: Network, *edits: Remove | Fix | Join | Merge | Fold) -> float:
    """Return the proved deviation of edits on the unit square."""
    known = ranges(network, SQUARE)
    return float(deviation(network, edits, SQUARE, known).max())


def test_wrong_constant_costs_its_distance_times_the_weight() -> None:
    """Fixing an output of [1, 3] at 2 is wrong by at most 1, behind the weight 5 by 5; at 1 it is wrong by 10."""
    network = chain((2,), Dense([[1.0, 1.0], [1.0, -1.0]], [1.0, 0.0]), Rectifier(), Dense([[5.0, 1.0]]))
    assert bound(network, Fix("1", (0,), (2.0,))) == pytest.approx(5.0, rel=1e-5)
    assert bound(network, Fix("1", (0,), (1.0,))) == pytest.approx(10.0, rel=1e-5)


def test_wrong_merge_costs_the_residual_of_its_rows() -> None:
    """x1 + 2 is not 0.5 (2 x1 + x2 + 1): the difference 1.5 - x2 / 2 is bounded by 0.5 + 1.5, behind weight 3 by 6."""
    network = chain((2,), Dense([[2.0, 1.0], [1.0, 0.0]], [1.0, 2.0]), Rectifier(), Dense([[1.0, 3.0]]))
    verdicts = (verdict("1", 0, 1.0, 4.0), verdict("1", 1, 2.0, 3.0))
    merge = Merge("1", (1,), (0,), np.array([[0.5]]), np.zeros(1), verdicts)
    assert bound(network, merge) == pytest.approx(6.0, rel=1e-5)
    exact = Merge("1", (1,), (0,), np.array([[0.5]]), np.array([1.5]), verdicts)
    assert bound(network, exact) == pytest.approx(1.5, rel=1e-5)


def test_wrong_join_costs_the_steeper_slope() -> None:
    """Rows that differ by 0.25 in one weight, slopes (1, -2), weight 1: off by at most 0.5."""
    network = chain((2,), Dense([[1.0, -1.0], [1.25, -1.0]]), Rectifier(1.0, -2.0), Dense([[0.0, 1.0]]))
    assert bound(network, Join("1", (1,), (0,), (1.0,))) == pytest.approx(0.5, rel=1e-5)


def test_errors_pass_later_layers_with_their_absolute_weights() -> None:
    """An error of 1 behind weights (2, -3), slopes (1, 0.5) and weights (1, 1) is 5, whatever the signs."""
    network = chain(
        (2,), Dense([[1.0, 1.0]], [1.0]), Rectifier(), Dense([[2.0], [-3.0]]), Rectifier(1.0, 0.5), Dense([[1.0, 1.0]])
    )
    assert bound(network, Fix("1", (0,), (2.0,))) == pytest.approx(5.0, rel=1e-5)


def test_removal_after_a_wrong_constant_forgets_its_error() -> None:
    """A dead neuron is zero in both networks, so errors of what it reads end there."""
    network = chain(
        (2,),
        Dense([[1.0, 1.0]], [1.0]),
        Rectifier(),
        Dense([[1.0], [1.0]], [-9.0, 0.0]),
        Rectifier(),
        Dense([[7.0, 1.0]]),
    )
    edits = (Fix("1", (0,), (2.0,)), Remove("3", (0,), (verdict("3", 0, -8.0, -6.0),)))
    assert bound(network, *edits) == pytest.approx(1.0, rel=1e-5)


def test_merging_needs_rows() -> None:
    """Channels behind something that is no dense layer or convolution have no rows that could depend."""
    network = chain((2,), Rectifier(), Dense([[1.0, 1.0]]))
    with pytest.raises(EditError, match="not rows of one layer"):
        bound(network, Join("0", (1,), (0,), (1.0,)))


def test_proved_bounds_tighten_ranges_and_must_not_contradict_them() -> None:
    """Bounds of pre-activations are met with interval arithmetic; an empty meet is an error."""
    network = chain((2,), Dense([[1.0, 1.0]]), Rectifier(), Dense([[1.0]]))
    known = ranges(network, SQUARE, {"1": Interval(np.array([0.5]), np.array([9.0]))})
    assert known["0"].lower.item() == 0.5
    assert known["2"].lower.item() == pytest.approx(0.5)
    assert known["0"].upper.item() == pytest.approx(2.0)
    with pytest.raises(EditError, match="contradict interval arithmetic"):
        ranges(network, SQUARE, {"1": Interval(np.array([5.0]), np.array([9.0]))})


# ---------------------------------------------------------------------------------------------------- in exact values


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_bound_holds_for_arbitrary_edits(seed: int) -> None:
    """However wrong an edit is, its bound covers the exact difference: random constants, matrices and factors."""
    rng = np.random.default_rng(seed)
    network = chain(
        (2,),
        Dense(rng.normal(size=(4, 2)), np.array([30.0, 40.0, 0.1, -0.1])),
        Rectifier(rng.normal(), rng.normal()),
        Dense(rng.normal(size=(3, 4)), 2.0 + rng.random(3)),
        Rectifier(*rng.normal(size=2)),
        Dense(rng.normal(size=(2, 3)), rng.normal(size=2)),
    )
    active = tuple(v for v in interval_report(network, SQUARE).verdicts if v.layer == "1" and v.unit < 2)
    edits: list[Edit] = [
        Join("1", (3,), (2,), (float(rng.random() + 0.5),)),
        Merge("1", (1,), (0,), rng.normal(size=(1, 1)), rng.normal(size=1), active),
        Fix("3", (1,), (float(rng.normal()),)),
    ]
    chosen = [edit for edit in edits if rng.integers(2)]
    smaller = rewrite(network, chosen)
    proved = deviation(network, chosen, SQUARE, ranges(network, SQUARE))
    for x in points(SQUARE, (2,), count=10, seed=seed):
        pairs = zip(*(exact_values(net, x)[net.output] for net in (network, smaller)), proved.tolist(), strict=True)
        assert all(abs(old - new) <= most for old, new, most in pairs)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_bound_holds_for_images(seed: int) -> None:
    """The same with channels of a convolution, absorbed through pooling and flattening, constants included."""
    rng = np.random.default_rng(seed)
    network = chain(
        (1, 4, 4),
        Conv2d(rng.normal(size=(3, 1, 3, 3)), rng.normal(size=3), padding=(1, 1, 1, 1)),
        Rectifier(1.0, 0.5),
        AveragePool((2, 2), (2, 2)),
        Reshape((12,)),
        Dense(rng.normal(size=(2, 12)), rng.normal(size=2)),
    )
    edits: list[Edit] = [Fix("1", (1,), (float(rng.normal()),)), Join("1", (2,), (0,), (float(rng.random() + 0.5),))]
    smaller, domain = rewrite(network, edits), Box(-1.0, 1.0).fit((1, 4, 4))
    proved = deviation(network, edits, domain, ranges(network, domain))
    for x in points(domain, (1, 4, 4), count=3, seed=seed):
        pairs = zip(*(exact_values(net, x)[net.output] for net in (network, smaller)), proved.tolist(), strict=True)
        assert all(abs(old - new) <= most for old, new, most in pairs)
