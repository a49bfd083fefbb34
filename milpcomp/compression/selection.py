"""Channels of layers: which of them belong together, and a layer on some of its channels, numbers copied verbatim.

A *channel* is one index along the first axis of a sample: a unit of a dense layer, a feature map of a convolution.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import INPUT, Node
from milpcomp.network.index_maps import Permute, Reshape, Take
from milpcomp.network.layers import FloatArray, IntArray, Layer, Rectifier, Shape, size
from milpcomp.network.opaque import Gelu, Opaque

ABSORBING = (Dense, Conv2d, Take)
"""Layers that absorb a selection of the channels of their input."""


def blocks(groups: IntArray, length: int) -> IntArray:
    """Return the indices of whole blocks of `length` consecutive indices."""
    return np.add.outer(groups * length, np.arange(length)).reshape(-1)


def reshaped(old: Shape, new: Shape, kept: IntArray) -> tuple[IntArray, IntArray]:
    """Return the old channels that hold the numbers of the new channels `kept`, and all new channels made of those.

    A channel is a block of consecutive numbers. Where the blocks of one shape divide those of the other, channels can
    go one by one; elsewhere all of them stay.
    """
    before, after = size(old[1:]), size(new[1:])
    if after and before % after == 0:
        ratio = before // after
        channels = np.unique(kept // ratio)
        return channels, blocks(channels, ratio)
    if before and after % before == 0:
        return blocks(kept, after // before), kept
    return np.arange(old[0]), np.arange(new[0])


def together(layer: Layer, shape: Shape, source_shape: Shape, needed: IntArray) -> IntArray:
    """Return the output channels that have to be kept if some channels are needed, because they come together."""
    if not len(needed):
        return needed
    if isinstance(layer, Conv2d) and layer.groups > 1:
        filters = shape[0] // layer.groups
        groups = np.unique(needed // filters)
        return blocks(groups, filters) if len(groups) > 1 else needed  # one group alone is an ungrouped convolution
    if isinstance(layer, Reshape):
        return reshaped(source_shape, shape, needed)[1]
    mixed = layer.axes[0] != 0 if isinstance(layer, Permute) else False
    if mixed or (isinstance(layer, Opaque) and layer.mixes_channels(shape)):
        return np.arange(shape[0])
    return needed


def places(have: IntArray, want: IntArray) -> IntArray:
    """Return where each wanted channel lies among those at hand; -1 for none, and for -1."""
    lookup = {int(channel): place for place, channel in enumerate(have)}
    return np.array([lookup.get(int(channel), -1) for channel in want], dtype=np.int64)


def spread(values: FloatArray, have: IntArray, want: IntArray) -> FloatArray:
    """Return `values` (one entry per channel at hand) for the wanted channels, 0 for those not at hand."""
    where = places(have, want)
    result = np.zeros((len(want), *values.shape[1:]))
    result[where >= 0] = values[where[where >= 0]]
    return result


def restricted(layer: Layer, shape: Shape, kept: IntArray, source_shape: Shape, reads: IntArray) -> Layer:
    """Return `layer` on its output channels `kept`, when of its input only the channels `reads` are left.

    Parameters
    ----------
    layer : Layer
    shape, source_shape : tuple of int
        Sample shapes of its output and its (first) input in the original network.
    kept, reads : ndarray of int
        Grouped convolutions are given whole groups, or some channels of one group.
    """
    if len(kept) == shape[0] and not (isinstance(layer, ABSORBING) and len(reads) < source_shape[0]):
        return layer
    if isinstance(layer, Dense):
        return Dense(layer.weight[np.ix_(kept, reads)], layer.bias[kept])
    if isinstance(layer, Conv2d):
        per_group = layer.weight.shape[1]
        groups = max(1, len(np.unique(reads // per_group)))
        weight = layer.weight[kept] if groups > 1 else layer.weight[kept][:, reads % per_group]
        return replace(layer, weight=weight, bias=layer.bias[kept], groups=groups)
    if isinstance(layer, Scale):
        return Scale(_along_channels(layer.scale, shape, kept), _along_channels(layer.shift, shape, kept))
    if isinstance(layer, Rectifier):
        slopes = (layer.positive_slope, layer.negative_slope)
        return Rectifier(*(_uniform(_along_channels(slope, shape, kept)) for slope in slopes))
    if isinstance(layer, Gelu):
        return Gelu(_uniform(_along_channels(layer.slope, shape, kept)))
    if isinstance(layer, Take):
        first = np.arange(source_shape[0]) if layer.indices[0] is None else layer.indices[0]
        return Take([places(reads, first[kept]), *layer.indices[1:]])
    if isinstance(layer, Reshape):
        return Reshape((len(kept), *shape[1:]))
    return layer


def is_identity(layer: Layer, shape: Shape) -> bool:
    """Tell whether `layer` returns its input, of sample shape `shape`, as it is."""
    if isinstance(layer, Scale):
        return bool((layer.scale == 1).all() and (layer.shift == 0).all())
    if isinstance(layer, Take):
        pairs = zip(layer.indices, shape, strict=True)
        return all(index is None or np.array_equal(index, np.arange(length)) for index, length in pairs)
    return isinstance(layer, Reshape) and layer.shape == shape


def zeros(name: str, shape: Shape, input_shape: Shape) -> list[Node]:
    """Return nodes that turn the network's input into zeros of `shape`; the last one is called `name`."""
    layers: list[Layer] = []
    if len(input_shape) == 1:
        layers.append(Take([[-1] * size(shape)]))
    else:
        layers += [Take([[-1], *([0] for _ in input_shape[1:])]), Reshape((1,)), Take([[0] * size(shape)])]
    if len(shape) != 1:
        layers.append(Reshape(shape))
    names = [INPUT, *(f"{name}.{i}" for i in range(len(layers) - 1)), name]
    return [Node(names[i + 1], layer, (names[i],)) for i, layer in enumerate(layers)]


def constant(name: str, value: FloatArray, input_shape: Shape) -> list[Node]:
    """Return nodes whose value is `value` whatever the input; the last one is called `name`."""
    if not value.any():
        return zeros(name, value.shape, input_shape)
    source = zeros(f"{name}.zeros", value.shape, input_shape)
    return [*source, Node(name, Scale(1.0, compact(value)), (source[-1].name,))]


def compact(value: FloatArray) -> FloatArray:
    """Return an array that is the same all over each channel as (channels, 1, ..., 1)."""
    first = value[(slice(None), *(slice(0, 1) for _ in value.shape[1:]))]
    return first if value.size and (value == first).all() else value


def _along_channels(array: FloatArray, shape: Shape, kept: IntArray) -> FloatArray:
    """Return the part of an array, broadcastable to `shape`, that belongs to the kept channels."""
    varies = array.ndim == len(shape) and array.shape[0] == shape[0]
    return array[kept] if varies else array


def _uniform(slope: FloatArray) -> FloatArray:
    """Return a slope that is the same everywhere as one number."""
    return np.array(slope.flat[0]) if slope.size and (slope == slope.flat[0]).all() else slope
