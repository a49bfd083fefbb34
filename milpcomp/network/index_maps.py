"""Layers that only move numbers: reshape, permute axes, and take indices along axes.

They are affine with coefficients 0 and 1, so they are exact in any arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from milpcomp.errors import NetworkError
from milpcomp.network.layers import Affine, FloatArray, IntArray, Shape, frozen_indices, size


class IndexMap(Affine):
    """An affine layer whose every output element is one input element, or zero."""

    def matrix(self, shape: Shape) -> sp.csr_array:
        tagged = self.linear(np.arange(1.0, size(shape) + 1).reshape(1, *shape)).reshape(-1)
        targets = np.flatnonzero(tagged)  # tag 0 marks a zero of the output
        sources = tagged[targets].astype(np.int64) - 1
        return sp.coo_array((np.ones(len(targets)), (targets, sources)), shape=(tagged.size, size(shape))).tocsr()

    def terms(self, shape: Shape) -> int:
        return 1


@dataclass(frozen=True, eq=False)
class Reshape(IndexMap):
    """The same numbers, in C order, with sample shape `shape`."""

    shape: Shape

    def output_shape(self, shape: Shape) -> Shape:
        if size(shape) != size(self.shape):
            raise NetworkError(f"a sample of shape {shape} cannot be reshaped to {self.shape}")
        return self.shape

    def linear(self, x: FloatArray) -> FloatArray:
        return x.reshape(len(x), *self.shape)

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        return y.reshape(len(y), *shape)


@dataclass(frozen=True, eq=False)
class Permute(IndexMap):
    """Axis i of the output is axis ``axes[i]`` of the input (sample axes, batch axis not counted)."""

    axes: Shape

    def output_shape(self, shape: Shape) -> Shape:
        if sorted(self.axes) != list(range(len(shape))):
            raise NetworkError(f"axes {self.axes} are no permutation of the axes of shape {shape}")
        return tuple(shape[axis] for axis in self.axes)

    def linear(self, x: FloatArray) -> FloatArray:
        return x.transpose(0, *(axis + 1 for axis in self.axes))

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        return y.transpose(0, *(int(axis) + 1 for axis in np.argsort(self.axes)))


@dataclass(frozen=True, eq=False)
class Take(IndexMap):
    """Chosen indices along each axis: slicing, zero padding, gathering and scattering channels.

    ``y[a, b, ...] = x[indices[0][a], indices[1][b], ...]``, and 0 where one of those indices is -1.

    Parameters
    ----------
    indices : sequence of (array_like of int, or None)
        One entry per sample axis; None keeps an axis as it is.
    """

    indices: tuple[IntArray | None, ...]

    def __init__(self, indices: Sequence[ArrayLike | None]) -> None:
        chosen = tuple(None if index is None else frozen_indices(index) for index in indices)
        if any(index is not None and index.ndim != 1 for index in chosen):
            raise NetworkError("the indices taken along an axis must be a vector")
        object.__setattr__(self, "indices", chosen)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != len(self.indices):
            raise NetworkError(f"indices for {len(self.indices)} axes cannot be taken from shape {shape}")
        for length, index in zip(shape, self.indices, strict=True):
            if index is not None and index.size and not (index.min() >= -1 and index.max() < length):
                raise NetworkError(f"indices {index.min()} .. {index.max()} do not fit an axis of length {length}")
        return tuple(n if i is None else len(i) for n, i in zip(shape, self.indices, strict=True))

    def linear(self, x: FloatArray) -> FloatArray:
        for axis, index in enumerate(self.indices, start=1):
            if index is None:
                continue
            kept = np.flatnonzero(index >= 0)
            taken = np.zeros((*x.shape[:axis], len(index), *x.shape[axis + 1 :]))
            np.moveaxis(taken, axis, 0)[kept] = np.moveaxis(x, axis, 0)[index[kept]]
            x = taken
        return x

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        for axis, index in enumerate(self.indices, start=1):
            if index is None:
                continue
            kept = np.flatnonzero(index >= 0)
            spread = np.zeros((*y.shape[:axis], shape[axis - 1], *y.shape[axis + 1 :]))
            np.add.at(np.moveaxis(spread, axis, 0), index[kept], np.moveaxis(y, axis, 0)[kept])
            y = spread
        return y

    def terms(self, shape: Shape) -> int:
        repeats = [int(np.bincount(i[i >= 0]).max(initial=1)) for i in self.indices if i is not None]
        return max(1, int(np.prod(repeats, dtype=np.int64)))
