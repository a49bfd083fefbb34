"""Semidefinite bounds or phases? Both, in turns: the one that has paid more so far goes first, and gets more time.

One of the two is mostly quick, and which one is alike for the questions of a layer. Each has a rate: proofs per second,
with one proof in one second granted to begin with. Where both fail, they go on with half of the time that is left, and
with all of it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from milpcomp.bounds.interval import Interval
from milpcomp.branch import curves, phases
from milpcomp.branch.question import Limits, Outcome, Question
from milpcomp.branch.relaxation import Relaxation
from milpcomp.domain import FloatArray
from milpcomp.network import Network

FIRST_S, SECOND_S = 1.5, 0.5
"""What the better and the worse one get before more is spent."""


class Turns:
    """The two searches of one layer, and what they have achieved; for use by several threads.

    Parameters
    ----------
    relaxation : Relaxation
        Of the layer, for the search over phases.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation = relaxation
        self.lock = threading.Lock()
        self.proofs, self.seconds = [1.0, 1.0], [1.0, 1.0]

    def search(
        self,
        network: Network,
        values: Mapping[str, Interval],
        question: Question,
        offer: Callable[[FloatArray], object],
        limits: Limits,
    ) -> Outcome:
        """Search for a proof; parameters as for `milpcomp.branch.phases.search`."""
        better = self._better()
        outcome = Outcome(False, None, 0, 0)
        for turn, method in enumerate((better, 1 - better, better, 1 - better)):
            begin = time.monotonic()
            seconds = (FIRST_S, SECOND_S, (limits.deadline - begin) / 2, math.inf)[turn]
            own = replace(limits, deadline=min(limits.deadline, begin + seconds))
            if method == 0:
                outcome = curves.search(network, values, question, offer, own)
            else:
                outcome = phases.search(network, values, question, offer, own, relaxation=self.relaxation)
            self._note(method, outcome.proved, time.monotonic() - begin)
            if outcome.proved or limits.settled() or time.monotonic() >= limits.deadline:
                break
        return outcome

    def _better(self) -> int:
        with self.lock:
            rates = [proofs / seconds for proofs, seconds in zip(self.proofs, self.seconds, strict=True)]
        return 0 if rates[0] >= rates[1] else 1

    def _note(self, method: int, proved: bool, seconds: float) -> None:
        with self.lock:
            self.proofs[method] += proved
            self.seconds[method] += seconds
