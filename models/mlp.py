"""Multilayer perceptrons: chains of linear layers with an activation between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from models.parts import Activation, initialise
from models.parts import activation as make


def mlp(sizes: Sequence[int], activation: Activation = "relu") -> nn.Sequential:
    """Build Linear, activation, Linear, ..., Linear.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden widths, outputs: ``[784, 100, 10]`` has one hidden layer of 100.
    activation : "relu" or "rotated"
        A rotated ReLU has one slope per neuron.

    Returns
    -------
    nn.Sequential
        Kaiming-normal weights, zero biases, drawn from torch's global generator; the state dict has the keys
        ``0.weight``, ``0.bias``, ``2.weight``, ...
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        initialise(linear)  # before the next layer is made: published seeds rely on the order of the draws
        layers += [linear, make(activation, fan_out)]
    return nn.Sequential(*layers[:-1])


def fcnn(activation: Activation = "relu") -> nn.Sequential:
    """Return 784-500-10, the MNIST classifier of Nayak and Kalyani (arXiv 2206.00488, table I)."""
    return mlp([784, 500, 10], activation)


def rotated_fcnn() -> nn.Sequential:
    """Return 784-500-10 with rotated ReLU."""
    return fcnn("rotated")


def autoencoder(hidden: Sequence[int], activation: Activation = "relu") -> nn.Sequential:
    """Return an autoencoder of MNIST images, 784 pixels in and out.

    Parameters
    ----------
    hidden : sequence of int
        Hidden widths. Serra, Yu, Kumar and Ramalingam (arXiv 2102.07804) use (100, 10, 100), (100, 25, 100),
        (100, 50, 100), (50, 10, 50), (200, 10, 200) and (400, 10, 400).
    activation : "relu" or "rotated"

    Returns
    -------
    nn.Sequential
        As `mlp` returns it; the last layer is linear.
    """
    return mlp([784, *hidden, 784], activation)
