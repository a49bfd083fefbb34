"""The per-neuron method: two small problems a neuron, each stopped as soon as its sign is known.

    sign +1:  is  max  g <= 0 ?   then stably inactive          sign -1:  is  min  g >= 0 ?   then stably active

Both are solved as ``min -sign * g`` with the cutoff at the margin (`milpcomp.milp.margin`): a solver that finds no
input below the cutoff has proved ``sign * g <= -margin``; one that finds an incumbent below -margin has found a
witness. The side with the smaller bound goes first, and the second is skipped where the first settles the neuron.
Before each the linear relaxation is solved; its input is replayed and is where the solver starts from (Fischetti and
Jo, 2018).

Every input that a solver shows is offered to the ledger, against all open neurons (Serra, Kumar and Ramalingam, arXiv
2102.07804, sections 4 and 5). Time limits, errors and nonsense leave a neuron undecided, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.encoding import Encoding, encode, pre_activation_bounds
from milpcomp.milp.guard import guarded_solve
from milpcomp.milp.margin import margins
from milpcomp.milp.pairs import Pair
from milpcomp.milp.problem import Backend, Outcome, SolveOptions
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.verdict import Proof


def run(ledger: Ledger, backend: Backend, neuron_time_limit_s: float) -> None:
    """Try to settle every open neuron, layer by layer.

    Parameters
    ----------
    ledger : Ledger
        What is open is read from it; what is decided is entered.
    backend : Backend
    neuron_time_limit_s : float
        Limit of one solve; the ledger's deadline holds as well.
    """
    for layer in ledger.layers:
        settle(ledger, backend, [pair for pair in ledger.open_pairs() if pair[0] == layer], neuron_time_limit_s)


def settle(ledger: Ledger, backend: Backend, pairs: list[Pair], neuron_time_limit_s: float) -> None:
    """Try to settle some open pairs of one layer."""
    if not pairs or ledger.seconds_left() == 0:
        return
    try:
        encoding = encode(ledger.network, ledger.bounds, ledger.domain, upto=pairs[0][0])
        target = _Target(ledger, backend, encoding, margins(encoding), neuron_time_limit_s)
    except SolverError:
        return  # no finite bounds: these neurons stay undecided
    for pair in sorted(pairs, key=lambda pair: _bound(ledger, pair)):
        if ledger.seconds_left() == 0:
            return
        if is_open(ledger, pair):
            target.settle(pair)


def is_open(ledger: Ledger, pair: Pair) -> bool:
    """Tell whether a pair is still in P (sign +1) or Q (sign -1)."""
    layer, unit, sign = pair
    return bool((ledger.open_active(layer) if sign > 0 else ledger.open_inactive(layer))[unit])


def prove(ledger: Ledger, pairs: list[Pair]) -> None:
    """Enter pairs as proved by the solver: P stably inactive, Q stably active."""
    for layer in dict.fromkeys(pair[0] for pair in pairs):
        for sign, enter in ((1, ledger.prove_inactive), (-1, ledger.prove_active)):
            units = [pair[1] for pair in pairs if (pair[0], pair[2]) == (layer, sign)]
            if units:
                enter(layer, np.array(units), Proof.SOLVER)
    ledger.progress()


def offer(ledger: Ledger, encoding: Encoding, columns: FloatArray) -> int:
    """Replay the input of a column vector; return how many pairs it settled."""
    return ledger.offer(encoding.inputs(columns)[None])


def _bound(ledger: Ledger, pair: Pair) -> float:
    """Return how far the bounds leave the pair open, relative to the neuron's range: easy ones first."""
    layer, unit, sign = pair
    lower, upper = (bound[unit] for bound in pre_activation_bounds(ledger.network, ledger.bounds, layer))
    return float((upper if sign > 0 else -lower) / max(upper - lower, np.finfo(float).tiny))


@dataclass(frozen=True)
class _Target:
    """The neurons of one layer, as objectives over the layers below."""

    ledger: Ledger
    backend: Backend
    encoding: Encoding
    margins: Mapping[str, FloatArray]
    neuron_time_limit_s: float

    def settle(self, pair: Pair) -> None:
        layer, unit, sign = pair
        milp, margin = self.encoding.neuron(layer, unit, sign), float(self.margins[layer][unit])
        middle = self.encoding.complete(self.ledger.domain.lower / 2 + self.ledger.domain.upper / 2)
        known = milp.objective(middle)
        relaxed = guarded_solve(self.backend, milp.relaxed(), self._options(margin), known=known)
        start = middle
        if relaxed.solution is not None:
            offer(self.ledger, self.encoding, relaxed.solution)
            start = self.encoding.complete(self.encoding.inputs(relaxed.solution))
        if self._settled(pair, relaxed, margin):
            return
        known = min(known, milp.objective(start))
        outcome = guarded_solve(
            self.backend, milp, self._options(margin, start), lambda columns: self._found(pair, columns), known
        )
        if outcome.solution is not None:
            offer(self.ledger, self.encoding, outcome.solution)
        self._settled(pair, outcome, margin)

    def _options(self, margin: float, start: FloatArray | None = None) -> SolveOptions:
        limit = min(self.neuron_time_limit_s, self.ledger.seconds_left())
        return SolveOptions(time_limit_s=limit, cutoff=margin, stop_at=-margin, start=start)

    def _found(self, pair: Pair, columns: FloatArray) -> bool:
        offer(self.ledger, self.encoding, columns)
        return not is_open(self.ledger, pair)

    def _settled(self, pair: Pair, outcome: Outcome, margin: float) -> bool:
        """Enter what an outcome proves; tell whether nothing is left to do for the pair."""
        if is_open(self.ledger, pair) and outcome.proves(margin):
            prove(self.ledger, [pair])
        return not is_open(self.ledger, pair)
