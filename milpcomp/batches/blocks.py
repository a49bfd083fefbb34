"""`certify_in_blocks`: one network on many workers, the neurons that are hard to decide in blocks.

    here       intervals, data, linear bounds, gradient search: what decides most neurons of most networks in seconds
    workers    proofs by cases, then the solver, for blocks of the neurons of one layer, layer by layer
    here       every witness is tried on all open neurons, every proof tightens the layers above

A layer begins when the blocks of the one before have ended, so that a proof which was found on the bounds of the layers
below holds on the same bounds here: blocks of one layer do not use each other's proofs, only later layers do. The
report is one that `certify` might have written.

In a first pass every search gets a short time, so that no hard neuron stands before easy ones; after it a long gradient
search runs here. A block may take as long as its searches may take together. One that is lost (killed, over its limit,
on a machine that vanished) is tried once more; what is still open then stays undecided, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.batches.block import Found, Search, search_block, warm_up
from milpcomp.batches.executor import Call, Executor, require_count
from milpcomp.batches.places import place
from milpcomp.batches.twice import outcomes
from milpcomp.domain import Box
from milpcomp.errors import ExecutorError
from milpcomp.network import Network
from milpcomp.progress import Snapshot
from milpcomp.stability import funnel
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.task import Task, conducted, prepared
from milpcomp.stability.verdict import Phase, Stage

QUICK = 0.1
"""Share of the limit per neuron that the first pass gives."""

ROOM = {Stage.BRANCH: 0.7, Stage.SOLVER: 2.0}
"""How long a block may take, in limits per question: two searches run at a time, two problems one after the other."""

BLOCKS_PER_WORKER = 4
"""Into how many blocks a layer is cut: more of them wait less for the slowest, but each prepares its layer anew."""

GRACE_S = 60.0
"""A block's process is killed when it runs this much longer than it should."""

LOST = "blocks were lost"
"""How a run ends in which neurons are open because their blocks were lost."""


def certify_in_blocks(
    network: Network,
    domain: Box,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    blocks: int | None = None,
    backend: str = "highs",
    time_limit_s: float | None = None,
    neuron_time_limit_s: float = 10.0,
    max_certificate_bytes: int = 2**28,
    data: ArrayLike | None = None,
    layers: Collection[str] | None = None,
    neurons: Mapping[str, Collection[int]] | None = None,
    start: Report | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: bool | Callable[[Snapshot], None] = False,
) -> Report:
    """Decide every hidden neuron of `network` over `domain`, with many processes or a cluster for the hard ones.

    Parameters
    ----------
    network : Network
    domain : Box
    workers : int, optional
        How many processes of this machine work at once; as many as there are cores if not given.
    scheduler : str, optional
        Address of a Dask scheduler, ``"tcp://host:8786"``, whose workers do it instead.
    blocks : int, optional
        Into how many blocks the open neurons of a layer are cut; four for each worker if not given.
    backend, time_limit_s, neuron_time_limit_s, max_certificate_bytes, data, layers, neurons, start, device, seed
        See `milpcomp.certify`; the method is the default one.
    progress : bool or callable
        See `milpcomp.certify`.

    Returns
    -------
    Report
        As of `milpcomp.certify`. Where blocks were lost for good, ``ended`` says so and ``settings["lost"]`` has the
        neurons and the reasons. The stage ``"branch"`` is the time of all blocks.

    Raises
    ------
    SettingsError, DomainError, NetworkError, SolverError, ResultError
        As of `milpcomp.certify`.
    ExecutorError
        If there is no cluster at that address.

    Examples
    --------
    >>> mc.certify_in_blocks(network, mc.Box(0.0, 1.0), scheduler="tcp://host:8786", time_limit_s=3600)

    Notes
    -----
    **Trusts** what `milpcomp.certify` trusts, and the workers to run the same milpcomp; `milpcomp.check` the result.
    """
    require_count(blocks, "blocks of a layer")
    task = prepared(
        network, domain, method="funnel", backend=backend, time_limit_s=time_limit_s,
        neuron_time_limit_s=neuron_time_limit_s, max_certificate_bytes=max_certificate_bytes, data=data, layers=layers,
        neurons=neurons, start=start, device=device, seed=seed,
    )  # fmt: skip
    with place(workers, scheduler) as executor:
        return in_blocks(task, executor, blocks, progress)


def in_blocks(
    task: Task, executor: Executor, blocks: int | None, progress: bool | Callable[[Snapshot], None] = False
) -> Report:
    """Do a task by an executor; see `certify_in_blocks`."""
    lost: list[_Lost] = []
    for worker in range(executor.workers):
        executor.submit(Call(f"warm-up-{worker}", warm_up))

    def work(ledger: Ledger) -> None:
        funnel.cheap(ledger, task.settings, task.samples)
        with ledger.clock(Stage.BRANCH):
            _Run(ledger, task, executor, blocks, lost).run()

    report = conducted(task, progress, work)
    still = {(v.layer, v.unit) for v in report.verdicts if v.phase is Phase.UNDECIDED}
    told = [entry for one in lost if (entry := one.entry(still))["neurons"]]
    if not told:
        return report
    ended = LOST if report.ended == "complete" else report.ended
    return replace(report, ended=ended, settings=dict(report.settings) | {"lost": told})


@dataclass(frozen=True)
class _Lost:
    """A block that did not come back, twice."""

    layer: str
    units: tuple[int, ...]
    reason: str

    def entry(self, undecided: Collection[tuple[str, int]]) -> dict[str, Any]:
        """Return what a report says of it, JSON-ready."""
        open_units = [unit for unit in self.units if (self.layer, unit) in undecided]
        return {"layer": self.layer, "neurons": open_units, "reason": self.reason}


@dataclass(eq=False)
class _Run:
    """The blocks of one run, and the ledger that everything they find is entered on."""

    ledger: Ledger
    task: Task
    executor: Executor
    blocks: int | None
    lost: list[_Lost]
    numbers: count[int] = field(default_factory=count)

    def run(self) -> None:
        """Do all passes; return early when the time is over, or nothing can run any more."""
        try:
            limit_s = self.task.settings.neuron_time_limit_s
            self.one_pass(Stage.BRANCH, QUICK * limit_s)
            funnel.climb(self.ledger, self.task.settings)
            self.one_pass(Stage.BRANCH, limit_s)
            self.one_pass(Stage.SOLVER, limit_s)
        except ExecutorError as error:
            for layer in self.ledger.layers:
                self.lost.append(_Lost(layer, self.open_units(layer), " ".join(str(error).split())))

    def one_pass(self, stage: Stage, limit_s: float) -> None:
        """Have all open neurons searched once, `limit_s` each."""
        for layer in self.ledger.layers:
            units = self.open_units(layer)
            if units and self.ledger.seconds_left() > 0:
                self.one_layer(layer, self.cut(units), stage, limit_s)

    def cut(self, units: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return units in blocks of about one size."""
        number = self.blocks or BLOCKS_PER_WORKER * max(1, self.executor.workers)
        return [block for k in range(number) if (block := units[k::number])]

    def one_layer(self, layer: str, blocks: list[tuple[int, ...]], stage: Stage, limit_s: float) -> None:
        """Have the blocks of one layer searched, as many at a time as there are workers."""
        room = max(0, self.task.settings.max_certificate_bytes - self.ledger.proof_bytes) // len(blocks)
        calls = outcomes(self.executor, blocks, lambda block: self.call(layer, block, stage, limit_s, room))
        for block, done in calls:
            if done.kind == "done":
                self.enter(done.value)
            else:
                self.lost.append(_Lost(layer, block, done.error))

    def call(self, layer: str, block: tuple[int, ...], stage: Stage, limit_s: float, room: int) -> Call | None:
        """Return the call that searches a block; None where there is nothing to search, or the time is over."""
        questions = sum(layer == name and unit in block for name, unit, _ in self.ledger.open_pairs())
        if not questions or not self.ledger.seconds_left():
            return None
        budget_s = min(self.ledger.seconds_left(), 1.0 + ROOM[stage] * limit_s * questions)
        settings = replace(
            self.task.settings, time_limit_s=None, neuron_time_limit_s=limit_s, max_certificate_bytes=room
        )
        search = Search(layer, block, stage, settings, budget_s)
        arguments = (self.task.network, self.known(), search)
        return Call(f"block-{next(self.numbers)}", search_block, arguments, time_limit_s=budget_s + GRACE_S)

    def known(self) -> Report:
        """Return what workers need to know: no proofs, and one input in place of all witnesses."""
        report = self.ledger.report({}, {}, "")
        verdicts = tuple(
            replace(
                v, active_witness=None if v.active_witness is None else 0,
                inactive_witness=None if v.inactive_witness is None else 0,
            )
            for v in report.verdicts
        )  # fmt: skip
        return replace(report, verdicts=verdicts, witnesses=report.domain.lower[None], proofs=(), sections=())

    def enter(self, found: Found) -> None:
        """Enter what a block found; an input may settle neurons of any layer."""
        self.ledger.offer(found.inputs)
        for proof in found.proofs:
            self.ledger.prove_by_cases(proof)
        for verdict in found.trusted:
            inactive = verdict.phase is Phase.STABLY_INACTIVE
            with self.ledger.clock(verdict.stage):
                enter = self.ledger.prove_inactive if inactive else self.ledger.prove_active
                enter(verdict.layer, np.array([verdict.unit]), verdict.proof)

    def open_units(self, layer: str) -> tuple[int, ...]:
        """Return the open neurons of a layer."""
        return tuple(np.flatnonzero(self.ledger.open_active(layer) | self.ledger.open_inactive(layer)).tolist())
