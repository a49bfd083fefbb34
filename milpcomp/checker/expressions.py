"""Values of one network written in values of another, with a bound on what that leaves out.

An expression stands for a vector of unknown numbers

    sum over variables v of parts[v] @ value(v)  +  constant  +  something of size <= error, element by element

for every input of the domain. `error` grows where something was rounded and nowhere else, so networks whose numbers
were copied verbatim, or added up without rounding, are found to deviate by exactly 0. Arithmetic is in long double
(`milpcomp.checker.rounding`), which makes the checker's own rounding small beside that of the float64 networks.

`Reach` holds, by variable, bounds of its value: rounding a coefficient costs at most its change times that magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray
from milpcomp.checker.rounding import (
    SLACK,
    UNDERFLOW,
    Long,
    Vector,
    combined,
    empty,
    pattern,
    rate,
    rounded_products,
    sum_error,
    tidy,
    unit_rows,
)

Variable = str | tuple[str, str]
"""The name of a value of the final network, or ("original", name)."""

Reach = Mapping[Variable, Interval]


@dataclass(frozen=True, eq=False)
class Expression:
    """A vector of n unknowns: parts are sparse matrices (n, size of the variable), without stored zeros."""

    parts: Mapping[Variable, sp.csr_array]
    constant: Vector
    error: Vector

    def __len__(self) -> int:
        return len(self.constant)

    def rows(self, index: IntArray) -> Expression:
        """Return the elements `index`."""
        parts = {variable: sp.csr_array(part[index]) for variable, part in self.parts.items()}
        return Expression(parts, self.constant[index], self.error[index])


def variable(name: Variable, size: int, index: IntArray | None = None) -> Expression:
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
    size, unit = abs(a), rate(int(np.diff(a.indptr).max(initial=0)) + 1)
    parts, error = {}, np.zeros(a.shape[0], dtype=Long)
    for name, part in x.parts.items():
        parts[name] = tidy(sp.csr_array(a @ part))
        rounded = rounded_products(a, part)
        if rounded.nnz:
            magnitude = _magnitude(reach[name])
            cost = unit * (rounded @ magnitude) + UNDERFLOW * (1 + magnitude.sum())
            error += np.where(np.diff(rounded.indptr) > 0, cost, 0)
    column = sp.csr_array(x.constant.reshape(-1, 1))
    shift = np.asarray(offset, dtype=Long)
    products, total = rounded_products(a, column), a @ x.constant
    error += np.where(np.diff(products.indptr) > 0, unit * (size @ np.abs(x.constant)) + UNDERFLOW, 0)
    error += np.where(sum_error(total, shift) != 0, unit * (np.abs(total) + np.abs(shift)), 0)
    spread = size @ x.error
    spread = np.where(spread > 0, spread * (1 + unit) + UNDERFLOW, 0) if not unit_rows(a).all() else spread
    return Expression(parts, total + shift, combined(error * SLACK, spread))


def scaled(factors: FloatArray, x: Expression, reach: Reach) -> Expression:
    """Return ``factors * x``, element by element."""
    used = np.flatnonzero(factors)
    diagonal = sp.csr_array(sp.coo_array((factors[used], (used, used)), shape=(len(factors),) * 2))
    return image(diagonal, x, np.zeros(len(factors)), reach)


def stack(matrices: Sequence[sp.csr_array], parts: Sequence[Expression]) -> tuple[sp.csr_array, Expression]:
    """Return one matrix and one expression whose product is the sum of the products."""
    if len(parts) == 1:
        return matrices[0], parts[0]
    names = {name: part.shape[1] for expression in parts for name, part in expression.parts.items()}
    joined = {
        name: sp.csr_array(sp.vstack([e.parts.get(name, empty(len(e), size)) for e in parts]))
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
        parts[name] = tidy(sp.csr_array(left - right))
        ours, theirs = _where_both(left, right), _where_both(right, left)
        lost = sum_error(ours.data, -theirs.data)
        rounded = tidy(sp.csr_array((np.abs(lost), ours.indices, ours.indptr), shape=ours.shape))
        error = combined(error, rounded @ _magnitude(reach[name]) * SLACK)
    lost = np.abs(sum_error(x.constant, -y.constant))
    return Expression(parts, x.constant - y.constant, combined(error, lost))


def substitute(x: Expression, name: Variable, definition: Expression, reach: Reach) -> Expression:
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
    entries: dict[Variable, list[tuple[Vector, IntArray, IntArray]]] = {}
    sizes: dict[Variable, int] = {}
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


def terms(x: Expression) -> IntArray:
    """Return how many coefficients each unknown has."""
    return sum((np.diff(part.indptr) for part in x.parts.values()), np.zeros(len(x), dtype=np.int64))


def copies(x: Expression) -> BoolArray:
    """Tell which unknowns are constants, or exactly one element of a variable or its negative."""
    ones = sum((abs(part).sum(axis=1) for part in x.parts.values()), np.zeros(len(x), dtype=Long))
    return (terms(x) == 0) | ((terms(x) == 1) & (ones == 1) & (x.constant == 0) & (x.error == 0))


def bound(x: Expression, reach: Reach) -> Vector:
    """Return bounds of the absolute values of the unknowns; infinite where nothing is known."""
    high, low = x.constant.copy(), x.constant.copy()
    size = np.abs(x.constant)
    varying = np.zeros(len(x), dtype=bool)
    for name, part in x.parts.items():
        lower, upper = (np.asarray(side, dtype=Long) for side in (reach[name].lower, reach[name].upper))
        positive, negative = tidy(part.maximum(0)), tidy(part.minimum(0))
        high = high + positive @ upper + negative @ lower
        low = low + positive @ lower + negative @ upper
        size = size + abs(part) @ _magnitude(reach[name])
        varying |= pattern(part) @ (reach[name].magnitude != 0).astype(np.float64) > 0
    several = rate(terms(x) + 1) * size + UNDERFLOW
    return combined(np.where(varying, np.maximum(high, -low) + several, np.abs(x.constant)), x.error)


def is_zero(x: Expression) -> bool:
    """Tell whether the unknowns are all exactly zero."""
    return not any(part.nnz for part in x.parts.values()) and not x.constant.any() and not x.error.any()


def _magnitude(interval: Interval) -> Vector:
    return np.asarray(interval.magnitude, dtype=Long)


def _where_both(matrix: sp.csr_array, other: sp.csr_array) -> sp.csr_array:
    """Return the entries of `matrix` where `other` has entries too, in order of columns."""
    found = sp.csr_array(matrix.multiply(pattern(other)))
    found.sort_indices()
    return found
