"""What a run does, in order; a stage sees only what is still open.

`cheap` decides most neurons of most networks in seconds, all of them at once; `branch` and `solve` take the rest one by
one. The published methods share nothing with them but the bounds.
"""

from __future__ import annotations

import time

import numpy as np

from milpcomp.bounds.tighten import tighten
from milpcomp.domain import FloatArray
from milpcomp.milp.problem import Backend
from milpcomp.stability import one_solve, per_layer, per_neuron
from milpcomp.stability.ascent import Search
from milpcomp.stability.branching import Branching
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.sampling import batches
from milpcomp.stability.settings import Settings
from milpcomp.stability.verdict import Stage

STAGE_SHARE = 0.5
"""What share of the time that is left bounds may take, and then the first search for witnesses."""

QUICK_SHARE, CLIMB_SHARE, BRANCH_SHARE = 0.4, 0.25, 0.9
"""The same for the short round of proofs, the long search for witnesses, and the long round of proofs."""


def run(ledger: Ledger, settings: Settings, solver: Backend, data: FloatArray | None) -> None:
    """Run the method that the settings name, on what a ledger says is open.

    Parameters
    ----------
    ledger : Ledger
        What is decided is entered.
    settings : Settings
    solver : Backend
    data : ndarray, shape (N, *input_shape), optional
        Inputs to try first as witnesses.
    """
    if settings.method != "funnel":
        _published(ledger, settings, solver, data)
        return
    cheap(ledger, settings, data)
    branch(ledger, settings)
    solve(ledger, settings, solver)


def cheap(ledger: Ledger, settings: Settings, data: FloatArray | None) -> None:
    """Try inputs, bounds, and short gradient searches; parameters as for `run`."""
    if ledger.done():
        return
    rng = _generator(ledger, settings)
    with ledger.clock(Stage.REFUTE):
        for batch in batches(ledger.domain, rng, data):
            ledger.offer(batch)
            if ledger.done():
                return
    with ledger.clock(Stage.BOUND):
        _bound(ledger, settings.slope_steps)
    with ledger.clock(Stage.REFUTE):
        search = Search(ledger, rng, settings.device, _share_of_time(ledger))
        search.jump()
        search.climb(restarts=8, steps=40)
        restarts = 16
        while restarts < settings.restarts and search.climb(restarts, settings.climb_steps):
            restarts *= 2  # it pays


def branch(ledger: Ledger, settings: Settings) -> None:
    """Search for proofs by cases: shortly, then for witnesses at length, then for proofs at length.

    What is open by now is mostly stable, and a search for proofs says so sooner than a long search for witnesses fails.
    """
    searches = _searches(ledger, settings)
    with ledger.clock(Stage.BRANCH):
        searches.quick_round(_share_of_time(ledger, QUICK_SHARE))
    climb(ledger, settings)
    with ledger.clock(Stage.BRANCH):
        searches.run(_share_of_time(ledger, BRANCH_SHARE))


def climb(ledger: Ledger, settings: Settings) -> None:
    """Search for witnesses at length; parameters as for `run`."""
    if ledger.done():
        return
    with ledger.clock(Stage.REFUTE):
        search = Search(ledger, _generator(ledger, settings, 1), settings.device, _share_of_time(ledger, CLIMB_SHARE))
        search.climb(settings.restarts, settings.climb_steps)


def prove(ledger: Ledger, settings: Settings) -> None:
    """Search for proofs by cases and nothing else: what a block of neurons asks for; parameters as for `run`."""
    with ledger.clock(Stage.BRANCH):
        _searches(ledger, settings).run(_share_of_time(ledger, BRANCH_SHARE))


def _searches(ledger: Ledger, settings: Settings) -> Branching:
    room = max(0, settings.max_certificate_bytes - ledger.earlier_bytes)
    return Branching(ledger, settings.neuron_time_limit_s, room)


def _generator(ledger: Ledger, settings: Settings, *stream: int) -> np.random.Generator:
    """Return random numbers: others for every stream, and others when going on from an earlier run."""
    return np.random.default_rng([settings.seed, ledger.earlier_runs, *stream])


def solve(ledger: Ledger, settings: Settings, solver: Backend) -> None:
    """Ask the solver; parameters as for `run`."""
    with ledger.clock(Stage.SOLVER):
        per_neuron.run(ledger, solver, settings.neuron_time_limit_s)


def _published(ledger: Ledger, settings: Settings, solver: Backend, data: FloatArray | None) -> None:
    with ledger.clock(Stage.BOUND):
        _bound(ledger, settings.slope_steps)
    methods = {"one-solve": one_solve.run, "per-layer": per_layer.run, "per-neuron": per_neuron.run}
    with ledger.clock(Stage.SOLVER):
        if data is not None:
            ledger.offer(ledger.domain.clip(data))
        methods[settings.method](ledger, solver, settings.neuron_time_limit_s)


def _bound(ledger: Ledger, steps: int) -> None:
    if ledger.done():
        return
    # A lower bound can prove what was never seen inactive, an upper bound what was never seen active.
    open_sides = {layer: (ledger.open_inactive(layer), ledger.open_active(layer)) for layer in ledger.layers}
    network, domain = ledger.network, ledger.domain
    deadline = _share_of_time(ledger)
    ledger.tighten(tighten(network, domain, ledger.bounds, open_sides, steps=steps, deadline=deadline))


def _share_of_time(ledger: Ledger, share: float = STAGE_SHARE) -> float:
    return time.monotonic() + share * ledger.seconds_left()
