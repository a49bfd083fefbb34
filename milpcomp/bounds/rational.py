"""Exact arithmetic on the numbers of a network: the last word where floating point cannot tell a sign.

Every float64 is a whole number times a power of two, and rectifier networks only add, subtract, multiply and compare.
So a layer is evaluated exactly on Python integers that share one power of two:

    values = numbers * 2^exponent

and only the answer becomes a `Fraction`. This is many times faster than a sum of Fractions, which would cancel common
factors after every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.network import INPUT, Affine, Concat, Network, Node, Rectifier
from milpcomp.network.layers import FloatArray, IntArray

Integers = NDArray[Any]
"""Object arrays of Python integers."""

Matrices = dict[str, sp.csr_array]


@dataclass(frozen=True, eq=False)
class Dyadic:
    """The numbers ``numbers * 2**exponent``, exactly."""

    numbers: Integers
    exponent: int

    def at(self, exponent: int) -> Integers:
        """Return the numbers with respect to `exponent`, which must not exceed this one's."""
        return self.numbers << (self.exponent - exponent)

    def fraction(self, index: int) -> Fraction:
        """Return one entry of a vector."""
        number = int(self.numbers[index])
        return Fraction(number << self.exponent) if self.exponent >= 0 else Fraction(number, 1 << -self.exponent)


def dyadic(values: FloatArray) -> Dyadic:
    """Return float64 `values` (finite) exactly, with the largest possible exponent."""
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # trailing zero bits of each mantissa
    exponents = exponents - 53 + zeros
    used = whole != 0
    least = int(exponents[used].min()) if used.any() else 0
    shifts = np.where(used, exponents - least, 0)
    numbers = (whole >> np.maximum(zeros, 0)).astype(object) << shifts.astype(object)
    return Dyadic(numbers, least)


def round_down(value: Fraction) -> float:
    """Return the greatest float64 <= `value` (-inf if there is none)."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.nextafter(math.inf, 0.0) if value > 0 else -math.inf
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def round_up(value: Fraction) -> float:
    """Return the least float64 >= `value` (+inf if there is none)."""
    return -round_down(-value)


def row_minimum(weights: FloatArray, offset: float, lower: FloatArray, upper: FloatArray) -> Fraction:
    """Return the exact minimum of ``weights @ x + offset`` over lower <= x <= upper.

    Parameters
    ----------
    weights, lower, upper : ndarray, shape (n,)
        Finite.
    offset : float
    """
    row, corner = dyadic(weights), dyadic(np.where(weights > 0, lower, upper))
    total = np.array([np.dot(row.numbers, corner.numbers)], dtype=object)
    return Dyadic(total, row.exponent + corner.exponent).fraction(0) + Fraction(offset)


def exact_pre_activation(network: Network, x: FloatArray, layer: str, unit: int) -> Fraction:
    """Return the exact pre-activation of one neuron at one input.

    Parameters
    ----------
    network : Network
    x : ndarray, shape input_shape
    layer : str
        Name of the rectifier.
    unit : int
        Flat index of the neuron.
    """
    return exact_pre_activations(network, x, layer, [unit])[0]


def exact_pre_activations(network: Network, x: FloatArray, layer: str, units: Sequence[int]) -> list[Fraction]:
    """Return the exact pre-activations of neurons `units` of the rectifier `layer` at the input x (input_shape).

    Only the values that these neurons depend on are computed.
    """
    source = network[layer].inputs[0]
    wanted = np.zeros(network.width(source), dtype=bool)
    wanted[list(units)] = True
    needed, matrices = _ancestors(network, source, wanted)
    start = np.where(needed.get(INPUT, False), np.asarray(x, dtype=np.float64).reshape(-1), 0.0)
    values = {INPUT: dyadic(start)}
    for node in network.nodes:
        if node.name in needed:
            values[node.name] = _evaluate(network, node, values, needed[node.name], matrices)
    return [values[source].fraction(unit) for unit in units]


def _ancestors(
    network: Network, source: str, wanted: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[np.bool_]], Matrices]:
    """Return which elements of which nodes the `wanted` elements of `source` depend on, and the matrices met."""
    needed = {source: wanted}
    matrices: Matrices = {}
    for node in reversed(network.nodes):
        if node.name not in needed:
            continue
        mask, shapes = needed[node.name], [network.shape(name) for name in node.inputs]
        if isinstance(node.layer, Affine):
            matrices[node.name] = node.layer.matrix(shapes[0])
            columns = np.zeros(network.width(node.inputs[0]), dtype=bool)
            columns[matrices[node.name][np.flatnonzero(mask)].indices] = True
            parts = [columns]
        elif isinstance(node.layer, Concat):
            edges = np.cumsum([shape[node.layer.axis] for shape in shapes])[:-1]
            joined = mask.reshape(network.shape(node.name))
            parts = [part.reshape(-1) for part in np.split(joined, edges, axis=node.layer.axis)]
        else:
            parts = [mask] * len(node.inputs)
        for name, part in zip(node.inputs, parts, strict=True):
            needed[name] = needed[name] | part if name in needed else part
    return needed, matrices


def _evaluate(
    network: Network, node: Node, values: dict[str, Dyadic], mask: NDArray[np.bool_], matrices: Matrices
) -> Dyadic:
    inputs = [values[name] for name in node.inputs]
    if isinstance(node.layer, Affine):
        offset = np.broadcast_to(node.layer.offset(), network.shape(node.name)).reshape(-1)
        return _affine(matrices[node.name], offset, inputs[0], np.flatnonzero(mask))
    if isinstance(node.layer, Rectifier):
        positive, negative = (dyadic(slope) for slope in node.layer.slopes(network.shape(node.name)))
        exponent = min(positive.exponent, negative.exponent)
        slopes = np.where(inputs[0].numbers > 0, positive.at(exponent), negative.at(exponent))
        return Dyadic(slopes * inputs[0].numbers, exponent + inputs[0].exponent)
    exponent = min(value.exponent for value in inputs)
    aligned = [value.at(exponent) for value in inputs]
    if isinstance(node.layer, Concat):
        shaped = [part.reshape(network.shape(name)) for part, name in zip(aligned, node.inputs, strict=True)]
        return Dyadic(np.concatenate(shaped, axis=node.layer.axis).reshape(-1), exponent)
    return Dyadic(np.sum(aligned, axis=0), exponent)


def _affine(matrix: sp.csr_array, offset: FloatArray, x: Dyadic, rows: IntArray) -> Dyadic:
    """Return the given rows of ``matrix @ x + offset``, and 0 in the others."""
    part = matrix[rows]
    weights, shift = dyadic(part.data), dyadic(offset)
    exponent = min(weights.exponent + x.exponent, shift.exponent)
    products = Dyadic(np.zeros(len(offset), dtype=object), weights.exponent + x.exponent)
    for row, start, stop in zip(rows, part.indptr[:-1], part.indptr[1:], strict=True):
        products.numbers[row] = np.dot(weights.numbers[start:stop], x.numbers[part.indices[start:stop]])
    used = np.zeros(len(offset), dtype=object)
    used[rows] = shift.at(exponent)[rows]
    return Dyadic(products.at(exponent) + used, exponent)
