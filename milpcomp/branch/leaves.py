"""Proving leaves: the splits that lead to them as narrowed intervals, their duals as multipliers, many at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.multipliers import Cases, upper_bounds
from milpcomp.branch.question import Question
from milpcomp.branch.relaxation import Relaxation
from milpcomp.network import INPUT, Network

Multipliers = NDArray[np.floating]


class Leaves:
    """What proves the leaves of one search: cases of the domain, with multipliers for all units with a column.

    Parameters
    ----------
    network : Network
    values : mapping from node name to Interval
        Proved bounds of all nodes.
    question : Question
    relaxation : Relaxation
        Where the multipliers come from.
    """

    def __init__(
        self, network: Network, values: Mapping[str, Interval], question: Question, relaxation: Relaxation
    ) -> None:
        self.network, self.values, self.question = network, values, question
        self.names = [node.name for node in network.rectifiers]
        self.substitution = Substitution(network, values, network[question.layer].inputs[0])
        live = relaxation.live
        self.columns = np.stack([live.rectifier, live.unit], axis=1)
        self.place = {(int(live.rectifier[k]), int(live.unit[k])): i for i, k in enumerate(relaxation.open.tolist())}
        self.row = np.zeros(network.width(question.layer))
        self.row[question.unit] = question.sign
        self.shared = {
            name: Interval(values[name].lower.reshape(1, -1), values[name].upper.reshape(1, -1))
            for name in (INPUT, *(network[r].inputs[0] for r in self.substitution.relaxations))
        }

    def closed(
        self, chains: list[list[tuple[int, int, bool]]], found: list[tuple[bool, Multipliers]]
    ) -> NDArray[np.bool_]:
        """Tell which leaves are closed: those with chains of splits (rectifier, unit, above), closed by `found`."""
        objective = np.array([bounds for bounds, _ in found])
        rows = np.where(objective[:, None], self.row, 0.0)
        duals = np.stack([multipliers for _, multipliers in found])
        multipliers = {}
        for index in np.unique(self.columns[:, 0]).tolist():
            of = np.flatnonzero(self.columns[:, 0] == index)
            given = np.full((len(found), self.network.width(self.names[index])), np.nan)
            given[:, self.columns[of, 1]] = duals[:, of]
            multipliers[self.names[index]] = given
        cases = Cases(self._narrowed(chains))
        bounds = upper_bounds(self.substitution, rows, cases, np.arange(len(found)), multipliers)
        return np.where(objective, bounds <= 0.0, bounds < 0.0)

    def _narrowed(self, chains: list[list[tuple[int, int, bool]]]) -> dict[str, Interval]:
        values = dict(self.shared)
        for leaf, chain in enumerate(chains):
            for index, unit, above in chain:
                source = self.network[self.names[index]].inputs[0]
                value = values[source]
                if value is self.shared[source]:  # a view of the bounds of everybody: narrow a copy
                    value = values[source] = Interval(
                        *(np.repeat(a, len(chains), 0) for a in (value.lower, value.upper))
                    )
                if above:
                    value.lower[leaf, unit] = max(value.lower[leaf, unit], 0.0)
                else:
                    value.upper[leaf, unit] = min(value.upper[leaf, unit], 0.0)
        return values
