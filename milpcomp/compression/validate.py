"""Is an edit what it should be? Types, channels and verdicts are looked at before anything is rewritten.

An edit is *backed* if the verdicts it carries say, unit by unit, what it claims: zero for Remove, linear with one slope
per channel for Merge and Fold. Join needs no verdict, as it holds for any sign of the pre-activation, and neither does
Fix, whose error is bounded apart. That the verdicts themselves are true is for the report, and the checker, to show.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from milpcomp.compression.edits import (
    Collapse,
    Edit,
    Expansion,
    Fix,
    Fold,
    Join,
    Merge,
    Remove,
    by_layer,
    is_zero,
    linear_slope,
)
from milpcomp.errors import EditError
from milpcomp.network.graph import Network
from milpcomp.network.layers import Rectifier, size
from milpcomp.stability.verdict import ON_TRUST, Phase, Proof, Stage, Verdict

KINDS = (Remove, Fix, Join, Merge, Fold, Collapse)


def check_edits(network: Network, edits: Sequence[Edit]) -> None:
    """Raise `EditError` unless every edit is well formed, backed, and fits `network` and the other edits."""
    for edit in edits:
        if type(edit) not in KINDS:
            raise EditError(f"{edit!r} is no edit; use the edits that compress returns")
        for verdict in edit.verdicts:
            check_verdict(verdict)
        if isinstance(edit, Collapse):
            if edit.value.shape != network.output_shape:
                raise EditError(f"the network collapses to shape {edit.value.shape}, not {network.output_shape}")
        else:
            _check_fit(network, edit)
            _check_backing(network, edit)
    if sum(isinstance(edit, Collapse) for edit in edits) > 1:
        raise EditError("a network collapses once")
    for layer, own in by_layer(edits).items():
        _check_together(layer, own)


def check_verdict(verdict: Verdict) -> None:
    """Raise `EditError` unless a verdict has the types, values and proof that its phase needs."""
    if type(verdict) is not Verdict:
        raise EditError(f"{verdict!r} is no verdict; use the verdicts of a report that certify returned")
    where = f"the verdict on unit {verdict.unit!r} of layer {verdict.layer!r}"
    typed = {"phase": Phase, "stage": Stage, "proof": Proof, "layer": str, "unit": int}
    for name, kind in typed.items():
        if type(getattr(verdict, name)) is not kind:
            raise EditError(f"{where} has {name} {getattr(verdict, name)!r}, which is no {kind.__name__}")
    bounds: tuple[Any, Any] = (verdict.lower, verdict.upper)
    if not all(isinstance(bound, float) and not math.isnan(bound) for bound in bounds) or bounds[0] > bounds[1]:
        raise EditError(f"{where} has bounds {bounds}, which bound nothing; certify again")
    allowed = {Phase.UNSTABLE: (Proof.WITNESSED,), Phase.UNDECIDED: (Proof.NONE,)}
    if verdict.proof not in allowed.get(verdict.phase, (Proof.CERTIFIED, *ON_TRUST)):
        raise EditError(f"{where} is {verdict.phase.value} on proof {verdict.proof.value!r}; these do not go together")
    if verdict.proof is Proof.CERTIFIED:
        inactive = verdict.phase is Phase.STABLY_INACTIVE
        if (verdict.upper > 0) if inactive else (verdict.lower < 0):
            raise EditError(f"{where} claims {verdict.phase.value} but its bounds {bounds} do not prove it")


def _check_fit(network: Network, edit: Remove | Expansion | Fold) -> None:
    if edit.layer not in network or not isinstance(network[edit.layer].layer, Rectifier):
        raise EditError(f"an edit is about {edit.layer!r}, but the network has no rectifier of that name")
    count = network.shape(edit.layer)[0]
    _check_channels(edit.layer, edit.channels, count)
    if isinstance(edit, Fix):
        fits = len(edit.values) == len(edit.channels) and all(math.isfinite(value) for value in edit.values)
    elif isinstance(edit, Fold):
        fits = len(edit.slopes) == len(edit.channels) and all(math.isfinite(slope) for slope in edit.slopes)
    elif isinstance(edit, Join):
        fits = len(edit.base) == len(edit.factors) == len(edit.channels) and set(edit.base) <= set(range(count))
        fits = fits and all(bool(0 < factor < math.inf) for factor in edit.factors)
    elif isinstance(edit, Merge):
        _check_channels(edit.layer, edit.base, count)
        fits = edit.matrix.shape == (len(edit.channels), len(edit.base)) and edit.shift.shape == (len(edit.channels),)
    else:
        fits = True
    if not fits:
        raise EditError(f"an edit of {edit.layer!r} holds other numbers than its {len(edit.channels)} channels need")


def _check_channels(layer: str, channels: tuple[int, ...], count: int) -> None:
    ordered = all(isinstance(channel, int) for channel in channels) and list(channels) == sorted(set(channels))
    if not ordered or (channels and not 0 <= channels[0] <= channels[-1] < count):
        raise EditError(f"an edit of {layer!r} must list some of its {count} channels in order, got {channels}")


def _check_together(layer: str, own: Sequence[Remove | Expansion | Fold]) -> None:
    """Channels are dropped once, folded only if they stay, and bases stay."""
    dropped = Counter(channel for edit in own if not isinstance(edit, Fold) for channel in edit.channels)
    staying = {c for edit in own if isinstance(edit, Join | Merge) for c in edit.base}
    folds = [edit for edit in own if isinstance(edit, Fold)]
    staying |= {channel for edit in folds for channel in edit.channels}
    twice = [channel for channel, times in dropped.items() if times > 1]
    if twice or staying & dropped.keys() or len(folds) > 1:
        where = twice or sorted(staying & dropped.keys())
        raise EditError(f"edits of {layer!r} contradict each other at channels {where}")


def _check_backing(network: Network, edit: Remove | Expansion | Fold) -> None:
    layer, shape = network[edit.layer].layer, network.shape(edit.layer)
    assert isinstance(layer, Rectifier)
    per_channel = size(shape[1:])
    positive, negative = (slopes.reshape(shape[0], per_channel) for slopes in layer.slopes(shape))
    units = {verdict.unit: verdict for verdict in edit.verdicts}
    if any(verdict.layer != edit.layer for verdict in edit.verdicts) or len(units) != len(edit.verdicts):
        raise EditError(f"an edit of {edit.layer!r} carries verdicts on another layer, or two on one unit")

    def refuse(channel: int, what: str) -> EditError:
        return EditError(f"channel {channel} of {edit.layer!r} is not proved {what}, so it cannot be edited that way")

    if isinstance(edit, Join):
        for channel, base in zip(edit.channels, edit.base, strict=True):
            if (positive[channel] != positive[base]).any() or (negative[channel] != negative[base]).any():
                raise EditError(f"channels {channel} and {base} of {edit.layer!r} have different slopes")
        return
    if isinstance(edit, Fix):
        return
    claimed = (*edit.channels, *edit.base) if isinstance(edit, Merge) else edit.channels
    for place, channel in enumerate(claimed):
        own = [units.get(channel * per_channel + i) for i in range(per_channel)]
        pairs = list(zip(own, positive[channel].tolist(), negative[channel].tolist(), strict=True))
        if isinstance(edit, Remove):
            if not all(is_zero(*pair) for pair in pairs):
                raise refuse(channel, "zero")
            continue
        slopes = {linear_slope(*pair) for pair in pairs}
        if len(slopes) != 1 or None in slopes or (isinstance(edit, Fold) and slopes != {edit.slopes[place]}):
            raise refuse(channel, "linear with one slope")


def channel_slopes(network: Network, edit: Merge | Fold) -> dict[int, float]:
    """Return the slope with which each channel of a backed edit is linear."""
    layer, shape = network[edit.layer].layer, network.shape(edit.layer)
    assert isinstance(layer, Rectifier)
    stride = size(shape[1:])
    positive, negative = (slopes.reshape(shape[0], stride)[:, 0] for slopes in layer.slopes(shape))
    first = {verdict.unit // stride: verdict for verdict in edit.verdicts if verdict.unit % stride == 0}
    channels = (*edit.channels, *edit.base) if isinstance(edit, Merge) else edit.channels
    slopes = {c: linear_slope(first.get(c), float(positive[c]), float(negative[c])) for c in channels}
    return {channel: slope for channel, slope in slopes.items() if slope is not None}
