"""The one-solve method: P/Q problems over the whole network, smaller and smaller until c(P, Q) = 0 is proved.

    linear relaxations of the P/Q problem, for all open pairs and then for halves of them; their inputs are replayed
    repeat  c(P, Q) over all open pairs (`milpcomp.milp.pairs`)
            a new witness among the inputs that the solver shows    -> P and Q shrink, again
            proved c(P, Q) = 0                                      -> P stably inactive, Q stably active, done
            a solution that counts pairs which its replay does not  -> these are *tied*: out of the objective, again
            anything else (time limit, error, nonsense)             -> what is open stays undecided

(Serra, Kumar and Ramalingam, arXiv 2102.07804, section 5.) The published scheme removes pairs inside the running
solver, by lazy constraints, and injects the relaxation's input at every node as an incumbent (Fischetti and Jo, 2018).
HiGHS has no lazy constraints and shows no relaxation points. So the solver is interrupted at the first solution that
counts a pair and started again on the smaller problem, and the relaxations are solved here, before it. Replaying an
input does what injecting it would do: all pairs that it witnesses leave P and Q. (Halving matters: on a 49-64-64-64-10
network 192 of 192 neurons in 10 s, instead of 74 in 60 s with the relaxation of the whole objective alone.)

Tied pairs (z = 1 and h = 0 is feasible at a pre-activation of 0, and within the margin below it) stay undecided here
and are finished by the per-neuron problems, which maximise the pre-activation itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.encoding import Encoding, encode
from milpcomp.milp.guard import guarded_solve
from milpcomp.milp.margin import margins
from milpcomp.milp.pairs import HALF, Pair, PairProblem, pair_problem
from milpcomp.milp.problem import Backend, SolveOptions
from milpcomp.stability import per_neuron
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.per_neuron import is_open, offer, prove


def run(ledger: Ledger, backend: Backend, neuron_time_limit_s: float) -> None:
    """Settle all open neurons by one P/Q problem, ties one by one.

    Parameters
    ----------
    ledger : Ledger
        What is open is read from it; what is decided is entered. Its deadline is the only limit of the P/Q problem.
    backend : Backend
    neuron_time_limit_s : float
        Limit of one solve about a tied neuron.
    """
    if not ledger.open_pairs():
        return
    try:
        encoding = encode(ledger.network, ledger.bounds, ledger.domain)
    except SolverError:
        return  # no finite big-M: everything stays undecided
    tied = search(ledger, backend, encoding, ledger.layers, float("inf"))
    for layer in ledger.layers:
        per_neuron.settle(ledger, backend, [pair for pair in tied if pair[0] == layer], neuron_time_limit_s)


def search(
    ledger: Ledger, backend: Backend, encoding: Encoding, layers: Sequence[str], time_limit_s: float
) -> list[Pair]:
    """Solve P/Q problems over the open pairs of `layers` until nothing more comes of it.

    Returns
    -------
    list of Pair
        The pairs that P/Q problems cannot decide and that are still open.
    """
    deadline = min(ledger.deadline, time.monotonic() + time_limit_s)
    try:
        state = _Search(ledger, backend, encoding, margins(encoding), deadline)
    except SolverError:
        return []  # a neuron without finite bounds leaves no margin: everything stays undecided
    state.relaxations(state.open_pairs(layers))
    while state.seconds_left() > 0:
        problem = state.problem(state.open_pairs(layers))
        if not problem.pairs or not state.integer(problem):
            break
    return [pair for pair in ledger.open_pairs() if pair in state.tied]


@dataclass(frozen=True)
class _Search:
    """One sequence of P/Q problems, until `deadline` (a value of ``time.monotonic()``)."""

    ledger: Ledger
    backend: Backend
    encoding: Encoding
    margins: Mapping[str, FloatArray]
    deadline: float
    tied: set[Pair] = field(default_factory=set)

    def seconds_left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def open_pairs(self, layers: Sequence[str]) -> list[Pair]:
        return [pair for pair in self.ledger.open_pairs() if pair[0] in layers and pair not in self.tied]

    def problem(self, pairs: list[Pair]) -> PairProblem:
        """Return the P/Q problem of `pairs`; those that it cannot decide count as tied from now on."""
        problem = pair_problem(self.encoding, pairs, self.margins)
        self.tied.update(set(pairs) - set(problem.pairs))
        return problem

    def relaxations(self, pairs: list[Pair]) -> None:
        """Solve linear relaxations for all pairs together, and for halves of those that this leaves open."""
        waiting = [pairs]
        while waiting and self.seconds_left() > 0:
            part = [pair for pair in waiting.pop() if is_open(self.ledger, pair)]
            problem = self.problem(part)
            if not problem.pairs:
                continue
            relaxed = guarded_solve(self.backend, problem.milp.relaxed(), self._options(), known=0.0)
            if relaxed.proves(HALF):
                prove(self.ledger, list(problem.pairs))
            elif relaxed.solution is not None and offer(self.ledger, self.encoding, relaxed.solution):
                waiting.append(part)
            elif relaxed.solution is not None and len(part) > 1:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]

    def integer(self, problem: PairProblem) -> bool:
        """Solve a P/Q problem; tell whether it changed P, Q or the tied pairs, so that another may change more."""
        fresh = 0

        def found(columns: FloatArray) -> bool:
            nonlocal fresh
            fresh += offer(self.ledger, self.encoding, columns)
            return fresh > 0

        outcome = guarded_solve(self.backend, problem.milp, self._options(), found, known=0.0)
        if outcome.solution is not None:
            fresh += offer(self.ledger, self.encoding, outcome.solution)
        if fresh:
            return True
        if outcome.proves(HALF):
            prove(self.ledger, list(problem.pairs))
            return False
        claimed = [] if outcome.solution is None else problem.claimed(outcome.solution)
        ties = [pair for pair in claimed if is_open(self.ledger, pair)]
        self.tied.update(ties)
        return bool(ties)

    def _options(self) -> SolveOptions:
        return SolveOptions(time_limit_s=self.seconds_left(), cutoff=HALF, stop_at=HALF)
