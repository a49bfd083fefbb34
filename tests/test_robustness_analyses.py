"""analyses/: the tables of robustness and of path lengths, from made-up measurements and without any data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analyses import path_lengths, robustness_table, sandwich
from analyses.robustness_table import PUBLISHED, SCRIPT_FACTOR
from milpcomp.paths import Flow, read_counts, seed_graph
from milpcomp.paths import path_lengths as lengths
from milpcomp.report.path_figures import flow_figure

LINE = {
    "network": "net", "radius": "0.01", "image": "0", "label": "7", "correct": "1", "outcome": "robust", "pgd": "1",
    "least_margin": "1", "lipschitz_found": "1", "lipschitz_bound": "5", "limit_s": "9", "seconds": "2",
    "check_seconds": "1", "rejected": "0",
}  # fmt: skip


def test_the_sandwich_counts_its_sides() -> None:
    """Of four images one is proved, one broken by the proof's search only, one by PGD too, and one stays open."""
    lines = [
        LINE,
        LINE | {"image": "1", "outcome": "adversarial", "lipschitz_found": "3"},
        LINE | {"image": "2", "outcome": "adversarial", "pgd": "0"},
        LINE | {"image": "3", "outcome": "undecided", "seconds": "9"},
    ]
    (row,) = sandwich.summary(lines).rows
    assert row == ("net", "0.01", "4", "100", "25", "50", "75", "3", "1.5", "5", "2.00 / 9.0", "0")


def test_a_proof_that_an_attack_refutes_is_an_error() -> None:
    """Verified accuracy above accuracy under attack is a defect, and no table is made of it."""
    with pytest.raises(ValueError, match=r"proved robust at 0\.01, and broken"):
        sandwich.summary([LINE | {"pgd": "0"}])


def test_undecided_lines_are_asked_again_only_where_wanted() -> None:
    """A retry is about the radii and the network that are named."""
    open_ = LINE | {"outcome": "undecided"}
    assert sandwich._again(open_, (0.01,), None)
    assert not sandwich._again(open_, (0.02,), None)
    assert not sandwich._again(open_, (0.01,), "other")
    assert not sandwich._again(LINE, (0.01,), "net")


def test_table_6_has_the_printed_numbers_beside_ours() -> None:
    """Printed and measured rows alternate; what is right under attack is right without one too."""
    measured = {
        "images": 4, "correct": "1110", "held": {"FGSM": "1001", "PGD": "1000"}, "lipschitz": [2.0, 1.0, 3.0],
    }  # fmt: skip
    found = robustness_table.table({"ReLU": {"rrelu-2024": measured}, "RReLU": {"raw": measured}})
    assert [row[:2] for row in found.rows] == [
        ("ReLU", "printed"), ("ReLU", "rrelu-2024"), ("RReLU", "printed"), ("RReLU", "raw"),
    ]  # fmt: skip
    assert found.rows[0][4:] == ("1.33", "", "34.11", "", "38.20", "")
    factor = f"{2 * SCRIPT_FACTOR:.4g}"
    assert found.rows[1][2:] == ("4", "75.00", "2 [1, 3]", factor, "25.00", "50.00", "25.00", "25.00")
    assert found.rows[3][6:] == ("25.00", "", "25.00", "")
    said = " ".join(robustness_table.why({}))
    assert "15.6 times too small" in said
    assert "against the gradient" not in said
    descent = {robustness_table.AGAINST: {"images": 200, "first": 0.25, "last": 0.125}}
    said = " ".join(robustness_table.why({"ReLU": descent}))
    assert "takes the mean over 200 images from 0.25 to 0.12 (ReLU); the printed numbers" in said


def test_published_table_6() -> None:
    """Two networks of two activations, three rows."""
    table = json.loads(PUBLISHED.read_text())["tables"]["6"]
    assert [len(row) for row in table["rows"].values()] == [len(table["columns"])] * 3 == [4] * 3


def test_published_counts_have_their_known_means() -> None:
    """The lists in the file are the ones whose mean, deviation and maximum are known."""
    counts = read_counts(path_lengths.COUNTS)
    found = {name: lengths(seed_graph(own)) for name, own in counts.items()}
    assert {name: (own.mean, round(own.sd, 1), own.maximum) for name, own in found.items()} == {
        "ReLU": (2688.0, 718.4, 5376),
        "RReLU": (1574.5, 448.8, 3149),
    }


def test_path_lengths_table() -> None:
    """A row names the network and says what took how long; where counts are given, finding them took nothing."""
    own = lengths(seed_graph([1, 2, 5, 0]))
    found = path_lengths.table({"given": (own, 0.0, 0.5), "read": (own, 1.25, 0.5)})
    assert found.rows == (
        ("given", "4", "4.0", "2.9", "0", "8", "8", "", "0.5000"),
        ("read", "4", "4.0", "2.9", "0", "8", "8", "1.25", "0.5000"),
    )


def test_flow_table_and_figure() -> None:
    """Shares of paths and of the gradient stand side by side, bin by bin, and the figure draws both."""
    flow = Flow(np.array([0.0, 4.0, 8.0]), (1, 3), np.array([0.5, 0.5]), np.array([0.25, 0.75]), np.array([2, 2]))
    rows = path_lengths.flow_table({"net": flow}).rows
    assert rows == (("net", "0 to 4", "25.00", "25.00", "0.5", "2"), ("net", "4 to 8", "75.00", "75.00", "0.5", "2"))
    (axes,) = flow_figure({"net": flow}).axes
    assert [patch.get_data().values.tolist() for patch in axes.patches] == [[25.0, 75.0]] * 2  # type: ignore[attr-defined]


def test_measurements_that_are_there_are_kept(tmp_path: Path) -> None:
    """Lines of an earlier run are read back as they were written; of no run there are none."""
    assert sandwich.read(tmp_path / "none.csv") == []
    (tmp_path / "lines.csv").write_text(",".join(LINE) + "\n" + ",".join(LINE.values()) + "\n")
    assert sandwich.read(tmp_path / "lines.csv") == [LINE]
