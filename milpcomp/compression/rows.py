"""Pre-activations as rows: ``g = w x + b`` for the channels of a rectifier that follows a dense or convolution layer.

A batch norm (or any scale with one number per channel) between the two belongs to the rows: ``w = s W``,
``b = s bias + h``, with the rounding of these products as the radius of a ball. An addition may lie between them where
all its other terms are zero. In a convolution a row is a whole
filter; a linear relation between filters and biases holds at every position, at the border too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from milpcomp.bounds.rounding import SLACK, UNDERFLOW
from milpcomp.compression.balls import Ball
from milpcomp.compression.liveness import liveness
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import Network
from milpcomp.network.layers import Add, Affine, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of pre-activations.

    Parameters
    ----------
    layer : Dense or Conv2d
    source : str
        The node that `layer` reads.
    weight : Ball, shape (channels, numbers)
    bias : Ball, shape (channels,)
    """

    layer: Dense | Conv2d
    source: str
    weight: Ball
    bias: Ball


def rows_before(network: Network, rectifier: str, used: Sequence[int] | IntArray) -> Rows | None:
    """Return the rows of the pre-activations of `rectifier`, or None if they are not made by one layer.

    They are right for the channels `used`; of others, additions may be left out.
    """
    name = network[rectifier].inputs[0]
    channels, scales = network.shape(rectifier)[0], []
    while name in network and isinstance(layer := network[name].layer, Scale | Add):
        if isinstance(layer, Add):
            zero = liveness(network).zero
            terms = [term for term in network[name].inputs if not zero[term][used].all()]
            if len(terms) != 1:
                return None
            name = terms[0]
            continue
        numbers = [_channel_numbers(array, network.shape(name)) for array in (layer.scale, layer.shift)]
        if numbers[0] is None or numbers[1] is None:
            return None
        scales.append((numbers[0], numbers[1]))
        name = network[name].inputs[0]
    if name not in network or not isinstance(layer := network[name].layer, Dense | Conv2d):
        return None
    if isinstance(layer, Conv2d) and layer.groups > 1:
        return None
    numbers_per_row = layer.weight[:1].size if channels else 0
    weight, bias = Ball.exact(layer.weight.reshape(channels, numbers_per_row)), Ball.exact(layer.bias)
    for scale, shift in reversed(scales):
        weight = weight * Ball.exact(scale[:, None])
        bias = bias * Ball.exact(scale) + Ball.exact(shift)
    return Rows(layer, network[name].inputs[0], weight, bias)


def with_weight(layer: Dense | Conv2d, weight: FloatArray) -> Dense | Conv2d:
    """Return a layer like `layer` with other weights, as many outputs as `weight` has entries, and no bias."""
    shaped = weight.reshape(len(weight), *layer.weight.shape[1:])
    return Dense(shaped) if isinstance(layer, Dense) else replace(layer, weight=shaped, bias=np.zeros(len(shaped)))


def carried(layer: Affine, error: FloatArray) -> FloatArray:
    """Return upper bounds of |A| error for a batch of non-negative `error`; exactly 0 where nothing arrives."""
    weights = layer.absolute()
    with np.errstate(all="ignore"):
        arrived = weights.linear((error > 0).astype(np.float64)) > 0
        if not arrived.any():
            return np.zeros(arrived.shape)
        total = np.where(arrived, weights.linear(error) * SLACK + UNDERFLOW, 0.0)
        return np.where(np.isnan(total), np.inf, total)


def _channel_numbers(array: FloatArray, shape: tuple[int, ...]) -> FloatArray | None:
    """Return an array that broadcasts to `shape` as one number per channel, or None if it varies within a channel."""
    padded = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if padded[:1].size != 1:
        return None
    return np.broadcast_to(padded.reshape(-1), shape[:1])
