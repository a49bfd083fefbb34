"""The bound of one leaf in rational arithmetic, where rounding alone leaves open whether it is closed.

The formulas are those of `milpcomp.checker.backward` and `milpcomp.checker.multipliers`; nothing is rounded here, so
nothing has to be accounted for. Every float is a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.intervals import Interval

ZERO = Fraction(0)

Rows = dict[str, dict[int, Fraction]]
"""Coefficients by node and element; what is not there is 0."""


def products(model: Model) -> int:
    """Return about how many products of fractions `exact_bound` takes."""
    return sum(
        sum(a.nnz for a in s.matrices.values()) if isinstance(s, Linear) else len(s.positive) for s in model.steps
    )


def exact_bound(
    model: Model,
    rows: Rows,
    boxes: Mapping[str, Interval],
    recorded: Mapping[str, Mapping[int, float]],
) -> Fraction | None:
    """Return the exact upper bound of the sum over nodes of ``rows[node] @ value(node)``, or None for no bound.

    Parameters
    ----------
    model : Model
    rows : dict
        Used up.
    boxes : mapping from node name to Interval
        Vectors: bounds of the input and of the source of every rectifier.
    recorded : mapping from rectifier name to (unit -> multiplier)
    """
    total = ZERO
    for step in reversed(model.steps):
        here = rows.pop(step.name, {})
        if isinstance(step, Rectifier):
            multipliers = recorded.get(step.name, {})
            for unit in sorted({*here, *multipliers}):
                c, x = (
                    here.get(unit, ZERO),
                    (float(boxes[step.source].lower[unit]), float(boxes[step.source].upper[unit])),
                )
                slopes = Fraction(float(step.positive[unit])), Fraction(float(step.negative[unit]))
                nu = Fraction(float(multipliers[unit])) if unit in multipliers else c * _slope(c, x, slopes)
                height = _height(c, nu, x, slopes)
                if height is None:
                    return None
                total += height
                _add(rows, step.source, unit, nu)
        else:
            total += _through_linear(step, here, rows)
    for element, c in rows.pop(INPUT, {}).items():
        total += c * Fraction(float((boxes[INPUT].upper if c > 0 else boxes[INPUT].lower)[element]))
    return total


def _height(c: Fraction, nu: Fraction, x: tuple[float, float], slopes: tuple[Fraction, Fraction]) -> Fraction | None:
    """Return the greatest value of c r(g) - nu g over x, or None where that is not found."""
    (low, high), (p, n) = x, slopes
    ends = [(c * (p if low >= 0 else n) - nu, low), (c * (p if high > 0 else n) - nu, high)]
    if any(factor != 0 and not np.isfinite(end) for factor, end in ends):
        return None
    values = [ZERO if factor == 0 else factor * Fraction(end) for factor, end in ends]
    return max(*values, ZERO) if low < 0 < high else max(values)


def _slope(c: Fraction, x: tuple[float, float], slopes: tuple[Fraction, Fraction]) -> Fraction:
    """Return the slope of the standard line."""
    (low, high), (p, n) = x, slopes
    if low >= 0 or p == n:
        return p
    if high <= 0:
        return n
    if c * (p - n) > 0:
        share = high / (high - low)
        return n + (p - n) * Fraction(share) if np.isfinite(share) else p
    return p if high > -low else n


def _through_linear(step: Linear, here: Mapping[int, Fraction], rows: Rows) -> Fraction:
    """Add the coefficients on the sources of a step to `rows`, and return the sum with the offsets."""
    total = ZERO
    for unit, c in here.items():
        if c == 0:
            continue
        total += c * Fraction(float(step.offset[unit]))
        for source, matrix in step.matrices.items():
            span = slice(matrix.indptr[unit], matrix.indptr[unit + 1])
            for column, weight in zip(matrix.indices[span].tolist(), matrix.data[span].tolist(), strict=True):
                _add(rows, source, column, c * Fraction(weight))
    return total


def _add(rows: Rows, name: str, element: int, amount: Fraction) -> None:
    part = rows.setdefault(name, {})
    part[element] = part.get(element, ZERO) + amount
