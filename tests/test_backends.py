"""Backends answer tiny problems as hand arithmetic does; the guard believes no more than can be believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from milpcomp.errors import SettingsError, SolverError
from milpcomp.milp import highs_backend
from milpcomp.milp.backends import backend
from milpcomp.milp.guard import guarded_solve
from milpcomp.milp.highs_backend import HighsBackend, load_highspy
from milpcomp.milp.ortools_backend import OrtoolsBackend
from milpcomp.milp.problem import Backend, Milp, Observer, Outcome, SolveOptions, Status
from milpcomp.milp.pyomo_backend import PyomoBackend, to_pyomo
from tests.fakes import Answer, FakeBackend

INF = float("inf")


def problem(**changes: object) -> Milp:
    """Return min -x - 2y + 0.5z + 10 with x + y <= 1.5 z, x in [0, 1], y in [0, 2], z in {0, 1}.

    Best at z = 1, y = 1.5, x = 0: -3 + 0.5 + 10 = 7.5. At z = 0 the value is 10.
    """
    milp = Milp(
        cost=np.array([-1.0, -2.0, 0.5]),
        offset=10.0,
        matrix=sp.csr_array(np.array([[1.0, 1.0, -1.5]])),
        row_lower=np.array([-np.inf]),
        row_upper=np.array([0.0]),
        lower=np.zeros(3),
        upper=np.array([1.0, 2.0, 1.0]),
        integer=np.array([False, False, True]),
        names=("x", "y", "z"),
    )
    return replace(milp, **changes)  # type: ignore[arg-type]


def slow_problem() -> Milp:
    """Return a market-split problem, which takes any solver far longer than a second."""
    rng = np.random.default_rng(0)
    matrix = sp.csr_array(rng.integers(0, 100, size=(5, 40)).astype(float))
    half = np.floor(matrix.sum(axis=1) / 2)
    slack = sp.hstack([matrix, sp.eye_array(5), -sp.eye_array(5)], format="csr")
    cost = np.concatenate([np.zeros(40), np.ones(10)])
    upper = np.concatenate([np.ones(40), np.full(10, 1e4)])
    return Milp(cost, 0.0, slack, half, half, np.zeros(50), upper, np.arange(50) < 40)


def recording(seen: list[np.ndarray]) -> Observer:
    """Return an observer that keeps all points and stops nothing."""

    def observer(point: np.ndarray) -> bool:
        seen.append(point)
        return False

    return observer


@pytest.fixture(scope="module", params=["highs", "ortools", "pyomo"])
def solver(request: pytest.FixtureRequest) -> Backend:
    """Return each backend."""
    return backend(request.param)


# ------------------------------------------------------------------------------------------------ answers by hand


def test_optimum(solver: Backend) -> None:
    """The optimum 7.5 with its solution and a bound that meets it; the solver is named with its version."""
    outcome = guarded_solve(solver, problem(), SolveOptions())
    assert outcome.status is Status.OPTIMAL
    assert outcome.dual_bound == pytest.approx(7.5)
    assert outcome.solution == pytest.approx([0.0, 1.5, 1.0])
    assert outcome.proves(7.4)
    assert not outcome.proves(7.6)
    assert solver.version[0].isdigit()


def test_relaxation(solver: Backend) -> None:
    """Without integrality: y = 1.5, z = 1 all the same; with z <= 0.5 it is y = 0.75, hence 10 - 1.5 + 0.25."""
    relaxed = problem(upper=np.array([1.0, 2.0, 0.5])).relaxed()
    outcome = guarded_solve(solver, relaxed, SolveOptions())
    assert outcome.dual_bound == pytest.approx(8.75)
    assert outcome.solution == pytest.approx([0.0, 0.75, 0.5])


@pytest.mark.parametrize("relaxed", [False, True])
def test_cutoff(solver: Backend, relaxed: bool) -> None:
    """Nothing is below 7.4, which is proved; below 7.6 there is the optimum."""
    milp = problem().relaxed() if relaxed else problem()
    below = guarded_solve(solver, milp, SolveOptions(cutoff=7.4))
    assert below.proves(7.4)
    assert below.dual_bound == 7.4
    above = guarded_solve(solver, milp, SolveOptions(cutoff=7.6))
    assert not above.proves(7.6)
    assert above.solution == pytest.approx([0.0, 1.5, 1.0])


@pytest.mark.parametrize("start", [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.5, 1.0], [5.0, 5.0, 5.0]])
@pytest.mark.parametrize("cutoff", [None, 7.0, 9.0])
def test_starts_change_nothing(solver: Backend, start: list[float], cutoff: float | None) -> None:
    """A start may be worse than the cutoff, optimal or infeasible: the answer is the same as without."""
    outcome = guarded_solve(solver, problem(), SolveOptions(start=np.array(start), cutoff=cutoff))
    assert outcome.status is (Status.CUTOFF if cutoff == 7.0 else Status.OPTIMAL)
    assert outcome.dual_bound == pytest.approx(7.0 if cutoff == 7.0 else 7.5)


def test_infeasible_proves_nothing(solver: Backend) -> None:
    """An infeasible problem is called that; it has no bound, and no cutoff was there to explain it."""
    outcome = guarded_solve(solver, problem(row_upper=np.array([-2.0])), SolveOptions())
    assert outcome.status is Status.INFEASIBLE
    assert not outcome.proves(-INF)


def test_unbounded_proves_nothing(solver: Backend) -> None:
    """An unbounded problem has no bound, whatever the solver calls it."""
    outcome = guarded_solve(solver, problem(upper=np.array([1.0, INF, INF])), SolveOptions())
    assert outcome.status not in (Status.OPTIMAL, Status.CUTOFF)
    assert outcome.dual_bound == -INF


def test_columns_in_no_row(solver: Backend) -> None:
    """A column that appears nowhere still has a value within its bounds."""
    milp = problem(cost=np.array([0.0, -2.0, 0.5]), matrix=sp.csr_array(np.array([[0.0, 1.0, -1.5]])))
    milp = replace(milp, lower=np.array([0.25, 0.0, 0.0]))
    outcome = guarded_solve(solver, milp, SolveOptions())
    assert outcome.solution is not None
    assert 0.25 <= outcome.solution[0] <= 1.0
    assert outcome.dual_bound == pytest.approx(7.5)


def test_time_limit_proves_nothing(solver: Backend) -> None:
    """A solver that runs out of time says so and proves nothing."""
    outcome = guarded_solve(solver, slow_problem(), SolveOptions(time_limit_s=0.3))
    assert outcome.status is Status.TIME_LIMIT
    assert not outcome.proves(-INF)
    assert outcome.seconds < 5


def test_starts_and_seeds_are_accepted(solver: Backend) -> None:
    """Another seed and two threads give the same optimum (in HiGHS: although its scheduler was set up for one)."""
    outcome = guarded_solve(solver, problem(), SolveOptions(seed=7, threads=2))
    assert outcome.dual_bound == pytest.approx(7.5)
    assert guarded_solve(solver, problem(), SolveOptions()).dual_bound == pytest.approx(7.5)


# ------------------------------------------------------------------------------------------------ observing


@pytest.mark.parametrize("name", ["highs", "ortools"])
def test_incumbents_are_shown(name: str) -> None:
    """The optimum is among the points shown, and each is a column vector."""
    seen: list[np.ndarray] = []
    outcome = guarded_solve(backend(name), problem(), SolveOptions(), recording(seen))
    assert outcome.status is Status.OPTIMAL
    assert all(point.shape == (3,) for point in seen)
    assert any(np.allclose(point, [0.0, 1.5, 1.0]) for point in seen)


@pytest.mark.parametrize("name", ["highs", "ortools"])
def test_observer_stops_the_solver(name: str) -> None:
    """When the observer says so the solver stops, long before its time, and proves nothing."""
    outcome = guarded_solve(backend(name), slow_problem(), SolveOptions(time_limit_s=20), lambda point: True)
    assert outcome.status is Status.TARGET
    assert not outcome.proves(-INF)
    assert outcome.seconds < 10


def test_stop_at_a_target() -> None:
    """HiGHS stops at the first incumbent below the target, long before its time, and proves nothing."""
    outcome = guarded_solve(backend("highs"), slow_problem(), SolveOptions(time_limit_s=20, stop_at=1e4))
    assert outcome.status is Status.TARGET
    assert outcome.solution is not None
    assert slow_problem().objective(outcome.solution) < 1e4
    assert not outcome.proves(-INF)


@pytest.mark.parametrize("name", ["highs", "ortools"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError()])
def test_what_the_observer_raises_comes_out(name: str, error: BaseException) -> None:
    """Ctrl-C and errors inside the observer come out of the solve, and the backend works on."""
    solver = backend(name)

    def observer(point: np.ndarray) -> bool:
        raise error

    with pytest.raises(type(error)):
        guarded_solve(solver, slow_problem(), SolveOptions(time_limit_s=20), observer)
    assert guarded_solve(solver, problem(), SolveOptions()).dual_bound == pytest.approx(7.5)


# ------------------------------------------------------------------------------------------------ the guard


def believed(answer: Answer, options: SolveOptions | None = None, known: float = INF) -> Outcome:
    """Return what the guard makes of an answer to `problem()`."""
    return guarded_solve(FakeBackend(answer), problem(), options or SolveOptions(), known=known)


BEST = np.array([0.0, 1.5, 1.0])


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.OPTIMAL, Status.CUTOFF)])
def test_only_two_statuses_prove(status: Status) -> None:
    """A bound that comes with any other status proves nothing."""
    assert not believed(Outcome(status, 7.5, BEST)).proves(-INF)


@pytest.mark.parametrize("bound", [float("nan"), -INF, INF, 1e30, 7.6])
def test_impossible_bounds_prove_nothing(bound: float) -> None:
    """No bound, NaN, or one above the solver's own solution proves nothing."""
    assert not believed(Outcome(Status.OPTIMAL, bound, BEST)).proves(-1e9)


def test_plausible_bound_is_believed() -> None:
    """A bound at or below the solution's objective is the solver's word."""
    assert believed(Outcome(Status.OPTIMAL, 7.5, BEST)).proves(7.5)


@pytest.mark.parametrize(
    "solution", [None, np.zeros(2), np.array([np.nan, 0, 0]), np.array([INF, 0, 0]), np.zeros((3, 1))]
)
def test_optimum_needs_a_solution(solution: np.ndarray | None) -> None:
    """An optimum without a finite solution of the right shape proves nothing."""
    outcome = believed(Outcome(Status.OPTIMAL, 7.5, solution))
    assert (outcome.status, outcome.solution) == (Status.UNKNOWN, None)
    assert not outcome.proves(-INF)


def test_cutoff_must_have_been_asked_for() -> None:
    """A cutoff nobody gave is nonsense; with one, no bound beyond it is believed."""
    assert believed(Outcome(Status.CUTOFF, 5.0)).status is Status.UNKNOWN
    assert believed(Outcome(Status.CUTOFF, 50.0), SolveOptions(cutoff=7.0)).dual_bound == 7.0


def test_known_points_refute_bounds() -> None:
    """A bound above the objective of a known point is nonsense, also at a cutoff."""
    assert believed(Outcome(Status.OPTIMAL, 7.5, BEST), known=7.4).status is Status.UNKNOWN
    assert believed(Outcome(Status.CUTOFF, 7.2), SolveOptions(cutoff=7.2), known=7.1).status is Status.UNKNOWN
    assert believed(Outcome(Status.CUTOFF, 7.2), SolveOptions(cutoff=7.2), known=7.5).proves(7.2)


@pytest.mark.parametrize("error", [RuntimeError("crash"), SolverError("gone"), MemoryError()])
def test_exceptions_are_errors(error: Exception) -> None:
    """An exception in a backend is an outcome of status error, with its text."""
    outcome = believed(error)
    assert outcome.status is Status.ERROR
    assert type(error).__name__ in outcome.message
    assert not outcome.proves(-INF)


def test_garbage_is_an_error() -> None:
    """A status that does not exist, or an answer that is no outcome, is an error."""
    assert believed(Outcome("fine", 7.5, BEST)).status is Status.ERROR  # type: ignore[arg-type]
    assert believed(lambda milp, options: None).status is Status.ERROR  # type: ignore[arg-type, return-value]


def test_interrupt_is_no_error() -> None:
    """Ctrl-C goes through."""
    with pytest.raises(KeyboardInterrupt):
        believed(KeyboardInterrupt())


def test_observer_sees_no_nonsense() -> None:
    """Points of the wrong shape or with NaN are not passed on."""
    seen: list[np.ndarray] = []
    fake = FakeBackend(Outcome(Status.OPTIMAL, 7.5, BEST), [np.zeros(2), np.full(3, np.nan), BEST])
    guarded_solve(fake, problem(), SolveOptions(), recording(seen))
    assert len(seen) == 1


# ------------------------------------------------------------------------------------------------ choosing and failing


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("gurobi", "unknown backend 'gurobi'; choose one of highs, ortools, pyomo"),
        ("ortools:cp_sat", "CP-SAT rounds continuous variables"),
        ("ortools:highs", "use the backend 'highs'"),
        ("ortools:glop", "choose gscip"),
        (3, "a backend has a name, a version and a method solve"),
    ],
)
def test_unusable_choices(choice: str, message: str) -> None:
    """A wrong name is refused with what can be chosen; CP-SAT with the reason."""
    with pytest.raises(SettingsError, match=message):
        backend(choice)


def test_choices() -> None:
    """Names give backends that are called the same; an object stands for itself."""
    assert [backend(name).name for name in ("highs", "ortools", "pyomo")] == ["highs", "ortools", "pyomo"]
    fake = FakeBackend(Outcome(Status.UNKNOWN))
    assert backend(fake) is fake


def test_missing_solvers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is an error that says what to install."""
    with pytest.raises(SolverError, match="Pyomo finds no solver called 'no_such_solver'"):
        backend("pyomo:no_such_solver")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SolverError, match="install ortools"):
        assert OrtoolsBackend().version
    monkeypatch.setitem(__import__("sys").modules, "highspy", None)
    with pytest.raises(SolverError, match=r"install highspy >= 1\.15\.1"):
        load_highspy()


def test_old_highs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A HiGHS older than the first right one is refused before it solves anything."""
    monkeypatch.setattr(highs_backend, "LEAST_VERSION", (99, 0, 0))
    with pytest.raises(SolverError, match="returns wrong bounds; install highspy"):
        backend("highs")
    assert guarded_solve(HighsBackend(), problem(), SolveOptions()).status is Status.ERROR


def test_rejected_model_is_an_error() -> None:
    """HiGHS takes no coefficients above 1e15: an error, not an answer about another problem."""
    milp = problem(matrix=sp.csr_array(np.array([[1.0, 1e20, -1.5]])))
    outcome = guarded_solve(backend("highs"), milp, SolveOptions())
    assert outcome.status is Status.ERROR
    assert outcome.dual_bound == -INF


def test_ortools_survives_its_process() -> None:
    """When the solver's process dies, that solve is an error, and the next one starts another process."""
    solver = OrtoolsBackend()
    assert guarded_solve(solver, problem(), SolveOptions()).status is Status.OPTIMAL

    def kill(point: np.ndarray) -> bool:
        assert solver.process is not None
        solver.process.kill()
        return False

    outcome = guarded_solve(solver, slow_problem(), SolveOptions(time_limit_s=20), kill)
    assert outcome.status is Status.ERROR
    assert guarded_solve(solver, problem(), SolveOptions()).status is Status.OPTIMAL
    solver.close()
    assert solver.process is None


def test_ortools_is_stopped_when_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not answer in time is stopped: an error."""
    monkeypatch.setattr("milpcomp.milp.ortools_backend.GRACE_S", -19.0)
    solver = OrtoolsBackend()
    outcome = guarded_solve(solver, slow_problem(), SolveOptions(time_limit_s=20))
    assert outcome.status is Status.ERROR
    assert outcome.seconds < 10


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_problems_are_checked(bad: float) -> None:
    """NaN or infinite coefficients, and vectors that do not fit, are refused when a problem is made."""
    with pytest.raises(SolverError, match="NaN or infinite"):
        problem(cost=np.array([bad, 0.0, 0.0]))
    with pytest.raises(SolverError, match="do not fit"):
        problem(lower=np.zeros(2))
    with pytest.raises(SolverError, match="2 names"):
        problem(names=("a", "b"))


# ------------------------------------------------------------------------------------------------ Pyomo models


def test_pyomo_model_can_be_extended() -> None:
    """The Pyomo model has named columns; with y <= 0.5 added it is best at x = 1, y = 0.5: 10 - 2 + 0.5."""
    import pyomo.environ as pyo

    model = to_pyomo(problem())
    model.extra = pyo.Constraint(expr=model.columns["y"] <= 0.5)
    results = pyo.SolverFactory("appsi_highs").solve(model)
    assert str(results.solver.termination_condition) == "optimal"
    assert pyo.value(model.objective) == pytest.approx(8.5)
    assert model.columns["x"].value == pytest.approx(1.0)


def test_pyomo_model_without_names() -> None:
    """Columns without names are numbered; rows keep equations, ranges and one-sided bounds."""
    matrix = sp.csr_array(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    low, high = np.array([0.5, 0.25, -1.0]), np.array([0.5, 0.75, 1.0])
    model = to_pyomo(problem(names=(), matrix=matrix, row_lower=low, row_upper=high))
    assert model.rows[0].equality
    assert (model.rows[1].lb, model.rows[1].ub) == (0.25, 0.75)
    assert 2 not in model.rows
    with pytest.raises(SolverError, match="row 2 of the problem has no entries"):
        to_pyomo(problem(matrix=matrix, row_lower=np.array([0.5, 0.25, 0.5]), row_upper=high))


def test_pyomo_solver_names() -> None:
    """Another solver is part of the backend's name."""
    assert PyomoBackend("cbc").name == "pyomo:cbc"
