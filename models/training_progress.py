"""What a training run tells, on standard error: bars on a terminal, else a line once in a while."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.recipe import Recipe
from models.training import Observer, Run, stage_steps

LINE_EVERY_S = 30.0


@contextmanager
def observing(recipe: Recipe, samples: int) -> Iterator[Observer]:
    """Give an observer that shows how a run goes on, and take its display down at the end.

    Parameters
    ----------
    recipe : Recipe
    samples : int
        Size of the training set.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[state]}"))  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bars = [
            progress.add_task(f"stage {i}", total=stage_steps(stage, recipe.batch_size, samples), state="")
            for i, stage in enumerate(recipe.stages)
        ]

        def observe(run: Run, steps: int, loss: float) -> None:
            progress.update(bars[run.stage], completed=run.step, state=_state(run, loss))

        yield observe


def _lines(console: Console) -> Observer:
    written = -math.inf

    def observe(run: Run, steps: int, loss: float) -> None:
        nonlocal written
        if time.monotonic() - written >= LINE_EVERY_S or run.step == steps:
            written = time.monotonic()
            console.print(
                f"{run.seconds:9.1f} s  stage {run.stage}  step {run.step:,} of {steps:,}  {_state(run, loss)}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip

    return observe


def _state(run: Run, loss: float) -> str:
    if not run.history:
        return f"loss {loss:.4f}"
    last = run.history[-1]
    zeros = int(last["zero_slopes"] + last["zero_gammas"])
    return f"loss {loss:.4f}  test accuracy {100 * last['test_accuracy']:.2f} %  exact zeros {zeros}"
