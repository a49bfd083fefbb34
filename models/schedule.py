"""Learning rates as a function of the step alone, so that a resumed run needs no memory of them.

constant    rate
multistep   rate / 10^k,  k = how many milestones lie behind
cosine      rate (1 + cos(pi * step / steps)) / 2
"""

from __future__ import annotations

import math

from models.recipe import Stage


def rate(stage: Stage, step: int, steps: int) -> float:
    """Return the learning rate of one step.

    Parameters
    ----------
    stage : Stage
    step, steps : int
        The step, counted from 0, of how many.
    """
    if stage.schedule == "cosine":
        return stage.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
    behind = sum(step >= milestone * steps for milestone in stage.milestones)
    return stage.learning_rate * 0.1**behind
