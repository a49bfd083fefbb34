"""Gradient search finds witnesses that sampling misses."""

from __future__ import annotations

import time

import numpy as np

from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.stability.ascent import Search
from milpcomp.stability.ledger import Ledger
from tests.nets import chain, residual_cnn


def start(network: Network, domain: Box, deadline: float = float("inf")) -> tuple[Ledger, Search]:
    """Return a ledger and a search on it."""
    box = domain.fit(network.input_shape)
    ledger = Ledger(network, box, interval_bounds(network, box))
    return ledger, Search(ledger, np.random.default_rng(0), deadline=deadline)


def test_one_jump_decides_an_affine_layer() -> None:
    """The row w x - 0.99 sum(w) is positive next to one corner of a 50-cube only; one jump goes there."""
    weight = np.where(np.arange(50) % 3, 1.0, -1.0)
    network = chain((50,), Dense(weight[None], [-0.99 * np.maximum(weight, 0).sum()]), Rectifier())
    ledger, search = start(network, Box(0.0, 1.0))
    search.jump(steps=1)
    assert ledger.done()


def test_climb_reaches_a_tiny_peak() -> None:
    """A tent of height 1e-7 above zero in 20 dimensions is climbed, whatever its scale."""
    rng = np.random.default_rng(3)
    peak = rng.random(20) * 0.5 + 0.25
    tent = np.concatenate([np.eye(20), -np.eye(20)])
    network = chain(
        (20,),
        Dense(tent, np.concatenate([-peak, peak])),
        Rectifier(),
        Dense(-1e-6 * np.ones((1, 40)), [1e-7]),  # 1e-7 - 1e-6 * L1 distance to the peak
        Rectifier(),
    )
    ledger, search = start(network, Box(0.0, 1.0))
    search.climb(restarts=16, steps=100)
    assert ("3", 0, 1) not in ledger.open_pairs()


def test_images_and_residuals() -> None:
    """The search runs on a residual image network and settles most of its neurons both ways."""
    network = residual_cnn(np.random.default_rng(0))
    ledger, search = start(network, Box(0.0, 1.0))
    before = len(ledger.open_pairs())
    search.jump()
    search.climb(restarts=4, steps=20)
    assert len(ledger.open_pairs()) < before / 2


def test_deadline_stops_the_search() -> None:
    """After the deadline no step is taken."""
    network = residual_cnn(np.random.default_rng(0))
    ledger, search = start(network, Box(0.0, 1.0), deadline=time.monotonic() - 1)
    before = ledger.open_pairs()
    search.climb(restarts=4, steps=20)
    assert ledger.open_pairs() == before


def test_degenerate_box() -> None:
    """On a face of the box the search stays on the face."""
    network = chain((2,), Dense([[1.0, 1.0]], [-1.5]), Rectifier())
    ledger, search = start(network, Box([0.0, 0.25], [1.0, 0.25]))
    search.climb(restarts=2, steps=10)
    assert ledger.open_pairs() == [("1", 0, 1)]
