"""One look for every figure: fonts, sizes and colours, as a context over matplotlib's settings.

    with style.look():
        figure = style.figure(height=3.2)
        axes = figure.add_subplot()

Colours are the eight of Okabe and Ito (told apart under every common colour blindness), with fixed roles, so that ReLU,
rotated ReLU, small slopes and printed numbers look the same on every page. A figure has no title of its own: what it
shows, and what of it is published, is said beside it; panels have titles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#767676", "#D9D9D9"
"""For lines and text that stand back, and for areas."""

CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""In this order where colours have no role; yellow is too light for lines."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Beside the colours, so that nothing is told by colour alone."""

RELU, ROTATED, SMALL, PRINTED = BLUE, VERMILLION, VERMILLION, GREY
"""Roles: networks with ReLU and with rotated ReLU, what is small or removed, and what the papers print."""

WIDTH = 7.0
"""Inches; at 200 dots per inch figures stay sharp on every screen."""

SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": False,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
"""DejaVu Sans comes with matplotlib, so that figures are the same everywhere."""


@contextmanager
def look() -> Iterator[None]:
    """Give every figure that is made inside the one look."""
    with matplotlib.style.context(SETTINGS):
        yield


def figure(height: float = 3.6, width: float = WIDTH) -> Figure:
    """Return an empty figure; sizes are in inches. It needs no display, and nobody has to close it."""
    return Figure(figsize=(width, height), layout="constrained")
