"""Collects the columns and rows of one `Milp` piece by piece, with arrays only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.domain import FloatArray
from milpcomp.milp.problem import Milp
from milpcomp.network.layers import IntArray

Entries = tuple[IntArray, IntArray, FloatArray]
"""Matrix entries as (rows, columns, values); rows are counted from 0 within the piece that is added."""


class Builder:
    """A problem under construction, from scratch or on top of an existing one."""

    def __init__(self, milp: Milp | None = None) -> None:
        self.columns, self.rows = (0, 0) if milp is None else (len(milp.cost), len(milp.row_lower))
        self._lower = [] if milp is None else [milp.lower]
        self._upper = [] if milp is None else [milp.upper]
        self._integer: list[NDArray[np.bool_]] = [] if milp is None else [milp.integer]
        self._names = [] if milp is None else list(milp.names)
        self._row_lower = [] if milp is None else [milp.row_lower]
        self._row_upper = [] if milp is None else [milp.row_upper]
        self._entries: list[Entries] = [] if milp is None else [entries(milp.matrix)]

    def add_columns(
        self, names: Iterable[str], lower: FloatArray, upper: FloatArray, integer: bool = False
    ) -> IntArray:
        """Add columns and return their indices."""
        start, self.columns = self.columns, self.columns + len(lower)
        self._lower.append(lower)
        self._upper.append(upper)
        self._integer.append(np.full(len(lower), integer))
        self._names.extend(names)
        return np.arange(start, self.columns)

    def add_rows(self, parts: Sequence[Entries], lower: FloatArray, upper: FloatArray) -> IntArray:
        """Add rows whose entries are the sum of `parts`, and return their indices."""
        start, self.rows = self.rows, self.rows + len(lower)
        self._entries.extend((rows + start, columns, values) for rows, columns, values in parts)
        self._row_lower.append(lower)
        self._row_upper.append(upper)
        return np.arange(start, self.rows)

    def milp(self) -> Milp:
        """Return what was collected, without objective."""
        rows, columns = (joined([part[i] for part in self._entries]).astype(np.int64) for i in (0, 1))
        values = joined([part[2] for part in self._entries])
        return Milp(
            cost=np.zeros(self.columns),
            offset=0.0,
            matrix=sp.coo_array((values, (rows, columns)), shape=(self.rows, self.columns)).tocsr(),
            row_lower=joined(self._row_lower),
            row_upper=joined(self._row_upper),
            lower=joined(self._lower),
            upper=joined(self._upper),
            integer=joined(self._integer).astype(bool),
            names=tuple(self._names),
        )


def entries(matrix: sp.csr_array) -> Entries:
    """Return the entries of a sparse matrix."""
    triple = matrix.tocoo()
    return triple.row, triple.col, triple.data


def diagonal(columns: IntArray, value: float | FloatArray) -> Entries:
    """Return one entry per row: `value` (one each, or one for all) in the given columns."""
    return np.arange(len(columns)), columns, np.broadcast_to(np.asarray(value, dtype=np.float64), columns.shape)


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the concatenation of any number of vectors, also of none."""
    return np.concatenate(parts) if parts else np.zeros(0)
