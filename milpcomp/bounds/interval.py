"""Interval arithmetic over a network, rounded outward: bounds of every node from bounds of the input.

    affine      lower = A+ l + A- u + b        upper = A+ u + A- l + b        A+ = max(A, 0), A- = min(A, 0)
    rectifier   least and greatest of y(l), y(u), and of 0 if l < 0 < u       y(v) = (positive or negative slope) * v

The error of an affine bound is gamma_n times the magnitudes of the products *that were summed*, A+ |l| - A- |u| + |b|
for the lower one (`milpcomp.bounds.rounding`). Where all of these products are zero nothing was rounded and the bound
is exactly b: dead rows give [0, 0], and a row of non-positive weights on inputs that reach 0 has its upper bound
exactly at b. Networks trained with l1 hold many of both. Where only the error leaves the sign of a bound open, that row
is redone in exact arithmetic.

A point (lower == upper) is a box, so the signs of pre-activations at concrete inputs are established by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.rational import round_down, round_up, row_minimum
from milpcomp.bounds.rounding import UNDERFLOW, above, below, gamma, require_gradual_underflow
from milpcomp.network import INPUT, Add, Affine, Concat, Layer, Network, Node, Rectifier
from milpcomp.network.index_maps import IndexMap
from milpcomp.network.layers import FloatArray
from milpcomp.network.opaque import refuse_opaque

EXACT_PRODUCTS = 50_000
"""How many products one layer may spend on exact arithmetic (a few hundredths of a second)."""

TINY = 2.0**-500
"""Products of two numbers that are not smaller than this do not underflow."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Arrays of one shape with ``lower <= value <= upper``; infinite where nothing is known."""

    lower: FloatArray
    upper: FloatArray

    def meet(self, other: Interval) -> Interval:
        """Return the intersection with `other`, which must bound the same values."""
        return Interval(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))

    def magnitude(self) -> FloatArray:
        """Return max(|lower|, |upper|)."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))


def propagate(
    network: Network, lower: FloatArray, upper: FloatArray, nodes: Sequence[Node] | None = None
) -> dict[str, Interval]:
    """Return bounds of every node (and of `INPUT`) over each of N boxes.

    Parameters
    ----------
    network : Network
    lower, upper : ndarray, shape (N, *input_shape)
        The boxes; equal for points.
    nodes : sequence of Node, optional
        Only bounds of these, the first so many of the network.

    Returns
    -------
    dict from node name to Interval of shape (N, *shape)
        Enclosing the values in real arithmetic of the stored network, for every input of the box.

    Raises
    ------
    MilpcompError
        If the floating-point mode does not allow any proof, or the network holds opaque layers.
    """
    refuse_opaque(network, "interval arithmetic")
    require_gradual_underflow()
    point = lower is upper or np.array_equal(lower, upper)
    values = {INPUT: Interval(lower, lower if point else upper)}
    for node in network.nodes if nodes is None else nodes:
        values[node.name] = step(node.layer, [values[name] for name in node.inputs])
    return values


def step(layer: Layer, inputs: Sequence[Interval]) -> Interval:
    """Return bounds (N, *output shape) of the value of `layer` from bounds (N, *shape) of its inputs."""
    with np.errstate(all="ignore"):
        if isinstance(layer, IndexMap):
            lower = layer.linear(inputs[0].lower)
            return Interval(lower, lower if inputs[0].lower is inputs[0].upper else layer.linear(inputs[0].upper))
        if isinstance(layer, Affine):
            return _affine(layer, inputs[0])
        if isinstance(layer, Rectifier):
            return _rectifier(layer, inputs[0])
        if isinstance(layer, Concat):
            axis = layer.axis + 1
            return Interval(
                np.concatenate([x.lower for x in inputs], axis), np.concatenate([x.upper for x in inputs], axis)
            )
        if not isinstance(layer, Add):
            raise TypeError(f"{type(layer).__name__} has no interval arithmetic")
        lower, error = _sum([x.lower for x in inputs])
        upper, upper_error = _sum([x.upper for x in inputs])
        return Interval(below(lower, error), above(upper, upper_error))


def _sum(terms: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return the sum and its error: zero where at most one term is non-zero."""
    total = np.sum(terms, axis=0)
    rounded = np.count_nonzero(terms, axis=0) > 1
    return total, np.where(rounded, gamma(len(terms)) * np.sum(np.abs(terms), axis=0), 0.0)


def _affine(layer: Affine, x: Interval) -> Interval:
    shape, offset = x.lower.shape[1:], layer.offset()
    if x.lower is x.upper:
        lower = upper = layer.linear(x.lower)
        magnitudes = [layer.absolute().linear(np.abs(x.lower))] * 2
    else:
        lower, upper, magnitudes = _split_products(layer, x)
    untouched = [magnitude == 0 for magnitude in magnitudes]
    if _may_underflow(layer, x):  # then a magnitude of zero does not mean that all products are zero
        reached = layer.absolute().linear(((x.lower != 0) | (x.upper != 0)).astype(np.float64)) > 0
        untouched = [zero & ~reached for zero in untouched]
    growth = gamma(layer.terms(shape) + 2)  # + 2: the parts of A+ and A- are added, and then the offset
    below_error, above_error = (
        np.where(zero, 0.0, growth * (magnitude + np.abs(offset)) + UNDERFLOW)
        for zero, magnitude in zip(untouched, magnitudes, strict=True)
    )
    lower, upper = lower + offset, upper + offset
    bounds = Interval(below(lower, below_error), above(upper, above_error))
    _decide_exactly(layer, x, bounds, lower + below_error >= 0, upper - above_error <= 0)
    return bounds


def _split_products(layer: Affine, x: Interval) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Return A+ l + A- u, A+ u + A- l, and for each the sum of the absolute values of its products."""
    positive, negative = layer.split()
    ends = [x.lower, x.upper]
    signed = not (x.lower >= 0).all()
    if signed:
        ends += [np.abs(x.lower), np.abs(x.upper)]
    stacked = np.concatenate(ends)
    plus = np.split(positive.linear(stacked), len(ends))
    minus = np.split(negative.linear(stacked), len(ends)) if negative is not None else [np.zeros(())] * len(ends)
    low, high = (2, 3) if signed else (0, 1)
    return plus[0] + minus[1], plus[1] + minus[0], [plus[low] - minus[high], plus[high] - minus[low]]


def _may_underflow(layer: Affine, x: Interval) -> bool:
    """Tell whether some product of a coefficient and a bound could underflow."""
    numbers = [x.lower, x.upper, *(a for a in layer.arrays().values() if a.dtype.kind == "f")]
    return any(bool(((a != 0) & (np.abs(a) < TINY)).any()) for a in numbers)


def _decide_exactly(
    layer: Affine, x: Interval, bounds: Interval, low_open: NDArray[np.bool_], high_open: NDArray[np.bool_]
) -> None:
    """Replace bounds, in place, whose sign only their own error leaves open, by exact ones rounded outward.

    `low_open` says where the exact lower bound may be >= 0, `high_open` where the exact upper bound may be <= 0.
    """
    low_open = low_open & (bounds.lower < 0) & np.isfinite(bounds.lower)
    high_open = high_open & (bounds.upper > 0) & np.isfinite(bounds.upper)
    if not (low_open.any() or high_open.any()):
        return
    count, shape = len(x.lower), x.lower.shape[1:]
    matrix = layer.matrix(shape)
    offset = np.broadcast_to(layer.offset(), bounds.lower.shape[1:]).reshape(-1)
    corners = x.lower.reshape(count, -1), x.upper.reshape(count, -1)
    budget = EXACT_PRODUCTS
    for sign, mask, side in ((1, low_open, bounds.lower), (-1, high_open, bounds.upper)):
        for sample, row in np.argwhere(mask.reshape(count, -1)):
            start, stop = matrix.indptr[row], matrix.indptr[row + 1]
            budget -= int(stop - start)
            if budget < 0:
                return
            columns, weights = matrix.indices[start:stop], sign * matrix.data[start:stop]
            least = row_minimum(weights, sign * offset[row], *(corner[sample, columns] for corner in corners))
            side.reshape(count, -1)[sample, row] = round_down(least) if sign == 1 else round_up(-least)


def _rectifier(layer: Rectifier, x: Interval) -> Interval:
    low_ends, high_ends = [], []
    for end in (x.lower, x.upper):
        slope = np.broadcast_to(np.where(end >= 0, layer.positive_slope, layer.negative_slope), end.shape)
        product = np.where((slope == 0) | (end == 0), 0.0, slope * end)  # an unknown number times zero is zero
        exact = (slope == 0) | (np.abs(slope) == 1) | (end == 0)
        low_ends.append(np.where(exact, product, np.nextafter(product, -np.inf)))
        high_ends.append(np.where(exact, product, np.nextafter(product, np.inf)))
    lower, upper = np.minimum(*low_ends), np.maximum(*high_ends)
    crossing = (x.lower < 0) & (x.upper > 0)
    return Interval(
        np.where(crossing, np.minimum(lower, 0.0), lower), np.where(crossing, np.maximum(upper, 0.0), upper)
    )
