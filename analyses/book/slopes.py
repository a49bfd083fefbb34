"""Figures of slopes and batch-norm scales: where they start, where training takes them, one against the other.

start       drawn from the truncated mixture, with its density            2022 Fig. 3, 2024 Fig. 2
trained     by kind of start, beside the shares that the papers print     2022 Figs 2 and 4, 2024 Fig. 3
coarse      trained alone on random weights                               2022 Fig. 5
scales      of batch norm, after different trainings                      2024 Figs 4 and 10
pairs       (gamma, b) of each channel, stage by stage                    2024 Fig. 5
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.stats import truncnorm

from analyses import style
from analyses.book.entry import ANALYSES, Context, Made
from analyses.book.histograms import GAMMA, histogram, numbers, small
from analyses.book.networks import AUTHORS, COARSE, TYPE2
from analyses.book.printed import published
from analyses.tables import Table
from analyses.values import channels, every
from milpcomp.paths import read_counts
from milpcomp.rotated import draw_slopes
from milpcomp.rotated.initialise import DEVIATION, GREATEST, LEAST

COUNTS = ANALYSES / "published" / "wrn-40-4_counts.json"

BINS, DRAWS = 30, 100_000


# ------------------------------------------------------------------------------------------------ where slopes start


def start(context: Context) -> Made:
    """Draw slopes as training starts with them, and the density they are drawn from."""
    drawn = draw_slopes(DRAWS, torch.Generator().manual_seed(0)).numpy()
    figure = style.figure(height=3.2)
    axes = figure.add_subplot()
    rows = []
    for sign in (-1, 1):
        edges = np.sort(sign * np.linspace(LEAST, GREATEST, BINS + 1))
        counts, _ = np.histogram(drawn, bins=edges)
        heights = counts / np.diff(edges) / DRAWS
        label = f"{DRAWS:,} slopes drawn" if sign > 0 else None
        axes.stairs(heights, edges, fill=True, color=style.BLUE, alpha=0.4, label=label)
        rows += [(f"{a:.6g}", f"{b:.6g}", f"{own:.6g}") for a, b, own in zip(edges, edges[1:], heights, strict=False)]
    x = np.linspace(LEAST, GREATEST, 200)
    for sign in (-1, 1):
        axes.plot(
            sign * x, density(x) / 2, color=style.VERMILLION, label="density of the mixture" if sign > 0 else None
        )
    axes.set(xlabel="slope b", ylabel="density", ylim=(0, 0.95))
    axes.legend(loc="upper center", ncols=2)
    sizes = np.abs(drawn)
    note = (
        f"Of {DRAWS:,} slopes {100 * (drawn > 0).mean():.1f} % are positive; sizes lie in "
        f"[{sizes.min():.4f}, {sizes.max():.4f}], that is [tan 35°, tan 55°] = [{LEAST:.4f}, {GREATEST:.4f}]."
    )
    return Made(Table("", ("from slope", "to slope", "density drawn"), tuple(rows)), figure, (note,))


def density(x: np.ndarray) -> np.ndarray:
    """Return the density of |slope| at x in [tan 35 deg, tan 55 deg]."""
    limits = (LEAST - 1) / DEVIATION, (GREATEST - 1) / DEVIATION
    return np.asarray(truncnorm.pdf(x, *limits, loc=1, scale=DEVIATION))


# ------------------------------------------------------------------------------------------- where training takes them


def shares(axes: Axes, columns: Sequence[str], here: Mapping[tuple[str, str], float]) -> Table:
    """Draw the shares of ignored filters that Table V of 2022 prints, and ours where there are any."""
    table = published("2022")["V"]
    totals = dict(zip(table["columns"], table["rows"]["slopes in all"], strict=True))
    rows = []
    for place, (kind, colour) in enumerate((("type I", style.GREY), ("type II", style.PALE))):
        printed = dict(zip(table["columns"], table["rows"][f"ignored, {kind}"], strict=True))
        heights = [100 * printed[name] / totals[name] for name in columns]
        x = np.arange(len(columns)) + 0.38 * (place - 0.5)
        axes.bar(x, heights, 0.36, color=colour, edgecolor="#444444", linewidth=0.6, label=f"printed, {kind}")
        own = [(at, here[kind, name]) for at, name in zip(x, columns, strict=True) if (kind, name) in here]
        if own:
            colour, mark = (style.BLUE, "o") if kind == "type I" else (style.VERMILLION, "D")
            axes.plot(*zip(*own, strict=True), mark, color=colour, markersize=7, label=f"here, {kind}")
        rows += [(kind, name, f"{height:.4g}") for name, height in zip(columns, heights, strict=True)]
    axes.set_xticks(range(len(columns)), [name.replace(" ", "\n", 1) for name in columns], fontsize=8)
    axes.set_ylabel("filters ignored, %")
    axes.legend(fontsize=8)
    return Table("", ("start", "network", "printed %"), tuple(rows))


def by_start(context: Context) -> Made:
    """Draw slopes of ResNet-20 after both starts, and the printed shares of all ResNets."""
    found = {"type I": channels(context.shared(AUTHORS)), "type II": channels(TYPE2)}
    figure = style.figure(height=5.4)
    panels = figure.subplot_mosaic([["type I", "type II"], ["shares", "shares"]])
    counts = {}
    for kind, own in found.items():
        axes = panels[kind]
        values = every(own.slopes)
        counts[kind] = small(values, GAMMA), len(values)
        histogram(axes, values, GAMMA, f"{kind}: {counts[kind][0]} of {counts[kind][1]} with |b| ≤ {GAMMA:g}")
        axes.set(xlabel="slope b of ResNet-20, CIFAR-10", ylabel="channels")
    columns = [f"CIFAR-{data} ResNet-{depth}" for data in (10, 100) for depth in (20, 56, 110)]
    here = {(kind, "CIFAR-10 ResNet-20"): 100 * own / total for kind, (own, total) in counts.items()}
    shares(panels["shares"], columns, here)
    zeros = small(every(found["type II"].slopes), 0.0)
    notes = (
        f"Type I: the authors' ResNet-20, trained later than that of 2022; {counts['type I'][0]} of 672 slopes are at "
        f"most {GAMMA:g} in size. Type II: our short run; {zeros} of 672 slopes are exactly 0, as it takes proximal "
        "steps.",
    )
    return Made(numbers({f"ResNet-20, {kind}": own.slopes for kind, own in found.items()}), figure, notes)


def wide(context: Context) -> Made:
    """Draw the printed shares of the wide networks, and the filters that the authors counted layer by layer."""
    counts = {name: np.array(own) for name, own in read_counts(COUNTS).items()}
    figure = style.figure(height=5.2)
    upper, lower = figure.subplots(2, 1)
    columns = ["CIFAR-10 WRN-40-4", "CIFAR-100 WRN-40-4", "SVHN WRN-16-4"]
    shares(upper, columns, {})
    place = np.arange(len(counts["ReLU"]) + 1) + 0.5
    lower.stairs(counts["ReLU"], place, fill=True, color=style.PALE, label="all filters")
    lower.stairs(counts["RReLU"], place, fill=True, color=style.VERMILLION, alpha=0.75, label="active, rotated ReLU")
    lower.set(xlabel="convolution of WRN-40-4, from input to output", ylabel="filters", xlim=(0.5, place[-1]))
    lower.legend(loc="upper left")
    left, whole = int(counts["RReLU"].sum()), int(counts["ReLU"].sum())
    note = (
        f"The authors' list has {left:,} of {whole:,} filters active, so that {whole - left:,} are ignored "
        f"({100 * (1 - left / whole):.1f} %); that is arithmetic on their list, not a measurement of a network."
    )
    rows = [(str(i + 1), *(str(counts[name][i]) for name in ("ReLU", "RReLU"))) for i in range(len(counts["ReLU"]))]
    return Made(Table("", ("convolution", "all filters", "active, rotated ReLU"), tuple(rows)), figure, (note,))


def by_layer(context: Context) -> Made:
    """Draw the slopes of the authors' network: all in one, and a row of marks for each activation."""
    found = channels(context.shared(AUTHORS)).slopes
    figure = style.figure(height=6.4)
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.9), sharex=True)
    values = every(found)
    histogram(
        upper,
        values,
        GAMMA,
        f"ResNet-20, CIFAR-10: {small(values, GAMMA)} of {len(values)} slopes with |b| ≤ {GAMMA:g}",
    )
    upper.set_ylabel("channels")
    for row, own in enumerate(found.values()):
        for part, colour in ((own[np.abs(own) > GAMMA], style.BLUE), (own[np.abs(own) <= GAMMA], style.SMALL)):
            lower.plot(part, np.full(len(part), row), "|", color=colour, markersize=8, alpha=0.7)
    labels = [
        f"{name.replace('rrelu', '')}   {len(own) - small(own, GAMMA)} of {len(own)}" for name, own in found.items()
    ]
    lower.set_yticks(range(len(labels)), labels, fontsize=8)
    lower.set(ylim=(len(found) - 0.5, -0.5), xlabel="slope b", title="by activation; slopes that are not small, of all")
    after = sum(small(own, GAMMA) for name, own in found.items() if name.endswith("2"))
    note = (
        f"{int((values < 0).sum())} slopes are negative and {small(values, 0.0)} exactly 0; of the "
        f"{small(values, GAMMA)} small ones {after} are in activations behind an addition."
    )
    return Made(numbers({"ResNet-20, authors": found}), figure, (note,))


def coarse(context: Context) -> Made:
    """Draw slopes before and after they alone are trained."""
    begin = draw_slopes(2016, torch.Generator().manual_seed(0)).numpy()
    trained = channels(COARSE.path(context)).slopes
    values = every(trained)
    figure = style.figure(height=3.2)
    left, right = figure.subplots(1, 2, sharex=True)
    histogram(left, begin, GAMMA, "before: 2,016 slopes of ResNet-56")
    histogram(right, values, GAMMA, f"after: ResNet-20, {small(values, GAMMA)} of {len(values)} with |b| ≤ {GAMMA:g}")
    for axes in (left, right):
        axes.set(xlabel="slope b", ylabel="channels")
    moved = np.abs(values)
    note = (
        f"After training {int((moved < LEAST).sum())} of {len(values)} slopes are smaller than any was at the start "
        f"(least {moved.min():.3f}), {int((moved > GREATEST).sum())} are greater (greatest {moved.max():.3f})."
    )
    return Made(numbers({"before, ResNet-56": {"all": begin}, "after, ResNet-20": trained}), figure, (note,))
