"""Rows over the columns of an encoding: affine forms translated, and scaled by powers of two.

Inputs are columns u with ``x = shift + scale * u``; a post-activation is ``scale * (positive * h - negative * hbar)``.
Scaling by powers of two is exact. What is not exact is the shift of inputs in unusual units, and products with slopes;
`milpcomp.milp.margin` bounds both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from milpcomp.domain import Box, FloatArray
from milpcomp.errors import SolverError
from milpcomp.network import INPUT
from milpcomp.network.canonical import AffineForm
from milpcomp.network.layers import IntArray

NATURAL_RANGE = 16.0
"""Inputs with ``|x| <= NATURAL_RANGE`` and a range of 0, or at least 1 / NATURAL_RANGE, keep their own units."""

LEAST_SCALE = 2.0**-20
"""A row is divided by at least this times its largest coefficient: where large terms cancel, scaling has to end."""


@dataclass(frozen=True, eq=False)
class Block:
    """Where the neurons of one layer live: parallel arrays over its encoded units.

    Parameters
    ----------
    units : ndarray of int, shape (k,)
        Ascending.
    h, hbar : ndarray of int, shape (k,)
        Columns.
    z : ndarray of int, shape (k,)
        Columns; -1 where bounds prove the neuron stable.
    h_row, hbar_row : ndarray of int, shape (k,)
        The rows ``h - H z <= 0`` and ``hbar + Hbar z <= Hbar``; -1 where there is no z.
    scale : ndarray, shape (k,)
        Powers of two: pre-activation = scale * (h - hbar).
    positive, negative : ndarray, shape (k,)
        Slopes.
    """

    units: IntArray
    h: IntArray
    hbar: IntArray
    z: IntArray
    h_row: IntArray
    hbar_row: IntArray
    scale: FloatArray
    positive: FloatArray
    negative: FloatArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Affine functions of the columns: ``scale * (matrix @ columns + constant)``, with a scale for each row."""

    matrix: sp.csr_array
    constant: FloatArray
    scale: FloatArray


def scaled(rows: Rows, lower: FloatArray, upper: FloatArray) -> Rows:
    """Return rows divided by powers of two: ranges of order one, but no coefficient above 1 / LEAST_SCALE."""
    largest = LEAST_SCALE * abs(rows.matrix).max(axis=1).toarray().reshape(-1) if rows.matrix.shape[1] else 0.0
    scale = powers_of_two(np.maximum(np.maximum(np.abs(lower), np.abs(upper)), largest))
    return Rows(sp.csr_array(sp.diags_array(1 / scale) @ rows.matrix), rows.constant / scale, scale)


def powers_of_two(magnitude: FloatArray) -> FloatArray:
    """Return 2^k with ``2^(k-1) <= magnitude < 2^k``, k kept within +-500; 1 for a magnitude of zero."""
    exponent = np.frexp(magnitude)[1].clip(-500, 500)
    return np.where(magnitude > 0, np.ldexp(1.0, exponent), 1.0)


def input_units(domain: Box) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return (shift, scale, lower, upper) of the input columns: natural units where sensible, else [0, about 1]."""
    low, high = domain.lower.reshape(-1), domain.upper.reshape(-1)
    with np.errstate(over="ignore"):
        width = high - low
    if not np.isfinite(width).all():
        raise SolverError("the domain is wider than floats can tell, so no solver can be asked; shrink the domain")
    natural = (np.maximum(np.abs(low), np.abs(high)) <= NATURAL_RANGE) & ((width == 0) | (width >= 1 / NATURAL_RANGE))
    shift = np.where(natural, 0.0, low)
    scale = np.where(natural, 1.0, powers_of_two(width))
    return shift, scale, (low - shift) / scale, (high - shift) / scale


def translated(
    form: AffineForm,
    blocks: Mapping[str, Block],
    shift: FloatArray,
    scale: FloatArray,
    columns: int,
    absolute: bool = False,
) -> Rows:
    """Return an affine form over input and encoded rectifiers as a function of the columns.

    With `absolute`, of absolute values: a bound on the sum of the absolute values of all products.
    """
    sign = np.abs if absolute else np.asarray
    matrix = sp.csr_array((len(form.offset), columns))
    constant = form.offset
    for name, part in form.matrices.items():
        if name == INPUT:
            matrix = matrix + _spread(part, np.arange(len(scale)), scale, columns)
            constant = constant + part @ sign(shift)
        else:
            block = blocks[name]
            matrix = matrix + _spread(part, block.h, sign(block.positive * block.scale), columns)
            matrix = matrix + _spread(part, block.hbar, sign(-block.negative * block.scale), columns)
    return Rows(matrix, constant, np.ones(len(constant)))


def _spread(part: sp.csr_array, targets: IntArray, factors: FloatArray, columns: int) -> sp.csr_array:
    """Return `part` with column j multiplied by ``factors[j]`` and moved to column ``targets[j]``."""
    moved = sp.csr_array(
        (part.data * factors[part.indices], targets[part.indices], part.indptr.copy()), (part.shape[0], columns)
    )
    moved.eliminate_zeros()  # in place, the row pointers too
    return moved
