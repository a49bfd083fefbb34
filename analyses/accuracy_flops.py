"""Accuracy against FLOPs, as small slopes or batch-norm scales are set to zero: Figure 6 of the 2024 seminar.

    python -m analyses.accuracy_flops L1BN RUN/model.safetensors --data ../shared/data --out results/accuracy_flops.csv

    slopes      |b| <= threshold            set b to 0
    scales      |gamma| <= threshold        set gamma and beta to 0 (network slimming, Liu et al., ICCV 2017)

Then everything goes that is zero or unread (`milpcomp.remove_channels`), and the FLOPs are those of what is left; the
accuracy is that of the same network, on CIFAR-10 test images. A threshold below which nothing more falls than below the
one before is left out. For networks whose weights are not kept in the checkout the command above was run once each; its
lines are added to the file, with the accuracy on the first 1,000 images and on all.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

import milpcomp as mc
from milpcomp.channels import remove_channels, silenced
from milpcomp.channels.images import read_images
from milpcomp.channels.measure import outputs, predictions
from milpcomp.cost import cost
from milpcomp.files import replacing
from milpcomp.network import Network
from milpcomp.network.checkpoint_file import read_tensors
from models import resnet

SHAPE = (3, 32, 32)
THRESHOLDS = (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4)
LEAST_ACCURACY = 0.2
"""A curve ends at the first accuracy below."""

IMAGES = 1000
"""Of the test set, the first ones: what is measured in minutes."""

RUNS = {
    "L1RReLU": ("models.resnet:rotated_resnet20", "short-type2-subgradient"),
    "L1BN": ("models.resnet:resnet20", "short-l1bn"),
}
"""The networks whose weights are not kept: architecture and recipe."""


@dataclass(frozen=True)
class Point:
    """What one threshold does to one network.

    Parameters
    ----------
    network : str
    threshold : float
    removed, channels : int
        Slopes or scales of at most the threshold, and in all.
    flops, parameters : int
        Of what is left.
    images : int
    accuracy : float
        In per cent, on the first `images` images of the test set.
    """

    network: str
    threshold: float
    removed: int
    channels: int
    flops: int
    parameters: int
    images: int
    accuracy: float


Cut = Callable[[float], tuple[Network, int, int]]
"""From a threshold to the network with the small ones at zero, how many those are, and of how many."""


def cut_slopes(network: Network) -> Cut:
    """Return the cut of a network with rotated ReLU by its slopes."""
    slopes = np.abs(np.concatenate(list(mc.channels.channel_slopes(network).values())))
    return lambda threshold: (silenced(network, threshold), int((slopes <= threshold).sum()), len(slopes))


def cut_scales(checkpoint: Path) -> Cut:
    """Return the cut of ResNet-20 with ReLU by its batch-norm scales."""
    tensors = read_tensors(checkpoint)
    norms = [name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")]

    def cut(threshold: float) -> tuple[Network, int, int]:
        model, state = resnet.resnet20(), dict(tensors)
        small = {norm: state[f"{norm}.weight"].abs() <= threshold for norm in norms}
        for norm, mask in small.items():
            for end in ("weight", "bias"):
                state[f"{norm}.{end}"] = torch.where(mask, 0.0, state[f"{norm}.{end}"])
        model.load_state_dict(state)
        network = mc.load(model.eval(), input_shape=SHAPE)
        return network, sum(int(mask.sum()) for mask in small.values()), sum(map(len, small.values()))

    return cut


def curve(
    name: str, cut: Cut, images: np.ndarray, labels: np.ndarray, counts: Sequence[int], log: Callable[[str], None]
) -> Iterator[Point]:
    """Yield the points of one network, one for each threshold and number of images."""
    before = -1
    for threshold in THRESHOLDS:
        network, removed, channels = cut(threshold)
        if removed == before:
            continue
        log(f"{name}, threshold {threshold:g}")
        before = removed
        left = cost(remove_channels(network).network)
        right = predictions(outputs(network, images[: max(counts)])) == labels[: max(counts)]
        for count in counts:
            share = 100 * float(right[:count].mean())
            yield Point(name, threshold, removed, channels, left.flops, left.parameters, count, round(share, 2))
        if right.mean() < LEAST_ACCURACY:
            return


def test_images(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the CIFAR-10 test set, normalised."""
    images, labels = read_images(data, SHAPE, resnet.MEAN, resnet.STD)
    assert labels is not None
    return images, labels


def read_points(path: Path) -> list[Point]:
    """Return the points in a file."""
    kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)] for field in fields(Point)}
    with path.open(newline="", encoding="utf-8") as file:
        return [Point(**{key: kinds[key](value) for key, value in line.items()}) for line in csv.DictReader(file)]


def write_points(points: Sequence[Point], path: Path) -> None:
    """Write points, one a line."""
    rows = [",".join(str(value) for value in asdict(point).values()) for point in points]
    with replacing(path) as stream:
        stream.write(("\n".join([",".join(field.name for field in fields(Point)), *rows]) + "\n").encode())


def main(arguments: list[str] | None = None) -> None:
    """Measure one network, and put its lines into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10/")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    images, labels = test_images(chosen.data / "cifar10" / "test.npz")
    if chosen.name == "L1BN":
        cut = cut_scales(chosen.checkpoint)
    else:
        cut = cut_slopes(mc.load(chosen.checkpoint, architecture=RUNS[chosen.name][0], input_shape=SHAPE))
    kept = read_points(chosen.out) if chosen.out.exists() else []
    counts = (IMAGES, len(images))
    found = list(curve(chosen.name, cut, images, labels, counts, lambda text: print(text, flush=True)))
    write_points([*(point for point in kept if point.network != chosen.name), *found], chosen.out)


if __name__ == "__main__":
    main()
