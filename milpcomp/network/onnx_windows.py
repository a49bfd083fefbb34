"""ONNX operators that read windows or whole axes: convolution, average pooling, sums and means.

Definitions: the ONNX operator reference, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from milpcomp.network.convolution import AveragePool, Conv2d, Padding, Pair, Window
from milpcomp.network.layers import Shape, size
from milpcomp.network.onnx_arithmetic import Rule, one_row
from milpcomp.network.onnx_draft import Call, Draft, Unsupported, Value


def convolution(draft: Draft, call: Call) -> Value:
    """Conv in two dimensions with constant filters."""
    value, weight = call.value(), call.constant(1, "filters")
    _one_image(value)
    bias = None if call.operand(2) is None else call.constant(2, "bias")
    window = _window(call, value, weight.shape[2:])
    layer = Conv2d(weight, bias, window.stride, window.padding, window.dilation, call.attributes.get("group", 1))
    return draft.apply(call.label, layer, value, shape=(1, *layer.output_shape(value.sample)))


def average_pool(draft: Draft, call: Call) -> Value:
    """AveragePool in two dimensions; windows at the border count their own pixels unless padding is counted."""
    value = call.value()
    _one_image(value)
    window = _window(call, value, tuple(call.attributes["kernel_shape"]))
    if window.dilation != (1, 1):
        raise Unsupported(f"dilations={list(window.dilation)}")
    if call.attributes.get("ceil_mode", 0) and window.extent(*value.shape[2:]) != _ceil_extent(window, value.shape[2:]):
        raise Unsupported("ceil_mode=1 adds windows that reach beyond the padding")
    counts = np.full((1, 1), size(window.kernel))
    if not call.attributes.get("count_include_pad", 0):
        counts = window.view(np.ones((1, 1, *value.shape[2:]))).sum(axis=(-2, -1))[0, 0]
    if counts.min() == 0:
        raise Unsupported("a window lies wholly in the padding")
    coefficient = 1.0 / (counts[0, 0] if (counts == counts[0, 0]).all() else counts)
    layer = AveragePool(window.kernel, window.stride, window.padding, coefficient)
    return draft.apply(call.label, layer, value, shape=(1, *layer.output_shape(value.sample)))


def global_average_pool(draft: Draft, call: Call) -> Value:
    """The mean over all axes behind the channels."""
    value = call.value()
    return reduce_axes(draft, call, value, list(range(2, len(value.shape))), keep=True, mean=True)


def reduce(draft: Draft, call: Call, mean: bool) -> Value:
    """ReduceMean or ReduceSum over the last axes."""
    value = call.value()
    axes = call.option("axes", 1)
    if not axes:
        if call.attributes.get("noop_with_empty_axes", 0):
            return value
        axes = list(range(len(value.shape)))
    return reduce_axes(draft, call, value, axes, keep=bool(call.attributes.get("keepdims", 1)), mean=mean)


def reduce_axes(draft: Draft, call: Call, value: Value, axes: list[int], keep: bool, mean: bool) -> Value:
    """Return the sum or mean of `value` over full axes that only axes of length 1 follow."""
    reduced = {axis % len(value.shape) for axis in axes}
    long = [axis for axis, length in enumerate(value.shape) if length != 1]
    if sorted(long, key=lambda axis: axis in reduced) != long:
        raise Unsupported(f"axes={sorted(reduced)} are not the last axes")
    count = int(np.prod([value.shape[axis] for axis in reduced]))
    if count == 0:
        raise Unsupported("it reduces an axis of length 0")
    shape = tuple(1 if axis in reduced else n for axis, n in enumerate(value.shape) if keep or axis not in reduced)
    taken = (size(value.shape) // count, 1, count)
    if len(value.sample) == 3 and reduced == {2, 3}:
        taken = value.sample
    layer = AveragePool(taken[1:], (1, 1), coefficient=1.0 / count if mean else 1.0)
    return draft.apply(call.label, layer, value, taken, shape)


def _one_image(value: Value) -> None:
    if len(value.shape) != 4:
        raise Unsupported(f"it works on {len(value.shape) - 2} spatial axes, and 2 are supported")
    one_row(value.shape[:1])


def _window(call: Call, value: Value, kernel: Shape) -> Window:
    """Return where a convolution or pooling of `kernel` reads, automatic padding resolved."""
    if len(kernel) != 2:
        raise Unsupported(f"its kernel has {len(kernel)} axes, and 2 are supported")
    stride = _pair(call, "strides")
    dilation = _pair(call, "dilations")
    mode = call.attributes.get("auto_pad", "NOTSET")
    padding: Padding = (0, 0, 0, 0)
    if mode == "NOTSET":
        top, left, bottom, right = call.attributes.get("pads", (0, 0, 0, 0))
        padding = (top, left, bottom, right)
    elif mode in {"SAME_UPPER", "SAME_LOWER"}:
        padding = _same_padding(value.shape[2:], kernel, stride, dilation, lower=mode == "SAME_LOWER")
    elif mode != "VALID":
        raise Unsupported(f"auto_pad={mode}")
    if min(padding) < 0:
        raise Unsupported(f"pads={list(padding)}: negative padding")
    return Window((kernel[0], kernel[1]), stride, padding, dilation)


def _same_padding(lengths: Shape, kernel: Shape, stride: Pair, dilation: Pair, lower: bool) -> Padding:
    """Return the padding that gives ceil(length / stride) windows; `lower` puts an odd pixel before the image."""
    before, after = [], []
    for n, k, s, d in zip(lengths, kernel, stride, dilation, strict=True):
        missing = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        before.append((missing + lower) // 2)
        after.append(missing - before[-1])
    return before[0], before[1], after[0], after[1]


def _ceil_extent(window: Window, lengths: Shape) -> Pair:
    """Return (rows, columns) when windows may start anywhere in the image, by the rule of `ceil_mode`."""
    found = []
    for axis in (0, 1):
        padded = lengths[axis] + window.padding[axis] + window.padding[axis + 2]
        found.append(-(-(padded - window.kernel[axis]) // window.stride[axis]) + 1)
    return found[0], found[1]


def _pair(call: Call, name: str) -> Pair:
    one, two = call.attributes.get(name, (1, 1))
    return int(one), int(two)


RULES: dict[str, Rule] = {
    "Conv": convolution,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": partial(reduce, mean=True),
    "ReduceSum": partial(reduce, mean=False),
}
"""The operators of this module, by ONNX name."""
