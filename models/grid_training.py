"""Train a chain of linear layers with l1, as fast as one core allows: a hand-written gradient on flat parameters.

All parameters lie in one vector theta, all velocities in one vector v, so that an update is three passes over memory,
and the gradient of a weight matrix is accumulated by the matrix product that computes it (addmm with beta = momentum):

    v      <- momentum v + dLoss/dtheta + l1 sign(theta)         subgradient, as published
    theta  <- theta - lr v

    v      <- momentum v + dLoss/dtheta                          proximal
    theta  <- S(theta - lr v, lr / (1 - momentum) l1),           S(u, t) = sign(u) max(0, |u| - t)

The norm takes in all parameters, biases included. The loss of a classifier is the cross-entropy, that of an autoencoder
the squared error averaged over samples and pixels; its output layer is linear.

Source of the recipe: Serra, Yu, Kumar, Ramalingam, "Scaling Up Exact Neural Network Compression by ReLU Stability",
NeurIPS 2021: pixels / 255, SGD with learning rate 0.01 and momentum 0.9, batches of 128, 121 epochs, learning rate
divided by 10 every 50 epochs, Kaiming-normal weights, zero biases. `SHORT` walks the same way in a third of the steps,
each three times as long: what l1 takes off a weight that the loss leaves alone is the sum of lr l1 / (1 - momentum)
over the steps, and that sum is kept (to 2 %). For autoencoders, whose loss is averaged over the pixels, these rates are
so small that they learn little more than the mean image; `RAMP` ends at a hundred times the published rate, after a
climb without which the narrow layer dies in the first epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from models.mlp import mlp

Layers = list[tuple[Tensor, Tensor]]  # a weight of shape (out, in) and a bias of shape (out,) for every linear layer


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: the learning rate is divided by 10 after every `drop_every` epochs."""

    epochs: int
    learning_rate: float
    drop_every: int

    def rate(self, epoch: int) -> float:
        """Return the learning rate in `epoch`, counted from 0."""
        return float(self.learning_rate * 0.1 ** (epoch // self.drop_every))


@dataclass(frozen=True)
class Ramp(Schedule):
    """A schedule that first climbs, by equal factors, from `FIRST_RATE` to its learning rate in `climb` epochs."""

    climb: int = 6

    def rate(self, epoch: int) -> float:
        """Return the learning rate in `epoch`, counted from 0."""
        if epoch >= self.climb:
            return super().rate(epoch - self.climb)
        return float(FIRST_RATE * (self.learning_rate / FIRST_RATE) ** (epoch / self.climb))


FIRST_RATE = 0.01
PUBLISHED = Schedule(epochs=121, learning_rate=0.01, drop_every=50)
SHORT = Schedule(epochs=41, learning_rate=0.03, drop_every=17)
RAMP = Ramp(epochs=20, learning_rate=1.0, drop_every=8)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a trained network, apart from the data.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, hidden widths, outputs.
    task : str
        ``"classify"`` (cross-entropy of the labels) or ``"reconstruct"`` (squared error of the inputs).
    l1 : float
        Weight of the l1 norm of all parameters.
    proximal : bool
        Treat the norm by its proximal map, which leaves exact zeros, instead of its subgradient.
    schedule : Schedule
    batch_size : int
    momentum : float
    seed : int
        Of the initial weights and of the order of the samples; it does not depend on the other fields, so that
        networks of one shape and seed start from the same weights and see the samples in the same order.
    """

    sizes: tuple[int, ...]
    task: Literal["classify", "reconstruct"] = "classify"
    l1: float = 0.0
    proximal: bool = False
    schedule: Schedule = SHORT
    batch_size: int = 128
    momentum: float = 0.9
    seed: int = 0


def train(
    recipe: Recipe, images: Tensor, labels: Tensor, report: Callable[[int], None] = lambda epoch: None
) -> nn.Sequential:
    """Train a network.

    Parameters
    ----------
    recipe : Recipe
    images : float32 tensor of shape (N, inputs)
    labels : int64 tensor of shape (N,)
        Not read by an autoencoder.
    report : callable
        Called with the number of finished epochs after each of them.

    Returns
    -------
    nn.Sequential
        Linear, ReLU, ..., Linear with float32 parameters.

    Raises
    ------
    FloatingPointError
        If the training diverged.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        model = mlp(recipe.sizes)
        theta = parameters_to_vector(model.parameters()).clone()
        velocity = torch.zeros_like(theta)
        layers, velocities = views(theta, recipe.sizes), views(velocity, recipe.sizes)
        for epoch in range(recipe.schedule.epochs):
            rate = recipe.schedule.rate(epoch)
            for chosen in torch.randperm(len(images)).split(recipe.batch_size):
                x = images.index_select(0, chosen)
                y = labels.index_select(0, chosen) if recipe.task == "classify" else x
                accumulate_gradient(layers, velocities, x, y, recipe.momentum)
                step(theta, velocity, rate, recipe)
            report(epoch + 1)
        if not bool(theta.isfinite().all()):
            raise FloatingPointError(f"training diverged, parameters are not finite: {recipe}; lower the learning rate")
        vector_to_parameters(theta, model.parameters())
    return model


def views(flat: Tensor, sizes: tuple[int, ...]) -> Layers:
    """Cut a vector of parameters into weights and biases that share its memory, in the order of `mlp(sizes)`."""
    layers, start = [], 0
    for fan_in, fan_out in pairwise(sizes):
        middle, end = start + fan_in * fan_out, start + fan_in * fan_out + fan_out
        layers.append((flat[start:middle].view(fan_out, fan_in), flat[middle:end]))
        start = end
    return layers


def accumulate_gradient(layers: Layers, velocities: Layers, x: Tensor, y: Tensor, momentum: float) -> None:
    """Replace v by momentum v + gradient of the mean loss of one batch, in place.

    Parameters
    ----------
    layers, velocities : Layers
        Parameters and velocities; the velocities change.
    x : float32 tensor of shape (B, inputs)
    y : tensor
        int64 classes of shape (B,), or float32 targets of the outputs' shape (B, outputs).
    momentum : float
    """
    activations = [x]
    for index, (weight, bias) in enumerate(layers):
        out = torch.addmm(bias, activations[-1], weight.T)  # (B, out)
        activations.append(out if index == len(layers) - 1 else out.clamp_min_(0))
    output = activations.pop()
    if y.is_floating_point():
        delta = (output - y).mul_(2 / output.numel())
    else:
        delta = output.softmax(dim=1)
        delta[torch.arange(len(y)), y] -= 1
        delta.div_(len(y))
    for index in reversed(range(len(layers))):
        h = activations[index]
        weight_velocity, bias_velocity = velocities[index]
        weight_velocity.addmm_(delta.T, h, beta=momentum)
        bias_velocity.mul_(momentum).add_(delta.sum(dim=0))
        if index:
            delta = (delta @ layers[index][0]).mul_(h > 0)


def step(theta: Tensor, velocity: Tensor, rate: float, recipe: Recipe) -> None:
    """Move the parameters by one step of momentum SGD with l1, in place (the module docstring has the formulas)."""
    if recipe.l1 and not recipe.proximal:
        velocity.add_(theta.sign(), alpha=recipe.l1)
    theta.add_(velocity, alpha=-rate)
    if recipe.l1 and recipe.proximal:
        theta.copy_(F.softshrink(theta, rate / (1 - recipe.momentum) * recipe.l1))


@torch.no_grad()
def mean_loss(model: nn.Module, recipe: Recipe, images: Tensor, labels: Tensor) -> float:
    """Return the loss without the norm: mean cross-entropy, or squared error averaged over samples and pixels."""
    total = 0.0
    for x, y in zip(images.split(5000), labels.split(5000), strict=True):
        outputs = model(x)
        batch = F.cross_entropy(outputs, y) if recipe.task == "classify" else F.mse_loss(outputs, x)
        total += float(batch) * len(x)
    return total / len(images) if len(images) else math.nan
