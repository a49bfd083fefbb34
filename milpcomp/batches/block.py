"""What a worker does for a block of neurons of one layer: search, and hand back what proves or witnesses something."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.domain import FloatArray
from milpcomp.milp.backends import backend as find_backend
from milpcomp.network import Network
from milpcomp.stability import funnel
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.settings import Settings
from milpcomp.stability.start import stated_bounds
from milpcomp.stability.verdict import ON_TRUST, Stage, Verdict


@dataclass(frozen=True, eq=False)
class Search:
    """What a worker does with a block.

    Parameters
    ----------
    layer : str
    units : tuple of int
    stage : Stage
        ``BRANCH`` or ``SOLVER``.
    settings : Settings
        With the limit of one search, and of the bytes of all proofs of this block.
    budget_s : float
        How long it may take.
    """

    layer: str
    units: tuple[int, ...]
    stage: Stage
    settings: Settings
    budget_s: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a block found: inputs (K, *input_shape), proofs by cases in their order, and verdicts that rest on trust."""

    inputs: FloatArray
    proofs: tuple[BranchProof, ...]
    trusted: tuple[Verdict, ...]


def warm_up() -> None:
    """Do nothing: importing this module takes seconds in a fresh process, and need not wait for the first block."""


def search_block(network: Network, known: Report, search: Search) -> Found:
    """Search for what decides some neurons of one layer: what a worker is called with.

    Parameters
    ----------
    network : Network
    known : Report
        What is known so far; of its witnesses it only matters whether there are any.
    search : Search
    """
    units = np.zeros(network.width(search.layer), dtype=bool)
    units[list(search.units)] = True
    deadline = time.monotonic() + search.budget_s
    ledger = Ledger(network, known.domain, stated_bounds(known, network), deadline, None, {search.layer: units}, known)
    if search.stage is Stage.BRANCH:
        funnel.prove(ledger, search.settings)
    else:
        funnel.solve(ledger, search.settings, find_backend(search.settings.backend))
    before = {(v.layer, v.unit) for v in known.verdicts if v.proof in ON_TRUST}
    verdicts = ledger.report({}, {}, "").layers()[search.layer]
    trusted = tuple(v for v in verdicts if v.proof in ON_TRUST and (v.layer, v.unit) not in before)
    return Found(ledger.witnesses, tuple(ledger.branch_proofs), trusted)
