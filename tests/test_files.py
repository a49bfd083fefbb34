"""Writing is all or nothing; reading a bad file is one clear error."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milpcomp.errors import CheckpointError, MilpcompError, OutputError, ResultError
from milpcomp.files import read_arrays, read_json, replacing, write_arrays, write_json


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_json_keeps_every_float(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    """Floats come back bit by bit, minus zero included."""
    path = tmp_path_factory.mktemp("json") / "data.json"
    write_json(path, {"numbers": np.array(numbers), "first": np.float64(numbers[0] if numbers else 0.0)})
    read = read_json(path)
    assert np.array(read["numbers"]).tobytes() == np.array(numbers, dtype=np.float64).tobytes()
    assert math.copysign(1, read["first"]) == math.copysign(1, numbers[0] if numbers else 0.0)


@given(hnp.arrays(st.sampled_from(["<f8", "<i8", "|u1", "|b1"]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_keep_bytes_shape_and_type(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    """Arrays come back with their type, shape and bytes; names may hold slashes."""
    path = tmp_path_factory.mktemp("npz") / "data.npz"
    write_arrays(path, {"0/weight.1": array})
    read = read_arrays(path)["0/weight.1"]
    assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_equal_arrays_give_equal_files(tmp_path: Path) -> None:
    """The bytes of an .npz file depend on its arrays only."""
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, {"x": np.arange(5.0)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """An exception while writing, an interrupt included, leaves the previous content and no other file."""
    path = tmp_path / "data.json"
    write_json(path, 1)

    def interrupted() -> None:
        with replacing(path) as stream:
            stream.write(b"half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(TypeError, match="object cannot be written"):
        write_json(path, object())
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, math.nan)
    assert read_json(path) == 1
    assert os.listdir(tmp_path) == ["data.json"]


def test_writing_replaces_a_file_and_follows_links(tmp_path: Path) -> None:
    """A second write wins, and a link goes on pointing to the file that was written."""
    (tmp_path / "link.json").symlink_to(tmp_path / "data.json")
    write_json(tmp_path / "link.json", 1)
    write_json(tmp_path / "link.json", 2)
    assert (tmp_path / "link.json").is_symlink()
    assert read_json(tmp_path / "data.json") == 2


def test_a_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    """The file is as readable as any other that the user creates."""
    write_json(tmp_path / "data.json", 1)
    (tmp_path / "other").write_text("")
    assert (tmp_path / "data.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_unwritable_outputs_are_one_error(tmp_path: Path) -> None:
    """A missing folder, a folder in place of a file, a device and an impossible name are `OutputError`s."""
    for path, message in [
        (tmp_path / "missing" / "data.json", r"folder .*missing does not exist; create it"),
        (tmp_path, "is not a file"),
        (Path("/dev/null"), "is not a file"),
        (tmp_path / ("n" * 300), r"cannot write .*name too long"),
    ]:
        with pytest.raises(OutputError, match=message):
            write_json(path, 1)
    assert issubclass(OutputError, MilpcompError)
    assert issubclass(OutputError, OSError)


def test_a_full_disk_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is passed on, and nothing half-written remains."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"data\.json: No space left on device"):
        write_json(tmp_path / "data.json", 1)
    assert not os.listdir(tmp_path)


def test_objects_are_not_written(tmp_path: Path) -> None:
    """An array of Python objects would need pickle, so it is refused before anything is written."""
    with pytest.raises(TypeError, match="'x' holds Python objects"):
        write_arrays(tmp_path / "data.npz", {"x": np.array([object()])})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("error", [ResultError, CheckpointError])
def test_bad_json_is_one_error(tmp_path: Path, error: type[MilpcompError]) -> None:
    """Missing, truncated, binary, too deep and not-a-number files raise the class asked for, in one line."""
    path = tmp_path / "data.json"
    with pytest.raises(error, match=r"cannot read .*No such file"):
        read_json(path, error)
    for content in (b'{"a": [1, ', b"", b"\xff\xfe\x00", b"[" * 100_000, b"[NaN]"):
        path.write_bytes(content)
        with pytest.raises(error, match="is not JSON, or is truncated") as caught:
            read_json(path, error)
        assert "\n" not in str(caught.value)


def test_bad_arrays_are_one_error(tmp_path: Path) -> None:
    """Missing, empty, foreign, truncated, damaged, single-array and pickled files raise `ResultError` in one line."""
    good, path = tmp_path / "good.npz", tmp_path / "bad.npz"
    write_arrays(good, {"x": np.random.default_rng(0).normal(size=500)})
    whole = good.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    np.save(tmp_path / "single.npy", np.arange(3))
    np.savez(tmp_path / "pickled.npz", x=np.array([{"a": 1}], dtype=object))
    contents = [b"", b"PK", b"text", whole[: len(whole) // 2], whole[:-30], bytes(damaged)]
    contents += [(tmp_path / name).read_bytes() for name in ("single.npy", "pickled.npz")]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ResultError, match=r"bad\.npz is not an \.npz file of plain arrays|cannot read") as caught:
            read_arrays(path)
        assert "\n" not in str(caught.value)
    for missing in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(ResultError, match="cannot read"):
            read_arrays(missing)
