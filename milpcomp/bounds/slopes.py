"""The record of a linear bound: which relaxation slopes prove it.

A linear (CROWN) bound of a pre-activation replaces every unstable rectifier below by a line. On the side where the
rectifier allows a family of lines through the origin (the tangent side), the member is chosen by ``alpha`` in [0, 1]:

    tangent slope = negative_slope + alpha * (positive_slope - negative_slope)

Every alpha gives a sound bound, so alphas are rounded to 1/255 before the final, error-bounded pass, and one byte
each is all that a proof needs to store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALPHA_STEPS = 255
"""Alphas are stored as whole multiples of 1 / ALPHA_STEPS."""


@dataclass(frozen=True, eq=False)
class LinearProof:
    """Linear bounds of some pre-activations of one layer, on one side.

    Parameters
    ----------
    layer : str
        The rectifier whose pre-activations are bounded.
    side : str
        ``"lower"`` or ``"upper"``.
    units : ndarray of int, shape (T,)
    alphas : mapping from rectifier name to ndarray of uint8, shape (T, neurons), or None
        Chosen alphas (times 255) at each earlier rectifier, one row per unit. None stands for the default rule: alpha
        1 where the upper bound of the neuron exceeds minus its lower bound, else 0.
    """

    layer: str
    side: str
    units: NDArray[np.int64]
    alphas: Mapping[str, NDArray[np.uint8]] | None
