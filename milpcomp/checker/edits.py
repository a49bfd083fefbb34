"""Reading a compression: its edits, and which final steps claim to carry which original values.

Both are hints to the walk of `milpcomp.checker.relation`, so nothing here is believed; what cannot be read is a reason
to reject. An edit is *backed* where the checker accepted the verdicts that it needs:

    Remove           every unit linear with slope 0, or its output bounded by 0 from both sides
    Merge, Fold      every unit linear
    Collapse         every unit linear
    Fix, Join        no verdict: what they say is measured by the walk
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp

from milpcomp.checker.claims import ACTIVE, INACTIVE, Unreadable, attribute, is_integer, shown
from milpcomp.checker.document import Model, Rectifier
from milpcomp.checker.hints import Carrier, Combination, Facts
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray
from milpcomp.checker.result import Checked, EditEntry, Finding

KINDS = ("Remove", "Fix", "Join", "Merge", "Fold", "Collapse")


@dataclass(frozen=True, eq=False)
class Edit:
    """An edit, read: for `layers` (one, except for Collapse), the units it changes and those it leans on.

    `combination` holds for Join and Merge which units are said to be what of which others.
    """

    kind: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    units: Mapping[str, IntArray]
    combination: Combination | None = None


@dataclass(frozen=True, eq=False)
class Proved:
    """What the checker knows of the units of one rectifier.

    Parameters
    ----------
    slopes : ndarray
        The slope with which each is linear by an accepted verdict, or by its slopes being equal; NaN where unproved.
    trusted : ndarray of bool
        Where that rests on a solver's word.
    zero : ndarray of bool
        Where a verdict was accepted and the output's own bounds are 0.
    """

    slopes: FloatArray
    trusted: BoolArray
    zero: BoolArray


def proved_units(
    model: Model, checked: Checked, bounds: Mapping[str, Interval], trust_solver: bool
) -> dict[str, Proved]:
    """Return by rectifier what is proved, solver verdicts included if they are to be trusted."""
    usable = {Finding.ACCEPTED} | ({Finding.NOT_CHECKABLE} if trust_solver else set())
    found = {}
    for step in model.rectifiers:
        equal = step.positive == step.negative
        slopes, trusted = np.where(equal, step.positive, np.nan), np.zeros(len(equal), dtype=bool)
        found[step.name] = Proved(slopes, trusted, np.zeros_like(trusted))
    for entry in checked.entries:
        if entry.finding not in usable or entry.phase not in (ACTIVE, INACTIVE):
            continue
        step, mine, unit = _rectifier(model, entry.layer), found[entry.layer], entry.unit
        low, high = bounds[entry.layer].lower[unit], bounds[entry.layer].upper[unit]
        mine.zero[unit] = low == high == 0
        mine.trusted[unit] = entry.finding is Finding.NOT_CHECKABLE and np.isnan(mine.slopes[unit])
        mine.slopes[unit] = (step.positive if entry.phase == ACTIVE else step.negative)[unit]
    return found


def read_edit(record: Any, model: Model) -> Edit:
    """Return an edit as what it says.

    Raises
    ------
    Unreadable
        If it is none, or does not fit the network.
    """
    kind = type(record).__name__
    if kind not in KINDS:
        raise Unreadable(f"{shown(record)} is no edit")
    if kind == "Collapse":
        layers = tuple(attribute(record, "layers") or ())
        return Edit(kind, layers, (), {layer: np.arange(len(_rectifier(model, layer).positive)) for layer in layers})
    step = _rectifier(model, attribute(record, "layer"))
    channels = _channels(attribute(record, "channels"), step)
    units = _units(channels, step)
    if kind not in ("Join", "Merge"):
        return Edit(kind, (step.name,), channels, {step.name: units})
    base = _channels(attribute(record, "base"), step)
    if kind == "Join":
        matrix, shift = _joining(attribute(record, "factors"), len(base)), np.zeros(len(channels))
    else:
        matrix, shift = (np.array(attribute(record, name), dtype=np.float64) for name in ("matrix", "shift"))
    fits = matrix.shape == (len(channels), len(base)) and shift.shape == (len(channels),)
    if not fits or not np.isfinite(matrix).all() or not np.isfinite(shift).all():
        raise Unreadable("its channels, bases and numbers do not go together")
    width = prod(step.shape[1:])
    everywhere = sp.csr_array(sp.kron(sp.csr_array(matrix), sp.eye_array(width), format="csr"))
    bases = _units(base, step)
    said = Combination(units, bases, everywhere, np.repeat(shift, width), kind == "Join")
    leans = np.union1d(units, bases) if kind == "Merge" else units
    return Edit(kind, (step.name,), channels, {step.name: leans}, said)


def judge_edit(edit: Edit, proved: Mapping[str, Proved]) -> EditEntry:
    """Return whether accepted verdicts back an edit."""
    trusted = 0
    for layer, units in edit.units.items():
        mine = proved[layer]
        backed = {
            "Remove": (mine.slopes == 0) | mine.zero,
            "Merge": ~np.isnan(mine.slopes),
            "Fold": ~np.isnan(mine.slopes),
            "Collapse": ~np.isnan(mine.slopes),
        }.get(edit.kind, np.ones(len(mine.slopes), dtype=bool))
        bare = units[~backed[units]]
        if len(bare):
            reason = f"no accepted verdict backs it for unit {int(bare[0])} of {layer!r} ({len(bare)} units in all)"
            return EditEntry(edit.kind, edit.layers, edit.channels, Finding.REJECTED, reason)
        needs = edit.kind in ("Remove", "Merge", "Fold", "Collapse")
        trusted += int(mine.trusted[units].sum()) if needs else 0
    if trusted:
        reason = f"rests on the word of a solver for {trusted} units"
        return EditEntry(edit.kind, edit.layers, edit.channels, Finding.NOT_CHECKABLE, reason)
    return EditEntry(edit.kind, edit.layers, edit.channels, Finding.ACCEPTED, "backed")


def facts_of(model: Model, edits: Sequence[Edit], proved: Mapping[str, Proved]) -> dict[str, Facts]:
    """Return by rectifier what the walk may use: what is proved of the units that edits are about."""
    found = {}
    for step in model.rectifiers:
        named = {kind: np.zeros(len(step.positive), dtype=bool) for kind in KINDS}
        said = []
        for edit in edits:
            if step.name in edit.units:
                named[edit.kind][edit.units[step.name]] = True
                said += [edit.combination] if edit.combination is not None else []
        linear = named["Remove"] | named["Merge"] | named["Fold"] | named["Collapse"] | named["Fix"]
        fixed = named["Remove"] | named["Fix"] | named["Collapse"]
        found[step.name] = Facts(np.where(linear, proved[step.name].slopes, np.nan), fixed, said)
    return found


def read_carriers(origin: Any, model: Model, final: Model) -> dict[str, list[Carrier]]:
    """Return by original step which final steps claim to carry which of its elements.

    Raises
    ------
    Unreadable
        If the claims do not fit the networks.
    """
    if not isinstance(origin, Mapping):
        raise Unreadable("its origin is no mapping from nodes to channels")
    found: dict[str, list[Carrier]] = {}
    for name, (source, channels) in dict(origin).items():
        if name not in final.shapes or source not in model.shapes:
            raise Unreadable(f"its origin names {shown(name)} and {shown(source)}, which are no nodes")
        ours, theirs = model.shapes[source], final.shapes[name]
        kept = np.arange(ours[0]) if channels is None and ours else np.array(channels or (), dtype=np.int64)
        if not ours or theirs != (len(kept), *ours[1:]) or ((kept < -1) | (kept >= ours[0])).any():
            raise Unreadable(f"{shown(name)} of shape {theirs} does not hold channels of {shown(source)}")
        if (kept < 0).any():
            continue  # zeros among the channels: copied or written out, and worth no hint
        width = prod(ours[1:])
        elements = np.add.outer(kept * width, np.arange(width)).ravel()
        found.setdefault(source, []).append(Carrier(name, elements))
    return found


def _joining(factors: Any, count: int) -> FloatArray:
    """Return the matrix of a Join, whose channels have one base each, in order."""
    return np.diag(np.array([float(factor) for factor in factors])) if count else np.zeros((0, 0))


def _rectifier(model: Model, name: Any) -> Rectifier:
    for step in model.rectifiers:
        if type(name) is str and step.name == name:
            return step
    raise Unreadable(f"the network has no rectifier called {shown(name)}")


def _channels(value: Any, step: Rectifier) -> tuple[int, ...]:
    channels = tuple(value)
    if not step.shape or not all(is_integer(c) and 0 <= c < step.shape[0] for c in channels):
        raise Unreadable(f"its channels are not among those of {step.name!r}")
    return tuple(int(channel) for channel in channels)


def _units(channels: Sequence[int], step: Rectifier) -> IntArray:
    width = prod(step.shape[1:])
    return np.add.outer(np.array(channels, dtype=np.int64) * width, np.arange(width)).ravel()
