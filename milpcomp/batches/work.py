"""What a worker does for one job: read the network, make sure that it is the one that was meant, and do the task."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from milpcomp.batches.jobs import Job, loading
from milpcomp.batches.worker import tell
from milpcomp.domain import FloatArray
from milpcomp.errors import ResultError, SettingsError
from milpcomp.files import write_json
from milpcomp.network import Network
from milpcomp.progress import Snapshot

if TYPE_CHECKING:
    from milpcomp.report.analysis import Analysis
    from milpcomp.stability.report import Report

HOMES = {"analyze": "milpcomp.pipeline", "certify": "milpcomp.stability.certify"}
"""The modules of the tasks."""

TELL_S = 0.5
"""At most one note in this time."""


@dataclass(frozen=True)
class Outcome:
    """What a job gave.

    Parameters
    ----------
    row : mapping
        Its numbers in the table; times apart from them.
    files : mapping of str to bytes
        Its results.
    seconds : mapping of str to float
        How long its steps took.
    """

    row: Mapping[str, Any]
    files: Mapping[str, bytes]
    seconds: Mapping[str, float]


def carry_out(job: Job) -> Outcome:
    """Do a job.

    Raises
    ------
    ResultError
        If the network or the samples found here are not those that the job was made for.
    MilpcompError
        If the network cannot be read, or the task cannot be done.
    """
    import_module(HOMES[job.task])  # takes seconds, once in a process: not the job's time
    begun = time.monotonic()
    if job.now() != job.identity:
        raise ResultError(
            "its files are not what they were when the batch began, or differ on this machine; run it again"
        )
    samples = _samples(job)
    with tempfile.TemporaryDirectory() as folder, _one_search_at_a_time():
        done = _analyze if job.task == "analyze" else _certify
        row, seconds = done(job, samples, Path(folder))
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return Outcome(row, files, {"total": time.monotonic() - begun} | seconds)


@contextmanager
def _one_search_at_a_time() -> Iterator[None]:
    """Keep to one core, and to one order: of two searches side by side, the first to end serves the other."""
    from milpcomp.stability import branching

    before, branching.WORKERS = branching.WORKERS, 1
    try:
        yield
    finally:
        branching.WORKERS = before


def _samples(job: Job) -> FloatArray | None:
    path = job.settings["data"]
    if path is None:
        return None
    try:
        samples = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"data: {path} is no .npy file of numbers: {error}") from error
    return np.asarray(samples, dtype=np.float64)


def _analyze(job: Job, samples: FloatArray | None, folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    from milpcomp.pipeline import analyze

    settings = {**job.settings, "data": samples}
    analysis = analyze(
        job.network, job.domain, folder, **loading(job.architecture, job.input_shape),
        progress=_Teller(), **settings,
    )  # fmt: skip
    seconds = {**analysis.seconds, **{f"stage {k}": s for k, s in analysis.report.stage_seconds.items()}}
    return {**_certificate_row(analysis.network, analysis.report), **_compression_row(analysis)}, seconds


def _certify(job: Job, samples: FloatArray | None, folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    from milpcomp.network.load import load
    from milpcomp.report.analysis import report_document
    from milpcomp.stability.certify import certify
    from milpcomp.stability.storage import save_report

    begun = time.monotonic()
    network = load(job.network, **loading(job.architecture, job.input_shape))
    loaded = time.monotonic()
    report = certify(network, job.domain, progress=_Teller(), **{**job.settings, "data": samples})
    seconds = {"load": loaded - begun, "certify": time.monotonic() - loaded}
    save_report(report, folder)
    write_json(folder / "summary.json", report_document(report))
    return _certificate_row(network, report), seconds | {f"stage {k}": s for k, s in report.stage_seconds.items()}


def _certificate_row(network: Network, report: Report) -> dict[str, Any]:
    from milpcomp.report.analysis import network_document, report_document

    size, found = network_document(network), report_document(report)
    return {
        "network_digest": network.digest,
        "ended": report.ended,
        "neurons": size["neurons"],
        **found["counts"],
        **{kind: found["proofs"].get(kind, 0) for kind in ("certified", "witnessed", "uncertified", "solver")},
        "parameters": size["parameters"],
        "flops": size["flops"],
    }


def _compression_row(analysis: Analysis) -> dict[str, Any]:
    found = analysis.document()
    smaller, compression = found["compression"]["network"], found["compression"]
    return {
        "neurons_after": smaller["neurons"],
        "parameters_after": smaller["parameters"],
        "flops_after": smaller["flops"],
        "deviation_bound": compression["deviation_bound"],
        "measured_gap": compression["measured_gap"],
        "on_trust": compression["on_trust"],
        "accepted": analysis.accepted,
    }


class _Teller:
    """Tells how many neurons are decided, now and then."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        if snapshot.layers and now >= self._told + TELL_S:
            self._told = now
            total = snapshot.total()
            tell((total.neurons - total.undecided, total.neurons))
