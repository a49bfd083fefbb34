"""Images and labels from files, as a network takes them: (N, channels, height, width), scaled and normalised.

    .npy   images                       .npz   images (or x, data, inputs) and, if there are any, labels (or y, targets)

Whole numbers are pixels from 0 to 255 and are divided by 255; other numbers stay. Then (x - mean) / std per channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import SettingsError
from milpcomp.files import PathLike, read_arrays
from milpcomp.network.layers import Shape

IMAGES, LABELS = ("images", "x", "data", "inputs"), ("labels", "y", "targets")
"""Names of arrays, the first one found counts."""


def read_images(
    path: PathLike, shape: Shape, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Return images of sample shape `shape`, and their labels if the file holds any.

    Parameters
    ----------
    path : path
        See the module.
    shape : tuple of int
        Images whose channels come last, or that are flat where `shape` is not (or the reverse), are rearranged.
    mean, std : sequence of float, optional
        One number per channel, or one for all.

    Raises
    ------
    SettingsError
        If the file holds no such images, or `mean` or `std` do not fit them.
    """
    images, labels = _arrays(path)
    pixels = np.issubdtype(images.dtype, np.integer)
    arranged = _arranged(images, shape, path).astype(np.float32)
    if pixels:
        arranged /= 255
    for numbers, name in ((mean, "mean"), (std, "std")):
        if numbers is not None and (len(numbers) not in (1, shape[0]) or not np.isfinite(numbers).all()):
            raise SettingsError(f"{name} needs one number, or one for each of the {shape[0]} channels, got {numbers}")
    if std is not None and min(std) <= 0:
        raise SettingsError(f"std needs positive numbers, got {std}")
    wide = (-1, *(1 for _ in shape[1:]))
    arranged -= np.reshape(np.asarray(mean or [0.0], dtype=np.float32), wide)
    arranged /= np.reshape(np.asarray(std or [1.0], dtype=np.float32), wide)
    return arranged, labels


def _arrays(path: PathLike) -> tuple[NDArray[np.generic], NDArray[np.int64] | None]:
    if str(path).endswith(".npy"):
        try:
            return np.asarray(np.load(path, allow_pickle=False)), None
        except (OSError, ValueError, EOFError) as error:
            raise SettingsError(f"{path} is no .npy file of numbers: {error}") from error
    arrays = read_arrays(path, SettingsError)
    found = [next((arrays[name] for name in names if name in arrays), None) for names in (IMAGES, LABELS)]
    if found[0] is None or not np.issubdtype(found[0].dtype, np.number):
        raise SettingsError(f"{path} holds {sorted(arrays)}; images must be called one of {', '.join(IMAGES)}")
    if np.iscomplexobj(found[0]):
        raise SettingsError(f"{path} holds complex images; only real numbers can be read")
    return found[0], None if found[1] is None else _classes(found[1], path)


def _classes(labels: NDArray[np.generic], path: PathLike) -> NDArray[np.int64]:
    found = labels.reshape(-1)
    numbers = found.astype(np.float64) if found.dtype.kind in "iuf" else np.array([np.nan])
    if not np.array_equal(numbers, np.round(numbers)):  # NaN is equal to nothing
        raise SettingsError(f"{path} holds labels of type {labels.dtype}; they must be whole numbers, those of classes")
    return found.astype(np.int64)


def _arranged(images: NDArray[np.generic], shape: Shape, path: PathLike) -> NDArray[np.generic]:
    own = images.shape[1:]
    if own == shape:
        return images
    if len(shape) == 3 and own == (*shape[1:], shape[0]):
        return np.ascontiguousarray(np.moveaxis(images, -1, 1))
    if images.ndim and np.prod(own) == np.prod(shape) and (len(own) == 1 or len(shape) == 1 or 1 in (own + shape)):
        return images.reshape(len(images), *shape)
    raise SettingsError(f"{path} holds images of shape {own}, but the network takes {shape}")
