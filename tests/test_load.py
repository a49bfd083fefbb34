"""`load` reads each kind of source by its type or suffix, and refuses options that do not apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import milpcomp as mc
from milpcomp.errors import CheckpointError, OutputError, SettingsError
from milpcomp.network import Network
from milpcomp.network.load import CHECKPOINTS, load
from milpcomp.network.storage import save_network
from milpcomp.network.to_onnx import to_onnx
from milpcomp.network.to_torch import to_torch
from tests.nets import diamond


def saved(folder: Path, suffix: str) -> Path:
    """Return a file of that kind that holds the diamond."""
    path = folder / f"diamond{suffix}"
    if suffix.lower() == ".npz":
        save_network(diamond(), path)
    elif suffix.lower() == ".onnx":
        to_onnx(diamond(), path)
    elif suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(to_torch(diamond()).state_dict(), path)
    else:
        torch.save(to_torch(diamond()).state_dict(), path)
    return path


def check_is_diamond(network: Network) -> None:
    """Check two values worked out by hand: f(1, 0) = 1 + 2 * 0 - 1 and f(2, 2) = 0 + 2 * 1 - 1."""
    assert network.forward([[1.0, 0.0], [2.0, 2.0]]).ravel().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("suffix", [".npz", ".onnx", ".ONNX", *CHECKPOINTS])
@pytest.mark.parametrize("kind", [str, Path])
def test_files_by_suffix(suffix: str, kind: Callable[[Path], Any], tmp_path: Path) -> None:
    """Every suffix, given as text or path, leads to the reader of its format; a shape that agrees may be given."""
    path = kind(saved(tmp_path, suffix))
    check_is_diamond(load(path))
    check_is_diamond(load(path, input_shape=(2,)))


def test_modules() -> None:
    """A torch module is read with an example or a shape."""
    check_is_diamond(load(to_torch(diamond()), input_shape=(2,)))
    check_is_diamond(load(to_torch(diamond()), example_input=torch.zeros(1, 2)))


def test_one_number_is_a_shape(tmp_path: Path) -> None:
    """input_shape=2 means (2,), for every kind of source."""
    for source in (to_torch(diamond()), diamond(), *(saved(tmp_path, suffix) for suffix in (".npz", ".onnx", ".pt"))):
        for shape in (2, np.int64(2), [2], np.array([2])):
            assert load(source, input_shape=shape).input_shape == (2,)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [2.0, "2", -2, (3, -1), [[1, 2], [3]], [[2]], {2}])
def test_what_is_no_shape(shape: Any, tmp_path: Path) -> None:
    """Anything but whole numbers is one clear error, for modules as for files."""
    for source in (to_torch(diamond()), saved(tmp_path, ".npz")):
        with pytest.raises(SettingsError, match=r"input_shape=.* is no shape of a sample; give whole numbers"):
            load(source, input_shape=shape)


@pytest.mark.parametrize("name", ["foo.txt", "foo", "foo.pt"])
def test_nothing_is_written_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    """Files are read by their suffix, so none is written under another one."""
    for write, suffix in ((diamond().save, ".npz"), (diamond().to_onnx, ".onnx")):
        with pytest.raises(OutputError, match=rf"foo.*files are read by their suffix; end the name in \{suffix}$"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_architecture_is_handed_on(tmp_path: Path) -> None:
    """A checkpoint is read into the architecture that is named for it."""
    check_is_diamond(load(saved(tmp_path, ".pt"), architecture=lambda: to_torch(diamond()), input_shape=(2,)))


def test_networks_stay_what_they_are() -> None:
    """A network is returned itself."""
    network = diamond()
    assert load(network) is network


def test_public_name() -> None:
    """``milpcomp.load`` is this function."""
    assert mc.load is load


@pytest.mark.parametrize("name", ["net.txt", "net", "net.h5", "pt"])
def test_unknown_suffixes(name: str, tmp_path: Path) -> None:
    """A file of no known suffix is refused with the known ones."""
    (tmp_path / name).write_text("network")
    with pytest.raises(CheckpointError, match=r"known are \.onnx, \.npz, \.pt, \.pth, \.th, \.tar, \.safetensors"):
        load(tmp_path / name)


@pytest.mark.parametrize("suffix", ["", ".onnx", ".npz", ".pt"])
def test_folders(suffix: str, tmp_path: Path) -> None:
    """A folder is refused as one, whatever its name ends in."""
    (tmp_path / f"results{suffix}").mkdir()
    with pytest.raises(CheckpointError, match="is a folder; give"):
        load(tmp_path / f"results{suffix}")


@pytest.mark.parametrize("suffix", [".onnx", ".npz", *CHECKPOINTS])
def test_missing_files(suffix: str, tmp_path: Path) -> None:
    """A file that does not exist is an error with its name."""
    with pytest.raises(CheckpointError, match=f"missing{suffix}"):
        load(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("suffix", [".onnx", ".npz"])
def test_options_that_do_not_apply(suffix: str, tmp_path: Path) -> None:
    """A file that knows its architecture and shape takes no other."""
    path = saved(tmp_path, suffix)
    with pytest.raises(SettingsError, match="architecture= is for checkpoint files"):
        load(path, architecture=nn.Linear(2, 1))
    with pytest.raises(SettingsError, match=r"input_shape is \(3,\), but .*diamond.* takes samples of \(2,\)"):
        load(path, input_shape=(3,))


def test_example_inputs_must_agree(tmp_path: Path) -> None:
    """An example for a source that knows its shape must have that shape; it is not ignored."""
    for source in (diamond(), saved(tmp_path, ".npz"), saved(tmp_path, ".onnx")):
        check_is_diamond(load(source, example_input=np.zeros((5, 2))))
        with pytest.raises(SettingsError, match=r"takes samples of \(2,\)"):
            load(source, example_input=np.zeros((5, 3)))


def test_architecture_of_a_module() -> None:
    """A module or network has its own architecture."""
    for source in (nn.Linear(2, 1), diamond()):
        with pytest.raises(SettingsError, match="architecture= is for checkpoint files"):
            load(source, architecture=nn.Linear(2, 1))


@pytest.mark.parametrize("source", [None, 3, np.zeros(2), {"0.weight": np.zeros((2, 2))}])
def test_other_sources(source: Any) -> None:
    """Anything that holds no network is refused by its type."""
    with pytest.raises(SettingsError, match=f"not from a {type(source).__name__}"):
        load(source)
