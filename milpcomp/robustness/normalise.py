"""Normalisation as part of the model, so that inputs and radii are in raw units: ``f((x - mean) / std)``.

`Normalised` wraps a torch module. `normalised` gives a `Network` one more layer, ``scale * x + shift`` with
``scale = 1 / std`` and ``shift = -mean / std``, about which proofs can then be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from milpcomp.errors import SettingsError
from milpcomp.network.affine import Scale
from milpcomp.network.graph import INPUT, Network, Node

NAME = "normalised"
"""Name of the layer."""


class Normalised(nn.Module):
    """``model((x - mean) / std)``: normalisation, one number per channel, as part of the model."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        _check(mean, std)
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits for raw images x (N, C, H, W)."""
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


def normalised(network: Network, mean: Sequence[float], std: Sequence[float]) -> Network:
    """Return `network` with normalisation as its first layer.

    Parameters
    ----------
    network : Network
    mean, std : sequence of float
        One number, or one for each channel (the first axis of a sample).

    Raises
    ------
    SettingsError
        If the numbers do not fit each other or the network, or a deviation is not positive.
    """
    _check(mean, std)
    channels = network.input_shape[0]
    if len(mean) not in (1, channels):
        raise SettingsError(f"mean and std need one number, or one for each of {channels} channels, got {len(mean)}")
    wide = (-1, *(1 for _ in network.input_shape[1:]))
    scale = 1.0 / np.asarray(std, dtype=np.float64).reshape(wide)
    shift = -np.asarray(mean, dtype=np.float64).reshape(wide) * scale
    name, names = NAME, {node.name for node in network.nodes}
    while name in names:
        name += "_"
    nodes = [replace(n, inputs=tuple(name if i == INPUT else i for i in n.inputs)) for n in network.nodes]
    return Network(network.input_shape, [Node(name, Scale(scale, shift), (INPUT,)), *nodes], network.output)


def _check(mean: Sequence[float], std: Sequence[float]) -> None:
    if len(mean) != len(std) or not np.isfinite([*mean, *std]).all() or not all(s > 0 for s in std):
        raise SettingsError(f"normalisation needs one mean and one std > 0 per channel, got {mean} and {std}")
