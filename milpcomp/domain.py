"""The input domain that every claim is about: an axis-aligned box.

A `Box` is written with scalars or arrays and takes the shape of a network's input with `Box.fit`. Bounds are float64,
finite, and never reversed; a point (lower == upper) is a legal box.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from milpcomp.errors import DomainError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Box:
    """All inputs x with ``lower <= x <= upper``, element by element.

    Parameters
    ----------
    lower, upper : array_like
        Scalars, or arrays of the network's input shape (any shapes that broadcast together).

    Raises
    ------
    DomainError
        If a bound is NaN or infinite, or some lower bound exceeds its upper bound.
    """

    lower: FloatArray
    upper: FloatArray

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        try:
            low, high = np.broadcast_arrays(_floats(lower, "lower"), _floats(upper, "upper"))
        except ValueError as error:
            if isinstance(error, DomainError):
                raise
            raise DomainError(f"the bounds of a box must have matching shapes: {error}") from None
        for name, bound in (("lower", low), ("upper", high)):
            if not np.isfinite(bound).all():
                raise DomainError(f"the {name} bound of a box holds NaN or infinity; give finite bounds")
        if (low > high).any():
            where = tuple(int(i) for i in np.argwhere(low > high)[0])
            place = f" at index {where}" if where else ""  # scalars have none
            raise DomainError(
                f"the box is empty: lower {low[where]} exceeds upper {high[where]}{place}; swap the bounds"
            )
        object.__setattr__(self, "lower", _frozen(low))
        object.__setattr__(self, "upper", _frozen(high))

    @classmethod
    def around(cls, center: ArrayLike, radius: float, clip: tuple[float, float] | None = None) -> Box:
        """Return the L-infinity ball around `center`, cut to ``clip = (least, greatest)`` if given.

        Raises
        ------
        DomainError
            If the radius is no number, negative or NaN, or the ball does not meet the clipping range.
        """
        try:
            allowed = float(radius) >= 0
        except (TypeError, ValueError):
            allowed = False
        if not allowed:
            raise DomainError(f"the radius of a box must be >= 0, got {radius!r}")
        middle = _floats(center, "center")
        lower, upper = middle - radius, middle + radius
        if clip is not None:
            lower, upper = np.maximum(lower, clip[0]), np.minimum(upper, clip[1])
        return cls(lower, upper)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the bounds; ``()`` for a box given by two scalars."""
        return self.lower.shape

    @property
    def digest(self) -> str:
        """SHA-256 of shape and bounds, as hexadecimal text."""
        content = hashlib.sha256(repr(self.shape).encode())
        content.update(self.lower.astype("<f8").tobytes())
        content.update(self.upper.astype("<f8").tobytes())
        return content.hexdigest()

    def same_as(self, other: Box) -> bool:
        """Tell whether two boxes of one shape hold the same inputs; their digests differ where one has -0.0 for 0.0."""
        return np.array_equal(self.lower, other.lower) and np.array_equal(self.upper, other.upper)

    def fit(self, shape: tuple[int, ...]) -> Box:
        """Return this box with bounds of exactly `shape`.

        Scalars are broadcast; arrays must have that shape, give or take axes of length 1, or be flat vectors of as many
        elements (C order). Nothing else is reshaped: an image of shape (32, 32, 3) is not one of shape (3, 32, 32).

        Raises
        ------
        DomainError
            If the bounds do not fit.
        """
        if self.shape == shape:
            return self
        if self.shape == ():
            return Box(np.full(shape, self.lower), np.full(shape, self.upper))
        long_axes, wanted = ([n for n in axes if n != 1] for axes in (self.shape, shape))
        if long_axes == wanted or (len(self.shape) == 1 and self.lower.size == math.prod(shape)):
            return Box(self.lower.reshape(shape), self.upper.reshape(shape))
        wanted_size = math.prod(shape)
        if self.lower.size == wanted_size:
            advice = "transpose the bounds, or give scalars or a flat vector"
        else:
            advice = f"give {wanted_size} number{'' if wanted_size == 1 else 's'}, or scalars"
        raise DomainError(f"the box has shape {self.shape} but the network's input has shape {shape}; {advice}")

    def contains(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Tell for each row of `x`, of shape ``(N, *shape)``, whether it lies in the box."""
        points = np.asarray(x, dtype=np.float64)
        inside: NDArray[np.bool_] = (points >= self.lower) & (points <= self.upper)
        return np.asarray(inside.all(axis=tuple(range(1, inside.ndim))))

    def clip(self, x: FloatArray) -> FloatArray:
        """Return `x`, of shape ``(N, *shape)``, moved to the nearest points of the box."""
        return np.clip(x, self.lower, self.upper)

    def __repr__(self) -> str:
        if self.lower.size and (self.lower == self.lower.flat[0]).all() and (self.upper == self.upper.flat[0]).all():
            return f"Box({self.lower.flat[0]:g}, {self.upper.flat[0]:g}, shape={self.shape})"
        return f"Box(shape={self.shape}, digest={self.digest[:12]})"


def require_box(value: object, what: str) -> None:
    """Raise `DomainError` unless `value` is one box; `what` is what needs it."""
    if isinstance(value, Box):
        return
    boxes = isinstance(value, tuple | list) and any(isinstance(one, Box) for one in value)  # as of a VNN-LIB file
    advice = "take one of the boxes" if boxes else "write milpcomp.Box(lower, upper)"
    raise DomainError(f"{what} needs one Box as its domain, got {type(value).__name__}; {advice}")


def _floats(value: ArrayLike, name: str) -> FloatArray:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DomainError(f"the {name} bound of a box must be numbers, got {value!r}") from None


def _frozen(array: FloatArray) -> FloatArray:
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy
