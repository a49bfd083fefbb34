"""The checker's own interval bounds, rounded outward, with exact rows where only rounding leaves a sign open.

    linear      upper = A+ u + A- l + offset        lower = A+ l + A- u + offset
    rectifier   the extremes are among the values at l, at u, and at 0 if l < 0 < u

Where no product is non-zero, nothing was rounded and the bound is the offset itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.checker.arithmetic import down, growth, underflow, up
from milpcomp.checker.document import Linear, Rectifier, Step
from milpcomp.checker.exact import exact, plus, times
from milpcomp.checker.matrices import FloatArray

EXACT_PRODUCTS = 2_000_000
"""How many products one step may spend on exact rows (a few tenths of a second)."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Vectors with ``lower <= value <= upper`` for every input of the domain."""

    lower: FloatArray
    upper: FloatArray

    @property
    def magnitude(self) -> FloatArray:
        """Bounds of the absolute values."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def meet(self, other: Interval) -> Interval:
        """Return what both say."""
        return Interval(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))


def interval_step(step: Step, values: Mapping[str, Interval]) -> Interval:
    """Return bounds of the value of `step` from bounds of its sources."""
    with np.errstate(all="ignore"):
        if isinstance(step, Rectifier):
            return _rectifier(step, values[step.source])
        if step.copies and not any(bool((a.data < 0).any()) for a in step.matrices.values()):
            lower = sum((a @ values[s].lower for s, a in step.matrices.items()), np.zeros(len(step.offset)))
            return Interval(lower, sum((a @ values[s].upper for s, a in step.matrices.items()), np.zeros_like(lower)))
        low, high = ({s: getattr(values[s], side) for s in step.matrices} for side in ("lower", "upper"))
        return Interval(-_upper(step, low, high, -1), _upper(step, low, high, 1))


def _upper(step: Linear, low: Mapping[str, FloatArray], high: Mapping[str, FloatArray], sign: int) -> FloatArray:
    """Return upper bounds of ``sign * value``."""
    total, size = sign * step.offset, np.abs(step.offset)
    products = np.zeros(len(total))
    for source, matrix in step.matrices.items():
        plus_part, minus_part = _signed_parts(matrix, sign)
        for part, corner in ((plus_part, high[source]), (minus_part, low[source])):
            total = total + part @ corner
            size = size + abs(part) @ np.abs(corner)
            products = products + (part != 0).astype(np.float64) @ (corner != 0).astype(np.float64)
    error = np.where(products == 0, 0.0, growth(step.terms + 2) * size + underflow(step.terms))
    bound = np.where(error == 0, total, up(total + error))
    _decide(step, low, high, sign, bound, (bound > 0) & (total - error <= 0) & np.isfinite(bound))
    return bound


def _decide(
    step: Linear,
    low: Mapping[str, FloatArray],
    high: Mapping[str, FloatArray],
    sign: int,
    bound: FloatArray,
    still_open: NDArray[np.bool_],
) -> None:
    """Replace, in place, upper bounds that rounding alone may have pushed above zero by exact ones."""
    rows = np.flatnonzero(still_open)
    rows = rows[np.cumsum(step.row_terms[rows]) <= EXACT_PRODUCTS]
    if not len(rows):
        return
    value = exact(sign * step.offset[rows])
    for source, matrix in step.matrices.items():
        plus_part, minus_part = _signed_parts(sp.csr_array(matrix[rows]), sign)
        for part, corner in ((plus_part, high[source]), (minus_part, low[source])):
            value = plus(value, times(part, exact(np.where(np.isfinite(corner), corner, 0.0))))
    bound[rows] = [rounded_up(number) for number in value.fractions()]


def rounded_up(number: Fraction) -> float:
    """Return the smallest float that is not below `number`, or inf."""
    try:
        nearest = float(number)
    except OverflowError:
        return np.inf if number > 0 else -float(np.finfo(np.float64).max)
    return nearest if Fraction(nearest) >= number else float(np.nextafter(nearest, np.inf))


def _signed_parts(matrix: sp.csr_array, sign: int) -> tuple[sp.csr_array, sp.csr_array]:
    """Return the positive and the negative entries of ``sign * matrix``, as two matrices without stored zeros."""
    parts = []
    for keep in (sign * matrix.data > 0, sign * matrix.data < 0):
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[keep]
        triple = (sign * matrix.data[keep], (rows, matrix.indices[keep]))
        parts.append(sp.csr_array(sp.coo_array(triple, shape=matrix.shape)))
    return parts[0], parts[1]


def _rectifier(step: Rectifier, x: Interval) -> Interval:
    lowest, highest = np.full_like(x.lower, np.inf), np.full_like(x.upper, -np.inf)
    for end in (x.lower, x.upper):
        slope = np.where(end >= 0, step.positive, step.negative)
        product = np.where((slope == 0) | (end == 0), 0.0, slope * end)
        certain = np.isin(slope, (-1.0, 0.0, 1.0)) | (end == 0)
        lowest = np.minimum(lowest, np.where(certain, product, down(product)))
        highest = np.maximum(highest, np.where(certain, product, up(product)))
    across = (x.lower < 0) & (x.upper > 0)
    return Interval(np.where(across, np.minimum(lowest, 0), lowest), np.where(across, np.maximum(highest, 0), highest))
