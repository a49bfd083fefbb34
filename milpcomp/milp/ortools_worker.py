"""The process in which OR-Tools runs: problems come in on standard input, answers go out on standard output.

A script, run by path: it imports nothing of milpcomp. OR-Tools has to have a process of its own, because it and highspy
both bring a library called libhighs.so.1, and whichever is imported second finds the other's and fails.

    in     (problem, options)      dicts of arrays and numbers, pickled
    out    ("point", columns)      an incumbent or a relaxation point; answered by True (stop) or False
           ("end", status, bound, columns or None, message)
"""

from __future__ import annotations

import datetime
import os
import pickle
import signal
import sys
from typing import Any, BinaryIO

sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))]

import numpy as np  # noqa: E402  (after the path is clean)
from ortools.math_opt import model_pb2  # noqa: E402
from ortools.math_opt.python import mathopt  # noqa: E402


def main() -> None:
    """Answer problems until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with answers
    while True:
        try:
            problem, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = _solve(problem, options, answers)
        except Exception as error:
            answer = ("end", "error", -np.inf, None, f"{type(error).__name__}: {error}")
        _send(answers, answer)


def _solve(problem: dict[str, Any], options: dict[str, Any], answers: BinaryIO) -> tuple[Any, ...]:
    model = mathopt.Model.from_model_proto(_model(problem))
    variables = sorted(model.variables(), key=lambda variable: variable.id)
    stopped = False

    def observe(data: mathopt.CallbackData) -> mathopt.CallbackResult:
        nonlocal stopped
        if data.solution is not None and not stopped:
            _send(answers, ("point", np.array([data.solution[variable] for variable in variables])))
            stopped = bool(pickle.load(sys.stdin.buffer))
        return mathopt.CallbackResult(terminate=stopped)

    events = {mathopt.Event.MIP_SOLUTION, mathopt.Event.MIP_NODE} if options["observed"] else set()
    start = options["start"]
    hints = [] if start is None else [mathopt.SolutionHint(dict(zip(variables, start.tolist(), strict=True)))]
    limit = options["time_limit_s"]
    result = mathopt.solve(
        model,
        mathopt.SolverType.GSCIP,
        params=mathopt.SolveParameters(
            time_limit=datetime.timedelta(seconds=limit) if np.isfinite(limit) else None,
            threads=options["threads"],
            random_seed=options["seed"],
        ),
        model_params=mathopt.ModelSolveParameters(solution_hints=hints),
        callback_reg=mathopt.CallbackRegistration(events=events) if events else None,
        cb=observe if events else None,
    )
    columns = None
    if result.has_primal_feasible_solution():
        values = result.variable_values()
        columns = np.array([values[variable] for variable in variables])
    termination = result.termination
    ended = "stopped" if stopped else (termination.limit or termination.reason).name.lower()
    return ("end", ended, termination.objective_bounds.dual_bound, columns, termination.detail)


def _model(problem: dict[str, Any]) -> model_pb2.ModelProto:
    """Return the problem as MathOpt's message: a minimisation with ids counted from 0."""
    proto = model_pb2.ModelProto()
    columns, rows = len(problem["cost"]), len(problem["row_lower"])
    proto.variables.ids.extend(range(columns))
    proto.variables.lower_bounds.extend(problem["lower"].tolist())
    proto.variables.upper_bounds.extend(problem["upper"].tolist())
    proto.variables.integers.extend(problem["integer"].tolist())
    used = np.flatnonzero(problem["cost"])
    proto.objective.offset = problem["offset"]
    proto.objective.linear_coefficients.ids.extend(used.tolist())
    proto.objective.linear_coefficients.values.extend(problem["cost"][used].tolist())
    proto.linear_constraints.ids.extend(range(rows))
    proto.linear_constraints.lower_bounds.extend(problem["row_lower"].tolist())
    proto.linear_constraints.upper_bounds.extend(problem["row_upper"].tolist())
    counts = np.diff(problem["starts"])
    proto.linear_constraint_matrix.row_ids.extend(np.repeat(np.arange(rows), counts).tolist())
    proto.linear_constraint_matrix.column_ids.extend(problem["indices"].tolist())
    proto.linear_constraint_matrix.coefficients.extend(problem["values"].tolist())
    return proto


def _send(stream: BinaryIO, message: tuple[Any, ...]) -> None:
    pickle.dump(message, stream)
    stream.flush()


if __name__ == "__main__":
    main()
