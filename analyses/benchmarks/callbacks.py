"""The published scheme with real callbacks, for solvers that have them: pairs leave P and Q inside the running solve.

    max  sum over P of p  +  sum over Q of q         one problem, started once (`milpcomp.milp.pairs`)
    a solution counts pairs     -> they become part of the answer, p (q) <= 0 from now on, the solution is rejected
    a relaxation is solved      -> its input is replayed: all pairs that it witnesses leave as well
    nothing is left to gain     -> P is stably inactive, Q stably active, on the solver's word

(Serra, Kumar and Ramalingam, arXiv 2102.07804, section 5; the injection is that of Fischetti and Jo, 2018.) The solvers
of milpcomp have no such callbacks, so this serves comparison only: SCIP through PySCIPOpt, and Gurobi, whose free
licence takes problems of at most 2,000 columns and rows. Neither is a dependency; install them to compare.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

import milpcomp as mc
from milpcomp.bounds.tighten import interval_bounds, tighten
from milpcomp.domain import FloatArray
from milpcomp.milp.encoding import Encoding, encode
from milpcomp.milp.margin import margins
from milpcomp.milp.pairs import HALF, Pair, PairProblem, pair_problem
from milpcomp.milp.problem import Milp
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.per_neuron import is_open, offer, prove
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Stage

PACKAGES = {"scip-callbacks": "pyscipopt", "gurobi-callbacks": "gurobipy"}
FREE_SIZE = 2_000
"""Columns, and rows, that Gurobi solves without a licence."""


class NotAvailableError(Exception):
    """A solver is not installed, or does not take a problem of this size; the message is the reason."""


@dataclass
class Scheme:
    """The state of one solve: which pairs are in the objective, and what becomes of solutions.

    Parameters
    ----------
    ledger : Ledger
    encoding : Encoding
    problem : PairProblem
    """

    ledger: Ledger
    encoding: Encoding
    problem: PairProblem
    gone: set[Pair] = field(default_factory=set)
    tied: set[Pair] = field(default_factory=set)

    def leave(self, columns: FloatArray, *, claims: bool) -> list[int]:
        """Replay a column vector; return the columns of all pairs that leave the objective because of it."""
        offer(self.ledger, self.encoding, columns)
        if claims:  # counted, and yet no witness: a tie, which the problem cannot decide
            self.tied |= {pair for pair in self.problem.claimed(columns) if is_open(self.ledger, pair)}
        fresh = []
        for pair, column in zip(self.problem.pairs, self.problem.columns.tolist(), strict=True):
            if pair not in self.gone and (pair in self.tied or not is_open(self.ledger, pair)):
                self.gone.add(pair)
                fresh.append(column)
        return fresh

    def prove_rest(self) -> None:
        """Enter what never left the objective as proved by the solver."""
        prove(self.ledger, [pair for pair in self.problem.pairs if pair not in self.gone])


def certify(network: mc.Network, domain: mc.Box, method: str, limit_s: float, data: FloatArray) -> Report:
    """Decide the neurons of a network by the published scheme.

    Parameters
    ----------
    network : Network
    domain : Box
    method : {"scip-callbacks", "gurobi-callbacks"}
    limit_s : float
    data : ndarray, shape (N, *input_shape)
        Inputs that are replayed first.

    Raises
    ------
    NotAvailableError
        If the solver is not installed, or the problem too large for its free licence.
    """
    if find_spec(PACKAGES[method]) is None:
        raise NotAvailableError(f"{PACKAGES[method]} is not installed")
    box = domain.fit(network.input_shape)
    ledger = Ledger(network, box, interval_bounds(network, box), time.monotonic() + limit_s)
    with ledger.clock(Stage.CLOSED_FORM):
        ledger.tighten(ledger.bounds)
    with ledger.clock(Stage.BOUND):
        sides = {layer: (ledger.open_inactive(layer), ledger.open_active(layer)) for layer in ledger.layers}
        ledger.tighten(tighten(network, box, ledger.bounds, sides, steps=20, deadline=ledger.deadline))
    ended = "complete"
    with ledger.clock(Stage.SOLVER):
        ledger.offer(box.clip(data))
        if not ledger.done():
            encoding = encode(network, ledger.bounds, box)
            scheme = Scheme(ledger, encoding, pair_problem(encoding, ledger.open_pairs(), margins(encoding)))
            solve = {"scip-callbacks": _scip, "gurobi-callbacks": _gurobi}[method]
            if solve(scheme):
                scheme.prove_rest()
            else:
                ended = "time limit"
    return ledger.report({"method": method, "time_limit_s": limit_s}, {}, ended)


def _scip(scheme: Scheme) -> bool:
    """Run SCIP; tell whether it came to an end."""
    scip: Any = import_module("pyscipopt")
    model, columns = _scip_model(scip, scheme.problem.milp)
    pending: list[int] = []

    def values(solution: Any) -> FloatArray:
        return np.array([model.getSolVal(solution, column) for column in columns])

    class Relaxations(scip.Heur):
        """Replays the input of every relaxation."""

        def heurexec(self, timing: Any, nodeinfeasible: bool) -> dict[str, Any]:
            if nodeinfeasible or model.getLPSolstat() != scip.SCIP_LPSOLSTAT.OPTIMAL:
                return {"result": scip.SCIP_RESULT.DELAYED}
            pending.extend(scheme.leave(values(None), claims=False))
            return {"result": scip.SCIP_RESULT.DIDNOTFIND}

    class Remove(scip.Conshdlr):
        """Rejects every solution that counts pairs, after these have left."""

        def conscheck(self, constraints: Any, solution: Any, *_: Any) -> dict[str, Any]:
            point = values(solution)
            if not any(pair not in scheme.gone for pair in scheme.problem.claimed(point)):
                return {"result": scip.SCIP_RESULT.FEASIBLE}
            pending.extend(scheme.leave(point, claims=True))
            return {"result": scip.SCIP_RESULT.INFEASIBLE}

        def _fix(self, otherwise: Any) -> dict[str, Any]:
            fixed = [column for column in pending if model.tightenVarUbGlobal(columns[column], 0.0)[1]]
            pending.clear()
            return {"result": scip.SCIP_RESULT.REDUCEDDOM if fixed else otherwise}

        def consenfolp(self, *_: Any) -> dict[str, Any]:
            return self._fix(scip.SCIP_RESULT.FEASIBLE)

        def consenfops(self, *_: Any) -> dict[str, Any]:
            return self._fix(scip.SCIP_RESULT.FEASIBLE)

        def consprop(self, *_: Any) -> dict[str, Any]:
            return self._fix(scip.SCIP_RESULT.DIDNOTFIND)

        def conslock(self, constraint: Any, locktype: Any, positive: int, negative: int) -> None:
            for column in scheme.problem.columns.tolist():
                model.addVarLocksType(columns[column], locktype, positive + negative, positive + negative)

    timing = scip.SCIP_HEURTIMING.AFTERLPNODE | scip.SCIP_HEURTIMING.DURINGLPLOOP
    model.includeHeur(Relaxations(), "relaxations", "", "Y", priority=100_000, freq=1, timingmask=timing)
    model.includeConshdlr(Remove(), "remove", "", enfopriority=-10, chckpriority=-(10**7), propfreq=1, needscons=False)
    model.setObjlimit(HALF)
    model.setParam("limits/time", scheme.ledger.seconds_left())
    model.optimize()
    return model.getStatus() in ("optimal", "infeasible")


def _scip_model(scip: Any, milp: Milp) -> tuple[Any, list[Any]]:
    """Return a problem as a model of PySCIPOpt, and its columns."""
    model, matrix = scip.Model(), milp.matrix
    model.hideOutput()
    columns = [
        model.addVar(lb=low, ub=high, obj=cost, vtype="B" if whole else "C")
        for low, high, cost, whole in zip(milp.lower, milp.upper, milp.cost, milp.integer, strict=True)
    ]
    for row, (low, high) in enumerate(zip(milp.row_lower, milp.row_upper, strict=True)):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        parts = zip(matrix.indices[entries].tolist(), matrix.data[entries].tolist(), strict=True)
        terms = scip.quicksum(value * columns[column] for column, value in parts)
        if low == high:
            model.addCons(terms == low)
            continue
        if np.isfinite(low):
            model.addCons(terms >= low)
        if np.isfinite(high):
            model.addCons(terms <= high)
    return model, columns


def _gurobi(scheme: Scheme) -> bool:
    """Run Gurobi; tell whether it came to an end."""
    gp: Any = import_module("gurobipy")
    milp = scheme.problem.milp
    if max(milp.matrix.shape) > FREE_SIZE:
        rows, columns = milp.matrix.shape
        raise NotAvailableError(f"{rows:,} rows and {columns:,} columns exceed the {FREE_SIZE:,} of the free licence")
    model = gp.Model()
    model.Params.OutputFlag, model.Params.LazyConstraints, model.Params.Threads = 0, 1, 2
    model.Params.Cutoff, model.Params.TimeLimit = HALF, scheme.ledger.seconds_left()
    kinds = np.where(milp.integer, gp.GRB.BINARY, gp.GRB.CONTINUOUS)
    v = model.addMVar(len(milp.cost), lb=milp.lower, ub=milp.upper, obj=milp.cost, vtype=kinds)
    for bound, sense in ((milp.row_lower, gp.GRB.GREATER_EQUAL), (milp.row_upper, gp.GRB.LESS_EQUAL)):
        rows = np.flatnonzero(np.isfinite(bound) & (milp.row_lower != milp.row_upper))
        model.addMConstr(milp.matrix[rows], v, sense, bound[rows])
    rows = np.flatnonzero(milp.row_lower == milp.row_upper)
    model.addMConstr(milp.matrix[rows], v, gp.GRB.EQUAL, milp.row_lower[rows])
    columns = v.tolist()

    def callback(where_model: Any, where: int) -> None:
        if where == gp.GRB.Callback.MIPSOL:
            fresh = scheme.leave(np.array(where_model.cbGetSolution(columns)), claims=True)
        elif where == gp.GRB.Callback.MIPNODE and where_model.cbGet(gp.GRB.Callback.MIPNODE_STATUS) == gp.GRB.OPTIMAL:
            fresh = scheme.leave(np.array(where_model.cbGetNodeRel(columns)), claims=False)
        else:
            return
        for column in fresh:
            where_model.cbLazy(columns[column] <= 0.0)

    model.optimize(callback)
    return model.Status in (gp.GRB.OPTIMAL, gp.GRB.INFEASIBLE, gp.GRB.CUTOFF)
