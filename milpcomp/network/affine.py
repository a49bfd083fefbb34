"""Dense and element-wise affine layers.

Dense   y = W x + b         x of shape (n,)
Scale   y = scale * x + shift, element by element: folded batch norm, input normalisation, a slope, a bias
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from milpcomp.errors import NetworkError
from milpcomp.network.layers import Affine, FloatArray, Shape, check_broadcast, frozen_floats, size


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """``y = weight @ x + bias`` for x of shape (n,).

    Parameters
    ----------
    weight : array_like, shape (m, n)
    bias : array_like, shape (m,), optional
        Zero if not given.
    """

    weight: FloatArray
    bias: FloatArray

    def __init__(self, weight: ArrayLike, bias: ArrayLike | None = None) -> None:
        matrix = frozen_floats(weight, "a dense layer's weight")
        if matrix.ndim != 2:
            raise NetworkError(f"a dense layer's weight must be a matrix, got shape {matrix.shape}")
        vector = frozen_floats(np.zeros(len(matrix)) if bias is None else bias, "a dense layer's bias")
        if vector.shape != matrix.shape[:1]:
            raise NetworkError(f"a dense layer's bias has shape {vector.shape}, its weight {matrix.shape}")
        object.__setattr__(self, "weight", matrix)
        object.__setattr__(self, "bias", vector)

    def output_shape(self, shape: Shape) -> Shape:
        if shape != self.weight.shape[1:]:
            raise NetworkError(f"a dense layer with weight {self.weight.shape} cannot take an input of shape {shape}")
        return self.weight.shape[:1]

    def linear(self, x: FloatArray) -> FloatArray:
        return x @ self.weight.T

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        return y @ self.weight

    def matrix(self, shape: Shape) -> sp.csr_array:
        return sp.csr_array(self.weight)

    def terms(self, shape: Shape) -> int:
        return max(self.weight.shape) + 1

    def offset(self) -> FloatArray:
        return self.bias

    def split(self) -> tuple[Affine, Affine | None]:
        return Dense(np.maximum(self.weight, 0.0)), Dense(np.minimum(self.weight, 0.0))

    def absolute(self) -> Affine:
        return Dense(np.abs(self.weight))


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """``y = scale * x + shift`` element by element.

    Parameters
    ----------
    scale, shift : array_like
        Broadcastable to the sample shape: (C, 1, 1) for channels of images, (F,) for dense layers, or () for all.
    """

    scale: FloatArray
    shift: FloatArray

    def __init__(self, scale: ArrayLike = 1.0, shift: ArrayLike = 0.0) -> None:
        object.__setattr__(self, "scale", frozen_floats(scale, "a scale"))
        object.__setattr__(self, "shift", frozen_floats(shift, "a shift"))

    def output_shape(self, shape: Shape) -> Shape:
        check_broadcast(self.scale.shape, shape, "scales")
        check_broadcast(self.shift.shape, shape, "shifts")
        return shape

    def linear(self, x: FloatArray) -> FloatArray:
        return self.scale * x

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        return self.scale * y

    def matrix(self, shape: Shape) -> sp.csr_array:
        matrix = sp.diags_array(np.broadcast_to(self.scale, shape).reshape(-1), shape=(size(shape),) * 2).tocsr()
        matrix.eliminate_zeros()
        return matrix

    def terms(self, shape: Shape) -> int:
        return 2

    def offset(self) -> FloatArray:
        return self.shift

    def split(self) -> tuple[Affine, Affine | None]:
        return Scale(np.maximum(self.scale, 0.0)), Scale(np.minimum(self.scale, 0.0))

    def absolute(self) -> Affine:
        return Scale(np.abs(self.scale))
