"""Bounds from recorded multipliers, leaf by leaf: the Lagrangian bound, in the checker's own arithmetic.

Over pre-activations g in [l, u], a rectifier r with coefficient c on its output is replaced by a line with *any* slope
nu, and a height that makes the line valid:

    c r(g)  <=  nu g + height,       height = max over g in {l, 0, u} of c r(g) - nu g         (0 only if l < 0 < u)

r is linear on either side of 0, so no other g can do worse. Hence nothing about a multiplier needs to be believed.
Where nobody reads the output (c = 0), 0 is still bounded by nu g + height: that is how an interval narrowed by a split
enters, and how an empty case is refuted, whose bound of the constant 0 is negative.

Where no multiplier is recorded, nu is c times the slope of a standard line: the rectifier's own where l >= 0 or u <= 0,
the chord where that is the valid side, else the tangent (positive slope where u > -l).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.checker.arithmetic import growth, underflow
from milpcomp.checker.backward import Frame
from milpcomp.checker.document import Rectifier
from milpcomp.checker.intervals import Interval
from milpcomp.checker.linear import Sum, chord
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Multipliers:
    """The relaxation that recorded multipliers make, for B rows.

    Parameters
    ----------
    frame : Frame
    boxes : mapping from node name to Interval
        Bounds of the source of every rectifier, of shape (B, n) or (1, n).
    recorded : mapping from rectifier name to (units, values)
        Which units have multipliers, shape (m,), and these, shape (B, m).
    rows : int
        B.
    """

    frame: Frame
    boxes: Mapping[str, Interval]
    recorded: Mapping[str, tuple[IntArray, FloatArray]]
    rows: int

    def relax(self, step: Rectifier, here: FloatArray | None, result: Sum) -> FloatArray | None:
        """Return the rows on the source of a rectifier; see `milpcomp.checker.backward.Relax`."""
        units, values = self.recorded.get(step.name, (None, None))
        if here is None and units is None:
            return None
        x, width = self.boxes[step.source], len(step.positive)
        here = np.zeros((self.rows, width)) if here is None else here
        if units is None or values is None:
            slopes = here * standard_slopes(step, x, here > 0)
        else:
            others = np.setdiff1d(np.arange(width), units)
            slopes = np.empty_like(here)
            slopes[:, units] = values
            if len(others):
                slopes[:, others] = _standard_part(step, x, here, others)
        result.total = result.total + heights(step, x, here, slopes).sum(axis=1)
        size = np.abs(here) @ self.frame.sizes[step.name] + np.abs(slopes) @ self.frame.reach[step.source]
        result.error += growth(width + 8) * size + growth(1) * np.abs(result.total)
        result.error += underflow(width) * self.frame.spans[step.source]
        return slopes


def heights(step: Rectifier, x: Interval, here: FloatArray, slopes: FloatArray) -> FloatArray:
    """Return the heights of lines with these slopes that bound ``here * output`` from above over x."""
    p, n = step.positive, step.negative
    left = (here * np.where(x.lower >= 0, p, n) - slopes) * x.lower
    right = (here * np.where(x.upper > 0, p, n) - slopes) * x.upper
    highest = np.maximum(left, right)
    return np.where((x.lower < 0) & (x.upper > 0), np.maximum(highest, 0), highest)


def standard_slopes(step: Rectifier, x: Interval, rising: BoolArray) -> FloatArray:
    """Return the slopes of standard lines: above the rectifier where `rising`, else below it."""
    p, n = step.positive, step.negative
    middle = chord(x, p, n)[0]
    tangent = np.where(x.upper > -x.lower, p, n)
    across = np.where(rising == (p > n), middle, tangent)
    return np.where((x.lower >= 0) | (p == n), p, np.where(x.upper <= 0, n, across))


def _standard_part(step: Rectifier, x: Interval, here: FloatArray, units: IntArray) -> FloatArray:
    """Return the standard multipliers of some units."""
    part = Rectifier(step.name, (len(units),), step.source, step.positive[units], step.negative[units])
    coefficients = here[:, units]
    return coefficients * standard_slopes(part, Interval(x.lower[:, units], x.upper[:, units]), coefficients > 0)
