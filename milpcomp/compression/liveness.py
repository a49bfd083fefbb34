"""Which values of a network matter, read off its structure alone, for every input whatsoever.

    forward     zero[v]      the value is 0: no non-zero number reaches it and nothing is added
                reached[v]   some non-zero value enters it through a non-zero coefficient
                fixed[v]     no input of the network reaches it: it is a constant
    backward    needed[v]    it reaches the output through non-zero coefficients, and it is not zero
                             (a `Take` may be needed for its zeros: it makes them for nothing)

Needed are whole channels, and all channels that must stay together (groups of a convolution, blocks of a reshape), so
what is kept has its full value.

A value reaches an entry of ``A x`` if its coefficient is not zero, so ``|A| mask > 0`` propagates a mask of 0 and 1
forward and ``|A|^T mask > 0`` backward, for every affine layer alike. Only zeros of the stored numbers count; sums that
happen to cancel do not. An opaque layer tells its own masks, which mark too much rather than too little. What is not
needed can be cut off without changing the function anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.compression.selection import together
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.index_maps import Take
from milpcomp.network.layers import Affine, Concat, Rectifier, Shape
from milpcomp.network.opaque import Opaque

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Liveness:
    """Masks of sample shape, by node name (and `INPUT`), as the module describes them."""

    zero: Mapping[str, Mask]
    reached: Mapping[str, Mask]
    fixed: Mapping[str, Mask]
    needed: Mapping[str, Mask]

    def channels(self, name: str) -> NDArray[np.int64]:
        """Return the channels of node `name` of which some element is needed."""
        mask = self.needed[name]
        return np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim))))


def liveness(network: Network) -> Liveness:
    """Return which values of `network` are zero, reached, fixed and needed."""
    with np.errstate(over="ignore"):  # an infinite sum is still positive
        zero, reached = _nonzero(network)
        return Liveness(zero, reached, _fixed(network), _needed(network, zero, reached))


def _nonzero(network: Network) -> tuple[dict[str, Mask], dict[str, Mask]]:
    zero = {INPUT: np.zeros(network.input_shape, dtype=bool)}
    reached = {INPUT: np.ones(network.input_shape, dtype=bool)}
    for node in network.nodes:
        shape = network.shape(node.name)
        entering = _forward(node, [~zero[name] for name in node.inputs], shape)
        offset = np.broadcast_to(node.layer.offset() != 0, shape) if isinstance(node.layer, Affine) else False
        reached[node.name], zero[node.name] = entering, ~(entering | offset)
    return zero, reached


def _fixed(network: Network) -> dict[str, Mask]:
    fixed = {INPUT: np.zeros(network.input_shape, dtype=bool)}
    for node in network.nodes:
        fixed[node.name] = ~_forward(node, [~fixed[name] for name in node.inputs], network.shape(node.name))
    return fixed


def _needed(network: Network, zero: Mapping[str, Mask], reached: Mapping[str, Mask]) -> dict[str, Mask]:
    needed = {name: np.zeros(network.shape(name), dtype=bool) for name in zero}
    needed[network.output] = np.ones(network.output_shape, dtype=bool)
    makes_zeros = {node.name for node in network.nodes if isinstance(node.layer, Take)}
    for node in reversed(network.nodes):
        shapes = [network.shape(name) for name in node.inputs]
        own = needed[node.name]
        channels = np.flatnonzero(own.any(axis=tuple(range(1, own.ndim))))
        kept = together(node.layer, own.shape, shapes[0], channels)
        own[kept if reached[node.name][kept].any() else channels] = True  # channels of a constant can go one by one
        for name, mask in zip(node.inputs, _backward(node, needed[node.name], shapes), strict=True):
            needed[name] = needed[name] | (mask if name in makes_zeros else mask & ~zero[name])
    return needed


def _forward(node: Node, masks: list[Mask], shape: Shape) -> Mask:
    """Return which elements of the value of `node` the masked elements of its inputs reach."""
    layer = node.layer
    if isinstance(layer, Affine):
        return layer.absolute().linear(masks[0][None].astype(np.float64))[0] > 0
    if isinstance(layer, Rectifier):
        return masks[0] & ~_cut(layer, shape)
    if isinstance(layer, Opaque):
        return layer.reached(*masks)
    if isinstance(layer, Concat):
        return np.concatenate(masks, axis=layer.axis)
    return np.logical_or.reduce(masks)


def _backward(node: Node, mask: Mask, shapes: list[Shape]) -> list[Mask]:
    """Return for each input of `node` which of its elements reach the masked elements of the node's value."""
    layer = node.layer
    if isinstance(layer, Affine):
        return [layer.absolute().transposed(mask[None].astype(np.float64), shapes[0])[0] > 0]
    if isinstance(layer, Rectifier):
        return [mask & ~_cut(layer, shapes[0])]
    if isinstance(layer, Opaque):
        return layer.needed(mask, shapes)
    if isinstance(layer, Concat):
        return np.split(mask, np.cumsum([shape[layer.axis] for shape in shapes])[:-1], axis=layer.axis)
    return [mask] * len(shapes)


def _cut(layer: Rectifier, shape: Shape) -> Mask:
    """Return the units with both slopes zero."""
    positive, negative = layer.slopes(shape)
    return ((positive == 0) & (negative == 0)).reshape(shape)
