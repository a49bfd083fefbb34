"""What is seen when networks run: predictions, changes of the outputs, images per second. None of it proves anything.

    before   the network as it was read
    masked   the same with small slopes set to zero
    reduced  what is left of `masked` without its dead channels

Setting slopes to zero changes the function; by how much is measured in float64. Removing what is zero does not, so
`masked` and `reduced` differ by float32 rounding only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from milpcomp.errors import SettingsError
from milpcomp.network.graph import Network
from milpcomp.network.layers import FloatArray

BATCH = 32
"""Images in a batch where many are evaluated: about what caches hold."""

FLOAT64_IMAGES = 1000
"""The change of the outputs is measured in float64 on at most so many images, the first ones."""

ROUNDS = 15
"""How often each network is timed."""

Images = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """What was seen on images.

    Parameters
    ----------
    images : int
        How many.
    accuracy_before, accuracy_after : float or None
        Share of right predictions of the network as read and of the reduced one (float32); None without labels.
    changed : int
        How many predictions the two do not share.
    change_images : int
        On how many images the change of the outputs was measured, in float64.
    largest_change, mean_change : float
        Greatest and mean absolute difference of the outputs of the masked network from those as read.
    rounding : float
        Greatest difference of the outputs of the masked and the reduced network, both in float32.
    rounding_changed : int
        How many predictions these two do not share.
    """

    images: int
    accuracy_before: float | None
    accuracy_after: float | None
    changed: int
    change_images: int
    largest_change: float
    mean_change: float
    rounding: float
    rounding_changed: int


@dataclass(frozen=True)
class Speed:
    """Images per second of two networks on this machine, float32, timed in turns.

    Parameters
    ----------
    batch, rounds, threads : int
        Images at a time, how often each was timed, and the threads of torch.
    before, after : float
        Images per second, from the median time.
    """

    batch: int
    rounds: int
    threads: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """How many times faster the second is."""
        return self.after / self.before


def measure(before: Network, masked: Network, reduced: Network, images: Images, labels: Labels | None) -> Measured:
    """Run the three networks on images.

    Parameters
    ----------
    before, masked, reduced : Network
        See the module.
    images : ndarray, shape (N, *input_shape)
    labels : ndarray of int, shape (N,), optional
    """
    same = masked.digest == before.digest
    behind = outputs(masked, images)
    first = behind if same else outputs(before, images)
    last = outputs(reduced, images)
    some = images[:FLOAT64_IMAGES]
    change = np.zeros(1) if same else np.abs(outputs(masked, some, "float64") - outputs(before, some, "float64"))
    predicted = [predictions(values) for values in (first, behind, last)]
    right = [None if labels is None else float(np.mean(own == labels)) for own in predicted]
    return Measured(
        images=len(images),
        accuracy_before=right[0],
        accuracy_after=right[2],
        changed=int((predicted[0] != predicted[2]).sum()),
        change_images=len(some),
        largest_change=float(change.max(initial=0.0)),
        mean_change=float(change.mean()) if change.size else 0.0,
        rounding=float(np.abs(behind - last).max(initial=0.0)),
        rounding_changed=int((predicted[1] != predicted[2]).sum()),
    )


def outputs(network: Network, images: Images, dtype: str = "float32") -> FloatArray:
    """Return the outputs of a network for images (N, *input_shape), computed by torch in `dtype`, as float64."""
    import torch

    kind = getattr(torch, dtype)
    module = network.to_torch(kind).eval()
    found = [np.zeros((0, *network.output_shape))]
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.as_tensor(np.ascontiguousarray(images[start : start + BATCH]), dtype=kind)
            found.append(module(batch).double().numpy())
    return np.concatenate(found)


def predictions(values: FloatArray) -> Labels:
    """Return the class that each row of outputs predicts: of several, the one with the greatest; of one, its sign."""
    flat = values.reshape(len(values), -1)
    return flat.argmax(axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0).astype(np.int64)


def accuracy(network: Network, images: Images, labels: Labels) -> float:
    """Return the share of images that `network` classifies as labelled, in float32."""
    return float(np.mean(predictions(outputs(network, images)) == labels))


def speed(before: Network, after: Network, batch: int = BATCH, rounds: int = ROUNDS) -> Speed:
    """Time two networks in turns on random images and return images per second, from the median of the rounds."""
    import torch

    modules = [network.to_torch().eval() for network in (before, after)]
    images = torch.randn(batch, *before.input_shape, generator=torch.Generator().manual_seed(0))
    seconds: list[list[float]] = [[], []]
    with torch.inference_mode():
        for module in modules:
            module(images)  # the first run sets things up
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                modules[which](images)
                seconds[which].append(time.perf_counter() - start)
    first, second = (batch / float(np.median(own)) for own in seconds)
    return Speed(batch, rounds, torch.get_num_threads(), first, second)


def check_images(network: Network, images: ArrayLike, labels: ArrayLike | None) -> tuple[Images, Labels | None]:
    """Return images and labels as arrays that fit `network` and each other.

    Raises
    ------
    SettingsError
        If they do not.
    """
    given = np.asarray(images)
    given = given if np.issubdtype(given.dtype, np.floating) else given.astype(np.float64)
    if given.shape[1:] != network.input_shape or given.ndim == 0 or not len(given) or not np.isfinite(given).all():
        raise SettingsError(f"images must be finite, of shape (N, *{network.input_shape}), got shape {given.shape}")
    if labels is None:
        return given, None
    known = np.asarray(labels)
    if known.shape != given.shape[:1] or not np.issubdtype(known.dtype, np.integer):
        raise SettingsError(f"labels must be {len(given)} whole numbers, one per image, got shape {known.shape}")
    return given, known.astype(np.int64)
