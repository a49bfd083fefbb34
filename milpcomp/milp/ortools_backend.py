"""SCIP through OR-Tools' MathOpt, in a process of its own.

The process (`milpcomp.milp.ortools_worker`) is started at the first solve and answers one problem after the other; it
is stopped on Ctrl-C, when it does not end in time, or with this one. It must be apart from highspy, which brings
another library of the same name; it also means that a crash of the solver is an error of one solve.

The engine is SCIP ("gscip"). **CP-SAT is refused**: it rounds continuous variables, and so finds a maximum of 0 where
it is 0.5, a wrong "stably inactive". MathOpt's HiGHS accepts callbacks and never calls them; the backend ``"highs"`` is
the better way to HiGHS.

SCIP shows incumbents and the relaxation point of every node, and takes starting points as hints. MathOpt cannot pass
`objective_limit` on to SCIP and fails to read the status of its cutoff, so the cutoff is a row of the problem here, and
`stop_at` is left to the observer.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
import subprocess
import sys
import threading
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from milpcomp.errors import SettingsError, SolverError
from milpcomp.milp.problem import Milp, Observer, Outcome, SolveOptions, Status

WORKER = Path(__file__).with_name("ortools_worker.py")

GRACE_S = 30.0
"""How long after its time limit the process may still answer before it is stopped."""

REFUSED = {
    "cp-sat": "CP-SAT rounds continuous variables and would call unstable neurons stable",
    "highs": "MathOpt's HiGHS ignores callbacks; use the backend 'highs'",
}

STATUSES = {
    "optimal": Status.OPTIMAL,
    "infeasible": Status.INFEASIBLE,
    "unbounded": Status.UNBOUNDED,
    "time": Status.TIME_LIMIT,
    "stopped": Status.TARGET,
    "interrupted": Status.INTERRUPTED,
    "error": Status.ERROR,
}


class OrtoolsBackend:
    """SCIP through MathOpt.

    Parameters
    ----------
    engine : str
        ``"gscip"``.

    Raises
    ------
    SettingsError
        For any other engine.
    """

    name = "ortools"
    process: subprocess.Popen[bytes] | None = None

    def __init__(self, engine: str = "gscip") -> None:
        choice = engine.lower().replace("_", "-")
        if choice != "gscip":
            raise SettingsError(f"the engine {engine!r} cannot be used: {REFUSED.get(choice, 'choose gscip')}")

    @property
    def version(self) -> str:
        """Version of OR-Tools.

        Raises
        ------
        SolverError
            If it is not installed.
        """
        if importlib.util.find_spec("ortools") is None:
            raise SolverError("ortools is not installed; install ortools >= 9.12, or use the backend 'highs'")
        return f"{package_version('ortools')} with gscip"

    def solve(self, milp: Milp, options: SolveOptions, on_solution: Observer | None = None) -> Outcome:
        """Solve with SCIP; see `Backend`."""
        limited = milp if options.cutoff is None else milp.below(options.cutoff)
        worker = self._worker()
        overdue = threading.Timer(min(options.time_limit_s + GRACE_S, threading.TIMEOUT_MAX), worker.kill)
        overdue.daemon = True
        overdue.start()
        try:
            _send(worker, (_problem(limited), _options(options, observed=on_solution is not None)))
            while True:
                kind, *content = _receive(worker)
                if kind == "end":
                    return _outcome(content, options)
                _send(worker, on_solution is not None and on_solution(content[0]))
        except BaseException:
            self.close()  # Ctrl-C or a broken pipe: the conversation is out of step
            raise
        finally:
            overdue.cancel()

    def close(self) -> None:
        """Stop the process; the next solve starts another one."""
        worker, self.process = self.process, None
        if worker is not None:
            worker.kill()
            worker.communicate()

    def _worker(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is not None:
            self.close()
        if self.process is None:
            assert self.version
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self.process

    def __del__(self) -> None:
        self.close()


def _problem(milp: Milp) -> dict[str, Any]:
    vectors = ("cost", "offset", "row_lower", "row_upper", "lower", "upper", "integer")
    problem = {name: getattr(milp, name) for name in vectors}
    matrix = milp.matrix
    return problem | {"starts": matrix.indptr, "indices": matrix.indices, "values": matrix.data}


def _options(options: SolveOptions, observed: bool) -> dict[str, Any]:
    names = ("time_limit_s", "start", "threads", "seed")
    return {name: getattr(options, name) for name in names} | {"observed": observed}


def _outcome(content: list[Any], options: SolveOptions) -> Outcome:
    ended, bound, columns, detail = content
    status, message = STATUSES.get(ended, Status.UNKNOWN), f"SCIP: {ended} {detail}".strip()
    if status is Status.INFEASIBLE and options.cutoff is not None:
        return Outcome(Status.CUTOFF, options.cutoff, None, message)
    proved = float(bound) if status in (Status.OPTIMAL, Status.TIME_LIMIT) else -math.inf
    return Outcome(status, proved, columns, message)


def _send(worker: subprocess.Popen[bytes], message: Any) -> None:
    assert worker.stdin is not None
    pickle.dump(message, worker.stdin)
    worker.stdin.flush()


def _receive(worker: subprocess.Popen[bytes]) -> Any:
    assert worker.stdout is not None
    try:
        return pickle.load(worker.stdout)
    except EOFError:
        raise SolverError("the process that runs OR-Tools ended without an answer") from None
