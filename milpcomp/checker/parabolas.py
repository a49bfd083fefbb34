"""Curved leaves: some units of one rectifier take a parabola in place of a line, and a box makes it affine again.

The rectifier with slopes p, n reads ``g = A v + b``; v, the value of `source`, is in [low, high] on the whole domain.
Unit k with coefficient c on its output, curvature kappa > 0 and a = c (p - n) > 0 is *curved*:

    c r(g) = c n g + a max(0, g)  <=  c n g + kappa (g + tau)^2        for any tau >= a / (4 kappa)
    0  <=  sum over i of d_i (v_i - low_i) (high_i - v_i)              for any d >= 0

Around any point `center`, with `value` any float near A center + b, and `miss` a bound of the distance:

    kappa (g + tau)^2      =  kappa (tau^2 - value^2) + 2 kappa (value + tau) g  +  kappa (g - value)^2
    d (v - low)(high - v)  =  d (center^2 - low high) + d (low + high - 2 center) v  -  d (v - center)^2
    sum kappa (g - value)^2  <=  (1 + DELTA) sum kappa (A (v - center))^2 + (1 + 1 / DELTA) sum kappa miss^2

The squares of v cancel where diag(d) >= (1 + DELTA) A' diag(kappa) A over the curved units, which
`milpcomp.checker.semidefinite` has to prove. What remains is affine: coefficients on g go to the rectifier's source,
those on v are added to what arrives at `source`, and constants to the total.

Nothing of kappa, d and center is believed: any of them are sound. So numbers below 2^-300 count as 0, and those above
2^300 prove nothing: what underflows stays below 2^-700 whatever it is multiplied by. tau is rounded up. Coefficients
and constants are sums of a few products, charged as such by their absolute values; an error of a coefficient costs at
most that error times the reach of the value.

The bound is the dual of the semidefinite relaxation of A. Raghunathan, J. Steinhardt, P. Liang, arXiv 1811.01057, for
one layer; the form and the error analysis are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from milpcomp.checker.arithmetic import Ball, growth, linear_ball, up
from milpcomp.checker.backward import Frame
from milpcomp.checker.curvature import Curvature
from milpcomp.checker.document import Rectifier
from milpcomp.checker.intervals import Interval
from milpcomp.checker.linear import Sum
from milpcomp.checker.matrices import FloatArray, IntArray
from milpcomp.checker.multipliers import Multipliers
from milpcomp.checker.semidefinite import dominates

DELTA = 2.0**-20
SMALLEST, GREATEST = 2.0**-300, 2.0**300
UNDERFLOW = 2.0**-700


class Unproved(ValueError):
    """The numbers of a curved leaf prove nothing; the message says why."""


@dataclass(frozen=True, eq=False)
class Parabolas:
    """The relaxation of one curved leaf, for one row.

    Parameters
    ----------
    frame : Frame
    curvature : Curvature
    position : int
        Of the leaf, among the curved ones.
    box : Interval
        Bounds of the value of the curvature's source on the whole domain, vectors.
    lines : Multipliers
        The relaxation of all units that are not curved.
    """

    frame: Frame
    curvature: Curvature
    position: int
    box: Interval
    lines: Multipliers

    def begin(self, rows: dict[str, FloatArray], result: Sum) -> None:
        """Add ``sum of d (v - low)(high - v)`` without its squares to the rows and to the sum.

        Raises
        ------
        Unproved
            If a number is too large.
        """
        source, center, low, high = self.curvature.source, self._center, self.box.lower, self.box.upper
        d = self._diagonal
        own = np.where(d > 0, d * (low + high - 2.0 * center), 0.0)[None]
        constants = np.where(d > 0, d * (center * center - low * high), 0.0)
        sizes = np.where(d > 0, d * (center * center + np.abs(low * high)), 0.0)
        size = np.where(d > 0, d * (np.abs(low) + np.abs(high) + 2.0 * np.abs(center)), 0.0)
        _require_finite(own, sizes)
        self._add(result, constants, sizes, source, size)
        if source in rows:
            own = own + rows[source]
            result.error += growth(1) * (np.abs(own) @ self.frame.reach[source])
        rows[source] = own

    def relax(self, step: Rectifier, here: FloatArray | None, result: Sum) -> FloatArray | None:
        """Return the row on the source of a rectifier; see `milpcomp.checker.backward.Relax`.

        Raises
        ------
        Unproved
            If a number is too large, or the diagonal is not proved to dominate the curvature.
        """
        if here is None or step.name != self.curvature.rectifier.name:
            return self.lines.relax(step, here, result)
        kappa, steeper = self._kappa, here[0] * np.sign(step.positive - step.negative)
        units = np.flatnonzero((kappa > 0) & (steeper > 0))
        self._require_dominance(units)
        flat = here.copy()
        flat[:, units] = 0.0
        slopes = self._without(units).relax(step, flat, result)
        assert slopes is not None
        slopes[:, units] = self._through(units, here[0, units], result)
        return slopes

    def _through(self, units: IntArray, c: FloatArray, result: Sum) -> FloatArray:
        """Return the coefficients on the pre-activations of curved units; constants and errors go to the sum."""
        step, kappa = self.curvature.rectifier, self._kappa[units]
        bend = up(np.abs(c) * up(np.abs(step.positive[units] - step.negative[units])))
        tau = up(0.25 * up(bend / kappa))
        center = Ball(self._center[:, None], np.zeros((len(self._center), 1)))
        ball = linear_ball(self.curvature.step, {self.curvature.source: center})
        value, miss = ball.centre[units, 0], ball.radius[units, 0]
        level = c * step.negative[units]
        slopes = level + 2.0 * (kappa * (value + tau))
        spare = kappa * ((1.0 + 1.0 / DELTA) * (miss * miss))
        constants = kappa * ((tau - value) * (tau + value)) + spare
        sizes = kappa * (tau * tau + value * value) + spare
        _require_finite(slopes, sizes)
        size = np.zeros(len(self._kappa))
        size[units] = np.abs(level) + 2.0 * (kappa * (np.abs(value) + tau))
        self._add(result, constants, sizes, step.source, size)
        return slopes

    def _add(self, result: Sum, constants: FloatArray, sizes: FloatArray, name: str, size: FloatArray) -> None:
        """Add the constants, of few products of these sizes each, and the errors of coefficients on a value.

        The coefficients are sums of few products; `size` has the sums of the absolute values.
        """
        result.total = result.total + constants.sum()
        result.error += growth(len(constants) + 8) * sizes.sum() + growth(1) * np.abs(result.total)
        result.error += growth(8) * (size @ self.frame.reach[name])
        result.error += UNDERFLOW * (len(constants) + self.frame.spans[name])

    def _require_dominance(self, units: IntArray) -> None:
        matrix = self.curvature.step.matrices[self.curvature.source][units].toarray()
        if not dominates(self._diagonal, up(self._kappa[units] * (1.0 + DELTA)), matrix):
            raise Unproved("its diagonal is not proved to dominate its curvature")

    def _without(self, units: IntArray) -> Multipliers:
        """Return the relaxation by lines with multipliers of 0 where units are curved."""
        name = self.curvature.rectifier.name
        recorded, values = self.lines.recorded[name]
        values = np.where(np.isin(recorded, units), 0.0, values)
        return replace(self.lines, recorded={**self.lines.recorded, name: (recorded, values)})

    @property
    def _kappa(self) -> FloatArray:
        return _usable(self.curvature.curvature[self.position])

    @property
    def _diagonal(self) -> FloatArray:
        return _usable(self.curvature.diagonal[self.position])

    @property
    def _center(self) -> FloatArray:
        return self.curvature.center[self.position]


def _usable(numbers: FloatArray) -> FloatArray:
    """Return numbers with those that count as 0 replaced, or raise `Unproved` where one is too large."""
    if not (numbers <= GREATEST).all():
        raise Unproved("its curvature or its diagonal is too large")
    return np.where(numbers < SMALLEST, 0.0, numbers)


def _require_finite(*arrays: FloatArray) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise Unproved("its numbers are too large to calculate with")
