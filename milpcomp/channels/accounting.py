"""What ignored channels save, counted as the papers on rotated ReLU count it.

    filter i of layer l                          ignored if slope i of the activation behind layer l is zero
    sub-filter i of every filter of layer l + 1  ignored if slope i of the activation in front of it is zero
    weights = sum over layers of k^2 * filters left * sub-filters left,      FLOPs = 2 * h_out * w_out * weights

Only convolutions and dense layers count, and no biases (Nayak and Kalyani, arXiv 2206.00488, section III and Table VI).
*Behind* looks through batch norm and residual additions for the deepest weighted layer that reaches the activation.
That is right where the activation comes after the addition. In a pre-activation network the layer before an addition
also feeds the skip connection, so its filter is still needed and this accounting counts too much; what a network
without the channels really has is `milpcomp.cost`, which is reported beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.channels.slopes import dead_channels
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Add, Affine, Concat, size

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LayerWeights:
    """The weights and FLOPs of one convolution or dense layer: all of them, and without the ignored ones."""

    name: str
    weights: int
    weights_left: int
    flops: int
    flops_left: int


@dataclass(frozen=True)
class Accounting:
    """What is left of each weighted layer when channels are ignored, and the totals."""

    layers: tuple[LayerWeights, ...]

    @property
    def weights(self) -> int:
        """Weights of convolutions and dense layers, biases not counted."""
        return sum(layer.weights for layer in self.layers)

    @property
    def weights_left(self) -> int:
        """Those that are not ignored."""
        return sum(layer.weights_left for layer in self.layers)

    @property
    def flops(self) -> int:
        """FLOPs of convolutions and dense layers, per sample."""
        return sum(layer.flops for layer in self.layers)

    @property
    def flops_left(self) -> int:
        """Those of weights that are not ignored."""
        return sum(layer.flops_left for layer in self.layers)


def masked_accounting(network: Network) -> Accounting:
    """Return what the channels of `network` whose slopes are exactly zero save; see the module.

    Parameters
    ----------
    network : Network
        After small slopes were set to zero.
    """
    dead = dead_channels(network)
    filters, arriving = _filters_left(network, dead), _arriving(network, dead)
    layers = []
    for node in network.nodes:
        if isinstance(node.layer, Dense | Conv2d):
            weight, positions = node.layer.weight, size(network.shape(node.name)[1:])
            groups = node.layer.groups if isinstance(node.layer, Conv2d) else 1
            inputs = arriving[node.inputs[0]]
            channels = inputs.any(axis=tuple(range(1, inputs.ndim))).reshape(groups, weight.shape[1])
            used = np.repeat(channels, len(weight) // groups, axis=0) & filters[node.name][:, None]
            left = int(used.sum()) * size(weight.shape[2:])
            layers.append(LayerWeights(node.name, weight.size, left, 2 * positions * weight.size, 2 * positions * left))
    return Accounting(tuple(layers))


def weighted_before(network: Network, name: str) -> Node | None:
    """Return the deepest convolution or dense layer that reaches node `name` through scales and additions only."""
    depths = _depths(network)
    found: list[Node] = []
    pending, seen = [*network[name].inputs], set()
    while pending:
        source = pending.pop()
        if source == INPUT or source in seen:
            continue
        seen.add(source)
        node = network[source]
        if isinstance(node.layer, Dense | Conv2d):
            found.append(node)
        elif isinstance(node.layer, Scale | Add):
            pending += node.inputs
    return max(found, key=lambda node: depths[node.name], default=None)


def _depths(network: Network) -> dict[str, int]:
    """Return for each node the number of weighted layers on the longest path to its value."""
    depths = {INPUT: 0}
    for node in network.nodes:
        own = isinstance(node.layer, Dense | Conv2d)
        depths[node.name] = own + max((depths[name] for name in node.inputs), default=0)
    return depths


def _filters_left(network: Network, dead: Mapping[str, Mask]) -> dict[str, Mask]:
    left = {
        node.name: np.ones(len(node.layer.weight), dtype=bool)
        for node in network.nodes
        if isinstance(node.layer, Dense | Conv2d)
    }
    for name, mask in dead.items():
        before = weighted_before(network, name)
        if before is not None and len(left[before.name]) == len(mask):
            left[before.name] &= ~mask
    return left


def _arriving(network: Network, dead: Mapping[str, Mask]) -> dict[str, Mask]:
    """Return for each value which elements are not ignored; sums and what weighted layers make count in full."""
    arriving = {INPUT: np.ones(network.input_shape, dtype=bool)}
    for node in network.nodes:
        shape, layer = network.shape(node.name), node.layer
        mask = np.ones(shape, dtype=bool)
        if node.name in dead:
            own = dead[node.name]
            mask &= ~np.broadcast_to(own.reshape(-1, *(1 for _ in shape[1:])) if len(own) == shape[0] else own, shape)
        elif isinstance(layer, Concat):
            mask = np.concatenate([arriving[name] for name in node.inputs], axis=layer.axis)
        elif isinstance(layer, Affine) and not isinstance(layer, Dense | Conv2d):
            mask = layer.absolute().linear(arriving[node.inputs[0]][None].astype(np.float64))[0] > 0
        arriving[node.name] = mask
    return arriving
