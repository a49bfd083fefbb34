"""How the values of a compressed network relate to those of the original one: a walk over the original network.

Every value of the original network is written as an expression (`milpcomp.checker.expressions`) with an error bound.
Inputs are equal. From there on, in topological order:

    linear step      the expression is pushed through:  A (S y + t + e) + b
    rectifier step   unit by unit, whichever applies, the later the better:
        itself       nothing is known: a variable that may be as large as its pre-activation and slopes allow
        linear       the unit is proved stable, or its slopes are equal: slope * pre-activation
        constant     its pre-activation is a constant, or its output's own bounds say how far from one
        carried      the final network rectifies the same pre-activation, up to d, with the same slopes:
                     its output there, up to max |slope| * d
        joined       its pre-activation is factor > 0 times that of another unit of equal slopes, up to d:
                     factor * that unit's output, up to max |slope| * d
        merged       it is linear, and exactly a combination of other linear units: that of their outputs
    then, wherever a final step claims to carry elements of the value, the expression is compared with that step's own
    definition, and the elements become that step's, up to the difference; what is left over and more than a copy is
    kept as a variable that means the expression, and only written out where that helps (`milpcomp.checker.vocabulary`)

Which step claims to carry what, and which edit says what of a unit, are hints: they decide what is tried, and a wrong
one makes the difference large. Everything that enters is true of both networks, for every input of the domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from milpcomp.checker.arithmetic import down, up
from milpcomp.checker.document import INPUT, Linear, Model, Rectifier
from milpcomp.checker.expressions import (
    Expression,
    Variable,
    constants,
    copies,
    difference,
    image,
    scaled,
    scatter,
    stack,
    terms,
    variable,
)
from milpcomp.checker.hints import Carrier, Combination, Facts
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray, IntArray
from milpcomp.checker.rounding import SLACK, Long, Vector, combined, rounded_up, times
from milpcomp.checker.sweep import prove_bounds
from milpcomp.checker.vocabulary import Meaning, Vocabulary

Pieces = list[tuple[IntArray, Expression]]


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
        self.words = Vocabulary(prove_bounds(final, domain))  # type: ignore[arg-type]
        self.final_rectifiers = {step.name: step for step in final.rectifiers}
        self.ranks = {name: float(rank) for rank, name in enumerate(original.shapes)}
        claimed = {carrier.name: self.ranks[name] for name, group in carriers.items() for carrier in group}
        self.values: dict[str, Expression] = {INPUT: variable(INPUT, final.size(INPUT))}
        for step in final.steps:
            self._define(step, claimed)
        self.related: dict[str, Expression] = {INPUT: self.values[INPUT]}
        for step in original.steps:
            mine = carriers.get(step.name, ())
            straight = [c for c in mine if c.name in self.words.meanings and c.name not in self.final_rectifiers]
            if isinstance(step, Rectifier):
                value = self._rectified(step, [c for c in mine if c.name in self.final_rectifiers])
                value = self._carried(step.name, value, value, straight)
            else:
                sources = [self.related[name] for name in step.matrices]
                value = image(*stack(list(step.matrices.values()), sources), step.offset, self.words.reach)
                value = self._carried(step.name, self._named(step.name, value), value, straight)
            self.related[step.name] = value

    def deviation(self) -> FloatArray:
        """Return bounds of ``|original output - final output|`` over the domain, element by element."""
        return rounded_up(self._gap(self.related[self.original.output], self.values[self.final.output]))

    def _gap(self, x: Expression, y: Expression) -> Vector:
        return self.words.size(difference(x, y, self.words.reach))

    # variables --------------------------------------------------------------------------------------------------------

    def _define(self, step: Linear | Rectifier, claimed: Mapping[str, float]) -> None:
        """Write a final step in variables: itself, or what it is made of if it only copies or carries nothing."""
        itself = variable(step.name, self.final.size(step.name))
        rank = claimed.get(step.name, -1.0)
        if isinstance(step, Rectifier):
            box = self.words.reach[step.source]
            slopes = np.where(box.upper <= 0, step.negative, np.nan)
            slopes = np.where((box.lower >= 0) | (step.positive == step.negative), step.positive, slopes)
            self.values[step.name] = itself
            self._draw(step.name, rank, slopes, self.values[step.source], np.zeros(len(slopes), dtype=Long))
            return
        sources = [self.values[name] for name in step.matrices]
        meaning = image(*stack(list(step.matrices.values()), sources), step.offset, self.words.reach)
        if step.copies or step.name not in claimed:
            self.values[step.name] = meaning
        else:
            self.values[step.name] = itself
            self.words.define(step.name, Meaning(rank, meaning, np.ones(len(meaning), dtype=bool)))

    def _draw(self, name: Variable, rank: float, slopes: FloatArray, x: Expression, error: Vector) -> None:
        """Define the elements of a rectifier that are lines ``slope * x`` up to `error`; other slopes are NaN."""
        straight = ~np.isnan(slopes)
        line = scaled(np.where(straight, slopes, 0.0), x, self.words.reach)
        line = Expression(line.parts, line.constant, combined(line.error, error))
        self.words.define(name, Meaning(rank, line, straight))

    def _named(self, name: str, value: Expression) -> Expression:
        """Return an original value with a variable in place of every element that is more than a copy or a constant."""
        itself = self._original(name, self.bounds[name])
        self.words.define(("original", name), Meaning(self.ranks[name], value, np.ones(len(value), dtype=bool)))
        kept = np.flatnonzero(copies(value))
        return scatter(len(value), [(np.arange(len(value)), itself), (kept, value.rows(kept))])

    def _original(self, name: str, bounds: Interval) -> Expression:
        self.words.narrow(("original", name), bounds)
        return variable(("original", name), len(bounds.lower))

    def _known(self, step: Rectifier, facts: Facts) -> Interval:
        """Return bounds of an original rectifier's outputs that use what is proved only where an edit says so.

        Elsewhere they are those of any function as steep: what goes without an edit must not matter, whatever it does.
        """
        steepest = np.maximum(np.abs(step.positive), np.abs(step.negative))
        reach = up(np.where(steepest == 0, 0.0, steepest * self.bounds[step.source].magnitude))
        said, own = facts.fixed | ~np.isnan(facts.slopes), self.bounds[step.name]
        return Interval(np.where(said, own.lower, -reach), np.where(said, own.upper, reach))

    # the walk ---------------------------------------------------------------------------------------------------------

    def _carried(self, name: str, value: Expression, meaning: Expression, mine: Sequence[Carrier]) -> Expression:
        """Replace elements of an original value, which mean `meaning`, by the final linear steps that carry them."""
        for carrier in mine:
            gap = self._gap(meaning.rows(carrier.elements), self.words.meanings[carrier.name].definition)
            value = self._take_over(name, value, carrier, gap, np.isfinite(gap))
        return value

    def _take_over(self, name: str, value: Expression, carrier: Carrier, gap: Vector, use: BoolArray) -> Expression:
        """Replace the elements of `value` that a carrier carries up to `gap`, where `use` says so."""
        kept, size = np.flatnonzero(use), self.final.size(carrier.name)
        itself = variable(carrier.name, size, kept)
        itself = Expression(itself.parts, itself.constant, gap[kept])
        room, elements, ours = rounded_up(gap[kept]), carrier.elements[kept], self.bounds[name]
        low, high = np.full(size, -np.inf), np.full(size, np.inf)
        low[kept] = np.where(room == 0, ours.lower[elements], down(ours.lower[elements] - room))
        high[kept] = np.where(room == 0, ours.upper[elements], up(ours.upper[elements] + room))
        self.words.narrow(carrier.name, Interval(low, high))
        return scatter(len(value), [(np.arange(len(value)), value), (elements, itself)])

    def _rectified(self, step: Rectifier, mine: Sequence[Carrier]) -> Expression:
        """Return the outputs of an original rectifier."""
        x, facts, size = self.related[step.source], self.facts[step.name], len(step.positive)
        slopes = np.where(step.positive == step.negative, step.positive, facts.slopes)
        self._draw(("original", step.name), self.ranks[step.name], slopes, x, np.zeros(size, dtype=Long))
        zero = np.flatnonzero(slopes == 0)
        value = scatter(
            size,
            [
                (np.arange(size), self._original(step.name, self._known(step, facts))),
                self._fixed(step, facts, slopes),
                _constant(step, x),
                (zero, constants(np.zeros(len(zero)))),
            ],
        )
        for carrier in mine:
            value = self._same_rectifier(step, value, carrier, slopes)
        for combination in facts.combinations:
            found = (self._joined if combination.rectified else self._merged)(step, value, combination)
            value = scatter(size, [(np.arange(size), value), *found])
        return value

    def _fixed(self, step: Rectifier, facts: Facts, slopes: FloatArray) -> tuple[IntArray, Expression]:
        """Return the units said to be constant, with the middle of their outputs' bounds and the distance from it.

        A unit that is proved linear is left to that proof unless its output is one number.
        """
        own = self.bounds[step.name]
        low, high = np.asarray(own.lower, dtype=Long), np.asarray(own.upper, dtype=Long)
        middle = np.where(low == high, low, (low + high) / 2)
        radius = np.where(low == high, 0, np.maximum(high - middle, middle - low) * SLACK)
        usable = facts.fixed & np.isfinite(middle) & np.isfinite(radius) & (np.isnan(slopes) | (radius == 0))
        units = np.flatnonzero(usable)
        return units, constants(middle[units], radius[units])

    def _same_rectifier(self, step: Rectifier, value: Expression, carrier: Carrier, slopes: FloatArray) -> Expression:
        """Replace the units that a final rectifier carries with the same slopes."""
        theirs, units = self.final_rectifiers[carrier.name], carrier.elements
        source = self.values[theirs.source]
        gap = self._gap(self.related[step.source].rows(units), source)
        same = (step.positive[units] == theirs.positive) & (step.negative[units] == theirs.negative)
        after = times(np.maximum(np.abs(theirs.positive), np.abs(theirs.negative)), gap)
        learnt = np.where(same & np.isfinite(gap), slopes[units], np.nan)
        bend = times(up(np.abs(theirs.positive - theirs.negative)), gap)
        self._draw(carrier.name, self.ranks[step.name], learnt, source, np.where(np.isnan(learnt), 0, bend))
        return self._take_over(step.name, value, carrier, after, same & np.isfinite(after))

    def _joined(self, step: Rectifier, value: Expression, said: Combination) -> Pieces:
        """Return the units whose pre-activations are positive multiples of others'; one base each."""
        x, reach = self.related[step.source], self.words.reach
        gap = self._gap(x.rows(said.units), image(said.matrix, x.rows(said.bases), said.shift, reach))
        bases = said.bases[said.matrix.indices] if len(said.matrix.indices) == len(said.units) else said.units
        legal = (step.positive[said.units] == step.positive[bases]) & (
            step.negative[said.units] == step.negative[bases]
        )
        legal &= bool((said.matrix.data > 0).all()) and not said.shift.any() and bases is not said.units
        steepest = np.maximum(np.abs(step.positive), np.abs(step.negative))[said.units]
        joined = image(said.matrix, value.rows(said.bases), said.shift, reach)
        error = combined(joined.error, times(steepest, gap))
        known = np.flatnonzero(legal & np.isfinite(error))
        return [(said.units[known], Expression(joined.parts, joined.constant, error).rows(known))]

    def _merged(self, step: Rectifier, value: Expression, said: Combination) -> Pieces:
        """Return the linear units that are exact combinations of other linear units."""
        line = self.words.meanings["original", step.name]
        if not (line.defined[said.units].all() and line.defined[said.bases].all()):
            return []
        reach = self.words.reach
        gap = self._gap(
            line.definition.rows(said.units), image(said.matrix, line.definition.rows(said.bases), said.shift, reach)
        )
        exact = np.flatnonzero(gap == 0)
        return [(said.units[exact], image(said.matrix, value.rows(said.bases), said.shift, reach).rows(exact))]


def _constant(step: Rectifier, x: Expression) -> tuple[IntArray, Expression]:
    """Return the units whose pre-activation is a constant, with their outputs."""
    units = np.flatnonzero((terms(x) == 0) & np.isfinite(x.error))
    slopes = np.where(x.constant[units] >= 0, step.positive[units], step.negative[units])
    steepest = np.maximum(np.abs(step.positive), np.abs(step.negative))[units]
    stretch = np.where(np.abs(x.constant[units]) >= x.error[units], np.abs(slopes), steepest)
    found = scaled(slopes, constants(x.constant[units]), {})
    return units, Expression({}, found.constant, combined(found.error, times(stretch, x.error[units])))
