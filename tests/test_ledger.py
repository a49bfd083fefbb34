"""The ledger keeps what was seen and proved, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box
from milpcomp.errors import DomainError, MilpcompError
from milpcomp.progress import Snapshot
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.nets import diamond


def ledger(**options: object) -> Ledger:
    """Return a fresh ledger of the diamond on the unit square."""
    box = Box(0.0, 1.0).fit((2,))
    return Ledger(diamond(), box, interval_bounds(diamond(), box), **options)  # type: ignore[arg-type]


def report(book: Ledger) -> Report:
    """Return the ledger's report."""
    return book.report({}, {}, "complete")


def test_everything_is_open_at_first() -> None:
    """A new ledger has all neurons undecided and in both P and Q."""
    book = ledger()
    assert book.open_pairs() == [("1", 0, 1), ("1", 1, 1), ("1", 0, -1), ("1", 1, -1)]
    assert report(book).counts()["undecided"] == 2


def test_two_witnesses_make_a_neuron_unstable() -> None:
    """After (1, 0) and (0, 1), g1 is unstable, with those inputs as witnesses; g2 stays open on one side."""
    book = ledger()
    with book.clock(Stage.REFUTE):
        assert book.offer(np.array([[1.0, 0.0]])) == 2
        assert book.offer(np.array([[0.0, 1.0], [1.0, 0.0]])) == 1
    first, second = report(book).verdicts
    assert (first.phase, first.stage, first.proof) == (Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED)
    witnesses = report(book).witnesses
    assert witnesses[first.active_witness].tolist() == [1.0, 0.0]
    assert witnesses[first.inactive_witness].tolist() == [0.0, 1.0]
    assert second.phase is Phase.UNDECIDED
    assert book.open_pairs() == [("1", 1, 1)]


def test_bounds_decide() -> None:
    """Interval bounds prove g2 <= -1: stably inactive, certified."""
    book = ledger()
    with book.clock(Stage.CLOSED_FORM):
        book.tighten(book.bounds)
    verdict = report(book).verdicts[1]
    assert (verdict.phase, verdict.proof) == (Phase.STABLY_INACTIVE, Proof.CERTIFIED)
    assert verdict.upper == pytest.approx(-1.0)


def test_inputs_outside_the_domain_are_refused() -> None:
    """An input outside the box would witness nothing about the box."""
    with pytest.raises(DomainError, match="outside the domain"):
        ledger().offer(np.array([[2.0, 0.0]]))


def test_solver_word_never_beats_a_witness() -> None:
    """A solver that calls a witnessed neuron stable is ignored; a certificate that does is a defect and raises."""
    book = ledger()
    book.offer(np.array([[1.0, 0.0]]))
    book.prove_inactive("1", np.array([0]), Proof.SOLVER)
    assert report(book).verdicts[0].phase is Phase.UNDECIDED
    with pytest.raises(MilpcompError, match="contradict"):
        book.prove_inactive("1", np.array([0]), Proof.CERTIFIED)


def test_a_verdict_is_never_overwritten() -> None:
    """What is decided first stays: a later proof of less worth changes nothing."""
    book = ledger()
    book.prove_inactive("1", np.array([1]), Proof.CERTIFIED)
    book.prove_active("1", np.array([1]), Proof.SOLVER)
    verdict = report(book).verdicts[1]
    assert (verdict.phase, verdict.proof) == (Phase.STABLY_INACTIVE, Proof.CERTIFIED)


def test_snapshots_count() -> None:
    """Whoever listens is told the counts after each discovery."""
    seen: list[Snapshot] = []
    book = ledger(notify=seen.append)
    with book.clock(Stage.REFUTE):
        book.offer(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert seen[-1].stage == "refute"
    assert (seen[-1].total().unstable, seen[-1].total().undecided) == (1, 1)
