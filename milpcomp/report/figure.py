"""One figure: for each hidden layer, which share of its neurons is in which phase.

    layer 1  ██████▒▒▒▒░░░░░░░░░░░░░   100
    layer 2  ███▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░   100

The colours are from the palette of Okabe and Ito, told apart under every common colour blindness, and differ in
lightness, so they survive grey printing; what is undecided is hatched. The only module that imports matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from milpcomp.files import replacing
from milpcomp.report.tables import PHASE_WORDS, count
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase

FILLS: dict[Phase, dict[str, Any]] = {
    Phase.STABLY_INACTIVE: {"facecolor": "#0072B2"},
    Phase.STABLY_ACTIVE: {"facecolor": "#E69F00"},
    Phase.UNSTABLE: {"facecolor": "#D9D9D9"},
    Phase.UNDECIDED: {"facecolor": "#FFFFFF", "hatch": "////", "edgecolor": "#888888", "linewidth": 0.0},
}
INK = {
    Phase.STABLY_INACTIVE: "white",
    Phase.STABLY_ACTIVE: "black",
    Phase.UNSTABLE: "black",
    Phase.UNDECIDED: "black",
}
NAME_LENGTH = 28
"""Longer layer names keep their beginning and their end, which tell layers apart."""


def verdict_figure(report: Report) -> Figure:
    """Return the figure: stacked bars, one per layer, first layer on top."""
    layers = report.layers()
    rows = max(1, len(layers))
    figure = Figure(figsize=(7.0, 1.5 + 0.32 * rows), layout="constrained")
    axes = figure.add_subplot()
    shares = np.array([[sum(v.phase is p for v in verdicts) for p in PHASE_WORDS] for verdicts in layers.values()])
    shares = shares.reshape(-1, len(PHASE_WORDS))
    _bars(axes, shares)
    labels = [f"{_short(name)}  ({count(len(verdicts))})" for name, verdicts in layers.items()]
    axes.set_yticks(range(len(layers)), labels=labels, parse_math=False)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the layer's neurons (%)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write the figure as stem.png (200 dots per inch) and stem.pdf; equal figures give equal bytes.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    png, pdf = stem.with_suffix(".png"), stem.with_suffix(".pdf")
    with replacing(png) as stream:
        figure.savefig(stream, format="png", dpi=200, metadata={"Software": "milpcomp"})
    with replacing(pdf) as stream:
        figure.savefig(stream, format="pdf", metadata={"Creator": "milpcomp", "CreationDate": None})
    return png, pdf


def _bars(axes: Axes, counts: np.ndarray) -> None:
    """Draw one stacked bar per row of `counts` (layers, phases), and write a count where there is room for it."""
    widths = 100.0 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    left = np.zeros(len(counts))
    for column, (phase, words) in enumerate(PHASE_WORDS.items()):
        if not counts[:, column].any():
            continue
        axes.barh(np.arange(len(counts)), widths[:, column], left=left, height=0.7, label=words, **FILLS[phase])
        for row in np.flatnonzero(widths[:, column] > 5).tolist():
            axes.text(
                left[row] + widths[row, column] / 2, row, count(int(counts[row, column])),
                ha="center", va="center", fontsize=8, color=INK[phase],
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if phase is Phase.UNDECIDED else None,
            )  # fmt: skip
        left += widths[:, column]


def _short(name: str) -> str:
    half = NAME_LENGTH // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[-half:]}"
