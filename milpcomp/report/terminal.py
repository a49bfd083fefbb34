"""Results on a terminal, made to fit one screen; the same text, without colours, where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from milpcomp.domain import Box
from milpcomp.network import Network
from milpcomp.report.sizes import size_table
from milpcomp.report.tables import Table, one_line, verdict_table
from milpcomp.report.words import (
    checked_compression_line,
    checked_line,
    deviation_line,
    domain_line,
    earlier_line,
    ended_line,
    network_line,
    proof_line,
    proved_line,
    rejections,
    seconds_line,
    shape_text,
    solver_line,
)
from milpcomp.stability.report import Report

if TYPE_CHECKING:
    from milpcomp.checker import Checked, CheckedCompression
    from milpcomp.compression import Compression
    from milpcomp.report.analysis import Analysis

PLAIN_WIDTH = 120
"""Columns where there is no terminal, so that a pipe does not wrap tables."""

FACT_WIDTH = 13
"""Columns for the name of a fact."""

SHOWN_REJECTIONS = 5
"""How many rejections are spelled out on a screen; all of them are in the JSON."""


class Screen:
    """Standard output, written to in facts and tables."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Print names and what there is to say of them, leaving out what there is nothing to say of."""
        grid = Grid.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", no_wrap=True, min_width=FACT_WIDTH)
        grid.add_column(overflow="fold")
        for name, text in facts:
            if text:
                grid.add_row(Text(name), Text(one_line(text), style=_style(text)))
        self._print(grid)

    def table(self, table: Table) -> None:
        """Print a table between empty lines."""
        self._print("")
        self._print(table.rich())
        self._print("")

    def _print(self, content: RenderableType) -> None:
        with self._console.capture() as captured:
            self._console.print(content)
        for line in captured.get().splitlines():
            print(line.rstrip())  # tables are padded with spaces, which files should not hold


def show_certificate(source: str, network: Network, report: Report, written: str) -> None:
    """Print what certification found."""
    screen = Screen()
    screen.facts([("network", source), ("", network_line(network)), ("domain", domain_line(report.domain))])
    screen.table(verdict_table(report))
    screen.facts(
        [("evidence", proof_line(report)), ("", solver_line(report)), ("note", ended_line(report)),
         ("time", seconds_line(report.stage_seconds)), ("", earlier_line(report)), ("written", written)]
    )  # fmt: skip


def show_compression(source: str, compression: Compression, written: str) -> None:
    """Print what compression did."""
    screen = Screen()
    screen.facts([("network", source)])
    screen.table(size_table(compression.before, compression.after))
    screen.facts([("same function", deviation_line(compression)), ("written", written)])


def show_checks(
    source: str, network: Network, domain: Box, checked: Checked, compression: CheckedCompression | None
) -> None:
    """Print what the claims are about, what the checker proved, and the first rejections."""
    facts = [
        ("network", source),
        ("", f"{network_line(network)}, digest {network.digest[:12]}"),
        ("domain", domain_line(domain)),
        ("", f"shape {shape_text(domain.shape)}, digest {domain.digest[:12]}"),
        ("proved", proved_line(checked)),
        ("checked", checked_line(checked)),
    ]
    if compression is not None:
        facts.append(("", checked_compression_line(compression)))
    Screen().facts([*facts, *_rejected(checked if compression is None else compression)])


def show_analysis(analysis: Analysis) -> None:
    """Print an analysis on one screen."""
    screen, report = Screen(), analysis.report
    screen.facts(
        [("network", analysis.source), ("", network_line(analysis.network)), ("domain", domain_line(report.domain))]
    )
    screen.table(verdict_table(report, analysis.compression.after))
    screen.facts([("evidence", proof_line(report)), ("", solver_line(report)), ("note", ended_line(report))])
    screen.table(size_table(analysis.compression.before, analysis.compression.after))
    screen.facts(
        [
            ("same function", deviation_line(analysis.compression)),
            ("checked", checked_line(analysis.checked)),
            ("", checked_compression_line(analysis.checked_compression)),
            *_rejected(analysis.checked_compression),
            ("time", seconds_line(analysis.seconds)),
            ("report", "" if analysis.out is None else str(analysis.out / "report.html")),
        ]
    )


def _rejected(checked: Checked | CheckedCompression) -> list[tuple[str, str]]:
    wrong = rejections(checked)
    more = len(wrong) - SHOWN_REJECTIONS
    shown = [*wrong[:SHOWN_REJECTIONS], *([f"{more} more"] if more > 0 else [])]
    return [("", f"REJECTED: {text}") for text in shown]


def _style(text: str) -> str:
    return "bold red" if "REJECTED" in text or "NOT proved" in text else ""
