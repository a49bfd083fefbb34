"""Replay of linear (CROWN) bounds: backward substitution with the recorded slopes in the checker's own arithmetic.

To bound ``sign * value[units]`` from above, it is rewritten, from the layer towards the input, as

    C @ value(s)  +  total  +  error         for all inputs of the domain, with the unknown error <= `error`

    linear step      C -> C @ A,  total += C @ offset
    rectifier step   value <= slope * x + height  where C > 0,   value >= slope * x + height  where C < 0

Lines over x in [l, u], with p and n the positive and negative slopes: p x or n x where l >= 0 or u <= 0; otherwise, on
the side where the rectifier is a corner (below if p >= n, above if p < n), the line through the origin with slope
n + alpha (p - n), for any alpha in [0, 1]; and on the other side the chord from (l, n l) to (u, p u), whose slope is
rounded and whose height is then set so that it passes both ends.

Every rounding of a coefficient C changes the sum by at most that rounding times a bound of ``|value|``, which is added
to `error`; so the matrices are ordinary floats and only vectors are error-bounded. Whatever is not a number ends as "no
bound".

S. Singh et al., arXiv 2106.05997 and H. Zhang et al., arXiv 1811.00866 describe the bound; the error analysis is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.checker.arithmetic import growth, underflow, up
from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import FloatArray
from milpcomp.checker.records import ALPHA_STEPS, Slopes

CHUNK_ELEMENTS = 10_000_000
"""How many coefficients one pass may hold for one node."""

DENSE_SHARE = 0.1
"""From this share of non-zero entries on, a matrix is multiplied as a dense one."""

PADDING = 1.0 + 2.0**-20
"""Pays for the rounding of the error sums themselves: sums of fewer than 2^30 non-negative numbers."""


Alphas = NDArray[np.uint8]


@dataclass
class Sum:
    """``total`` with everything that it may be off by."""

    total: FloatArray
    error: FloatArray

    def add(self, products: FloatArray) -> None:
        """Add the sums over the last axis of `products` (T, n), each product rounded once."""
        self.error += growth(products.shape[1] + 1) * np.abs(products).sum(axis=1) + underflow(products.shape[1])
        self.total = self.total + products.sum(axis=1)
        self.error += growth(1) * np.abs(self.total)

    def upper(self) -> FloatArray:
        """Return floats that are not below the sums; inf where a sum overflowed."""
        return np.where(np.isfinite(self.total), up(self.total + PADDING * self.error), np.inf)

    def least(self) -> FloatArray:
        """Return floats that are not above the sums; -inf where one overflowed."""
        return np.where(np.isfinite(self.total), -up(PADDING * self.error - self.total), -np.inf)


def linear_bounds(model: Model, boxes: Mapping[str, Interval], record: Slopes) -> FloatArray:
    """Return the bounds (T,) that a record yields: upper bounds of its units, or lower bounds."""
    source = next(step.source for step in model.rectifiers if step.name == record.layer)
    chunk = max(1, CHUNK_ELEMENTS // max(model.size(name) for name in model.shapes))
    sign = 1.0 if record.upper else -1.0
    bounds = np.zeros(len(record.units))
    with np.errstate(all="ignore"):
        for start in range(0, len(bounds), chunk):
            rows = slice(start, start + chunk)
            units = record.units[rows]
            alphas = {name: array[rows] if len(array) > 1 else array for name, array in record.alphas.items()}
            coefficients = np.zeros((len(units), model.size(source)))
            coefficients[np.arange(len(units)), units] = sign
            bounds[rows] = sign * _substitute(model, boxes, {source: coefficients}, alphas)
    return bounds


def _substitute(
    model: Model, boxes: Mapping[str, Interval], coefficients: dict[str, FloatArray], alphas: Mapping[str, Alphas]
) -> FloatArray:
    """Return upper bounds of the sum over nodes of ``coefficients[node] @ value(node)``."""
    count = len(next(iter(coefficients.values())))
    result = Sum(np.zeros(count), np.zeros(count))
    for step in reversed(model.steps):
        here = coefficients.pop(step.name, None)
        if here is None:
            continue
        if isinstance(step, Rectifier):
            alpha = alphas[step.name].astype(np.float64) / ALPHA_STEPS
            parts = {step.source: _through_rectifier(step, boxes[step.source], here, alpha, result)}
        else:
            parts = _through_linear(step, boxes, here, result)
        for source, part in parts.items():
            if source in coefficients:
                part = part + coefficients[source]
                result.error += growth(1) * (np.abs(part) @ boxes[source].magnitude)
            coefficients[source] = part
    last = coefficients.get(INPUT)
    if last is not None:
        result.add(np.where(last > 0, last * boxes[INPUT].upper, last * boxes[INPUT].lower))
    return result.upper()


def _through_linear(
    step: Linear, boxes: Mapping[str, Interval], here: FloatArray, result: Sum
) -> dict[str, FloatArray]:
    """Return the coefficients of the sources of a linear step."""
    if step.offset.any():
        result.add(here * step.offset)
    if step.copies:
        summed = max(1, *(int(np.bincount(a.indices).max(initial=0)) for a in step.matrices.values()))
    else:
        summed = here.shape[1]
    parts = {}
    for source, matrix in step.matrices.items():
        reach = boxes[source].magnitude
        parts[source] = _product(here, matrix)
        if step.copies and summed == 1:
            continue
        result.error += growth(summed) * (np.abs(here) @ (step.absolutes[source] @ reach))
        result.error += underflow(summed) * reach.sum()
    return parts


def _product(here: FloatArray, matrix: sp.csr_array) -> FloatArray:
    if matrix.nnz >= DENSE_SHARE * matrix.shape[0] * matrix.shape[1]:
        return here @ matrix.toarray()
    return np.asarray(here @ matrix)


def _through_rectifier(step: Rectifier, x: Interval, here: FloatArray, alpha: FloatArray, result: Sum) -> FloatArray:
    """Return the coefficients of the source of a rectifier; the heights of the lines go to the sum."""
    line = lines(step, x, alpha)
    rising = here > 0
    result.add(np.where(here == 0, 0.0, here * np.where(rising, line.top_height, line.bottom_height)))
    slopes = np.where(rising, line.top, line.bottom)
    product = np.where(here == 0, 0.0, here * slopes)
    if not np.isin(slopes, (-1.0, 0.0, 1.0)).all():
        result.error += growth(1) * (np.abs(product) @ x.magnitude) + underflow(1) * x.magnitude.sum()
    return product


@dataclass(frozen=True, eq=False)
class Lines:
    """Slopes and heights of lines above (top) and below (bottom) a rectifier."""

    top: FloatArray
    top_height: FloatArray
    bottom: FloatArray
    bottom_height: FloatArray


def lines(step: Rectifier, x: Interval, alpha: FloatArray) -> Lines:
    """Return lines around a rectifier over x, with tangents as alpha in [0, 1] says; the arrays broadcast."""
    p, n = step.positive, step.negative
    middle, above, below = chord(x, p, n)
    tangent = np.clip(n + alpha * (p - n), np.minimum(p, n), np.maximum(p, n))
    corner_below = p >= n
    exact = np.where(x.lower >= 0, p, n)
    stable = (x.lower >= 0) | (x.upper <= 0)
    return Lines(
        np.where(stable, exact, np.where(corner_below, middle, tangent)),
        np.where(stable | ~corner_below, 0.0, above),
        np.where(stable, exact, np.where(corner_below, tangent, middle)),
        np.where(stable | corner_below, 0.0, below),
    )


def chord(x: Interval, p: FloatArray, n: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return slopes of lines, and the heights that put each above and below both ends of the rectifier over x.

    Over an interval that holds zero, a rectifier with p >= n lies below any line that passes above both ends, and one
    with p < n above any line that passes below both ends.
    """
    slope = (p * x.upper - n * x.lower) / (x.upper - x.lower)
    ends = (p - slope) * x.upper, (n - slope) * x.lower
    room = growth(4) * np.maximum(np.abs(ends[0]), np.abs(ends[1])) + underflow(4)
    return slope, up(np.maximum(*ends) + room), -up(-(np.minimum(*ends) - room))
