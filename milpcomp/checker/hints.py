"""What a compression says of itself, as the walk of `milpcomp.checker.relation` uses it: to know what to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import scipy.sparse as sp

from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Carrier:
    """Step `name` of the final network claims to carry, in order, the elements `elements` of an original value."""

    name: str
    elements: IntArray


@dataclass(frozen=True, eq=False)
class Combination:
    """Units said to be ``matrix @ bases + shift``; with `rectified`, of pre-activations, else of linear outputs."""

    units: IntArray
    bases: IntArray
    matrix: sp.csr_array
    shift: FloatArray
    rectified: bool


@dataclass(frozen=True, eq=False)
class Facts:
    """What may be used about the units of one original rectifier.

    Parameters
    ----------
    slopes : ndarray, shape (n,)
        The slope with which a unit is linear on the domain, as an accepted verdict says; NaN where none does.
    fixed : ndarray of bool, shape (n,)
        Units said to be constant: their outputs may be replaced by what the checker's own bounds leave.
    combinations : sequence of Combination
    """

    slopes: FloatArray
    fixed: BoolArray
    combinations: Sequence[Combination] = ()
