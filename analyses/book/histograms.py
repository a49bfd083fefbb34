"""Histograms of slopes and batch-norm scales, with the small ones in a colour of their own, and the numbers behind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from analyses import style
from analyses.tables import Table

GAMMA = 0.1
"""Slopes of at most this size are drawn as small; the 26 of the authors' network are what their paper removes."""

BINS = 60


def numbers(groups: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    """Return what is behind histograms: a row for each channel."""
    rows = [
        (group, layer, f"{value:.9g}")
        for group, values in groups.items()
        for layer, own in values.items()
        for value in own
    ]
    return Table("", ("network", "layer", "value"), tuple(rows))


def histogram(axes: Axes, values: np.ndarray, limit: float, title: str) -> None:
    """Draw how many channels have which value, those of at most `limit` in the colour of what is small."""
    small = np.abs(values) <= limit
    edges = np.histogram_bin_edges(values, BINS)
    axes.hist(
        [values[~small], values[small]],
        bins=edges.tolist(),
        stacked=True,
        color=[style.BLUE, style.SMALL],
    )
    axes.set_title(title)


def small(values: np.ndarray, limit: float) -> int:
    """Return how many values are at most `limit` in magnitude."""
    return int((np.abs(values) <= limit).sum())
