"""The card of a trained network: how it was made and what came out, as JSON, so that tables need no training.

    stages        loss, test accuracy and exact zeros at the end of each stage
    zeros         slopes, and batch-norm gammas, that are exactly 0, and how many are within 1e-3, 1e-2, 1e-1
    threshold     gamma selected on one half of the test set, accuracy on the other (`milpcomp.rotated.threshold`)
    cost          of the network as it is; with everything gone that is structurally dead; and the same after the
                  threshold (`milpcomp.cost`, `milpcomp.compression.shrink`)

Only the first two costs belong to the same function; a threshold changes it.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from milpcomp.compression.shrink import shrink
from milpcomp.cost import cost
from milpcomp.network import Network
from milpcomp.network.load import load
from milpcomp.rotated import apply_threshold_, batch_norm_gammas, select_threshold, slopes
from models.datasets import MemoryImages, Samples
from models.recipe import Recipe, as_json
from models.training import Run

WITHIN = (1e-3, 1e-2, 1e-1)

FEW_SLOPES, TRIES = 512, 64
"""Every candidate for the threshold is tried where there are few; with more slopes, this many from the top."""


def describe(recipe: Recipe, run: Run, test: Samples, before: float, start: Path | None) -> dict[str, Any]:
    """Return the card of a finished run.

    Parameters
    ----------
    recipe : Recipe
    run : Run
    test : Samples
    before : float
        Test accuracy of the network that training started from.
    start : Path, optional
        The checkpoint it started from.
    """
    model = copy.deepcopy(run.model).cpu().eval()
    shape = tuple(test.batch(torch.tensor([0]))[0].shape[1:])
    results: dict[str, Any] = {
        "test_accuracy_at_start": before,
        "test_accuracy": run.history[-1]["test_accuracy"],
        "slopes": spread(slopes(model)),
        "batch_norm_gammas": spread(batch_norm_gammas(model)),
        "threshold": None,
    }
    network = load(model, input_shape=shape)
    results["cost"] = {"as_trained": _cost(network), "dead_removed": _cost(shrink(network).network)}
    if slopes(model) and isinstance(test.source, MemoryImages):
        images, labels = test.batch(torch.arange(len(test)))  # on the device of the run
        total = results["slopes"]["total"]
        tries = total + 1 if total <= FEW_SLOPES else TRIES
        threshold = select_threshold(run.model, images, labels, max_steps=tries)
        results["threshold"] = asdict(threshold)
        apply_threshold_(model, threshold.gamma)
        network = load(model, input_shape=shape)
        results["cost"]["ignored_removed"] = _cost(shrink(network).network)
    return {
        "architecture": {"factory": recipe.architecture, "arguments": dict(recipe.arguments)},
        "data": recipe.dataset,
        "recipe": as_json(recipe),
        "start": None if start is None else {"file": start.name, "sha256": _digest(start)},
        "stages": [record for record in run.history if record["stage_ends"]],
        "seconds": round(run.seconds, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "results": results,
    }


def spread(parameters: dict[str, nn.Parameter]) -> dict[str, Any] | None:
    """Return how many of some parameters are zero or small, in all and by name; None if there are none."""
    if not parameters:
        return None
    every = torch.cat([parameter.detach().flatten() for parameter in parameters.values()]).abs()
    return {
        "total": every.numel(),
        "zero": int((every == 0).sum()),
        "within": {f"{bound:g}": int((every <= bound).sum()) for bound in WITHIN},
        "mean_size": float(every.mean()),
        "alive": {name: int((parameter != 0).sum()) for name, parameter in parameters.items()},
    }


def _cost(network: Network) -> dict[str, int]:
    found = cost(network)
    return {"parameters": found.parameters, "slopes": found.slopes, "flops": found.flops, "additions": found.additions}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
