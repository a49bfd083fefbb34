r"""Bounds over many cases at once, from arbitrary multipliers, every step error-bounded.

A *case* is a part of the domain: an input box and an interval [l, u] for every pre-activation, each inside the bounds
of the whole domain. Backwards through the network, as in `milpcomp.bounds.linear`, but a rectifier is passed by

    c r(g)  >=  nu g + min over g in {l, 0, u} of (c r(g) - nu g)          (0 only if l < 0 < u)

which holds for any nu, as r is linear on either side of 0. This is the Lagrangian dual of the case: nu prices the
equation that defines g. With the duals of the triangle relaxation in its place the bound is that relaxation's optimum,
and a split needs no term of its own, because it is in the interval. Where no multiplier is given, nu is c times the
slope of a standard line, and the bound is the usual linear one.

Multipliers are upper-sense, as `milpcomp.bounds.branch_proof` says: they bound ``row @ value`` from above, which is
minus the bound from below of the negated row with negated multipliers.

Rounding. nu is carried on as it is, so a rectifier rounds nothing but its constant, by at most
gamma_3 (|c| |slope| + |nu|) max(|l|, |u|). Everything else is as in `milpcomp.bounds.linear`, with the magnitudes of
the whole domain, which hold in every case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Run, Substitution
from milpcomp.bounds.rounding import SLACK, below
from milpcomp.network import INPUT, Node, Rectifier
from milpcomp.network.layers import FloatArray, IntArray

Multipliers = Mapping[str, NDArray[np.floating]]
"""By rectifier name, (R, neurons), upper-sense; NaN where the standard line is meant. A rectifier may be missing."""


@dataclass(frozen=True, eq=False)
class Cases:
    """Parts of one domain.

    Parameters
    ----------
    values : mapping from node name to Interval
        Of `INPUT` and of every node that feeds a rectifier: flat arrays (B, width), or (1, width) where all cases
        share them. Inside the bounds of the whole domain.
    """

    values: Mapping[str, Interval]

    def take(self, name: str, case: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper of a node in the chosen cases: (len(case), width), or (1, width) where shared."""
        value = self.values[name]
        if len(value.lower) == 1:
            return value.lower, value.upper
        return value.lower[case], value.upper[case]


def upper_bounds(
    substitution: Substitution,
    rows: FloatArray,
    cases: Cases,
    case: IntArray,
    multipliers: Multipliers | None = None,
) -> FloatArray:
    """Return proved upper bounds of ``rows @ value of the source``, each over one case; inf where nothing is proved.

    Parameters
    ----------
    substitution : Substitution
        From the node that is bounded, over the whole domain.
    rows : ndarray, shape (R, width of the source)
        May be zero: then a bound below 0 shows that the case is empty.
    cases : Cases
    case : ndarray of int, shape (R,)
        The case of each row.
    multipliers : mapping, optional

    Notes
    -----
    **Trusts** the given bounds, and what `milpcomp.bounds.rounding` trusts; nothing about the multipliers.
    """
    with np.errstate(all="ignore"):
        run = CaseRun(substitution, cases, case, multipliers or {})
        run.send(substitution.source, -rows)
        for node in reversed(substitution.nodes):
            run.through(node)
        return -run.finish()


class CaseRun(Run):
    """One substitution in which every row has its own case."""

    def __init__(self, substitution: Substitution, cases: Cases, case: IntArray, multipliers: Multipliers) -> None:
        super().__init__(substitution, len(case), {}, None)
        self.cases, self.case, self.multipliers = cases, case, multipliers

    def _rectifier(self, node: Node, row: FloatArray) -> FloatArray:
        assert isinstance(node.layer, Rectifier)
        source = node.inputs[0]
        lower, upper = self.cases.take(source, self.case)
        positive, negative = (
            np.broadcast_to(s, self.shared.network.shape(node.name)).reshape(-1)
            for s in (node.layer.positive_slope, node.layer.negative_slope)
        )
        at_lower, at_upper = np.where(lower < 0, negative, positive), np.where(upper > 0, positive, negative)
        nu = self._multipliers(node.name, row, lower, upper, positive, negative)
        least = np.minimum((row * at_lower - nu) * lower, (row * at_upper - nu) * upper)
        least = np.where((lower < 0) & (upper > 0), np.minimum(least, 0.0), least)
        weight, magnitude = self.shared.relaxations[node.name].weight, self.shared.magnitudes[source]
        self._account(row, weight, row.shape[1] + 3, source)
        self._account(nu, magnitude, row.shape[1] + 3, source)
        self._add(least.sum(axis=1))
        return nu

    def _multipliers(
        self,
        name: str,
        row: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
    ) -> FloatArray:
        chord, tangent = standard_slopes(lower, upper, positive, negative)
        on_tangent = (row >= 0) == (positive >= negative)
        nu = row * np.where(on_tangent, tangent, chord)
        given = self.multipliers.get(name)
        return nu if given is None else np.where(np.isnan(given), nu, -given.astype(np.float64))

    def finish(self) -> FloatArray:
        """Take the least value over the boxes of the cases, and subtract all errors."""
        row = self.waiting.pop(INPUT)
        lower, upper = self.cases.take(INPUT, self.case)
        self._account(row, self.shared.magnitudes[INPUT], 2 * row.shape[1] + 2, INPUT)
        if len(lower) == 1:
            least = np.maximum(row, 0.0) @ lower[0] + np.minimum(row, 0.0) @ upper[0]
        else:
            least = np.where(row > 0, row * lower, row * upper).sum(axis=1)
        self._add(least)
        return below(self.constant, self.error * SLACK)


def standard_slopes(
    lower: FloatArray, upper: FloatArray, positive: FloatArray, negative: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the slopes of chord and tangent; where the interval has one sign, or the slopes agree, its own slope."""
    crossing = (lower < 0) & (upper > 0)
    share = np.where(crossing, upper / (upper - lower), lower >= 0)
    chord = negative + share * (positive - negative)
    tangent = np.where(np.where(crossing, upper > -lower, lower >= 0), positive, negative)
    return chord, tangent
