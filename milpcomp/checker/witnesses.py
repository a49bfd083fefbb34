"""Replay of the witnesses: what the report's inputs prove about every pre-activation.

All witnesses go through the network together, as balls; each neuron gets

    active, inactive    whether the inputs that its verdict names give it a pre-activation > 0 and < 0
    floor, ceiling      its greatest and least value that some witness proves (upper >= floor, lower <= ceiling)

Signs that the balls leave open are decided in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.checker.arithmetic import Ball, linear_ball, rectifier_ball
from milpcomp.checker.claims import UNSTABLE, Claim, Neuron
from milpcomp.checker.document import INPUT, Model, Rectifier
from milpcomp.checker.exact import exact_elements
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray

CHUNK_ELEMENTS = 8_000_000
"""How many numbers all values of one chunk of witnesses may have."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the witnesses prove about the neurons of one layer: four vectors over its units."""

    active: BoolArray
    inactive: BoolArray
    floor: FloatArray
    ceiling: FloatArray


def unusable_rows(witnesses: FloatArray, domain: tuple[FloatArray, FloatArray]) -> BoolArray:
    """Tell which rows of the witnesses (K, input size) are no inputs of the domain; NaN is none."""
    inside = (witnesses >= domain[0]) & (witnesses <= domain[1])
    return np.logical_not(inside.all(axis=1))


def forward(model: Model, points: FloatArray) -> dict[str, Ball]:
    """Return every value at inputs `points` (K, input size), as balls of shape (size, K)."""
    values = {INPUT: Ball(points.T.copy(), np.zeros_like(points.T))}
    with np.errstate(all="ignore"):
        for step in model.steps:
            if isinstance(step, Rectifier):
                values[step.name] = rectifier_ball(step, values[step.source])
            else:
                values[step.name] = linear_ball(step, {source: values[source] for source in step.matrices})
    return values


def replay(
    model: Model, claims: Mapping[Neuron, Claim | str], witnesses: FloatArray, usable: BoolArray
) -> dict[str, Evidence]:
    """Return, by rectifier, what the usable rows of the witnesses (K, input size) prove."""
    named = {step.name: _named_rows(step.name, model.size(step.name), claims, usable) for step in model.rectifiers}
    found = {name: _no_evidence(len(rows[0])) for name, rows in named.items()}
    total = sum(model.size(name) for name in model.shapes)
    chunk = max(1, CHUNK_ELEMENTS // max(1, total))
    rows = np.flatnonzero(usable)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        values = forward(model, witnesses[part])
        for step in model.rectifiers:
            _enter(found[step.name], values[step.source], part, *named[step.name])
    for step in model.rectifiers:
        for sign, done in ((1, found[step.name].active), (-1, found[step.name].inactive)):
            mine = named[step.name][0 if sign > 0 else 1]
            for row, units in _groups(np.where(done, -1, mine)):
                signs = exact_elements(model, witnesses[row], step.source, units)
                done[[unit for unit, value in zip(units, signs, strict=True) if sign * value > 0]] = True
    return found


def _named_rows(
    layer: str, width: int, claims: Mapping[Neuron, Claim | str], usable: BoolArray
) -> tuple[IntArray, IntArray]:
    """Return which usable witness each unstable verdict of a layer names as active, and as inactive; else -1."""
    rows = np.full((2, width), -1, dtype=np.int64)
    for unit in range(width):
        claim = claims.get((layer, unit))
        if isinstance(claim, Claim) and claim.phase == UNSTABLE:
            for side, row in enumerate((claim.active, claim.inactive)):
                if row is not None and 0 <= row < len(usable) and usable[row]:
                    rows[side, unit] = row
    return rows[0], rows[1]


def _no_evidence(width: int) -> Evidence:
    return Evidence(
        np.zeros(width, dtype=bool), np.zeros(width, dtype=bool), np.full(width, -np.inf), np.full(width, np.inf)
    )


def _enter(evidence: Evidence, value: Ball, part: IntArray, active: IntArray, inactive: IntArray) -> None:
    """Enter what one chunk (rows `part` of the witnesses) proves."""
    lower, upper = value.lower, value.upper
    np.maximum(evidence.floor, lower.max(axis=1, initial=-np.inf), out=evidence.floor)
    np.minimum(evidence.ceiling, upper.min(axis=1, initial=np.inf), out=evidence.ceiling)
    for rows, proved, seen in ((active, lower > 0, evidence.active), (inactive, upper < 0, evidence.inactive)):
        units = np.flatnonzero(np.isin(rows, part))
        seen[units] = proved[units, np.searchsorted(part, rows[units])]


def _groups(rows: IntArray) -> Iterator[tuple[int, list[int]]]:
    """Yield each witness that occurs in `rows`, with the units that name it."""
    for row in np.unique(rows[rows >= 0]):
        yield int(row), [int(unit) for unit in np.flatnonzero(rows == row)]
