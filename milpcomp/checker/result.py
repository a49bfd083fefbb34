"""What the checker found: one entry per neuron or edit, and what is wrong with the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

SHOWN = 20
"""How many rejections and problems a summary spells out."""


class Finding(str, Enum):
    """What became of a claim.

    ``ACCEPTED``: the checker proved it. ``REJECTED``: it did not, whether the claim is false or its evidence too weak.
    ``NOT_CHECKABLE``: it rests on a solver's word, or on a proof that was not kept. ``NO_CLAIM``: the neuron is
    undecided.
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


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"Checked({self.summary().splitlines()[0]})"

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


@dataclass(frozen=True)
class EditEntry:
    """The finding on one edit: its kind, the rectifiers it is about, and its channels."""

    kind: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    finding: Finding
    reason: str


@dataclass(frozen=True, repr=False)
class CheckedCompression:
    """The result of checking a compression.

    Parameters
    ----------
    report : Checked
        The findings on the verdicts.
    edits : tuple of EditEntry
        One per edit. An edit that rests on a solver's word, with the compression's consent, is not checkable.
    problems : tuple of str
        What else is wrong; among it, a deviation that exceeds the claimed one.
    deviation_bound : float
        The checker's own bound on ``|compressed(x) - original(x)|`` over the domain; 0 means the same function.
    claimed_bound : float
        What the compression claims.
    """

    report: Checked
    edits: tuple[EditEntry, ...]
    problems: tuple[str, ...]
    deviation_bound: float
    claimed_bound: float

    def __repr__(self) -> str:
        return f"CheckedCompression({self.summary().splitlines()[0]})"

    @property
    def accepted(self) -> bool:
        """Whether the claim holds, if any solver whose word is used was right."""
        return not self.rejections and not self.problems

    @property
    def rejections(self) -> tuple[EditEntry, ...]:
        """The rejected edits."""
        return tuple(entry for entry in self.edits if entry.finding is Finding.REJECTED)

    @property
    def on_trust(self) -> tuple[EditEntry, ...]:
        """The edits that rest on a solver's word."""
        return tuple(entry for entry in self.edits if entry.finding is Finding.NOT_CHECKABLE)

    def counts(self) -> dict[str, int]:
        """Return how many edits there are of each finding."""
        found = Counter(entry.finding for entry in self.edits)
        return {finding.value: found[finding] for finding in Finding}

    def summary(self) -> str:
        """Return the findings as text: the verdict with the deviation, then what is wrong, a line each."""
        counts = ", ".join(f"{count} edits {name.replace('_', ' ')}" for name, count in self.counts().items() if count)
        verdict = (
            "REJECTED" if not self.accepted else "ACCEPTED, IF THE SOLVER IS RIGHT" if self.on_trust else "ACCEPTED"
        )
        exact = "the same function" if self.deviation_bound == 0 else f"claimed {self.claimed_bound:.3g}"
        lines = [f"{verdict}: {counts or 'no edits'}; deviation at most {self.deviation_bound:.3g} ({exact})"]
        wrong = list(self.problems)
        wrong += [f"{e.kind} of {', '.join(e.layers)}: {e.reason}" for e in (*self.rejections, *self.on_trust)]
        lines += wrong[:SHOWN]
        if len(wrong) > SHOWN:
            lines.append(f"... and {len(wrong) - SHOWN} more")
        return "\n".join(lines)
