"""What a network costs: neurons, parameters and FLOPs, layer by layer.

    convolution   c_in / groups * k_h * k_w * c_out weights, 2 * h_out * w_out FLOPs for each
    dense         m * n weights, 2 FLOPs for each
    addition      counted apart: one addition per element and further input

Only convolutions and dense layers count as FLOPs, as in the tables of Nayak and Kalyani (arXiv 2206.00488); products of
attention, which have no weights, do not. Parameters are the stored numbers: weights, biases, and the scales and shifts
of norms; slopes of rectifiers and GELUs are counted apart.
Every dense and convolution layer is stored with a bias and every scale with a shift; one that is all zero (a scale: all
one) is no parameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import Network, Node
from milpcomp.network.layers import Add, FloatArray, Rectifier, size
from milpcomp.network.opaque import Gelu


@dataclass(frozen=True)
class LayerCost:
    """What one node costs.

    Parameters
    ----------
    name, kind : str
        Of the node, and of its layer's class.
    neurons : int
        Hidden neurons; only rectifiers have any.
    parameters : int
    slopes : int
        Rectifier slopes that are stored per channel or per element.
    flops : int
        Per sample.
    additions : int
        Per sample, of an addition node.
    """

    name: str
    kind: str
    neurons: int = 0
    parameters: int = 0
    slopes: int = 0
    flops: int = 0
    additions: int = 0


@dataclass(frozen=True)
class Cost:
    """What a network costs: one entry per node, in topological order, and the totals."""

    layers: tuple[LayerCost, ...]

    @property
    def neurons(self) -> int:
        """Number of hidden neurons."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of parameters, rectifier slopes not counted."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def slopes(self) -> int:
        """Number of rectifier slopes stored per channel or per element."""
        return sum(layer.slopes for layer in self.layers)

    @property
    def flops(self) -> int:
        """FLOPs of convolutions and dense layers, per sample."""
        return sum(layer.flops for layer in self.layers)

    @property
    def additions(self) -> int:
        """Additions of residual connections, per sample."""
        return sum(layer.additions for layer in self.layers)


def cost(network: Network) -> Cost:
    """Return what `network` costs."""
    return Cost(tuple(_layer_cost(network, node) for node in network.nodes))


def _layer_cost(network: Network, node: Node) -> LayerCost:
    layer, kind = node.layer, type(node.layer).__name__
    if isinstance(layer, Dense | Conv2d):
        positions = size(network.shape(node.name)[1:])
        weights = layer.weight.size
        return LayerCost(node.name, kind, parameters=weights + _used(layer.bias, 0.0), flops=2 * weights * positions)
    if isinstance(layer, Scale):
        return LayerCost(node.name, kind, parameters=_used(layer.scale, 1.0) + _used(layer.shift, 0.0))
    if isinstance(layer, Rectifier):
        slopes = sum(slope.size for slope in (layer.positive_slope, layer.negative_slope) if slope.ndim)
        return LayerCost(node.name, kind, neurons=network.width(node.name), slopes=slopes)
    if isinstance(layer, Gelu):
        return LayerCost(node.name, kind, slopes=layer.slope.size if layer.slope.ndim else 0)
    if isinstance(layer, Add):
        return LayerCost(node.name, kind, additions=(len(node.inputs) - 1) * network.width(node.name))
    return LayerCost(node.name, kind)


def _used(numbers: FloatArray, neutral: float) -> int:
    """Return how many numbers are stored, or 0 if all have the neutral value."""
    return 0 if np.all(numbers == neutral) else numbers.size
