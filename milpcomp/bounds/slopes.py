"""The record of a linear bound: which relaxation slopes prove it, and in which order the bounds were obtained.

A linear (CROWN) bound of a pre-activation replaces every unstable rectifier below by a line. On the side where the
rectifier allows a family of lines through the origin (the tangent side: below a convex rectifier, that is
positive_slope >= negative_slope, and above a concave one), the member is chosen by ``alpha`` in [0, 1]:

    tangent slope = negative_slope + alpha * (positive_slope - negative_slope)

Every alpha gives a sound bound, so alphas are rounded to 1/255 before the final, error-bounded pass, and one byte
each is all that a proof needs to store. Alphas of neurons that are stable by their bounds mean nothing.

Replaying. Linear bounds use the bounds of every layer below, so the order matters; tightening the layers below may even
loosen a linear bound with the same alphas. All proofs of one round were made in one sweep over the layers:

    bounds = interval bounds of every node
    for round in 0, 1, ...:
        for node in topological order:
            bounds[node] = interval step of bounds[inputs of node], met with bounds[node]
            for proof in proofs of this round whose rectifier reads node:
                side of bounds[node][units] = met with the linear bounds from the bounds of the nodes before node

The proofs of one layer and round do not use each other. A checker that follows these lines in its own arithmetic, and
takes alphas from the record, gets the same bounds up to its own rounding; whatever it takes, its bounds are sound.
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
    alphas : mapping from rectifier name to ndarray of uint8, shape (T, neurons) or (1, neurons)
        Alphas times `ALPHA_STEPS` at each earlier rectifier that the layer depends on: one row per unit, or a single
        row that all units share.
    round : int
        In which sweep over the layers the bounds were obtained.
    """

    layer: str
    side: str
    units: NDArray[np.int64]
    alphas: Mapping[str, NDArray[np.uint8]]
    round: int = 0
