"""Multilayer perceptrons: chains of linear layers with ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Build Linear, ReLU, Linear, ..., Linear.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden widths, outputs: ``[784, 100, 10]`` has one hidden layer of 100.

    Returns
    -------
    nn.Sequential
        Kaiming-normal weights, zero biases, drawn from torch's global generator; the state dict has the keys
        ``0.weight``, ``0.bias``, ``2.weight``, ...
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
