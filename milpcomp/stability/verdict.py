"""What is known of one neuron: its phase, who decided it, and the evidence.

    stably inactive   pre-activation <= 0 for every input of the domain, proved
    stably active     pre-activation >= 0 for every input of the domain, proved
    unstable          two witness inputs, one with pre-activation > 0 and one with < 0, both signs rigorous
    undecided         neither; the default, and never acted upon

A neuron whose pre-activation is identically zero is both stably inactive and stably active; it is filed as stably
inactive, and its bounds (0, 0) tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(str, Enum):
    """What a neuron does on the domain."""

    STABLY_INACTIVE = "stably_inactive"
    STABLY_ACTIVE = "stably_active"
    UNSTABLE = "unstable"
    UNDECIDED = "undecided"


class Stage(str, Enum):
    """Which stage of the funnel decided a neuron."""

    CLOSED_FORM = "closed-form"
    REFUTE = "refute"
    BOUND = "bound"
    BRANCH = "branch"
    SOLVER = "solver"
    NONE = "none"


class Proof(str, Enum):
    """What a verdict rests on.

    ``CERTIFIED``: bounds and cases, re-derivable by the checker. ``WITNESSED``: two replayed inputs. ``UNCERTIFIED``:
    a proof by cases that was too large to keep. ``SOLVER``: the word of a MIP solver. The last two nobody can check.
    ``NONE``: nothing, so the neuron is undecided.
    """

    CERTIFIED = "certified"
    WITNESSED = "witnessed"
    UNCERTIFIED = "uncertified"
    SOLVER = "solver"
    NONE = "none"


ON_TRUST = (Proof.SOLVER, Proof.UNCERTIFIED)
"""What stable verdicts may rest on that nobody can check; acted upon only on request."""

STABLE = (Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE)
"""The two phases that compression may act upon."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one neuron.

    Parameters
    ----------
    layer : str
        Name of the rectifier node.
    unit : int
        Index of the neuron in the layer (channel-major C order in convolutions).
    phase : Phase
    stage : Stage
        What decided it; ``NONE`` while undecided.
    proof : Proof
    lower, upper : float
        Proved bounds of the pre-activation over the domain, rounding included (for ``SOLVER`` and ``UNCERTIFIED``
        verdicts these remain the bounds proved without). `milpcomp.check` derives its own, and names those.
    active_witness, inactive_witness : int or None
        Rows of `Report.witnesses`: an input with pre-activation > 0, and one with < 0.
    seconds : float
        Wall-clock time from the start of the run until the verdict.
    """

    layer: str
    unit: int
    phase: Phase
    stage: Stage
    proof: Proof
    lower: float
    upper: float
    active_witness: int | None = None
    inactive_witness: int | None = None
    seconds: float = 0.0
