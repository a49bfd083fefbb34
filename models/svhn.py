"""SVHN, cropped digits: ``train_32x32.mat`` and ``test_32x32.mat``.

A file holds ``X`` uint8 (32, 32, 3, N) and ``y`` (N, 1), where the digit 0 has the label 10; here it has 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from models.cifar import Arrays


def read_svhn(folder: Path, split: str) -> Arrays:
    """Read one split of SVHN.

    Parameters
    ----------
    folder : Path
        Holds the two files.
    split : {"train", "test"}

    Returns
    -------
    images : uint8 array of shape (N, 3, 32, 32)
    labels : int64 array of shape (N,)
        The digits themselves.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says what belongs where.
    ValueError
        If it is not a file of cropped digits.
    """
    file = folder / f"{split}_32x32.mat"
    if not file.is_file():
        raise FileNotFoundError(
            f"SVHN ({split}) not found: put train_32x32.mat and test_32x32.mat (format 2, cropped digits) into {folder}"
        )
    try:
        content = loadmat(file, variable_names=["X", "y"])
    except (ValueError, NotImplementedError, TypeError, EOFError) as error:
        raise ValueError(f"{file} is no MATLAB 5 file, or is truncated: {error}") from error
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None or images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
        raise ValueError(f"{file} must hold X uint8 (32, 32, 3, N) and y (N, 1)")
    digits = labels.reshape(-1).astype(np.int64) % 10
    if len(digits) != images.shape[3] or labels.min() < 1 or labels.max() > 10:
        raise ValueError(f"{file} must have one label from 1 to 10 for each of its {images.shape[3]} images")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), digits
