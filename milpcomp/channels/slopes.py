"""The slopes of a network's activations, and the network with the small ones set to zero.

    y = b * max(0, x)     a slope b that is exactly 0 makes its channel 0, whatever x is
    y = b * x * Phi(x)    likewise (rotated GELU)
    |b| <= gamma          the channels that thresholding ignores: set b = 0, which is another function

Nayak and Kalyani (arXiv 2206.00488), section III: channels whose slopes are at most the threshold gamma are ignored.
Activations whose slopes are not stored one by one, such as a plain ReLU, have none to look at and are left alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import SettingsError
from milpcomp.network.graph import Network, Node
from milpcomp.network.layers import FloatArray, Layer, Rectifier
from milpcomp.network.opaque import Gelu


def channel_slopes(network: Network) -> dict[str, FloatArray]:
    """Return the slopes of each activation that has one per channel, by node name in topological order.

    Returns
    -------
    dict from str to ndarray, shape (slopes,)
        The slope on the side where it is steeper, with its sign.
    """
    return {node.name: _steeper(node.layer).reshape(-1) for node in network.nodes if has_slopes(node.layer)}


def dead_channels(network: Network) -> dict[str, NDArray[np.bool_]]:
    """Return for each activation with slopes which of them are exactly zero."""
    return {name: slopes == 0 for name, slopes in channel_slopes(network).items()}


def silenced(network: Network, gamma: float) -> Network:
    """Return `network` with every slope of at most `gamma` set to exactly 0; itself if there is none to set.

    Parameters
    ----------
    network : Network
    gamma : float
        The threshold, >= 0. With 0 nothing changes.

    Raises
    ------
    SettingsError
        If `gamma` is no finite number >= 0.
    """
    check_threshold(gamma)
    nodes = [Node(node.name, _silenced(node.layer, gamma), node.inputs) for node in network.nodes]
    if all(new.layer is old.layer for new, old in zip(nodes, network.nodes, strict=True)):
        return network
    return Network(network.input_shape, nodes, network.output)


def check_threshold(gamma: object) -> None:
    """Raise `SettingsError` unless `gamma` is a finite number >= 0."""
    if not isinstance(gamma, int | float) or not 0 <= gamma < math.inf:
        raise SettingsError(f'the threshold must be "auto" or a number >= 0, got {gamma!r}')


def has_slopes(layer: Layer) -> bool:
    """Tell whether a layer is an activation whose slopes are stored one by one."""
    return any(slope.ndim > 0 for slope in _slopes(layer))


def _slopes(layer: Layer) -> tuple[FloatArray, ...]:
    """Return the slopes of an activation, one array for each side of zero that has its own; none for other layers."""
    if isinstance(layer, Rectifier):
        return layer.positive_slope, layer.negative_slope
    return (layer.slope,) if isinstance(layer, Gelu) else ()


def _steeper(layer: Layer) -> FloatArray:
    sides = np.broadcast_arrays(*_slopes(layer))
    return np.where(np.abs(sides[-1]) > np.abs(sides[0]), sides[-1], sides[0])


def _silenced(layer: Layer, gamma: float) -> Layer:
    if not isinstance(layer, Rectifier | Gelu) or not has_slopes(layer):
        return layer
    steeper = np.abs(_steeper(layer))
    small = steeper <= gamma
    if not (steeper[small] > 0).any():
        return layer
    return type(layer)(*(np.where(small, 0.0, slope) for slope in _slopes(layer)))
