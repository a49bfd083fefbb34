"""The dual simplex of HiGHS on one relaxation: node after node, from the last basis.

    minimise  -sign * g_target / scale       stopped as soon as the dual objective passes `CUTOFF`

Options, each measured: Devex prices (1.5 times faster than the default on short re-solves), no presolve (it would throw
the basis away), one thread (`run` lets go of the interpreter lock, so searches run side by side), and a cutoff a little
above 0, which costs next to no nodes and leaves room for the rounding of the proof.

Nothing that the solver says is believed: duals go to `milpcomp.bounds.multipliers`, points to a forward pass.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from milpcomp.branch.relaxation import Relaxation
from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.highs_backend import load_highspy, pass_model

CUTOFF = 1e-3
"""In units of the bound at the root; what is between 0 and the cutoff leaves room for rounding."""

OPTIONS = {
    "output_flag": False,
    "threads": 1,
    "presolve": "off",
    "solver": "simplex",
    "simplex_dual_edge_weight_strategy": 1,
    "small_matrix_value": 1e-12,
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What the simplex says about one node.

    Parameters
    ----------
    closed : bool
        No point of the node has an objective below 0 (or the cutoff), or there is no point at all.
    infeasible : bool
    duals : ndarray, shape (rows,)
        Of all rows; the Farkas ray where infeasible.
    columns : ndarray or None
        The minimising point, where there is one.
    """

    closed: bool
    infeasible: bool
    duals: FloatArray
    columns: FloatArray | None


class Simplex:
    """One program with one objective, and the splits that it currently holds."""

    def __init__(self, relaxation: Relaxation, cost: FloatArray, offset: float) -> None:
        self.relaxation, self.offset = relaxation, offset
        self._highspy = load_highspy()
        self._solver: Any = self._highspy.Highs()
        for option, value in OPTIONS.items():
            self._solver.setOptionValue(option, value)
        if not pass_model(self._highspy, self._solver, replace(relaxation.milp, cost=cost)):
            raise SolverError("HiGHS rejected the relaxation")
        self._held: dict[int, bool] = {}
        self.iterations = 0

    def basis(self) -> Any:
        """Return the basis that the last solve ended with."""
        return self._solver.getBasis()

    def solve(
        self, splits: Mapping[int, bool], deadline: float, to_optimality: bool = False, basis: Any = None
    ) -> Answer | None:
        """Solve the node with these splits (index into `Relaxation.open`, whether active), from a basis or the last.

        Returns None where the solver gives no usable answer by the deadline.
        """
        self._hold(splits)
        if basis is not None:
            self._solver.setBasis(basis)
        limit = self._solver.getRunTime() + max(0.0, deadline - time.monotonic())
        self._solver.setOptionValue("time_limit", float(min(limit, 1e9)))
        bound = np.inf if to_optimality else CUTOFF - self.offset
        self._solver.setOptionValue("objective_bound", float(bound))
        status = self._solver.run()
        if status == self._highspy.HighsStatus.kError:
            return None
        return self._read()

    def _read(self) -> Answer | None:
        known, status, info = self._highspy.HighsModelStatus, self._solver.getModelStatus(), self._solver.getInfo()
        self.iterations += max(0, info.simplex_iteration_count)
        if status == known.kInfeasible:
            exists, ray = self._solver.getDualRay()[1:]
            duals = np.asarray(ray) if exists else np.zeros(len(self.relaxation.milp.row_lower))
            return Answer(True, True, duals, None)
        if status not in (known.kOptimal, known.kObjectiveBound):
            return None
        solution = self._solver.getSolution()
        duals = np.asarray(solution.row_dual, dtype=np.float64)
        if status == known.kObjectiveBound:
            return Answer(True, False, duals, None)
        value = info.objective_function_value + self.offset
        return Answer(value >= 0, False, duals, np.asarray(solution.col_value, dtype=np.float64))

    def _hold(self, splits: Mapping[int, bool]) -> None:
        """Make the bounds of the program those of a node."""
        for index in [i for i, active in self._held.items() if splits.get(i) != active]:
            self._set(index, None)
            del self._held[index]
        for index, active in splits.items():
            if index not in self._held:
                self._set(index, active)
                self._held[index] = active

    def _set(self, index: int, active: bool | None) -> None:
        r = self.relaxation
        g, h, floor = int(r.live.column[r.open[index]]), int(r.relu[index]), int(r.floor[index])
        low, high, relu_high = float(r.milp.lower[g]), float(r.milp.upper[g]), float(r.milp.upper[h])
        room = self._highspy.kHighsInf
        if active is not None:
            low, high = (0.0, high) if active else (low, 0.0)
            relu_high, room = (relu_high, 0.0) if active else (0.0, room)
        self._solver.changeColBounds(g, low, high)
        self._solver.changeColBounds(h, 0.0, relu_high)
        self._solver.changeRowBounds(floor, 0.0, room)
