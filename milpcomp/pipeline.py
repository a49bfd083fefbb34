"""`analyze`: all of it. A network in; verdicts, a smaller network, and an independent check of both out.

    load -> certify -> compress -> check -> write

The certificate is written as soon as it exists, everything else when all of it exists.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from milpcomp.checker import check_compression
from milpcomp.compression import compress
from milpcomp.compression.compress import check_tolerance
from milpcomp.domain import Box, require_box
from milpcomp.files import PathLike, write_json
from milpcomp.network import Network
from milpcomp.network.load import load
from milpcomp.network.storage import save_network
from milpcomp.progress import Observer, Snapshot, observing
from milpcomp.report.analysis import Analysis
from milpcomp.report.figure import save_figure, verdict_figure
from milpcomp.report.folder import RESULTS, spare, staged
from milpcomp.report.html import report_page
from milpcomp.report.outputs import write_compression
from milpcomp.report.page import page
from milpcomp.report.paper import write_tables, write_text
from milpcomp.stability.certify import certify
from milpcomp.stability.report import Report
from milpcomp.stability.storage import save_report

if TYPE_CHECKING:
    from torch import nn


def analyze(
    source: nn.Module | PathLike | Network,
    domain: Box,
    out: PathLike | None = None,
    *,
    architecture: nn.Module | Callable[[], nn.Module] | str | None = None,
    example_input: Any = None,
    input_shape: Sequence[int] | None = None,
    method: str = "funnel",
    backend: str = "highs",
    time_limit_s: float | None = None,
    data: ArrayLike | None = None,
    start: Report | None = None,
    device: str = "cpu",
    seed: int = 0,
    trust_solver: bool = False,
    tolerance: float | str = "rounding",
    progress: bool | Observer = False,
) -> Analysis:
    """Certify a network, compress it, have both checked, and write everything into a folder.

    Parameters
    ----------
    source : nn.Module, path or Network
        What `milpcomp.load` reads.
    domain : Box
        Scalar bounds are broadcast to the network's input shape.
    out : path, optional
        Folder for certificate.json and .npz, original.npz (as read), network.npz, .onnx and .pt (the smaller
        one; .pt for chains), compression.json and .npz, report.html and .md, tables.tex, layers.csv and neurons.csv,
        verdicts.png and .pdf, summary.json. Files of these names are replaced, others left alone. Nothing is written
        if not given.
    architecture, example_input, input_shape
        See `milpcomp.load`.
    method, backend, time_limit_s, data, start, device, seed
        See `milpcomp.certify`.
    trust_solver, tolerance
        See `milpcomp.compress`.
    progress : bool or callable
        See `milpcomp.certify`.

    Returns
    -------
    Analysis
        Ctrl-C while certifying ends the search only: what was decided by then is compressed, checked and written.

    Raises
    ------
    MilpcompError
        On unusable input, options or output folder, as early as it can be known.
    """
    check_tolerance(tolerance)
    require_box(domain, "analyze")
    if out is not None:
        spare(source, out)
        with staged(out):
            pass  # better now than after an hour that the folder cannot be written to
    with observing(progress) as notify:
        watch = _Watch(notify)
        with watch.step("load"):
            network = source if isinstance(source, Network) else load(source, architecture, example_input, input_shape)
            box = domain.fit(network.input_shape)
        with watch.step("certify"):
            report = certify(
                network, box, method=method, backend=backend, time_limit_s=time_limit_s, data=data, start=start,
                device=device, seed=seed, progress=watch.observe,
            )  # fmt: skip
        if report.ended == "interrupted":
            watch.observe(Snapshot("interrupted; finishing with what was decided (Ctrl-C again stops here)", 0.0, ()))
        if out is not None:
            with staged(out, stale=RESULTS) as folder:
                save_report(report, folder)
        with watch.step("compress"):
            compression = compress(network, report, trust_solver, tolerance, data)
        with watch.step("check"):
            checked = check_compression(network, compression, box, report)  # looks at the report too
        analysis = Analysis(
            _name(source), network, report, compression, checked, dict(watch.seconds),
            None if out is None else Path(out),
        )  # fmt: skip
        if out is not None:
            with watch.step("write"), staged(out) as folder:
                _write(analysis, folder)
    return analysis


def _write(analysis: Analysis, folder: Path) -> None:
    save_network(analysis.network, folder / "original.npz")
    write_compression(analysis.compression, folder)
    save_figure(verdict_figure(analysis.report), folder / "verdicts")
    write_text(folder / "report.html", report_page(analysis))
    write_text(folder / "report.md", page(analysis))
    write_tables(analysis, folder)
    write_json(folder / "summary.json", analysis.document())


def _name(source: nn.Module | PathLike | Network) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__


class _Watch:
    """Times the steps and tells of each."""

    def __init__(self, notify: Observer) -> None:
        self.seconds: dict[str, float] = {}
        self._notify = notify
        self._started = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        self.observe(Snapshot(name, 0.0, ()))
        yield
        self.seconds[name] = time.monotonic() - start

    def observe(self, snapshot: Snapshot) -> None:
        """Pass a snapshot on, its time counted from the beginning of the analysis."""
        self._notify(replace(snapshot, seconds=time.monotonic() - self._started))
