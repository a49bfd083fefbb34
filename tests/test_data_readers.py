"""models/: readers of CIFAR, SVHN, ImageNet-like folders, and the batches made of them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from milpcomp.errors import SettingsError
from models.cifar import CIFAR10, CIFAR100, read_cifar
from models.data import read_mnist
from models.datasets import CLASSES, MemoryImages, Samples, load_samples, shift
from models.imagenet import FolderImages, random_part
from models.svhn import read_svhn


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def _old_pickle(key: bytes, data: np.ndarray, labels: list[int]) -> bytes:
    """Return {"data": array, key: labels} as Python 2 and its numpy pickled them, opcode by opcode."""
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731  # SHORT_BINSTRING
    number = lambda value: b"J" + int(value).to_bytes(4, "little")  # noqa: E731  # BININT
    raw = data.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + b"(" + number(data.shape[0]) + number(data.shape[1]) + b"t" + dtype
    array += b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + listed + b"u."


def test_cifar10_binary_and_python_archives_hold_the_same(tmp_path: Path) -> None:
    """Five batches follow on each other; the old pickles and the binary records give equal pixels and labels."""
    pixels, labels = _pixels(10), np.arange(10, dtype=np.uint8)
    python, binary = tmp_path / "cifar-10-batches-py", tmp_path / "b" / "cifar-10-batches-bin"
    python.mkdir()
    binary.mkdir(parents=True)
    for i in range(5):
        part, own = pixels[2 * i : 2 * i + 2].reshape(2, -1), labels[2 * i : 2 * i + 2]
        (python / f"data_batch_{i + 1}").write_bytes(_old_pickle(b"labels", part, own.tolist()))
        (binary / f"data_batch_{i + 1}.bin").write_bytes(np.column_stack([own, part]).tobytes())
    for folder in (tmp_path, python, tmp_path / "b", binary):
        images, found = read_cifar(CIFAR10, folder, "train")
        assert np.array_equal(images, pixels)
        assert np.array_equal(found, labels)
        assert found.dtype == np.int64


def test_cifar100_has_the_fine_label_second(tmp_path: Path) -> None:
    """A binary record is coarse label, fine label, pixels; the fine one counts, in pickles, too."""
    pixels, fine = _pixels(3), np.array([99, 0, 42], dtype=np.uint8)
    coarse = np.array([1, 2, 3], dtype=np.uint8)
    (tmp_path / "test.bin").write_bytes(np.column_stack([coarse, fine, pixels.reshape(3, -1)]).tobytes())
    (tmp_path / "train").write_bytes(pickle.dumps({"data": pixels.reshape(3, -1), "fine_labels": fine.tolist()}))
    for split in ("train", "test"):
        images, labels = read_cifar(CIFAR100, tmp_path, split)
        assert np.array_equal(images, pixels)
        assert labels.tolist() == [99, 0, 42]


def test_cifar10_npz_has_channels_last(tmp_path: Path) -> None:
    """X (N, 32, 32, 3) comes back as (N, 3, 32, 32)."""
    pixels = _pixels(4)
    np.savez(tmp_path / "test.npz", x=pixels.transpose(0, 2, 3, 1), y=np.array([0, 1, 2, 9], dtype=np.uint8))
    images, labels = read_cifar(CIFAR10, tmp_path, "test")
    assert np.array_equal(images, pixels)
    assert labels.tolist() == [0, 1, 2, 9]


class _Intruder:
    """Pickles to a call."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_a_pickle_never_runs_code(tmp_path: Path) -> None:
    """A batch that would call a function when loaded is refused, and the function is not called."""
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": _Intruder(tmp_path / "made"), "labels": [0]}))
    with pytest.raises(ValueError, match=r"refers to posix\.mkdir|refers to nt\.mkdir"):
        read_cifar(CIFAR10, tmp_path, "test")
    assert not (tmp_path / "made").exists()


def test_damaged_cifar_files_are_refused(tmp_path: Path) -> None:
    """Truncated records, labels out of range, other content, and archives that are no archives are named."""
    record = np.column_stack([np.array([10], dtype=np.uint8), _pixels(1).reshape(1, -1)]).tobytes()
    file = tmp_path / "test_batch.bin"
    file.write_bytes(record[:-1])
    with pytest.raises(ValueError, match="no multiple of 3073"):
        read_cifar(CIFAR10, tmp_path, "test")
    file.write_bytes(record)
    with pytest.raises(ValueError, match="labels from 10 to 10, CIFAR-10 has 0 to 9"):
        read_cifar(CIFAR10, tmp_path, "test")
    file.unlink()
    (tmp_path / "test_batch").write_bytes(b"no pickle")
    with pytest.raises(ValueError, match="no pickled batch"):
        read_cifar(CIFAR10, tmp_path, "test")
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": np.zeros((1, 3072)), "labels": [0]}))
    with pytest.raises(ValueError, match="lacks data uint8"):
        read_cifar(CIFAR10, tmp_path, "test")
    (tmp_path / "train.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"is not an \.npz file"):
        read_cifar(CIFAR10, tmp_path, "train")


def test_svhn_counts_ten_as_zero(tmp_path: Path) -> None:
    """X (32, 32, 3, N) is turned, the label 10 is the digit 0, and a damaged file is refused."""
    pixels = _pixels(3)
    labels = np.array([[10], [1], [9]], dtype=np.uint8)
    savemat(tmp_path / "train_32x32.mat", {"X": pixels.transpose(2, 3, 1, 0), "y": labels})
    images, digits = read_svhn(tmp_path, "train")
    assert np.array_equal(images, pixels)
    assert digits.tolist() == [0, 1, 9]
    savemat(tmp_path / "train_32x32.mat", {"X": pixels.transpose(2, 3, 1, 0), "y": labels[:2]})
    with pytest.raises(ValueError, match="one label from 1 to 10"):
        read_svhn(tmp_path, "train")
    (tmp_path / "test_32x32.mat").write_bytes(b"no matlab file" * 20)
    with pytest.raises(ValueError, match="no MATLAB 5 file"):
        read_svhn(tmp_path, "test")


def test_image_folders_are_decoded_on_demand(tmp_path: Path) -> None:
    """Classes are folders in alphabetical order; a plain image keeps its colour however it is cut."""
    image_module = pytest.importorskip("PIL.Image")
    colours = {"n02": (250, 0, 0), "n01": (0, 250, 0)}
    for name, colour in colours.items():
        (tmp_path / "val" / name).mkdir(parents=True)
        image_module.new("RGB", (300, 240), colour).save(tmp_path / "val" / name / "a.JPEG", quality=95)
    source = FolderImages(tmp_path, "test")
    assert source.labels.tolist() == [0, 1]
    assert source.classes == 2
    for generator in (None, torch.Generator().manual_seed(0)):
        images = source.pixels(torch.tensor([1, 0]), generator)
        assert images.shape == (2, 3, 224, 224)
        assert images.dtype == torch.uint8
        expected = torch.tensor([colours["n02"], colours["n01"]]).view(2, 3, 1, 1)
        assert (images.int() - expected).abs().max() <= 4
    (tmp_path / "val" / "n01" / "b.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.jpg cannot be decoded"):
        FolderImages(tmp_path, "test").pixels(torch.tensor([1]))


def test_random_parts_lie_inside_and_have_the_stated_size() -> None:
    """A random part of an image has 8 % to 100 % of its area and sides 3:4 to 4:3, up to rounding to pixels."""
    draws = torch.rand(200, 21, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tolist()
    for draw in draws:
        left, top, right, bottom = random_part(400, 300, draw)
        width, height = right - left, bottom - top
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        assert 0.078 <= width * height / 120_000 <= 1
        assert 0.74 <= width / height <= 1.35
    assert random_part(1000, 10, [0.99] * 21) == (493, 0, 506, 10)  # nothing fits: the central 13 x 10


@pytest.mark.parametrize("name", CLASSES)
def test_missing_data_say_where_to_put_what(name: str, tmp_path: Path) -> None:
    """Each data set's error names the folder and the files that belong there."""
    with pytest.raises(FileNotFoundError, match=r"must hold|put|unpack") as caught:
        load_samples(name, tmp_path, "train")
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    """The error lists the names."""
    with pytest.raises(SettingsError, match="choose one of mnist, cifar10, cifar100, svhn, imagenet"):
        load_samples("cifar", tmp_path, "train")


def test_shifting_moves_images_over_a_black_border() -> None:
    """Corner (4, 4) leaves an image, (3, 5) moves it down by one and left by one, and black comes in."""
    images = torch.arange(1, 28, dtype=torch.uint8).view(1, 3, 3, 3).repeat(2, 1, 1, 1)
    same, moved = shift(images, torch.tensor([[4, 3], [4, 5]]))
    assert torch.equal(same, images[0])
    expected = torch.zeros_like(images[0])
    expected[:, 1:, :2] = images[0, :, :2, 1:]
    assert torch.equal(moved, expected)


def test_batches_are_normalised_and_changed_only_for_training() -> None:
    """(pixel / 255 - mean) / std; with a generator images are mirrored or not, without one they are as stored."""
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(64, 3, 32, 16)
    source = MemoryImages(images, torch.arange(64) % 10, 10, mirrored=True)
    samples = Samples("x", source, (0.5, 0.0, 0.25), (0.5, 1.0, 0.25))
    assert len(samples) == 64
    assert samples.classes == 10
    plain, labels = samples.batch(torch.tensor([3, 2]))
    assert labels.tolist() == [3, 2]
    assert plain[0, :, 0, :2].tolist() == [[-1.0, 1.0], [0.0, 1.0], [-1.0, 3.0]]
    changed, _ = samples.batch(torch.arange(64), torch.Generator().manual_seed(0))
    mirrored = changed[:, 0, 0, 0] == 1
    assert 10 < int(mirrored.sum()) < 54
    assert torch.equal(changed[mirrored], plain[:1].flip(3).expand_as(changed[mirrored]))


def test_real_mnist_and_cifar10_are_read(shared_file: Callable[[str], Path]) -> None:
    """The test sets have 10,000 images, a thousand of each class of CIFAR-10, and the known first labels."""
    images, labels = read_mnist(shared_file("mnist/t10k-images-idx3-ubyte.gz").parent, "test")
    assert images.shape == (10_000, 784)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    pixels, classes = read_cifar(CIFAR10, shared_file("cifar10/test.npz").parent, "test")
    assert pixels.shape == (10_000, 3, 32, 32)
    assert np.bincount(classes).tolist() == [1000] * 10
    assert classes[:5].tolist() == [3, 8, 8, 0, 6]
