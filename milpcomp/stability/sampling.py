"""Inputs worth trying first: given data, the centre and extreme corners, random corners, uniform points.

Corners matter most: on the MNIST reference network 3,000 random corners witness every neuron both ways, 50,000 uniform
inputs do not. Corners of random *density* (each corner sets its own share of the inputs high) reach further than fair
coin flips, because sums of many fair coins hardly vary.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from milpcomp.domain import Box, FloatArray
from milpcomp.network.layers import size

BATCHES = 6
"""How many batches of random inputs are tried."""

BATCH_ELEMENTS = 400_000
"""About how many numbers one batch of random inputs holds."""


def batches(domain: Box, rng: np.random.Generator, data: FloatArray | None = None) -> Iterator[FloatArray]:
    """Yield batches of inputs inside `domain`, each of shape (N, *input_shape).

    Parameters
    ----------
    domain : Box
    rng : numpy Generator
    data : ndarray, shape (M, *input_shape), optional
        Inputs of the user's own; moved into the domain where they lie outside.
    """
    count = min(1024, max(64, BATCH_ELEMENTS // max(1, size(domain.shape))))
    if data is not None:
        for start in range(0, len(data), count):
            yield domain.clip(np.asarray(data[start : start + count], dtype=np.float64))
    middle = domain.clip(domain.lower / 2 + domain.upper / 2)
    yield np.stack([middle, domain.lower, domain.upper])
    for batch in range(BATCHES):
        yield uniform(domain, rng, count) if batch % 3 == 2 else corners(domain, rng, count)


def uniform(domain: Box, rng: np.random.Generator, count: int) -> FloatArray:
    """Return `count` independent uniform points of the box."""
    share = rng.random((count, *domain.shape))
    return domain.clip((1 - share) * domain.lower + share * domain.upper)


def corners(domain: Box, rng: np.random.Generator, count: int) -> FloatArray:
    """Return `count` corners of the box, each with a share of high inputs drawn uniformly from [0, 1]."""
    density = rng.random((count, *(1 for _ in domain.shape)))
    high = rng.random((count, *domain.shape)) < density
    return np.where(high, domain.upper, domain.lower)
