"""The variables that expressions are written in, what they mean, and how large an expression can get on the domain.

A variable is a value of the final network, called by its name, or a value of the original one that the final network
does not hold, called ``("original", name)``. Each has bounds on the domain and, for some or all of its elements, a
definition: an expression in variables that come before it. A difference of two values is bounded as it stands, and
again with variables replaced by their definitions, the latest first; the least bound counts. That is how merged,
folded and fused layers are recognised: as they stand they look different, and written in what they are made of the
coefficients cancel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.checker.expressions import Expression, Variable, bound, is_zero, scatter, substitute, variable
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray
from milpcomp.checker.rounding import Vector

SUBSTITUTIONS = 16
"""How many variables of one difference are replaced, at most."""


@dataclass(frozen=True, eq=False)
class Meaning:
    """What a variable means: element k is ``definition`` element k wherever `defined` says so.

    Variables of a lower `rank` come before those of a higher one.
    """

    rank: float
    definition: Expression
    defined: BoolArray


class Vocabulary:
    """Variables with their bounds (`reach`) and meanings, both of which grow during the walk."""

    def __init__(self, reach: Mapping[Variable, Interval]) -> None:
        self.reach: dict[Variable, Interval] = dict(reach)
        self.meanings: dict[Variable, Meaning] = {}

    def define(self, name: Variable, meaning: Meaning) -> None:
        """Say what a variable means, in addition to what was known of it."""
        known = self.meanings.get(name)
        if known is not None:
            fresh = np.flatnonzero(meaning.defined & ~known.defined)
            pieces = [(np.arange(len(known.defined)), known.definition), (fresh, meaning.definition.rows(fresh))]
            meaning = Meaning(known.rank, scatter(len(known.defined), pieces), known.defined | meaning.defined)
        self.meanings[name] = meaning

    def narrow(self, name: Variable, interval: Interval) -> None:
        """Enter further bounds of a variable."""
        self.reach[name] = self.reach[name].meet(interval) if name in self.reach else interval

    def size(self, gap: Expression) -> Vector:
        """Return bounds of the absolute values of `gap` over the domain."""
        if is_zero(gap):
            return gap.error
        best = bound(gap, self.reach)
        rows, done = np.flatnonzero(best > gap.error), set[Variable]()
        gap = gap.rows(rows)
        while len(done) < SUBSTITUTIONS and len(rows):
            name = self._latest(gap, done)
            if name is None:
                break
            meaning = self.meanings[name]
            whole = np.arange(len(meaning.defined))
            known = np.flatnonzero(meaning.defined)
            pieces = [(whole, variable(name, len(whole))), (known, meaning.definition.rows(known))]
            gap = substitute(gap, name, scatter(len(whole), pieces), self.reach)
            best[rows] = np.minimum(best[rows], bound(gap, self.reach))
            done.add(name)
        return best

    def _latest(self, gap: Expression, done: set[Variable]) -> Variable | None:
        """Return the latest variable of `gap` that can be replaced."""
        open_names = [
            name
            for name, part in gap.parts.items()
            if name not in done and name in self.meanings and self.meanings[name].defined[part.indices].any()
        ]
        return max(open_names, key=lambda name: self.meanings[name].rank, default=None)
