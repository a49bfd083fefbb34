"""The branch stage: every open neuron, layer by layer, several side by side, easy ones first.

Networks with few inputs split the input box, from the third layer on. All others bound the layer below by its
semidefinite relaxation, which decides at once what rests on many small terms, and split phases, in turns. Searches run
in threads, as the simplex and large array operations let go of the interpreter lock. Each uses one core: threads of
BLAS on top of these wait for each other (measured: up to ten times slower). The layers below a search do not change
while it runs, as a layer waits for the one before; what a search proves is entered at once and serves all later layers.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from milpcomp.branch import boxes
from milpcomp.branch.question import Limits, Outcome, Question
from milpcomp.branch.relaxation import relax
from milpcomp.branch.turns import Turns
from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.encoding import pre_activation_bounds
from milpcomp.network import INPUT, Network
from milpcomp.network.canonical import canonical
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.verdict import Proof

Search = Callable[..., Outcome]

WORKERS = 2
"""How many searches run at a time."""

QUICK = 0.1
"""Share of the limit per neuron that the quick round gives."""

PATIENCE_S = 5.0
"""How long an interrupted search may take to notice."""


def quick_round(ledger: Ledger, deadline: float, neuron_time_limit_s: float, max_bytes: int) -> None:
    """Give every open pair a short search, so that no hard neuron stands before easy ones; parameters as for `run`."""
    _round(ledger, deadline, QUICK * neuron_time_limit_s, max_bytes)


def run(ledger: Ledger, deadline: float, neuron_time_limit_s: float, max_bytes: int) -> None:
    """Try to settle every open pair by branch and bound.

    Parameters
    ----------
    ledger : Ledger
        What is open is read from it; what is decided is entered.
    deadline : float
        ``time.monotonic()`` value at which the stage ends.
    neuron_time_limit_s : float
        Limit of one search, until every question has had its turn. Where there is a deadline, those that are still open
        then share the time up to it.
    max_bytes : int
        Limit of all proofs together. A verdict whose proof does not fit rests on the search's own word.
    """
    _round(ledger, deadline, neuron_time_limit_s, max_bytes)
    for layer in ledger.layers if math.isfinite(deadline) else ():
        turns = math.ceil(len(ledger.open_pairs()) / WORKERS)
        if turns:
            _Layer(ledger, layer, deadline, (deadline - time.monotonic()) / turns, max_bytes).run()


def _round(ledger: Ledger, deadline: float, limit_s: float, max_bytes: int) -> None:
    for layer in ledger.layers:
        _Layer(ledger, layer, deadline, limit_s, max_bytes).run()


def splits_boxes(network: Network, layer: str) -> bool:
    """Tell whether questions about a layer are searched over boxes: few inputs, and two or more layers below."""
    return network.width(INPUT) <= boxes.FEW_INPUTS and len(canonical(network, upto=layer).forms) > 2


class _Layer:
    """One pass over the open pairs of one layer."""

    def __init__(self, ledger: Ledger, layer: str, deadline: float, limit_s: float, max_bytes: int) -> None:
        self.ledger, self.layer = ledger, layer
        self.values = ledger.bounds.values
        self.deadline, self.limit_s, self.max_bytes = deadline, limit_s, max_bytes
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.failure: BaseException | None = None
        self.questions = self._questions()

    def run(self) -> None:
        """Settle what the limits allow; exceptions of searches come out here."""
        if time.monotonic() >= self.deadline or not any(pair[0] == self.layer for pair in self.ledger.open_pairs()):
            return
        search = self._search()
        if search is None:
            return
        with threadpool_limits(1, "blas"):
            self._run_threads(search)
        if self.failure is not None:
            raise self.failure

    def _run_threads(self, search: Search) -> None:
        threads = [threading.Thread(target=self._work, args=(search,), daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)  # returns to the interpreter, which then sees Ctrl-C
        finally:
            with self.lock:
                self.stopped.set()
            for thread in threads:
                thread.join(PATIENCE_S)

    def _questions(self) -> Iterator[Question]:
        """Return the open pairs, the ones nearest to a decision first."""
        lower, upper = pre_activation_bounds(self.ledger.network, self.ledger.bounds, self.layer)
        pairs = [Question(*pair) for pair in self.ledger.open_pairs() if pair[0] == self.layer]
        with np.errstate(all="ignore"):
            share = {1: upper / (upper - lower), -1: -lower / (upper - lower)}
        return iter(sorted(pairs, key=lambda question: float(share[question.sign][question.unit])))

    def _search(self) -> Search | None:
        """Return how questions about this layer are searched; None where there are no finite bounds to start from."""
        if splits_boxes(self.ledger.network, self.layer):
            return boxes.search
        try:
            relaxation = relax(self.ledger.network, self.values, self.layer)
        except SolverError:
            return None
        return Turns(relaxation).search

    def _work(self, search: Search) -> None:
        try:
            while (question := self._next()) is not None:
                limits = Limits(self._end(), lambda question=question: self._settled(question), self._room())  # type: ignore[misc]
                try:
                    outcome = search(self.ledger.network, self.values, question, self._offer, limits)
                except SolverError:
                    continue  # numbers that HiGHS does not take: this one stays open
                self._enter(question, outcome)
        except BaseException as error:
            self.failure = error
            self.stopped.set()

    def _next(self) -> Question | None:
        with self.lock:
            for question in self.questions:
                if time.monotonic() > self.deadline or self.stopped.is_set():
                    return None
                if not self._settled(question):
                    return question
        return None

    def _end(self) -> float:
        return min(self.deadline, time.monotonic() + self.limit_s)

    def _room(self) -> int:
        return max(0, self.max_bytes - sum(proof.nbytes for proof in self.ledger.branch_proofs))

    def _settled(self, question: Question) -> bool:
        ask = self.ledger.open_active if question.sign > 0 else self.ledger.open_inactive
        return self.stopped.is_set() or not ask(question.layer)[question.unit]

    def _offer(self, x: FloatArray) -> None:
        with self.lock:
            if not self.stopped.is_set():
                self.ledger.offer(x)

    def _enter(self, question: Question, outcome: Outcome) -> None:
        with self.lock:
            if not outcome.proved or self._settled(question):
                return
            if outcome.proof is not None and outcome.proof.nbytes <= self._room():
                self.ledger.prove_by_cases(outcome.proof)
                return
            enter = self.ledger.prove_inactive if question.sign > 0 else self.ledger.prove_active
            enter(question.layer, np.array([question.unit]), Proof.UNCERTIFIED)
            self.ledger.progress()
