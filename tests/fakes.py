"""Solvers that answer as told, for what no real solver does on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from milpcomp.milp.problem import Milp, Observer, Outcome, SolveOptions

Answer = Outcome | BaseException | Callable[[Milp, SolveOptions], Outcome]


@dataclass
class FakeBackend:
    """Gives `answer` to every question; an exception is raised, a function is called with problem and options.

    Before that it shows `points` to the observer, and it records what it was asked.
    """

    answer: Answer
    points: Sequence[np.ndarray] = ()
    name: str = "fake"
    version: str = "0"
    asked: list[tuple[Milp, SolveOptions]] = field(default_factory=list)
    stopped: bool = False

    def solve(self, milp: Milp, options: SolveOptions, on_solution: Observer | None = None) -> Outcome:
        """Answer as told."""
        self.asked.append((milp, options))
        for point in self.points:
            if on_solution is not None and on_solution(point):
                self.stopped = True
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer(milp, options) if callable(self.answer) else self.answer
