"""The lines around a rectifier over the bounds of its pre-activations.

A rectifier that changes sign in [l, u], l < 0 < u, and is convex (positive_slope >= negative_slope), lies between

    high(z) = s z + t    chord: s = (positive u - negative l) / (u - l), t >= max((negative - s) l, (positive - s) u)
    low(z)  = a z        tangent at 0: a = negative + alpha (positive - negative), for any alpha in [0, 1]

For a concave one the tangent is above and the chord below. A rectifier that does not change sign is its own line. For
ReLU these are the lines of Zhang et al., NeurIPS 2018 (arXiv 1811.00866). Any floats near s and a give valid lines, as
long as a stays between the slopes and t is computed, rounded outward, from the s that is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.rounding import UNDERFLOW, UNIT
from milpcomp.bounds.slopes import ALPHA_STEPS
from milpcomp.network import Rectifier
from milpcomp.network.layers import FloatArray

Alphas = Mapping[str, NDArray[Any]]
"""Whole numbers 0 .. ALPHA_STEPS by rectifier, of shape (T, neurons), or (1, neurons) where all rows share them."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The lines around one rectifier over the bounds of its pre-activations; flat arrays over its neurons.

    Parameters
    ----------
    open : ndarray of bool
        Where the pre-activation can have both signs, and the slopes differ.
    convex : ndarray of bool
    negative, positive : ndarray
        The rectifier's slopes.
    chord, intercept : ndarray
        The chord where `open`; elsewhere the rectifier itself, with intercept 0.
    weight : ndarray
        max |line| over the bounds, for every line that may be chosen: what a relative error of the row costs.
    """

    open: NDArray[np.bool_]
    convex: NDArray[np.bool_]
    negative: FloatArray
    positive: FloatArray
    chord: FloatArray
    intercept: FloatArray
    weight: FloatArray

    def tangent(self, alphas: NDArray[np.uint8] | FloatArray) -> FloatArray:
        """Return the slopes of the tangents (T, neurons); where not `open`, the rectifier's own slope."""
        slope = self.negative + alphas * (1.0 / ALPHA_STEPS) * (self.positive - self.negative)
        slope = np.clip(slope, np.minimum(self.negative, self.positive), np.maximum(self.negative, self.positive))
        return np.where(self.open, slope, self.chord)


def relaxation(layer: Rectifier, bounds: Interval) -> Relaxation:
    """Return the lines around `layer` over the bounds (no batch axis) of its pre-activations."""
    positive, negative = layer.slopes(bounds.lower.shape)
    lower, upper = bounds.lower.reshape(-1), bounds.upper.reshape(-1)
    least, greatest = np.minimum(positive, negative), np.maximum(positive, negative)
    with np.errstate(all="ignore"):
        crossing = (lower < 0) & (upper > 0) & (positive != negative)
        share = upper / (upper - lower)  # of the positive side; any float in its place gives a valid chord
        chord = np.clip(negative + share * (positive - negative), least, greatest)
        chord = np.where(crossing, chord, np.where(lower >= 0, positive, negative))
        convex = positive >= negative
        gap = np.maximum(np.abs(negative - chord) * -lower, np.abs(positive - chord) * upper)
        gap = gap * (1.0 + 4.0 * UNIT) + UNDERFLOW  # the three roundings above
        intercept = np.where(crossing, np.where(convex, gap, -gap), 0.0)
        steepest = np.where(crossing, np.maximum(np.abs(positive), np.abs(negative)), np.abs(chord))
        weight = steepest * bounds.magnitude().reshape(-1) + np.abs(intercept) + UNDERFLOW
    return Relaxation(crossing, convex, negative, positive, chord, intercept, weight)


def default_alphas(bounds: Interval) -> NDArray[np.uint8]:
    """Return alphas (1, neurons): 1 where upper > -lower, else 0; of all tangents this cuts off the least area."""
    return np.where(bounds.upper > -bounds.lower, ALPHA_STEPS, 0).astype(np.uint8).reshape(1, -1)
