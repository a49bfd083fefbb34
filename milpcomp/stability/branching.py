"""The branch stage: every open neuron, layer by layer, several side by side, easy ones first.

Networks with few inputs split the input box, from the third layer on. All others bound the layer below by its
semidefinite relaxation, which decides at once what rests on many small terms, and split phases, in turns. Searches run
in threads, as the simplex and large array operations let go of the interpreter lock. Each uses one core: threads of
BLAS on top of these wait for each other (measured: up to ten times slower). The layers below a search do not change
while it runs, as a layer waits for the one before; what a search proves is entered at once and serves all later layers.
A search that its limit stops goes on where it was in the next round, if nothing below has become known meanwhile.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from milpcomp.bounds.interval import Interval
from milpcomp.branch import boxes
from milpcomp.branch.question import Limits, Outcome, Question, Search
from milpcomp.branch.relaxation import relax
from milpcomp.branch.turns import Turns
from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.encoding import pre_activation_bounds
from milpcomp.network import INPUT, Network
from milpcomp.network.canonical import canonical
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.verdict import Proof

WORKERS = 2
"""How many searches run at a time."""

QUICK = 0.1
"""Share of the limit per neuron that the quick round gives."""

PAUSED_BYTES = 2**29
"""How many bytes all searches may hold together that are kept to go on with in a later round."""

PATIENCE_S = 5.0
"""How long an interrupted search may take to notice."""


class Branching:
    """The open pairs of a ledger, and searches for proofs by cases that settle them.

    Parameters
    ----------
    ledger : Ledger
        What is open is read from it; what is decided is entered.
    neuron_time_limit_s : float
        Limit of one search, until every question has had its turn. Where there is a deadline, those that are still open
        then share the time up to it.
    max_bytes : int
        Limit of all proofs together. A verdict whose proof does not fit rests on the search's own word.
    """

    def __init__(self, ledger: Ledger, neuron_time_limit_s: float, max_bytes: int) -> None:
        self.ledger, self.limit_s = ledger, neuron_time_limit_s
        self.layers = [_Layer(ledger, layer, max_bytes, self._room) for layer in ledger.layers]

    def _room(self) -> int:
        return PAUSED_BYTES - sum(search.nbytes for layer in self.layers for search in layer.paused.values())

    def quick_round(self, deadline: float) -> None:
        """Give every open pair a short search, so that no hard neuron stands before easy ones."""
        for layer in self.layers:
            layer.run(deadline, QUICK * self.limit_s)

    def run(self, deadline: float) -> None:
        """Try to settle every open pair until `deadline`, a value of ``time.monotonic()``."""
        shared = math.isfinite(deadline)
        for layer in self.layers:
            layer.run(deadline, self.limit_s, last=not shared)
        for layer in self.layers if shared else ():
            turns = math.ceil(sum(len(other.waiting()) for other in self.layers) / WORKERS)
            if turns:
                layer.run(deadline, (deadline - time.monotonic()) / turns, last=True)


def _same(one: Interval, other: Interval) -> bool:
    return np.array_equal(one.lower, other.lower) and np.array_equal(one.upper, other.upper)


def splits_boxes(network: Network, layer: str) -> bool:
    """Tell whether questions about a layer are searched over boxes: few inputs, and two or more layers below."""
    return network.width(INPUT) <= boxes.FEW_INPUTS and len(canonical(network, upto=layer).forms) > 2


class _Layer:
    """The open pairs of one layer, and the searches for them that were stopped and can go on."""

    def __init__(self, ledger: Ledger, layer: str, max_bytes: int, room_to_pause: Callable[[], int]) -> None:
        self.ledger, self.layer, self.max_bytes, self.room_to_pause = ledger, layer, max_bytes, room_to_pause
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.failure: BaseException | None = None
        self.below: dict[str, Interval] = {}
        self.start: Callable[[Question], Search] | None = None
        self.paused: dict[Question, Search] = {}
        self.given_up: set[Question] = set()
        self.last = False
        self.questions: Iterator[Question] = iter(())
        self.deadline = self.limit_s = 0.0

    def run(self, deadline: float, limit_s: float, last: bool = False) -> None:
        """Settle what the limits allow; exceptions of searches come out here. After the `last` run nothing is kept."""
        if time.monotonic() >= deadline or not any(pair[0] == self.layer for pair in self.ledger.open_pairs()):
            return
        self.stopped.clear()
        self._begin()
        if self.start is None or not self.waiting():
            return
        self.deadline, self.limit_s, self.last, self.questions = deadline, limit_s, last, self._questions()
        with threadpool_limits(1, "blas"):
            self._run_threads()
        if self.failure is not None:
            raise self.failure
        if last or not self.paused:
            self.start, self.paused = None, {}

    def waiting(self) -> list[Question]:
        """Return the open questions about the layer that a search may still answer."""
        pairs = [Question(*pair) for pair in self.ledger.open_pairs() if pair[0] == self.layer]
        return [question for question in pairs if question not in self.given_up]

    def _begin(self) -> None:
        """Begin anew where more is known of what is below than when the searches were started."""
        network, values = self.ledger.network, self.ledger.bounds.values
        before = list(itertools.takewhile(lambda name: name != self.layer, (INPUT, *(node.name for node in network))))
        source = network[self.layer].inputs[0]
        below = {name: values[name] for name in before if name != source}
        if not (self.below and all(_same(below[name], self.below[name]) for name in below)):
            self.below, self.start, self.paused, self.given_up = below, None, {}, set()
        self.paused = {question: search for question, search in self.paused.items() if not self._settled(question)}
        if self.start is None:
            self.start = self._starter(dict(values))

    def _run_threads(self) -> None:
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
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
        with np.errstate(all="ignore"):
            share = {1: upper / (upper - lower), -1: -lower / (upper - lower)}
        return iter(sorted(self.waiting(), key=lambda question: float(share[question.sign][question.unit])))

    def _starter(self, values: Mapping[str, Interval]) -> Callable[[Question], Search] | None:
        """Return what starts a search about this layer; None where there are no finite bounds to start from."""
        network = self.ledger.network
        if splits_boxes(network, self.layer):
            return lambda question: boxes.Search(network, values, question, self._offer)
        try:
            relaxation = relax(network, values, self.layer)
        except SolverError:
            return None
        turns = Turns(relaxation)
        return lambda question: turns.start(network, values, question, self._offer)

    def _work(self) -> None:
        try:
            while (question := self._next()) is not None:
                limits = Limits(self._end(), lambda question=question: self._settled(question), self._room())  # type: ignore[misc]
                try:
                    search = self._taken_up(question)
                    outcome = search.run(limits)
                except SolverError:
                    continue  # numbers that HiGHS does not take: this one stays open
                self._enter(question, outcome)
                self._put_by(question, search)
        except BaseException as error:
            self.failure = error
            self.stopped.set()

    def _taken_up(self, question: Question) -> Search:
        """Return the search for a question, as far as it got."""
        with self.lock:
            search = self.paused.pop(question, None)
        assert self.start is not None
        return self.start(question) if search is None else search

    def _put_by(self, question: Question, search: Search) -> None:
        with self.lock:
            if search.stuck:
                self.given_up.add(question)
            elif not self.last and not self._settled(question) and search.nbytes <= self.room_to_pause():
                self.paused[question] = search

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
