"""What each kind of layer is in ONNX operators (operator set 17, one batch axis in front of the sample axes).

    Rectifier (1, 0)    Relu                          Dense         Gemm
              (b, 0)    Relu, Mul b                   Conv2d        Conv
              (1, -1)   Abs                           Scale         Mul, Add
              (1, a)    LeakyRelu or PRelu            AveragePool   AveragePool, or Conv with ones, Mul
              (p, a)    PRelu a / p, Mul p            Reshape       Reshape
              (0, a)    a x + (p - a) Relu(x)         Permute       Transpose
    Add       Add, Sum                                Take          Slice, Gather, Pad, axis by axis
    Concat    Concat                                Gelu          Mul, Erf, Add, Mul, Mul [, Mul]
    Softmax   Softmax                               LayerNorm     LayerNormalization
    Product   MatMul                                MaxPool       MaxPool

Only the last two forms of a rectifier round (a / p, p - a); all other numbers are written as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import AveragePool, Conv2d
from milpcomp.network.index_maps import Permute, Reshape, Take
from milpcomp.network.layers import Add, Concat, FloatArray, IntArray, Layer, Rectifier, Shape, size
from milpcomp.network.onnx_graph import Graph
from milpcomp.network.opaque import Gelu, LayerNorm, MaxPool, Product, Softmax


@dataclass(frozen=True)
class Place:
    """Where a layer stands: its name, the tensors it reads, and the sample shapes of the first of them and its own."""

    name: str
    inputs: Sequence[str]
    taken: Shape
    given: Shape


Writer = Callable[[Graph, Any, Place], str]
"""Writes a layer and returns the name of its tensor."""


def dense(graph: Graph, layer: Dense, place: Place) -> str:
    """Write W x + b."""
    weight = graph.number(f"{place.name}.weight", layer.weight)
    bias = graph.number(f"{place.name}.bias", layer.bias)
    return graph.emit("Gemm", [place.inputs[0], weight, bias], place.name, transB=1)


def convolution(graph: Graph, layer: Conv2d, place: Place) -> str:
    """Write a convolution."""
    weight = graph.number(f"{place.name}.weight", layer.weight)
    bias = graph.number(f"{place.name}.bias", layer.bias)
    return graph.emit(
        "Conv",
        [place.inputs[0], weight, bias],
        place.name,
        kernel_shape=layer.window.kernel,
        strides=layer.stride,
        pads=layer.padding,
        dilations=layer.dilation,
        group=layer.groups,
    )


def scale(graph: Graph, layer: Scale, place: Place) -> str:
    """Write scale * x + shift, leaving out what does nothing."""
    tensor = place.inputs[0]
    if (layer.scale != 1).any():
        tensor = _times(graph, tensor, layer.scale, place.name)
    if (layer.shift != 0).any():
        tensor = graph.emit("Add", [tensor, graph.number(f"{place.name}.shift", layer.shift)], place.name)
    return tensor


def rectifier(graph: Graph, layer: Rectifier, place: Place) -> str:
    """Write a rectifier in the simplest of the forms above that fits all its slopes."""
    name, x = place.name, place.inputs[0]
    positive, negative = layer.positive_slope, layer.negative_slope
    if (negative == 0).all():
        return _times(graph, graph.emit("Relu", [x], name), positive, name)
    with np.errstate(all="ignore"):
        slope = np.atleast_1d(negative / positive)
        alpha = float(np.asarray(slope.flat[0], dtype=graph.dtype))
        storable = np.isfinite(alpha) and float(np.float32(alpha)) == alpha  # the attribute is stored as float32
    if not np.isfinite(slope).all():
        line = _times(graph, x, negative, f"{name}.line")
        bend = _times(graph, graph.emit("Relu", [x], name), positive - negative, f"{name}.bend")
        return graph.emit("Add", [line, bend], f"{name}.sum")
    if (slope == -1).all():
        bent = graph.emit("Abs", [x], name)
    elif storable and (slope == slope.flat[0]).all():
        bent = graph.emit("LeakyRelu", [x], name, alpha=alpha)
    else:
        bent = graph.emit("PRelu", [x, graph.number(f"{name}.slope", slope)], name)
    return _times(graph, bent, positive, name)


def average_pool(graph: Graph, layer: AveragePool, place: Place) -> str:
    """Write an average pooling: by the operator where its divisor is the stored one, else as sum and factor."""
    window = layer.window
    area = size(window.kernel)
    ones = np.ones((1, 1, *place.taken[1:]))
    counts = window.view(ones).sum(axis=(-2, -1))[0, 0]
    fits = all(layer.padding[i] < layer.kernel[i % 2] for i in range(4))  # which runtimes demand
    for count_padding, divisor in ((1, np.full(counts.shape, area)), (0, counts)):
        if fits and divisor.min() > 0 and (layer.coefficient == 1.0 / divisor).all():
            return graph.emit(
                "AveragePool",
                [place.inputs[0]],
                place.name,
                kernel_shape=layer.kernel,
                strides=layer.stride,
                pads=layer.padding,
                count_include_pad=count_padding,
            )
    channels = place.taken[0]
    total = Conv2d(np.ones((channels, 1, *layer.kernel)), None, layer.stride, layer.padding, (1, 1), channels)
    summed = convolution(graph, total, Place(f"{place.name}.sum", place.inputs, place.taken, place.given))
    return _times(graph, summed, layer.coefficient, place.name)


def reshape(graph: Graph, layer: Reshape, place: Place) -> str:
    """Write a reshape; 0 keeps the batch axis."""
    shape = graph.indices(f"{place.name}.shape", (0, *layer.shape))
    return graph.emit("Reshape", [place.inputs[0], shape], place.name)


def permute(graph: Graph, layer: Permute, place: Place) -> str:
    """Write a permutation of sample axes."""
    return graph.emit("Transpose", [place.inputs[0]], place.name, perm=[0, *(axis + 1 for axis in layer.axes)])


def take(graph: Graph, layer: Take, place: Place) -> str:
    """Write indices taken along axes: zeros at either end as padding, zeros between as one appended zero."""
    tensor, rank = place.inputs[0], len(place.taken) + 1
    for axis, index in enumerate(layer.indices, start=1):
        if index is None:
            continue
        kept = np.flatnonzero(index >= 0)
        before, after = int(kept[0]), len(index) - 1 - int(kept[-1])
        core = index[before : len(index) - after]
        length = place.taken[axis - 1]
        if (core < 0).any():
            tensor = _padded(graph, tensor, place.name, rank, axis, 0, 1)
            core = np.where(core < 0, length, core)
        tensor = _picked(graph, tensor, place.name, axis, core, length)
        if before or after:
            tensor = _padded(graph, tensor, place.name, rank, axis, before, after)
    return tensor


def add(graph: Graph, layer: Add, place: Place) -> str:
    """Write a sum."""
    return graph.emit("Add" if len(place.inputs) == 2 else "Sum", place.inputs, place.name)


def concat(graph: Graph, layer: Concat, place: Place) -> str:
    """Write a concatenation."""
    return graph.emit("Concat", place.inputs, place.name, axis=layer.axis + 1)


def gelu(graph: Graph, layer: Gelu, place: Place) -> str:
    """Write slope * x * (erf(x / sqrt(2)) + 1) / 2: the operator set has no GELU of its own."""
    name, x = place.name, place.inputs[0]
    narrow = graph.emit("Mul", [x, graph.number(f"{name}.root", np.sqrt(np.array(0.5)))], f"{name}.narrow")
    raised = graph.emit(
        "Add", [graph.emit("Erf", [narrow], f"{name}.erf"), graph.number(f"{name}.one", np.ones(()))], name
    )
    share = graph.emit("Mul", [raised, graph.number(f"{name}.half", np.array(0.5))], f"{name}.share")
    return _times(graph, graph.emit("Mul", [x, share], f"{name}.gelu"), layer.slope, name)


def layer_norm(graph: Graph, layer: LayerNorm, place: Place) -> str:
    """Write a layer norm; the operator demands a scale."""
    ones = graph.number(f"{place.name}.ones", np.ones(place.taken[-layer.axes :]))
    return graph.emit("LayerNormalization", [place.inputs[0], ones], place.name, axis=-layer.axes, epsilon=layer.eps)


def softmax(graph: Graph, layer: Softmax, place: Place) -> str:
    """Write a softmax."""
    return graph.emit("Softmax", [place.inputs[0]], place.name, axis=layer.axis + 1)


def max_pool(graph: Graph, layer: MaxPool, place: Place) -> str:
    """Write a max pooling."""
    return graph.emit(
        "MaxPool",
        [place.inputs[0]],
        place.name,
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=layer.padding,
        dilations=layer.dilation,
    )


def product(graph: Graph, layer: Product, place: Place) -> str:
    """Write a product of two values."""
    return graph.emit("MatMul", place.inputs, place.name)


def _times(graph: Graph, tensor: str, factor: FloatArray, name: str) -> str:
    """Return the tensor times a constant, or the tensor itself where that is 1."""
    if (factor == 1).all():
        return tensor
    return graph.emit("Mul", [tensor, graph.number(f"{name}.scale", factor)], name)


def _padded(graph: Graph, tensor: str, name: str, rank: int, axis: int, before: int, after: int) -> str:
    pads = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = before, after
    return graph.emit("Pad", [tensor, graph.indices(f"{name}.pads", pads)], name)


def _picked(graph: Graph, tensor: str, name: str, axis: int, index: IntArray, length: int) -> str:
    """Return the tensor with `index` taken along `axis`: as it is, sliced where steps are even, or gathered."""
    steps = np.diff(index)
    step = int(steps[0]) if len(steps) else 1
    if step > 0 and (steps == step).all():
        if len(index) == length:
            return tensor
        bounds = {"start": index[0], "end": index[-1] + 1, "axis": axis, "step": step}
        parts = [graph.indices(f"{name}.{part}", [value]) for part, value in bounds.items()]
        return graph.emit("Slice", [tensor, *parts], name)
    return graph.emit("Gather", [tensor, graph.indices(f"{name}.indices", index)], name, axis=axis)


WRITERS: dict[type[Layer], Writer] = {
    Add: add,
    AveragePool: average_pool,
    Concat: concat,
    Conv2d: convolution,
    Dense: dense,
    Gelu: gelu,
    LayerNorm: layer_norm,
    MaxPool: max_pool,
    Permute: permute,
    Product: product,
    Rectifier: rectifier,
    Reshape: reshape,
    Scale: scale,
    Softmax: softmax,
    Take: take,
}
"""How each kind of layer is written."""
