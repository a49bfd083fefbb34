"""Bounds derived anew in many cases at once, by the standard rule, with nothing recorded.

Given the input boxes and the bounds that B cases inherited, step by step in topological order:

    bounds  =  interval step, met with what holds on the whole domain, and with what was inherited
    where the step feeds a rectifier, up to the target's:  met with linear bounds, both sides, of the units whose
    interval has 0 inside; with the standard lines (chord, or tangent with the positive slope where upper > -lower)

A case whose bounds contradict each other holds no input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.checker.arithmetic import down, growth, underflow, up
from milpcomp.checker.backward import Frame, substitute, unit_rows
from milpcomp.checker.branch_tree import Tree
from milpcomp.checker.document import INPUT, Rectifier, Step
from milpcomp.checker.intervals import Interval, interval_step
from milpcomp.checker.linear import Lines, Sum, lines
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray


def rebound(
    frame: Frame, base: Mapping[str, Interval], inherited: Mapping[str, Interval], tree: Tree
) -> tuple[dict[str, Interval], BoolArray]:
    """Return new bounds of what `inherited` bounds, for its B cases, and which cases hold no input.

    Parameters
    ----------
    frame : Frame
    base : mapping from node name to Interval
        Bounds on the whole domain, vectors.
    inherited : mapping from node name to Interval
        Of the input and of the sources of rectifiers, shape (B, n) or (1, n).
    tree : Tree
    """
    values = {INPUT: inherited[INPUT]}
    known: dict[str, Lines] = {}
    empty = _contradicted(values[INPUT])
    sources = {step.source for step in frame.model.rectifiers[: 1 + frame.model.rectifiers.index(tree.target)]}
    for step in frame.model.steps:
        here = _interval_step(frame, step, values).meet(base[step.name])
        here = here.meet(inherited[step.name]) if step.name in inherited else here
        if step.name in sources:
            here = here.meet(_linear_bounds(frame, values, known, here, step.name, tree))
        values[step.name] = here
        empty = empty | _contradicted(here)
        if isinstance(step, Rectifier):
            x = values[step.source]
            known[step.name] = lines(step, x, np.where(x.upper > -x.lower, 1.0, 0.0))
        if step.name == tree.target.source:
            break
    return dict(inherited) | {name: values[name] for name in sources}, empty


def _contradicted(box: Interval) -> BoolArray:
    return np.asarray((box.lower > box.upper).any(axis=1))


def _interval_step(frame: Frame, step: Step, values: Mapping[str, Interval]) -> Interval:
    if isinstance(step, Rectifier):
        return interval_step(step, values)
    lower, upper = step.offset, step.offset
    for source, (plus, minus) in frame.signed[step.name].items():
        x = values[source]
        lower = lower + x.lower @ plus + x.upper @ minus
        upper = upper + x.upper @ plus + x.lower @ minus
    if step.copies:
        return Interval(lower, upper)
    error = growth(step.terms + 2) * frame.sizes[step.name] + underflow(step.terms)
    lower = np.where(np.isfinite(lower), down(lower - error), -np.inf)
    return Interval(lower, np.where(np.isfinite(upper), up(upper + error), np.inf))


def _linear_bounds(
    frame: Frame, values: Mapping[str, Interval], known: Mapping[str, Lines], here: Interval, name: str, tree: Tree
) -> Interval:
    """Return linear bounds of the value called `name`, infinite where none were asked for."""
    across = (here.lower < 0) & (here.upper > 0)
    if name == tree.target.source and tree.split <= {INPUT}:  # no other bound of this layer has any use
        across &= np.arange(across.shape[1]) == tree.unit
    case, unit = np.nonzero(across)
    lower, upper = np.full(across.shape, -np.inf), np.full(across.shape, np.inf)
    for start in range(0, len(case), frame.chunk):
        cases, units = case[start : start + frame.chunk], unit[start : start + frame.chunk]
        lower[cases, units] = -_upper_bounds(frame, values[INPUT], known, name, cases, units, -1.0)
        upper[cases, units] = _upper_bounds(frame, values[INPUT], known, name, cases, units, 1.0)
    return Interval(lower, upper)


def _upper_bounds(
    frame: Frame, box: Interval, known: Mapping[str, Lines], name: str, cases: IntArray, units: IntArray, sign: float
) -> FloatArray:
    """Return upper bounds of ``sign * value[units]``, each in its own case."""
    rows, result = unit_rows(frame, name, units, np.full(len(units), sign))
    inputs = Interval(*(end if len(end) == 1 else end[cases] for end in (box.lower, box.upper)))
    return substitute(frame, rows, inputs, _Standard(frame, known, cases).relax, result).upper()


@dataclass(frozen=True, eq=False)
class _Standard:
    """The relaxation by standard lines: row k is about case ``cases[k]``."""

    frame: Frame
    known: Mapping[str, Lines]
    cases: IntArray

    def relax(self, step: Rectifier, here: FloatArray | None, result: Sum) -> FloatArray | None:
        """Return the rows on the source of a rectifier; see `milpcomp.checker.backward.Relax`."""
        if here is None:
            return None
        line, width = self.known[step.name], here.shape[1]
        slopes = here * np.where(here > 0, self._of(line.top), self._of(line.bottom))
        height = np.zeros(len(here))
        if line.top_height.any():
            height += np.einsum("ij,ij->i", np.maximum(here, 0), self._of(np.maximum(line.top_height, 0)))
        if line.bottom_height.any():
            height += np.einsum("ij,ij->i", np.minimum(here, 0), self._of(np.minimum(line.bottom_height, 0)))
        result.total = result.total + height
        result.error += growth(width + 3) * height + growth(1) * np.abs(result.total)
        result.error += growth(1) * (np.abs(slopes) @ self.frame.reach[step.source])
        result.error += underflow(width) * self.frame.spans[step.source]
        return slopes

    def _of(self, numbers: FloatArray) -> FloatArray:
        return numbers if len(numbers) == 1 else numbers[self.cases]
