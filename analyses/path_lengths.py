"""Figs 6 (2022) and 7 (2024): how long the filter paths are, ReLU against rotated ReLU, and how fast that is counted.

    WRN-40-4, published counts   the lists that the authors counted (`published/wrn-40-4_counts.json`), two a block, and
                                 with the slip of their script (preset rrelu-2022), which gave the printed figure
    ResNet-20                    akamaster's with ReLU, and the authors' with rotated ReLU, slopes up to 0.1 silent
    WRN-40-4, ResNet-110, -164   full networks, read from models/: every filter active

The distributions are exact: paths are counted by integers, not drawn. Seconds are those of the distribution, without
reading the network; beside them are those of finding out which filters are active.

Of the two ResNet-20 also the gradient that paths of each length carry (Veit et al., arXiv 1605.06431), on CIFAR-10 test
images. It is estimated from paths drawn at random, and its tails are heavy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import networkx as nx

import milpcomp as mc
from analyses.rrelu_costs import read
from analyses.tables import Table
from milpcomp.channels.images import read_images
from milpcomp.network import Network
from milpcomp.paths import Distribution, Flow, filter_graph, gradient_flow, path_lengths, read_counts, seed_graph
from milpcomp.report.paths import paths_text
from models.resnet import MEAN, STD

COUNTS = Path(__file__).with_name("published") / "wrn-40-4_counts.json"
FULL = ("WRN-40-4", "ResNet-110", "ResNet-164-pre")
TRAINED = {
    "ResNet-20, ReLU": ("akamaster/resnet20-12fca82f.th", "models.resnet:resnet20"),
    "ResNet-20, RReLU": ("rrelu2024/resnet20_rrelu_cifar10.th", "models.resnet:rotated_resnet20"),
}
THRESHOLD = 0.1
SHAPE = (3, 32, 32)
IMAGES, BINS, DRAWS = 50, 12, 40
"""Of the gradient by length: images, bins of lengths, and paths drawn for each."""


def measure(graph: nx.DiGraph) -> tuple[Distribution, float]:
    """Return the distribution of a graph and the seconds that it took."""
    start = time.perf_counter()
    return path_lengths(graph), time.perf_counter() - start


def graphs(nets: Path, full: bool) -> dict[str, tuple[nx.DiGraph, float]]:
    """Return graphs, and the seconds that finding active filters took (0 where they are given)."""
    found: dict[str, tuple[nx.DiGraph, float]] = {}
    for name, counts in read_counts(COUNTS).items():
        found[f"WRN-40-4, {name}"] = seed_graph(counts), 0.0
        found[f"WRN-40-4, {name}, as printed"] = seed_graph(counts, "rrelu-2022"), 0.0
    for name, (file, architecture) in TRAINED.items():
        network = mc.load(nets / file, architecture=architecture, input_shape=SHAPE)
        found[name] = _timed(network, THRESHOLD)
    for name in FULL if full else ():
        found[f"{name}, full"] = _timed(read(name))
    return found


def _timed(network: Network, threshold: float = 0.0) -> tuple[nx.DiGraph, float]:
    start = time.perf_counter()
    return filter_graph(network, threshold), time.perf_counter() - start


def table(found: Mapping[str, tuple[Distribution, float, float]]) -> Table:
    """Return one row for each distribution, with the seconds of its graph and its own."""
    rows = [
        (
            name,
            paths_text(own.paths),
            f"{own.mean:.1f}",
            f"{own.sd:.1f}",
            str(own.quantile(0.05)),
            str(own.quantile(0.95)),
            str(own.maximum),
            f"{before:.2f}" if before else "",
            f"{seconds:.4f}",
        )
        for name, (own, before, seconds) in found.items()
    ]
    columns = ("network", "paths", "mean", "sd", "5 %", "95 %", "longest", "seconds for the filters", "seconds")
    caption = (
        "Filter-path lengths: exact distributions over all paths; the skip is free, the weighted branch costs its "
        f"active filters. ResNet-20: slopes of at most {THRESHOLD} in magnitude are silent."
    )
    return Table(caption, columns, tuple(rows))


def flows(data: Path) -> dict[str, Flow]:
    """Return the gradient by path length of both ResNet-20, on the first test images."""
    images, labels = read_images(data / "cifar10" / "test.npz", SHAPE, MEAN, STD)
    assert labels is not None
    found = {}
    for name, (file, architecture) in TRAINED.items():
        network = mc.load(data / "nets" / file, architecture=architecture, input_shape=SHAPE)
        graph = filter_graph(network, THRESHOLD)
        found[name] = gradient_flow(network, graph, images[:IMAGES], labels[:IMAGES], bins=BINS, draws=DRAWS)
    return found


def flow_table(found: Mapping[str, Flow]) -> Table:
    """Return one row for each bin of lengths and each network."""
    rows = []
    for name, flow in found.items():
        total = sum(flow.paths)
        for i, paths in enumerate(flow.paths):
            low, high = flow.edges[i : i + 2]
            cells = (
                f"{100 * paths / total:.2f}",
                f"{100 * flow.share[i]:.2f}",
                f"{flow.norm[i]:.3g}",
                str(flow.drawn[i]),
            )
            rows.append((name, f"{low:.0f} to {high:.0f}", *cells))
    caption = (
        f"What paths of each length carry of the gradient of the loss, on {IMAGES} images: shares in %, and the mean "
        "norm along one path."
    )
    return Table(caption, ("network", "length", "share of paths", "share of gradient", "norm", "drawn"), tuple(rows))
