"""HiGHS through highspy, with the model passed as arrays.

What HiGHS needs handled with care, each measured:

* `objective_bound` (our cutoff) works for minimisation only and ends in status *Infeasible*; or, where it was given a
  start worse than the cutoff, in *Optimal* with the start as the optimum and a dual bound that is wrong or missing. So
  such a start is not passed on, and no bound beyond the cutoff is.
* Coefficients up to `small_matrix_value` are dropped; the least value allowed is set before the model is passed.
* At the default gaps it ends at 0 as "optimal" where the optimum is 3e-5 better; the gaps are set to 0.
* A stop asked for in the solution callback is seen only where the interrupt callback runs, so both are started.
* The task scheduler is global to the process: after a run with another number of threads, `run` fails with the status
  "Not Set". It is then reset, once.
* An objective is never read without a status that promises one.

HiGHS has neither lazy constraints nor relaxation points in callbacks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.problem import Milp, Observer, Outcome, SolveOptions, Status

LEAST_VERSION = (1, 15, 1)
"""Version 1.14.0 returns wrong optima and wrong dual bounds as optimal."""

PATIENCE_S = 5.0
"""How long an interrupted run may take to stop before it is left behind."""


@dataclass(frozen=True)
class HighsBackend:
    """The default backend."""

    name: str = "highs"

    @cached_property
    def version(self) -> str:
        """Version of the HiGHS library.

        Raises
        ------
        SolverError
            If highspy is missing, cannot be loaded, or is older than the first version known to be right.
        """
        text = str(load_highspy().Highs().version())
        if tuple(int(part) for part in text.split(".")[:3]) < LEAST_VERSION:
            raise SolverError(f"highspy {text} returns wrong bounds; install highspy >= 1.15.1")
        return text

    def solve(self, milp: Milp, options: SolveOptions, on_solution: Observer | None = None) -> Outcome:
        """Solve with HiGHS; see `Backend`."""
        assert self.version
        highspy = load_highspy()
        for _ in range(2):
            run = _Run(highspy, milp, options, on_solution)
            outcome = run.outcome()
            if not run.scheduler_clash:
                break
            highspy.Highs.resetGlobalScheduler(True)
        return outcome


def load_highspy() -> Any:
    """Return the module highspy.

    Raises
    ------
    SolverError
        If it cannot be imported.
    """
    try:
        import highspy
    except ImportError as error:
        raise SolverError(
            f"highspy cannot be loaded ({error}); install highspy >= 1.15.1, and do not import ortools in the same "
            "process: both bring a library called libhighs.so.1"
        ) from error
    return highspy


def pass_model(highspy: Any, solver: Any, milp: Milp) -> bool:
    """Give `milp` to a Highs object; return whether it was accepted."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(milp.cost), len(milp.row_lower)
    lp.offset_ = milp.offset
    lp.col_names_ = list(milp.names)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = milp.cost, milp.lower, milp.upper
    lp.row_lower_, lp.row_upper_ = milp.row_lower, milp.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = milp.matrix.indptr, milp.matrix.indices
    lp.a_matrix_.value_ = milp.matrix.data
    if milp.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in milp.integer]
    return bool(solver.passModel(lp) != highspy.HighsStatus.kError)


class _Run:
    """One run of HiGHS."""

    def __init__(self, highspy: Any, milp: Milp, options: SolveOptions, on_solution: Observer | None) -> None:
        self.highspy, self.milp, self.options, self.on_solution = highspy, milp, options, on_solution
        self.solver = highspy.Highs()
        self.scheduler_clash = False
        self._stop = False
        self._raised: BaseException | None = None
        for option, value in self._settings().items():
            self.solver.setOptionValue(option, value)

    def _settings(self) -> dict[str, Any]:
        options, offset = self.options, self.milp.offset
        settings: dict[str, Any] = {
            "output_flag": False,
            "small_matrix_value": 1e-12,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": 0.0,
            "threads": options.threads,
            "random_seed": options.seed,
        }
        if np.isfinite(options.time_limit_s):
            settings["time_limit"] = float(options.time_limit_s)
        if options.cutoff is not None:
            settings["objective_bound"] = options.cutoff - offset
        if options.stop_at is not None:
            settings["objective_target"] = options.stop_at - offset
        return settings

    def outcome(self) -> Outcome:
        solver, highspy = self.solver, self.highspy
        if not pass_model(highspy, solver, replace(self.milp, offset=0.0)):  # limits would be read without the offset
            return Outcome(Status.ERROR, message="HiGHS rejected the model")
        start, cutoff = self.options.start, self.options.cutoff
        if start is not None and (cutoff is None or self.milp.objective(start) < cutoff):
            solution = highspy.HighsSolution()
            solution.col_value = start.tolist()
            solver.setSolution(solution)
        self._observe()
        failed = self._run() == highspy.HighsStatus.kError
        if self._raised is not None:
            raise self._raised
        status = solver.getModelStatus()
        message = f"HiGHS {solver.version()}: {solver.modelStatusToString(status)}"
        if failed:
            self.scheduler_clash = status == highspy.HighsModelStatus.kNotset
            return Outcome(Status.ERROR, message=message)
        return self._read(status, message)

    def _run(self) -> Any:
        """Run the solver in a thread of its own and return its status; Ctrl-C stops it, or at least the waiting.

        Signals reach the main thread only, and not inside a solver. HiGHS looks for a stop now and then, but not within
        its sub-MIPs; after `PATIENCE_S` it is left to itself.
        """
        status: list[Any] = []
        thread = threading.Thread(target=lambda: status.append(self.solver.run()), daemon=True)
        thread.start()
        try:
            thread.join()
        except KeyboardInterrupt as error:
            self._raised = error  # the next callback sees it and stops the solver
            thread.join(PATIENCE_S)
            raise
        if not status:
            raise SolverError("HiGHS ended without a status")
        return status[0]

    def _read(self, status: Any, message: str) -> Outcome:
        said = self._status(status)
        info = self.solver.getInfo()
        solution = None
        if info.primal_solution_status == self.highspy.SolutionStatus.kSolutionStatusFeasible:
            solution = np.array(self.solver.getSolution().col_value)
        bound = -np.inf
        if self.milp.integer.any():
            bound = info.mip_dual_bound + self.milp.offset
        elif said is Status.OPTIMAL:
            bound = info.objective_function_value + self.milp.offset
        cutoff = self.options.cutoff
        if cutoff is not None and (said is Status.CUTOFF or (said is Status.OPTIMAL and bound >= cutoff)):
            return Outcome(Status.CUTOFF, cutoff, None, message)
        return Outcome(said, bound, solution, message)

    def _status(self, status: Any) -> Status:
        known = self.highspy.HighsModelStatus
        cut = known.kInfeasible if self.milp.integer.any() else known.kObjectiveBound  # MIP and LP end differently
        if status == cut and self.options.cutoff is not None:
            return Status.CUTOFF
        if status == known.kInterrupt:
            return Status.TARGET if self._stop else Status.INTERRUPTED
        names = {
            known.kOptimal: Status.OPTIMAL,
            known.kInfeasible: Status.INFEASIBLE,
            known.kUnbounded: Status.UNBOUNDED,
            known.kObjectiveTarget: Status.TARGET,
            known.kTimeLimit: Status.TIME_LIMIT,
        }
        return names.get(status, Status.UNKNOWN)

    def _observe(self) -> None:
        kinds = self.highspy.cb.HighsCallbackType
        self.solver.setCallback(self._callback, None)
        for kind in (kinds.kCallbackMipSolution, kinds.kCallbackMipInterrupt, kinds.kCallbackSimplexInterrupt):
            self.solver.startCallback(kind)

    def _callback(self, kind: int, message: str, out: Any, control: Any, data: Any) -> None:
        """Pass incumbents on; no exception, Ctrl-C included, may travel through the solver's frames."""
        try:
            if self.highspy.cb.HighsCallbackType(kind) == self.highspy.cb.HighsCallbackType.kCallbackMipSolution:
                if self.on_solution is not None and not self._stop:
                    self._stop = self.on_solution(_columns(out))
            elif self._stop or self._raised is not None:
                control.user_interrupt = True
        except BaseException as error:
            self._raised = error
            control.user_interrupt = True


def _columns(out: Any) -> FloatArray:
    return np.array(out.mip_solution, dtype=np.float64)
