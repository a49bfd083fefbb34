"""Inputs to measure at, and the gap that float32 arithmetic shows there.

What is measured proves nothing; it is reported beside what is proved.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.cost import cost
from milpcomp.domain import Box
from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network.graph import Network
from milpcomp.network.layers import FloatArray

SAMPLES = 1000
BUDGET_FLOPS = 4e9
"""Random inputs are as many as this allows, at least 16 and at most `SAMPLES`."""


def samples(network: Network, domain: Box, data: ArrayLike | None) -> FloatArray:
    """Return `data`, or random inputs of the domain, half of them corners; the same ones every time.

    Raises
    ------
    SettingsError
        If the data are no finite inputs of the network.
    """
    if data is not None:
        try:
            given = np.asarray(data, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError) as error:  # as in milpcomp.stability.task
            raise SettingsError(f"the data must be numbers, got {type(data).__name__}: {error}") from error
        if given.ndim == 0 or given.shape[1:] != network.input_shape or not np.isfinite(given).all():
            raise SettingsError(
                f"the data must be finite inputs of shape (N, *{network.input_shape}), got shape {given.shape}"
            )
        return given
    count = int(np.clip(BUDGET_FLOPS / max(1, cost(network).flops), 16, SAMPLES))
    shares = np.random.default_rng(0).random((count, *network.input_shape))
    shares[::2] = np.round(shares[::2])
    return domain.clip(domain.lower + shares * (domain.upper - domain.lower))


def float32_gap(network: Network, other: Network, inputs: FloatArray) -> float:
    """Return the greatest difference of two networks' outputs, both as torch modules in float32.

    NaN if one of them does not fit into float32.
    """
    import torch

    from milpcomp.network.to_torch import to_torch

    try:
        modules = [to_torch(each, torch.float32) for each in (network, other)]
    except NetworkError:
        return math.nan
    gaps = [np.zeros(1)]
    with torch.no_grad():
        for batch in torch.from_numpy(inputs.astype(np.float32)).split(64):
            first, second = (module(batch).double() for module in modules)
            gaps.append((first - second).abs().numpy().reshape(-1))
    return float(np.max(np.concatenate(gaps)))
