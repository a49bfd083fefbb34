"""How the layers after a rectifier take over what dropped channels were.

If ``y_d = S y_b + t`` for the dropped channels d of a layer, then a reader ``W y + bias`` becomes

    W'_b = W_b + W_d S        W'_d = 0        bias' = bias + W_d t

with W seen as (outputs, channels, numbers per channel). Readers are dense layers and ungrouped convolutions, directly
or behind average pooling and flattening, which treat all channels alike. A constant t does not cross zero padding: at
the border a padded convolution, or pooling, sees 0 in place of t (DESIGN: "constants do not cross zero padding").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from milpcomp.compression.balls import Ball
from milpcomp.compression.edits import Expansion, combination
from milpcomp.network.affine import Dense
from milpcomp.network.convolution import AveragePool, Conv2d
from milpcomp.network.graph import Network, Node
from milpcomp.network.index_maps import Reshape
from milpcomp.network.layers import FloatArray, Layer

Absorber = Dense | Conv2d


@dataclass(frozen=True, eq=False)
class Reader:
    """A dense or convolution node that reads a rectifier, and the pooling and reshape nodes between the two."""

    node: Node
    layer: Absorber
    path: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Absorbed:
    """What a reader becomes: its weight as a ball, (outputs, channels, numbers), and its bias."""

    weight: Ball
    bias: Ball


def readers(network: Network, layer: str) -> tuple[list[Reader], str | None]:
    """Return who reads a rectifier's channels, and what stands against their absorbing dropped ones (None: nothing)."""
    found: list[Reader] = []
    reason = _collect(network, layer, (), found, network.shape(layer)[0])
    return found, reason


def obstacle(network: Network, layer: str, shifts: bool) -> str | None:
    """Return why channels of `layer` cannot be dropped by an edit with (or without) `shifts`, or None if they can."""
    found, reason = readers(network, layer)
    if reason is None and shifts:
        for reader in found:
            for node in (*reader.path, reader.node):
                if isinstance(node.layer, Conv2d | AveragePool) and any(node.layer.padding):
                    return f"a constant does not cross the zero padding of {node.name!r}"
    return reason


def absorb(layer: Absorber, channels: int, path: Sequence[Node], edits: Sequence[Expansion]) -> Absorbed:
    """Return the weight and bias of a reader after `edits` of the rectifier that it reads.

    Parameters
    ----------
    layer : Dense or Conv2d
    channels : int
        Of the rectifier.
    path : sequence of Node
        Between the two.
    edits : sequence of Fix, Join and Merge
    """
    original = grouped(layer, channels)
    value, radius, bias = original.copy(), np.zeros(original.shape), Ball.exact(layer.bias)
    for edit in edits:
        base, matrix, shift = combination(edit)
        constants = through(path, shift)
        for row, channel in enumerate(edit.channels):
            dropped = Ball.exact(original[:, channel])  # (outputs, numbers)
            used = np.flatnonzero(matrix[row])
            if len(used):
                columns = np.array(base)[used]
                product = dropped[:, None] * Ball.exact(matrix[row, used][:, None])
                total = Ball(value[:, columns], radius[:, columns]) + product
                value[:, columns], radius[:, columns] = total.value, total.radius
            if shift[row]:
                for number in range(original.shape[2]):
                    bias = bias + dropped[:, number] * constants[row]
    gone = [channel for edit in edits for channel in edit.channels]
    value[:, gone] = radius[:, gone] = 0.0
    return Absorbed(Ball(value, radius), bias)


def with_numbers(layer: Layer, absorbed: Absorbed) -> Absorber:
    """Return `layer` with the weight and bias that it absorbed."""
    assert isinstance(layer, Dense | Conv2d)
    weight = absorbed.weight.value.reshape(layer.weight.shape)
    if isinstance(layer, Dense):
        return Dense(weight, absorbed.bias.value)
    return replace(layer, weight=weight, bias=absorbed.bias.value)


def grouped(layer: Absorber, channels: int) -> FloatArray:
    """Return a reader's weight as (outputs, channels, numbers per channel)."""
    return layer.weight.reshape(len(layer.weight), channels, -1 if layer.weight.size else 1)


def through(path: Sequence[Node], shift: FloatArray) -> Ball:
    """Return what constants (channels,) are behind unpadded pooling and reshapes: one number per channel."""
    value = Ball.exact(shift)
    for node in path:
        if isinstance(node.layer, AveragePool):
            count = float(np.prod(node.layer.kernel))
            value = value * Ball.exact(count) * Ball.exact(node.layer.coefficient.flat[0])
    return value


def _collect(network: Network, name: str, path: tuple[Node, ...], found: list[Reader], channels: int) -> str | None:
    if name == network.output:
        return f"{name!r} is the output"
    for node in network.consumers(name):
        layer, shape = node.layer, network.shape(node.name)
        ungrouped = isinstance(layer, Conv2d) and layer.groups == 1 and network.shape(name)[0] == channels
        if isinstance(layer, Dense) or (isinstance(layer, Conv2d) and ungrouped):
            found.append(Reader(node, layer, path))
        elif _treats_alike(layer, shape, channels):
            reason = _collect(network, node.name, (*path, node), found, channels)
            if reason is not None:
                return reason
        else:
            return f"its value is also read by {node.name!r} ({type(layer).__name__})"
    return None


def _treats_alike(layer: object, shape: tuple[int, ...], channels: int) -> bool:
    """Tell whether a layer does the same to every channel and keeps channels apart."""
    if isinstance(layer, AveragePool):
        uniform = not layer.coefficient.size or bool((layer.coefficient == layer.coefficient.flat[0]).all())
        return shape[0] == channels and (uniform or any(layer.padding))
    return isinstance(layer, Reshape) and (len(shape) == 1 or shape[0] == channels)
