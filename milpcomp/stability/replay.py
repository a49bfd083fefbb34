"""Replay of inputs: the signs of pre-activations that they establish, rigorously.

Plain float evaluation only *proposes*. A sign counts when an outward-rounded interval evaluation of the network at the
input excludes zero, or when exact rational arithmetic yields it. Cheap first: a small cover of rows by intervals, then
the best row of each question still open by intervals, then that row in rational arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import propagate
from milpcomp.bounds.rational import exact_pre_activation
from milpcomp.domain import FloatArray
from milpcomp.network import Network


@dataclass(frozen=True, eq=False)
class Question:
    """Units of one layer of which one sign was not seen yet: +1 (positive pre-activation) or -1 (negative)."""

    layer: str
    sign: int
    units: NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """Row `row` of the inputs gives `unit` of `layer` a pre-activation of sign `sign`."""

    layer: str
    sign: int
    unit: int
    row: int


@dataclass(frozen=True, eq=False)
class _Proposal:
    question: Question
    signed: FloatArray  # sign * pre-activation in plain floats, (rows, units)

    def without(self, answers: Sequence[Answer]) -> _Proposal:
        answered = [a.unit for a in answers if (a.layer, a.sign) == (self.question.layer, self.question.sign)]
        keep = ~np.isin(self.question.units, answered)
        return _Proposal(replace(self.question, units=self.question.units[keep]), self.signed[:, keep])


@dataclass
class Replay:
    """Replays inputs through one network.

    It remembers which questions rational arithmetic was tried on and with what float value, and tries again only when a
    value is twice as large: a neuron that is identically zero would otherwise cost an exact evaluation at every call.
    """

    network: Network
    _tried: dict[tuple[str, int, int], float] = field(default_factory=dict)

    def answers(self, x: FloatArray, questions: Sequence[Question]) -> list[Answer]:
        """Return one answer for every question that some row of `x` (N, *input_shape) settles.

        Notes
        -----
        **Trusts** `milpcomp.bounds.interval` and `milpcomp.bounds.rational`; the checker replays all answers with code
        of its own.
        """
        values = self.network.pre_activations(x)
        proposals = [_Proposal(q, q.sign * values[q.layer][:, q.units]) for q in questions if len(q.units)]
        found = self._enclosed(x, _cover(proposals), proposals)
        proposals = [proposal.without(found) for proposal in proposals]
        found += self._enclosed(x, _best(proposals), proposals)
        for proposal in proposals:
            found += self._exact(x, proposal.without(found))
        return found

    def _enclosed(self, x: FloatArray, rows: NDArray[np.int64], proposals: Sequence[_Proposal]) -> list[Answer]:
        if not len(rows):
            return []
        enclosure = propagate(self.network, x[rows], x[rows], self.network.hidden)
        found = []
        for question in (proposal.question for proposal in proposals):
            value = enclosure[self.network[question.layer].inputs[0]]
            signed = value.lower if question.sign > 0 else -value.upper
            bound = signed.reshape(len(rows), -1)[:, question.units]
            for i in np.flatnonzero((bound > 0).any(axis=0)):
                row = int(rows[int(bound[:, i].argmax())])
                found.append(Answer(question.layer, question.sign, int(question.units[i]), row))
        return found

    def _exact(self, x: FloatArray, proposal: _Proposal) -> Iterator[Answer]:
        question = proposal.question
        for i in np.flatnonzero((proposal.signed > 0).any(axis=0)):
            unit, row = int(question.units[i]), int(proposal.signed[:, i].argmax())
            key, value = (question.layer, question.sign, unit), float(proposal.signed[row, i])
            if value <= 2 * self._tried.get(key, 0.0):
                continue
            self._tried[key] = value
            if question.sign * exact_pre_activation(self.network, x[row], question.layer, unit) > 0:
                yield Answer(question.layer, question.sign, unit, row)


def _cover(proposals: Sequence[_Proposal]) -> NDArray[np.int64]:
    """Return few rows (greedily) such that every unit with a proposal has one among them."""
    hits = (
        np.concatenate([proposal.signed > 0 for proposal in proposals], axis=1) if proposals else np.zeros((0, 0), bool)
    )
    hits = hits[:, hits.any(axis=0)]
    rows = []
    while hits.shape[1]:
        row = int(hits.sum(axis=1).argmax())
        rows.append(row)
        hits = hits[:, ~hits[row]]
    return np.array(rows, dtype=np.int64)


def _best(proposals: Sequence[_Proposal]) -> NDArray[np.int64]:
    """Return the rows that are best for some unit with a proposal."""
    rows = [p.signed.argmax(axis=0)[(p.signed > 0).any(axis=0)] for p in proposals if p.signed.shape[1]]
    return np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)
