"""CIFAR-10 and CIFAR-100 from any of the formats they come in.

    CIFAR-10   binary   data_batch_1.bin .. data_batch_5.bin, test_batch.bin   1 label, 3072 pixels a record
    CIFAR-100  binary   train.bin, test.bin                                   coarse label, fine label, 3072 pixels
    CIFAR-10   python   data_batch_1 .. data_batch_5, test_batch              pickled {data, labels}
    CIFAR-100  python   train, test                                           pickled {data, fine_labels}
    CIFAR-10   npz      train.npz, test.npz                                   x uint8 (N, 32, 32, 3), y (N,)

Pixels of a record are planar: 1024 red, 1024 green, 1024 blue, rows from top to bottom. In a pickle, every name is
refused that is not needed to rebuild an array, so a file cannot run code.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import ResultError
from milpcomp.files import read_arrays

PIXELS = 3 * 32 * 32

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, 3, 32, 32) and their classes (N,)."""


@dataclass(frozen=True)
class _Layout:
    """Where one data set keeps its files, and how a record begins."""

    title: str
    classes: int
    label_bytes: int
    label_key: str
    folders: tuple[str, ...]
    files: dict[str, tuple[str, ...]]


CIFAR10 = _Layout(
    "CIFAR-10",
    10,
    1,
    "labels",
    ("", "cifar-10-batches-py", "cifar-10-batches-bin"),
    {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
)
CIFAR100 = _Layout(
    "CIFAR-100",
    100,
    2,
    "fine_labels",
    ("", "cifar-100-python", "cifar-100-binary"),
    {"train": ("train",), "test": ("test",)},
)


def read_cifar(layout: _Layout, folder: Path, split: str) -> Arrays:
    """Read one split of CIFAR-10 or CIFAR-100.

    Parameters
    ----------
    layout : CIFAR10 or CIFAR100
    folder : Path
        Holds the files themselves, or the folder that the archives unpack to.
    split : {"train", "test"}

    Returns
    -------
    images : uint8 array of shape (N, 3, 32, 32)
    labels : int64 array of shape (N,)

    Raises
    ------
    FileNotFoundError
        If no format is there completely; the message says what belongs where.
    ValueError
        If a file is not what its name says.
    """
    names = layout.files[split]
    for place in (folder / name for name in layout.folders):
        for suffix, read in ((".bin", _read_binary), ("", _read_pickle)):
            files = [place / f"{name}{suffix}" for name in names]
            if all(file.is_file() for file in files):
                return _joined(layout, [(file, read) for file in files])
        if layout is CIFAR10 and (place / f"{split}.npz").is_file():
            return _joined(layout, [(place / f"{split}.npz", _read_npz)])
    extra = f", or {split}.npz with x uint8 (N, 32, 32, 3) and y (N,)" if layout is CIFAR10 else ""
    raise FileNotFoundError(
        f"{layout.title} ({split}) not found in {folder}; unpack the python or the binary archive there, so that it "
        f"holds {layout.folders[1]}/ or {layout.folders[2]}/ with {', '.join(names)} (binary: with .bin){extra}"
    )


def _joined(layout: _Layout, sources: list[tuple[Path, Callable[[_Layout, Path], Arrays]]]) -> Arrays:
    parts = []
    for file, read in sources:
        images, labels = read(layout, file)
        if len(images) != len(labels) or not len(labels):
            raise ValueError(f"{file} holds {len(images)} images and {len(labels)} labels; fetch it again")
        if labels.min() < 0 or labels.max() >= layout.classes:
            raise ValueError(
                f"{file} has labels from {labels.min()} to {labels.max()}, {layout.title} has 0 to {layout.classes - 1}"
            )
        parts.append((images, labels))
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _read_binary(layout: _Layout, file: Path) -> Arrays:
    raw = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    record = layout.label_bytes + PIXELS
    if not raw.size or raw.size % record:
        raise ValueError(f"{file} has {raw.size} bytes, no multiple of {record}: not {layout.title}, or truncated")
    records = raw.reshape(-1, record)
    images = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
    return images, records[:, layout.label_bytes - 1].astype(np.int64)


def _read_pickle(layout: _Layout, file: Path) -> Arrays:
    with file.open("rb") as stream:
        try:
            content = _ArrayUnpickler(stream, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no pickled batch of {layout.title}: {error}") from error
    data = content.get("data") if isinstance(content, dict) else None
    labels = content.get(layout.label_key) if isinstance(content, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXELS,) or labels is None:
        raise ValueError(f"{file} is no batch of {layout.title}: it lacks data uint8 (N, 3072) or {layout.label_key}")
    return data.reshape(-1, 3, 32, 32), np.asarray(labels, dtype=np.int64)


def _read_npz(layout: _Layout, file: Path) -> Arrays:
    try:
        arrays = read_arrays(file)
    except ResultError as error:
        raise ValueError(str(error)) from error
    x, y = arrays.get("x"), arrays.get("y")
    if x is None or y is None or x.dtype != np.uint8 or x.shape[1:] != (32, 32, 3):
        raise ValueError(f"{file} must hold x uint8 (N, 32, 32, 3) and y (N,); it has {sorted(arrays)}")
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y.reshape(-1).astype(np.int64)


def _dtype(name: str, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    """Rebuild a type as pickles of old numpy versions write it, with 0 and 1 for flags."""
    return np.dtype(name, bool(align), bool(copy))


def _array_parts() -> dict[tuple[str, str], Any]:
    """Return what a pickled array refers to, by module and name, whatever numpy wrote it."""
    rebuild = np.empty(0).__reduce__()[0]
    allowed: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): _dtype}
    for core in ("core", "_core"):
        allowed[f"numpy.{core}.multiarray", "_reconstruct"] = rebuild
    allowed["_codecs", "encode"] = lambda text, encoding: text.encode(encoding)
    return allowed


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds dictionaries, lists, text, numbers and arrays; refuses every other name."""

    _allowed = _array_parts()

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for `module.name`, or refuse it."""
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no batch of images needs")
        return self._allowed[module, name]
