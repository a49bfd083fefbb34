"""Tables for papers: LaTeX that compiles as it is, CSV with the numbers bit by bit, and bounds that are rounded up."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milpcomp as mc
from milpcomp.network import Dense, Rectifier
from milpcomp.report import paper
from milpcomp.report.sizes import shape_table
from milpcomp.report.tables import Table
from milpcomp.report.words import at_most
from tests.nets import chain, diamond, mlp


@pytest.fixture(scope="module")
def analysis() -> mc.Analysis:
    """An analysis of a random network, some neurons of which are removed."""
    return mc.analyze(mlp([4, 12, 8, 3], np.random.default_rng(3)), mc.Box(0.0, 0.4))


def test_latex_by_hand() -> None:
    """A table is a float with the rules of booktabs; the total is ruled off, percent and minus are typeset."""
    table = Table(("size", "before", "change"), (("FLOPs", "1,000", "-3.5 %"), ("all", "2", "")), total=True)
    assert table.latex("Sizes & more.", "tab:sizes") == "\n".join(
        [
            r"\begin{table}", r"\centering", r"\caption{Sizes \& more.}", r"\label{tab:sizes}",
            r"\begin{tabular}{lrr}", r"\toprule", r"size & before & change \\", r"\midrule",
            r"FLOPs & 1,000 & $-$3.5\,\% \\", r"\midrule", r"all & 2 &  \\", r"\bottomrule", r"\end{tabular}",
            r"\end{table}", "",
        ]
    )  # fmt: skip


def test_latex_escapes_names() -> None:
    """No character of a name is taken for a command; a bracket after a row is no option of its line break."""
    table = Table(("x",), ((r"a_b\c{d}~^#$%&<>|", ), ("[x]",)))  # fmt: skip
    text = table.latex("c", "l")
    assert (
        r"a\_b\textbackslash{}c\{d\}\textasciitilde{}\textasciicircum{}\#\$\%\&\textless{}\textgreater{}\textbar{}"
        in text
    )
    assert "\n{[}x]" in text


def test_files_for_papers(analysis: mc.Analysis, tmp_path: Path) -> None:
    """Every table is in tables.tex, and the CSV files hold the report's numbers, bit by bit."""
    paper.write_tables(analysis, tmp_path)
    tex = (tmp_path / "tables.tex").read_text()
    assert re.findall(r"\\label\{tab:(\w+)\}", tex) == ["verdicts", "proofs", "stages", "sizes", "edits", "layers"]
    with (tmp_path / "layers.csv").open() as stream:
        layers = list(csv.DictReader(stream))
    assert [row["layer"] for row in layers] == list(analysis.report.layers())
    assert sum(int(row["unstable"]) for row in layers) == analysis.report.counts()["unstable"]
    assert sum(int(row["kept"]) for row in layers) == analysis.compression.after.neurons
    assert sum(int(row["by_refute"]) for row in layers) == analysis.report.counts()["unstable"]
    with (tmp_path / "neurons.csv").open() as stream:
        neurons = list(csv.DictReader(stream))
    found = [(r["layer"], int(r["unit"]), r["phase"], float(r["lower"]), float(r["upper"])) for r in neurons]
    assert found == [(v.layer, v.unit, v.phase.value, v.lower, v.upper) for v in analysis.report.verdicts]


def test_shapes_by_hand() -> None:
    """Shapes stand side by side; a layer that is in one network only has none in the other."""
    small = chain((2,), Dense([[1.0, 1.0]]), Rectifier())
    assert shape_table(diamond(), small).rows == (
        ("input", "2", "2"), ("0", "2", "1"), ("1", "2", "1"), ("2", "1", ""),
    )  # fmt: skip


def test_text_of_odd_file_names(tmp_path: Path) -> None:
    """Half characters, as file names may hold, do not keep a report from being written."""
    paper.write_text(tmp_path / "x", "a\udcffb")
    assert (tmp_path / "x").read_text() == "a?b"


@given(st.floats(min_value=0.0, allow_nan=False, allow_infinity=False))
def test_bounds_are_rounded_up(bound: float) -> None:
    """A printed bound is never below the proved one, and not more than one in the second digit above."""
    printed = float(at_most(bound))
    assert bound <= printed
    assert printed <= bound * 1.1000001 or bound < 1e-300 or printed == float("inf")


def test_bounds_that_are_not_finite() -> None:
    """What is not finite is said as it is."""
    assert (at_most(float("inf")), at_most(0.0), at_most(8.91e-17)) == ("inf", "0", "9e-17")
