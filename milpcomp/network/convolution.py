"""Convolution and average pooling over images of shape (channels, height, width).

Both read *windows* of the zero-padded image. A convolution multiplies the windows of a group of channels by its
filters; average pooling multiplies the sum over a window by a stored coefficient (the float64 nearest to 1 / count).

`padding` is (top, left, bottom, right).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from milpcomp.errors import NetworkError
from milpcomp.network.layers import Affine, FloatArray, Shape, check_broadcast, frozen_floats, size

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """Where a kernel reads: its size, stride, dilation and the zero padding around the image."""

    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair

    def extent(self, height: int, width: int) -> Pair:
        """Return (rows, columns) of the output for an image of that height and width."""
        top, left, bottom, right = self.padding
        rows = height + top + bottom - self.dilation[0] * (self.kernel[0] - 1)
        columns = width + left + right - self.dilation[1] * (self.kernel[1] - 1)
        if rows < 1 or columns < 1 or min(self.padding) < 0 or min(*self.kernel, *self.stride, *self.dilation) < 1:
            raise NetworkError(f"{self} does not fit an image of {height} x {width}")
        return (rows - 1) // self.stride[0] + 1, (columns - 1) // self.stride[1] + 1

    def grid(self, i: int, j: int, rows: int, columns: int) -> tuple[slice, slice]:
        """Return which pixels of the padded image entry (i, j) of the kernel reads, for all rows x columns windows."""
        first, second = i * self.dilation[0], j * self.dilation[1]
        return (
            slice(first, first + (rows - 1) * self.stride[0] + 1, self.stride[0]),
            slice(second, second + (columns - 1) * self.stride[1] + 1, self.stride[1]),
        )

    def view(self, x: NDArray[Any], fill: int = 0) -> NDArray[Any]:
        """Return the windows of x (N, C, H, W) as an array (N, C, rows, columns, kernel height, kernel width)."""
        top, left, bottom, right = self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
        span = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        windows = sliding_window_view(padded, span, axis=(2, 3))
        return windows[:, :, :: self.stride[0], :: self.stride[1], :: self.dilation[0], :: self.dilation[1]]

    def fold(self, windows: FloatArray, height: int, width: int) -> FloatArray:
        """Add windows (as `view` returns them) back into images: the transpose of `view`."""
        count, channels, rows, columns = windows.shape[:4]
        top, left, bottom, right = self.padding
        padded = np.zeros((count, channels, height + top + bottom, width + left + right))
        for i, j in np.ndindex(*self.kernel):
            padded[(slice(None), slice(None), *self.grid(i, j, rows, columns))] += windows[..., i, j]
        return padded[:, :, top : top + height, left : left + width]


@dataclass(frozen=True, eq=False)
class Conv2d(Affine):
    """Two-dimensional convolution (cross-correlation, as everywhere in this field) with bias.

    Parameters
    ----------
    weight : array_like, shape (out_channels, in_channels / groups, kernel height, kernel width)
    bias : array_like, shape (out_channels,), optional
    stride, dilation : pair of int
    padding : (top, left, bottom, right)
    groups : int
    """

    weight: FloatArray
    bias: FloatArray
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        stride: Pair = (1, 1),
        padding: Padding = (0, 0, 0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        filters = frozen_floats(weight, "a convolution's weight")
        if filters.ndim != 4:
            raise NetworkError(f"a convolution's weight must have 4 axes, got shape {filters.shape}")
        vector = frozen_floats(np.zeros(len(filters)) if bias is None else bias, "a convolution's bias")
        if vector.shape != filters.shape[:1]:
            raise NetworkError(f"a convolution's bias has shape {vector.shape}, its weight {filters.shape}")
        if groups < 1 or len(filters) % groups:
            raise NetworkError(f"{len(filters)} filters cannot be divided into {groups} groups")
        object.__setattr__(self, "weight", filters)
        object.__setattr__(self, "bias", vector)
        object.__setattr__(self, "stride", tuple(int(s) for s in stride))
        object.__setattr__(self, "padding", tuple(int(p) for p in padding))
        object.__setattr__(self, "dilation", tuple(int(d) for d in dilation))
        object.__setattr__(self, "groups", int(groups))

    @property
    def window(self) -> Window:
        """Where the kernel reads."""
        return Window(self.weight.shape[2:], self.stride, self.padding, self.dilation)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[0] != self.weight.shape[1] * self.groups:
            raise NetworkError(
                f"a convolution with weight {self.weight.shape} and {self.groups} group(s) cannot take shape {shape}"
            )
        return (len(self.weight), *self.window.extent(*shape[1:]))

    def linear(self, x: FloatArray) -> FloatArray:
        windows = self.window.view(x)
        count, _, rows, columns = windows.shape[:4]
        grouped = windows.reshape(count, self.groups, self.weight.shape[1], rows, columns, *self.window.kernel)
        filters = self._filters()  # (groups, filters per group, products per filter)
        patches = grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(self.groups, count * rows * columns, filters.shape[2])
        products = patches @ filters.transpose(0, 2, 1)  # (groups, N * rows * columns, filters per group)
        stacked = products.reshape(self.groups, count, rows, columns, filters.shape[1]).transpose(1, 0, 4, 2, 3)
        return stacked.reshape(count, len(self.weight), rows, columns)

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        count, _, rows, columns = y.shape
        top, left, bottom, right = self.padding
        filters, channels, height, width = self._filters().shape[1], *self.weight.shape[1:]
        grouped = y.reshape(count, self.groups, filters, rows, columns).transpose(1, 0, 3, 4, 2)
        flat = grouped.reshape(self.groups, count * rows * columns, filters)
        weight = self.weight.reshape(self.groups, filters, channels, height, width)
        padded = np.zeros((self.groups, count, shape[1] + top + bottom, shape[2] + left + right, channels))
        for i, j in np.ndindex(height, width):  # each weight of the kernel spreads y over one shifted grid of pixels
            spread = (flat @ weight[..., i, j]).reshape(self.groups, count, rows, columns, channels)
            padded[(slice(None), slice(None), *self.window.grid(i, j, rows, columns))] += spread
        image = padded[:, :, top : top + shape[1], left : left + shape[2]]
        return image.transpose(1, 0, 4, 2, 3).reshape(count, *shape)

    def matrix(self, shape: Shape) -> sp.csr_array:
        out = self.output_shape(shape)
        index = np.arange(size(shape)).reshape(1, *shape)
        sources = self.window.view(index, fill=-1)[0]  # (in, rows, columns, kh, kw)
        per_group, filters = self.weight.shape[1], len(self.weight) // self.groups
        rows, columns, values = [], [], []
        for channel in range(len(self.weight)):
            group = channel // filters
            source = sources[group * per_group : (group + 1) * per_group].transpose(1, 2, 0, 3, 4)
            value = np.broadcast_to(self.weight[channel], source.shape)
            target = channel * out[1] * out[2] + np.arange(out[1] * out[2]).reshape(out[1], out[2], 1, 1, 1)
            used = (source >= 0) & (value != 0)
            rows.append(np.broadcast_to(target, source.shape)[used])
            columns.append(source[used])
            values.append(value[used])
        triple = [np.concatenate(part) if part else np.zeros(0, int) for part in (values, rows, columns)]
        return sp.coo_array((triple[0], (triple[1], triple[2])), shape=(size(out), size(shape))).tocsr()

    def terms(self, shape: Shape) -> int:
        return max(self.weight.shape[1], len(self.weight) // self.groups) * size(self.window.kernel) + 1

    def offset(self) -> FloatArray:
        return self.bias.reshape(-1, 1, 1)

    def split(self) -> tuple[Affine, Affine | None]:
        return self._with(np.maximum(self.weight, 0.0)), self._with(np.minimum(self.weight, 0.0))

    def absolute(self) -> Affine:
        return self._with(np.abs(self.weight))

    def _filters(self) -> FloatArray:
        """Return the filters as (groups, filters per group, products per filter)."""
        width = self.weight.shape[1] * size(self.window.kernel)
        return self.weight.reshape(self.groups, len(self.weight) // self.groups, width)

    def _with(self, weight: FloatArray) -> Conv2d:
        return replace(self, weight=weight, bias=np.zeros(len(weight)))


@dataclass(frozen=True, eq=False)
class AveragePool(Affine):
    """``y = coefficient * (sum over the window)``, channel by channel.

    Parameters
    ----------
    kernel, stride : pair of int
    padding : (top, left, bottom, right)
    coefficient : array_like
        Positive; () or one per output position (rows, columns), where windows at the border count fewer pixels.
    """

    kernel: Pair
    stride: Pair
    padding: Padding
    coefficient: FloatArray

    def __init__(
        self, kernel: Pair, stride: Pair, padding: Padding = (0, 0, 0, 0), coefficient: ArrayLike | None = None
    ) -> None:
        default = 1.0 / (kernel[0] * kernel[1]) if coefficient is None else coefficient
        object.__setattr__(self, "kernel", tuple(int(k) for k in kernel))
        object.__setattr__(self, "stride", tuple(int(s) for s in stride))
        object.__setattr__(self, "padding", tuple(int(p) for p in padding))
        object.__setattr__(self, "coefficient", frozen_floats(default, "a pooling coefficient"))
        if (self.coefficient <= 0).any():
            raise NetworkError("pooling coefficients must be positive")

    @property
    def window(self) -> Window:
        """Where the kernel reads."""
        return Window(self.kernel, self.stride, self.padding, (1, 1))

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise NetworkError(f"average pooling needs images (channels, height, width), got shape {shape}")
        extent = self.window.extent(*shape[1:])
        check_broadcast(self.coefficient.shape, extent, "pooling coefficients")
        return (shape[0], *extent)

    def linear(self, x: FloatArray) -> FloatArray:
        return self.coefficient * self.window.view(x).sum(axis=(-2, -1))

    def transposed(self, y: FloatArray, shape: Shape) -> FloatArray:
        spread = np.broadcast_to((self.coefficient * y)[..., None, None], (*y.shape, *self.kernel))
        return self.window.fold(spread, *shape[1:])

    def matrix(self, shape: Shape) -> sp.csr_array:
        out = self.output_shape(shape)
        sources = self.window.view(np.arange(size(shape)).reshape(1, *shape), fill=-1)[0]
        values = np.broadcast_to(np.broadcast_to(self.coefficient, out[1:])[..., None, None], sources.shape)
        targets = np.broadcast_to(np.arange(size(out)).reshape(*out, 1, 1), sources.shape)
        used = sources >= 0
        return sp.coo_array((values[used], (targets[used], sources[used])), shape=(size(out), size(shape))).tocsr()

    def terms(self, shape: Shape) -> int:
        return size(self.kernel) + 1
