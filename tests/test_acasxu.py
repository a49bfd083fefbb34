"""The table of the ACAS Xu networks: a row says what its report says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analyses import acasxu


def test_a_row_adds_up(shared_file: Callable[[str], Path]) -> None:
    """In a short run, counts add up by phase, by layer and by proof; nothing is contradicted or rejected."""
    row = acasxu.row(shared_file("nets/acasxu/ACASXU_run2a_1_1_batch_2000.onnx"), 2.0, 10_000)
    counts = {key: int(str(row[key])) for key in ("stably_inactive", "stably_active", "unstable", "undecided")}
    assert row["network"] == "1_1"
    assert sum(counts.values()) == row["neurons"] == 300
    assert counts["unstable"] > 280
    left = [int(part) for part in str(row["undecided_by_layer"]).split()]
    assert (len(left), sum(left)) == (6, counts["undecided"])
    assert row["contradicted"] == row["rejected"] == 0
    assert counts["stably_inactive"] + counts["stably_active"] == int(str(row["certified"])) + int(str(row["solver"]))
    assert float(str(row["onnx_gap"])) < 1e-4
    stages = sum(float(str(value)) for key, value in row.items() if key.endswith("_seconds") and key != "check_seconds")
    assert 0 < stages <= float(str(row["seconds"])) + 0.1
