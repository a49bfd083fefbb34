"""Train a network by a recipe.

    python -m models.train mnist-fcnn-rotated --data FOLDER --out FOLDER

The output folder receives

    state.pt             the run so far, once a minute and at the end; `--resume` goes on from it
    model.safetensors    the trained weights
    card.json            architecture, recipe, accuracy, slopes, threshold, cost (`models.card`)
    history.json         loss, test accuracy, and exact zeros after each epoch

Equal recipe, seed, data, starting point, torch version, processor and number of threads give equal numbers, to the last
bit on a CPU; a GPU is asked for deterministic algorithms, too. OMP_NUM_THREADS sets the number of threads. The last
network is kept, not the one with the best test accuracy on the way, so the test set selects nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from milpcomp.errors import CheckpointError, MilpcompError, SettingsError
from milpcomp.files import write_json
from milpcomp.network.checkpoint_file import read_tensors
from milpcomp.rotated import initialise_type1, initialise_type2
from models.card import describe
from models.datasets import CLASSES, load_samples, require_known
from models.recipe import Recipe, read_recipe
from models.training import DivergedError, Observer, Run, accuracy, make_optimizer, train
from models.training_progress import observing
from models.training_state import load_run, save_run

SAVE_EVERY_S = 60.0


def build(recipe: Recipe, start: Path | None) -> nn.Module:
    """Make the network that training starts from.

    Parameters
    ----------
    recipe : Recipe
    start : Path, optional
        Checkpoint of the starts "type2" (of the network with plain ReLU) and "continue" (of the network itself).

    Returns
    -------
    nn.Module
        With float32 numbers, on the CPU.

    Raises
    ------
    SettingsError
        If the architecture cannot be made, or a checkpoint is given that the recipe has no use for, or none.
    CheckpointError
        If the checkpoint is unreadable or does not fit.
    """
    wanted = recipe.start in {"type2", "continue"}
    if wanted != (start is not None):
        text = "give the checkpoint to start from with --start" if wanted else "leave out --start"
        raise SettingsError(f"the recipe starts by {recipe.start!r}: {text}")
    torch.manual_seed(recipe.seed)
    try:
        model = _factory(recipe.architecture)(**recipe.arguments)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{recipe.architecture} cannot be made with {dict(recipe.arguments)}: {error}") from error
    if recipe.start == "type1":
        initialise_type1(model, recipe.seed)
    elif start is not None and recipe.start == "type2":
        initialise_type2(model, _tensors(model, start))
    elif start is not None:
        _load(model, start)
    return model.float()


def _tensors(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return the tensors in a checkpoint; files older than torch 0.4.1 lack the counters of batch norms."""
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    return {**counters, **read_tensors(path)}


def _factory(address: str) -> Callable[..., nn.Module]:
    module, _, name = address.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"the architecture {address!r} cannot be imported: {error}") from error
    if not callable(found):
        raise SettingsError(f"the architecture {address!r} is no function that returns a module")
    return found


def _load(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(_tensors(model, path))
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not belong to the architecture of the recipe: {error}") from error


def run_recipe(
    recipe: Recipe, data: Path, out: Path, start: Path | None = None, device: str = "cpu", resume: bool = False
) -> dict[str, object]:
    """Train by a recipe, or finish what was begun, and write everything into a folder.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder with the files of the data set.
    out : Path
        Output folder, made where it does not exist.
    start : Path, optional
        Checkpoint to start from, where the recipe wants one.
    device : str
        "cpu", "cuda", "cuda:1", ...
    resume : bool
        Go on with the run in `out`, if there is one.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    MilpcompError
        If a setting or checkpoint cannot be used, or `out` holds a run and `resume` is not given.
    FileNotFoundError, ValueError
        If data are missing or damaged.
    DivergedError
        If the loss is no longer a number.
    """
    state = out / "state.pt"
    if state.exists() and not resume:
        raise SettingsError(f"{out} holds a run already; go on with it by --resume, or name another folder")
    place = _device(device)
    out.mkdir(parents=True, exist_ok=True)
    training, test = (load_samples(recipe.dataset, data, split).to(place) for split in ("train", "test"))
    model = build(recipe, start).to(place)
    before = accuracy(model, test)
    run = load_run(state, recipe, model) if state.exists() else Run(model, make_optimizer(model, recipe.stages[0]))
    with observing(recipe, len(training)) as show:
        train(recipe, run, training, test, _saving(state, recipe, show))
    save_run(state, recipe, run)
    tensors = {name: value.contiguous().cpu() for name, value in run.model.state_dict().items()}
    save_file(tensors, out / "model.safetensors")
    write_json(out / "history.json", run.history)
    card = describe(recipe, run, test, before, start)
    write_json(out / "card.json", card)
    return card


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f'device {name!r} is not known; use "cpu" or "cuda"') from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SettingsError(f"device {name!r}: torch finds no CUDA device here; use --device cpu")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products need
        torch.use_deterministic_algorithms(True)
    return device


def _saving(path: Path, recipe: Recipe, show: Observer) -> Observer:
    """Return an observer that shows each step and saves the run once in a while."""
    saved = time.monotonic()

    def observe(run: Run, steps: int, loss: float) -> None:
        nonlocal saved
        show(run, steps, loss)
        if time.monotonic() - saved >= SAVE_EVERY_S:
            save_run(path, recipe, run)
            saved = time.monotonic()

    return observe


def main(arguments: list[str] | None = None) -> int:
    """Train by the recipe on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description="Train a network by a recipe.")
    parser.add_argument("recipe", help="a JSON file, or the name of one in models/recipes")
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--start", type=Path, help="checkpoint to start from, where the recipe wants one")
    parser.add_argument("--dataset", help=f"another data set than the recipe's: {', '.join(CLASSES)}")
    parser.add_argument("--architecture", help='another architecture than the recipe\'s: "package.module:factory"')
    parser.add_argument("--epochs", type=float, help="epochs of every stage (default: the recipe's)")
    parser.add_argument("--seed", type=int, help="(default: the recipe's)")
    parser.add_argument("--device", default="cpu", help='"cpu" (default) or "cuda"')
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the output folder, if there is one"
    )
    chosen = parser.parse_args(arguments)
    try:
        recipe = _chosen_recipe(chosen)
        card = run_recipe(recipe, chosen.data, chosen.out, chosen.start, chosen.device, chosen.resume)
    except (MilpcompError, DivergedError, FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(card["results"], indent=1))
    return 0


def _chosen_recipe(chosen: argparse.Namespace) -> Recipe:
    recipe = read_recipe(chosen.recipe)
    if chosen.epochs is not None:
        recipe = recipe.with_epochs(chosen.epochs)
    if chosen.dataset is not None:
        require_known(chosen.dataset)
        arguments = {**recipe.arguments, "classes": CLASSES[chosen.dataset]}
        recipe = replace(recipe, dataset=chosen.dataset, arguments=arguments)
    changes = {"architecture": chosen.architecture, "seed": chosen.seed}
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


if __name__ == "__main__":
    sys.exit(main())
