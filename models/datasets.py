"""Every data set behind one interface: labels, and batches of normalised images.

    x = (pixels / 255 - mean) / std

| name       | images         | training batches      |
|------------|----------------|-----------------------|
| mnist      | (784,)         | as they are           |
| cifar10    | (3, 32, 32)    | shifted and mirrored  |
| cifar100   | (3, 32, 32)    | shifted and mirrored  |
| svhn       | (3, 32, 32)    | shifted               |
| imagenet   | (3, 224, 224)  | random part, mirrored |

Shifted: a random 32 x 32 part of the image with a black border of 4. Mean and deviation are those of ImageNet, by which
the published networks for CIFAR-10 are normalised; MNIST has mean 0 and deviation 1, so its inputs lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from milpcomp.errors import SettingsError
from models.cifar import CIFAR10, CIFAR100, read_cifar
from models.data import read_mnist
from models.imagenet import FolderImages
from models.resnet import MEAN, STD
from models.svhn import read_svhn

CLASSES = {"mnist": 10, "cifar10": 10, "cifar100": 100, "svhn": 10, "imagenet": 1000}
"""The data sets by name, and how many classes each has."""

BORDER = 4

CPU = torch.device("cpu")


class Source(Protocol):
    """Images as bytes, and their classes."""

    @property
    def labels(self) -> Tensor:
        """Classes, int64, (N,)."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    def pixels(self, chosen: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return images as uint8, changed at random if a generator is given."""


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """Images that fit into memory.

    Parameters
    ----------
    images : uint8 tensor of shape (N, inputs) or (N, C, H, W)
    labels : int64 tensor of shape (N,)
    classes : int
    shifted, mirrored : bool
        What `pixels` does to training images.
    """

    images: Tensor
    labels: Tensor
    classes: int
    shifted: bool = False
    mirrored: bool = False

    def pixels(self, chosen: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the chosen images; with a generator, shifted and mirrored at random where this data set is."""
        images = self.images[chosen.to(self.images.device)]
        if generator is not None and self.shifted:
            images = shift(images, torch.randint(2 * BORDER + 1, (2, len(images)), generator=generator))
        if generator is not None and self.mirrored:
            mirror = torch.rand(len(images), generator=generator) < 0.5
            images = torch.where(mirror.to(images.device)[:, None, None, None], images.flip(3), images)
        return images


@dataclass(frozen=True, eq=False)
class Samples:
    """One split of a data set.

    Parameters
    ----------
    name : str
    source : Source
    mean, std : tuple of float
        Per channel.
    device : torch.device
        Where batches are wanted.
    """

    name: str
    source: Source
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device = CPU

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source.labels)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.source.classes

    def batch(self, chosen: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return normalised images and their labels.

        Parameters
        ----------
        chosen : int64 tensor of shape (B,)
        generator : torch.Generator, optional
            For training: images are changed at random.

        Returns
        -------
        images : float32 tensor of shape (B, ...)
        labels : int64 tensor of shape (B,)
        """
        x = self.source.pixels(chosen, generator).to(self.device).float().div_(255)
        if any(self.mean) or set(self.std) != {1.0}:
            x = x.sub_(self._spread(self.mean, x)).div_(self._spread(self.std, x))
        return x, self.source.labels[chosen.to(self.source.labels.device)].to(self.device)

    def to(self, device: torch.device) -> Samples:
        """Return the same samples with batches, and images that fit into memory, on `device`."""
        source = self.source
        if isinstance(source, MemoryImages):
            source = replace(source, images=source.images.to(device), labels=source.labels.to(device))
        return replace(self, source=source, device=device)

    def _spread(self, values: tuple[float, ...], x: Tensor) -> Tensor:
        return torch.tensor(values, device=x.device).view(1, -1, *(1 for _ in x.shape[2:]))


def shift(images: Tensor, corners: Tensor) -> Tensor:
    """Cut every image out of itself with a black border.

    Parameters
    ----------
    images : uint8 tensor of shape (N, C, H, W)
    corners : int64 tensor of shape (2, N), values 0 .. 8
        First row and first column of the part; 4 leaves an image as it is.

    Returns
    -------
    uint8 tensor of shape (N, C, H, W)
    """
    count, _, height, width = images.shape
    corners = corners.to(images.device)
    rows = corners[0][:, None] + torch.arange(height, device=images.device)  # (N, H)
    columns = corners[1][:, None] + torch.arange(width, device=images.device)  # (N, W)
    padded = F.pad(images, (BORDER,) * 4)
    every = torch.arange(count, device=images.device)
    parts = padded.permute(0, 2, 3, 1)[every[:, None, None], rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return parts.permute(0, 3, 1, 2).contiguous()


def load_samples(name: str, folder: Path, split: str) -> Samples:
    """Load one split of a data set.

    Parameters
    ----------
    name : str
        One of `CLASSES`.
    folder : Path
        Where its files lie.
    split : {"train", "test"}

    Returns
    -------
    Samples

    Raises
    ------
    SettingsError
        If there is no data set of that name.
    FileNotFoundError
        If files are missing; the message says what belongs where.
    ValueError
        If a file is not what its name says.
    """
    require_known(name)
    if name == "mnist":
        return Samples(name, _in_memory(*read_mnist(folder, split), 10), (0.0,), (1.0,))
    if name == "imagenet":
        return Samples(name, FolderImages(folder, split), MEAN, STD)
    if name == "svhn":
        return Samples(name, replace(_in_memory(*read_svhn(folder, split), 10), shifted=True), MEAN, STD)
    layout = CIFAR10 if name == "cifar10" else CIFAR100
    source = _in_memory(*read_cifar(layout, folder, split), layout.classes)
    return Samples(name, replace(source, shifted=True, mirrored=True), MEAN, STD)


def require_known(name: str) -> None:
    """Raise `SettingsError` if there is no data set of that name."""
    if name not in CLASSES:
        raise SettingsError(f"data set {name!r} is not known; choose one of {', '.join(CLASSES)}")


def _in_memory(images: np.ndarray, labels: np.ndarray, classes: int) -> MemoryImages:
    return MemoryImages(torch.tensor(images), torch.tensor(labels), classes)
