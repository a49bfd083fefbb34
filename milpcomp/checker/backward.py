"""Backward substitution of many rows at once, in floats whose errors are accounted for.

To bound sums over nodes of ``rows @ value`` from above, row by row, they are rewritten from the last node to the input:

    linear step      row -> row @ A,  total += row @ offset
    rectifier step   row @ output  <=  row' @ source + height         by any valid relaxation, which the caller chooses
    input            the maximum over the box

Every rounding of a coefficient changes the sum by at most that rounding times a bound of ``|value|``. For these bounds
one vector per step serves all rows: the *reach* of a value over the whole domain, which holds in every part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from milpcomp.checker.arithmetic import growth, underflow, up
from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.intervals import Interval
from milpcomp.checker.linear import DENSE_SHARE, Sum
from milpcomp.checker.matrices import FloatArray, IntArray

CHUNK_ELEMENTS = 400_000
"""How many coefficients one pass holds for the widest value: more of them fall out of the cache."""

Relax = Callable[[Rectifier, FloatArray | None, Sum], FloatArray | None]
"""Takes rows on the output of a rectifier (None for zeros) to rows on its source; heights and errors go to the sum."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What all rows share.

    Parameters
    ----------
    model : Model
    reach : mapping
        Bounds of the absolute values of `INPUT` and of every step over the domain.
    """

    model: Model
    reach: Mapping[str, FloatArray]

    @cached_property
    def matrices(self) -> Mapping[str, Mapping[str, Any]]:
        """Per linear step and source: the matrix, dense where that is faster."""
        return {step.name: {s: _handy(a) for s, a in step.matrices.items()} for step in self._linear_steps()}

    @cached_property
    def signed(self) -> Mapping[str, Mapping[str, tuple[Any, Any]]]:
        """Per linear step and source: the positive and the negative entries of the matrix, transposed."""
        return {
            step.name: {s: (_handy(a.maximum(0).T), _handy(a.minimum(0).T)) for s, a in step.matrices.items()}
            for step in self._linear_steps()
        }

    @cached_property
    def sizes(self) -> Mapping[str, FloatArray]:
        """Per step, bounds of ``|A| @ |source| + |offset|``, or of the larger slope times ``|source|``.

        What underflows on the way is paid for, since large coefficients may meet it.
        """
        found = {}
        for step in self.model.steps:
            if isinstance(step, Rectifier):
                steepest = np.maximum(np.abs(step.positive), np.abs(step.negative))
                found[step.name] = steepest * self.reach[step.source] + underflow(1)
            else:
                products = [absolute @ self.reach[source] for source, absolute in step.absolutes.items()]
                found[step.name] = sum(products, np.abs(step.offset)) + underflow(step.terms)
        return found

    @cached_property
    def moves(self) -> frozenset[str]:
        """The linear steps that only move numbers: rows pass them without rounding."""
        return frozenset(
            step.name
            for step in self._linear_steps()
            if step.copies and all(np.bincount(a.indices).max(initial=0) <= 1 for a in step.matrices.values())
        )

    @cached_property
    def spans(self) -> Mapping[str, float]:
        """Per value, what an error of 1 in every coefficient amounts to, at most."""
        return {name: 1.0 + float(reach.sum()) for name, reach in self.reach.items()}

    @cached_property
    def chunk(self) -> int:
        """How many rows one pass takes."""
        return max(1, CHUNK_ELEMENTS // max(self.model.size(name) for name in self.model.shapes))

    def _linear_steps(self) -> list[Linear]:
        return [step for step in self.model.steps if isinstance(step, Linear)]


def frame_of(model: Model, bounds: Mapping[str, Interval]) -> Frame:
    """Return the frame for a domain on which the values have these proved bounds."""
    return Frame(model, {name: interval.magnitude for name, interval in bounds.items()})


def unit_rows(frame: Frame, name: str, units: IntArray, factors: FloatArray) -> tuple[dict[str, FloatArray], Sum]:
    """Return the rows ``factors[k] * (element units[k] of the value called name)``; the factors are -1, 0 or 1.

    Where the value is that of a linear step, they are written in the sources of the step, without rounding.
    """
    result = Sum(np.zeros(len(units)), np.zeros(len(units)))
    if name not in frame.matrices:
        direct = np.zeros((len(units), frame.model.size(name)))
        direct[np.arange(len(units)), units] = factors
        return {name: direct}, result
    step = frame.model.step(name)
    assert isinstance(step, Linear)
    result.total += factors * step.offset[units]
    rows = {source: factors[:, None] * _dense(matrix[units]) for source, matrix in frame.matrices[name].items()}
    return rows, result


def substitute(frame: Frame, rows: dict[str, FloatArray], box: Interval, relax: Relax, result: Sum) -> Sum:
    """Return `result` with the upper bounds of the sum over nodes of ``rows[node] @ value(node)`` added to it.

    `box` holds the input's bounds, shape (B, inputs) for B rows or (1, inputs) for all of them.
    """
    for step in reversed(frame.model.steps):
        here = rows.pop(step.name, None)
        if isinstance(step, Rectifier):
            relaxed = relax(step, here, result)
            parts = {} if relaxed is None else {step.source: relaxed}
        else:
            parts = {} if here is None else _through_linear(frame, step, here, result)
        for source, part in parts.items():
            if source in rows:
                part = part + rows[source]
                result.error += growth(1) * (np.abs(part) @ frame.reach[source])
            rows[source] = part
    last = rows.pop(INPUT, None)
    if last is not None:
        _over_box(last, box, result)
    return result


def _over_box(rows: FloatArray, box: Interval, result: Sum) -> None:
    """Add bounds of ``rows @ x`` over boxes, by the middle and a radius that is rounded up."""
    middle = 0.5 * box.lower + 0.5 * box.upper
    radius = up(np.maximum(box.upper - middle, middle - box.lower))
    size, terms = np.abs(rows), rows.shape[1]
    reach = _times(size, radius)
    result.total = result.total + _times(rows, middle) + reach
    result.error += growth(terms + 3) * (_times(size, np.abs(middle)) + reach) + growth(2) * np.abs(result.total)
    result.error += underflow(terms)


def _times(rows: FloatArray, numbers: FloatArray) -> FloatArray:
    """Return the sums of products of B rows with numbers of shape (B, n) or (1, n)."""
    return rows @ numbers[0] if len(numbers) == 1 else np.einsum("ij,ij->i", rows, numbers)


def _through_linear(frame: Frame, step: Linear, here: FloatArray, result: Sum) -> dict[str, FloatArray]:
    if step.offset.any():
        result.total = result.total + here @ step.offset
    if step.name not in frame.moves:
        terms = here.shape[1] + 2
        result.error += growth(terms) * (np.abs(here) @ frame.sizes[step.name]) + growth(1) * np.abs(result.total)
        result.error += underflow(terms) * sum(frame.spans[source] for source in step.matrices)
    return {source: np.asarray(here @ matrix) for source, matrix in frame.matrices[step.name].items()}


def _handy(matrix: sp.csr_array) -> Any:
    dense = matrix.nnz >= DENSE_SHARE * matrix.shape[0] * matrix.shape[1]
    return np.ascontiguousarray(matrix.toarray()) if dense else sp.csr_array(matrix)


def _dense(rows: Any) -> FloatArray:
    return np.asarray(rows.toarray() if sp.issparse(rows) else rows, dtype=np.float64)
