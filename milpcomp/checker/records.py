"""Reading the records of proofs: of linear bounds (which slopes, for what, in which sweep), and of cases.

Any slopes that the relaxation allows give a sound bound, so the numbers need no trust; a record must merely be readable
as what it is said to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.checker.branch_tree import Tree, is_tree, read_tree
from milpcomp.checker.claims import Unreadable, attribute, is_integer, shown
from milpcomp.checker.document import Model, Rectifier
from milpcomp.checker.matrices import IntArray

ALPHA_STEPS = 255
"""Alphas are stored as whole multiples of 1 / ALPHA_STEPS."""


@dataclass(frozen=True, eq=False)
class Slopes:
    """The record of linear bounds, read: `alphas` by rectifier, uint8 of shape (T, neurons) or (1, neurons)."""

    layer: str
    upper: bool
    units: IntArray
    alphas: Mapping[str, NDArray[np.uint8]]
    round: int


def read_proof(record: Any, model: Model) -> Slopes | Tree:
    """Read the record of linear bounds, or of a proof by cases.

    Raises
    ------
    Unreadable
        If it is neither.
    """
    return read_tree(record, model) if is_tree(record) else _slopes(record, model)


def _slopes(record: Any, model: Model) -> Slopes:
    layer, side, sweep = (attribute(record, name) for name in ("layer", "side", "round"))
    target = next((step for step in model.rectifiers if type(layer) is str and step.name == layer), None)
    if target is None:
        raise Unreadable(f"the network has no rectifier called {shown(layer)}")
    if type(side) is not str or side not in ("lower", "upper"):
        raise Unreadable(f"a side is 'lower' or 'upper', not {shown(side)}")
    if not is_integer(sweep) or not 0 <= sweep < 2**31:
        raise Unreadable(f"a round is a count, not {shown(sweep)}")
    width, units = model.size(target.name), attribute(record, "units")
    if not isinstance(units, np.ndarray) or units.ndim != 1 or units.dtype.kind not in "iu":
        raise Unreadable("its units are no vector of integers")
    if ((units < 0) | (units >= width)).any():
        raise Unreadable(f"its units are not all neurons of {layer!r}")
    alphas = attribute(record, "alphas")
    if not isinstance(alphas, Mapping):
        raise Unreadable("its alphas are no mapping from rectifiers to arrays")
    named = {name: array for name, array in list(alphas.items()) if type(name) is str}
    needed, known = earlier_rectifiers(model, target), {step.name for step in model.rectifiers}
    if len(named) != len(alphas) or not set(needed) <= set(named) <= known:
        raise Unreadable(f"its alphas are not those of the rectifiers before {layer!r}")
    shared = {name: _alphas(named[name], len(units), model.size(name)) for name in needed}
    return Slopes(target.name, side == "upper", units.astype(np.int64), shared, int(sweep))


def earlier_rectifiers(model: Model, step: Rectifier) -> list[str]:
    """Return the names of the rectifiers that the source of `step` depends on."""
    reached, found = {step.source}, []
    for other in reversed(model.steps):
        if other.name in reached:
            reached |= {other.source} if isinstance(other, Rectifier) else set(other.matrices)
            found += [other.name] if isinstance(other, Rectifier) else []
    return found


def _alphas(array: Any, units: int, neurons: int) -> NDArray[np.uint8]:
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise Unreadable("its alphas are no arrays of uint8")
    if array.shape not in ((units, neurons), (1, neurons)):
        raise Unreadable(f"its alphas have shape {array.shape} where {(units, neurons)} is needed")
    return array
