"""A run on disk: one file that appears whole or not at all, and that torch reads without running code.

The file holds tensors, numbers and text: the state dicts of model and optimiser, torch's generators, the place, the
history, and the recipe as JSON, so that a folder is never continued with another recipe.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from milpcomp.errors import ResultError, SettingsError
from milpcomp.files import replacing
from models.recipe import Recipe, as_json
from models.training import Run, make_optimizer

VERSION = 1


def save_run(path: Path, recipe: Recipe, run: Run) -> None:
    """Write a run.

    Parameters
    ----------
    path : Path
    recipe : Recipe
    run : Run

    Raises
    ------
    OutputError
        If the file cannot be written; an older one is then as it was.
    """
    content = {
        "version": VERSION,
        "recipe": json.dumps(as_json(recipe), sort_keys=True),
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "optimizer_of": min(run.stage, len(recipe.stages) - 1),
        "generator": torch.get_rng_state(),
        "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "stage": run.stage,
        "step": run.step,
        "dropped": dict(run.dropped),
        "losses": list(run.losses),
        "history": list(run.history),
        "seconds": run.seconds,
    }
    with replacing(path) as stream:
        torch.save(content, stream)


def load_run(path: Path, recipe: Recipe, model: nn.Module) -> Run:
    """Read a run and put its numbers into `model`, which already lies on its device.

    Parameters
    ----------
    path : Path
    recipe : Recipe
        Must be the one of the run.
    model : nn.Module
        Of the recipe's architecture.

    Returns
    -------
    Run

    Raises
    ------
    ResultError
        If the file is unreadable or of another version.
    SettingsError
        If it belongs to another recipe.
    """
    content = _read(path)
    wanted = json.loads(json.dumps(as_json(recipe)))
    found = json.loads(content["recipe"])
    if found != wanted:
        other = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise SettingsError(
            f"{path} belongs to a recipe with other {', '.join(other)}; go on with its own, or name another folder"
        )
    model.load_state_dict(content["model"])
    run = Run(model, make_optimizer(model, recipe.stages[content["optimizer_of"]]), content["stage"], content["step"])
    run.optimizer.load_state_dict(content["optimizer"])
    device = next(model.parameters()).device
    run.dropped = {name: dropped.to(device) for name, dropped in content["dropped"].items()}
    run.losses, run.history, run.seconds = content["losses"], content["history"], content["seconds"]
    torch.set_rng_state(content["generator"])
    if len(content["cuda_generators"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(content["cuda_generators"])
    return run


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ResultError(f"{path} cannot be read as the state of a run: {error}") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ResultError(f"{path} is not the state of a run, or of another version; begin again in another folder")
    return content
