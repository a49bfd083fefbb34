"""One shape over many weights of l1: accuracy, time to decide all neurons, neurons that go exactly and within a bound.

    python -m analyses.l1_sweep --data FOLDER_WITH_MNIST --runs FOLDER      -> analyses/results/l1_sweep.csv

2x100, l1 from 0 to 0.0004 in steps of 0.000025 by the subgradient, as published; one network for each, seed 0, the
short schedule of the grid. Trained networks are kept in the folder of runs, rows in the table: a run that was stopped
goes on. Over these networks, that of l1 = 0 left out, is the R^2 of neurons removed on accuracy (the published one is
0.64).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import milpcomp as mc
from analyses import rows
from analyses.grid_results import RESULTS
from models import grid_runs
from models.data import load_images
from models.grid import cache
from models.grid_training import SHORT, Recipe

SHAPE, SIZES = "2x100", (784, 100, 100, 10)
STEP, STEPS = 0.000025, 16
COARSE = 2
"""Every second weight comes first, so that a run that is stopped has covered the whole range."""

TOLERANCE = 0.001
LIMIT_S = 60.0
IMAGES = 1_000


@dataclass(frozen=True)
class Point:
    """What was measured for one weight of l1.

    Parameters
    ----------
    l1 : float
    accuracy : float
        On the test set, before compression.
    neurons, stably_inactive, stably_active, unstable, undecided : int
    seconds, cpu_seconds : float
        Wall-clock and processor time of the funnel.
    exactly : int
        Neurons after exact compression.
    within : int
        Neurons after compression that may change outputs by `TOLERANCE`.
    accuracy_within : float
        On the test set, after that.
    deviation_bound : float
        Proved bound on the change of the outputs by it.
    """

    l1: float
    accuracy: float
    neurons: int
    stably_inactive: int
    stably_active: int
    unstable: int
    undecided: int
    seconds: float
    cpu_seconds: float
    exactly: int
    within: int
    accuracy_within: float
    deviation_bound: float


def order() -> list[float]:
    """Return the weights of l1, every second one first."""
    steps = [*range(0, STEPS + 1, COARSE), *(n for n in range(STEPS + 1) if n % COARSE)]
    return [round(n * STEP, 6) for n in steps]


def measure(weights: Path, l1: float, images: np.ndarray, labels: np.ndarray) -> Point:
    """Decide, compress and measure one network."""
    network, domain = mc.load(weights), mc.Box(0.0, 1.0)
    begin, processor = time.monotonic(), time.process_time()
    report = mc.certify(network, domain, time_limit_s=LIMIT_S, data=images[:IMAGES])
    seconds, processor = time.monotonic() - begin, time.process_time() - processor
    exact = mc.compress(network, report)
    within = mc.compress(network, report, tolerance=TOLERANCE)
    before, after = (float((net.forward(images).argmax(axis=1) == labels).mean()) for net in (network, within.network))
    widths = [sum(r.network.width(node.name) for node in r.network.rectifiers) for r in (exact, within)]
    return Point(
        l1, before, len(report.verdicts), **report.counts(), seconds=seconds, cpu_seconds=processor,
        exactly=widths[0], within=widths[1], accuracy_within=after, deviation_bound=within.deviation_bound,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Train and measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--runs", type=Path, default=cache() / "runs", help="folder of trained networks")
    parser.add_argument("--out", type=Path, default=RESULTS / "l1_sweep.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as for the grid: sums are then taken in one order, whatever the machine
    arrays = [array for split in ("train", "t10k") for array in load_images(options.data, split)]
    data = grid_runs.Data(*(torch.from_numpy(array) for array in arrays))
    images, labels = arrays[2].astype(np.float64), arrays[3]
    found = list(rows.read(Point, options.out)) if options.out.exists() else []
    for l1 in order():
        if any(abs(point.l1 - l1) < STEP / 2 for point in found):
            continue
        torch.set_flush_denormal(True)  # velocities of dead neurons decay into denormals, which are slow
        card = grid_runs.run(SHAPE, Recipe(SIZES, l1=l1, schedule=SHORT), data, options.runs)
        torch.set_flush_denormal(False)  # proofs count on the arithmetic of the standard
        own = measure(options.runs / card["file"], l1, images, labels)
        found = sorted([*found, own], key=lambda point: point.l1)
        rows.write(found, Point, options.out)
        print(own, flush=True)


if __name__ == "__main__":
    main()
