"""What a search is asked, when it has to stop, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from milpcomp.bounds.branch_proof import BranchProof


@dataclass(frozen=True)
class Question:
    """Whether sign * (pre-activation of `unit` of `layer`) <= 0 on the whole domain."""

    layer: str
    unit: int
    sign: int


@dataclass(frozen=True, eq=False)
class Limits:
    """When to stop: at `deadline` (``time.monotonic()``), when `settled` says that nothing is asked any more.

    `bytes` bounds what is kept to close leaves; beyond it a proof is carried on, but nothing is left of it.
    """

    deadline: float
    settled: Callable[[], bool]
    bytes: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a search found.

    Parameters
    ----------
    proved : bool
    proof : BranchProof or None
        None where nothing was proved, or the proof was too large to keep.
    nodes, iterations : int
    """

    proved: bool
    proof: BranchProof | None
    nodes: int
    iterations: int


NOTHING = Outcome(False, None, 0, 0)

NODE_BYTES = 250
"""What a node of a growing tree takes in memory, measured."""


class Search(Protocol):
    """A search for a proof of one question, which can be stopped and goes on where it was."""

    @property
    def stuck(self) -> bool:
        """Whether going on is of no use: what is open can neither be closed nor split."""

    @property
    def nbytes(self) -> int:
        """About how many bytes it holds."""

    def run(self, limits: Limits) -> Outcome:
        """Search until the limits; nodes and iterations count from the very beginning."""
