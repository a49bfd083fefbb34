"""Witnesses for the eye: unstable neurons, each with two inputs at which its pre-activation has opposite signs.

Inputs are drawn where they are images: (1, H, W), (3, H, W), (H, W), and flat vectors of 784 = 28 x 28 or 3,072 =
3 x 32 x 32. A channel is drawn from black, the least value that the domain allows in it, to white, the greatest. The
third picture is their difference: grey where they agree, scaled to the greatest difference.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from milpcomp.domain import Box
from milpcomp.network import Network
from milpcomp.network.layers import FloatArray, Shape
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase

SAMPLE = 12
"""How many neurons are shown."""

MOST_PIXELS = 64
"""Images with a longer side are drawn with every second (third, ...) pixel only."""

FEW_INPUTS = 16
"""Inputs that are no images are shown as numbers up to this many."""

SQUARE_IMAGES: dict[Shape, Shape] = {(784,): (1, 28, 28), (3072,): (3, 32, 32)}

LEAST_SIDE = 6
"""What has a shorter side is no picture to look at."""


@dataclass(frozen=True)
class Side:
    """One of the two inputs: the pre-activation there in words, and the input as a picture (data URI) or as text."""

    value: str
    picture: str
    text: str


@dataclass(frozen=True)
class Example:
    """An unstable neuron with an input where it is active, one where it is not, and a picture of the difference."""

    layer: str
    unit: int
    active: Side
    inactive: Side
    difference: str


def image_shape(shape: Shape) -> Shape | None:
    """Return the (channels, height, width) in which inputs of `shape` are images, or None where they are none."""
    long_axes = tuple(n for n in shape if n != 1)
    found = SQUARE_IMAGES.get(long_axes)
    if found is None and len(shape) == 3 and shape[0] in (1, 3):
        found = shape
    if found is None and len(long_axes) == 2:
        found = (1, *long_axes)
    return found if found is not None and min(found[1:]) >= LEAST_SIDE else None


def examples(network: Network, report: Report) -> tuple[Example, ...]:
    """Return `SAMPLE` unstable neurons with both witnesses and what these do; see `_sample` for which."""
    shape, found = image_shape(network.input_shape), []
    for layer, unit, *rows in _sample(report):
        pair = report.witnesses[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            values = network.pre_activations(pair)[layer][:, unit].tolist()
        sides = [
            Side(_value(value, sign), picture(x, report.domain, shape), _text(x))
            for x, value, sign in zip(pair, values, (1, -1), strict=True)
        ]
        found.append(Example(layer, unit, sides[0], sides[1], _difference(pair, shape)))
    return tuple(found)


def _sample(report: Report) -> list[tuple[str, int, int, int]]:
    """Return (layer, unit, active witness, inactive witness), evenly spread over the layers.

    Many neurons share their witnesses, so the first neuron of each pair of witnesses comes first.
    """
    unstable = [
        (v.layer, v.unit, v.active_witness, v.inactive_witness)
        for v in report.verdicts
        if v.phase is Phase.UNSTABLE and v.active_witness is not None and v.inactive_witness is not None
    ]
    seen = {entry[2:]: i for i, entry in reversed(list(enumerate(unstable)))}
    fresh = sorted(seen.values())
    others = sorted(set(range(len(unstable))) - set(fresh))
    chosen = _spread(fresh, SAMPLE) + _spread(others, SAMPLE - len(fresh))
    return [unstable[i] for i in sorted(chosen)]


def _spread(rows: list[int], most: int) -> list[int]:
    """Return at most so many entries, evenly spaced, the first and the last among them."""
    if len(rows) <= max(most, 0):
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, max(most, 0)).round().astype(int)]


def picture(x: FloatArray, domain: Box, shape: Shape | None) -> str:
    """Return an input as the data URI of a PNG; empty where inputs are no images."""
    if shape is None:
        return ""
    low = domain.lower.reshape(shape).min(axis=(1, 2), keepdims=True) / 2  # halves, whose difference cannot overflow
    span = domain.upper.reshape(shape).max(axis=(1, 2), keepdims=True) / 2 - low
    return _png((x.reshape(shape) / 2 - low) / np.where(span > 0, span, 1.0))


def _difference(pair: FloatArray, shape: Shape | None) -> str:
    if shape is None:
        return ""
    half = (pair[0] / 2 - pair[1] / 2).reshape(shape)
    greatest = float(np.abs(half).max())
    return _png(0.5 + 0.5 * half / (greatest if greatest > 0 else 1.0))


def _png(channels: FloatArray) -> str:
    """Return channels (C, H, W) between 0 and 1 as the data URI of a PNG; equal pictures give equal text."""
    from matplotlib.image import imsave

    step = -(-max(channels.shape[1:]) // MOST_PIXELS)
    pixels = np.clip(channels[:, ::step, ::step] * 255.0, 0.0, 255.0).round().astype(np.uint8)
    colours = np.broadcast_to(pixels.transpose(1, 2, 0), (*pixels.shape[1:], 3))
    stream = io.BytesIO()
    imsave(stream, colours, format="png", metadata={"Software": "milpcomp"})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _value(value: float, sign: int) -> str:
    """Return a pre-activation, or what was established of it where float64 arithmetic cannot tell its sign."""
    return f"{value:+.3g}" if value * sign > 0 else f"{'>' if sign > 0 else '<'} 0, too near to 0 for float64"


def _text(x: FloatArray) -> str:
    return ", ".join(f"{value:.3g}" for value in x.reshape(-1)) if x.size <= FEW_INPUTS else ""
