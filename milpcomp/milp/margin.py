"""How far a solver's word may be off: the one rule that stands between a dual bound and a ``solver`` verdict.

A solver works with tolerances. It may fix a column whose range is below its feasibility tolerance, drop a coefficient,
accept a binary at 1e-6, and its LP bound is as good as its dual feasibility. A neuron with a true maximum of 1e-6 is
then "stably inactive", or a leak of 1e-6 is multiplied by a weight of 1e6 further down. So a neuron counts as stable
only if the solver proves its (scaled) pre-activation to stay away from zero by a margin that covers all of this:

    proved:   sign * g <= -margin   for every input            (sign +1: stably inactive, -1: stably active)

    error(g)  =  TOLERANCE * max(1, |b|)                       the neuron's own row
               + sum over columns v of |coefficient(v)| * error(v)
               + sum of |coefficient(v)| * |v|                 over coefficients <= DROPPED
               + rounding of the canonical form                gamma * (sum of |coefficient| |v| + |b|)
    error(x)  =  TOLERANCE                                     inputs
    error(h)  =  error(hbar)  =  error(g) + TOLERANCE * (1 + H + Hbar)
    error     =  0                                             of columns that bounds fix to one value
    margin    =  SAFETY * error(g) + DUAL_TOLERANCE * sum of the ranges of all columns

layer by layer in scaled units, in which |v| is O(1). It is a worst case over all paths, so it grows with depth and with
large weights; where it exceeds the neuron's range, nothing can be proved, and the neuron stays undecided. It does not
make a solver's word a certificate; it makes the known ways of being wrong end in ``undecided``.

In the P/Q model the margin is a relaxation: an active z allows ``hbar <= margin``, so p may be 1 wherever g >= -margin.
"""

from __future__ import annotations

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.milp.encoding import Encoding
from milpcomp.network.canonical import UNIT_ROUNDOFF, Canonical, canonical, rounding

TOLERANCE = 1e-6
"""Feasibility and integrality tolerance of HiGHS, SCIP and most other MIP solvers at their defaults."""

DUAL_TOLERANCE = 1e-7
"""Dual feasibility tolerance of their LP solvers."""

DROPPED = 1e-9
"""Coefficients up to here may be dropped."""

SAFETY = 2.0


def margins(encoding: Encoding) -> dict[str, FloatArray]:
    """Return by layer the margin of every unit, scaled as the rows of the encoding are.

    Layers are those in the encoding and the one that it leads up to.
    """
    milp, network = encoding.milp, encoding.network
    absolute, gamma = canonical(network, encoding.upto, absolute=True), rounding(network)
    reach = np.maximum(np.abs(milp.lower), np.abs(milp.upper))
    free = milp.lower < milp.upper
    errors = np.where(free, TOLERANCE, 0.0)
    found = {}
    for layer in encoding.forms.forms:
        own = _row_errors(encoding, absolute, gamma, layer, reach, errors)
        block = encoding.blocks.get(layer)
        if block is not None:
            leak = TOLERANCE * (1 + reach[block.h] + reach[block.hbar])
            for columns in (block.h, block.hbar):
                errors[columns] = np.where(free[columns], own[block.units] + leak, 0.0)
        found[layer] = SAFETY * own + DUAL_TOLERANCE * float((milp.upper - milp.lower).sum())
    return found


def _row_errors(
    encoding: Encoding, absolute: Canonical, gamma: float, layer: str, reach: FloatArray, errors: FloatArray
) -> FloatArray:
    """Return error(g) of every unit of a layer, from the reach and the errors of the columns below."""
    units = np.arange(encoding.network.width(layer))
    rows = encoding.pre_activation_rows(layer, units)
    size = abs(rows.matrix)
    dropped = size.copy()
    dropped.data = np.where(dropped.data <= DROPPED, dropped.data, 0.0)
    products = encoding.rows(absolute.forms[layer], absolute=True)
    operations = int(np.diff(rows.matrix.indptr).max(initial=0)) + 8
    rounded = (gamma + operations * UNIT_ROUNDOFF) * (products.matrix @ reach + products.constant)
    own = TOLERANCE * np.maximum(1.0, np.abs(rows.constant))
    return own + size @ errors + dropped @ reach + rounded / rows.scale
