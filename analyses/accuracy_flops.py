"""Accuracy against FLOPs, as small slopes or batch-norm scales are set to zero: Figure 6 of the 2024 seminar.

    python -m analyses.accuracy_flops L1BN RUN/model.safetensors --data ../shared/data --out accuracy_flops.csv

    slopes                  |b| <= threshold        set b to 0
    scales                  |gamma| <= threshold    set gamma and beta to 0 (network slimming, Liu et al., ICCV 2017)
    scales, shifts kept     |gamma| <= threshold    set gamma to 0; a channel is then the constant beta, which is
                                                    folded into the next biases where it can be

Then everything goes that is zero or unread, as in `milpcomp.remove_channels`. The FLOPs are those of what is left, the
accuracy is that of the same network on CIFAR-10 test images; nothing is retrained. A threshold at which no more falls
than at the one before is left out. For networks whose weights are not kept in the checkout the command above was run
once each; its lines are added to the file, with the accuracy on the first 1,000 images and on all.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch

import milpcomp as mc
from analyses.tables import Table, as_csv
from milpcomp.channels import channel_slopes, remove_channels, silenced
from milpcomp.channels.images import read_images
from milpcomp.channels.measure import outputs, predictions
from milpcomp.compression.shrink import shrink
from milpcomp.cost import cost
from milpcomp.files import replacing
from milpcomp.network import Network
from milpcomp.network.checkpoint_file import read_tensors
from models import resnet

SHAPE = (3, 32, 32)
THRESHOLDS = (0.0, 1e-6, 0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4)
LEAST_ACCURACY = 0.2
"""A curve ends at the first accuracy below."""

IMAGES = 1000
"""Of the test set, the first ones: what is measured in minutes."""

KEPT_SHIFTS = "L1BN, shifts kept"
RUNS = {"L1RReLU": "short-type2-subgradient", "L1BN": "short-l1bn", KEPT_SHIFTS: "short-l1bn"}
"""The curves of networks whose weights are not kept, and their recipes."""


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


@dataclass(frozen=True)
class Cut:
    """A network with what is small at zero, what is left of it, and how many channels were small, of how many."""

    network: Network
    smaller: Network
    removed: int
    channels: int


def cut_slopes(network: Network, threshold: float) -> Cut:
    """Cut a network with rotated ReLU by its slopes."""
    slopes = np.abs(np.concatenate(list(channel_slopes(network).values())))
    masked = silenced(network, threshold)
    return Cut(masked, shrink(masked).network, int((slopes <= threshold).sum()), len(slopes))


def cut_scales(tensors: Mapping[str, torch.Tensor], keep_shifts: bool, threshold: float) -> Cut:
    """Cut ResNet-20 with ReLU by its batch-norm scales."""
    state, sizes = dict(tensors), []
    for norm in [name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")]:
        sizes.append(state[f"{norm}.weight"].abs())
        for end in ("weight",) if keep_shifts else ("weight", "bias"):
            state[f"{norm}.{end}"] = torch.where(sizes[-1] <= threshold, 0.0, state[f"{norm}.{end}"])
    model = resnet.resnet20()
    model.load_state_dict(state)
    network, every = mc.load(model.eval(), input_shape=SHAPE), torch.cat(sizes)
    smaller = remove_channels(network).network if keep_shifts else shrink(network).network
    return Cut(network, smaller, int((every <= threshold).sum()), len(every))


def curve(
    name: str,
    cut: Callable[[float], Cut],
    images: np.ndarray,
    labels: np.ndarray,
    counts: Sequence[int],
    log: Callable[[str], None],
) -> Iterator[Point]:
    """Yield the points of one network, one for each threshold and number of images."""
    before = -1
    for threshold in THRESHOLDS:
        found = cut(threshold)
        if found.removed == before:
            continue
        log(f"{name}, threshold {threshold:g}")
        before = found.removed
        left = cost(found.smaller)
        right = predictions(outputs(found.network, images[: max(counts)])) == labels[: max(counts)]
        for count in counts:
            share = 100 * float(right[:count].mean())
            yield Point(
                name, threshold, found.removed, found.channels, left.flops, left.parameters, count, round(share, 2)
            )
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
    rows = tuple(tuple(str(value) for value in astuple(point)) for point in points)
    with replacing(path) as stream:
        stream.write(as_csv(Table("", tuple(field.name for field in fields(Point)), rows)).encode())


def main(arguments: list[str] | None = None) -> None:
    """Measure one network, and put its lines into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10/")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    images, labels = test_images(chosen.data / "cifar10" / "test.npz")
    cut: Callable[[float], Cut]
    if chosen.name == "L1RReLU":
        rotated = mc.load(chosen.checkpoint, architecture="models.resnet:rotated_resnet20", input_shape=SHAPE)
        cut = partial(cut_slopes, rotated)
    else:
        cut = partial(cut_scales, read_tensors(chosen.checkpoint), chosen.name == KEPT_SHIFTS)
    kept = read_points(chosen.out) if chosen.out.exists() else []
    counts = (IMAGES, len(images))
    found = list(curve(chosen.name, cut, images, labels, counts, lambda text: print(text, flush=True)))
    write_points([*(point for point in kept if point.network != chosen.name), *found], chosen.out)


if __name__ == "__main__":
    main()
