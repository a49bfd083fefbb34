"""The networks that pages show: where they lie, and, where only numbers of theirs are kept, what trained them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import milpcomp as mc
from analyses.book.entry import ANALYSES, Context
from milpcomp.network import Network

AUTHORS = "nets/rrelu2024/resnet20_rrelu_cifar10.th"
RELU20 = "nets/akamaster/resnet20-12fca82f.th"
RELU56 = "nets/akamaster/resnet56-4bfd9763.th"
"""In the shared data: the authors' ResNet-20 with rotated ReLU, and published networks with ReLU."""

TYPE2 = ANALYSES.parent / "models" / "checkpoints" / "cifar10-resnet20-type2-proximal.safetensors"
"""Shipped: rotated, from `RELU20` by type II, proximal l1."""

SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Kept:
    """A network of which slopes and scales are kept (`analyses.values`), but not the weights.

    Parameters
    ----------
    file : str
        In the folder of results.
    recipe, start : str
        What trained it, and from which file of the shared data; empty if from scratch.
    """

    file: str
    recipe: str
    start: str

    @property
    def command(self) -> str:
        """What trains it and keeps its numbers."""
        start = f" --start ../shared/data/{self.start}" if self.start else ""
        train = f"python -m models.train {self.recipe} --data FOLDER{start} --out RUN"
        return f"{train} && python -m analyses.values RUN/model.safetensors --out analyses/results/{self.file}"

    def path(self, context: Context) -> Path:
        """Return its file."""
        return context.earlier(self.file, self.command)


L1BN = Kept("cifar10-resnet20-l1bn_values.csv", "short-l1bn", RELU20)
L1RRELU = Kept("cifar10-resnet20-type2-subgradient_values.csv", "short-type2-subgradient", RELU20)
COARSE = Kept("cifar10-resnet20-coarse_values.csv", "short-coarse", "")


def resnet20(path: Path, rotated: bool) -> Network:
    """Return a ResNet-20."""
    architecture = "models.resnet:rotated_resnet20" if rotated else "models.resnet:resnet20"
    return mc.load(path, architecture=architecture, input_shape=SHAPE)
