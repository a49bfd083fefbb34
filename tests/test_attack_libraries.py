"""Agreement with attack libraries where they are installed; nothing here needs them, so nothing installs them.

Each runs FGSM and PGD with our settings on one published network. FGSM has no choice, so it breaks the same images. PGD
starts at random points, so accuracies agree within sampling error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from milpcomp import load
from milpcomp.robustness import Attack, attack, fgsm, pgd

EPSILON, STEPS, STEP = 0.04, 20, 0.01
IMAGES = 300

Attacker = Callable[[nn.Module, torch.Tensor, torch.Tensor, Attack], torch.Tensor]


def with_torchattacks(model: nn.Module, x: torch.Tensor, y: torch.Tensor, settings: Attack) -> torch.Tensor:
    """Return the adversarial images of torchattacks."""
    library = module("torchattacks")
    if settings.steps == 1:
        return library.FGSM(model, eps=settings.epsilon)(x, y)
    return library.PGD(model, settings.epsilon, settings.step_size, settings.steps, random_start=True)(x, y)


def with_foolbox(model: nn.Module, x: torch.Tensor, y: torch.Tensor, settings: Attack) -> torch.Tensor:
    """Return the adversarial images of foolbox."""
    library = module("foolbox")
    wrapped = library.PyTorchModel(model, bounds=(0, 1))
    if settings.steps == 1:
        chosen = library.attacks.FGSM(random_start=False)
    else:
        chosen = library.attacks.LinfPGD(abs_stepsize=settings.step_size, steps=settings.steps, random_start=True)
    return chosen(wrapped, x, y, epsilons=settings.epsilon)[1]


def with_art(model: nn.Module, x: torch.Tensor, y: torch.Tensor, settings: Attack) -> torch.Tensor:
    """Return the adversarial images of the Adversarial Robustness Toolbox."""
    evasion, estimators = module("art.attacks.evasion"), module("art.estimators.classification")
    loss = nn.CrossEntropyLoss()
    wrapped = estimators.PyTorchClassifier(model, loss, tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu")
    if settings.steps == 1:
        chosen = evasion.FastGradientMethod(wrapped, eps=settings.epsilon)
    else:
        chosen = evasion.ProjectedGradientDescent(
            wrapped, eps=settings.epsilon, eps_step=settings.step_size, max_iter=settings.steps, num_random_init=1,
            verbose=False,
        )  # fmt: skip
    return torch.from_numpy(chosen.generate(x.numpy(), y.numpy()))


LIBRARIES: dict[str, Attacker] = {"torchattacks": with_torchattacks, "foolbox": with_foolbox, "art": with_art}


def module(name: str) -> Any:
    """Return an installed module, or skip, and say so."""
    try:
        return import_module(name)
    except ImportError as error:
        pytest.skip(f"{name.partition('.')[0]} is not installed, so there is nothing to agree with ({error})")


@pytest.mark.slow
@pytest.mark.parametrize("library", list(LIBRARIES))
def test_libraries_agree(library: str, shared_data: Path) -> None:
    """With equal settings, FGSM breaks the same images, and PGD as many within sampling error."""
    from models.data import load_images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        module(library)
        network = load(shared_data / "nets/serra2021/mnist_100-100_l1_0.tar")
        model = network.to_torch().eval()
        images, labels = load_images(shared_data / "mnist", "t10k")
        x, y = torch.from_numpy(images[:IMAGES]), torch.from_numpy(labels[:IMAGES])
        for settings in (fgsm(EPSILON), pgd(EPSILON, STEPS, STEP)):
            theirs = LIBRARIES[library](model, x, y, settings).detach()
            assert (theirs - x).abs().max() <= EPSILON + 1e-6
            broken = (model(theirs).argmax(1) != y).numpy()
            ours = attack(model, x, y, settings).broken.numpy()
            print(f"{library} {settings.name}: held by them {1 - broken.mean():.4f}, by us {1 - ours.mean():.4f}")
            if settings.name == "FGSM":
                assert ours.tolist() == broken.tolist()
            spread = 2 * math.sqrt(max(broken.mean() * (1 - broken.mean()), 1 / IMAGES) / IMAGES)
            assert broken.mean() - spread <= ours.mean() <= broken.mean() + spread
