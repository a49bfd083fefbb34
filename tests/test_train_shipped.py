"""models/checkpoints: the shipped networks trained from recipes are what their cards say."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from milpcomp.rotated import batch_norm_gammas, slopes
from models.card import spread
from models.datasets import load_samples
from models.recipe import read_recipe, recipe_from
from models.training import accuracy

FOLDER = Path(__file__).resolve().parents[1] / "models" / "checkpoints"
SHIPPED = {"mnist-fcnn-rotated": "mnist-fcnn-rotated", "cifar10-resnet20-type2-proximal": "short-type2-proximal"}
"""The networks, and the recipe of each."""


def _shipped(name: str) -> tuple[dict[str, Any], nn.Module]:
    card = json.loads((FOLDER / f"{name}.json").read_text())
    module, _, factory = card["architecture"]["factory"].partition(":")
    model: nn.Module = getattr(importlib.import_module(module), factory)(**card["architecture"]["arguments"])
    model.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))
    return card, model.eval()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_have_the_zeros_on_their_cards(name: str) -> None:
    """The weights are finite float32, small enough for git, and slopes and gammas are as the card counts them."""
    card, model = _shipped(name)
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 1_700_000
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in model.parameters())
    for found, written in ((slopes(model), "slopes"), (batch_norm_gammas(model), "batch_norm_gammas")):
        counted, stated = spread(found), card["results"][written]
        if stated is None:
            assert counted is None
            continue
        assert counted is not None
        assert {**counted, "mean_size": 0} == {**stated, "mean_size": 0}
        assert counted["mean_size"] == pytest.approx(stated["mean_size"], rel=1e-5)


@pytest.mark.parametrize(("name", "recipe"), SHIPPED.items())
def test_shipped_networks_were_trained_by_their_recipes(name: str, recipe: str) -> None:
    """The recipe on the card is the recipe file."""
    assert recipe_from(_shipped(name)[0]["recipe"]) == read_recipe(recipe)


def test_the_shipped_residual_network_has_exact_zeros() -> None:
    """Proximal training left slopes that are exactly zero, and what is dead costs parameters and FLOPs."""
    results = _shipped("cifar10-resnet20-type2-proximal")[0]["results"]
    assert results["slopes"]["zero"] > 20
    full, rest = results["cost"]["as_trained"], results["cost"]["dead_removed"]
    assert rest["parameters"] < full["parameters"]
    assert rest["flops"] < full["flops"] == 81_102_080


def test_the_rotated_mnist_network_has_the_accuracy_on_its_card(shared_file: Callable[[str], Path]) -> None:
    """The accuracy on the card is what the weights reach on the MNIST test set."""
    card, model = _shipped("mnist-fcnn-rotated")
    samples = load_samples("mnist", shared_file("mnist/t10k-images-idx3-ubyte.gz").parent, "test")
    assert accuracy(model, samples) == pytest.approx(card["results"]["test_accuracy"], abs=2e-4)


@pytest.mark.slow
def test_the_residual_network_has_the_accuracy_on_its_card(shared_file: Callable[[str], Path]) -> None:
    """The accuracy on the card is what the weights reach on the CIFAR-10 test set, up to ties."""
    card, model = _shipped("cifar10-resnet20-type2-proximal")
    samples = load_samples("cifar10", shared_file("cifar10/test.npz").parent, "test")
    assert accuracy(model, samples) == pytest.approx(card["results"]["test_accuracy"], abs=5e-4)
