"""The training loop: every step is a function of the run so far and of (seed, stage, step).

    order of an epoch    a permutation drawn from a generator seeded by (seed, stage, epoch)
    random changes       drawn from one seeded by (seed, stage, step)

so a run that was stopped goes on as if it had not been: its state is the parameters, the optimiser's memory, torch's
own generators (for modules that draw, such as dropout), the place, and which slopes were dropped.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milpcomp.rotated import (
    apply_threshold_,
    batch_norm_gammas,
    hold_at_zero_,
    l1_penalty,
    proximal_l1_,
    slopes,
    train_everything,
    train_slopes_only,
)
from models.datasets import Samples
from models.recipe import Penalty, Recipe, Stage
from models.schedule import rate

TEST_BATCH = 500


@dataclass
class Run:
    """A training run in progress.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch optimiser of the current stage
    stage, step : int
        The place: the next step to take, in which stage.
    dropped : dict of str to bool tensor
        Per rotated activation, the slopes that the stage keeps at zero. Empty where a stage drops none.
    losses : list of float
        Of the steps since the last record.
    history : list of dict
        One record per epoch.
    seconds : float
        Time spent training.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    stage: int = 0
    step: int = 0
    dropped: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


Observer = Callable[[Run, int, float], None]
"""Called after every step with the run, the number of steps of its stage, and the loss of the step."""


def stage_steps(stage: Stage, batch_size: int, samples: int) -> int:
    """Return how many steps a stage takes."""
    return max(1, round(stage.epochs * math.ceil(samples / batch_size)))


def make_optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Choose which parameters of `model` a stage trains, and return its optimiser for them, with no memory yet."""
    if stage.train == "slopes":
        train_slopes_only(model)
    else:
        train_everything(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if stage.optimizer == "adam":
        return torch.optim.Adam(trained, lr=stage.learning_rate, weight_decay=stage.weight_decay, fused=True)
    return torch.optim.SGD(trained, lr=stage.learning_rate, momentum=stage.momentum, weight_decay=stage.weight_decay)


def train(recipe: Recipe, run: Run, training: Samples, test: Samples, observe: Observer) -> None:
    """Take all steps that `run` has not taken yet, in place.

    Parameters
    ----------
    recipe : Recipe
    run : Run
    training, test : Samples
    observe : callable
        Called after every step, when the state is consistent; may save it, and may raise.

    Raises
    ------
    DivergedError
        If the loss of a step is NaN or infinite; the step is not taken.
    """
    while run.stage < len(recipe.stages):
        stage = recipe.stages[run.stage]
        if run.step == 0:
            run.optimizer = make_optimizer(run.model, stage)
            run.dropped = {} if stage.drop is None else apply_threshold_(run.model, stage.drop)
        _finish_stage(recipe, stage, run, training, test, observe)
        run.stage, run.step = run.stage + 1, 0


def _finish_stage(recipe: Recipe, stage: Stage, run: Run, training: Samples, test: Samples, observe: Observer) -> None:
    steps = stage_steps(stage, recipe.batch_size, len(training))
    per_epoch = math.ceil(len(training) / recipe.batch_size)
    order: Tensor | None = None
    while run.step < steps:
        began = time.monotonic()
        epoch, place = divmod(run.step, per_epoch)
        if place == 0 or order is None:
            order = torch.randperm(len(training), generator=_generator(recipe.seed, run.stage, "epoch", epoch))
        chosen = order[place * recipe.batch_size : (place + 1) * recipe.batch_size]
        images, labels = training.batch(chosen, _generator(recipe.seed, run.stage, "step", run.step))
        loss = _take_step(run, stage, images, labels, rate(stage, run.step, steps))
        run.losses.append(loss)
        run.step += 1
        if place == per_epoch - 1 or run.step == steps:
            run.history.append(_record(run, test, run.step / per_epoch, run.step == steps))
            run.losses.clear()
        run.seconds += time.monotonic() - began
        observe(run, steps, loss)


def _take_step(run: Run, stage: Stage, images: Tensor, labels: Tensor, learning_rate: float) -> float:
    """Take one step and return the cross-entropy before it."""
    run.model.train()
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate
    run.optimizer.zero_grad()
    loss = F.cross_entropy(run.model(images), labels)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergedError(f"the loss is {value} at step {run.step} of stage {run.stage}; lower the learning rate")
    penalty = stage.penalty
    if penalty is not None and penalty.method == "subgradient":
        loss = loss + penalty.weight * l1_penalty(penalised(run.model, penalty))
    loss.backward()
    run.optimizer.step()
    if penalty is not None and penalty.method == "proximal":
        proximal_l1_(penalised(run.model, penalty), stage.step_length(learning_rate) * penalty.weight)
    hold_at_zero_(run.model, run.dropped)
    return value


def penalised(model: nn.Module, penalty: Penalty) -> list[nn.Parameter]:
    """Return the parameters that a penalty is on."""
    found = slopes(model) if penalty.on == "slopes" else batch_norm_gammas(model)
    return list(found.values())


def _record(run: Run, test: Samples, epochs: float, stage_ends: bool) -> dict[str, float]:
    return {
        "stage": run.stage,
        "epochs": round(epochs, 3),
        "stage_ends": stage_ends,
        "loss": sum(run.losses) / len(run.losses),
        "test_accuracy": accuracy(run.model, test),
        "zero_slopes": sum(int((slope == 0).sum()) for slope in slopes(run.model).values()),
        "zero_gammas": sum(int((gamma == 0).sum()) for gamma in batch_norm_gammas(run.model).values()),
    }


@torch.no_grad()
def accuracy(model: nn.Module, samples: Samples) -> float:
    """Return the share of `samples` that `model`, in eval mode, classifies correctly."""
    model.eval()
    right = 0
    for chosen in torch.arange(len(samples)).split(TEST_BATCH):
        images, labels = samples.batch(chosen)
        right += int((model(images).argmax(dim=1) == labels).sum())
    return right / len(samples)


def _generator(*key: int | str) -> torch.Generator:
    """Return a generator seeded by `key`, on any machine the same."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
