"""The tables of the talk: neurons removed and runtimes, of classifiers and autoencoders, published and measured here.

Every shape has a row of what is published and rows of what was measured here on one network of the shape:

    exactly             the smaller network computes the same function on [0, 1]^784, by proof
    within 0.001        no output moves by more than 0.001 on [0, 1]^784, by proof (`analyses.grid_deviation`)

Measurements are read from `analyses/results`; what was not measured is called missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from analyses import grid_results, rows
from analyses.book.entry import ANALYSES, Context, Made
from analyses.grid_deviation import Compressed
from analyses.grid_results import Cell
from analyses.tables import Table

DEPTHS = ("2x100", "3x100", "4x100", "5x100")
WIDTHS = ("2x100", "2x200", "2x400", "2x800")
MIDDLES = ("100-10-100", "100-25-100", "100-50-100")
OUTERS = ("50-10-50", "100-10-100", "200-10-200", "400-10-400")
"""Shapes of the published tables."""

CLASSIFIERS = {"0": "l1 = 0", "half": "lbar / 2", "full": "lbar", "proximal": "lbar, proximal"}
AUTOENCODERS = {"0": "l1 = 0", "weak": "0.00002", "strong": "0.0002", "proximal": "0.00002, proximal"}
"""Variants and their columns; the first three are published."""

LBAR = "lbar is the weight of l1 that keeps the accuracy of l1 = 0; the cards in models/grid say how it was chosen."

TOLERANCE = 0.001
MISSING = "missing"
DEVIATION_COMMAND = "python -m analyses.grid_deviation --data FOLDER"


@dataclass(frozen=True)
class Grid:
    """All that was measured of the grid, and what is published of it."""

    cells: dict[tuple[str, str], Cell]
    within: dict[tuple[str, float], Compressed]
    published: dict[str, Any]

    @classmethod
    def of(cls, context: Context) -> Grid:
        """Return what is in the results."""
        cells = rows.read(Cell, context.earlier("grid.csv", grid_results.COMMAND))
        within = rows.read(Compressed, context.earlier("grid_deviation.csv", DEVIATION_COMMAND))
        text = (ANALYSES / "published" / "serra2021.json").read_text(encoding="utf-8")
        return cls(
            {(cell.network, cell.method): cell for cell in cells},
            {(row.network, row.tolerance): row for row in within},
            json.loads(text),
        )

    def printed(self, shape: str) -> dict[str, list[float | None]]:
        """Return what is published of a shape: removed, seconds, and accuracy or loss, for three weights of l1."""
        known = self.published["classifiers"] | self.published["autoencoders"]
        return dict(known[shape])


def removed_by_depth(context: Context) -> Made:
    """Neurons removed in classifiers of two to five layers."""
    return _removed(Grid.of(context), DEPTHS, CLASSIFIERS)


def removed_by_width(context: Context) -> Made:
    """Neurons removed in classifiers of two layers of 100 to 800 neurons."""
    return _removed(Grid.of(context), WIDTHS, CLASSIFIERS)


def removed_by_middle(context: Context) -> Made:
    """Neurons removed in autoencoders with middle layers of 10 to 50 neurons."""
    return _removed(Grid.of(context), MIDDLES, AUTOENCODERS)


def removed_by_outer(context: Context) -> Made:
    """Neurons removed in autoencoders with outer layers of 50 to 400 neurons."""
    return _removed(Grid.of(context), OUTERS, AUTOENCODERS)


def runtime_by_depth(context: Context) -> Made:
    """Runtimes for classifiers of two to five layers."""
    return _runtime(Grid.of(context), DEPTHS, CLASSIFIERS)


def runtime_by_width(context: Context) -> Made:
    """Runtimes for classifiers of two layers of 100 to 800 neurons."""
    return _runtime(Grid.of(context), WIDTHS, CLASSIFIERS)


def runtime_by_middle(context: Context) -> Made:
    """Runtimes for autoencoders with middle layers of 10 to 50 neurons."""
    return _runtime(Grid.of(context), MIDDLES, AUTOENCODERS)


def runtime_by_outer(context: Context) -> Made:
    """Runtimes for autoencoders with outer layers of 50 to 400 neurons."""
    return _runtime(Grid.of(context), OUTERS, AUTOENCODERS)


def _removed(grid: Grid, shapes: tuple[str, ...], variants: dict[str, str]) -> Made:
    quality = "accuracy" if variants is CLASSIFIERS else "loss"
    lines = []
    for shape in shapes:
        printed = grid.printed(shape)
        texts = [
            "–" if share is None else f"{share} % ({_reached(score, quality)})"
            for share, score in zip(printed["removed"], printed[quality], strict=True)
        ]
        lines.append((shape, "published", *texts, "–"))
        lines.append((shape, "here, exactly", *(_exactly(grid, f"{shape}_{v}", quality) for v in variants)))
        lines.append(
            (shape, f"here, within {TOLERANCE:g}", *(_within(grid, f"{shape}_{v}", quality) for v in variants))
        )
    return Made(
        Table("", ("hidden layers", "neurons removed", *variants.values()), tuple(lines)), notes=_notes(lines, variants)
    )


def _runtime(grid: Grid, shapes: tuple[str, ...], variants: dict[str, str]) -> Made:
    lines = []
    for shape in shapes:
        texts = ["–" if seconds is None else f"{seconds:,} s" for seconds in grid.printed(shape)["seconds"]]
        lines.append((shape, "published: one solve, Gurobi", *texts, "–"))
        for method, words in (("funnel", "here: funnel"), ("one-solve", "here: one solve, HiGHS")):
            lines.append((shape, words, *(_seconds(grid, f"{shape}_{v}", method) for v in variants)))
    return Made(
        Table("", ("hidden layers", "time to decide", *variants.values()), tuple(lines)), notes=_notes(lines, variants)
    )


def _exactly(grid: Grid, name: str, quality: str) -> str:
    """Return what the funnel's verdicts remove: the verdicts of no method give more."""
    cell = grid.cells.get((name, "funnel"))
    if cell is None:
        return MISSING
    score = cell.accuracy if cell.loss is None else cell.loss
    open_ones = f", {cell.undecided} open" if cell.undecided else ""
    return f"{_percent(cell.removed)} ({_reached(_scaled(score, quality), quality)}{open_ones})"


def _within(grid: Grid, name: str, quality: str) -> str:
    row = grid.within.get((name, TOLERANCE))
    if row is None:
        return MISSING
    return f"{_percent(row.removed)} ({_reached(_scaled(row.after, quality), quality)})"


def _seconds(grid: Grid, name: str, method: str) -> str:
    cell = grid.cells.get((name, method))
    if cell is None:
        return MISSING
    processor = "" if cell.cpu_seconds is None else f" ({_short(cell.cpu_seconds)})"
    open_ones = f", {cell.undecided} open" if cell.undecided else ""
    return f"{_short(cell.seconds)}{processor}{open_ones}"


def _notes(lines: list[tuple[str, ...]], variants: dict[str, str]) -> tuple[str, ...]:
    count = sum(text == MISSING for line in lines for text in line)
    missing = (f"{count} cells were not measured.",) if count else ()
    return ((LBAR,) if variants is CLASSIFIERS else ()) + missing


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0.0, 1.0) else f"{100 * share:.1f} %"


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _scaled(score: float | None, quality: str) -> float | None:
    return score if score is None or quality == "loss" else 100 * score


def _reached(score: float | None, quality: str) -> str:
    if score is None:
        return "–"
    return f"{score:.2f} %" if quality == "accuracy" else f"{score:.3f}"
