"""The seed's three methods: right against brute force, undecided where a solver cannot be believed, never wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.tighten import Bounds, interval_bounds
from milpcomp.domain import Box
from milpcomp.milp.backends import backend
from milpcomp.milp.problem import Backend, Milp, Outcome, SolveOptions, Status
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.network.load import load
from milpcomp.stability import one_solve, per_layer, per_neuron
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.fakes import Answer, FakeBackend
from tests.nets import chain, mlp, planted
from tests.oracle import exact_ranges

Method = Callable[[Ledger, Backend, float], None]
METHODS = {"one-solve": one_solve.run, "per-layer": per_layer.run, "per-neuron": per_neuron.run}
BACKENDS = ("highs", "ortools", "pyomo")


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    """Return each method."""
    return METHODS[request.param]


@pytest.fixture(scope="module", params=BACKENDS)
def solver(request: pytest.FixtureRequest) -> Backend:
    """Return each backend."""
    return backend(request.param)


def ledger(network: Network, domain: Box, seconds: float = 60.0) -> Ledger:
    """Return a ledger in which interval bounds have decided what they can."""
    box = domain.fit(network.input_shape)
    book = Ledger(network, box, interval_bounds(network, box), time.monotonic() + seconds)
    with book.clock(Stage.CLOSED_FORM):
        book.tighten(book.bounds)
    return book


def decided(book: Ledger, method: Method, solver: Backend, neuron_time_limit_s: float = 10.0) -> Report:
    """Return the report after a method has worked on a ledger."""
    with book.clock(Stage.SOLVER):
        method(book, solver, neuron_time_limit_s)
    return book.report({}, {}, "complete")


def phases(report: Report, layer: str) -> list[str]:
    """Return the phases of one layer."""
    return [verdict.phase.value for verdict in report.layers()[layer]]


def contradictions(report: Report, network: Network, domain: Box) -> list[str]:
    """Return the verdicts that exact brute force refutes."""
    ranges = exact_ranges(network, domain.fit(network.input_shape))
    wrong = []
    for verdict in report.verdicts:
        low, high = ranges[verdict.layer][verdict.unit]
        refuted = {
            Phase.STABLY_INACTIVE: high > 0,
            Phase.STABLY_ACTIVE: low < 0,
            Phase.UNSTABLE: low >= 0 or high <= 0,
            Phase.UNDECIDED: False,
        }
        if refuted[verdict.phase]:
            wrong.append(f"{verdict} against [{float(low)}, {float(high)}]")
    return wrong


# ------------------------------------------------------------------------------------------------ by hand


def folded(bias: float, scale: float = 1.0) -> Network:
    r"""Return a network whose second layer is ``g = scale * (bias - |x|)``; interval bounds leave it open.

    x ─┬─> relu( x)     ─┐ -1
       ├─> relu(-x)     ─┤ -1
       ├─> relu( x + 2) ─┤ +1      (active, so the sum of these two is the constant 4)
       └─> relu(-x + 2) ─┘ +1
    """
    first = Dense([[1.0], [-1.0], [1.0], [-1.0]], [0.0, 0.0, 2.0, 2.0])
    second = Dense(scale * np.array([[-1.0, -1.0, 1.0, 1.0]]), [scale * (bias - 4.0)])
    return chain((1,), first, Rectifier(), second, Rectifier(), Dense([[1.0]]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stable_neuron_needs_the_solver(method: Method, solver: Backend, sign: float) -> None:
    """-|x| - 0.5 is stably inactive and |x| + 0.5 stably active on [-1, 1]; labelled as the solver's word."""
    report = decided(ledger(folded(-0.5, sign), Box(-1.0, 1.0)), method, solver)
    verdict = report.layers()["3"][0]
    assert verdict.phase is (Phase.STABLY_INACTIVE if sign > 0 else Phase.STABLY_ACTIVE)
    assert (verdict.proof, verdict.stage) == (Proof.SOLVER, Stage.SOLVER)
    assert verdict.lower < 0 < verdict.upper
    assert phases(report, "1") == ["unstable", "unstable", "stably_active", "stably_active"]


def test_unstable_neuron_has_witnesses(method: Method, solver: Backend) -> None:
    """0.25 - |x| is unstable, and both of its witnesses replay."""
    network = folded(0.25)
    report = decided(ledger(network, Box(-1.0, 1.0)), method, solver)
    verdict = report.layers()["3"][0]
    assert (verdict.phase, verdict.proof) == (Phase.UNSTABLE, Proof.WITNESSED)
    values = network.pre_activations(report.witnesses)["3"][:, 0]
    assert values[verdict.active_witness] > 0 > values[verdict.inactive_witness]


# ------------------------------------------------------------------------------------------------ traps


@pytest.mark.parametrize("maximum", [1e-6, 1e-9])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_tiny_maximum_is_no_zero(method: Method, maximum: float, scale: float) -> None:
    """A neuron whose maximum is 1e-6 or 1e-9 of its range is never called stably inactive."""
    report = decided(ledger(folded(maximum, scale), Box(-1.0, 1.0)), method, backend("highs"))
    assert phases(report, "3")[0] in ("unstable", "undecided")
    mirrored = decided(ledger(folded(maximum, -scale), Box(-1.0, 1.0)), method, backend("highs"))
    assert phases(mirrored, "3")[0] in ("unstable", "undecided")


def test_tiny_maximum_on_every_backend(method: Method, solver: Backend) -> None:
    """The trap of a maximum of 1e-6, which default tolerances call zero, on all backends."""
    report = decided(ledger(folded(1e-6), Box(-1.0, 1.0)), method, solver)
    assert phases(report, "3")[0] in ("unstable", "undecided")


@pytest.mark.parametrize("gap", [0.0, 1e-7])
def test_near_tie_is_undecided(method: Method, solver: Backend, gap: float) -> None:
    """A maximum of 0, or just below: within a solver's tolerance, so undecided; a tie is no witness either."""
    report = decided(ledger(folded(-gap), Box(-1.0, 1.0)), method, solver)
    assert phases(report, "3") == ["undecided"]
    assert report.layers()["3"][0].active_witness is None


def test_tie_is_no_excuse(method: Method, solver: Backend) -> None:
    """``g = -|x|`` near 0, but x - 1 rises to 4.7e-4 at the edge: the tie at 0 must not hide that witness.

    g = -relu(x) - relu(-x) + 2.00047 relu(x - 0.5) + (0 from two active neurons), on [-1, 1]: g(0) = 0, g(1) = 2.35e-4.
    """
    first = Dense([[1.0], [-1.0], [1.0], [1.0], [-1.0]], [0.0, 0.0, -0.5, 2.0, 2.0])
    second = Dense([[-1.0, -1.0, 2.00047, 1.0, 1.0]], [-4.0])
    network = chain((1,), first, Rectifier(), second, Rectifier())
    report = decided(ledger(network, Box(-1.0, 1.0)), method, solver)
    assert phases(report, "3") == ["unstable"]


def test_small_coefficient_is_not_dropped(method: Method, solver: Backend) -> None:
    """9e-10 times an input in [0, 1e7] reaches 0.009: with an offset of -0.004 the neuron is not stably inactive."""
    first = Dense([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    second = Dense([[9e-10, -1.0, -1.0]], [-0.004])
    network = chain((2,), first, Rectifier(), second, Rectifier())
    report = decided(ledger(network, Box([0.0, -1.0], [1e7, 1.0])), method, solver)
    assert phases(report, "3")[0] in ("unstable", "undecided")


@pytest.mark.parametrize("weight", [1e3, 1e7])
def test_large_weight_behind_a_sliver(method: Method, solver: Backend, weight: float) -> None:
    """A neuron that is active on 1e-7 of its range only, times a large weight, is not fixed to zero by tolerance."""
    first = Dense([[1.0], [1.0]], [0.0, 5.0])
    second = Dense([[weight, 1.0]], [-weight * 5e-8 - 5.0])
    network = chain((1,), first, Rectifier(), second, Rectifier())
    report = decided(ledger(network, Box(-1.0, 1e-7)), method, solver)
    assert phases(report, "3")[0] != "stably_inactive"


def test_feasibility_leak(method: Method, solver: Backend) -> None:
    """A true maximum of -1e-3 behind a weight of 1e6: right, or undecided, but never unstable."""
    first = Dense([[1.0], [-1.0], [1.0], [-1.0]], [0.0, 0.0, 2.0, 2.0])
    second = Dense([[-1e6, -1e6, 1.0, 1.0]], [-4.001])
    network = chain((1,), first, Rectifier(), second, Rectifier())
    report = decided(ledger(network, Box(-1.0, 1.0)), method, solver)
    assert phases(report, "3")[0] in ("stably_inactive", "undecided")


# ------------------------------------------------------------------------------------------------ brute force


def near_tie(index: int) -> tuple[Network, Box]:
    """Return a random network in which one neuron's minimum or maximum is moved close to zero."""
    rng = np.random.default_rng(1000 + index)
    network, domain = planted(rng, 2)
    ranges = exact_ranges(network, domain.fit((2,)))
    layer = network.rectifiers[0].name
    unit = int(rng.integers(network.width(layer)))
    end = float(ranges[layer][unit][int(rng.integers(2))])
    gap = float(rng.choice([-1, 1]) * rng.choice([1e-3, 1e-5, 1e-6, 1e-7, 1e-9, 1e-12]))
    nodes = list(network.nodes)
    dense = nodes[0].layer
    assert isinstance(dense, Dense)
    bias = dense.bias.copy()
    bias[unit] += gap - end
    nodes[0] = type(nodes[0])(nodes[0].name, Dense(dense.weight, bias), nodes[0].inputs)
    return Network(network.input_shape, nodes), domain


@pytest.mark.parametrize("index", range(3))
def test_methods_agree_with_brute_force(method: Method, solver: Backend, index: int) -> None:
    """On random networks with and without near ties no verdict is refuted by exact arithmetic."""
    for network, domain in (planted(np.random.default_rng(500 + index), 2), near_tie(index)):
        report = decided(ledger(network, domain), method, solver)
        assert contradictions(report, network, domain) == []


def test_clear_cases_are_all_decided(method: Method, solver: Backend) -> None:
    """Without near ties nothing stays undecided, and every method says the same."""
    network, domain = mlp([2, 4, 3, 2], np.random.default_rng(3)), Box(-1.0, 1.0)
    report = decided(ledger(network, domain), method, solver)
    low_high = exact_ranges(network, domain.fit((2,)))
    assert min(abs(float(end)) for layer in low_high.values() for pair in layer for end in pair) > 1e-3
    assert report.counts()["undecided"] == 0
    assert contradictions(report, network, domain) == []


@pytest.mark.slow
def test_reference_network(method: Method, shared_file: Callable[[str], Path]) -> None:
    """All 200 hidden neurons of the published 784-100-100-10 network are unstable over [0, 1]^784."""
    network = load(shared_file("nets/serra2021/mnist_100-100_l1_0.tar"))
    report = decided(ledger(network, Box(0.0, 1.0), seconds=200.0), method, backend("highs"))
    assert report.counts()["unstable"] == 200


# ------------------------------------------------------------------------------------------------ fakes


STABLE_NETWORK = folded(-0.5)


def fake_report(method: Method, answer: Answer, network: Network = STABLE_NETWORK) -> Report:
    """Return what a method makes of a fake solver."""
    return decided(ledger(network, Box(-1.0, 1.0)), method, FakeBackend(answer))


def claim(status: Status, bound: float) -> Callable[[Milp, SolveOptions], Outcome]:
    """Return an answer with a status and a bound, and with the lower corner of the columns as solution."""
    return lambda milp, options: Outcome(status, bound, np.maximum(milp.lower, -1e9))


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OPTIMAL and s is not Status.CUTOFF])
@pytest.mark.parametrize("bound", [0.0, 1e9, -1e9, np.inf])
def test_other_statuses_leave_undecided(method: Method, status: Status, bound: float) -> None:
    """Whatever bound comes with them: only "optimal" and "cutoff" can prove."""
    report = fake_report(method, claim(status, bound))
    assert phases(report, "3") == ["undecided"]
    assert not any(v.proof is Proof.SOLVER for v in report.verdicts)


@pytest.mark.parametrize("bound", [np.nan, -np.inf, np.inf, 1e30, "many", None])
def test_nonsense_bounds_leave_undecided(method: Method, bound: float) -> None:
    """An optimum with NaN, no bound, or a bound above a known point proves nothing."""
    report = fake_report(method, claim(Status.OPTIMAL, bound))
    assert phases(report, "3") == ["undecided"]
    assert not any(v.proof is Proof.SOLVER for v in report.verdicts)


@pytest.mark.parametrize("error", [RuntimeError("crash"), ValueError("12 is not a valid Limit"), MemoryError()])
def test_exceptions_leave_undecided(method: Method, error: Exception) -> None:
    """A solver that raises leaves every neuron as it was, and the run goes on to its end."""
    report = fake_report(method, error)
    assert phases(report, "3") == ["undecided"]
    assert phases(report, "1")[2:] == ["stably_active", "stably_active"]


def test_liars_are_never_certified(method: Method) -> None:
    """A solver that claims the cutoff every time is caught by witnesses, or labelled: nothing it says is certified."""
    report = fake_report(method, lambda milp, options: Outcome(Status.CUTOFF, options.cutoff or 0.0), folded(0.25))
    trusted = [v for v in report.verdicts if v.stage is Stage.SOLVER and v.phase is not Phase.UNSTABLE]
    assert all(v.proof is Proof.SOLVER for v in trusted)


def test_known_inputs_catch_a_liar() -> None:
    """That 0.25 - |x| stays below zero is refuted by the middle of the domain, so the claim is not believed."""
    report = fake_report(
        per_neuron.run, lambda milp, options: Outcome(Status.CUTOFF, options.cutoff or 0.0), folded(0.25)
    )
    assert phases(report, "3") != ["stably_inactive"]


def test_claimed_pairs_are_no_witnesses(method: Method) -> None:
    """Solutions with p = z = 1 that no input reaches settle nothing, and do not keep the method busy for ever."""

    def ones(milp: Milp, options: SolveOptions) -> Outcome:
        return Outcome(Status.OPTIMAL, -1e6, np.where(milp.upper == 1.0, 1.0, milp.lower))

    fake = FakeBackend(ones)
    report = decided(ledger(STABLE_NETWORK, Box(-1.0, 1.0)), method, fake)
    assert phases(report, "3") == ["undecided"]
    assert len(fake.asked) < 50


def test_inputs_outside_the_domain_are_moved_inside(method: Method) -> None:
    """Solutions far outside the box, or with NaN, do no harm: inputs are clipped, nonsense is left out."""
    far = [np.full(13, 1e30), np.full(13, np.nan)]
    fake = FakeBackend(lambda milp, options: Outcome(Status.UNKNOWN, solution=np.full(len(milp.cost), -1e30)), far)
    report = decided(ledger(STABLE_NETWORK, Box(-1.0, 1.0)), method, fake)
    assert (np.abs(report.witnesses) <= 1).all()
    assert phases(report, "3") == ["undecided"]


def test_interrupt_keeps_what_was_found(method: Method) -> None:
    """Ctrl-C in the solver comes out of the method, and what the bounds had decided is in the report."""
    book = ledger(STABLE_NETWORK, Box(-1.0, 1.0))
    with pytest.raises(KeyboardInterrupt):
        decided(book, method, FakeBackend(KeyboardInterrupt()))
    report = book.report({}, {}, "interrupted")
    assert phases(report, "1")[2:] == ["stably_active", "stably_active"]
    assert phases(report, "3") == ["undecided"]


# ------------------------------------------------------------------------------------------------ limits


def test_no_time_no_solver(method: Method) -> None:
    """With no time left no solver is asked."""
    fake = FakeBackend(Outcome(Status.UNKNOWN))
    decided(ledger(STABLE_NETWORK, Box(-1.0, 1.0), seconds=0.0), method, fake)
    assert fake.asked == []


def test_nothing_open_no_solver(method: Method) -> None:
    """A network that bounds decide needs no solver."""
    fake = FakeBackend(Outcome(Status.UNKNOWN))
    decided(ledger(chain((1,), Dense([[1.0]], [5.0]), Rectifier()), Box(-1.0, 1.0)), method, fake)
    assert fake.asked == []


def test_time_limits_are_passed_on() -> None:
    """A solve gets the time of a neuron, or what is left of the run; a layer its share."""
    fake = FakeBackend(Outcome(Status.TIME_LIMIT))
    decided(ledger(STABLE_NETWORK, Box(-1.0, 1.0), seconds=60.0), per_neuron.run, fake, 7.0)
    assert {options.time_limit_s for _, options in fake.asked} == {7.0}
    fake = FakeBackend(Outcome(Status.TIME_LIMIT))
    decided(ledger(STABLE_NETWORK, Box(-1.0, 1.0), seconds=60.0), per_layer.run, fake, 7.0)
    assert fake.asked[0][1].time_limit_s == pytest.approx(30.0, abs=2.0)
    assert fake.asked[-1][1].time_limit_s == pytest.approx(60.0, abs=2.0)


def test_no_finite_bounds_no_solver(method: Method) -> None:
    """Without finite bounds there is no big-M: the neurons stay undecided and no solver is asked."""
    network, box = folded(-0.5), Box(-1.0, 1.0).fit((1,))
    values = dict(interval_bounds(network, box).values)
    values["0"] = Interval(np.full(4, -np.inf), np.full(4, np.inf))
    fake = FakeBackend(Outcome(Status.UNKNOWN))
    report = decided(Ledger(network, box, Bounds(values)), method, fake)
    assert fake.asked == [] or all("h[1," not in "".join(milp.names) for milp, _ in fake.asked)
    assert report.counts()["undecided"] == 5


def test_better_side_first_and_second_skipped() -> None:
    """Of -|x| - 0.5 in [-4.5, 1.5] the upper side is asked first; once proved, the lower is not asked at all."""
    book = ledger(STABLE_NETWORK, Box(-1.0, 1.0))
    asked: list[tuple[int, float | None]] = []

    def answer(milp: Milp, options: SolveOptions) -> Outcome:
        asked.append((len(milp.integer[milp.integer]), options.cutoff))
        return Outcome(Status.CUTOFF, options.cutoff or 0.0)

    fake = FakeBackend(answer)
    per_neuron.settle(book, fake, [("3", 0, -1), ("3", 0, 1)], 10.0)
    verdict = book.report({}, {}, "complete").layers()["3"][0]
    assert verdict.phase is Phase.STABLY_INACTIVE
    assert len(asked) == 1


def test_one_input_settles_many() -> None:
    """An incumbent shown by the solver is replayed against all neurons, and the solver is stopped."""
    point = np.zeros(4)
    point[:1] = 1.0
    fake = FakeBackend(Outcome(Status.INTERRUPTED), [])
    book = ledger(STABLE_NETWORK, Box(-1.0, 1.0))

    def answer(milp: Milp, options: SolveOptions) -> Outcome:
        columns = np.zeros(len(milp.cost))
        columns[0] = 1.0
        fake.points = [columns]
        return Outcome(Status.INTERRUPTED)

    fake.answer = answer
    report = decided(book, one_solve.run, fake)
    assert fake.stopped
    assert len(report.witnesses) == 1
    verdicts = report.layers()["1"]
    assert verdicts[0].active_witness == verdicts[1].inactive_witness == 0


def test_layers_without_finite_bounds_stay_undecided() -> None:
    """One neuron's bound overflows, so its layer has no margins: what is settled stays, and nothing is raised."""
    second = Dense([[1e300, 0.0], [1.0, 1.0]], [-1e300, -5.0])
    network = chain((1,), Dense([[1.0], [-1.0]]), Rectifier(), second, Rectifier())
    book = ledger(network, Box(-1e12, 1e12))
    book.offer(np.array([[-7.0], [7.0]]))
    per_layer.run(book, backend("highs"), 10.0)
    first, other = book.report({}, {}, "complete").layers()["3"]
    assert not np.isfinite(first.upper)
    assert (first.phase, other.phase) == (Phase.UNSTABLE, Phase.UNDECIDED)
