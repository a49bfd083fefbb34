"""What a layer is in torch: a list of steps, each a standard `torch.nn` module or a few plain torch calls.

A step that is a module can stand in an `nn.Sequential`; a step that is a function writes calls into a `torch.fx` graph.
Either way the result needs no class of this package.

    Dense       Linear                          Reshape   Flatten, Unflatten, or a call of reshape
    Conv2d      [ZeroPad2d], Conv2d             Permute   permute
    AveragePool [ZeroPad2d], AvgPool2d, [mul]   Take      [pad], index_select
    Rectifier   ReLU, LeakyReLU, PReLU, or positive_slope * relu(x) + negative_slope * clamp(x, max=0)
    Scale       mul, add                        Gelu      GELU, [mul]
    LayerNorm   LayerNorm                       Softmax   Softmax
    MaxPool     [ConstantPad2d], MaxPool2d

torch refuses images without channels, so they get one channel of zeros where they enter such a step, and lose it again.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import AveragePool, Conv2d, Padding
from milpcomp.network.index_maps import Permute, Reshape, Take
from milpcomp.network.layers import FloatArray, Layer, Rectifier, Shape
from milpcomp.network.opaque import Gelu, LayerNorm, MaxPool, Softmax

Constant = Callable[[NDArray[np.float64] | NDArray[np.int64], str], fx.Node]
"""Registers an array as a buffer, whose name ends in the given word, and returns the graph node that reads it."""

Calls = Callable[[fx.Graph, fx.Node, Constant], fx.Node]
"""Writes calls on a value into a graph and returns the node of the result."""

Step = nn.Module | Calls


@singledispatch
def steps(layer: Layer, shape: Shape) -> list[Step]:
    """Return the steps, in order, that compute `layer` on samples of `shape`; their parameters are float64."""
    raise TypeError(f"{type(layer).__name__} has no counterpart in torch")


@steps.register
def _dense(layer: Dense, shape: Shape) -> list[Step]:
    with _no_init_warnings():
        linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], device="meta")
    return [_filled(linear, weight=layer.weight, bias=layer.bias)]


@steps.register
def _conv2d(layer: Conv2d, shape: Shape) -> list[Step]:
    if not layer.weight.size:
        return _without_channels(layer)
    padding = _padding(layer.padding)
    with _no_init_warnings():
        conv = nn.Conv2d(
            layer.weight.shape[1] * layer.groups,
            layer.weight.shape[0],
            layer.window.kernel,
            layer.stride,
            (0, 0) if padding else layer.padding[:2],
            layer.dilation,
            layer.groups,
            device="meta",
        )
    return [*padding, _filled(conv, weight=layer.weight, bias=layer.bias)]


def _without_channels(layer: Conv2d) -> list[Step]:
    """Return a convolution that reads or writes no channel: one with a single channel of zeros in its place."""
    filters, channels = max(1, len(layer.weight)), max(1, layer.weight.shape[1] * layer.groups)
    stand_in = replace(
        layer,
        weight=np.zeros((filters, channels, *layer.window.kernel)),
        bias=layer.bias if len(layer.weight) else np.zeros(1),
        groups=1,
    )
    grown = [nn.ZeroPad3d((0, 0, 0, 0, 0, 1))] if not layer.weight.shape[1] * layer.groups else []
    return [*grown, *_conv2d(stand_in, ()), *([] if len(layer.weight) else [_no_channels])]


@steps.register
def _average_pool(layer: AveragePool, shape: Shape) -> list[Step]:
    if not shape[0]:
        return [nn.ZeroPad3d((0, 0, 0, 0, 0, 1)), *_average_pool(layer, (1, *shape[1:])), _no_channels]
    if (layer.coefficient == 1.0 / np.prod(layer.kernel)).all():
        padding = _padding(layer.padding, limit=(layer.kernel[0] // 2, layer.kernel[1] // 2))
        return [*padding, nn.AvgPool2d(layer.kernel, layer.stride, (0, 0) if padding else layer.padding[:2])]
    total = nn.AvgPool2d(layer.kernel, layer.stride, divisor_override=1)
    return [nn.ZeroPad2d(_sides(layer.padding)), total, _multiply(layer.coefficient, "coefficient")]


@steps.register
def _rectifier(layer: Rectifier, shape: Shape) -> list[Step]:
    positive, negative = _uniform(layer.positive_slope), _uniform(layer.negative_slope)
    if positive == 1 and negative == 0:
        return [nn.ReLU()]
    if positive == 1 and negative == -1:
        return [lambda graph, x, constant: graph.call_function(torch.abs, (x,))]
    if positive == 1 and negative is not None:
        return [nn.LeakyReLU(negative)]
    if positive == 1 and layer.negative_slope.shape == (shape[0],) + (1,) * (len(shape) - 1):
        return [_filled(nn.PReLU(shape[0], device="meta"), weight=layer.negative_slope.reshape(-1))]
    return [_two_slopes(layer)]


def _two_slopes(layer: Rectifier) -> Calls:
    times_positive = _multiply(layer.positive_slope, "positive_slope")
    times_negative = _multiply(layer.negative_slope, "negative_slope")

    def calls(graph: fx.Graph, x: fx.Node, constant: Constant) -> fx.Node:
        above = times_positive(graph, graph.call_function(torch.relu, (x,)), constant)
        if (layer.negative_slope == 0).all():
            return above
        below = times_negative(graph, graph.call_function(torch.clamp, (x,), {"max": 0.0}), constant)
        return graph.call_function(operator.add, (above, below))

    return calls


@steps.register
def _scale(layer: Scale, shape: Shape) -> list[Step]:
    def add(graph: fx.Graph, x: fx.Node, constant: Constant) -> fx.Node:
        return graph.call_function(operator.add, (x, _operand(layer.shift, "shift", constant)))

    shifted = [] if (layer.shift == 0).all() else [add]
    return [_multiply(layer.scale, "scale"), *shifted]


@steps.register
def _gelu(layer: Gelu, shape: Shape) -> list[Step]:
    return [nn.GELU(), *([] if (layer.slope == 1).all() else [_multiply(layer.slope, "slope")])]


@steps.register
def _layer_norm(layer: LayerNorm, shape: Shape) -> list[Step]:
    return [nn.LayerNorm(shape[-layer.axes :], layer.eps, elementwise_affine=False)]


@steps.register
def _max_pool(layer: MaxPool, shape: Shape) -> list[Step]:
    if not shape[0]:
        return [nn.ZeroPad3d((0, 0, 0, 0, 0, 1)), *_max_pool(layer, (1, *shape[1:])), _no_channels]
    top, left, bottom, right = layer.padding
    even = (top, left) == (bottom, right)
    padding = [] if even else [nn.ConstantPad2d((left, right, top, bottom), -torch.inf)]
    return [*padding, nn.MaxPool2d(layer.kernel, layer.stride, (top, left) if even else (0, 0), layer.dilation)]


@steps.register
def _softmax(layer: Softmax, shape: Shape) -> list[Step]:
    return [nn.Softmax(layer.axis + 1)]


@steps.register
def _reshape(layer: Reshape, shape: Shape) -> list[Step]:
    if len(layer.shape) == 1 and shape:
        return [nn.Flatten()]
    if len(layer.shape) > 1 and len(shape) == 1:
        return [nn.Unflatten(1, layer.shape)]

    def calls(graph: fx.Graph, x: fx.Node, constant: Constant) -> fx.Node:
        batch = graph.call_method("size", (x, 0))
        return graph.call_method("reshape", (x, batch, *layer.shape))

    return [calls]


@steps.register
def _permute(layer: Permute, shape: Shape) -> list[Step]:
    axes = (0, *(axis + 1 for axis in layer.axes))
    return [lambda graph, x, constant: graph.call_function(torch.permute, (x, axes))]


@steps.register
def _take(layer: Take, shape: Shape) -> list[Step]:
    def calls(graph: fx.Graph, x: fx.Node, constant: Constant) -> fx.Node:
        for axis, index in enumerate(layer.indices):
            if index is None:
                continue
            if (index < 0).any():  # zeros are read from a slice of zeros behind the last one
                padding = (0, 0) * (len(shape) - 1 - axis) + (0, 1)
                x = graph.call_function(nn.functional.pad, (x, padding))
            chosen = constant(np.where(index < 0, shape[axis], index), f"index{axis}")
            x = graph.call_function(torch.index_select, (x, axis + 1, chosen))
        return x

    return [calls]


def _no_channels(graph: fx.Graph, x: fx.Node, constant: Constant) -> fx.Node:
    return graph.call_function(torch.index_select, (x, 1, constant(np.zeros(0, np.int64), "none")))


def _multiply(factor: FloatArray, word: str) -> Calls:
    def calls(graph: fx.Graph, x: fx.Node, constant: Constant) -> fx.Node:
        if (factor == 1).all():
            return x
        return graph.call_function(operator.mul, (x, _operand(factor, word, constant)))

    return calls


def _operand(value: FloatArray, word: str, constant: Constant) -> fx.Node | float:
    return constant(value, word) if value.ndim else float(value)


def _uniform(slope: FloatArray) -> float | None:
    """Return the one value of all slopes, or None; slopes of no neuron at all count as zero."""
    if not slope.size:
        return 0.0
    return float(slope.flat[0]) if (slope == slope.flat[0]).all() else None


def _padding(padding: Padding, limit: tuple[int, int] | None = None) -> list[Step]:
    """Return a step that pads, or none where the next module pads by itself: alike on both sides, within `limit`."""
    top, left, bottom, right = padding
    fits = limit is None or (top <= limit[0] and left <= limit[1])
    return [] if (top, left) == (bottom, right) and fits else [nn.ZeroPad2d(_sides(padding))]


def _sides(padding: Padding) -> tuple[int, int, int, int]:
    """Return the padding in torch's order: left, right, top, bottom."""
    top, left, bottom, right = padding
    return left, right, top, bottom


def _filled(module: nn.Module, **values: FloatArray) -> nn.Module:
    """Give a module that was made without storage its numbers; torch's random generator stays untouched."""
    for name, value in values.items():
        setattr(module, name, nn.Parameter(torch.tensor(value)))
    return module


@contextmanager
def _no_init_warnings() -> Iterator[None]:
    """Silence torch's remark that it initialises modules of zero width: they get their numbers, none, right after."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        yield
