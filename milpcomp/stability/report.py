"""The result of a certification run: one verdict per neuron, the witnesses, the proofs and how they were obtained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.slopes import LinearProof
from milpcomp.domain import Box, FloatArray
from milpcomp.stability.sections import Chain, Section
from milpcomp.stability.verdict import Phase, Verdict

LONGEST_S = 1e12
"""No run takes 30,000 years; sums of times below this are finite."""


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """Verdicts on all hidden neurons of one network over one domain.

    Parameters
    ----------
    network_digest : str
        `Network.digest` of the network that was certified.
    domain : Box
        Of the network's input shape.
    verdicts : tuple of Verdict
        In topological order of the layers, then by unit; one per neuron, none missing.
    witnesses : ndarray, shape (K, *input_shape)
        Inputs that verdicts refer to, all inside the domain.
    proofs : tuple of LinearProof or BranchProof
        What certified verdicts rest on, in the order in which it was obtained: linear bounds first, then proofs by
        cases; where several runs found them, so in each section. Interval bounds need no record.
    sections : tuple of Section
        How the proofs build on each other where several runs found them; empty where one run did.
    settings : mapping
        Every option of the run, JSON-ready; ``earlier`` holds those of the runs that it went on from.
    versions : mapping
        Versions of milpcomp and of the libraries that took part.
    stage_seconds : mapping
        Wall-clock seconds per stage.
    ended : str
        ``"complete"``, ``"time limit"`` or ``"interrupted"``; or, of work in blocks, ``"blocks were lost"``.
    """

    network_digest: str
    domain: Box
    verdicts: tuple[Verdict, ...]
    witnesses: FloatArray
    proofs: tuple[LinearProof | BranchProof, ...] = ()
    sections: tuple[Section, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    ended: str = "complete"

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts().items() if count) or "no neurons"
        return f"Report({counts}; {self.ended}; {self.domain!r})"

    @property
    def chain(self) -> Chain:
        """The proofs with their sections."""
        return Chain(self.proofs, self.sections)

    def counts(self) -> dict[str, int]:
        """Return how many neurons are in each phase."""
        found = Counter(verdict.phase for verdict in self.verdicts)
        return {phase.value: found[phase] for phase in Phase}

    def layers(self) -> dict[str, tuple[Verdict, ...]]:
        """Return the verdicts by layer, in topological order."""
        grouped: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            grouped.setdefault(verdict.layer, []).append(verdict)
        return {layer: tuple(verdicts) for layer, verdicts in grouped.items()}


def is_duration(value: object) -> bool:
    """Tell whether a value, as a file may give it, is a number of seconds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LONGEST_S
