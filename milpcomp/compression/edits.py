r"""What compression does, as records: each edit says, of one rectifier, that some outputs y follow from fewer.

    Remove     y_d = 0
    Fix        y_d = value_d
    Join       y_d = factor_d * y_b       pre-activations are positive multiples of each other, slopes the same
    Merge      y_d = sum over bases b of matrix_db * y_b + shift_d                              all of them linear
    Fold       y_c = slope_c * x_c        for every channel that is left, so the layer is no rectifier any more
    Collapse   the output of the network is `value`

Merge is the rank argument of Serra, Yu, Kumar and Ramalingam (arXiv 2102.07804, section 4): if the rows of stable units
satisfy ``W_d = K W_b``, then with slopes D the outputs satisfy ``y_d = D_d K D_b^-1 y_b + D_d (b_d - K b_b)``, and the
next layer absorbs them: ``W'_b = W_b + W_d matrix``, ``bias' = bias + W_d shift``.

All channels are those of the original network (first axis of a sample: units of dense layers, feature maps of
convolutions), and edits carry the verdicts they rest on, one per unit of each channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from milpcomp.network.layers import FloatArray, frozen_floats
from milpcomp.stability.verdict import ON_TRUST, Phase, Proof, Verdict

Channels = tuple[int, ...]


@dataclass(frozen=True)
class Remove:
    """The outputs of `channels` are zero on the domain."""

    layer: str
    channels: Channels
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Fix:
    """The outputs of `channels` are constants on the domain, up to rounding or the tolerance."""

    layer: str
    channels: Channels
    values: tuple[float, ...]
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Join:
    """The pre-activations of `channels` are `factors` > 0 times those of `base` (one each); equal slopes."""

    layer: str
    channels: Channels
    base: Channels
    factors: tuple[float, ...]
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, eq=False)
class Merge:
    """The outputs of `channels` are ``matrix @ outputs of base + shift``; all of these channels are linear.

    Parameters
    ----------
    layer : str
    channels, base : tuple of int
    matrix : ndarray, shape (channels, base)
    shift : ndarray, shape (channels,)
    verdicts : tuple of Verdict
    """

    layer: str
    channels: Channels
    base: Channels
    matrix: FloatArray
    shift: FloatArray
    verdicts: tuple[Verdict, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", frozen_floats(self.matrix, "a merge's matrix"))
        object.__setattr__(self, "shift", frozen_floats(self.shift, "a merge's shift"))


@dataclass(frozen=True)
class Fold:
    """Of the channels that other edits leave, `channels` are linear with `slopes`, and nobody reads the others.

    With `fuse`, the dense layers before and after become one.
    """

    layer: str
    channels: Channels
    slopes: tuple[float, ...]
    fuse: bool = False
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, eq=False)
class Collapse:
    """The network's output is `value` on the whole domain, because the outputs of `layers` are constant."""

    layers: tuple[str, ...]
    value: FloatArray
    verdicts: tuple[Verdict, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", frozen_floats(self.value, "the value of a collapsed network"))


Expansion = Fix | Join | Merge
"""Edits after which nobody reads `channels`, because the next layers absorb what they were."""

Edit = Remove | Expansion | Fold | Collapse


def combination(edit: Expansion) -> tuple[Channels, FloatArray, FloatArray]:
    """Return (base, matrix, shift) with ``outputs of edit.channels = matrix @ outputs of base + shift``."""
    if isinstance(edit, Fix):
        return (), np.zeros((len(edit.channels), 0)), np.array(edit.values)
    if isinstance(edit, Merge):
        return edit.base, edit.matrix, edit.shift
    base = tuple(sorted(set(edit.base)))
    matrix = np.zeros((len(edit.channels), len(base)))
    for row, (channel, factor) in enumerate(zip(edit.base, edit.factors, strict=True)):
        matrix[row, base.index(channel)] = factor
    return base, matrix, np.zeros(len(edit.channels))


def by_layer(edits: Iterable[Edit]) -> dict[str, list[Remove | Expansion | Fold]]:
    """Return the edits of each rectifier, in order; those of the whole network are left out."""
    grouped: dict[str, list[Remove | Expansion | Fold]] = {}
    for edit in edits:
        if not isinstance(edit, Collapse):
            grouped.setdefault(edit.layer, []).append(edit)
    return grouped


def linear_slope(verdict: Verdict | None, positive: float, negative: float) -> float | None:
    """Return the slope with which a unit is linear on the domain, or None if that is not proved."""
    if positive == negative:
        return positive
    if verdict is None or verdict.proof not in (Proof.CERTIFIED, *ON_TRUST):
        return None
    return {Phase.STABLY_INACTIVE: negative, Phase.STABLY_ACTIVE: positive}.get(verdict.phase)


def is_zero(verdict: Verdict | None, positive: float, negative: float) -> bool:
    """Tell whether the output of a unit is proved to be zero on the domain."""
    identically = verdict is not None and verdict.proof is Proof.CERTIFIED and verdict.lower == verdict.upper == 0
    return identically or linear_slope(verdict, positive, negative) == 0
