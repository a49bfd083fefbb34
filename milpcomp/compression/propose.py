"""What could be done at one rectifier of the current network; whether it is done is decided elsewhere.

    constants   nothing reaches the pre-activation, or its proved bounds are equal       -> Fix
    parallel    rows [w | b] that are positive multiples of each other, equal slopes     -> Join
    dependent   rows of linear channels in terms of fewer                                -> Merge
    linear      all channels that are left                                               -> Fold
    narrow      outputs hardly move (only where the tolerance is a positive number)      -> Fix

Where a constant cannot pass into a reader because that pads with zeros, dependence is sought between rows [w | b], so
that no constant is left over (DESIGN: the rank of [W | b] instead of W).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from milpcomp.bounds.interval import Interval
from milpcomp.compression.absorb import grouped, obstacle, readers
from milpcomp.compression.dependence import dependent_rows, parallel_rows
from milpcomp.compression.edits import Collapse, Edit, Fix, Fold, Join, Merge
from milpcomp.compression.evidence import Evidence
from milpcomp.compression.liveness import Liveness, liveness
from milpcomp.compression.rewrite import fusible
from milpcomp.compression.rows import Rows, rows_before
from milpcomp.errors import EditError
from milpcomp.network.graph import INPUT, Network
from milpcomp.network.layers import FloatArray, IntArray, Rectifier, size
from milpcomp.stability.verdict import Phase


@dataclass(frozen=True, eq=False)
class Site:
    """A rectifier of the current network (edits so far applied, shapes those of the original), and what is proved.

    Parameters
    ----------
    original, current : Network
    live : Liveness
        Of `current`.
    proved : Evidence
        On the rectifier.
    """

    original: Network
    current: Network
    live: Liveness
    proved: Evidence

    @classmethod
    def at(cls, original: Network, current: Network, proved: Evidence) -> Site:
        """Return the site of the rectifier that `proved` is about."""
        return cls(original, current, liveness(current), proved)

    @property
    def layer(self) -> str:
        """Name of the rectifier."""
        return self.proved.layer

    @property
    def channels(self) -> IntArray:
        """The channels that somebody reads."""
        return self.live.channels(self.layer)

    @property
    def linear(self) -> IntArray:
        """The channels that somebody reads and that are linear."""
        channels = self.channels
        return channels[~np.isnan(self.proved.slope[channels])]


def constants(site: Site) -> Iterator[Edit]:
    """Propose to fix the channels whose output is constant and the same at all positions."""
    source, layer = site.current[site.layer].inputs[0], site.current[site.layer].layer
    assert isinstance(layer, Rectifier)
    shape = site.current.shape(site.layer)
    flat = (shape[0], size(shape[1:]))
    fixed = site.live.fixed[source].reshape(flat)
    center = site.current.values(np.zeros((1, *site.current.input_shape)))[source][0].reshape(flat)
    inputs = np.where(fixed, center, site.proved.bounds.lower.reshape(flat))
    outputs = layer.apply(inputs.reshape(1, *shape))[0].reshape(flat)
    known = (fixed | site.proved.constant.reshape(flat)) & (outputs == outputs[:, :1]) & ~site.proved.zero[:, None]
    channels = [int(channel) for channel in site.channels if known[channel].all() and known.shape[1]]
    if channels:
        values = tuple(float(outputs[channel, 0]) for channel in channels)
        yield Fix(site.layer, tuple(channels), values, site.proved.of(channels))


def narrow(site: Site, outputs: Interval) -> list[tuple[int, float]]:
    """Return (channel, value) for channels to be fixed at some cost, the cheapest ones first.

    The value is the middle of the proved range of the channel's outputs, or 0 where readers take no constant, so even a
    neuron that is unstable by a hair's breadth can go. The cost is estimated by the weights of the readers. Undecided
    neurons are left alone.

    Parameters
    ----------
    site : Site
    outputs : Interval, shape (1, *shape)
        Proved bounds of the rectifier's outputs.
    """
    if not outputs.lower.size or obstacle(site.original, site.layer, shifts=False) is not None:
        return []
    flat = outputs.lower.shape[1], -1
    low, high = outputs.lower.reshape(flat).min(axis=1), outputs.upper.reshape(flat).max(axis=1)
    zero = obstacle(site.original, site.layer, shifts=True) is not None
    values = np.zeros(len(low)) if zero else low + (high - low) / 2
    weights = np.zeros(len(low))
    for reader in readers(site.current, site.layer)[0]:
        weights += np.abs(grouped(reader.layer, len(low))).sum(axis=2).max(axis=0, initial=0.0)
    cost = np.maximum(high - values, values - low) * weights
    decided = np.array([verdict.phase is not Phase.UNDECIDED for verdict in site.proved.verdicts]).reshape(flat)
    usable = [channel for channel in site.channels.tolist() if decided[channel].all() and np.isfinite(cost[channel])]
    return [(channel, float(values[channel])) for channel in sorted(usable, key=lambda channel: cost[channel])]


def parallels(site: Site) -> Iterator[Edit]:
    """Propose to join channels that are not linear and whose rows are positive multiples of each other's."""
    rows, layer = rows_before(site.current, site.layer, site.channels), site.current[site.layer].layer
    curved = np.setdiff1d(site.channels, site.linear)
    if rows is None or len(curved) < 2:
        return
    assert isinstance(layer, Rectifier)
    shape = site.current.shape(site.layer)
    slopes = [part.reshape(shape[0], size(shape[1:])) for part in layer.slopes(shape)]
    groups: dict[bytes, list[int]] = {}
    for channel in curved.tolist():
        groups.setdefault(b"".join(part[channel].tobytes() for part in slopes), []).append(channel)
    joined = []
    for group in groups.values():
        found = parallel_rows(_numbers(site, rows, np.array(group), bias=True))
        joined += [(group[row], group[base], factor) for row, base, factor in found]
    if joined:
        channels, bases, factors = zip(*sorted(joined), strict=True)
        yield Join(site.layer, channels, bases, factors, site.proved.of(channels))


def dependents(site: Site) -> Iterator[Edit]:
    """Propose to merge the linear channels whose rows depend on the others'."""
    rows, channels = rows_before(site.current, site.layer, site.channels), site.linear
    if rows is None or len(channels) < 2:
        return
    bias = obstacle(site.original, site.layer, shifts=True) is not None
    found = dependent_rows(_numbers(site, rows, channels, bias))
    if not len(found.dependent):
        return
    slope, offset = site.proved.slope[channels], rows.bias.value[channels]
    base, dependent = found.base, found.dependent
    with np.errstate(all="ignore"):
        matrix = slope[dependent][:, None] * found.matrix / slope[base]
        shift = slope[dependent] * (offset[dependent] - found.matrix @ offset[base])
    if bias:
        shift = np.zeros(len(dependent))
    storable = np.isfinite(matrix).all(axis=1) & np.isfinite(shift)  # numbers near the end of the range overflow
    dependent, matrix, shift = dependent[storable], matrix[storable], shift[storable]
    if not len(dependent):
        return
    own, others = (tuple(channels[part].tolist()) for part in (dependent, base))
    yield Merge(site.layer, own, others, matrix, shift, site.proved.of((*own, *others)))


def folds(site: Site) -> Iterator[Edit]:
    """Propose to fold the layer if all channels that are left are linear."""
    channels = site.channels
    if site.proved.zero[channels].any():
        return  # the output reads channels that are removed, so the layer stays as it is
    if len(channels) and len(site.linear) == len(channels):
        slopes = tuple(site.proved.slope[channels].tolist())
        chosen = tuple(channels.tolist())
        yield Fold(site.layer, chosen, slopes, _pays(site), site.proved.of(chosen))


def smaller(edit: Edit) -> list[Edit]:
    """Return what to try in place of an edit: halves of its channels, a fold that does not fuse, or nothing."""
    if isinstance(edit, Fold):
        return [replace(edit, fuse=False)] if edit.fuse else []
    if isinstance(edit, Collapse) or len(edit.channels) < 2:
        return []
    middle = len(edit.channels) // 2
    return [_part(edit, slice(0, middle)), _part(edit, slice(middle, None))]


def _part(edit: Edit, part: slice) -> Edit:
    if isinstance(edit, Fix):
        return Fix(edit.layer, edit.channels[part], edit.values[part], edit.verdicts)
    if isinstance(edit, Join):
        return Join(edit.layer, edit.channels[part], edit.base[part], edit.factors[part], edit.verdicts)
    assert isinstance(edit, Merge)
    return Merge(edit.layer, edit.channels[part], edit.base, edit.matrix[part], edit.shift[part], edit.verdicts)


def _numbers(site: Site, rows: Rows, channels: Sequence[int] | IntArray, bias: bool) -> FloatArray:
    """Return the rows of some channels without what multiplies zeros; with the bias as a last column if asked for."""
    used = ~site.live.zero[rows.source]
    per_channel = rows.weight.value.shape[1] // max(1, used.shape[0])
    columns = np.repeat(used.any(axis=tuple(range(1, used.ndim))), per_channel)
    weight = rows.weight.value[channels][:, columns]
    return np.column_stack([weight, rows.bias.value[channels]]) if bias else weight


def _pays(site: Site) -> bool:
    """Tell whether one dense layer in place of two has no more parameters."""
    try:
        before, after = fusible(site.current, site.layer)
    except EditError:
        return False
    kept = {name: len(site.live.channels(name)) for name in (before.inputs[0], site.layer, after.name)}
    kept |= {name: site.current.width(name) for name in (INPUT, site.current.output) if name in kept}
    inputs, hidden, outputs = (kept[name] for name in (before.inputs[0], site.layer, after.name))
    return outputs * inputs <= hidden * (inputs + 1 + outputs)
