"""Float64 arithmetic with error bounds stated in advance: balls (centre, radius) and outward rounding.

In IEEE float64 with unit roundoff u = 2^-53, a sum of n products, added in any order, with or without fused
operations, differs from the exact sum by at most

    n u / (1 - n u) * (sum of the absolute values of the products) + n * 2^-1074

(Higham, Accuracy and Stability of Numerical Algorithms, sections 3.1 and 4.2; the last term is underflow). This module
charges ``growth(n) = 2 (n + 4) u`` and ``underflow(n) = (n + 4) 2^-1072``: what exceeds the formula pays for the
rounding of the error bound itself, which is computed in floats from non-negative numbers by fewer than n + 4 operations
each. A ball whose centre is not finite, or whose radius is not a number, knows nothing: centre 0, radius infinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from milpcomp.checker.document import Linear, Rectifier
from milpcomp.checker.matrices import FloatArray
from milpcomp.errors import MilpcompError

ROUNDOFF = 2.0**-53


def growth(terms: int) -> float:
    """Return the relative error charged for a sum of `terms` products."""
    return 2.0 * (terms + 4) * ROUNDOFF


def underflow(terms: int) -> float:
    """Return the absolute error charged for a sum of `terms` products."""
    return (terms + 4) * 2.0**-1072


def require_ieee() -> None:
    """Raise `MilpcompError` where tiny numbers are flushed to zero: the error bounds would not hold.

    Some libraries switch a thread to that mode when they are loaded.
    """
    tiny = np.full(8, 5e-324)
    if not (tiny * 1.0 > 0).all() or not (tiny + tiny > tiny).all() or not np.ones(8) @ tiny > 0:
        raise MilpcompError(
            "float64 arithmetic flushes tiny numbers to zero here, so no error bound holds; "
            "check in a process that did not change the floating-point mode"
        )


def down(value: FloatArray) -> FloatArray:
    """Return the next smaller floats; -inf for what is no number."""
    return np.where(np.isnan(value), -np.inf, np.nextafter(value, -np.inf))


def up(value: FloatArray) -> FloatArray:
    """Return the next larger floats; inf for what is no number."""
    return -down(-value)


@dataclass(frozen=True, eq=False)
class Ball:
    """Unknown exact numbers with ``|number - centre| <= radius``, one column per sample: shape (n, N)."""

    centre: FloatArray
    radius: FloatArray

    @property
    def lower(self) -> FloatArray:
        """Floats not above the numbers."""
        return np.where(self.radius == 0, self.centre, down(self.centre - self.radius))

    @property
    def upper(self) -> FloatArray:
        """Floats not below the numbers."""
        return np.where(self.radius == 0, self.centre, up(self.centre + self.radius))


def linear_ball(step: Linear, values: dict[str, Ball]) -> Ball:
    """Return the value of a linear step for balls of its sources."""
    centre = np.broadcast_to(step.offset[:, None], (len(step.offset), _samples(values))).copy()
    for source, matrix in step.matrices.items():
        centre += matrix @ values[source].centre
    if step.copies:
        return Ball(centre, sum((a @ values[s].radius for s, a in step.absolutes.items()), np.zeros_like(centre)))
    rate = growth(step.terms)
    radius = np.broadcast_to(rate * np.abs(step.offset)[:, None], centre.shape).copy()
    for source, absolute in step.absolutes.items():
        size = np.abs(values[source].centre)
        share = np.where(size == 0, 0.0, np.nextafter(rate * size, np.inf))  # of tiny numbers it would underflow to 0
        radius += absolute @ (values[source].radius + share)
    return _tidy(centre, radius * (1.0 + rate) + underflow(step.terms))


def rectifier_ball(step: Rectifier, value: Ball) -> Ball:
    """Return the value of a rectifier for a ball of its source.

    A rectifier stretches distances by the absolute value of the slope on its side of zero, and by the larger of both
    across zero.
    """
    positive, negative = step.positive[:, None], step.negative[:, None]
    slope = np.where(value.centre >= 0, positive, negative)
    across = np.abs(value.centre) < value.radius
    stretch = np.where(across, np.maximum(np.abs(positive), np.abs(negative)), np.abs(slope))
    centre = slope * value.centre
    rounding = np.where(np.isin(slope, (-1.0, 0.0, 1.0)), 0.0, growth(1) * np.abs(centre) + underflow(1))
    nothing = (stretch == 0) | (value.radius == 0)
    spread = np.where(nothing, 0.0, stretch * value.radius)
    rounded = ~nothing & (stretch != 1)
    radius = np.where(rounded, spread * (1.0 + growth(1)) + underflow(1), spread)
    return _tidy(centre, np.where(rounding > 0, up(radius + rounding), radius))


def _tidy(centre: FloatArray, radius: FloatArray) -> Ball:
    lost = ~np.isfinite(centre) | np.isnan(radius)
    return Ball(np.where(lost, 0.0, centre), np.where(lost, np.inf, radius))


def _samples(values: dict[str, Ball]) -> int:
    return next(iter(values.values())).centre.shape[1]
