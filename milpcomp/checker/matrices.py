"""Every affine layer as a sparse matrix and an offset, from plain arrays by index arithmetic.

One function per kind of layer takes the shape of one input sample, the layer's options and its arrays, and returns

    y = matrix @ x + offset          x, y flattened in C order

Nothing is multiplied or added up here, so the entries are the stored numbers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.errors import NetworkError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Shape = tuple[int, ...]
Options = Mapping[str, Any]
Arrays = Mapping[str, NDArray[Any]]
Built = tuple[Shape, sp.csr_array, FloatArray]
"""Output shape, matrix (output size x input size), offset (output size,)."""


def dense(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """``y = weight @ x + bias``."""
    weight, bias = floats(arrays, "weight"), floats(arrays, "bias")
    expect(weight.ndim == 2 and shape == weight.shape[1:] and bias.shape == weight.shape[:1], "a dense layer", shape)
    rows, columns = np.nonzero(weight)
    return weight.shape[:1], _matrix(weight[rows, columns], rows, columns, weight.shape), bias


def scale(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """``y = scale * x + shift``, element by element."""
    factor, shift = stretched(arrays, "scale", shape), stretched(arrays, "shift", shape)
    used = np.flatnonzero(factor)
    return shape, _matrix(factor[used], used, used, (prod(shape), prod(shape))), shift


def conv2d(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """``y[o, i, j] = bias[o] + sum of weight[o, c, a, b] * x[g(o) + c, i s + a d - top, j s' + b d' - left]``."""
    weight, bias = floats(arrays, "weight"), floats(arrays, "bias")
    groups = integers(options, "groups", None)[0]
    expect(weight.ndim == 4 and len(shape) == 3 and groups >= 1, "a convolution", shape)
    filters, per_group = weight.shape[:2]
    expect(filters % groups == 0 and shape[0] == per_group * groups and bias.shape == (filters,), "its filters", shape)
    stride, dilation = integers(options, "stride", 2), integers(options, "dilation", 2)
    out, reads = _windows(shape, weight.shape[2:], stride, integers(options, "padding", 4), dilation)
    values, rows, columns = [], [], []
    for a, b, target, source in reads:
        chosen, channel = np.nonzero(weight[:, :, a, b])
        first = (chosen // (filters // groups)) * per_group + channel
        rows.append(np.add.outer(chosen * (out[0] * out[1]), target).ravel())
        columns.append(np.add.outer(first * (shape[1] * shape[2]), source).ravel())
        values.append(np.repeat(weight[chosen, channel, a, b], len(target)))
    size = (filters * out[0] * out[1], prod(shape))
    return (filters, *out), _matrix(_join(values), _join(rows), _join(columns), size), np.repeat(bias, out[0] * out[1])


def average_pool(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """``y[c, i, j] = coefficient[i, j] * sum over the window of x[c]``."""
    expect(len(shape) == 3, "a pooling layer", shape)
    kernel, stride = integers(options, "kernel", 2), integers(options, "stride", 2)
    out, reads = _windows(shape, kernel, stride, integers(options, "padding", 4), (1, 1))
    coefficient = stretched(arrays, "coefficient", out)
    channels = np.arange(shape[0])
    values, rows, columns = [], [], []
    for _, _, target, source in reads:
        rows.append(np.add.outer(channels * (out[0] * out[1]), target).ravel())
        columns.append(np.add.outer(channels * (shape[1] * shape[2]), source).ravel())
        values.append(np.tile(coefficient[target], shape[0]))
    size = (shape[0] * out[0] * out[1], prod(shape))
    return (shape[0], *out), _matrix(_join(values), _join(rows), _join(columns), size), np.zeros(size[0])


def reshape(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """The same numbers under another shape."""
    new = integers(options, "shape", None)
    expect(prod(new) == prod(shape) and all(n >= 0 for n in new), f"a reshape to {new}", shape)
    return new, sp.eye_array(prod(shape), format="csr"), np.zeros(prod(shape))


def permute(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """Axis i of the output is axis ``axes[i]`` of the input."""
    axes = integers(options, "axes", len(shape))
    expect(sorted(axes) == list(range(len(shape))), f"a permutation by {axes}", shape)
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    out = tuple(shape[axis] for axis in axes)
    source = np.zeros(out, dtype=np.int64)
    for position, axis in enumerate(axes):
        source += _along(np.arange(shape[axis]) * strides[axis], position, len(out))
    return out, _selection(source.ravel(), prod(shape)), np.zeros(source.size)


def take(shape: Shape, options: Options, arrays: Arrays) -> Built:
    """``y[a, b, ...] = x[indices[0][a], indices[1][b], ...]``, and 0 where one of the indices is -1."""
    given = options.get("indices")
    expect(isinstance(given, list) and len(given) == len(shape), "a selection", shape)
    chosen: list[IntArray] = []
    for axis, present in enumerate(given or []):
        expect((f"indices.{axis}" in arrays) == (present is True) and present in (True, None), "a selection", shape)
        index = np.asarray(arrays[f"indices.{axis}"]) if present else np.arange(shape[axis])
        fits = index.ndim == 1 and index.dtype.kind == "i"
        expect(fits and bool(((index >= -1) & (index < shape[axis])).all()), "a selection", shape)
        chosen.append(index.astype(np.int64))
    out = tuple(len(index) for index in chosen)
    source, zero = np.zeros(out, dtype=np.int64), np.zeros(out, dtype=bool)
    for axis, index in enumerate(chosen):
        source += _along(index * prod(shape[axis + 1 :]), axis, len(out))
        zero |= _along(index < 0, axis, len(out))
    source[zero] = -1
    return out, _selection(source.ravel(), prod(shape)), np.zeros(source.size)


def floats(arrays: Arrays, name: str) -> FloatArray:
    """Return the array called `name` as finite float64 numbers, refusing anything that is not exactly that."""
    array = np.asarray(arrays.get(name))
    if array.dtype != np.float64 or not np.isfinite(array).all():
        raise NetworkError(f"the array {name!r} must hold finite float64 numbers, got {array.dtype}")
    return array.astype(np.float64)


def stretched(arrays: Arrays, name: str, shape: Shape) -> FloatArray:
    """Return the array called `name`, broadcast to `shape` and flattened."""
    array = floats(arrays, name)
    padded = (1,) * (len(shape) - array.ndim) + array.shape
    fits = len(padded) == len(shape) and all(have in (1, want) for have, want in zip(padded, shape, strict=True))
    expect(fits, f"the array {name!r} of shape {array.shape}", shape)
    return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1)


def integers(options: Options, name: str, count: int | None) -> Shape:
    """Return the option called `name` as a tuple of `count` plain integers (any number of them for None)."""
    value = options.get(name)
    entries = value if isinstance(value, list) else [value]
    if any(type(entry) is not int for entry in entries) or count not in (None, len(entries)):
        raise NetworkError(f"the option {name!r} must be {count or 'some'} integers, got {value!r}")
    return tuple(entries)


def expect(holds: bool, what: str, shape: Shape) -> None:
    """Raise `NetworkError` unless `holds`."""
    if not holds:
        raise NetworkError(f"{what} does not fit an input of shape {shape}")


def _windows(
    shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> tuple[tuple[int, int], list[tuple[int, int, IntArray, IntArray]]]:
    """Return the output's (rows, columns), and per kernel entry (a, b) which output pixel reads which input pixel."""
    legal = min(*kernel, *stride, *dilation) >= 1 and min(padding) >= 0
    expect(legal, f"a window {kernel} with stride {stride}", shape)
    spare = [shape[1 + k] + padding[k] + padding[k + 2] - dilation[k] * (kernel[k] - 1) - 1 for k in (0, 1)]
    expect(min(spare) >= 0, f"a window {kernel} with stride {stride}", shape)
    out = (spare[0] // stride[0] + 1, spare[1] // stride[1] + 1)
    reads = []
    for a in range(kernel[0]):
        i = np.arange(out[0])
        row = i * stride[0] + a * dilation[0] - padding[0]
        i, row = i[(row >= 0) & (row < shape[1])], row[(row >= 0) & (row < shape[1])]
        for b in range(kernel[1]):
            j = np.arange(out[1])
            column = j * stride[1] + b * dilation[1] - padding[1]
            inside = (column >= 0) & (column < shape[2])
            target = np.add.outer(i * out[1], j[inside]).ravel()
            source = np.add.outer(row * shape[2], column[inside]).ravel()
            reads.append((a, b, target, source))
    return out, reads


def _along(values: NDArray[Any], axis: int, axes: int) -> NDArray[Any]:
    """Return the vector `values` shaped to lie along one of `axes` axes."""
    return values.reshape([-1 if k == axis else 1 for k in range(axes)])


def _selection(source: IntArray, inputs: int) -> sp.csr_array:
    """Return the 0/1 matrix whose row t reads ``source[t]``, or nothing where that is negative."""
    target = np.flatnonzero(source >= 0)
    return _matrix(np.ones(len(target)), target, source[target], (len(source), inputs))


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _matrix(values: FloatArray, rows: IntArray, columns: IntArray, size: tuple[int, int]) -> sp.csr_array:
    return sp.csr_array(sp.coo_array((values, (rows, columns)), shape=size))
