"""Exact evaluation, for the signs that error-bounded floats leave open.

Every float64 is an integer divided by a power of two, and networks only multiply, add and compare. A vector is held as
Python integers over one common power of two,

    value[i] = numbers[i] / 2^shift

so evaluation is integer arithmetic, and only what the asked-for elements depend on is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.matrices import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Exact:
    """The vector ``numbers / 2**shift``; numbers is an object array of Python integers."""

    numbers: NDArray[Any]
    shift: int

    def fractions(self) -> list[Fraction]:
        """Return the elements as fractions."""
        return [Fraction(int(number), 1 << self.shift) for number in self.numbers]


def exact(values: FloatArray) -> Exact:
    """Return finite floats (n,) without any rounding."""
    ratios = [float(value).as_integer_ratio() for value in values]
    shift = max((below.bit_length() - 1 for _, below in ratios), default=0)
    return Exact(_objects([above << (shift - below.bit_length() + 1) for above, below in ratios]), shift)


def times(matrix: sp.csr_array, x: Exact) -> Exact:
    """Return ``matrix @ x``."""
    weights = exact(matrix.data)
    products = weights.numbers * x.numbers[matrix.indices]
    sums = _objects([0] * matrix.shape[0])
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(products, matrix.indptr[filled])
    return Exact(sums, weights.shift + x.shift)


def plus(a: Exact, b: Exact) -> Exact:
    """Return ``a + b``."""
    shift = max(a.shift, b.shift)
    return Exact((a.numbers << (shift - a.shift)) + (b.numbers << (shift - b.shift)), shift)


def rectified(x: Exact, positive: FloatArray, negative: FloatArray) -> Exact:
    """Return ``positive * max(0, x) + negative * min(0, x)``."""
    slopes = exact(np.where((x.numbers >= 0).astype(bool), positive, negative))
    return Exact(slopes.numbers * x.numbers, slopes.shift + x.shift)


def exact_elements(model: Model, x: FloatArray, name: str, units: Sequence[int]) -> list[Fraction]:
    """Return elements `units` of the value called `name` at the input `x` (flattened), exactly."""
    wanted = _dependencies(model, name, np.unique(np.asarray(units, dtype=np.int64)))
    values = {INPUT: _spread(wanted.get(INPUT, np.zeros(0, dtype=np.int64)), exact(x), len(x), picked=False)}
    for step in model.steps:
        needed = wanted.get(step.name)
        if needed is None:
            continue
        if isinstance(step, Rectifier):
            source = values[step.source]
            here = Exact(source.numbers[needed], source.shift)
            value = rectified(here, step.positive[needed], step.negative[needed])
        else:
            value = exact(step.offset[needed])
            for source_name, matrix in step.matrices.items():
                value = plus(value, times(sp.csr_array(matrix[needed]), values[source_name]))
        values[step.name] = _spread(needed, value, model.size(step.name))
    found = values[name]
    return Exact(found.numbers[np.asarray(units, dtype=np.int64)], found.shift).fractions()


def _dependencies(model: Model, name: str, units: IntArray) -> dict[str, IntArray]:
    """Return, by name, which elements the elements `units` of the value called `name` depend on (and those)."""
    wanted = {name: units}
    for step in reversed(model.steps):
        if step.name not in wanted:
            continue
        reads = {step.source: wanted[step.name]} if isinstance(step, Rectifier) else _columns(step, wanted[step.name])
        for source, columns in reads.items():
            wanted[source] = np.union1d(wanted.get(source, np.zeros(0, dtype=np.int64)), columns)
    return wanted


def _columns(step: Linear, rows: IntArray) -> dict[str, IntArray]:
    return {s: np.unique(sp.csr_array(a[rows]).indices).astype(np.int64) for s, a in step.matrices.items()}


def _spread(needed: IntArray, values: Exact, size: int, picked: bool = True) -> Exact:
    """Return a vector of `size` elements that holds `values` at `needed` and 0 where nobody looks."""
    numbers = _objects([0] * size)
    numbers[needed] = values.numbers if picked else values.numbers[needed]
    return Exact(numbers, values.shift)


def _objects(numbers: list[int]) -> NDArray[Any]:
    array = np.empty(len(numbers), dtype=object)
    array[:] = numbers
    return array
