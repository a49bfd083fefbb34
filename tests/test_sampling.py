"""Samples lie in the domain, reach its corners, and depend on the seed alone."""

from __future__ import annotations

import numpy as np

from milpcomp.domain import Box
from milpcomp.stability.sampling import batches, corners, uniform


def test_all_batches_lie_in_the_domain() -> None:
    """Every batch is inside, also for faces, huge boxes and data that lies outside."""
    for box in (Box([0.0, -1.0], [0.0, 2.0]), Box([-1e308, 0.0], [1e308, 1e-320])):
        for batch in batches(box, np.random.default_rng(0), data=np.array([[5.0, 9.0]])):
            assert batch.shape[1:] == (2,)
            assert box.contains(batch).all()


def test_corners_have_every_density() -> None:
    """Among 1,000 random corners of a 100-cube some have fewer than 10 and some more than 90 high inputs."""
    high = corners(Box(0.0, 1.0).fit((100,)), np.random.default_rng(0), 1000).sum(axis=1)
    assert high.min() < 10
    assert high.max() > 90


def test_same_seed_same_samples() -> None:
    """Samples are a function of the seed."""
    box = Box(-1.0, 1.0).fit((2, 3))
    first, second = (uniform(box, np.random.default_rng(7), 5) for _ in range(2))
    assert (first == second).all()
    assert first.shape == (5, 2, 3)
