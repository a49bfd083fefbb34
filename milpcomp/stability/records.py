"""What a ledger knows of the neurons of one layer, in arrays over its units; enums by their place in `CODES`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict

CODES = (*Phase, *Stage, *Proof)


def code(member: Phase | Stage | Proof) -> int:
    """Return the place of a member in `CODES`."""
    return next(i for i, other in enumerate(CODES) if other is member)


class LayerRecord:
    """The verdicts on one layer so far, and the witnesses."""

    def __init__(self, width: int) -> None:
        self.active = np.full(width, -1)  # row of the witness with pre-activation > 0, or -1
        self.inactive = np.full(width, -1)
        self.phase = np.full(width, code(Phase.UNDECIDED))
        self.stage = np.full(width, code(Stage.NONE))
        self.proof = np.full(width, code(Proof.NONE))
        self.seconds = np.zeros(width)

    @property
    def undecided(self) -> NDArray[np.bool_]:
        """Which units are undecided."""
        return self.phase == code(Phase.UNDECIDED)

    def decide(self, units: NDArray[np.int64], phase: Phase, stage: Stage, proof: Proof, seconds: float) -> None:
        """Enter a verdict on some units."""
        self.phase[units], self.stage[units], self.proof[units] = code(phase), code(stage), code(proof)
        self.seconds[units] = seconds

    def enter(self, verdict: Verdict) -> None:
        """Enter a verdict of an earlier run, with its witnesses."""
        unit = verdict.unit
        self.decide(np.array([unit]), verdict.phase, verdict.stage, verdict.proof, verdict.seconds)
        self.active[unit] = -1 if verdict.active_witness is None else verdict.active_witness
        self.inactive[unit] = -1 if verdict.inactive_witness is None else verdict.inactive_witness
