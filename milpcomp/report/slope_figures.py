"""Figures of slopes b and batch-norm scales gamma: their histograms, the slopes layer by layer, one against the other.

They show what Nayak and Kalyani show of trained networks (arXiv 2206.00488, Figs 2, 4 and 5; TMLR 2024, Figs 3, 4, 5
and 10): whether slopes gather at zero, in which layers, and whether gamma is small where the slope is.
Colours are those of `milpcomp.report.figure`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from milpcomp.network.layers import FloatArray
from milpcomp.report.figure import NAME_LENGTH
from milpcomp.report.tables import count

ALIVE, DEAD, BAND = "#0072B2", "#D55E00", "#F2DCCB"
BINS = 60
CLOSE = 0.01
"""Batch-norm scales of at most this size are counted as close to zero."""

Pairs = Mapping[str, tuple[FloatArray, FloatArray]]


def slope_histogram(slopes: Mapping[str, FloatArray], gamma: float) -> Figure:
    """Return the histogram of all slopes; those of at most the threshold in another colour."""
    values = np.concatenate([np.zeros(0), *slopes.values()])
    figure, axes = _figure(6.0, 3.6)
    small = np.abs(values) <= gamma
    title = f"{count(len(values))} slopes, {count(int(small.sum()))} with |b| ≤ {gamma:.3g}"
    _histogram(axes, values, small, "slope b", title)
    return figure


def norm_histogram(scales: Mapping[str, FloatArray]) -> Figure:
    """Return the histogram of all batch-norm scales; those close to zero in another colour."""
    values = np.concatenate([np.zeros(0), *scales.values()])
    figure, axes = _figure(6.0, 3.6)
    small = np.abs(values) <= CLOSE
    title = f"{count(len(values))} batch-norm scales, {count(int(small.sum()))} with |γ| ≤ {CLOSE:g}"
    _histogram(axes, values, small, "batch-norm scale γ", title)
    return figure


def slopes_by_layer(slopes: Mapping[str, FloatArray], gamma: float) -> Figure:
    """Return one row per activation, first layer on top, with a mark for each slope."""
    rows = max(1, len(slopes))
    figure, axes = _figure(7.0, 1.2 + 0.26 * rows)
    axes.axvspan(-gamma, gamma, color=BAND, linewidth=0)
    axes.axvline(0.0, color="#888888", linewidth=0.6)
    for row, values in enumerate(slopes.values()):
        small = np.abs(values) <= gamma
        for part, colour in ((values[~small], ALIVE), (values[small], DEAD)):
            axes.plot(part, np.full(len(part), row), "|", color=colour, markersize=8, alpha=0.7)
    labels = [f"{_short(name)}  ({int((np.abs(own) > gamma).sum())} of {len(own)})" for name, own in slopes.items()]
    axes.set_yticks(range(len(labels)), labels=labels, parse_math=False, fontsize=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlabel("slope b, one mark per channel")
    axes.set_title(f"activations (channels with |b| > {gamma:.3g})", fontsize=10)
    return figure


def slopes_against_scales(pairs: Pairs, gamma: float) -> Figure:
    """Return slopes (upwards) against the batch-norm scales in front of them, one panel per stage of the network."""
    stages: dict[str, list[str]] = {}
    for name in pairs:
        stages.setdefault(name.split(".")[0] if "." in name else "", []).append(name)
    columns = max(1, len(stages))
    figure = Figure(figsize=(1.2 + 2.9 * columns, 3.4), layout="constrained")
    panels = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for axes, (stage, names) in zip(panels, stages.items(), strict=False):
        scale, slope = (np.concatenate([pairs[name][side] for name in names]) for side in (0, 1))
        small = np.abs(slope) <= gamma
        axes.axhspan(-gamma, gamma, color=BAND, linewidth=0)
        axes.plot(scale[~small], slope[~small], ".", color=ALIVE, markersize=4, alpha=0.6)
        axes.plot(scale[small], slope[small], ".", color=DEAD, markersize=5)
        axes.set_title(f"{stage or 'all layers'}: {count(len(slope))} channels", fontsize=10, parse_math=False)
        axes.set_xlabel("batch-norm scale γ")
        _bare(axes)
    panels[0].set_ylabel("slope b")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _histogram(axes: Axes, values: FloatArray, small: np.ndarray, what: str, title: str) -> None:
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    edges = np.histogram_bin_edges(values, BINS, range=(low, high) if high > low else (low - 0.5, low + 0.5))
    parts = [values[~small], values[small]]
    axes.hist(parts, bins=edges, stacked=True, color=[ALIVE, DEAD], label=["greater", "small"])  # type: ignore[arg-type]
    axes.set_xlabel(what)
    axes.set_ylabel("channels")
    axes.set_title(title, fontsize=10)


def _short(name: str) -> str:
    half = NAME_LENGTH // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[-half:]}"
