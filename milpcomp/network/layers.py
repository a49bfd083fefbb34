"""What a layer is: the contract of affine layers, and the three layers that are not affine.

An affine layer is ``y = A x + offset`` for one sample x of a known shape. Everything that bounds, encodings and
proofs need is expressed by five operations on it: apply A, apply A transposed, split A by sign, take |A|, and write A
as a sparse matrix. A layer *is* the real-arithmetic function of its stored float64 numbers.

    Rectifier   y = positive_slope * max(0, x) + negative_slope * min(0, x)     slopes per channel or per element
    Add         y = x_1 + ... + x_k
    Concat      y = x_1, ..., x_k joined along one axis

ReLU has slopes (1, 0), leaky ReLU (1, a), |x| (1, -1), and the rotated ReLU b * max(0, x) of Nayak and Kalyani
(arXiv 2206.00488, eq. 3) has slopes (b, 0).

All arrays of samples have shape (N, *shape); axis 0 of `shape` is the channel axis.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from milpcomp.errors import NetworkError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Shape = tuple[int, ...]


def frozen_floats(value: ArrayLike, what: str) -> FloatArray:
    """Return a read-only float64 copy of `value`, refusing NaN and infinity."""
    array = np.array(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise NetworkError(f"{what} holds NaN or infinity; such a network computes no function that could be analysed")
    array.setflags(write=False)
    return array


def frozen_indices(value: ArrayLike) -> IntArray:
    """Return a read-only int64 copy of `value`."""
    array = np.array(value, dtype=np.int64)
    array.setflags(write=False)
    return array


class Layer:
    """One operation of a network: a frozen dataclass of arrays, integers and tuples of integers."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the layer's array fields by name (tuples of arrays as ``field.0``, ``field.1``, ...)."""
        found: dict[str, NDArray[Any]] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                found[field.name] = value
            elif isinstance(value, tuple):
                found |= {f"{field.name}.{i}": v for i, v in enumerate(value) if isinstance(v, np.ndarray)}
        return found


class Affine(Layer):
    """A layer ``y = A x + offset`` with one input."""

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one output sample for an input sample of `shape`.

        Raises
        ------
        NetworkError
            If the layer cannot take such an input.
        """

    @abstractmethod
    def linear(self, x: FloatArray) -> FloatArray:
        """Return A x for a batch x of shape ``(N, *input_shape)``."""

    @abstractmethod
    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        """Return A^T y for a batch y of shape ``(N, *output_shape)``; `shape` is the input shape."""

    @abstractmethod
    def matrix(self, shape: Shape) -> sp.csr_array:
        """Return A as a sparse matrix (output size x input size), C order, without explicit zeros."""

    @abstractmethod
    def terms(self, shape: Shape) -> int:
        """Return a bound on the number of products summed in any entry of A x + offset, and of A^T y."""

    def offset(self) -> FloatArray:
        """Return the offset, broadcastable to the output shape (0-d zero if there is none)."""
        return np.zeros(())

    def split(self) -> tuple[Affine, Affine | None]:
        """Return layers of max(A, 0) and min(A, 0), without offsets; None in place of a zero second part."""
        return self, None

    def absolute(self) -> Affine:
        """Return the layer of ``|A|``, without offset."""
        return self

    def apply(self, x: FloatArray) -> FloatArray:
        """Return A x + offset for a batch x of shape ``(N, *input_shape)``."""
        return self.linear(x) + self.offset()


@dataclass(frozen=True, eq=False)
class Rectifier(Layer):
    """``y = positive_slope * max(0, x) + negative_slope * min(0, x)``.

    Parameters
    ----------
    positive_slope, negative_slope : array_like
        Of any sign; broadcastable to the sample shape, so (C, 1, 1) for channels of images and (F,) for dense layers.
    """

    positive_slope: FloatArray
    negative_slope: FloatArray

    def __init__(self, positive_slope: ArrayLike = 1.0, negative_slope: ArrayLike = 0.0) -> None:
        object.__setattr__(self, "positive_slope", frozen_floats(positive_slope, "a rectifier's positive slope"))
        object.__setattr__(self, "negative_slope", frozen_floats(negative_slope, "a rectifier's negative slope"))

    def output_shape(self, shape: Shape) -> Shape:
        """Return `shape`, after checking that the slopes broadcast to it."""
        for slope in (self.positive_slope, self.negative_slope):
            check_broadcast(slope.shape, shape, "a rectifier's slopes")
        return shape

    def apply(self, x: FloatArray) -> FloatArray:
        """Return the rectified batch x of shape ``(N, *shape)``."""
        return self.positive_slope * np.maximum(x, 0.0) + self.negative_slope * np.minimum(x, 0.0)

    def slopes(self, shape: Shape) -> tuple[FloatArray, FloatArray]:
        """Return (positive, negative) slopes, one per unit: two arrays of shape (size of `shape`,)."""
        return (
            np.broadcast_to(self.positive_slope, shape).reshape(-1),
            np.broadcast_to(self.negative_slope, shape).reshape(-1),
        )


@dataclass(frozen=True, eq=False)
class Add(Layer):
    """The sum of two or more inputs of one shape."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the common shape of the inputs."""
        if len(shapes) < 2 or len(set(shapes)) != 1:
            raise NetworkError(f"an addition needs two or more inputs of one shape, got {list(shapes)}")
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Concat(Layer):
    """Inputs joined along `axis` of the sample (0 is the channel axis)."""

    axis: int = 0

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the joined inputs."""
        others = {shape[: self.axis] + shape[self.axis + 1 :] for shape in shapes}
        if not shapes or not 0 <= self.axis < len(shapes[0]) or len(others) != 1:
            raise NetworkError(f"inputs of shapes {list(shapes)} cannot be joined along axis {self.axis}")
        joined = sum(shape[self.axis] for shape in shapes)
        return (*shapes[0][: self.axis], joined, *shapes[0][self.axis + 1 :])


def check_broadcast(small: Shape, shape: Shape, what: str) -> None:
    """Raise `NetworkError` unless an array of shape `small` broadcasts to `shape` without enlarging it."""
    try:
        fits = np.broadcast_shapes(small, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise NetworkError(f"{what} have shape {small}, which does not broadcast to {shape}")


def size(shape: Shape) -> int:
    """Return the number of elements of one sample."""
    return int(np.prod(shape, dtype=np.int64))
