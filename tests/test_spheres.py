"""Vectors in place of numbers: never below the true maximum, at it where that is known, and with true gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from milpcomp.branch import spheres
from milpcomp.branch.spheres import RANK, STIFFNESS, Maximum, Sum, Units, first_slopes, maximise, start

Array = NDArray[np.float64]

GROTHENDIECK = 1.7823
"""The relaxation of a bilinear form over signs is at most this times the form's maximum."""


def units(rng: np.random.Generator, count: int, n: int, offset: float = 0.2) -> Units:
    """Return random units of about unit size."""
    rows = rng.normal(size=(count, n)) / np.sqrt(n)
    return Units(rows, offset * rng.normal(size=count), rng.uniform(0.2, 1.0, count))


def values(total: Sum, s: Array) -> Array:
    """Return the sum at points (N, n)."""
    convex, concave = (np.maximum(s @ u.rows.T + u.offset, 0.0) @ u.weight for u in (total.convex, total.concave))
    return np.asarray(total.constant + s @ total.linear + convex - concave)


def corners(n: int) -> Array:
    """Return all corners of the cube."""
    return np.array(list(product((-1.0, 1.0), repeat=n)))


def climbed(total: Sum, seed: int = 0, stages: tuple[float, ...] = STIFFNESS) -> Maximum:
    """Climb through all stages, from random vectors."""
    vectors, slopes = start(len(total.linear), seed), first_slopes(total.concave)
    for stiffness in stages:
        found = maximise(total, vectors, slopes, stiffness)
        vectors, slopes = found.vectors, found.slopes
    return found


def random_sum(rng: np.random.Generator, n: int) -> Sum:
    """Return a sum of up to 12 convex and 8 concave units."""
    counts = rng.integers(0, 12), rng.integers(0, 8)
    return Sum(float(rng.normal()), 0.2 * rng.normal(size=n), *(units(rng, int(k), n) for k in counts))


def size(total: Sum) -> float:
    """Return what values are measured by."""
    return 1.0 + float(np.abs(total.linear).sum() + total.convex.weight.sum() + total.concave.weight.sum())


# maxima ---------------------------------------------------------------------------------------------------------------


def test_a_sum_of_absolute_values() -> None:
    """By hand: |s1 + s2| + |s1 - s2| of unit vectors is at most 2 sqrt 2, at right angles, where numbers have 2."""
    rows = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    none = Units(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    found = climbed(Sum(0.5, np.zeros(2), Units(rows, np.zeros(4), np.ones(4)), none))
    assert found.value == pytest.approx(0.5 + 2 * np.sqrt(2), rel=1e-6)
    assert found.vectors[0] @ found.vectors[1] == pytest.approx(0.0, abs=1e-3)
    assert found.lengths == pytest.approx(np.full(4, np.sqrt(2)), rel=1e-3)
    assert found.diagonal == pytest.approx(np.full(2, 1 / np.sqrt(2)), rel=1e-3)


def test_a_linear_function_is_maximised_at_its_corner() -> None:
    """Without any unit the maximum is constant + sum |linear|, at numbers 1 and -1; diagonals are |linear| / 2."""
    linear = np.array([1.0, -2.0, 0.5])
    none = Units(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    found = climbed(Sum(-1.0, linear, none, none))
    assert found.value == pytest.approx(2.5, rel=1e-6)
    assert found.center == pytest.approx(np.sign(linear), abs=1e-3)
    assert found.diagonal == pytest.approx(np.abs(linear) / 2)
    assert (found.lengths.shape, found.slopes.shape) == ((0,), (0,))


@pytest.mark.parametrize("weight", [1e-4, 1.0, 1e4])
def test_concave_units_keep_to_their_side(weight: float) -> None:
    """By hand: s - w max(0, s) has its maximum 0 at 0 for w > 1, and 1 - w at 1 below; the slope is 1, or w."""
    none = Units(np.zeros((0, 1)), np.zeros(0), np.zeros(0))
    one = Units(np.ones((1, 1)), np.zeros(1), np.full(1, weight))
    found = climbed(Sum(0.0, np.ones(1), none, one))
    assert found.value == pytest.approx(max(0.0, 1.0 - weight), abs=1e-3)
    assert found.slopes == pytest.approx([min(1.0, weight)], rel=1e-2)


@pytest.mark.parametrize("n", range(1, 9))
def test_no_corner_is_above_the_maximum(n: int) -> None:
    """Sums of both kinds: at all corners, and points within, at most what is found, from every start that is tried."""
    rng = np.random.default_rng(n)
    for seed in range(4):
        total = random_sum(rng, n)
        found = climbed(total, seed)
        inside = rng.uniform(-1.0, 1.0, (50, n))
        assert values(total, np.concatenate([corners(n), inside])).max() <= found.value + 1e-5 * size(total)
        assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(np.ones(n))
        assert (found.slopes >= 0).all()
        assert (found.slopes <= total.concave.weight).all()
        assert (np.abs(found.numbers) <= found.lengths * (1 + 1e-12)).all()


@pytest.mark.parametrize("n", [3, 6, 10])
def test_relaxations_of_bilinear_forms_are_near(n: int) -> None:
    """A sum of |rows . s| is a bilinear form of signs: Grothendieck's constant bounds its relaxation."""
    rng, ratios = np.random.default_rng(n), []
    for _ in range(4):
        own = units(rng, 2 * n, n, offset=0.0)
        both = Units(np.concatenate([own.rows, -own.rows]), np.zeros(4 * n), np.tile(own.weight, 2))
        total = Sum(0.0, np.zeros(n), both, Units(np.zeros((0, n)), np.zeros(0), np.zeros(0)))
        true = float(values(total, corners(n)).max())
        ratios.append(climbed(total).value / true)
    assert min(ratios) > 1 - 1e-6
    assert max(ratios) < GROTHENDIECK
    assert np.mean(ratios) < 1.2  # and of random ones much nearer


def test_starts_end_at_the_same_value() -> None:
    """There are no bad local maxima to be seen: of random sums, other starts end within a thousandth of the size."""
    rng, apart = np.random.default_rng(0), []
    for _ in range(8):
        total = random_sum(rng, 8)
        found = [climbed(total, seed).value for seed in range(3)]
        apart.append((max(found) - min(found)) / size(total))
    assert max(apart) < 1e-3


def test_the_same_start_ends_at_the_same_vectors() -> None:
    """Nothing is random but the start."""
    total = random_sum(np.random.default_rng(5), 6)
    one, two = climbed(total), climbed(total)
    assert np.array_equal(one.vectors, two.vectors)
    assert start(6).shape == (6, RANK)
    assert not np.array_equal(start(6), start(6, 1))


def test_vectors_along_one_axis_are_numbers() -> None:
    """With all vectors along e, at whatever sign, what is computed is the sum itself, smoothed by a stiff spring."""
    rng = np.random.default_rng(6)
    total = random_sum(rng, 5)
    rho = 1e9 / spheres._ranges(total.concave) ** 2
    known = np.zeros(len(total.concave.weight))
    for s in corners(5)[::5]:
        unit = np.zeros((5, RANK))
        unit[:, 0] = s
        value, _, lengths, numbers, slopes = spheres._value(total, unit, known, rho)
        assert value == pytest.approx(float(values(total, s[None])[0]), abs=1e-6)
        assert lengths == pytest.approx(np.abs(numbers))
        low = total.concave.rows @ s + total.concave.offset
        assert np.array_equal(slopes > 0, low > 0)


# derivatives ----------------------------------------------------------------------------------------------------------


def test_gradients_are_differences() -> None:
    """Central differences of the value in any direction are the gradient's share, for loose and stiff springs."""
    rng, step = np.random.default_rng(7), 1e-6
    for stiffness in (1.0, 10.0, 100.0):
        total = random_sum(rng, 6)
        pull = first_slopes(total.concave), stiffness / spheres._ranges(total.concave) ** 2
        unit = start(6, 3)
        gradient = spheres._value(total, unit, *pull)[1]
        for _ in range(5):
            direction = rng.normal(size=unit.shape)
            ahead, behind = (spheres._value(total, unit + t * direction, *pull)[0] for t in (step, -step))
            assert (ahead - behind) / (2 * step) == pytest.approx(
                float((gradient * direction).sum()), rel=1e-5, abs=1e-6
            )


def test_at_a_maximum_the_gradient_points_outward() -> None:
    """The gradient by every vector is along it: the first-order condition, by which the diagonal has its meaning."""
    rng = np.random.default_rng(8)
    for _ in range(5):
        own = units(rng, 10, 6)
        total = Sum(0.0, 0.1 * rng.normal(size=6), own, Units(np.zeros((0, 6)), np.zeros(0), np.zeros(0)))
        found = climbed(total)
        gradient = spheres._value(total, found.vectors, np.zeros(0), np.zeros(0))[1]
        along = np.einsum("ij,ij->i", gradient, found.vectors)
        assert along == pytest.approx(2 * found.diagonal, rel=1e-3)
        assert np.abs(gradient - along[:, None] * found.vectors).max() < 2e-2 * np.abs(gradient).max()


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_descent_finds_the_bottom_of_a_quadratic(condition: float) -> None:
    """Of sum a (x - 1)^2 / 2 with a from 1 to the condition, from afar."""
    curvature = np.geomspace(1.0, condition, 20)
    shifted = lambda x: (  # noqa: E731
        1.0 + float(curvature @ (x - 1.0) ** 2) / 2,
        curvature * (x - 1.0),
    )
    found = spheres._descend(shifted, np.linspace(-9.0, 5.0, 20), 400)
    assert shifted(found)[0] == pytest.approx(1.0, abs=1e-5)


def test_descent_never_climbs_and_survives_what_is_no_number() -> None:
    """Where there is nothing to gain, or only NaN, the start stays; a kink is left at no higher value."""
    x = np.array([3.0, -2.0])
    assert np.array_equal(spheres._descend(lambda x: (0.0, np.zeros(2)), x, 10), x)
    assert np.array_equal(spheres._descend(lambda x: (np.nan, np.full(2, np.nan)), x, 10), x)
    kink = lambda x: (float(np.abs(x).sum()), np.sign(x))  # noqa: E731
    assert np.abs(spheres._descend(kink, x, 50)).sum() <= 5.0
    assert len(spheres._two_loops(np.ones(3), [])) == 3
