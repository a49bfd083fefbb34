"""A box holds exactly its points, takes a network's shape, and is never empty, reversed or infinite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike

from milpcomp.domain import Box
from milpcomp.errors import DomainError, MilpcompError

NUMBERS = st.floats(-1e6, 1e6)
VECTORS = hnp.arrays(np.float64, st.integers(1, 6), elements=NUMBERS)


def test_scalars_and_arrays_broadcast() -> None:
    """Scalars make a box of shape (); a scalar and an array share the array's shape."""
    assert Box(0, 1).shape == ()
    box = Box(0, [[1, 2], [3, 4]])
    assert box.shape == (2, 2)
    assert box.lower.tolist() == [[0, 0], [0, 0]]
    assert box.upper.tolist() == [[1, 2], [3, 4]]
    assert box.lower.dtype == box.upper.dtype == np.float64


def test_bounds_are_copies_that_cannot_change() -> None:
    """Writing to the caller's array does not move the box, and the box's own arrays refuse writing."""
    upper = np.ones(3)
    box = Box(0.0, upper)
    upper[0] = 7.0
    assert box.upper.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        box.lower[0] = -1.0


def test_a_point_and_an_empty_shape_are_boxes() -> None:
    """Equal bounds, minus zero against zero, and zero inputs are legal."""
    assert Box(1.0, 1.0).contains(np.array([1.0])).tolist() == [True]
    assert Box(0.0, -0.0).shape == ()
    assert Box(np.zeros(0), np.zeros(0)).contains(np.zeros((3, 0))).all()


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (1, 0, r"empty: lower .*1\.0.* exceeds upper 0\.0; swap"),
        ([0, 2, 0], [1, 1, 1], r"at index \(1,\)"),
        (np.nan, 1, "the lower bound of a box holds NaN or infinity; give finite bounds"),
        (0, [1, np.nan], "the upper bound of a box holds NaN or infinity"),
        (-np.inf, 1, "the lower bound of a box holds NaN or infinity"),
        (0, 1e999, "the upper bound of a box holds NaN or infinity"),
        (np.zeros(2), np.ones(3), "the bounds of a box must have matching shapes"),
        ("low", 1, "the lower bound of a box must be numbers, got 'low'"),
        (0, [[1], [1, 2]], "the upper bound of a box must be numbers"),
        (None, 1, "the lower bound of a box"),
        (0, 1j, "the upper bound of a box must be numbers"),
    ],
)
def test_what_is_no_box_is_refused(lower: ArrayLike, upper: ArrayLike, message: str) -> None:
    """Reversed, NaN, infinite, mismatched and non-numeric bounds are each one clear `DomainError`."""
    with pytest.raises(DomainError, match=message) as caught:
        Box(lower, upper)
    assert isinstance(caught.value, MilpcompError)
    assert isinstance(caught.value, ValueError)


def test_around_is_the_ball_in_the_largest_coordinate() -> None:
    """A ball has sides of twice the radius, cut to the clipping range."""
    box = Box.around([0.0, 0.5, 1.0], 0.25)
    assert box.lower.tolist() == [-0.25, 0.25, 0.75]
    assert box.upper.tolist() == [0.25, 0.75, 1.25]
    cut = Box.around([0.0, 0.5, 1.0], 0.25, clip=(0.0, 1.0))
    assert cut.lower.tolist() == [0.0, 0.25, 0.75]
    assert cut.upper.tolist() == [0.25, 0.75, 1.0]
    assert Box.around(np.ones((2, 2)), 0).contains(np.ones((1, 2, 2))).all()


@pytest.mark.parametrize(
    ("center", "radius", "clip", "message"),
    [
        (0.5, -0.1, None, r"radius of a box must be >= 0, got -0\.1"),
        (0.5, np.nan, None, "radius of a box must be >= 0, got nan"),
        (0.5, np.inf, None, "NaN or infinity"),
        (np.nan, 0.1, None, "NaN or infinity"),
        (5.0, 0.1, (0.0, 1.0), "the box is empty"),
        ("here", 0.1, None, "must be numbers"),
    ],
)
def test_around_refuses_what_is_no_ball(
    center: ArrayLike, radius: float, clip: tuple[float, float] | None, message: str
) -> None:
    """Negative and NaN radii, centers that are no numbers, and a range that misses the ball are `DomainError`s."""
    with pytest.raises(DomainError, match=message):
        Box.around(center, radius, clip)


def test_fit_takes_the_shape_of_the_input() -> None:
    """Scalars spread, equal shapes stay, and as many numbers in another shape are reshaped in C order."""
    assert Box(0, 1).fit((2, 3)).upper.tolist() == [[1, 1, 1], [1, 1, 1]]
    box = Box(np.zeros(6), np.arange(6.0))
    assert box.fit((6,)) is box
    assert box.fit((2, 3)).upper.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert Box(0, 1).fit((0,)).shape == (0,)


def test_fit_refuses_another_layout() -> None:
    """Axes of length 1 may come and go, but a box of shape (4, 4, 3) is none of shape (3, 4, 4)."""
    image = Box(np.zeros((4, 4, 3)), np.ones((4, 4, 3)))
    assert image.fit((1, 4, 4, 3)).shape == (1, 4, 4, 3)
    with pytest.raises(DomainError, match="transpose the bounds"):
        image.fit((3, 4, 4))


def test_fit_refuses_another_size() -> None:
    """An array of bounds for another number of inputs names both shapes."""
    with pytest.raises(DomainError, match=r"the box has shape \(6,\) but the network's input has shape \(5,\)"):
        Box(np.zeros(6), np.ones(6)).fit((5,))
    with pytest.raises(DomainError, match=r"shape \(1,\) but"):
        Box([0.0], [1.0]).fit((784,))


@pytest.mark.parametrize(
    ("given", "shape", "message"), [(2, (3,), "; give 3 numbers, or scalars"), (4, (1, 6, 6), "36 n")]
)
def test_other_numbers_of_inputs_get_other_advice(given: int, shape: tuple[int, ...], message: str) -> None:
    """Where the number of elements differs, transposing cannot help and is not recommended."""
    with pytest.raises(DomainError, match=message) as caught:
        Box(np.zeros(given), np.ones(given)).fit(shape)
    assert "transpose" not in str(caught.value)


@given(VECTORS, st.data())
def test_clip_gives_the_nearest_point_inside(center: np.ndarray, data: st.DataObject) -> None:
    """A clipped point lies in the box, and a point of the box does not move."""
    box = Box.around(center, data.draw(st.floats(0, 10)))
    points = data.draw(hnp.arrays(np.float64, (4, len(center)), elements=NUMBERS))
    clipped = box.clip(points)
    assert box.contains(clipped).all()
    inside = box.contains(points)
    assert np.array_equal(clipped[inside], points[inside])
    assert ((clipped == points).all(axis=1) == inside).all()


def test_contains_is_closed_and_refuses_nan() -> None:
    """Both ends belong to the box; the next float outside and NaN do not."""
    box = Box([0.0, 0.0], [1.0, 1.0])
    points = [[0, 0], [1, 1], [np.nextafter(1, 2), 0.5], [0.5, -5e-324], [np.nan, 0.5]]
    assert box.contains(points).tolist() == [True, True, False, False, False]


def test_digest_tells_boxes_apart() -> None:
    """Equal bounds of one shape share a digest; another number or shape changes it."""
    box = Box(np.zeros(4), np.ones(4))
    assert box.digest == Box([0, 0, 0, 0], 1).digest
    assert len(box.digest) == 64
    others = [
        Box(np.zeros((2, 2)), np.ones((2, 2))),
        Box(np.zeros(4), np.nextafter(np.ones(4), 2)),
        Box(np.full(4, -1.0), np.ones(4)),
        Box(0, 1),
    ]
    assert len({box.digest, *(other.digest for other in others)}) == 5


def test_repr_is_short() -> None:
    """A uniform box shows its bounds, another one its digest."""
    assert repr(Box(0, 1).fit((784,))) == "Box(0, 1, shape=(784,))"
    box = Box([0, 0], [1, 2])
    assert repr(box) == f"Box(shape=(2,), digest={box.digest[:12]})"
