"""All bounds of a network that the checker can prove: intervals, met with the recorded linear bounds, in their order.

    for round in 0, 1, ...:
        for step in topological order:
            bounds[step] = interval step, met with bounds[step]
            for records of this round about a rectifier that reads the step:
                bounds[step][units] = met with the linear bounds from the bounds before the step

The order is that of the records; it decides how tight the bounds get, not whether they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from milpcomp.checker.document import INPUT, Model
from milpcomp.checker.intervals import Interval, interval_step
from milpcomp.checker.linear import linear_bounds
from milpcomp.checker.matrices import FloatArray
from milpcomp.checker.records import Slopes
from milpcomp.errors import MilpcompError


def prove_bounds(
    model: Model, domain: tuple[FloatArray, FloatArray], records: Sequence[Slopes] = ()
) -> dict[str, Interval]:
    """Return proved bounds of every value of `model` over the box `domain`.

    Notes
    -----
    **Trusts** IEEE float64 arithmetic of numpy and scipy, and Python's integers; nothing of the records.
    """
    return improve_bounds(model, {INPUT: Interval(*domain)}, records)


def improve_bounds(model: Model, known: Mapping[str, Interval], records: Sequence[Slopes] = ()) -> dict[str, Interval]:
    """Return bounds of every value, given proved ones of the input and maybe of others, which get nowhere looser.

    Notes
    -----
    **Trusts** `known`, and what `prove_bounds` trusts.
    """
    bounds = dict(known)
    readers = {step.name: step.source for step in model.rectifiers}
    for sweep in sorted({0, *(record.round for record in records)}):
        for step in model.steps:
            here = interval_step(step, bounds)
            here = here.meet(bounds[step.name]) if step.name in bounds else here
            mine = [r for r in records if r.round == sweep and readers[r.layer] == step.name]
            found = [linear_bounds(model, bounds, record) for record in mine]
            lower, upper = here.lower.copy(), here.upper.copy()
            for record, bound in zip(mine, found, strict=True):
                if record.upper:
                    np.minimum.at(upper, record.units, bound)
                else:
                    np.maximum.at(lower, record.units, bound)
            if not (lower <= upper).all():
                raise MilpcompError(f"the checker's bounds of {step.name!r} contradict each other: report this defect")
            bounds[step.name] = Interval(lower, upper)
    return bounds
