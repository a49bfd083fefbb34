"""Images decided by workers: what one process finds out, whatever order they end in, and what a lost one is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.batches import images
from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.batches.images import sandwich_on_workers
from milpcomp.batches.twice import outcomes
from milpcomp.errors import DomainError, MilpcompError
from milpcomp.robustness import Outcome, sandwich
from tests.test_batch_run import Here
from tests.test_certified import classifier

INPUTS, LABELS = np.array([[0.8], [0.7], [0.2], [0.9]]), np.array([0, 0, 1, 1])

KILLED = Done("", "killed", error="its process was ended by SIGKILL", seconds=1.5)


class Last(Here):
    """Runs what was submitted last first."""

    workers = 3

    def finished(self, timeout_s: float) -> list[Done]:
        self.calls.reverse()
        return super().finished(timeout_s)


def put(monkeypatch: pytest.MonkeyPatch, executor: Executor) -> None:
    """Have images decided by an executor."""

    @contextmanager
    def give(*_: object) -> Iterator[Executor]:
        yield executor

    monkeypatch.setattr(images, "place", give)


def test_the_outcomes_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image gets its own result, in any order of ending, with proofs that the checker accepts."""
    put(monkeypatch, Last())
    told: list[int] = []
    found = sandwich_on_workers(classifier(), INPUTS, LABELS, 0.25, progress=lambda image, _: told.append(image))
    alone = sandwich(classifier(), INPUTS, LABELS, 0.25)
    assert [one.outcome for one in found.outcomes] == [one.outcome for one in alone.outcomes]
    assert [one.outcome for one in found.outcomes].count(Outcome.ROBUST) == 2
    assert found.attacked.tolist() == alone.attacked.tolist()
    assert sorted(told) == [0, 1, 2, 3] != told
    robust = found.outcomes[0]
    assert robust.report is not None
    assert mc.check(robust.margins, robust.domain, robust.report).accepted


def test_a_lost_image_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed once, an image is decided by another process; killed twice, nothing is claimed of it."""
    put(monkeypatch, Here({1: KILLED, 3: KILLED, 5: KILLED}))  # the first image, the third, and the third again
    found = sandwich_on_workers(classifier(), INPUTS[[0, 0, 0]], LABELS[[0, 0, 0]], 0.25)
    assert [one.outcome for one in found.outcomes].count(Outcome.UNDECIDED) == 1
    assert found.attacked.tolist() == [True] * 3
    (lost,) = [one for one in found.outcomes if one.outcome is Outcome.UNDECIDED]
    assert (lost.report, lost.adversarial, lost.least_margin, lost.seconds) == (None, None, -np.inf, 1.5)


def test_mistakes_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image outside the valid range, and labels that are too few, are errors as in one process."""
    put(monkeypatch, Here())
    with pytest.raises(MilpcompError, match="image 1: DomainError: x lies outside"):
        sandwich_on_workers(classifier(), [[0.8], [1.5]], [0, 0], 0.1)
    with pytest.raises(DomainError, match="as many labels"):
        sandwich_on_workers(classifier(), INPUTS, LABELS[:2], 0.1)


def test_pieces_that_are_not_wanted_are_left_out() -> None:
    """No more calls run at a time than there are workers, and a piece without a call is passed over."""
    executor = Last()
    most: list[int] = []

    def call(piece: int) -> Call | None:
        most.append(len(executor.calls))
        return None if piece % 3 == 0 else Call(f"piece-{piece}", abs, (-piece,))

    found = {piece: done.value for piece, done in outcomes(executor, range(8), call)}
    assert found == {1: 1, 2: 2, 4: 4, 5: 5, 7: 7}
    assert max(most) < Last.workers
