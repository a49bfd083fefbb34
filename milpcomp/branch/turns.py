"""Semidefinite bounds or phases? Both, in turns: the one that has paid more so far goes first.

One of the two is mostly quick, and which one is alike for the questions of a layer. Each has a rate: proofs per second,
with one proof in one second granted to begin with. Where both are still open, they go on in turns that get longer.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from milpcomp.bounds.interval import Interval
from milpcomp.branch import curves, phases
from milpcomp.branch.question import NOTHING, Limits, Outcome, Question, Search
from milpcomp.branch.relaxation import Relaxation
from milpcomp.domain import FloatArray
from milpcomp.network import Network

FIRST_S, SECOND_S = 1.5, 0.5
"""What the better and the worse one get at first; after that both get twice as much in every turn."""

LONGEST_TURN = 20
"""How often that doubles: a turn of weeks is long enough."""


class Turns:
    """How the two searches have fared with the questions of one layer; for use by several threads.

    Parameters
    ----------
    relaxation : Relaxation
        Of the layer, for the search over phases.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation = relaxation
        self.lock = threading.Lock()
        self.proofs, self.seconds = [1.0, 1.0], [1.0, 1.0]

    def start(
        self,
        network: Network,
        values: Mapping[str, Interval],
        question: Question,
        offer: Callable[[FloatArray], object],
    ) -> Both:
        """Return a search; parameters as for `milpcomp.branch.phases.Search`."""
        return Both(
            self,
            lambda: curves.start(network, values, question, offer),
            lambda: phases.Search(network, values, question, offer, self.relaxation),
        )

    def better(self) -> int:
        """Return which of the two has the better rate."""
        with self.lock:
            rates = [proofs / seconds for proofs, seconds in zip(self.proofs, self.seconds, strict=True)]
        return 0 if rates[0] >= rates[1] else 1

    def note(self, method: int, proved: bool, seconds: float) -> None:
        """Enter what a search has achieved, in how much time."""
        with self.lock:
            self.proofs[method] += proved
            self.seconds[method] += seconds


class Both:
    """Both searches for a proof of one question, which can be stopped and go on where they were."""

    def __init__(self, turns: Turns, *makers: Callable[[], Search | None]) -> None:
        self.turns, self.makers = turns, makers
        self.searches: dict[int, Search | None] = {}

    @property
    def stuck(self) -> bool:
        """Whether going on with either is of no use."""
        return all(method in self.searches and self._search(method) is None for method in range(len(self.makers)))

    @property
    def nbytes(self) -> int:
        """About how many bytes both hold."""
        return sum(search.nbytes for search in self.searches.values() if search is not None)

    def run(self, limits: Limits) -> Outcome:
        """Search until the limits."""
        better = self.turns.better()
        outcome = NOTHING
        for turn in itertools.count():
            method = (better, 1 - better)[turn % 2]
            search = self._search(method)
            if search is None:
                if self.stuck:
                    break
                continue
            begin = time.monotonic()
            seconds = SECOND_S if turn == 1 else FIRST_S * 2 ** min(turn // 2, LONGEST_TURN)
            if self.searches.get(1 - method, search) is None:
                seconds = math.inf  # it is the only one left
            outcome = search.run(replace(limits, deadline=min(limits.deadline, begin + seconds)))
            self.turns.note(method, outcome.proved, time.monotonic() - begin)
            if outcome.proved or limits.settled() or time.monotonic() >= limits.deadline:
                break
        return outcome

    def _search(self, method: int) -> Search | None:
        """Return the search, as far as it got; None where it is of no use."""
        if method not in self.searches:
            self.searches[method] = self.makers[method]()
        search = self.searches[method]
        if search is not None and search.stuck:
            search = self.searches[method] = None
        return search
