"""A mixed-integer linear problem as plain sparse arrays, and what a solver may say about it. No solver in here.

    minimise  cost @ v + offset   subject to   row_lower <= matrix @ v <= row_upper,   lower <= v <= upper,
                                               v[i] integer where integer[i]

Always minimisation: HiGHS reads a cutoff of a maximisation wrongly, and one direction is enough.

An incumbent is a feasible value; only the *dual bound* can prove anything, and only when the solver ended by itself
(`Outcome.proves`). Every answer of a backend, whoever wrote it, goes through `milpcomp.milp.guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Milp:
    """A minimisation problem over `n` columns and `m` rows.

    Parameters
    ----------
    cost : ndarray, shape (n,)
    offset : float
        Added to the objective.
    matrix : csr_array, shape (m, n)
    row_lower, row_upper : ndarray, shape (m,)
        May be infinite; equal for an equation.
    lower, upper : ndarray, shape (n,)
        Of the columns.
    integer : ndarray of bool, shape (n,)
    names : tuple of str
        Of the columns; empty, or one each.
    """

    cost: FloatArray
    offset: float
    matrix: sp.csr_array
    row_lower: FloatArray
    row_upper: FloatArray
    lower: FloatArray
    upper: FloatArray
    integer: BoolArray
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows, columns = self.matrix.shape
        vectors = (self.cost, self.lower, self.upper, self.integer)
        if any(v.shape != (columns,) for v in vectors) or any(
            v.shape != (rows,) for v in (self.row_lower, self.row_upper)
        ):
            raise SolverError(f"the vectors of a problem do not fit its matrix of shape {self.matrix.shape}")
        if self.names and len(self.names) != columns:
            raise SolverError(f"{len(self.names)} names cannot be given to {columns} columns")
        if not (np.isfinite(self.matrix.data).all() and np.isfinite(self.cost).all() and np.isfinite(self.offset)):
            raise SolverError("a problem holds NaN or infinite coefficients")

    def relaxed(self) -> Milp:
        """Return the linear relaxation: the same problem without integrality."""
        return replace(self, integer=np.zeros_like(self.integer))

    def below(self, cutoff: float) -> Milp:
        """Return the problem with one more row, ``cost @ v + offset <= cutoff``: a cutoff for solvers without one."""
        return replace(
            self,
            matrix=sp.vstack([self.matrix, sp.csr_array(self.cost[None])], format="csr"),
            row_lower=np.append(self.row_lower, -np.inf),
            row_upper=np.append(self.row_upper, cutoff - self.offset),
        )

    def objective(self, columns: FloatArray) -> float:
        """Return the objective value of a column vector."""
        return float(self.cost @ columns) + self.offset

    def violation(self, columns: FloatArray) -> float:
        """Return the largest violation of a bound, row or integrality by a column vector."""
        activity = self.matrix @ columns
        gaps = [self.lower - columns, columns - self.upper, self.row_lower - activity, activity - self.row_upper]
        gaps.append(np.abs(columns - np.round(columns))[self.integer])
        return max((float(gap.max()) for gap in gaps if gap.size), default=0.0)


class Status(str, Enum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    CUTOFF = "cutoff"  # no solution is below the cutoff
    TARGET = "target"  # stopped at an incumbent below `stop_at`, or because the observer asked for it
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    TIME_LIMIT = "time limit"
    INTERRUPTED = "interrupted"
    ERROR = "error"
    UNKNOWN = "unknown"


PROVING = (Status.OPTIMAL, Status.CUTOFF)
"""The statuses whose dual bound counts as proved: the solver ended by itself."""


@dataclass(frozen=True, eq=False)
class SolveOptions:
    """Options of one solve.

    Parameters
    ----------
    time_limit_s : float
        Wall-clock limit; ``inf`` for none.
    cutoff : float or None
        Only solutions with an objective below it are wanted; a solver may stop once there are none.
    stop_at : float or None
        Stop at the first incumbent with an objective below it.
    start : ndarray, shape (n,), or None
        A full column vector to start from. A hint: it is ignored where it is infeasible or not below the cutoff.
    threads, seed : int
    """

    time_limit_s: float = float("inf")
    cutoff: float | None = None
    stop_at: float | None = None
    start: FloatArray | None = None
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a solver says at the end.

    Parameters
    ----------
    status : Status
    dual_bound : float
        Lower bound of the objective that the solver claims; ``-inf`` for none. At status ``CUTOFF`` it is the cutoff:
        every solution has at least that objective.
    solution : ndarray, shape (n,), or None
        The best incumbent.
    message : str
        The solver's own words.
    seconds : float
        Wall-clock time.
    """

    status: Status
    dual_bound: float = -float("inf")
    solution: FloatArray | None = None
    message: str = ""
    seconds: float = 0.0

    def proves(self, bound: float) -> bool:
        """Tell whether the solver claims, having ended by itself, that every solution has an objective >= `bound`."""
        return self.status in PROVING and self.dual_bound >= bound


Observer = Callable[[FloatArray], bool]
"""Called with the columns of every incumbent (and of relaxation points, where the solver shows them); True stops."""


class Backend(Protocol):
    """A solver of `Milp` problems."""

    @property
    def name(self) -> str:
        """What the solver is called in options and results."""

    @property
    def version(self) -> str:
        """Version of the solver, written into every result."""

    def solve(self, milp: Milp, options: SolveOptions, on_solution: Observer | None = None) -> Outcome:
        """Solve the problem.

        Parameters
        ----------
        milp : Milp
        options : SolveOptions
        on_solution : callable, optional
            See `Observer`. A backend that cannot call it during the solve need not call it at all.
        """
