"""Figures and tables of filter paths: how long they are, and which of them carry the gradient.

wide              WRN-40-4 by the authors' counts                              2022 Fig. 6, 2024 Fig. 7
lengths, flow     the networks at hand (`analyses.path_lengths`)
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from analyses import path_lengths, style
from analyses.book.entry import Context, Made
from analyses.tables import Table
from milpcomp.paths import Distribution, read_counts, seed_graph
from milpcomp.paths import path_lengths as lengths

BINS = 60


def wide(context: Context) -> Made:
    """Draw the lengths of all paths of WRN-40-4, and those that the authors' script gives."""
    counts = read_counts(path_lengths.COUNTS)
    figure = style.figure(height=5.4)
    rows: list[tuple[str, ...]] = []
    notes = []
    for axes, preset, title in zip(
        figure.subplots(2, 1),
        ("correct", "rrelu-2022"),
        ("all paths of 18 blocks", "as the authors' script sums: the first 18 of the 36 counts"),
        strict=True,
    ):
        found = {name: lengths(seed_graph(own, preset)) for name, own in counts.items()}
        draw(axes, found)
        axes.set_title(title)
        rows += [
            (title, name, str(length), f"{share:.9g}")
            for name, own in found.items()
            for length, share in own.shares().items()
        ]
        text = "; ".join(
            f"{name} mean {own.mean:,.1f}, 90 % between {own.quantile(0.05):,} and {own.quantile(0.95):,}, "
            f"longest {own.maximum:,}"
            for name, own in found.items()
        )
        notes.append(f"{title[0].upper()}{title[1:]}: {text}.")
    axes.set_xlabel("filter-path length: active filters that a feature passes")
    return Made(Table("", ("counted", "network", "length", "share"), tuple(rows)), figure, tuple(notes))


def draw(axes: Axes, found: Mapping[str, Distribution]) -> None:
    """Draw the share of paths in bins of lengths, and each mean as a dashed line."""
    grid = max(math.gcd(*own.support) for own in found.values())  # bins of another width hold now one, now two points
    longest = max(own.maximum for own in found.values())
    width = grid * math.ceil(longest / (BINS * grid))
    edges = width * (np.arange(longest // width + 2) - 0.5)
    for i, (name, own) in enumerate(found.items()):
        shares = own.shares()
        heights, _ = np.histogram(list(shares), edges, weights=list(shares.values()))
        axes.stairs(100 * heights, edges, fill=True, color=style.CYCLE[i], alpha=0.35, label=name)
        axes.stairs(100 * heights, edges, color=style.CYCLE[i], linewidth=1.0)
        axes.axvline(own.mean, color=style.CYCLE[i], linestyle="--", linewidth=1.2)
    axes.set_ylabel("share of all paths, %")
    axes.legend(loc="upper right")


def table(context: Context) -> Made:
    """Count the paths of the networks at hand; with `full`, of full networks too."""
    found = {}
    for name, (graph, before) in path_lengths.graphs(context.shared("nets"), context.full).items():
        context.log(name)
        found[name] = (*path_lengths.measure(graph), before)
    return Made(path_lengths.table({name: (own, before, seconds) for name, (own, seconds, before) in found.items()}))


def flow(context: Context) -> Made:
    """Draw which share of all paths, and of the gradient, each bin of lengths has."""
    measured = path_lengths.flow_table(path_lengths.flows(context.data)) if context.full else _read(context)
    names = list(dict.fromkeys(row[0] for row in measured.rows))
    figure = style.figure(height=4.8)
    for axes, name in zip(figure.subplots(len(names), 1, sharex=True), names, strict=True):
        own = [row for row in measured.rows if row[0] == name]
        edges = [float(own[0][1].split(" to ")[0]), *(float(row[1].split(" to ")[1]) for row in own)]
        axes.stairs([float(row[2]) for row in own], edges, fill=True, color=style.PALE, label="of all paths")
        axes.stairs([float(row[3]) for row in own], edges, color=style.VERMILLION, label="of the gradient")
        axes.set(title=name, ylabel="share, %")
        axes.legend(loc="upper left")
    axes.set_xlabel("filter-path length: active filters that a feature passes")
    return Made(measured, figure)


def _read(context: Context) -> Table:
    with context.earlier("path_lengths_flow.csv", FLOW_COMMAND).open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return Table("", tuple(head), tuple(tuple(row) for row in rows))


FLOW_COMMAND = "python -m analyses.book --only beyond-path-flow --full"
