"""Image data sets in the IDX format of MNIST, read from a folder that the user names.

An IDX file is a big-endian header (two zero bytes, a type code, the number of dimensions, the dimensions) and the
values. The four files of a data set are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, gzipped or not.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 8


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes.

    Parameters
    ----------
    path : Path
        The file; a name that ends in ``.gz`` is decompressed.

    Returns
    -------
    uint8 array of the shape in the header

    Raises
    ------
    ValueError
        If the file is not an IDX file of unsigned bytes, or shorter or longer than its header says.
    """
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(raw) < 4 or raw[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes; it starts with {raw[:4].hex(' ')}")
    rank = raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw, dtype=">u4", count=rank, offset=4))
    values = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} announces shape {shape} but holds {values.size} values; fetch it again")
    return values.reshape(shape)


def load_images(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load one split of an MNIST-like data set.

    Parameters
    ----------
    folder : Path
        The folder that holds the four IDX files.
    split : str
        ``"train"`` or ``"t10k"``, the prefix of the file names.

    Returns
    -------
    images : float32 array of shape (N, height * width), values in [0, 1]
    labels : int64 array of shape (N,)

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message says which and where it belongs.
    """
    images, labels = _read_split(folder, split)
    return images.astype(np.float32) / 255, labels


def read_mnist(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one split of an MNIST-like data set as it is stored.

    Parameters
    ----------
    folder : Path
        The folder that holds the four IDX files.
    split : {"train", "test"}

    Returns
    -------
    images : uint8 array of shape (N, height * width)
    labels : int64 array of shape (N,)

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message says which and where it belongs.
    ValueError
        If a file is not an IDX file of unsigned bytes, or damaged.
    """
    return _read_split(folder, "train" if split == "train" else "t10k")


def _read_split(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{folder}: {images.shape} images ({prefix}) do not belong to {labels.shape} labels")
    return images.reshape(len(images), -1), labels.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{folder / name}[.gz] not found; put the four MNIST files (train-images-idx3-ubyte.gz, "
        "train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz) into one folder and name "
        "that folder"
    )
