"""The P/Q problem: one input that shows as many neurons as possible active or inactive for the first time.

    c(P, Q)  =  max  sum over P of p  +  sum over Q of q       p <= z,   q <= 1 - z,   0 <= p, q <= 1 continuous

(Serra, Kumar and Ramalingam, arXiv 2102.07804, section 5), written as a minimisation of the negative. z is integral, so
p and q need not be. ``c(P, Q) = 0`` proves all that remain: P stably inactive, Q stably active. A pair is (layer, unit,
sign), sign +1 for P and -1 for Q.

A solution with p = 1 is *no* witness: z = 1 and h = 0 is feasible where the pre-activation is 0, and the margin
(`milpcomp.milp.margin`) widens that to pre-activations above -margin. Witnesses come from forward passes. So that ties
are not preferred to real witnesses, the objective has one more term, a share of REWARD for h of each pair of P and for
hbar of each of Q. Scaled, these are at most 1, so all of them together are worth at most REWARD, and an objective
above -1 still says c(P, Q) = 0. (Measured with HiGHS on twelve networks 6-12-10-8: 47 MIPs instead of 88, no tie
instead of 25, half the time.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.milp.builder import Builder, diagonal
from milpcomp.milp.encoding import Encoding
from milpcomp.milp.problem import Milp
from milpcomp.network.layers import IntArray

Pair = tuple[str, int, int]

REWARD = 0.25
"""The most that rewards for clear signs can add up to."""

HALF = -0.5
"""An objective between "no pair" (-REWARD or more) and "one pair or more" (-1 or less)."""


@dataclass(frozen=True, eq=False)
class PairProblem:
    """A P/Q problem.

    Parameters
    ----------
    milp : Milp
        The columns of the encoding, then one per pair.
    pairs : tuple of Pair
        The pairs in the objective.
    columns : ndarray of int
        The column p or q of each pair.
    """

    milp: Milp
    pairs: tuple[Pair, ...]
    columns: IntArray

    def claimed(self, columns: FloatArray) -> list[Pair]:
        """Return the pairs that a column vector counts."""
        return [pair for pair, column in zip(self.pairs, self.columns, strict=True) if columns[column] >= 0.5]


def pair_problem(encoding: Encoding, pairs: Sequence[Pair], margins: Mapping[str, FloatArray]) -> PairProblem:
    """Return the P/Q problem of those of `pairs` that it can decide.

    Left out are neurons without z, which bounds prove stable, and those whose margin is as large as the bound on the
    far side, so that p (or q) could always be 1.

    Parameters
    ----------
    margins : mapping from layer to ndarray
        From `milpcomp.milp.margin.margins`.
    """
    slots = [slot for pair in pairs for slot in _slots(encoding, pair, float(margins[pair[0]][pair[1]]))]
    signs, z = np.array([slot.pair[2] for slot in slots]), np.array([slot.z for slot in slots], dtype=np.int64)
    builder = Builder(encoding.milp)
    names = (f"{'p' if sign > 0 else 'q'}[{layer},{unit}]" for layer, unit, sign in (slot.pair for slot in slots))
    columns = builder.add_columns(names, np.zeros(len(slots)), np.ones(len(slots)))
    free, limit = np.full(len(slots), -np.inf), np.where(signs > 0, 0.0, 1.0)
    builder.add_rows([diagonal(columns, 1.0), diagonal(z, -1.0 * signs)], free, limit)  # p - z <= 0, q + z <= 1
    milp = builder.milp()
    row_upper, cost = milp.row_upper.copy(), milp.cost.copy()
    cost[columns] = -1.0
    for slot in slots:
        row_upper[slot.row] += slot.margin
        cost[slot.near] = -REWARD / len(slots)
    return PairProblem(replace(milp, row_upper=row_upper, cost=cost), tuple(slot.pair for slot in slots), columns)


@dataclass(frozen=True)
class _Slot:
    """A pair, the binary of its neuron, the column on the side of its sign, and the row that its margin relaxes."""

    pair: Pair
    z: int
    near: int
    row: int
    margin: float


def _slots(encoding: Encoding, pair: Pair, margin: float) -> Iterator[_Slot]:
    """Give the slot of a pair, if it has one."""
    layer, unit, sign = pair
    block = encoding.blocks[layer]
    i = int(np.searchsorted(block.units, unit))
    near, far = (block.h[i], block.hbar[i]) if sign > 0 else (block.hbar[i], block.h[i])
    row = block.hbar_row[i] if sign > 0 else block.h_row[i]
    if block.z[i] >= 0 and margin < encoding.milp.upper[far]:
        yield _Slot(pair, int(block.z[i]), int(near), int(row), margin)
