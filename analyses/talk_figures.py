"""The figures of the talk: what regularisation does to runtime and size, compression against accuracy, and the methods.

Published numbers are drawn on the left, what was measured here on the right, on the same axes; measurements are those
of `analyses.talk_tables`. Times published are Gurobi's, on another machine: shapes of curves compare, seconds do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analyses import rows, style
from analyses.book.entry import Context, Made
from analyses.l1_sweep import Point
from analyses.tables import Table
from analyses.talk_tables import DEPTHS, MISSING, TOLERANCE, WIDTHS, Grid

SHAPES = tuple(dict.fromkeys((*DEPTHS, *WIDTHS)))
LEVELS = {"0": 0.0, "half": 0.5, "full": 1.0, "proximal": 1.0}
"""Weight of l1, as a part of the one with the accuracy of l1 = 0."""

METHODS = {
    "per-neuron": "two MILPs a neuron",
    "per-layer": "one solve a layer",
    "one-solve": "one solve",
    "funnel": "funnel",
}
CURVE = ("2x25", "2x50", "2x100")
VARIANTS = ("0", "half", "full")

SWEEP_COMMAND = "python -m analyses.l1_sweep --data FOLDER"

Value = Callable[[str, str], float | None]


def against_l1(context: Context) -> Made:
    """Neurons removed, and the time to decide all, against the weight of l1."""
    grid = Grid.of(context)
    figure = style.figure(height=5.6)
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    values: tuple[tuple[Axes, str, Value], ...] = (
        (panels[0, 0], "published: removed", lambda shape, v: _printed(grid, shape, v, "removed")),
        (
            panels[0, 1],
            f"here: removed, outputs within {TOLERANCE:g}",
            lambda shape, v: _removed_within(grid, shape, v),
        ),
        (panels[1, 0], "published: one solve, Gurobi", lambda shape, v: _printed(grid, shape, v, "seconds")),
        (panels[1, 1], "here: funnel, processor time", lambda shape, v: _seconds(grid, f"{shape}_{v}", "funnel")),
    )
    lines = []
    for axes, title, value in values:
        gap = "–" if title.startswith("published") else MISSING
        lines += [(title, shape, v, _text(value(shape, v), gap)) for shape in SHAPES for v in VARIANTS]
        for at, shape in enumerate(SHAPES):
            _line(axes, [(LEVELS[v], value(shape, v)) for v in VARIANTS], at, shape)
        axes.set_title(title)
    for at, shape in enumerate(SHAPES):
        exact = _removed(grid, f"{shape}_proximal")
        lines.append(("here: removed exactly", shape, "proximal", _text(exact)))
        panels[0, 1].plot(
            [] if exact is None else [1.0], [] if exact is None else [exact], **_mark(at), fillstyle="none"
        )
    panels[0, 1].annotate("open: exactly, proximal ℓ1", (0.02, 0.92), xycoords="axes fraction", fontsize=9)
    panels[0, 0].set_ylabel("neurons removed, %")
    panels[1, 0].set_ylabel("seconds")
    panels[1, 0].set_yscale("log")
    for axes in panels[1]:
        axes.set_xticks([0.0, 0.5, 1.0], ["0", r"$\bar\ell/2$", r"$\bar\ell$"])
        axes.set_xlabel("weight of ℓ1")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SHAPES))
    return Made(Table("", ("quantity", "hidden layers", "variant", "value"), tuple(lines)), figure, _missing(lines))


def over_l1(context: Context) -> Made:
    """Neurons removed, and the time to decide all, for one shape over many weights of l1."""
    points = _sweep(context)
    figure = style.figure(height=3.4)
    left, right = figure.subplots(1, 2, sharex=True)
    l1 = [1e4 * point.l1 for point in points]
    within, exactly = ([100 * (1 - left_over / n) for left_over, n in pairs] for pairs in _left_over(points))
    left.plot(l1, within, **_mark(0), label=f"outputs within {TOLERANCE:g}")
    left.plot(l1, exactly, **_mark(1), fillstyle="none", label="exactly")
    left.set_ylabel("neurons removed, %")
    left.legend(loc="upper left")
    right.plot(l1, [point.cpu_seconds for point in points], **_mark(2))
    late = [(x, point.cpu_seconds) for x, point in zip(l1, points, strict=True) if point.undecided]
    right.plot([x for x, _ in late], [y for _, y in late], color=style.BLACK, marker="x", linestyle="none")
    right.set_ylabel("funnel, processor seconds")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("10⁴ × weight of ℓ1")
    columns = ("l1", "accuracy %", "removed within %", "removed exactly %", "processor seconds", "undecided")
    lines = tuple(
        (f"{p.l1:g}", f"{100 * p.accuracy:.2f}", f"{w:.1f}", f"{e:.1f}", f"{p.cpu_seconds:.1f}", f"{p.undecided}")
        for p, w, e in zip(points, within, exactly, strict=True)
    )
    worst = max(points, key=lambda point: point.cpu_seconds)
    note = f"{len(points)} networks; the hardest has l1 = {worst.l1:g} and takes {worst.cpu_seconds:.1f} s."
    return Made(Table("", columns, lines), figure, (note,))


def against_accuracy(context: Context) -> Made:
    """Neurons removed against accuracy, for networks trained with l1."""
    grid = Grid.of(context)
    figure = style.figure(height=3.5)
    left, right = figure.subplots(1, 2, sharey=True)
    published = [
        (f"{shape}_{v}", score, share)
        for shape in SHAPES
        for v, score, share in zip(VARIANTS, *(grid.printed(shape)[k] for k in ("accuracy", "removed")), strict=True)
        if v != "0" and score is not None and share is not None
    ]
    own = [grid.within.get((f"{shape}_{v}", TOLERANCE)) for shape in SHAPES for v in ("half", "full")]
    kinds = {
        "published averages": published,
        "here, 2x100": [
            (f"2x100, {p.l1:g}", 100 * p.accuracy, 100 * (1 - p.within / p.neurons)) for p in _sweep(context) if p.l1
        ],
        "here, all shapes": [(p.network, 100 * p.after, 100 * p.removed) for p in own if p is not None],
    }
    notes = [f"Published: R² = {grid.published['r_squared']:.2f}, over single networks."]
    for at, (label, points) in enumerate(kinds.items()):
        fit = r_squared([p[1] for p in points], [p[2] for p in points])
        text = label if fit is None else f"{label}: R² = {fit:.2f}"
        colour = (style.PRINTED, style.BLUE, style.VERMILLION)[at]
        _scatter(left if at == 0 else right, points, colour, style.MARKERS[at], text)
        notes.append(f"{text}, {len(points)} networks.")
    for axes in (left, right):
        axes.set_xlabel("test accuracy, %")
    left.set_ylabel("neurons removed, %")
    figure.legend(loc="outside upper center", ncols=3)
    lines = [(kind, name, f"{x:.2f}", f"{y:.1f}") for kind, points in kinds.items() for name, x, y in points]
    return Made(Table("", ("what", "network", "accuracy %", "removed %"), tuple(lines)), figure, tuple(notes))


def methods(context: Context) -> Made:
    """Time to decide all neurons of 2x25, 2x50 and 2x100 by every method."""
    grid = Grid.of(context)
    figure = style.figure(height=4.2)
    axes = figure.add_subplot()
    printed = grid.published["per_neuron_seconds"]
    sizes = [_neurons(shape) for shape in CURVE]
    label = "published: two MILPs a neuron"
    axes.plot(sizes, [printed[s] for s in CURVE], color=style.PRINTED, marker="o", linestyle="--", label=label)
    lines = [("published: per-neuron, Gurobi", s, "", f"{printed[s]}", "", "") for s in CURVE]
    for at, (method, words) in enumerate(METHODS.items()):
        means = []
        for shape in CURVE:
            cells = [grid.cells.get((f"{shape}_{v}", method)) for v in VARIANTS]
            known = [cell for cell in cells if cell is not None and cell.cpu_seconds is not None]
            for v, cell in zip(VARIANTS, cells, strict=True):
                took = (
                    (MISSING, MISSING, "")
                    if cell is None
                    else (_text(cell.seconds), _text(cell.cpu_seconds), str(cell.undecided))
                )
                lines.append((f"here: {method}", shape, v, *took))
            seconds = [float(cell.cpu_seconds or 0.0) for cell in known]
            axes.plot([_neurons(shape)] * len(known), seconds, **_mark(at), linestyle="none", alpha=0.5, markersize=4)
            late = [float(cell.cpu_seconds or 0.0) for cell in known if cell.undecided]
            axes.plot(
                [_neurons(shape)] * len(late), late, color=style.BLACK, marker="x", linestyle="none", markersize=8
            )
            means.append((float(_neurons(shape)), float(np.exp(np.mean(np.log(seconds)))) if seconds else None))
        _line(axes, means, at, words)
    axes.plot([], [], color=style.BLACK, marker="x", linestyle="none", label="some neurons open at the limit")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{shape}: {size} neurons" for shape, size in zip(CURVE, sizes, strict=True)])
    axes.minorticks_off()
    axes.set_ylabel("seconds to decide all neurons")
    figure.legend(loc="outside lower center", ncols=3)
    columns = ("what", "hidden layers", "variant", "seconds", "processor seconds", "undecided")
    return Made(Table("", columns, tuple(lines)), figure, _missing(lines))


def r_squared(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return the share of the variance of y that a straight line in x explains; None of fewer than three points."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _sweep(context: Context) -> tuple[Point, ...]:
    return rows.read(Point, context.earlier("l1_sweep.csv", SWEEP_COMMAND))


def _left_over(points: Sequence[Point]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return (neurons after, neurons before) of the compressions within the tolerance, and of the exact ones."""
    return [(p.within, p.neurons) for p in points], [(p.exactly, p.neurons) for p in points]


def _printed(grid: Grid, shape: str, variant: str, what: str) -> float | None:
    return grid.printed(shape)[what][VARIANTS.index(variant)]


def _removed(grid: Grid, name: str) -> float | None:
    cell = grid.cells.get((name, "funnel"))
    return None if cell is None else 100 * cell.removed


def _removed_within(grid: Grid, shape: str, variant: str) -> float | None:
    row = grid.within.get((f"{shape}_{variant}", TOLERANCE))
    return None if row is None else 100 * row.removed


def _seconds(grid: Grid, name: str, method: str) -> float | None:
    cell = grid.cells.get((name, method))
    return None if cell is None else cell.cpu_seconds


def _neurons(shape: str) -> int:
    layers, width = shape.split("x")
    return int(layers) * int(width)


def _mark(at: int) -> dict[str, Any]:
    return {"color": style.CYCLE[at % len(style.CYCLE)], "marker": style.MARKERS[at % len(style.MARKERS)]}


def _line(axes: Axes, points: Sequence[tuple[float, float | None]], at: int, label: str) -> None:
    """Draw what is there of a curve, with gaps where values are missing."""
    axes.plot([x for x, _ in points], [np.nan if y is None else y for _, y in points], **_mark(at), label=label)


def _scatter(axes: Axes, points: Sequence[tuple[str, float, float]], colour: str, marker: str, label: str) -> None:
    x, y = np.array([p[1] for p in points]), np.array([p[2] for p in points])
    axes.plot(x, y, color=colour, marker=marker, linestyle="none", label=label)
    if r_squared(x.tolist(), y.tolist()) is not None:
        slope, offset = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, slope * ends + offset, color=colour, linewidth=1)


def _text(value: float | None, gap: str = MISSING) -> str:
    return gap if value is None else f"{value:.1f}"


def _missing(lines: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    count = sum(MISSING in row for row in lines)
    return (f"{count} values are missing.",) if count else ()
