"""Reading the record of curved leaves: which they are, and the numbers of their parabolas.

    curved      positions of the leaves
    curvature   kappa, by the columns of the multipliers; what is not 0 belongs to the units of one rectifier
    diagonal    d, by the elements of the source S: the only one of the linear step that the rectifier reads
    center      a point of S

A record without any of these has no curved leaves. What the numbers prove is for `milpcomp.checker.parabolas`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from milpcomp.checker.claims import Unreadable, array_of, attribute
from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray

FIELDS = ("curved", "curvature", "diagonal", "center")


@dataclass(frozen=True, eq=False)
class Curvature:
    """C curved leaves, read.

    Parameters
    ----------
    rectifier : Rectifier
        With w units.
    step : Linear
        What it reads, with one source of n elements.
    source : str
    leaves : ndarray, shape (C,)
        Positions among the leaves, in ascending order.
    curvature : ndarray, shape (C, w)
    diagonal, center : ndarray, shape (C, n)
    """

    rectifier: Rectifier
    step: Linear
    source: str
    leaves: IntArray
    curvature: FloatArray
    diagonal: FloatArray
    center: FloatArray


def read_curvature(
    record: Any, model: Model, objective: BoolArray, columns: Mapping[str, tuple[IntArray, IntArray]]
) -> Curvature | None:
    """Read what a proof by cases says of curved leaves, or return None where it has none.

    Parameters
    ----------
    record : object
    model : Model
    objective : ndarray of bool, shape (L,)
        Of all leaves.
    columns : mapping from rectifier name to (units, columns)
        Where the multipliers of a rectifier's units are.

    Raises
    ------
    Unreadable
        If a piece is missing or of another kind, out of range, or does not fit the network.
    """
    if all(attribute(record, name) is None for name in FIELDS):
        return None
    leaves = array_of(record, "curved", "i")
    curvature, diagonal, center = (array_of(record, name, "f", 2).astype(np.float64) for name in FIELDS[1:])
    if any(len(array) != len(leaves) for array in (curvature, diagonal, center)):
        raise Unreadable(f"its numbers of curved leaves are not those of {len(leaves)} leaves")
    if not len(leaves):
        return None
    if leaves[0] < 0 or leaves[-1] >= len(objective) or (np.diff(leaves) <= 0).any() or not objective[leaves].all():
        raise Unreadable("its curved leaves are no ascending positions of leaves with an objective")
    width = sum(len(units) for units, _ in columns.values())
    if curvature.shape[1] != width or (curvature < 0).any() or (diagonal < 0).any():
        raise Unreadable(f"its curvature is not that of {width} columns, or it or the diagonal has negative numbers")
    rectifier, step, source = _place(model, np.flatnonzero(curvature.any(axis=0)), columns)
    if diagonal.shape[1] != model.size(source) or center.shape != diagonal.shape:
        raise Unreadable(f"its diagonal and center are not those of the {model.size(source)} elements of {source!r}")
    units, own = columns[rectifier.name]
    by_unit = np.zeros((len(leaves), len(rectifier.positive)))
    by_unit[:, units] = curvature[:, own]
    return Curvature(rectifier, step, source, leaves, by_unit, diagonal, center)


def _place(
    model: Model, used: IntArray, columns: Mapping[str, tuple[IntArray, IntArray]]
) -> tuple[Rectifier, Linear, str]:
    """Return the rectifier that these columns belong to, the linear step that it reads, and the source of that."""
    names = [name for name, (_, own) in columns.items() if np.isin(own, used).any()]
    if len(names) != 1:
        raise Unreadable(f"its curvature belongs to {len(names)} rectifiers, not to one")
    rectifier = next(step for step in model.rectifiers if step.name == names[0])
    step = None if rectifier.source == INPUT else model.step(rectifier.source)
    if not isinstance(step, Linear) or len(step.matrices) != 1:
        raise Unreadable(f"{rectifier.name!r} has curvature but reads no linear step of a single source")
    return rectifier, step, next(iter(step.matrices))
