"""Numbers that know their rounding error: balls ``value +- radius``, element by element.

    a + b:  s = fl(a + b),  s + e = a + b exactly                  (Knuth's TwoSum)
    a * b:  p = fl(a * b),  p + e = a * b exactly                  (Dekker's TwoProduct, by Veltkamp's splitting)
    radius of the result = |e| + what the radii of a and b contribute

So a radius is exactly 0 as long as nothing was rounded, which is how exact edits are told from those that round. Only
elementwise operations are used: values do not depend on how a library orders its sums, so replaying an edit gives the
same bits on every machine. Source: Ogita, Rump and Oishi, *Accurate sum and dot product* (2005), algorithms 3.1 to 3.3.

Radii are sums and products of non-negative numbers, each rounded; `Ball.bound` makes up for that (for fewer than 2^30
operations), and for products that underflow. Overflow gives an infinite bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.bounds.rounding import SLACK, UNDERFLOW, gamma
from milpcomp.network.layers import FloatArray

SPLITTER = 2.0**27 + 1.0
FEW_TERMS = 4
SMALL_PRODUCT = 2_000_000
"""Rows with few terms, and products with fewer multiplications, are worth knowing every rounding error of."""

LEAST_EXACT = 2.0**-960
"""Products not smaller than this lose nothing to underflow, nor do the steps that find their rounding error."""


@dataclass(frozen=True, eq=False)
class Ball:
    """All numbers within `radius` of `value`, element by element; the shapes broadcast together."""

    value: FloatArray
    radius: FloatArray

    @classmethod
    def exact(cls, value: ArrayLike) -> Ball:
        """Return the ball that holds just `value`."""
        return cls(np.asarray(value, dtype=np.float64), np.zeros(()))

    @property
    def bound(self) -> FloatArray:
        """Upper bounds on the distance of any member from `value`; +inf where nothing is known."""
        with np.errstate(all="ignore"):
            bound = np.where(np.isfinite(self.value), self.radius * SLACK, np.inf)
            return np.where(np.isnan(bound), np.inf, bound)

    @property
    def magnitude(self) -> FloatArray:
        """Upper bounds on the absolute value of any member."""
        bound = self.bound
        with np.errstate(over="ignore"):
            return np.where(bound > 0, (np.abs(self.value) + bound) * SLACK, np.abs(self.value))

    def __getitem__(self, index: Any) -> Ball:
        radius = np.broadcast_to(self.radius, self.value.shape)
        return Ball(self.value[index], radius[index])

    def __add__(self, other: Ball) -> Ball:
        with np.errstate(all="ignore"):
            a, b = self.value, other.value
            total = a + b
            part = total - a
            error = (a - (total - part)) + (b - part)
            return Ball(total, np.abs(error) + self.radius + other.radius)

    def __neg__(self) -> Ball:
        return Ball(-self.value, self.radius)

    def __sub__(self, other: Ball) -> Ball:
        return self + -other

    def __mul__(self, other: Ball) -> Ball:
        with np.errstate(all="ignore"):
            a, b = self.value, other.value
            product = a * b
            (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
            error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
            lost = (np.abs(product) < LEAST_EXACT) & (a != 0) & (b != 0)
            radius = np.abs(error) + np.where(lost, UNDERFLOW, 0.0)
            if self.radius.any() or other.radius.any():
                radius = radius + np.abs(a) * other.radius + self.radius * (np.abs(b) + other.radius)
            return Ball(product, radius)


def accumulate(start: Ball, left: Ball, right: Ball) -> Ball:
    """Return ``start + left @ right`` for matrices, one term after the other.

    Rows of `left` with few non-zero entries, and all rows of small products, know the error of every operation; the
    others have an a-priori bound, which is never 0.
    """
    counts = np.count_nonzero(left.magnitude, axis=1)
    few = (counts <= FEW_TERMS) | (left.value.size * right.value.shape[1] <= SMALL_PRODUCT)
    value, radius = np.array(start.value), np.array(np.broadcast_to(start.radius, start.value.shape))
    for rows, rule in ((few, _exactly), (~few, _roughly)):
        if rows.any():
            part = rule(start[rows], left[rows], right)
            value[rows], radius[rows] = part.value, part.radius
    return Ball(value, radius)


def _exactly(start: Ball, left: Ball, right: Ball) -> Ball:
    for term in np.flatnonzero(left.magnitude.any(axis=0)):
        start = start + left[:, term][:, None] * right[term]
    return start


def _roughly(start: Ball, left: Ball, right: Ball) -> Ball:
    """Sum the terms in the same order, with the bound of `milpcomp.bounds.rounding` on the error of all of them."""
    value = start.value
    terms = np.flatnonzero(left.value.any(axis=0))
    for term in terms:
        value = value + left.value[:, term][:, None] * right.value[term]
    size = np.abs(start.value) + np.abs(left.value) @ np.abs(right.value)
    own, given = (np.broadcast_to(ball.radius, ball.value.shape) for ball in (left, right))
    passed = own @ (np.abs(right.value) + given) + np.abs(left.value) @ given
    return Ball(value, start.radius + gamma(len(terms) + 2) * size + UNDERFLOW + passed)


def _halves(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a as the sum of two numbers of at most 26 bits each."""
    c = SPLITTER * a
    high = c - (c - a)
    return high, a - high
