"""Values of one network written in values of another, with a bound on what that leaves out.

An expression stands for a vector of unknown numbers

    sum over variables v of parts[v] @ value(v)  +  constant  +  something of size <= error, element by element

for every input of the domain. `error` grows where something was rounded and nowhere else, so networks whose numbers
were copied verbatim, or added up without rounding, are found to deviate by exactly 0. Arithmetic is in
long double where the machine has it (64 bits of mantissa on x86), which makes the checker's own rounding small beside
that of the float64 networks; the error bounds are right for whatever precision it has. They are those of
`milpcomp.checker.arithmetic`: 2 (n + 4) units in the last place for a sum of n products.

`Reach` holds, by variable, bounds of its value: rounding a coefficient costs at most its change times that magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray

Long = np.longdouble
Vector = NDArray[Any]
"""Long doubles."""

MANTISSA = int(np.finfo(Long).nmant) if np.finfo(Long).nmant in (63, 112) else 52
"""Bits after the leading one; formats other than x87 and quadruple are taken for no better than float64."""

ROUNDOFF = Long(2.0) ** -(MANTISSA + 1)
UNDERFLOW = Long(2.0**-1000)
"""More than the underflowing products of one sum can lose."""

SLACK = 1 + Long(2.0) ** -40
"""Pays for the rounding of error bounds themselves: sums of fewer than 2^10 errors."""

Reach = Mapping[str, Interval]


@dataclass(frozen=True, eq=False)
class Expression:
    """A vector of n unknowns: parts are sparse matrices (n, size of the variable), without stored zeros."""

    parts: Mapping[str, sp.csr_array]
    constant: Vector
    error: Vector

    def __len__(self) -> int:
        return len(self.constant)

    def rows(self, index: IntArray) -> Expression:
        """Return the elements `index`."""
        parts = {variable: sp.csr_array(part[index]) for variable, part in self.parts.items()}
        return Expression(parts, self.constant[index], self.error[index])


def variable(name: str, size: int, index: IntArray | None = None) -> Expression:
    """Return the elements `index` (all by default) of the value called `name`."""
    columns = np.arange(size) if index is None else index
    ones = np.ones(len(columns), dtype=Long)
    part = sp.csr_array(sp.coo_array((ones, (np.arange(len(columns)), columns)), shape=(len(columns), size)))
    return Expression({name: part}, np.zeros(len(columns), Long), np.zeros(len(columns), Long))


def constants(values: FloatArray | Vector, error: FloatArray | Vector | None = None) -> Expression:
    """Return unknowns within `error` of constants."""
    zero = np.zeros(len(values), dtype=Long)
    return Expression({}, np.asarray(values, dtype=Long), zero if error is None else np.asarray(error, dtype=Long))


def image(matrix: sp.csr_array, x: Expression, offset: FloatArray | Vector, reach: Reach) -> Expression:
    """Return ``matrix @ x + offset``."""
    a = sp.csr_array(matrix.astype(Long))
    size, rate = abs(a), _rate(int(np.diff(a.indptr).max(initial=0)) + 1)
    parts, error = {}, np.zeros(a.shape[0], dtype=Long)
    for name, part in x.parts.items():
        parts[name] = _tidy(sp.csr_array(a @ part))
        rounded = _rounded_products(a, part)
        if rounded.nnz:
            magnitude = _magnitude(reach[name])
            cost = rate * (rounded @ magnitude) + UNDERFLOW * (1 + magnitude.sum())
            error += np.where(np.diff(rounded.indptr) > 0, cost, 0)
    column = sp.csr_array(x.constant.reshape(-1, 1))
    shift = np.asarray(offset, dtype=Long)
    products, total = _rounded_products(a, column), a @ x.constant
    error += np.where(np.diff(products.indptr) > 0, rate * (size @ np.abs(x.constant)) + UNDERFLOW, 0)
    error += np.where(_sum_error(total, shift) != 0, rate * (np.abs(total) + np.abs(shift)), 0)
    spread = size @ x.error
    spread = np.where(spread > 0, spread * (1 + rate) + UNDERFLOW, 0) if not _unit_rows(a).all() else spread
    return Expression(parts, total + shift, combined(error * SLACK, spread))


def stack(matrices: Sequence[sp.csr_array], parts: Sequence[Expression]) -> tuple[sp.csr_array, Expression]:
    """Return one matrix and one expression whose product is the sum of the products."""
    if len(parts) == 1:
        return matrices[0], parts[0]
    names = {name: part.shape[1] for expression in parts for name, part in expression.parts.items()}
    joined = {
        name: sp.csr_array(sp.vstack([e.parts.get(name, _empty(len(e), size)) for e in parts]))
        for name, size in names.items()
    }
    constant = np.concatenate([e.constant for e in parts])
    whole = Expression(joined, constant, np.concatenate([e.error for e in parts]))
    return sp.csr_array(sp.hstack(list(matrices))), whole


def difference(x: Expression, y: Expression, reach: Reach) -> Expression:
    """Return ``x - y``; equal coefficients cancel without error."""
    error = combined(x.error, y.error)
    parts = {}
    for name in {**x.parts, **y.parts}:
        left, right = x.parts.get(name), y.parts.get(name)
        if left is None or right is None:
            parts[name] = left if right is None else -right
            continue
        parts[name] = _tidy(sp.csr_array(left - right))
        ours, theirs = _where_both(left, right), _where_both(right, left)
        lost = _sum_error(ours.data, -theirs.data)
        rounded = _tidy(sp.csr_array((np.abs(lost), ours.indices, ours.indptr), shape=ours.shape))
        error = combined(error, rounded @ _magnitude(reach[name]) * SLACK)
    lost = np.abs(_sum_error(x.constant, -y.constant))
    return Expression(parts, x.constant - y.constant, combined(error, lost))


def substitute(x: Expression, name: str, definition: Expression, reach: Reach) -> Expression:
    """Return `x` with the variable `name` replaced by what it is defined as."""
    part = x.parts[name]
    rest = Expression({n: p for n, p in x.parts.items() if n != name}, x.constant, x.error)
    opposite = image(-part, definition, np.zeros(len(x), dtype=Long), reach)
    return difference(rest, opposite, reach)


def scatter(size: int, pieces: Sequence[tuple[IntArray, Expression]]) -> Expression:
    """Return `size` unknowns, of which each piece gives those at its index; later pieces replace earlier ones."""
    owner, place = np.full(size, -1), np.zeros(size, dtype=np.int64)
    for number, (index, _) in enumerate(pieces):
        owner[index], place[index] = number, np.arange(len(index))
    constant, error = np.zeros(size, dtype=Long), np.zeros(size, dtype=Long)
    entries: dict[str, list[tuple[Vector, IntArray, IntArray]]] = {}
    sizes: dict[str, int] = {}
    for number, (_, piece) in enumerate(pieces):
        rows = np.flatnonzero(owner == number)
        mine = piece.rows(place[rows])
        constant[rows], error[rows] = mine.constant, mine.error
        for name, part in mine.parts.items():
            table = part.tocoo()
            entries.setdefault(name, []).append((table.data, rows[table.coords[0]], table.coords[1]))
            sizes[name] = part.shape[1]
    parts = {}
    for name, found in entries.items():
        values, at, columns = (np.concatenate([entry[i] for entry in found]) for i in range(3))
        parts[name] = sp.csr_array(sp.coo_array((values, (at, columns)), shape=(size, sizes[name])))
    return Expression(parts, constant, error)


def bound(x: Expression, reach: Reach) -> Vector:
    """Return bounds of the absolute values of the unknowns; infinite where nothing is known."""
    high, low = x.constant.copy(), x.constant.copy()
    size, terms = np.abs(x.constant), np.ones(len(x), dtype=np.int64)
    varying = np.zeros(len(x), dtype=bool)
    for name, part in x.parts.items():
        lower, upper = (np.asarray(side, dtype=Long) for side in (reach[name].lower, reach[name].upper))
        positive, negative = _tidy(part.maximum(0)), _tidy(part.minimum(0))
        high = high + positive @ upper + negative @ lower
        low = low + positive @ lower + negative @ upper
        size = size + abs(part) @ _magnitude(reach[name])
        terms += np.diff(part.indptr)
        varying |= _pattern(part) @ (reach[name].magnitude != 0).astype(np.float64) > 0
    several = _rate(terms) * size + UNDERFLOW
    return combined(np.where(varying, np.maximum(high, -low) + several, np.abs(x.constant)), x.error)


def combined(first: Vector, second: Vector) -> Vector:
    """Return bounds of sums of non-negative numbers, exact where one of them is zero; infinite where one is NaN."""
    total = np.where((first == 0) | (second == 0), first + second, (first + second) * SLACK)
    return np.where(np.isnan(total), np.inf, total)


def is_zero(x: Expression) -> bool:
    """Tell whether the unknowns are all exactly zero."""
    return not any(part.nnz for part in x.parts.values()) and not x.constant.any() and not x.error.any()


def rounded_up(values: Vector) -> FloatArray:
    """Return the float64 numbers that are not below the long doubles, exact where these are float64 numbers."""
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float64)
    return np.where(nearest.astype(Long) < values, np.nextafter(nearest, np.inf), nearest)


def _rate(terms: int | IntArray) -> Any:
    return 2 * (terms + 4) * ROUNDOFF


def _pattern(matrix: sp.csr_array) -> sp.csr_array:
    """Return ones where the matrix has entries."""
    return sp.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def _magnitude(interval: Interval) -> Vector:
    return np.asarray(interval.magnitude, dtype=Long)


def _unit_rows(matrix: sp.csr_array) -> BoolArray:
    """Tell which rows hold nothing but at most one 1 or -1."""
    counts = np.diff(matrix.indptr)
    plain = np.ones(matrix.shape[0], dtype=bool)
    plain[np.repeat(np.arange(matrix.shape[0]), counts)[np.abs(matrix.data) != 1]] = False
    return plain & (counts <= 1)


def _rounded_products(a: sp.csr_array, b: sp.csr_array) -> sp.csr_array:
    """Return ``|a| @ |b|`` at those entries of ``a @ b`` that may have been rounded.

    Three kinds are exact: rows of `a` that only copy; single products with a power of two; and sums that are multiples
    of some power of two and less than 2^(bits of the mantissa) times that.
    """
    powers = _powers_of_two(b.data)
    counts = np.bincount(b.indices, minlength=b.shape[1])
    if powers.all() and (counts <= 1).all():
        return _empty(a.shape[0], b.shape[1])
    weighted = sp.csr_array((np.where(powers, 1.0, 2.0), b.indices, b.indptr), shape=b.shape)
    terms, sizes = sp.csr_array(_pattern(a) @ weighted), sp.csr_array(abs(a) @ abs(b))
    terms.sort_indices()
    sizes.sort_indices()
    rows = np.repeat(np.arange(a.shape[0]), np.diff(sizes.indptr))
    grain = np.full(a.shape[0], np.inf, dtype=Long)
    np.minimum.at(grain, np.repeat(np.arange(a.shape[0]), np.diff(a.indptr)), _grain(a.data))
    limit = grain * _grain(b.data).min(initial=np.inf) * Long(2.0) ** MANTISSA
    exact = _unit_rows(a)[rows] | (terms.data < 2) | (sizes.data <= limit[rows])
    return _tidy(sp.csr_array((np.where(exact, 0, sizes.data), sizes.indices, sizes.indptr), shape=sizes.shape))


def _powers_of_two(values: Vector) -> BoolArray:
    """Tell which numbers multiply without rounding."""
    return np.abs(values) == 1 if MANTISSA == 52 else np.abs(np.frexp(values)[0]) == 0.5


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


def _sum_error(a: Vector, b: Vector) -> Vector:
    """Return ``a + b`` minus its rounded value, exactly (Knuth's TwoSum)."""
    total = a + b
    part = total - a
    return (a - (total - part)) + (b - part)


def _where_both(matrix: sp.csr_array, other: sp.csr_array) -> sp.csr_array:
    """Return the entries of `matrix` where `other` has entries too, in order of columns."""
    found = sp.csr_array(matrix.multiply(_pattern(other)))
    found.sort_indices()
    return found


def _tidy(matrix: sp.csr_array) -> sp.csr_array:
    matrix.eliminate_zeros()
    return matrix


def _empty(rows: int, columns: int) -> sp.csr_array:
    return sp.csr_array((rows, columns), dtype=Long)
