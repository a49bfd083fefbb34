"""Train an MNIST classifier with proximal l1, so that what regularisation kills is exactly zero.

Every step is a gradient step on the cross-entropy, followed by the proximal map of the l1 norm (soft-thresholding) on
all parameters, biases included:

    theta <- S(theta - step, t),    S(v, t) = sign(v) max(0, |v| - t),    t = lr / (1 - momentum) * l1

``lr / (1 - momentum)`` is the long-run step length of momentum SGD, so `l1` weighs the norm against the loss just as a
term ``l1 * |theta|_1`` in the loss does. The difference: the subgradient of such a term leaves dead weights at
1e-8 .. 1e-6, and a row of these has both signs over [0, 1]^784, whereas the proximal map leaves exact zeros and exactly
stable neurons.

The learning rate falls from `lr` to a hundredth of it by half a cosine. The defaults are the recipe of the shipped
network:

    python -m models.train_mlp --data FOLDER_WITH_THE_FOUR_MNIST_FILES
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from models.data import load_images
from models.mlp import mlp

SHIPPED = Path(__file__).resolve().parent / "checkpoints" / "mnist-mlp.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run, apart from the data.

    Parameters
    ----------
    hidden : tuple of int
        Hidden widths.
    l1 : float
        Weight of the l1 norm of all parameters.
    epochs, batch_size : int
        Passes over the training set, samples a step.
    learning_rate, momentum : float
        Of SGD; the learning rate is the first one.
    seed : int
        Of the initial weights and of the order of the samples.
    """

    hidden: tuple[int, ...] = (100, 100, 100, 100, 100)
    l1: float = 3e-4
    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    seed: int = 3


def train(recipe: Recipe, images: Tensor, labels: Tensor) -> nn.Sequential:
    """Train a classifier.

    Parameters
    ----------
    recipe : Recipe
        How to train.
    images : float32 tensor of shape (N, inputs)
    labels : int64 tensor of shape (N,)
        Classes 0 .. C - 1.

    Returns
    -------
    nn.Sequential
        The trained network with float32 parameters.
    """
    torch.manual_seed(recipe.seed)
    model = mlp([images.shape[1], *recipe.hidden, int(labels.max()) + 1])
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    steps = recipe.epochs * math.ceil(len(images) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
    )
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(images)).split(recipe.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            rate = float(schedule.get_last_lr()[0])
            shrink(model, rate / (1 - recipe.momentum) * recipe.l1)
            schedule.step()
    return model


@torch.no_grad()
def shrink(model: nn.Module, threshold: float) -> None:
    """Move every parameter of `model` towards zero by `threshold`, in place, stopping at exactly zero."""
    for parameter in model.parameters():
        parameter.copy_(F.softshrink(parameter, threshold))


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of `images` that `model` classifies as `labels` says."""
    return float((model(images).argmax(dim=1) == labels).double().mean())


def zero_share(model: nn.Module) -> float:
    """Return the share of parameters that are exactly zero."""
    parameters = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return float((parameters == 0).double().mean())


def card(recipe: Recipe, model: nn.Sequential, test_accuracy: float) -> dict[str, object]:
    """Describe a trained network: its architecture, how it was trained and what came out."""
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    return {
        "architecture": {
            "factory": "models.mlp:mlp",
            "sizes": [linear[0].in_features, *(w.out_features for w in linear)],
        },
        "data": "MNIST, pixels / 255",
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "zero_share": round(zero_share(model), 6),
        "test_accuracy": round(test_accuracy, 4),
        "torch": torch.__version__.split("+")[0],
    }


def main(arguments: list[str] | None = None) -> None:
    """Train by the recipe on the command line; write the weights and, beside them, the card."""
    default = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument(
        "--out", type=Path, default=SHIPPED, help="the .safetensors file to write (default: the shipped one)"
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=default.hidden, help="hidden widths")
    parser.add_argument("--l1", type=float, default=default.l1, help="weight of the l1 norm of all parameters")
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--seed", type=int, default=default.seed)
    chosen = parser.parse_args(arguments)

    recipe = Recipe(hidden=tuple(chosen.hidden), l1=chosen.l1, epochs=chosen.epochs, seed=chosen.seed)
    torch.set_num_threads(1)  # sums are then taken in one order, whatever the machine
    images, labels = map(torch.from_numpy, load_images(chosen.data, "train"))
    model = train(recipe, images, labels)
    images, labels = map(torch.from_numpy, load_images(chosen.data, "t10k"))
    description = card(recipe, model, accuracy(model, images, labels))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, chosen.out)
    chosen.out.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n")
    print(json.dumps(description, indent=2))


if __name__ == "__main__":
    main()
