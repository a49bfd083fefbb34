"""Operators of torch graphs that move numbers, average them over windows, or leave them as they are.

One function per operator, with the parameters of its ATen schema; `OPERATORS` is the table by ATen name. Arguments are
as `torch_build` describes them: values, constants, plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from milpcomp.network.affine import Scale
from milpcomp.network.convolution import AveragePool
from milpcomp.network.index_maps import Permute, Take
from milpcomp.network.layers import Concat, size
from milpcomp.network.torch_arithmetic import pair
from milpcomp.network.torch_build import Builder, Operator, Refused, Value, array, axis_of, operand, variable


def same(build: Builder, x: Any, *options: Any, **more: Any) -> Value:
    """Read an operator that returns its first argument: a copy, a cast, dropout in eval mode."""
    return variable(x)


def reshape(build: Builder, x: Any, *shape: Any, **more: Any) -> Value:
    """Read a reshape, to the shape that torch found for the result."""
    return build.reshaped(variable(x), build.shape)


def expand(build: Builder, x: Any, *shape: Any, **more: Any) -> Value:
    """Read a repetition along axes of length 1."""
    return build.expanded(variable(x), build.shape)


def permute(build: Builder, x: Any, dims: Sequence[int]) -> Value:
    """Read a change in the order of the axes."""
    value, rank = variable(x), len(dims)
    if dims[0] % rank != 0:
        raise Refused("moves the batch axis; keep axis 0 for the batch")
    return build.add(Permute(tuple(dim % rank - 1 for dim in dims[1:])), value)


def transpose(build: Builder, x: Any, first: int, second: int) -> Value:
    """Read an exchange of two axes."""
    axes = list(range(len(variable(x).shape)))
    a, b = axis_of(first, x), axis_of(second, x)
    axes[a], axes[b] = axes[b], axes[a]
    return build.add(Permute(tuple(axes)), x)


def take_slice(
    build: Builder, x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    """Read ``x[start:end:step]`` along one axis; along the batch axis only if it keeps every sample."""
    value = variable(x)
    if dim % (len(value.shape) + 1) == 0 and start in (None, 0) and end in (None, 2**63 - 1) and step == 1:
        return value
    axis = axis_of(dim, value)
    return _take(build, value, axis, np.arange(value.shape[axis])[slice(start, end, step)])


def select(build: Builder, x: Any, dim: int, index: int) -> Value:
    """Read ``x[index]`` along one axis, which vanishes."""
    axis = axis_of(dim, variable(x))
    return build.reshaped(_take(build, x, axis, np.array([index % x.shape[axis]]), "taken"), build.shape)


def unbind(build: Builder, x: Any, dim: int = 0) -> tuple[Value, ...]:
    """Read the division into all ``x[index]`` along one axis, which vanishes."""
    axis = axis_of(dim, variable(x))
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    parts = range(x.shape[axis])
    return tuple(build.reshaped(_take(build, x, axis, np.array([i]), "taken"), rest) for i in parts)


def index_select(build: Builder, x: Any, dim: int, index: Any) -> Value:
    """Read a choice of indices along one axis."""
    return _take(build, variable(x), axis_of(dim, x), array(index, "the index").astype(np.int64))


def index(build: Builder, x: Any, indices: Sequence[Any]) -> Value:
    """Read ``x[:, ..., index]`` with one constant vector of indices along one axis."""
    given = [(dim, entry) for dim, entry in enumerate(indices) if entry is not None]
    if len(given) != 1:
        raise Refused("takes indices along several axes at once; take them one axis at a time")
    dim, entry = given[0]
    chosen = array(entry, "the index")
    if chosen.ndim != 1:
        raise Refused("takes an array of indices; use a vector")
    axis = axis_of(dim, variable(x))
    return _take(build, x, axis, chosen.astype(np.int64) % x.shape[axis])


def flip(build: Builder, x: Any, dims: Sequence[int]) -> Value:
    """Read a reversal along some axes."""
    value = variable(x)
    axes = [axis_of(dim, value) for dim in dims]
    return build.add(Take([np.arange(n)[::-1] if i in axes else None for i, n in enumerate(value.shape)]), value)


def split(build: Builder, x: Any, sizes: int | Sequence[int], dim: int = 0) -> tuple[Value, ...]:
    """Read a division into parts along one axis."""
    value = variable(x)
    axis = axis_of(dim, value)
    length = value.shape[axis]
    cuts = list(range(sizes, length, sizes)) if isinstance(sizes, int) else list(np.cumsum(sizes)[:-1])
    return tuple(_take(build, value, axis, part) for part in np.split(np.arange(length), cuts))


def pad(build: Builder, x: Any, padding: Sequence[int], mode: str | float = "constant", fill: Any = None) -> Value:
    """Read zero padding (or, where negative, cropping); torch lists the last axis first."""
    value = variable(x)
    fill = fill if isinstance(mode, str) else mode  # `constant_pad_nd` has no mode
    if isinstance(mode, str) and mode != "constant":
        raise Refused(f"pads by mode {mode!r}; only zero padding can be read")
    if fill is not None and (array(fill) != 0).any():
        raise Refused(f"pads with {fill}; only zero padding can be read")
    chosen: list[Any] = [None] * len(value.shape)
    for i, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True)):
        if before or after:
            axis = axis_of(-1 - i, value)
            positions = np.arange(-before, value.shape[axis] + after)
            chosen[axis] = np.where((positions >= 0) & (positions < value.shape[axis]), positions, -1)
    return build.add(Take(chosen), value)


def cat(build: Builder, parts: Sequence[Any], dim: int = 0) -> Value:
    """Read a concatenation of values and constants: constants are written into zeros left between the values."""
    values = [part for part in parts if isinstance(part, Value)]
    axis = axis_of(dim, values[0])
    joined = values[0] if len(values) == 1 else build.add(Concat(axis), *values)
    if len(values) == len(parts):
        return joined
    order: list[int] = []
    shift = np.moveaxis(np.zeros(build.shape), axis, 0)
    taken = 0
    for part in parts:
        if isinstance(part, Value):
            order += range(taken, taken + part.shape[axis])
            taken += part.shape[axis]
        else:
            constant = np.moveaxis(operand(part, len(build.shape)), axis, 0)
            shift[len(order) : len(order) + len(constant)] = constant
            order += [-1] * len(constant)
    spread = _take(build, joined, axis, np.array(order))
    return build.add(Scale(1.0, np.moveaxis(shift, 0, axis)), spread, part="constant") if shift.any() else spread


def average_pool(
    build: Builder,
    x: Any,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """Read average pooling of images; `build.shape` has the output size, rounded up or down as `ceil_mode` says."""
    value, kernels = variable(x), pair(kernel)
    strides = kernels if not isinstance(stride, int) and len(stride) == 0 else pair(stride)
    before, lengths, extents = pair(padding), value.shape[-2:], build.shape[-2:]
    after, counts = [0, 0], [np.ones(0), np.ones(0)]
    for i in range(2):
        starts = np.arange(extents[i]) * strides[i] - before[i]
        ends = np.minimum(starts + kernels[i], lengths[i] + before[i])
        inside = np.minimum(ends, lengths[i]) - np.maximum(starts, 0)
        counts[i] = ends - starts if count_include_pad else inside
        after[i] = max(0, int(starts[-1]) + kernels[i] - lengths[i])
    count = np.outer(*counts) if divisor_override is None else np.array([[divisor_override]])
    divisor = count[:1, :1] if (count == count.flat[0]).all() else count
    return build.add(AveragePool(kernels, strides, (*before, after[0], after[1]), 1.0 / divisor), value)


def adaptive_average_pool(build: Builder, x: Any, extent: Sequence[int]) -> Value:
    """Read adaptive average pooling into windows of one size."""
    value = variable(x)
    if any(n % m for n, m in zip(value.shape[-2:], build.shape[-2:], strict=True)):
        raise Refused(f"has windows of several sizes: {value.shape[-2:]} into {build.shape[-2:]}; choose divisors")
    return average_pool(build, value, [n // m for n, m in zip(value.shape[-2:], build.shape[-2:], strict=True)])


def mean(build: Builder, x: Any, dims: Sequence[int], keepdim: bool = False, dtype: Any = None) -> Value:
    """Read a mean over some axes."""
    return _reduce(build, variable(x), dims, None)


def total(build: Builder, x: Any, dims: Sequence[int], keepdim: bool = False, dtype: Any = None) -> Value:
    """Read a sum over some axes."""
    return _reduce(build, variable(x), dims, 1.0)


def _reduce(build: Builder, x: Value, dims: Sequence[int] | None, coefficient: float | None) -> Value:
    """Sum over axes as pooling over one window: they are moved to the end and taken together for an image's width."""
    if not dims:
        raise Refused("works along all axes, the batch axis too, which would mix samples; name the axes")
    axes = sorted(axis_of(dim, x) for dim in dims)
    if len(x.shape) == 3 and axes == [1, 2]:
        images, window = x, (x.shape[1], x.shape[2])
    else:
        order = tuple(axis for axis in range(len(x.shape)) if axis not in axes) + tuple(axes)
        moved = x if order == tuple(range(len(order))) else build.add(Permute(order), x, part="moved")
        window = (1, size(tuple(x.shape[axis] for axis in axes)))
        images = build.reshaped(moved, (size(x.shape) // window[1], *window), "windows")
    return build.reshaped(build.add(AveragePool(window, window, coefficient=coefficient), images), build.shape)


def _take(build: Builder, x: Value, axis: int, chosen: Any, part: str = "") -> Value:
    return build.add(Take([chosen if i == axis else None for i in range(len(x.shape))]), x, part=part)


OPERATORS: dict[str, Operator] = {
    "_adaptive_avg_pool2d": adaptive_average_pool,
    "adaptive_avg_pool2d": adaptive_average_pool,
    "avg_pool2d": average_pool,
    "cat": cat,
    "constant_pad_nd": pad,
    "expand": expand,
    "flip": flip,
    "index": index,
    "index_select": index_select,
    "mean.dim": mean,
    "pad": pad,
    "permute": permute,
    "select": select,
    "slice": take_slice,
    "split": split,
    "split_with_sizes": split,
    "sum.dim_IntList": total,
    "transpose": transpose,
    "unbind": unbind,
    **dict.fromkeys(("_to_copy", "alias", "clone", "contiguous", "detach", "lift_fresh_copy", "to"), same),
    **dict.fromkeys(("_unsafe_view", "flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view"), reshape),
}
"""What to do with each operator, by ATen name; one with an overload (``mean.dim``) is meant literally."""
