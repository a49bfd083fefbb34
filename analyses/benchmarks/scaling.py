"""How the cost of deciding every neuron grows with width and with depth, and what curves fit it.

    python -m analyses.benchmarks.scaling --data FOLDER_WITH_THE_FOUR_MNIST_FILES --out results/scaling

Two rows of networks on MNIST: two hidden layers of 100 to 1,600 neurons, and two to eight layers of 100. All are
trained alike, with l1 = 0.00005 and fewer epochs than the grid (`SCHEDULE`): deciding them is what is measured, not
their accuracy, which is in the table. Trained networks and finished cells are kept, so that a stopped run goes on.

    width w    seconds = a w^k            depth d    seconds = a exp(k d)

fitted by least squares to the logarithms of the processor seconds. A network with undecided neurons took its limit, and
counts with it: such a point is a lower bound, drawn hollow.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from analyses import style
from analyses.benchmarks.grid import cell
from analyses.book.entry import Context, Made
from analyses.tables import Table, as_markdown, write
from milpcomp.report.figure import save_figure
from models.data import load_images
from models.grid_runs import Data
from models.grid_runs import run as train
from models.grid_training import Recipe, Schedule

WIDTHS = (100, 200, 400, 800, 1600)
DEPTHS = (2, 3, 4, 5, 6, 7, 8)
L1 = 0.00005
SCHEDULE = Schedule(epochs=12, learning_rate=0.03, drop_every=5)
COMMAND = "python -m analyses.benchmarks.scaling --data FOLDER --out FOLDER"
COLUMNS = ("row", "hidden", "accuracy", "neurons", "undecided", "rejected", "seconds", "cpu_seconds", "peak_mib")


def fit(x: ArrayLike, seconds: ArrayLike, *, power: bool) -> tuple[float, float, float]:
    """Return a, k and R^2 of ``seconds = a x^k`` (power) or ``a exp(k x)``, by least squares of the logarithms."""
    across = np.log(np.asarray(x, dtype=float)) if power else np.asarray(x, dtype=float)
    logs = np.log(np.asarray(seconds, dtype=float))
    k, constant = np.polyfit(across, logs, 1)
    spread = ((logs - logs.mean()) ** 2).sum()
    rest = ((logs - constant - k * across) ** 2).sum()
    return float(np.exp(constant)), float(k), float(1 - rest / spread) if spread > 0 else 1.0


def scaling(context: Context) -> Made:
    """Make the page of the book from the numbers measured earlier."""
    path = context.earlier("scaling.csv", COMMAND)
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    table = Table("", tuple(rows[0]), tuple(map(tuple, rows[1:])))
    return Made(table, figure(table))


def figure(table: Table) -> Figure:
    """Draw seconds and memory against width and depth, with the fitted curves."""
    with style.look():
        drawn = style.figure(height=5.2)
        axes = drawn.subplots(2, 2, sharex="col")
        for column, (row, power) in enumerate((("width", True), ("depth", False))):
            cells = [dict(zip(table.columns, entry, strict=True)) for entry in table.rows if entry[0] == row]
            hidden = [entry["hidden"].split("x") for entry in cells]
            x = [int(width if power else depth) for depth, width in hidden]
            seconds = [float(entry["cpu_seconds"]) for entry in cells]
            a, k, r2 = fit(x, seconds, power=power)
            dense = np.linspace(min(x), max(x), 200)
            curve = a * dense**k if power else a * np.exp(k * dense)
            law = f"{a:.2g} w^{k:.2f}" if power else f"{a:.2g} exp({k:.2f} d)"
            top, bottom = axes[0, column], axes[1, column]
            top.plot(dense, curve, color=style.GREY, label=f"{law}, R² = {r2:.2f}")
            for value, taken, entry in zip(x, seconds, cells, strict=True):
                fill = "white" if int(entry["undecided"]) else style.BLUE
                top.plot(value, taken, "o", color=style.BLUE, markerfacecolor=fill)
                bottom.plot(value, float(entry["peak_mib"]), "s", color=style.VERMILLION)
            top.set_yscale("log")
            top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            top.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            top.yaxis.set_minor_locator(NullLocator())
            if power:
                top.set_xscale("log")
                top.set_xticks(x, [str(value) for value in x])
                top.xaxis.set_minor_locator(NullLocator())
            top.legend()
            top.set_title("2 layers of w neurons" if power else "d layers of 100 neurons")
            bottom.set_xlabel("w" if power else "d")
            bottom.set_ylim(0, 4096)
            bottom.axhline(4096, color=style.GREY, linewidth=0.8)
        axes[0, 0].set_ylabel("processor seconds")
        axes[1, 0].set_ylabel("peak memory (MiB)")
    return drawn


def main() -> None:
    """Train what is missing, run the cells that are missing, write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one network")
    parser.add_argument("--out", type=Path, required=True, help="folder of networks, cells, table and figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = Data(*(torch.from_numpy(a) for split in ("train", "t10k") for a in load_images(options.data, split)))
    rows = []
    shapes = [("width", 2, width) for width in WIDTHS] + [("depth", depth, 100) for depth in DEPTHS]
    for row, depth, width in shapes:
        name = f"{depth}x{width}"
        card = train(name, Recipe((784, *[width] * depth, 10), l1=L1, schedule=SCHEDULE), data, options.out / "runs")
        weights = options.out / "runs" / card["file"]
        found = cell(options.out / f"{name}.json", weights, "funnel", options.limit, 60.0, options.data, 0)
        if found is None:
            print(f"{name}: no result", flush=True)
            continue
        numbers = (found["neurons"], found["counts"]["undecided"], found["rejected"])
        costs = (found["seconds"], found["cpu_seconds"], found["peak_mib"])
        rows.append((row, name, f"{card['test_accuracy']:.4f}", *map(str, numbers), *(f"{cost:.2f}" for cost in costs)))
        print(rows[-1], flush=True)
    table = Table("Deciding every neuron as networks grow: the funnel over [0, 1]^784.", COLUMNS, tuple(rows))
    write(table, options.out / "scaling")
    save_figure(figure(table), options.out / "scaling")
    print(as_markdown(table))


if __name__ == "__main__":
    main()
