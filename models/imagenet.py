"""ImageNet, or any data set laid out like it: a folder of class folders of image files.

    FOLDER/train/n01440764/*.JPEG      FOLDER/val/n01440764/*.JPEG

Class k is the k-th class folder in alphabetical order, as everybody counts. Images are decoded when a batch asks for
them: for training a random part of the image (8 % to 100 % of its area, sides 3:4 to 4:3) resized to 224 x 224 and
mirrored half of the time; for testing the central 224 x 224 of the image resized to 256 on its shorter side.
Decoding needs Pillow (``pip install pillow``).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SIZE, RESIZED = 224, 256
SUFFIXES = {".jpeg", ".jpg", ".png"}
SPLITS = {"train": "train", "test": "val"}


class FolderImages:
    """The images of one split, decoded on demand.

    Parameters
    ----------
    folder : Path
        Holds ``train`` and ``val``.
    split : {"train", "test"}
        The test split is the folder ``val``.
    workers : int
        Threads that decode.

    Attributes
    ----------
    labels : int64 tensor of shape (N,)
    classes : int

    Raises
    ------
    FileNotFoundError
        If there are no class folders with images; the message says what belongs where.
    ModuleNotFoundError
        If Pillow is not installed.
    """

    def __init__(self, folder: Path, split: str, workers: int = 8) -> None:
        _pillow()
        root = folder / SPLITS[split]
        names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        files = [sorted(f for f in (root / name).iterdir() if f.suffix.lower() in SUFFIXES) for name in names]
        if not names or not all(files):
            empty = next((name for name, found in zip(names, files, strict=True) if not found), None)
            raise FileNotFoundError(
                f"{root} must hold one folder per class, each with its images (.JPEG, .jpg, .png); "
                + (f"the folder {empty} has none" if empty else "it holds no folder")
                + ". The validation images come in one folder: move each into the folder of its class"
            )
        self.files = [file for found in files for file in found]
        self.labels = torch.tensor([label for label, found in enumerate(files) for _ in found])
        self.classes = len(names)
        self._pool = ThreadPoolExecutor(workers)

    def pixels(self, chosen: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Decode images.

        Parameters
        ----------
        chosen : int64 tensor of shape (B,)
        generator : torch.Generator, optional
            Draws the parts and the mirroring of training; without one, the central part.

        Returns
        -------
        uint8 tensor of shape (B, 3, 224, 224)
        """
        if generator is None:
            jobs = [(self.files[i], None) for i in chosen.tolist()]
        else:
            draws = torch.rand(len(chosen), 21, generator=generator).tolist()
            jobs = [(self.files[i], draw) for i, draw in zip(chosen.tolist(), draws, strict=True)]
        return torch.from_numpy(np.stack(list(self._pool.map(_decode, jobs))))


def random_part(width: int, height: int, draw: list[float]) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a part of 8 % to 100 % of an image, with sides 3:4 to 4:3.

    Parameters
    ----------
    width, height : int
    draw : list of 21 numbers in [0, 1)
        Two for each of ten attempts; if none fits, the largest central part of allowed shape is taken.
    """
    left, top = draw[18], draw[19]
    for area, shape in zip(draw[0:18:2], draw[1:18:2], strict=True):
        ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
        target = width * height * (0.08 + 0.92 * area)
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
            return x, y, x + w, y + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def _decode(job: tuple[Path, list[float] | None]) -> np.ndarray:
    image_module = _pillow()
    file, draw = job
    try:
        with image_module.open(file) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise ValueError(f"{file} cannot be decoded as an image: {error}") from error
    bilinear = image_module.Resampling.BILINEAR
    if draw is None:
        scale = RESIZED / min(image.size)
        image = image.resize(
            (max(RESIZED, round(image.width * scale)), max(RESIZED, round(image.height * scale))), bilinear
        )
        x, y = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        image = image.crop((x, y, x + SIZE, y + SIZE))
    else:
        image = image.resize((SIZE, SIZE), bilinear, box=random_part(image.width, image.height, draw))
        if draw[20] < 0.5:
            image = image.transpose(image_module.Transpose.FLIP_LEFT_RIGHT)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _pillow():  # type: ignore[no-untyped-def]  # a module has no useful type
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("decoding image files needs Pillow: pip install pillow") from error
    return Image
