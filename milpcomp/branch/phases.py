r"""Is sign * g <= 0 on the whole domain? Branch and bound over the phases of the units below, one relaxation a node.

    stack = [the domain]
    take a node and minimise -sign * g over its relaxation
        closed or infeasible      its duals become multipliers of a leaf, proved in batches
        else                      offer the input of the point: it may witness this unit, or any other;
                                  split the unstable unit that the relaxation pays most for

Only the error-bounded bound of `milpcomp.bounds.multipliers` closes a leaf; where it does not, the node is solved to
optimality and split further. A unit pays |dual of its chord| * (height of its chord at 0), the objective's share of its
triangle (compare BaBSR, Bunel et al., JMLR 2020). Depth first, into the phase that the point has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.interval import Interval
from milpcomp.branch.leaves import Leaves, Multipliers
from milpcomp.branch.question import NODE_BYTES, Limits, Outcome, Question
from milpcomp.branch.relaxation import Relaxation, relax
from milpcomp.branch.simplex import Answer, Simplex
from milpcomp.branch.tree import Tree
from milpcomp.domain import FloatArray
from milpcomp.network import INPUT, Network

EARLY_S = 0.1
"""A solver that gives no answer so long before its limit will give none."""

PROGRAM_BYTES = 250
"""What a program takes in memory by number in its matrix, at most: 83 to 226 were measured."""

BATCH = 32
"""How many leaves are proved, and points offered, at a time."""

FLAT = 1e-7
"""A unit whose point lies this close to its rectifier has no gap to close."""


class Search:
    """A search for a proof, which can be stopped and goes on where it was.

    Parameters
    ----------
    network : Network
    values : mapping from node name to Interval
        Proved finite bounds of all nodes, without batch axis.
    question : Question
    offer : callable
        Takes inputs (N, *input_shape) inside the domain: candidates for witnesses.
    relaxation : Relaxation, optional
        What `relax` returns for these bounds and this layer, where it is at hand.

    Raises
    ------
    SolverError
        If HiGHS is missing or rejects the relaxation.

    Notes
    -----
    **Trusts** the given bounds and what `milpcomp.bounds.rounding` trusts; nothing of the solver.
    """

    stuck = False

    def __init__(
        self,
        network: Network,
        values: Mapping[str, Interval],
        question: Question,
        offer: Callable[[FloatArray], object],
        relaxation: Relaxation | None = None,
    ) -> None:
        self.network, self.values, self.question, self.offer = network, values, question, offer
        source = network[question.layer].inputs[0]
        side = values[source].upper if question.sign > 0 else -values[source].lower
        reach = float(side.reshape(-1)[question.unit])  # what is asked may be a millionth of the unit's range
        self.scale = reach if reach > 0 else 1.0
        self.relaxation = relax(network, values, question.layer) if relaxation is None else relaxation
        self.simplex = Simplex(self.relaxation, *self.relaxation.objective(question.unit, question.sign, self.scale))
        self.leaves = Leaves(network, values, question, self.relaxation)
        self.tree = Tree()
        self.stack: list[int] = [0]
        self.pending: dict[int, tuple[bool, FloatArray]] = {}
        self.stubborn: set[int] = set()
        self.points: list[FloatArray] = []
        self.bases: dict[int, Any] = {}  # optimal bases of split nodes, until their second child
        self.nodes = self.stored = 0
        self.fits = True
        self.last = -1
        self.limits = Limits(0.0, lambda: True, 0)

    def run(self, limits: Limits) -> Outcome:
        """Search until the limits."""
        self.limits = limits
        with np.errstate(all="ignore"):  # numbers that are not finite close nothing
            while self.stack or self.pending:
                if time.monotonic() > limits.deadline or limits.settled():
                    break
                if not self.stack or len(self.pending) >= BATCH:
                    self._prove_pending()
                    continue
                node = self.stack.pop()
                if not self._visit(node):
                    self.stack.append(node)
                    self.stuck |= time.monotonic() < limits.deadline - EARLY_S and not limits.settled()
                    break
            else:
                return Outcome(True, self._proof(), self.nodes, self.simplex.iterations)
            self._offer_points()
            return Outcome(False, None, self.nodes, self.simplex.iterations)

    @property
    def nbytes(self) -> int:
        """About how many bytes it holds."""
        held = self.stored + sum(array.nbytes for _, array in self.pending.values())
        return PROGRAM_BYTES * self.relaxation.milp.matrix.nnz + NODE_BYTES * len(self.tree.parent) + held

    def _proof(self) -> BranchProof | None:
        if not self.fits:
            return None
        return self.tree.proof(self.question.layer, self.question.unit, self.question.sign, self.leaves.columns)

    def _visit(self, node: int) -> bool:
        """Solve one node; tell whether the search can go on."""
        splits = self._splits(node)
        parent = self.tree.parent[node]
        basis = None if self.last in (parent, node) else self.bases.pop(parent, None)  # it may have been stopped
        answer = self.simplex.solve(splits, self.limits.deadline, node in self.stubborn, basis)
        self.nodes, self.last = self.nodes + 1, node
        if answer is None:
            return False
        if answer.closed and node not in self.stubborn:
            self.pending[node] = (not answer.infeasible, self._multipliers(answer))
            return True
        if answer.columns is not None:
            self._keep_point(answer.columns)
        if answer.closed and self._prove({node: (not answer.infeasible, self._multipliers(answer))}):
            return True
        return self._branch(node, splits, answer)

    def _branch(self, node: int, splits: Mapping[int, bool], answer: Answer) -> bool:
        r = self.relaxation
        score = np.abs(answer.duals[r.ceiling]) * r.intercept + 1e-9 * r.intercept
        likely = np.ones(len(score), dtype=bool)
        if answer.columns is not None:
            g, h = answer.columns[r.live.column[r.open]], answer.columns[r.relu]
            gap = h - np.maximum(g, 0.0)
            score = np.where(gap > FLAT, score, 0.0)
            likely = g > 0
        score[list(splits)] = -1.0
        best = int(score.argmax()) if len(score) else -1
        if best < 0 or score[best] <= 0:
            return False  # the point is on the network, up to the solver's tolerance, and is no witness
        self.bases[node] = self.simplex.basis()
        unit = r.open[best]
        children = self.tree.split(node, int(r.live.rectifier[unit]), int(r.live.unit[unit]), 0.0)
        self.stack += children if likely[best] else children[::-1]
        return True

    def _splits(self, node: int) -> dict[int, bool]:
        tree, place = self.tree, self.leaves.place
        return {place[tree.layer_of[k], tree.unit_of[k]]: bool(tree.above[k]) for k in tree.path(node)}

    def _multipliers(self, answer: Answer) -> FloatArray:
        live = self.relaxation.live
        duals = answer.duals[: len(live.scale)] / live.scale
        if answer.infeasible:  # a ray, of any length
            return duals / max(float(np.abs(duals).max(initial=0.0)), float(np.finfo(float).tiny))
        return duals * self.scale

    def _prove_pending(self) -> None:
        failed = set(self.pending) - self._prove(self.pending)
        self.stubborn |= failed
        self.stack += sorted(failed)
        self.pending = {}

    def _prove(self, pending: Mapping[int, tuple[bool, FloatArray]]) -> set[int]:
        """Return which leaves are proved closed, after noting them: with rounded multipliers where these suffice."""
        rounded = {node: (objective, found.astype(np.float32)) for node, (objective, found) in pending.items()}
        done = self._prove_with(rounded)
        left = {node: entry for node, entry in pending.items() if node not in done}
        return done | self._prove_with(left) if left else done

    def _prove_with(self, pending: Mapping[int, tuple[bool, Multipliers]]) -> set[int]:
        chains = [
            [(self.tree.layer_of[k], self.tree.unit_of[k], bool(self.tree.above[k])) for k in self.tree.path(n)]
            for n in pending
        ]
        proved = self.leaves.closed(chains, list(pending.values()))
        done = {node for node, closed in zip(pending, proved.tolist(), strict=True) if closed}
        for node in done:
            objective, multipliers = pending[node]
            self.stored += multipliers.nbytes
            self.fits = self.fits and self.stored <= self.limits.bytes
            if not self.fits:
                multipliers = multipliers[:0]
            self.tree.close(node, objective, multipliers)
        return done

    def _keep_point(self, columns: FloatArray) -> None:
        box, r = self.values[INPUT], self.relaxation
        x = (columns[: r.inputs] * r.input_scale).reshape(box.lower.shape)
        self.points.append(np.clip(x, box.lower, box.upper))
        if len(self.points) >= min(BATCH, self.nodes):
            self._offer_points()

    def _offer_points(self) -> None:
        if self.points:
            self.offer(np.stack(self.points))
            self.points = []
