"""One figure: for each hidden layer, which share of its neurons is in which phase.

    layer 1  ██████▒▒▒▒░░░░░░░░░░░░░   100
    layer 2  ███▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░   100

The colours are from the palette of Okabe and Ito, told apart under every common colour blindness, and differ in
lightness, so they survive grey printing; what is undecided, or stable on a solver's word
only, is hatched. Only the modules of figures import matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from milpcomp.files import replacing
from milpcomp.report.tables import PHASE_WORDS, count
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import ON_TRUST, STABLE, Phase, Verdict

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
TRUSTED: dict[str, Any] = {"hatch": "....", "edgecolor": "white", "linewidth": 0.0}


class Kind(NamedTuple):
    """What has a bar of its own: a phase, where it is stable either proved or on a solver's word."""

    words: str
    phase: Phase
    trusted: bool
    fill: dict[str, Any]

    def holds(self, verdict: Verdict) -> bool:
        """Tell whether a verdict is of this kind."""
        trusted = verdict.phase in STABLE and verdict.proof in ON_TRUST
        return verdict.phase is self.phase and trusted == self.trusted


KINDS = tuple(
    Kind(words + (" (solver's word)" if trusted else ""), phase, trusted, FILLS[phase] | (TRUSTED if trusted else {}))
    for phase, words in PHASE_WORDS.items()
    for trusted in ((False, True) if phase in STABLE else (False,))
)
"""From left to right."""

NAME_LENGTH = 28
"""Longer layer names keep their beginning and their end, which tell layers apart."""


def verdict_figure(report: Report) -> Figure:
    """Return the figure: stacked bars, one per layer, first layer on top."""
    layers = report.layers()
    rows = max(1, len(layers))
    figure = Figure(figsize=(7.0, 1.5 + 0.32 * rows), layout="constrained")
    axes = figure.add_subplot()
    shares = np.array([[sum(map(kind.holds, verdicts)) for kind in KINDS] for verdicts in layers.values()])
    shares = shares.reshape(-1, len(KINDS))
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
        figure.legend(handles, names, loc="outside upper center", ncols=min(4, len(handles)), frameon=False)
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
    """Draw one stacked bar per row of `counts` (layers, kinds), and write a count where there is room for it."""
    widths = 100.0 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    left = np.zeros(len(counts))
    for column, kind in enumerate(KINDS):
        if not counts[:, column].any():
            continue
        axes.barh(np.arange(len(counts)), widths[:, column], left=left, height=0.7, label=kind.words, **kind.fill)
        for row in np.flatnonzero(widths[:, column] > 5).tolist():
            axes.text(
                left[row] + widths[row, column] / 2, row, count(int(counts[row, column])),
                ha="center", va="center", fontsize=8, color="black" if "hatch" in kind.fill else INK[kind.phase],
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if "hatch" in kind.fill else None,
            )  # fmt: skip
        left += widths[:, column]


def _short(name: str) -> str:
    half = NAME_LENGTH // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[-half:]}"
