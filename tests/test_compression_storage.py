"""Compressions on disk: bit by bit, and every damage is one clear error."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from milpcomp.compression import (
    Collapse,
    Compression,
    Fix,
    Fold,
    Join,
    Merge,
    Remove,
    compress,
    load_compression,
    rewrite,
    save_compression,
)
from milpcomp.errors import OutputError, ResultError
from milpcomp.network import Network
from tests.handmade import true_report
from tests.nets import planted
from tests.oracle import exact_ranges


def compressed(seed: int, tolerance: float | str = "rounding") -> tuple[Network, Compression]:
    """Return a random network and its compression."""
    network, domain = planted(np.random.default_rng(seed), 2)
    return network, compress(network, true_report(network, domain, exact_ranges(network, domain)), tolerance=tolerance)


def test_everything_reads_back_bit_by_bit(tmp_path: Path) -> None:
    """Networks, edits of every kind with their verdicts, deviations, costs, origins and what was left out."""
    kinds = set()
    for seed in range(25):
        network, saved = compressed(seed, "rounding" if seed % 2 else 0.0)
        kinds |= {type(edit) for edit in saved.edits}
        path = save_compression(saved, tmp_path / str(seed))
        loaded = load_compression(tmp_path / str(seed))
        assert path == tmp_path / str(seed) / "compression.json"
        assert loaded.network.digest == saved.network.digest
        assert rewrite(network, loaded.edits).digest == saved.network.digest
        assert np.array_equal(loaded.deviation, saved.deviation)
        for field in fields(Compression):
            if field.name not in {"network", "edits", "deviation"}:
                assert getattr(loaded, field.name) == getattr(saved, field.name), field.name
        for mine, yours in zip(saved.edits, loaded.edits, strict=True):
            assert repr(mine) == repr(yours)
        assert loaded.summary() == saved.summary()
    assert kinds == {Remove, Fix, Join, Merge, Fold, Collapse}


def test_a_file_name_chooses_the_two_names(tmp_path: Path) -> None:
    """A name ending in .json is written as it is, with its numbers beside it."""
    saved = compressed(0)[1]
    save_compression(saved, tmp_path / "small.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.json", "small.npz"]
    assert load_compression(tmp_path / "small.json").network.digest == saved.network.digest


def test_a_gap_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    """JSON has no NaN; a network that does not fit into float32 has no measured gap."""
    saved = replace(compressed(0)[1], measured_gap=math.nan)
    path = save_compression(saved, tmp_path)
    assert json.loads(path.read_text())["measured_gap"] is None
    assert math.isnan(load_compression(tmp_path).measured_gap)


def test_damage_is_noticed(tmp_path: Path) -> None:
    """A changed number in either half, a half of another compression, and a truncated half are errors."""
    path = save_compression(compressed(1)[1], tmp_path / "a")
    other = save_compression(compressed(2)[1], tmp_path / "b")
    text, numbers = path.read_text(), path.with_suffix(".npz").read_bytes()
    path.write_text(text.replace('"samples": 1000', '"samples": 1001'))
    with pytest.raises(ResultError, match="damaged or not of one compression"):
        load_compression(path)
    path.write_text(text)
    path.with_suffix(".npz").write_bytes(other.with_suffix(".npz").read_bytes())
    with pytest.raises(ResultError, match="damaged or not of one compression"):
        load_compression(path)
    path.with_suffix(".npz").write_bytes(numbers[: len(numbers) // 2])
    with pytest.raises(ResultError, match=r"compression\.npz"):
        load_compression(path)
    path.with_suffix(".npz").unlink()
    with pytest.raises(ResultError, match="cannot read"):
        load_compression(path)


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    """What is no compression, or of another version, is said to be."""
    path = save_compression(compressed(1)[1], tmp_path)
    structure = json.loads(path.read_text())
    path.write_text(json.dumps({**structure, "version": 99}))
    with pytest.raises(ResultError, match="schema version 99"):
        load_compression(path)
    path.write_text(json.dumps({"schema": "milpcomp certificate"}))
    with pytest.raises(ResultError, match="is no compression"):
        load_compression(path)
    path.write_text("{")
    with pytest.raises(ResultError, match="not JSON"):
        load_compression(path)
    with pytest.raises(ResultError, match="cannot read"):
        load_compression(tmp_path / "missing")


def test_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        save_compression(compressed(0)[1], tmp_path / "file" / "out")
