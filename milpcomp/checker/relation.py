"""How the values of a compressed network relate to those of the original one: a walk over the original network.

Every value of the original network is written as an expression in values of the final one, with an error bound
(`milpcomp.checker.expressions`). Inputs are equal. From there on, in topological order:

    linear step      the expression is pushed through:  A (S y + t + e) + b
    rectifier step   unit by unit, whichever applies:
        carried      the final network rectifies the same pre-activation, up to d, with the same slopes:
                     its output there, up to max |slope| * d
        linear       the unit is proved stable, or its slopes are equal: slope * pre-activation
        constant     its pre-activation is a constant, or its output's own bounds say how far from one
        joined       its pre-activation is factor > 0 times that of another unit of equal slopes, up to d:
                     factor * that unit's output, up to max |slope| * d
        otherwise    nothing is known: error infinite, which harms only if somebody reads the unit
    then, wherever a final step claims to carry elements of the value, the expression is compared with that step's own
    definition, and the elements become that step's, up to the difference

Which step claims to carry what, and which edit says what of a unit, are hints: they decide what is tried, and a wrong
one makes the difference large. A difference is bounded over the domain as it stands, and again with final steps
replaced by their definitions (stable rectifiers by lines), one after the other from the output on; the least counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from milpcomp.checker.arithmetic import down, up
from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.expressions import (
    SLACK,
    UNDERFLOW,
    Expression,
    Long,
    Vector,
    bound,
    combined,
    constants,
    difference,
    image,
    is_zero,
    rounded_up,
    scatter,
    stack,
    substitute,
    variable,
)
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray
from milpcomp.checker.sweep import prove_bounds

SUBSTITUTIONS = 6
"""How many steps of the final network one difference is taken through, at most."""


@dataclass(frozen=True, eq=False)
class Carrier:
    """Step `name` of the final network claims to carry, in order, the elements `elements` of an original value."""

    name: str
    elements: IntArray


@dataclass(frozen=True, eq=False)
class Facts:
    """What may be used about the units of one original rectifier.

    Parameters
    ----------
    slopes : ndarray, shape (n,)
        The slope with which a unit is linear on the domain, as an accepted verdict says; NaN where none does.
    fixed : ndarray of bool, shape (n,)
        Units said to be constant: their outputs may be replaced by what the checker's own bounds leave.
    joins : sequence of (units, their bases, factors)
    """

    slopes: FloatArray
    fixed: BoolArray
    joins: Sequence[tuple[IntArray, IntArray, FloatArray]] = ()


class Relation:
    """The walk; `deviation` is its result.

    Parameters
    ----------
    original, final : Model
    domain : pair of ndarray
    bounds : mapping
        Proved bounds of the original network's values.
    carriers : mapping from original step to the final steps that claim to carry it
    facts : mapping from original rectifier to what may be used of its units
    """

    def __init__(
        self,
        original: Model,
        final: Model,
        domain: tuple[FloatArray, FloatArray],
        bounds: Mapping[str, Interval],
        carriers: Mapping[str, Sequence[Carrier]],
        facts: Mapping[str, Facts],
    ) -> None:
        self.original, self.final, self.bounds, self.facts = original, final, bounds, facts
        self.reach = prove_bounds(final, domain)
        self.lines: dict[str, tuple[FloatArray, Vector]] = {}  # final rectifier: slope (NaN: none), error
        self.values: dict[str, Expression] = {INPUT: variable(INPUT, final.size(INPUT))}
        self.definitions: dict[str, Expression] = {}
        claimed = {carrier.name for group in carriers.values() for carrier in group}
        for step in final.steps:
            self._define(step, claimed)
        self.related: dict[str, Expression] = {INPUT: self.values[INPUT]}
        for step in original.steps:
            mine = carriers.get(step.name, ())
            if isinstance(step, Rectifier):
                value = self._rectified(step, [c for c in mine if self._rectifier(c.name) is not None])
            else:
                value = image(*stack(list(step.matrices.values()), self._sources(step)), step.offset, self.reach)
            self.related[step.name] = self._carried(step.name, value, [c for c in mine if c.name in self.definitions])

    def deviation(self) -> FloatArray:
        """Return bounds of ``|original output - final output|`` over the domain, element by element."""
        gap = difference(self.related[self.original.output], self.values[self.final.output], self.reach)
        return rounded_up(self._size(gap))

    # the final network in its own variables ---------------------------------------------------------------------------

    def _define(self, step: Linear | Rectifier, claimed: set[str]) -> None:
        """Write a final step in variables: itself, or what it is made of if it only copies or carries nothing."""
        itself = variable(step.name, self.final.size(step.name))
        if isinstance(step, Rectifier):
            self.values[step.name] = itself
            low, high = self.reach[step.source].lower, self.reach[step.source].upper
            slopes = np.where(high <= 0, step.negative, np.nan)
            slopes = np.where((low >= 0) | (step.positive == step.negative), step.positive, slopes)
            self.lines[step.name] = slopes, np.zeros(len(slopes), dtype=Long)
            return
        sources = [self.values[name] for name in step.matrices]
        meaning = image(*stack(list(step.matrices.values()), sources), step.offset, self.reach)
        if step.copies or step.name not in claimed:
            self.values[step.name] = meaning
        else:
            self.values[step.name], self.definitions[step.name] = itself, meaning

    def _rectifier(self, name: str) -> Rectifier | None:
        return next((step for step in self.final.rectifiers if step.name == name), None)

    def _sources(self, step: Linear) -> list[Expression]:
        return [self.related[name] for name in step.matrices]

    # differences ------------------------------------------------------------------------------------------------------

    def _size(self, gap: Expression) -> Vector:
        """Return bounds of the absolute values of `gap` over the domain."""
        if is_zero(gap):
            return gap.error
        best = bound(gap, self.reach)
        rows = np.flatnonzero(best > gap.error)
        gap, left = gap.rows(rows), SUBSTITUTIONS
        for step in reversed(self.final.steps):
            part = gap.parts.get(step.name)
            if not len(rows) or not left or part is None or not part.nnz:
                continue
            meaning = self._meaning(step, np.unique(part.indices))
            if meaning is None:
                continue
            gap, left = substitute(gap, step.name, meaning, self.reach), left - 1
            best[rows] = np.minimum(best[rows], bound(gap, self.reach))
        return best

    def _meaning(self, step: Linear | Rectifier, used: IntArray) -> Expression | None:
        """Return what a final step's value is made of, its rectified elements only where they are lines."""
        if not isinstance(step, Rectifier):
            return self.definitions.get(step.name)
        slopes, error = self.lines[step.name]
        straight = ~np.isnan(slopes)
        if not straight[used].any():
            return None
        line = np.flatnonzero(straight)
        bent = np.flatnonzero(~straight)
        through = _scaled(slopes[line], self.values[step.source].rows(line), self.reach)
        through = Expression(through.parts, through.constant, combined(through.error, error[line]))
        return scatter(len(slopes), [(bent, variable(step.name, len(slopes), bent)), (line, through)])

    # the walk ---------------------------------------------------------------------------------------------------------

    def _carried(self, name: str, value: Expression, mine: Sequence[Carrier]) -> Expression:
        """Replace elements of an original value by the final linear steps that carry them."""
        for carrier in mine:
            gap = self._size(difference(value.rows(carrier.elements), self.definitions[carrier.name], self.reach))
            value = self._take_over(name, value, carrier, gap, np.isfinite(gap))
        return value

    def _take_over(self, name: str, value: Expression, carrier: Carrier, gap: Vector, use: BoolArray) -> Expression:
        """Replace the elements of `value` that a carrier carries up to `gap`, where `use` says so."""
        kept = np.flatnonzero(use)
        itself = variable(carrier.name, self.final.size(carrier.name), kept)
        itself = Expression(itself.parts, itself.constant, gap[kept])
        below, above = self.reach[carrier.name].lower.copy(), self.reach[carrier.name].upper.copy()
        ours, elements = self.bounds[name], carrier.elements[kept]
        room = rounded_up(gap[kept])
        below[kept] = np.maximum(
            below[kept], np.where(room == 0, ours.lower[elements], down(ours.lower[elements] - room))
        )
        above[kept] = np.minimum(
            above[kept], np.where(room == 0, ours.upper[elements], up(ours.upper[elements] + room))
        )
        self.reach[carrier.name] = Interval(below, above)
        return scatter(len(value), [(np.arange(len(value)), value), (elements, itself)])

    def _rectified(self, step: Rectifier, mine: Sequence[Carrier]) -> Expression:
        """Return the outputs of an original rectifier."""
        x, facts, size = self.related[step.source], self.facts[step.name], len(step.positive)
        slopes = np.where(step.positive == step.negative, step.positive, facts.slopes)
        steepest = np.maximum(np.abs(step.positive), np.abs(step.negative))
        line = np.flatnonzero(~np.isnan(slopes))
        pieces = [
            (np.arange(size), constants(np.zeros(size), np.full(size, np.inf))),
            (line, _scaled(slopes[line], x.rows(line), self.reach)),
            self._fixed(step, facts, slopes),
            _constant(step, x, steepest),
        ]
        value = scatter(size, pieces)
        for carrier in mine:
            value = self._same_rectifier(step, value, carrier, slopes)
        for units, bases, factors in facts.joins:
            scaled = _scaled(factors, x.rows(bases), self.reach)
            gap = self._size(difference(x.rows(units), scaled, self.reach))
            legal = (step.positive[units] == step.positive[bases]) & (step.negative[units] == step.negative[bases])
            gap = np.where(legal & (factors > 0), _times(steepest[units], gap), np.inf)
            joined = _scaled(factors, value.rows(bases), self.reach)
            joined = Expression(joined.parts, joined.constant, combined(joined.error, gap))
            known = np.flatnonzero(np.isfinite(joined.error))
            value = scatter(size, [(np.arange(size), value), (units[known], joined.rows(known))])
        return value

    def _fixed(self, step: Rectifier, facts: Facts, slopes: FloatArray) -> tuple[IntArray, Expression]:
        """Return the units said to be constant, with the middle of their outputs' bounds and the distance from it.

        A unit that is proved linear is left to that proof unless its output is one number.
        """
        low, high = (
            np.asarray(side, dtype=Long) for side in (self.bounds[step.name].lower, self.bounds[step.name].upper)
        )
        middle = (low + high) / 2
        radius = np.where(low == high, 0, np.maximum(high - middle, middle - low) * SLACK)
        usable = facts.fixed & np.isfinite(middle) & np.isfinite(radius) & (np.isnan(slopes) | (radius == 0))
        units = np.flatnonzero(usable)
        return units, constants(middle[units], radius[units])

    def _same_rectifier(self, step: Rectifier, value: Expression, carrier: Carrier, slopes: FloatArray) -> Expression:
        """Replace the units that a final rectifier carries with the same slopes."""
        theirs = self._rectifier(carrier.name)
        assert theirs is not None
        units = carrier.elements
        gap = self._size(difference(self.related[step.source].rows(units), self.values[theirs.source], self.reach))
        same = (step.positive[units] == theirs.positive) & (step.negative[units] == theirs.negative)
        steepest = np.maximum(np.abs(theirs.positive), np.abs(theirs.negative))
        own, error = (array.copy() for array in self.lines[carrier.name])
        learnt = same & np.isfinite(gap) & ~np.isnan(slopes[units]) & np.isnan(own)
        own[learnt] = slopes[units][learnt]
        between = up(np.abs(theirs.positive - theirs.negative))
        error[learnt] = _times(between, gap)[learnt]
        self.lines[carrier.name] = own, error
        after = _times(steepest, gap)
        return self._take_over(step.name, value, carrier, after, same & np.isfinite(after))


def _constant(step: Rectifier, x: Expression, steepest: FloatArray) -> tuple[IntArray, Expression]:
    """Return the units whose pre-activation is a constant, with their outputs."""
    varying = sum((np.diff(part.indptr) for part in x.parts.values()), np.zeros(len(x), dtype=np.int64))
    units = np.flatnonzero((varying == 0) & np.isfinite(x.error))
    slopes = np.where(x.constant[units] >= 0, step.positive[units], step.negative[units])
    found = _scaled(slopes, constants(x.constant[units]), {})
    error = combined(found.error, _times(steepest[units], x.error[units]))
    return units, Expression({}, found.constant, error)


def _scaled(factors: FloatArray, x: Expression, reach: Mapping[str, Interval]) -> Expression:
    """Return ``factors * x``, element by element."""
    used = np.flatnonzero(factors)
    diagonal = sp.csr_array(sp.coo_array((factors[used], (used, used)), shape=(len(factors),) * 2))
    return image(diagonal, x, np.zeros(len(factors)), reach)


def _times(factor: FloatArray, error: Vector) -> Vector:
    """Return bounds of products of non-negative numbers; zero where one of them is."""
    nothing = (factor == 0) | (error == 0)
    product = np.where(nothing, 0, factor * np.where(nothing, 0, error))
    return np.where(nothing | (factor == 1), product, product * SLACK + UNDERFLOW)
