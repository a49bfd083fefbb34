"""Solving with a backend that is not trusted to behave: its exceptions, NaN and absurd answers come to nothing.

Everything in this package that needs a solver calls `guarded_solve`, whichever backend it is.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.milp.problem import PROVING, Backend, Milp, Observer, Outcome, SolveOptions, Status

OWN_SLACK = 1e-4
"""How far a dual bound may exceed the objective of the solver's own solution (relatively; absolutely below 1)."""

KNOWN_SLACK = 1e-6
"""How far a dual bound may exceed the objective of a point known from a forward pass: its tolerances."""

STOPPED = (Status.TARGET, Status.TIME_LIMIT, Status.INTERRUPTED)
"""Statuses whose dual bound is passed on for information; it proves nothing (`Outcome.proves`)."""


def guarded_solve(
    backend: Backend,
    milp: Milp,
    options: SolveOptions,
    on_solution: Observer | None = None,
    known: float = float("inf"),
) -> Outcome:
    """Solve, and return only what may be believed.

    Parameters
    ----------
    backend : Backend
    milp : Milp
    options : SolveOptions
    on_solution : callable, optional
        See `Observer`.
    known : float
        Objective of a point known to be feasible.

    Returns
    -------
    Outcome
        With a finite or ``-inf`` dual bound and a finite solution of the right shape, or None. A failure of the
        backend is status ``ERROR``; an unknown or contradictory answer is ``UNKNOWN``; neither has a bound.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C is not a failure of the solver.
    Exception
        What `on_solution` raised.

    Notes
    -----
    **Trusts** nothing that can be checked at this cost: a proved bound must not exceed `known`, the objective of the
    solver's own solution, or the cutoff when that is what stopped it. Whether a plausible bound is right remains the
    solver's word.
    """
    raised: list[BaseException] = []

    def observe(columns: FloatArray) -> bool:
        vector = _vector(columns, milp)
        try:
            return bool(raised) or (vector is not None and on_solution is not None and on_solution(vector))
        except BaseException as error:  # kept out of the solver's frames, raised again below
            raised.append(error)
            return True

    start = time.monotonic()
    try:
        outcome = _believed(
            backend.solve(milp, options, None if on_solution is None else observe), milp, options, known
        )
    except Exception as error:
        outcome = Outcome(Status.ERROR, message=f"{type(error).__name__}: {error}")
    if raised:
        raise raised[0]
    return replace(outcome, seconds=time.monotonic() - start)


def _believed(outcome: Outcome, milp: Milp, options: SolveOptions, known: float) -> Outcome:
    status, bound = Status(outcome.status), float(outcome.dual_bound)
    solution = _vector(outcome.solution, milp)
    if status in PROVING:
        reason = _contradiction(status, bound, milp, options, solution, known)
        if reason:
            return Outcome(Status.UNKNOWN, solution=solution, message=f"{reason} ({outcome.message})")
        bound = min(bound, np.inf if options.cutoff is None else options.cutoff)  # beyond it nothing was looked at
    elif not (status in STOPPED and np.isfinite(bound)):
        bound = -np.inf
    return Outcome(status, bound, solution, outcome.message)


def _vector(solution: FloatArray | None, milp: Milp) -> FloatArray | None:
    """Return the solution if it is a finite column vector, else None."""
    vector = np.asarray(np.nan if solution is None else solution, dtype=np.float64)
    return vector if vector.shape == milp.cost.shape and np.isfinite(vector).all() else None


def _contradiction(
    status: Status, bound: float, milp: Milp, options: SolveOptions, solution: FloatArray | None, known: float
) -> str:
    """Say why a proving status with this bound cannot be believed; an empty text if nothing speaks against it."""
    if not np.isfinite(bound):
        return f"the solver's bound is {bound}"
    proved = bound if options.cutoff is None else min(bound, options.cutoff)
    if proved > known + KNOWN_SLACK * max(1.0, abs(known)):
        return f"the solver's bound {bound} exceeds the objective {known} of a known point"
    if status is Status.CUTOFF:
        return "the solver was stopped by a cutoff that it was not given" if options.cutoff is None else ""
    if solution is None:
        return "the solver claims an optimum and shows no solution"
    own = milp.objective(solution)
    if bound > own + OWN_SLACK * max(1.0, abs(own)):
        return f"the solver's bound {bound} exceeds the objective {own} of its own solution"
    return ""
