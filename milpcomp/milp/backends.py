"""Backends by name."""

from __future__ import annotations

from milpcomp.errors import SettingsError
from milpcomp.milp.highs_backend import HighsBackend
from milpcomp.milp.ortools_backend import OrtoolsBackend
from milpcomp.milp.problem import Backend
from milpcomp.milp.pyomo_backend import PyomoBackend

NAMES = ("highs", "ortools", "pyomo", "pyomo:SOLVER")


def backend(choice: str | Backend) -> Backend:
    """Return the backend called `choice`, ready to be used.

    Parameters
    ----------
    choice : str or Backend
        ``"highs"``, ``"ortools"`` (SCIP), ``"pyomo"`` (HiGHS through Pyomo), ``"pyomo:cbc"`` and so on for any solver
        that Pyomo finds, or a `Backend` object, which is returned as it is.

    Raises
    ------
    SettingsError
        If there is no such backend.
    SolverError
        If it is not installed or too old.
    """
    if not isinstance(choice, str):
        if all(hasattr(choice, attribute) for attribute in ("name", "version", "solve")):
            return choice
        raise SettingsError(f"a backend has a name, a version and a method solve; got {choice!r}")
    kind, _, solver = choice.partition(":")
    if kind == "pyomo":
        found: Backend = PyomoBackend(solver or "highs")
    elif choice == "highs":
        found = HighsBackend()
    elif kind == "ortools":
        found = OrtoolsBackend(solver or "gscip")
    else:
        raise SettingsError(f"unknown backend {choice!r}; choose one of {', '.join(NAMES)}")
    assert found.version  # raises if it cannot be used
    return found
