r"""The record of a branch-and-bound proof: a tree of cases, and per leaf the numbers that close it.

The tree divides the domain: every node that is no leaf has two children, one where a pre-activation (or an input
coordinate) is at most `point` and one where it is at least `point`. A point may lie on both sides, never on none. In a
node the input box and the intervals of pre-activations are those of its parent, narrowed by its split.

A leaf is closed by *multipliers* nu, one number per pre-activation g_j below the target. Backwards through the network,
coefficients c_j on the outputs r_j(g_j) of a rectifier become coefficients on its pre-activations:

    c_j r_j(g_j)  <=  nu_j g_j + max over g in {l_j, 0, u_j} of (c_j r_j(g) - nu_j g)        (0 only if l_j < 0 < u_j)

since a rectifier is linear on either side of 0. This holds for ANY real nu_j, so nothing here needs to be trusted; good
multipliers are the duals of the linear relaxation, and the best ones reach its optimum. What arrives at the input takes
its maximum over the leaf's box. Where no multiplier is stored, nu_j is c_j times the standard slope:

    the rectifier's own slope           where l_j >= 0 or u_j <= 0, or both slopes agree
    the chord (p u - n l) / (u - l)     where c_j (p - n) > 0, with p, n the slopes for positive and negative values
    the tangent at 0                    elsewhere: p where u_j > -l_j, else n

A leaf with an `objective` bounds s * g_target from above (s = +1 for side "upper", -1 for "lower"); one without starts
from the objective 0, and a bound below 0 shows that no input of the domain is in the leaf (Farkas). Either way it is
closed, too, when an interval of it is empty, or its own bounds of the target, where `rebound` derived them, suffice.

A leaf may be *curved*: where the backward pass reaches one rectifier R, some of its units take a parabola in place of a
line, which the box of the value S that R's pre-activations are linear in makes affine again (the dual of the
semidefinite relaxation of one layer; `milpcomp.checker.parabolas` has the formulas):

    c r(g)  <=  c n g + kappa (g + a / (4 kappa))^2         for kappa > 0 and a = c (p - n) > 0
    0       <=  d (v - lo) (hi - v)                         for d >= 0, over the box [lo, hi] of S

Any kappa, d and point `center` of expansion will do where diag(d) dominates the parabolas' curvature.

`rebound`. In such a node all bounds are derived anew from its narrowed box and intervals, and its descendants inherit
them: (1) the forward interval step, met with what was inherited, and (2) at each node of the network that feeds a
rectifier, in topological order up to the target's, linear bounds with the standard slopes above (nu_j = slope times
c_j), both sides, of all units whose interval contains 0 in its interior; met.

Order. Proofs are used in the order of the report, after all linear proofs (of their section, where several runs found
them: `milpcomp.stability.sections`). Each tightens the bound of its unit, and by the interval step those of later
layers, for the proofs after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

ROOT = -2
"""`BranchProof.layer_of` of the root, which no split made."""

INPUT_SPLIT = -1
"""`BranchProof.layer_of` of a node that an input coordinate was split for."""


def _no_leaves() -> NDArray[np.int32]:
    return np.zeros(0, dtype=np.int32)


def _no_rows() -> NDArray[np.float64]:
    return np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class BranchProof:
    """A proof of one bound of one pre-activation by cases. Nothing is validated here: that is for the checker.

    Parameters
    ----------
    layer : str
        The target's rectifier.
    unit : int
    side : str
        ``"upper"``: proves pre-activation <= bound; ``"lower"``: >= bound.
    bound : float
        0 for the proof of a phase.
    parent : ndarray of int32, shape (K,)
        Node 0 is the root and has parent -1; parents come before children.
    layer_of : ndarray of int32, shape (K,)
        The split that made the node: index of a rectifier among all of the network in topological order, `INPUT_SPLIT`
        for an input coordinate, `ROOT` for the root.
    unit_of : ndarray of int32, shape (K,)
        Flat index of the unit or of the input coordinate.
    point : ndarray of float64, shape (K,)
        Where it is cut.
    above : ndarray of bool, shape (K,)
        Whether the node is the side ``>= point``, else ``<= point``.
    rebound : ndarray of bool, shape (K,)
    leaf : ndarray of int32, shape (L,)
        The nodes that are leaves, in ascending order.
    objective : ndarray of bool, shape (L,)
    columns : ndarray of int32, shape (M, 2)
        (rectifier index, unit) of the stored multipliers.
    multipliers : ndarray of float32 or float64, shape (L, M)
    curved : ndarray of int32, shape (C,)
        Positions in `leaf` of the leaves that are curved, strictly ascending; each has an objective.
    curvature : ndarray of float64, shape (C, M)
        kappa >= 0 by the same `columns` as `multipliers`; 0 for units that are not curved. Whatever is not 0 belongs to
        units of one rectifier R. Where C = 0, the shape may be (0, 0).
    diagonal : ndarray of float64, shape (C, n)
        d >= 0, flat over S: the only source of the linear step that R reads.
    center : ndarray of float64, shape (C, n)
        The point of S around which the parabolas are expanded; any will do.
    """

    layer: str
    unit: int
    side: str
    bound: float
    parent: NDArray[np.int32]
    layer_of: NDArray[np.int32]
    unit_of: NDArray[np.int32]
    point: NDArray[np.float64]
    above: NDArray[np.bool_]
    rebound: NDArray[np.bool_]
    leaf: NDArray[np.int32]
    objective: NDArray[np.bool_]
    columns: NDArray[np.int32]
    multipliers: NDArray[np.floating]
    curved: NDArray[np.int32] = field(default_factory=_no_leaves)
    curvature: NDArray[np.float64] = field(default_factory=_no_rows)
    diagonal: NDArray[np.float64] = field(default_factory=_no_rows)
    center: NDArray[np.float64] = field(default_factory=_no_rows)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the array fields by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())
