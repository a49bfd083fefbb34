"""One training run of the grid: weights and a card on disk, trained unless they are there already.

A run is a ``.safetensors`` file of float32 weights and a ``.json`` card: recipe, accuracy, loss, share of exactly zero
weights, seconds, SHA-256 of the weights file. Both are written whole or not at all, the card last: its digest says that
the run is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from models.grid_training import Recipe, mean_loss, train
from models.train_mlp import accuracy, zero_share

Card = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """Training and test images with their labels, as tensors; see `models.data.load_images`."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def run(shape: str, recipe: Recipe, data: Data, folder: Path) -> Card:
    """Train one network into `folder`, or return its card if it is there already.

    Parameters
    ----------
    shape : str
        For names and progress.
    recipe : Recipe
    data : Data
    folder : Path

    Returns
    -------
    dict
        The card; ``card["file"]`` names the weights in `folder`. What is there counts as finished if the recipe on
        its card is this one and the weights have the digest on the card.
    """
    name = f"{shape}_l1-{recipe.l1:.6f}".rstrip("0").rstrip(".")
    name += "_proximal" * recipe.proximal + f"_seed-{recipe.seed}"
    weights_file = folder / f"{name}.safetensors"
    card = stored(weights_file)
    if card is not None and card["recipe"] == plain(recipe):
        return card

    def report(epoch: int) -> None:
        if epoch % 10 == 0:
            print(f"{name}: epoch {epoch}/{recipe.schedule.epochs}, {time.perf_counter() - start:.0f} s", flush=True)

    start, start_cpu = time.perf_counter(), time.process_time()
    model = train(recipe, data.images, data.labels, report)
    seconds = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - start_cpu, 1),
    }
    content = save({key: value.contiguous() for key, value in model.state_dict().items()})
    card = {"file": weights_file.name, "sha256": digest(content), **describe(recipe, model, data), **seconds}
    write(weights_file, content)
    write(weights_file.with_suffix(".json"), as_json(card))
    print(f"{name}: {result(card)}, {card['seconds']} s", flush=True)
    return card


def stored(weights_file: Path) -> Card | None:
    """Return the card beside a weights file, or None unless both are there and the card has the digest of the file."""
    card_file = weights_file.with_suffix(".json")
    if not (card_file.is_file() and weights_file.is_file()):
        return None
    card: Card = json.loads(card_file.read_text())
    return card if card["sha256"] == digest(weights_file.read_bytes()) else None


def describe(recipe: Recipe, model: nn.Sequential, data: Data) -> Card:
    """Return the card of a trained network, apart from file, digest and times."""
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    card: Card = {
        "architecture": {"factory": "models.mlp:mlp", "sizes": list(recipe.sizes)},
        "data": "MNIST, pixels / 255",
        "recipe": plain(recipe),
        "parameters": len(weights),
        "zero_share": round(zero_share(model), 6),
        "share_within_1e-5": round(float((weights.abs() <= 1e-5).double().mean()), 6),
        "loss": round(mean_loss(model, recipe, data.images, data.labels), 6),
        "test_loss": round(mean_loss(model, recipe, data.test_images, data.test_labels), 6),
    }
    if recipe.task == "classify":
        card["accuracy"] = round(accuracy(model, data.images, data.labels), 6)
        card["test_accuracy"] = round(accuracy(model, data.test_images, data.test_labels), 4)
    return card | {"torch": torch.__version__.split("+")[0]}


def result(card: Card) -> str:
    """Return what a card says of the test set, in words: accuracy, or loss of an autoencoder."""
    return f"{100 * card['test_accuracy']:.2f} %" if "test_accuracy" in card else f"loss {card['test_loss']:.4f}"


def plain(recipe: Recipe) -> Card:
    """Return a recipe as it comes back from a card."""
    card: Card = json.loads(json.dumps(asdict(recipe)))  # tuples become lists
    return card


def as_json(card: Card) -> bytes:
    """Return the content of a card file."""
    return (json.dumps(card, indent=2) + "\n").encode()


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(file)
