"""Figures of batch-norm scales gamma: after different trainings, and against the slopes b behind them.

scales_by_penalty       l1 on the scales, and l1 on the slopes                2024 Fig. 4
scales_by_activation    networks with ReLU and with rotated ReLU              2024 Fig. 10
pairs                   (gamma, b) of each channel, stage by stage            2024 Fig. 5
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import style
from analyses.book.entry import Context, Made
from analyses.book.histograms import GAMMA, histogram, numbers, small
from analyses.book.networks import AUTHORS, L1BN, L1RRELU, RELU20, RELU56
from analyses.tables import Table
from analyses.values import Channels, channels, every

CLOSE = 0.01
"""Batch-norm scales of at most this size are counted as close to zero; the papers do not say what they counted."""


def scale_panels(found: Mapping[str, Channels]) -> tuple[Figure, tuple[str, ...]]:
    """Draw a histogram of batch-norm scales for each network, one below the other on one axis; count the small."""
    figure = style.figure(height=0.6 + 1.9 * len(found))
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    notes = []
    for axes, (name, own) in zip(panels, found.items(), strict=True):
        values = every(own.scales)
        close = [small(values, limit) for limit in (0.001, CLOSE, 0.1)]
        histogram(axes, values, CLOSE, f"{name}: {close[1]} of {len(values)} with |γ| ≤ {CLOSE:g}")
        axes.set_ylabel("channels")
        notes.append(
            f"{name}: {close[0]}, {close[1]} and {close[2]} of {len(values)} scales within 0.001, 0.01 and 0.1."
        )
    panels[-1].set_xlabel("batch-norm scale γ")
    return figure, tuple(notes)


def scales_by_penalty(context: Context) -> Made:
    """Draw the scales after l1 on themselves, and after l1 on the slopes."""
    found = {
        "l1 on scales (L1BN)": channels(L1BN.path(context)),
        "l1 on slopes (L1RReLU)": channels(L1RRELU.path(context)),
    }
    figure, notes = scale_panels(found)
    return Made(numbers({name: own.scales for name, own in found.items()}), figure, notes)


def scales_by_activation(context: Context) -> Made:
    """Draw the scales of published networks with ReLU and with rotated ReLU."""
    files = {
        "ResNet-56, ReLU, 200 epochs": RELU56,
        "ResNet-20, ReLU, 200 epochs": RELU20,
        "ResNet-20, rotated ReLU, epoch 1103": AUTHORS,
    }
    found = {name: channels(context.shared(file)) for name, file in files.items()}
    figure, notes = scale_panels(found)
    return Made(numbers({name: own.scales for name, own in found.items()}), figure, notes)


def pairs(context: Context) -> Made:
    """Draw (gamma, b) of each channel by stage: after l1 on the slopes, and of the authors' network."""
    found = {
        "l1 on slopes": channels(L1RRELU.path(context)).pairs(),
        "authors, no penalty": channels(context.shared(AUTHORS)).pairs(),
    }
    figure = style.figure(height=5.2)
    rows = []
    for line, (name, own) in zip(figure.subplots(2, 3, sharex="row", sharey="row"), found.items(), strict=True):
        for axes, stage in zip(line, ("layer1", "layer2", "layer3"), strict=True):
            layers = [pair for layer, pair in own.items() if layer.startswith(stage)]
            scale, slope = (np.concatenate([pair[side] for pair in layers]) for side in (0, 1))
            _scatter(axes, scale, slope)
            axes.set_title(f"{name}, stage {stage[-1]}" if axes is line[0] else f"stage {stage[-1]}")
        line[0].set_ylabel("slope b")
        rows += [
            (name, layer, f"{a:.9g}", f"{b:.9g}") for layer, pair in own.items() for a, b in zip(*pair, strict=True)
        ]
    for axes in line:
        axes.set_xlabel("scale γ")
    notes = tuple(_together(name, own.values()) for name, own in found.items())
    return Made(Table("", ("network", "activation", "gamma", "b"), tuple(rows)), figure, notes)


def _scatter(axes: Axes, scale: np.ndarray, slope: np.ndarray) -> None:
    dead = np.abs(slope) <= GAMMA
    axes.axhspan(-GAMMA, GAMMA, color="#F2DCCB", linewidth=0)
    axes.plot(scale[~dead], slope[~dead], ".", color=style.BLUE, markersize=4, alpha=0.6)
    axes.plot(scale[dead], slope[dead], "x", color=style.SMALL, markersize=4)


def _together(name: str, found: Iterable[tuple[np.ndarray, np.ndarray]]) -> str:
    scale, slope = (np.abs(np.concatenate(side)) for side in zip(*found, strict=True))
    dead = slope <= CLOSE
    if not dead.any():
        return f"{name}: no slope is within {CLOSE:g}."
    both = int((scale[dead] <= CLOSE).sum())
    return f"{name}: of {int(dead.sum())} slopes within {CLOSE:g}, {both} have a scale within {CLOSE:g} too."
