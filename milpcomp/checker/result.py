"""What the checker found: one entry per neuron, and what is wrong with the report as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

SHOWN = 20
"""How many rejections and problems a summary spells out."""


class Finding(str, Enum):
    """What became of a claim.

    ``ACCEPTED``: the checker proved it. ``REJECTED``: it did not, whether the claim is false or its evidence too weak.
    ``NOT_CHECKABLE``: it rests on a solver's word. ``NO_CLAIM``: the neuron is undecided.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_CHECKABLE = "not_checkable"
    NO_CLAIM = "no_claim"


@dataclass(frozen=True)
class Entry:
    """The finding on one neuron: `phase` is what the report claims, or "" where it says nothing readable."""

    layer: str
    unit: int
    phase: str
    finding: Finding
    reason: str


@dataclass(frozen=True)
class Checked:
    """The result of checking a report.

    Parameters
    ----------
    entries : tuple of Entry
        One per neuron of the network, in topological order of the layers, then by unit.
    problems : tuple of str
        What is wrong with the report as a whole: records that cannot be read, verdicts on neurons that do not exist.
    """

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing was rejected and the report as a whole is sound."""
        return not self.rejections and not self.problems

    @property
    def rejections(self) -> tuple[Entry, ...]:
        """The rejected entries."""
        return tuple(entry for entry in self.entries if entry.finding is Finding.REJECTED)

    def counts(self) -> dict[str, int]:
        """Return how many neurons there are of each finding."""
        found = Counter(entry.finding for entry in self.entries)
        return {finding.value: found[finding] for finding in Finding}

    def summary(self) -> str:
        """Return the findings as text: a line of counts, then what is wrong, a line each."""
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts().items() if count)
        lines = [f"{'ACCEPTED' if self.accepted else 'REJECTED'}: {counts or 'no neurons'}"]
        wrong = [f"report: {problem}" for problem in self.problems]
        wrong += [f"{entry.layer}[{entry.unit}] {entry.phase}: {entry.reason}" for entry in self.rejections]
        lines += wrong[:SHOWN]
        if len(wrong) > SHOWN:
            lines.append(f"... and {len(wrong) - SHOWN} more")
        return "\n".join(lines)
