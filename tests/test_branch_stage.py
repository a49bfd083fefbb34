"""The branch stage of the funnel: what it decides, how that is labelled, and that nothing is lost on the way."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.tighten import Bounds, interval_bounds
from milpcomp.branch import boxes, curves, phases, turns
from milpcomp.branch.question import Limits, Outcome, Question, Search
from milpcomp.checker import check
from milpcomp.checker.result import Finding
from milpcomp.compression import compress
from milpcomp.domain import Box
from milpcomp.errors import SettingsError, SolverError
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.stability import branching
from milpcomp.stability.branching import Branching
from milpcomp.stability.certify import certify
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.exact import cases, points
from tests.nets import chain


def tents(*lifts: float) -> Network:
    """Return neurons g_k = |x| - |x| + lift_k of a second layer, and a third layer 1/2 - sum of all max(0, g_k).

    Each |x| is the sum of two rectifiers of its own, so no relaxation of single ones sees that they cancel.
    """
    first = Dense([[1.0], [-1.0], [1.0], [-1.0]])
    second = Dense([[1.0, 1.0, -1.0, -1.0]] * len(lifts), list(lifts))
    third = Dense([[-1.0] * len(lifts)], [0.5])
    return chain((1,), first, Rectifier(), second, Rectifier(), third, Rectifier())


def crossed(bias: float) -> Network:
    """Return ``|x1 + x2| + |x1 - x2| + bias``."""
    rows = Dense([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    return chain((2,), rows, Rectifier(), Dense([[1.0] * 4], [bias]), Rectifier())


BOX = Box(-1.0, 1.0)


def none(*arguments: object) -> None:
    """Stand in for a search that is of no use here."""


class Fake:
    """Stands in for a search; `runs` is what its runs do."""

    stuck, nbytes = False, 5
    runs: Callable[[Question, Limits], None]

    def __init__(self, *arguments: object) -> None:
        self.question = arguments[2]

    def run(self, limits: Limits) -> Outcome:
        assert isinstance(self.question, Question)
        type(self).runs(self.question, limits)
        return Outcome(False, None, 0, 0)


def fake(runs: Callable[[Question, Limits], None]) -> type[Fake]:
    """Return a search whose runs do this and prove nothing."""
    return type("OneFake", (Fake,), {"runs": staticmethod(runs)})


def test_the_stage_certifies_what_bounds_cannot() -> None:
    """Two neurons that are constant, by cases only: decided by this stage, certified, with a tree each."""
    report = certify(tents(-0.25, 0.25), BOX)
    below, above = report.layers()["3"]
    assert (below.phase, below.stage, below.proof) == (Phase.STABLY_INACTIVE, Stage.BRANCH, Proof.CERTIFIED)
    assert (above.phase, above.stage, above.proof) == (Phase.STABLY_ACTIVE, Stage.BRANCH, Proof.CERTIFIED)
    assert below.upper <= 0 <= above.lower
    trees = {(p.layer, p.unit, p.side): p.bound for p in report.proofs if isinstance(p, BranchProof)}
    assert trees[("3", 0, "upper")] == 0.0
    assert trees[("3", 1, "lower")] == 0.0
    kinds = [isinstance(proof, BranchProof) for proof in report.proofs]
    assert kinds == sorted(kinds)  # linear proofs first
    assert report.stage_seconds["branch"] > 0


def test_few_inputs_split_boxes() -> None:
    """Boxes are split from the third layer on where inputs are few, phases elsewhere; both end in checked verdicts."""
    network = tents(-0.25, 0.25)
    assert [branching.splits_boxes(network, layer) for layer in ("1", "3", "5")] == [False, False, True]
    wide = chain((11,), Dense(np.ones((1, 11))), *(layer for _ in range(3) for layer in (Rectifier(), Dense([[1.0]]))))
    assert not any(branching.splits_boxes(wide, node.name) for node in wide.rectifiers)


def test_a_verdict_tightens_later_layers_at_once() -> None:
    """With g <= 0 proved, 1/2 - max(0, g) >= 1/2 follows by the interval step: the same stage, no tree of its own."""
    network, box = tents(-0.25), BOX.fit((1,))
    ledger = Ledger(network, box, interval_bounds(network, box))
    with ledger.clock(Stage.BRANCH):
        values = ledger.bounds.values
        limits = Limits(time.monotonic() + 5.0, lambda: False, 2**20)
        proof = phases.Search(network, values, Question("3", 0, 1), ledger.offer).run(limits).proof
        assert proof is not None
        ledger.prove_by_cases(proof)
    report = ledger.report({}, {}, "complete")
    last = report.layers()["5"][0]
    assert (last.phase, last.stage, last.lower) == (Phase.STABLY_ACTIVE, Stage.BRANCH, 0.5)
    assert report.proofs == (proof,)


def test_a_proof_that_does_not_fit_is_said_not_to_be_certified() -> None:
    """Without room for the tree the verdict stays, rests on trust, and is acted upon only on request."""
    network = tents(-0.25)
    report = certify(network, BOX, max_certificate_bytes=0)
    verdict = report.layers()["3"][0]
    assert (verdict.phase, verdict.stage, verdict.proof) == (Phase.STABLY_INACTIVE, Stage.BRANCH, Proof.UNCERTIFIED)
    assert verdict.upper > 0
    assert not any(isinstance(proof, BranchProof) for proof in report.proofs)
    kept = compress(network, report).network
    removed = compress(network, report, trust_solver=True).network
    assert sum(removed.width(n.name) for n in removed.rectifiers) < sum(kept.width(n.name) for n in kept.rectifiers)


def test_negative_room_is_refused() -> None:
    """A limit below zero is a mistake."""
    with pytest.raises(SettingsError, match="bytes"):
        certify(tents(-0.25), BOX, max_certificate_bytes=-1)


def test_interrupts_and_failures_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a run as interrupted, with all that was decided; a defect inside a search is not swallowed."""
    started = threading.Event()

    def endless(question: Question, limits: Limits) -> None:
        started.set()
        while not limits.settled():
            time.sleep(0.01)

    def interrupting(self: threading.Thread, timeout: float | None = None) -> None:
        join(self, timeout)
        if started.is_set() and threading.current_thread() is threading.main_thread():
            started.clear()
            raise KeyboardInterrupt

    join = threading.Thread.join
    monkeypatch.setattr(curves, "start", none)
    monkeypatch.setattr(phases, "Search", fake(endless))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupting)
        report = certify(tents(-0.25), BOX)
    assert report.ended == "interrupted"
    assert report.layers()["1"][0].phase is Phase.UNSTABLE

    def failing(question: Question, limits: Limits) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(phases, "Search", fake(failing))
    with pytest.raises(ZeroDivisionError):
        certify(tents(-0.25), BOX)


def test_numbers_that_the_solver_refuses_leave_neurons_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that HiGHS rejects, and bounds that are not finite, end no run: the stage goes on to the next neuron."""

    def refusing(*arguments: object) -> None:
        raise SolverError("HiGHS rejected the relaxation")

    network, box = tents(-0.25, 0.25), BOX.fit((1,))
    ledger = Ledger(network, box, interval_bounds(network, box))
    with monkeypatch.context() as patch:
        patch.setattr(curves, "start", none)
        patch.setattr(phases, "Search", refusing)
        Branching(ledger, 1.0, 2**20).run(time.monotonic() + 5.0)
    assert {proof.layer for proof in ledger.branch_proofs} == {"5"}  # by boxes
    values = dict(ledger.bounds.values)
    values["0"] = Interval(np.full(4, -np.inf), np.full(4, np.inf))
    ledger = Ledger(network, box, Bounds(values))
    Branching(ledger, 1.0, 2**20).run(time.monotonic() + 5.0)
    assert not any(proof.layer == "3" for proof in ledger.branch_proofs)


@given(cases())
@settings(max_examples=12, deadline=None)
def test_the_checker_accepts_what_the_stage_proves(
    case: tuple[Network, np.ndarray, np.ndarray, np.random.Generator],
) -> None:
    """Awkward networks of every kind, by this stage right after intervals: no verdict is rejected, no proof refused."""
    network, low, high, rng = case
    if not np.isfinite(high - low).all():
        return
    box = Box(low, high).fit(network.input_shape)
    with np.errstate(all="ignore"):
        ledger = Ledger(network, box, interval_bounds(network, box))
        ledger.offer(points(rng, box.lower, box.upper, 20))
        ledger.tighten(ledger.bounds)
        with ledger.clock(Stage.BRANCH):
            Branching(ledger, 0.2, 2**22).run(time.monotonic() + 0.5)
        checked = check(network, box, ledger.report({}, {}, "complete"))
    assert not checked.problems
    decided = [entry for entry in checked.entries if entry.phase in ("stably_inactive", "stably_active")]
    assert all(entry.finding in (Finding.ACCEPTED, Finding.NOT_CHECKABLE) for entry in decided)


def test_the_stage_keeps_to_its_deadline() -> None:
    """A deadline in the past leaves everything as it was."""
    network, box = tents(-0.25), BOX.fit((1,))
    ledger = Ledger(network, box, interval_bounds(network, box))
    Branching(ledger, 10.0, 2**20).run(time.monotonic() - 1.0)
    assert not ledger.branch_proofs
    assert np.count_nonzero(ledger.open_active("3")) == 1


def test_what_is_left_of_the_time_goes_to_what_is_still_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick round gives a tenth of the limit per neuron, a run all of it, then the last turns share the time."""
    given_s: list[float] = []

    def gives_up(question: Question, limits: Limits) -> None:
        given_s.append(limits.deadline - time.monotonic())

    monkeypatch.setattr(turns.Turns, "start", lambda _, *arguments: fake(gives_up)(*arguments))
    monkeypatch.setattr(boxes, "Search", fake(gives_up))
    network, box = tents(-0.25, 0.25), BOX.fit((1,))
    ledger = Ledger(network, box, interval_bounds(network, box))
    asked = len(ledger.open_pairs())
    assert asked > 2
    Branching(ledger, 1.0, 2**20).quick_round(time.monotonic() + 1_000.0)
    assert len(given_s) == asked
    assert max(given_s) <= 0.1
    Branching(ledger, 1.0, 2**20).run(float("inf"))
    assert len(given_s) == 2 * asked
    assert 0.1 < max(given_s) <= 1.0
    given_s.clear()
    Branching(ledger, 1.0, 2**20).run(time.monotonic() + 1_000.0)
    last = given_s[asked:]
    assert len(last) == asked
    assert min(last) > 1_000.0 / asked - 1.0


def now_and_then(calls: int) -> Callable[[], bool]:
    """Return a condition that is true every so many calls."""
    count = itertools.count(1)
    return lambda: next(count) % calls == 0


@pytest.mark.parametrize(
    ("start", "network", "box", "question", "calls"),
    [
        (phases.Search, tents(-0.25), BOX, Question("3", 0, 1), 2),
        (boxes.Search, tents(-0.25), BOX, Question("5", 0, -1), 2),
        (curves.start, crossed(-2.1), Box(-np.ones(2), np.ones(2)), Question("3", 0, 1), 5),
    ],
)
def test_a_search_that_is_stopped_goes_on_where_it_was(
    start: Callable[..., Search], network: Network, box: Box, question: Question, calls: int
) -> None:
    """In several short runs a search ends with a proof that the checker accepts, with hardly more nodes than in one."""
    box = box.fit(network.input_shape)
    bounds = interval_bounds(network, box)
    whole = start(network, bounds.values, question, none).run(Limits(np.inf, lambda: False, 2**20))
    search, stop, runs = start(network, bounds.values, question, none), now_and_then(calls), 1
    while not (outcome := search.run(Limits(np.inf, stop, 2**20))).proved:
        runs += 1
        assert runs < 1000
        assert not search.stuck
    assert runs > 1
    assert outcome.nodes <= whole.nodes + runs
    assert outcome.proof is not None
    ledger = Ledger(network, box, bounds)
    with ledger.clock(Stage.BRANCH):
        ledger.prove_by_cases(outcome.proof)
    found = {
        (entry.layer, entry.unit): entry.finding for entry in check(network, box, ledger.report({}, {}, "")).entries
    }
    assert found[question.layer, question.unit] is Finding.ACCEPTED


def test_rounds_go_on_with_stopped_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later round runs the same searches, new ones where more is known of what is below or there is no room."""
    seen: list[tuple[Question, Fake]] = []

    def noting(self: Fake, limits: Limits) -> Outcome:
        assert isinstance(self.question, Question)
        seen.append((self.question, self))
        return Outcome(False, None, 0, 0)

    monkeypatch.setattr(Fake, "run", noting)
    monkeypatch.setattr(turns.Turns, "start", lambda _, *arguments: Fake(*arguments))
    monkeypatch.setattr(boxes, "Search", Fake)
    network, box = tents(-0.25, 0.25), BOX.fit((1,))
    ledger = Ledger(network, box, interval_bounds(network, box))
    rounds = Branching(ledger, 1.0, 2**20)

    def searches() -> dict[Question, Fake]:
        seen.clear()
        rounds.quick_round(time.monotonic() + 1_000.0)
        return dict(seen)

    first, second = searches(), searches()
    assert first
    assert first == second
    values = dict(ledger.bounds.values)
    values["1"] = Interval(values["1"].lower, values["1"].upper - 0.125)
    ledger.tighten(Bounds(values))
    third = searches()
    assert {question.layer for question, search in third.items() if search is not second[question]} == {"3", "5"}
    monkeypatch.setattr(branching, "PAUSED_BYTES", 10)
    fourth, fifth = searches(), searches()
    kept = [question for question, search in fifth.items() if search is fourth[question]]
    assert len(kept) == 2, "five bytes each"
    monkeypatch.setattr(Fake, "stuck", True)
    assert set(searches()) == set(fifth)
    assert not searches(), "what is stuck is not asked again"
    ledger.tighten(Bounds(values | {"1": Interval(values["1"].lower, values["1"].upper - 0.25)}))
    assert {question.layer for question in searches()} == {"3", "5"}


def test_a_stuck_search_stays_unproved() -> None:
    """|x1 + x2| + |x1 - x2| - 0.1 reaches 1.9: with nothing left to split, a search says no however often it runs."""
    network, box = crossed(-0.1), Box(-np.ones(2), np.ones(2)).fit((2,))
    values, question = interval_bounds(network, box).values, Question("3", 0, 1)
    for search in (curves.start(network, values, question, none), phases.Search(network, values, question, none)):
        assert search is not None
        outcomes = [search.run(Limits(time.monotonic() + 5.0, lambda: False, 2**20)) for _ in range(20)]
        assert search.stuck
        assert not any(outcome.proved for outcome in outcomes)
