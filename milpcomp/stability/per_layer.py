"""The per-layer method: one P/Q problem for each hidden layer, over the network below it.

The same problem as in the one-solve method (`milpcomp.stability.one_solve`), smaller and solved more often: only the
layers below, and of the layer itself only the neurons still open. Each layer gets an equal share of the time left.
"""

from __future__ import annotations

import numpy as np

from milpcomp.errors import SolverError
from milpcomp.milp.encoding import encode
from milpcomp.milp.problem import Backend
from milpcomp.stability import one_solve, per_neuron
from milpcomp.stability.ledger import Ledger


def run(ledger: Ledger, backend: Backend, neuron_time_limit_s: float) -> None:
    """Settle the open neurons layer by layer, ties one by one.

    Parameters
    ----------
    ledger : Ledger
        What is open is read from it; what is decided is entered.
    backend : Backend
    neuron_time_limit_s : float
        Limit of one solve about a tied neuron.
    """
    for position, layer in enumerate(ledger.layers):
        units = np.flatnonzero(ledger.open_active(layer) | ledger.open_inactive(layer))
        if not len(units) or ledger.seconds_left() == 0:
            continue
        try:
            encoding = encode(ledger.network, ledger.bounds, ledger.domain, upto=layer, units=units)
        except SolverError:
            continue  # no finite big-M: this layer stays undecided
        share = ledger.seconds_left() / (len(ledger.layers) - position)
        tied = one_solve.search(ledger, backend, encoding, [layer], share)
        per_neuron.settle(ledger, backend, tied, neuron_time_limit_s)
