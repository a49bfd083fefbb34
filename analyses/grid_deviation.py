"""How many neurons go if the outputs may move a little, by a proved bound, beside those that go exactly.

    python -m analyses.grid_deviation --data FOLDER_WITH_MNIST      -> analyses/results/grid_deviation.csv

l1 by subgradient steps leaves rows that should be zero at 1e-8 to 1e-5. In exact arithmetic their neurons are unstable,
so exact compression keeps them; the published figures come from solvers, whose tolerances are larger. With
``compress(tolerance=eps)`` such neurons are replaced by constants as long as the proved change of every output, over
all of [0, 1]^784, stays at most eps in all. That is another function, by so much and no more: reported apart. Accuracy
(loss) before and after is measured on the test images, every compression is checked. Networks that are in the table
already are not measured again: delete it to begin anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import milpcomp as mc
from analyses import rows
from analyses.grid_results import GRID, RESULTS
from models.data import load_images

TOLERANCES = (1e-4, 1e-3, 1e-2)
LIMIT_S = 60.0


@dataclass(frozen=True)
class Compressed:
    """A network of the grid, compressed with a tolerance.

    Parameters
    ----------
    network : str
    tolerance : float
        What outputs may change by.
    neurons, neurons_after : int
    deviation_bound : float
        The proved bound on what they do.
    before, after : float
        Test accuracy of classifiers, test loss of autoencoders, measured in float64.
    accepted : int
        1 if the checker accepts the compression, else 0.
    """

    network: str
    tolerance: float
    neurons: int
    neurons_after: int
    deviation_bound: float
    before: float
    after: float
    accepted: int

    @property
    def removed(self) -> float:
        """Share of the neurons that compression removed."""
        return 1 - self.neurons_after / self.neurons


def measure(weights: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[Compressed]:
    """Yield the compressions of one network, by growing tolerance."""
    network, domain = mc.load(weights), mc.Box(0.0, 1.0)
    report = mc.certify(network, domain, time_limit_s=LIMIT_S)
    before = score(network, images, labels)
    for tolerance in TOLERANCES:
        smaller = mc.compress(network, report, tolerance=tolerance)
        accepted = mc.check_compression(network, smaller, domain, report).accepted
        after = sum(smaller.network.width(node.name) for node in smaller.network.rectifiers)
        bound, reached = smaller.deviation_bound, score(smaller.network, images, labels)
        yield Compressed(weights.stem, tolerance, len(report.verdicts), after, bound, before, reached, int(accepted))


def score(network: mc.Network, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy of a classifier, the mean squared error of an autoencoder."""
    outputs = network.forward(images)
    if outputs.shape == images.shape:
        return float(((outputs - images) ** 2).mean())
    return float((outputs.argmax(axis=1) == labels).mean())


def main(arguments: list[str] | None = None) -> None:
    """Measure all networks in the folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", type=Path, nargs="+", default=[], help="folders of weights, beside models/grid")
    parser.add_argument("--data", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--out", type=Path, default=RESULTS / "grid_deviation.csv")
    options = parser.parse_args(arguments)
    pixels, labels = load_images(options.data, "t10k")
    images = pixels.astype(np.float64)
    found = list(rows.read(Compressed, options.out)) if options.out.exists() else []
    known = {row.network for row in found}
    weights = {path.stem: path for folder in (*options.networks, GRID) for path in folder.glob("*.safetensors")}
    for name, path in sorted(weights.items()):
        if name in known:
            continue
        own = list(measure(path, images, labels))
        found = sorted([*found, *own], key=lambda row: (row.network, row.tolerance))
        rows.write(found, Compressed, options.out)
        print(name, *(f"{row.tolerance:g}: {100 * row.removed:.1f} %" for row in own), flush=True)


if __name__ == "__main__":
    main()
