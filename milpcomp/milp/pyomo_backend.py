"""Problems as Pyomo models: to keep, to extend, to hand to any solver that Pyomo knows.

    model = to_pyomo(encoding.neuron(layer, unit, sign))       # model.columns["x[0]"], model.rows[0], model.objective
    model.extra = pyo.Constraint(expr=model.columns["x[0]"] >= model.columns["x[1]"])

The backend solves through Pyomo's classic `SolverFactory`, so any MIP solver installed beside Pyomo can be named. It
needs a proved lower bound in the results; a solver that reports none proves nothing here. Pyomo passes no callbacks on,
so incumbents are seen at the end only, and the cutoff is a row of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Any

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.highs_backend import load_highspy
from milpcomp.milp.problem import Milp, Observer, Outcome, SolveOptions, Status

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

SOLVERS = {"highs": "appsi_highs"}
"""Pyomo's own names of solvers, where they differ from ours."""


def to_pyomo(milp: Milp) -> ConcreteModel:
    """Return `milp` as a Pyomo model.

    Returns
    -------
    ConcreteModel
        With variables ``columns`` (indexed by the problem's names, or by number where it has none), constraints
        ``rows`` (by number) and ``objective``, which is minimised.

    Raises
    ------
    SolverError
        If Pyomo is not installed, or a row without entries cannot be satisfied.
    """
    pyo = _load()
    model = pyo.ConcreteModel()
    names: Sequence[str | int] = milp.names or range(len(milp.cost))
    model.columns = pyo.Var(names)
    variables = [model.columns[name] for name in names]
    for variable, lower, upper, integer in zip(variables, milp.lower, milp.upper, milp.integer, strict=True):
        variable.domain = pyo.Integers if integer else pyo.Reals
        variable.setlb(_bound(lower))
        variable.setub(_bound(upper))
    model.rows = pyo.Constraint(pyo.Any)
    matrix = milp.matrix
    for i, (lower, upper) in enumerate(zip(milp.row_lower, milp.row_upper, strict=True)):
        entries = slice(matrix.indptr[i], matrix.indptr[i + 1])
        if entries.start == entries.stop:
            if not lower <= 0 <= upper:
                raise SolverError(f"row {i} of the problem has no entries and cannot be satisfied")
            continue
        body = _linear(0.0, matrix.data[entries], [variables[j] for j in matrix.indices[entries]])
        model.rows[i] = (float(lower), body) if lower == upper else (_bound(lower), body, _bound(upper))
    used = np.flatnonzero(milp.cost)
    model.objective = pyo.Objective(expr=_linear(milp.offset, milp.cost[used], [variables[j] for j in used]))
    return model


@dataclass(frozen=True)
class PyomoBackend:
    """Any MIP solver that Pyomo knows, by name.

    Parameters
    ----------
    solver : str
        As Pyomo calls it: ``"highs"``, ``"cbc"``, ``"scip"``, ``"gurobi"``, ...
    """

    solver: str = "highs"

    @property
    def name(self) -> str:
        """``"pyomo"`` for the default solver, else ``"pyomo:solver"``."""
        return "pyomo" if self.solver == "highs" else f"pyomo:{self.solver}"

    @cached_property
    def version(self) -> str:
        """Versions of Pyomo and of the solver behind it.

        Raises
        ------
        SolverError
            If Pyomo or the solver is not installed.
        """
        _load()
        solver = self._factory()
        found = solver.version() if callable(getattr(solver, "version", None)) else ()
        return f"{package_version('pyomo')} with {self.solver} {'.'.join(str(part) for part in found)}".strip()

    def solve(self, milp: Milp, options: SolveOptions, on_solution: Observer | None = None) -> Outcome:
        """Solve with the named solver; see `Backend`. `on_solution`, `stop_at` and `start` are not used."""
        limited = milp if options.cutoff is None else milp.below(options.cutoff)
        model = to_pyomo(limited)
        results = self._results(model, options)
        if self.solver == "highs" and str(results.solver.termination_condition) == "unknown":
            load_highspy().Highs.resetGlobalScheduler(True)  # see `milpcomp.milp.highs_backend`
            results = self._results(model, options)
        condition = str(results.solver.termination_condition)
        status, solution = _status(condition, options), None
        if len(results.solution):
            model.solutions.load_from(results)
            unused = np.clip(0.0, milp.lower, milp.upper)  # columns in no row and not in the objective get no value
            values = [variable.value for variable in model.columns.values()]
            solution = np.array([u if v is None else v for u, v in zip(unused, values, strict=True)], dtype=np.float64)
        bound = options.cutoff if status is Status.CUTOFF else results.problem.lower_bound
        number = float(bound) if isinstance(bound, int | float) else -math.inf
        return Outcome(status, number, solution, f"Pyomo with {self.solver}: {condition}")

    def _results(self, model: ConcreteModel, options: SolveOptions) -> Any:
        solver = self._factory()
        if self.solver == "highs":
            solver.options.update({"threads": options.threads, "random_seed": options.seed})
            solver.options.update({"mip_rel_gap": 0.0, "mip_abs_gap": 0.0})
        arguments = {"timelimit": options.time_limit_s} if math.isfinite(options.time_limit_s) else {}
        return solver.solve(model, load_solutions=False, **arguments)

    def _factory(self) -> Any:
        pyo = _load()
        solver = pyo.SolverFactory(SOLVERS.get(self.solver, self.solver))
        if not solver.available(exception_flag=False):
            raise SolverError(f"Pyomo finds no solver called {self.solver!r}; install it, or use pyomo with highs")
        return solver


def _status(condition: str, options: SolveOptions) -> Status:
    if condition == "infeasible":
        return Status.INFEASIBLE if options.cutoff is None else Status.CUTOFF
    known = {
        "optimal": Status.OPTIMAL,
        "unbounded": Status.UNBOUNDED,
        "maxTimeLimit": Status.TIME_LIMIT,
        "userInterrupt": Status.INTERRUPTED,
        "error": Status.ERROR,
    }
    return known.get(condition, Status.UNKNOWN)


def _load() -> Any:
    try:
        import pyomo.environ as pyo
    except ImportError as error:
        raise SolverError(f"Pyomo cannot be loaded ({error}); install pyomo >= 6.9") from error
    return pyo


def _linear(constant: float, coefficients: FloatArray, variables: list[Any]) -> Any:
    from pyomo.core.expr.numeric_expr import LinearExpression

    return LinearExpression(constant=constant, linear_coefs=coefficients.tolist(), linear_vars=variables)


def _bound(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
