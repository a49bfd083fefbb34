"""What long double arithmetic rounds, and what it does not.

Matrices and vectors are long doubles: 64 bits of mantissa on x86, at least the 53 of float64 elsewhere. The error of a
sum of n products is charged as in `milpcomp.checker.arithmetic`, at ``2 (n + 4)`` units of roundoff; but only where
something can have been rounded at all, so that numbers that were copied, or added up exactly, are known exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray

Long = np.longdouble
Vector = NDArray[Any]
"""Long doubles."""

EXTENDED = np.finfo(Long).nmant in (63, 112) and Long(1.0) + Long(2.0) ** -63 > 1
"""Whether long doubles are the x87 or the quadruple format; any other is taken for no better than float64."""

MANTISSA = 63 if EXTENDED else 52
"""How many bits after the leading one can be relied upon."""

ROUNDOFF = Long(2.0) ** -(MANTISSA + 1)
UNDERFLOW = Long(2.0**-1000)
"""More than the underflowing products of one sum can lose."""

SLACK = 1 + Long(2.0) ** -40
"""Pays for the rounding of error bounds themselves: sums of fewer than 2^10 errors."""


def rate(terms: int | IntArray) -> Any:
    """Return the relative error charged for sums of so many products."""
    return 2 * (terms + 4) * ROUNDOFF


def combined(first: Vector, second: Vector) -> Vector:
    """Return bounds of sums of non-negative numbers, exact where one of them is zero; infinite where one is NaN."""
    total = np.where((first == 0) | (second == 0), first + second, (first + second) * SLACK)
    return np.where(np.isnan(total), np.inf, total)


def unit_rows(matrix: sp.csr_array) -> BoolArray:
    """Tell which rows hold nothing but at most one 1 or -1."""
    counts = np.diff(matrix.indptr)
    plain = np.ones(matrix.shape[0], dtype=bool)
    plain[np.repeat(np.arange(matrix.shape[0]), counts)[np.abs(matrix.data) != 1]] = False
    return plain & (counts <= 1)


def rounded_products(a: sp.csr_array, b: sp.csr_array) -> sp.csr_array:
    """Return ``|a| @ |b|`` at those entries of ``a @ b`` that may have been rounded.

    Three kinds are exact: rows of `a` that only copy; single products with a power of two; and sums that are multiples
    of some power of two and less than 2^(bits of the mantissa) times that.
    """
    powers = _powers_of_two(b.data)
    counts = np.bincount(b.indices, minlength=b.shape[1])
    if powers.all() and (counts <= 1).all():
        return empty(a.shape[0], b.shape[1])
    weighted = sp.csr_array((np.where(powers, 1.0, 2.0), b.indices, b.indptr), shape=b.shape)
    terms, sizes = sp.csr_array(pattern(a) @ weighted), sp.csr_array(abs(a) @ abs(b))
    terms.sort_indices()
    sizes.sort_indices()
    rows = np.repeat(np.arange(a.shape[0]), np.diff(sizes.indptr))
    grain = np.full(a.shape[0], np.inf, dtype=Long)
    np.minimum.at(grain, np.repeat(np.arange(a.shape[0]), np.diff(a.indptr)), _grain(a.data))
    limit = grain * _grain(b.data).min(initial=np.inf) * Long(2.0) ** MANTISSA
    exact = unit_rows(a)[rows] | (terms.data < 2) | (sizes.data <= limit[rows])
    return tidy(sp.csr_array((np.where(exact, 0, sizes.data), sizes.indices, sizes.indptr), shape=sizes.shape))


def _powers_of_two(values: Vector) -> BoolArray:
    """Tell which numbers multiply without rounding."""
    return np.abs(np.frexp(values)[0]) == 0.5 if EXTENDED else np.abs(values) == 1


def _grain(values: Vector) -> Vector:
    """Return the greatest power of two that each number is a multiple of; inf for 0, and 0 where that is not found."""
    first = values.astype(np.float64)
    second = (values - first).astype(np.float64)
    found = np.minimum(_lowest_bit(first), _lowest_bit(second)).astype(Long)
    return np.where(first + second.astype(Long) == values, found, 0)


def _lowest_bit(values: FloatArray) -> FloatArray:
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    return np.where(whole == 0, np.inf, np.ldexp((whole & -whole).astype(np.float64), exponent - 53))


def sum_error(a: Vector, b: Vector) -> Vector:
    """Return ``a + b`` minus its rounded value, exactly (Knuth's TwoSum)."""
    total = a + b
    part = total - a
    return (a - (total - part)) + (b - part)


def times(factor: FloatArray, error: Vector) -> Vector:
    """Return bounds of products of non-negative numbers; zero where one of them is."""
    nothing = (factor == 0) | (error == 0)
    product = np.where(nothing, 0, factor * np.where(nothing, 0, error))
    return np.where(nothing | (factor == 1), product, product * SLACK + UNDERFLOW)


def rounded_up(values: Vector) -> FloatArray:
    """Return the float64 numbers that are not below the long doubles, exact where these are float64 numbers."""
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float64)
    return np.where(nearest.astype(Long) < values, np.nextafter(nearest, np.inf), nearest)


def tidy(matrix: sp.csr_array) -> sp.csr_array:
    """Return a copy of the matrix without stored zeros."""
    kept = matrix.copy()  # some results of scipy share their indices with the matrix they were made from
    kept.eliminate_zeros()
    return kept


def pattern(matrix: sp.csr_array) -> sp.csr_array:
    """Return ones where the matrix has entries."""
    return sp.csr_array((np.ones(len(matrix.data)), matrix.indices, matrix.indptr), shape=matrix.shape)


def empty(rows: int, columns: int) -> sp.csr_array:
    """Return a matrix of zeros."""
    return sp.csr_array((rows, columns), dtype=Long)
