"""Which rows depend on which: proposals for Join and Merge. Floating point proposes; the proved deviation decides.

    rank     rows scaled by powers of two to comparable size; QR with column pivoting of their transpose,
             rows' = Q R, orders them by what they add to the span: the first r are a base, and
             dependent = K base with K^T = R11^-1 R12
    parallel rows are equal after division by their first non-zero entry

Entries of K are moved to a nearby multiple of 2^-10 where that leaves the rows as dependent as they were: duplicates,
sums and simple multiples then come out exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from milpcomp.network.layers import FloatArray, IntArray

RANK_TOLERANCE = 64 * 2.0**-52
"""Relative to the largest row, times the number of rows and columns: what QR leaves of a dependent row."""

GRID = 2.0**-10


@dataclass(frozen=True, eq=False)
class Dependence:
    """``rows[dependent] = matrix @ rows[base]``, up to rounding; `base` rows are independent."""

    base: IntArray
    dependent: IntArray
    matrix: FloatArray


def dependent_rows(rows: FloatArray) -> Dependence:
    """Return a base of the rows (m, n), and the other rows in terms of it."""
    count = len(rows)
    if not rows.size:
        return Dependence(np.zeros(0, np.int64), np.arange(count), np.zeros((count, 0)))
    exponents = np.frexp(np.abs(rows).max(axis=1))[1]
    scaled = np.ldexp(rows, -exponents[:, None])
    r, order = scipy.linalg.qr(scaled.T, mode="r", pivoting=True)
    diagonal = np.abs(np.diag(r))
    rank = int((diagonal > RANK_TOLERANCE * sum(rows.shape) * diagonal.max(initial=0.0)).sum())
    base, dependent = np.sort(order[:rank]), np.sort(order[rank:])
    if not len(dependent):
        return Dependence(base, dependent, np.zeros((0, rank)))
    solved = scipy.linalg.solve_triangular(r[:rank, :rank], r[:rank, rank:]).T if rank else np.zeros((count, 0))
    solved = solved[np.argsort(order[rank:])][:, np.argsort(order[:rank])]
    matrix = _simplified(solved, scaled[base], scaled[dependent])
    return Dependence(base, dependent, np.ldexp(matrix, exponents[dependent][:, None] - exponents[base]))


def parallel_rows(rows: FloatArray) -> list[tuple[int, int, float]]:
    """Return (row, base row, factor > 0) for rows that are positive multiples of an earlier one, up to rounding."""
    found: list[tuple[int, int, float]] = []
    seen: dict[tuple[bool, bytes, bytes], int] = {}
    for i, row in enumerate(rows):
        used = np.flatnonzero(row)
        if not len(used):
            continue
        pivot = row[used[0]]
        key = (bool(pivot > 0), used.tobytes(), np.round(row[used] / pivot, 12).tobytes())
        base = seen.setdefault(key, i)
        if base != i:
            found.append((i, base, float(pivot / rows[base, used[0]])))
    return found


def _simplified(matrix: FloatArray, base: FloatArray, dependent: FloatArray) -> FloatArray:
    """Return the matrix, or its rows on the grid where they express the dependent rows no worse."""
    snapped = np.round(matrix / GRID) * GRID
    before = np.abs(dependent - matrix @ base).max(axis=1, initial=0.0)
    after = np.abs(dependent - snapped @ base).max(axis=1, initial=0.0)
    cleaned = np.where(np.abs(matrix) < RANK_TOLERANCE, 0.0, matrix)
    return np.where((after <= before)[:, None], snapped, cleaned)
