"""The ledger of one run: for every neuron, what has been seen and what has been proved.

    P  (`open_active`)     neurons never seen active and not proved stable
    Q  (`open_inactive`)   neurons never seen inactive and not proved stable

One input settles many neurons (Serra, Kumar and Ramalingam, arXiv 2102.07804, section 5), so every input that any
stage produces is offered to the ledger, which replays it and tests it against all of P and Q at once. The ledger is
the only object that changes during a run; stages read it and write to it, and a `Report` is drawn from it at any
moment, so that an interruption loses nothing.

A sign counts only if it is rigorous (`milpcomp.stability.replay`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.tighten import Bounds
from milpcomp.domain import Box, FloatArray
from milpcomp.errors import DomainError, MilpcompError, ResultError
from milpcomp.network import Network
from milpcomp.progress import LayerCount, Snapshot
from milpcomp.stability.consequences import with_proof
from milpcomp.stability.records import CODES, LayerRecord, code
from milpcomp.stability.replay import Question, Replay
from milpcomp.stability.report import Report
from milpcomp.stability.sections import Chain
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict

CHUNK_ELEMENTS = 20_000_000
"""How many pre-activations one replay may hold at once."""

BoolArray = NDArray[np.bool_]


class Ledger:
    """The mutable record of one certification run.

    Parameters
    ----------
    network : Network
    domain : Box
        Of the network's input shape.
    bounds : Bounds
        Proved bounds to start from; what they decide is entered by `tighten`.
    deadline : float
        ``time.monotonic()`` value after which stages should stop; ``inf`` for none.
    notify : callable or None
        Called with a `Snapshot` whenever a stage begins or something was decided.
    wanted : mapping from rectifier name to ndarray of bool, optional
        Which neurons are to be decided; the others are not asked about, and stay undecided unless bounds decide them
        in passing. All by default.
    start : Report, optional
        A report to go on from, whose verdicts, witnesses and proofs are taken over; `bounds` are those that it states
        (`milpcomp.stability.start`).

    Notes
    -----
    **Trusts** `bounds` and `start`.
    """

    def __init__(
        self,
        network: Network,
        domain: Box,
        bounds: Bounds,
        deadline: float = float("inf"),
        notify: Callable[[Snapshot], None] | None = None,
        wanted: Mapping[str, BoolArray] | None = None,
        start: Report | None = None,
    ) -> None:
        self.network, self.domain, self.bounds, self.deadline = network, domain, bounds, deadline
        self.stage = Stage.NONE
        self.stage_seconds: dict[str, float] = {}
        self._notify = notify
        self._started = time.monotonic()
        self._layers = {node.name: LayerRecord(network.width(node.name)) for node in network.rectifiers}
        self._witnesses: list[FloatArray] = []
        self._rows: dict[bytes, int] = {}  # bytes of a witness -> its row
        self._replay = Replay(network)
        self._wanted = {layer: np.ones(network.width(layer), dtype=bool) for layer in self._layers}
        if wanted is not None:
            self._wanted = {layer: wanted.get(layer, ~mask) for layer, mask in self._wanted.items()}
        self.branch_proofs: list[BranchProof] = []
        self._start = start
        if start is not None:
            self._take_over(start)

    # what is open -----------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the rectifiers, in topological order."""
        return tuple(self._layers)

    def open_active(self, layer: str) -> BoolArray:
        """Return P of one layer: which units were never seen active and are not proved stable."""
        return self._layers[layer].undecided & (self._layers[layer].active < 0) & self._wanted[layer]

    def open_inactive(self, layer: str) -> BoolArray:
        """Return Q of one layer: which units were never seen inactive and are not proved stable."""
        return self._layers[layer].undecided & (self._layers[layer].inactive < 0) & self._wanted[layer]

    def open_pairs(self) -> list[tuple[str, int, int]]:
        """Return everything still open as (layer, unit, sign): sign +1 for P, -1 for Q."""
        return [
            (layer, int(unit), sign)
            for layer in self._layers
            for sign, mask in ((1, self.open_active(layer)), (-1, self.open_inactive(layer)))
            for unit in np.flatnonzero(mask)
        ]

    def done(self) -> bool:
        """Tell whether every neuron that was asked about is decided."""
        return not any((self._layers[layer].undecided & mask).any() for layer, mask in self._wanted.items())

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def witnesses(self) -> FloatArray:
        """The inputs that verdicts refer to, (K, *input_shape)."""
        return np.stack(self._witnesses) if self._witnesses else np.zeros((0, *self.network.input_shape))

    @property
    def earlier_bytes(self) -> int:
        """How many bytes the proofs by cases take that were taken over."""
        earlier = () if self._start is None else self._start.proofs
        return sum(proof.nbytes for proof in earlier if isinstance(proof, BranchProof))

    @property
    def proof_bytes(self) -> int:
        """How many bytes all proofs by cases take."""
        return self.earlier_bytes + sum(proof.nbytes for proof in self.branch_proofs)

    @property
    def earlier_runs(self) -> int:
        """How many runs led to what was taken over."""
        return 0 if self._start is None else 1 + len(self._start.settings.get("earlier", ()))

    # what is learnt ---------------------------------------------------------------------------------------------------

    def offer(self, x: FloatArray) -> int:
        """Replay inputs and enter every sign that they settle.

        Parameters
        ----------
        x : ndarray, shape (N, *input_shape)
            Inside the domain.

        Returns
        -------
        int
            How many (neuron, side) pairs of P and Q were newly witnessed.

        Raises
        ------
        DomainError
            If an input lies outside the domain: it would witness nothing.

        Notes
        -----
        **Trusts** nothing of where `x` comes from: every sign is established anew by `Replay`.
        """
        if not self.domain.contains(x).all():
            raise DomainError("an input offered as a witness lies outside the domain; clip it with Box.clip first")
        chunk = max(1, CHUNK_ELEMENTS // max(1, sum(self.network.width(layer) for layer in self._layers)))
        fresh = sum(self._offer(np.asarray(x[i : i + chunk], dtype=np.float64)) for i in range(0, len(x), chunk))
        if fresh:
            self.progress()
        return fresh

    def tighten(self, bounds: Bounds) -> None:
        """Take over proved bounds, and enter as certified what their signs decide."""
        self.bounds = bounds
        for layer in self._layers:
            interval = bounds.values[self.network[layer].inputs[0]]
            self.prove_inactive(layer, np.flatnonzero(interval.upper.reshape(-1) <= 0.0), Proof.CERTIFIED)
            self.prove_active(layer, np.flatnonzero(interval.lower.reshape(-1) >= 0.0), Proof.CERTIFIED)
        self.progress()

    def prove_by_cases(self, proof: BranchProof) -> None:
        """Take over a proof by cases: its bound, what the interval step makes of it in later layers, their signs.

        Notes
        -----
        **Trusts** that the proof holds over bounds that are not tighter than the present ones.
        """
        self.branch_proofs.append(proof)
        self.tighten(with_proof(self.network, self.bounds, proof))

    def prove_inactive(self, layer: str, units: NDArray[np.int64], proof: Proof) -> None:
        """Enter `units` of `layer` as stably inactive, decided by the current stage."""
        self._prove(layer, units, Phase.STABLY_INACTIVE, proof)

    def prove_active(self, layer: str, units: NDArray[np.int64], proof: Proof) -> None:
        """Enter `units` of `layer` as stably active, decided by the current stage."""
        self._prove(layer, units, Phase.STABLY_ACTIVE, proof)

    @contextmanager
    def clock(self, stage: Stage) -> Iterator[None]:
        """Attribute what is decided inside the block, and the time it takes, to `stage`."""
        outer, self.stage, start = self.stage, stage, time.monotonic()
        self.progress()
        try:
            yield
        finally:
            self.stage = outer
            self.stage_seconds[stage.value] = self.stage_seconds.get(stage.value, 0.0) + time.monotonic() - start

    def progress(self) -> None:
        """Tell whoever listens how far the run is."""
        if self._notify is not None:
            self._notify(self.snapshot())

    # what comes out ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the counts of this moment."""
        counts = tuple(
            LayerCount(
                layer,
                len(record.phase),
                *(int((record.phase == code(phase)).sum()) for phase in Phase),
            )
            for layer, record in self._layers.items()
        )
        return Snapshot(self.stage.value, time.monotonic() - self._started, counts)

    def report(self, settings: Mapping[str, Any], versions: Mapping[str, str], ended: str) -> Report:
        """Return everything known as a frozen report."""
        verdicts = tuple(verdict for layer, record in self._layers.items() for verdict in self._verdicts(layer, record))
        earlier = Chain() if self._start is None else self._start.chain
        chain = earlier.extended((*self.bounds.proofs, *self.branch_proofs))
        return Report(
            network_digest=self.network.digest,
            domain=self.domain,
            verdicts=verdicts,
            witnesses=self.witnesses,
            proofs=chain.proofs,
            sections=chain.sections,
            settings=dict(settings),
            versions=dict(versions),
            stage_seconds=dict(self.stage_seconds),
            ended=ended,
        )

    def _verdicts(self, layer: str, record: LayerRecord) -> Iterator[Verdict]:
        interval = self.bounds.values[self.network[layer].inputs[0]]
        lower, upper = interval.lower.reshape(-1), interval.upper.reshape(-1)
        for unit in range(len(record.phase)):
            yield Verdict(
                layer=layer,
                unit=unit,
                phase=Phase(CODES[record.phase[unit]]),
                stage=Stage(CODES[record.stage[unit]]),
                proof=Proof(CODES[record.proof[unit]]),
                lower=float(lower[unit]),
                upper=float(upper[unit]),
                active_witness=int(record.active[unit]) if record.active[unit] >= 0 else None,
                inactive_witness=int(record.inactive[unit]) if record.inactive[unit] >= 0 else None,
                seconds=float(record.seconds[unit]),
            )

    # entries ----------------------------------------------------------------------------------------------------------

    def _take_over(self, start: Report) -> None:
        for verdict in start.verdicts:
            self._layers[verdict.layer].enter(verdict)
        for x in start.witnesses:
            self._rows.setdefault(x.tobytes(), len(self._witnesses))
            self._witnesses.append(x)
        self.stage_seconds.update(start.stage_seconds)

    def _elapsed(self) -> float:
        """Return the seconds that this run and those before it took until now."""
        earlier = 0.0 if self._start is None else sum(self._start.stage_seconds.values())
        return earlier + time.monotonic() - self._started

    def _offer(self, x: FloatArray) -> int:
        questions = [
            Question(layer, sign, np.flatnonzero(mask))
            for layer in self._layers
            for sign, mask in ((1, self.open_active(layer)), (-1, self.open_inactive(layer)))
        ]
        answers = self._replay.answers(x, questions)
        for answer in answers:
            self._witness(answer.layer, answer.unit, answer.sign, x[answer.row])
        return len(answers)

    def _witness(self, layer: str, unit: int, sign: int, x: FloatArray) -> None:
        record = self._layers[layer]
        seen = record.active if sign > 0 else record.inactive
        seen[unit] = self._store(x)
        if record.active[unit] >= 0 and record.inactive[unit] >= 0:
            record.decide(np.array([unit]), Phase.UNSTABLE, self.stage, Proof.WITNESSED, self._elapsed())

    def _store(self, x: FloatArray) -> int:
        """Return the row of `x` among the witnesses, adding it unless it is there."""
        key = x.tobytes()
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._witnesses)
            self._witnesses.append(x.copy())
        return row

    def _prove(self, layer: str, units: NDArray[np.int64], phase: Phase, proof: Proof) -> None:
        record = self._layers[layer]
        contrary = record.active if phase is Phase.STABLY_INACTIVE else record.inactive
        refuted = units[contrary[units] >= 0]
        if len(refuted) and proof is Proof.CERTIFIED:
            what = f"bounds and witnesses contradict each other at {layer!r}, units {refuted.tolist()}: "
            if self._start is not None:
                raise ResultError(f"{what}the report that was started from is false; certify again without it")
            raise MilpcompError(f"{what}this is a defect of milpcomp; please report it with the network")
        fresh = units[record.undecided[units] & (contrary[units] < 0)]
        record.decide(fresh, phase, self.stage, proof, self._elapsed())
