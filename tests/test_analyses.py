"""The analysis scripts: published tables are whole, our numbers stand in cells that exist, figures show their data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analyses import exact_zeros, rrelu_figures, rrelu_tables

PUBLISHED = Path(rrelu_tables.__file__).parent / "published"


@pytest.mark.parametrize("file", sorted(rrelu_tables.PAPERS.values()))
def test_published_tables_are_rectangular(file: str) -> None:
    """Every row of a published table has one entry per column."""
    for name, table in json.loads((PUBLISHED / file).read_text())["tables"].items():
        for row, values in table["rows"].items():
            assert len(values) == len(table["columns"]), (name, row)


@pytest.mark.parametrize(("paper", "number"), rrelu_tables.TABLES)
def test_published_rows_stand_first(paper: str, number: str) -> None:
    """Each quantity has its published row, and our row, if there is one, follows; remarks say whose it is."""
    table, remarks = rrelu_tables.beside(paper, number)
    sources = [row[1] for row in table.rows]
    assert sources.count("published") == len(dict.fromkeys(row[0] for row in table.rows))
    for before, row in zip(table.rows, table.rows[1:], strict=False):
        assert row[1] == "published" or before[:2] == (row[0], "published")
    assert bool(remarks) == ("here" in sources)


def test_published_counts_are_what_the_authors_checkpoint_gives() -> None:
    """Of the study of the authors' checkpoint, 26 of 672 slopes are the 3.86 % that the paper prints."""
    table, _ = rrelu_tables.beside("2024", "2")
    rows = {(row[0], row[1]): row[2] for row in table.rows}
    assert rows["filters ignored %", "published"] == "3.86"
    assert float(rows["filters ignored %", "here"]) == pytest.approx(100 * 26 / 672, abs=0.005)
    assert rows["accuracy, rotated", "published"] == rows["accuracy, rotated", "here"] == "92.86"


def test_cells_that_do_not_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number for a row that the published table does not have is a mistake in the script."""
    monkeypatch.setitem(rrelu_tables.RUN, ("2022", "I"), lambda: [rrelu_tables.Cell("speed", "MNIST FCNN", 1.0, "")])
    with pytest.raises(ValueError, match="no cell"):
        rrelu_tables.beside("2022", "I")


def test_figures_hold_the_numbers_of_the_files(shared_data: Path, tmp_path: Path) -> None:
    """The figures of the authors' checkpoint show its 672 slopes; each is written with the numbers behind it."""
    made = rrelu_figures.figures(shared_data)
    figure, values = made["figure3_authors"]
    every = np.concatenate(list(values.values()))
    assert (len(every), int((np.abs(every) <= 0.1).sum())) == (672, 26)
    assert "672 slopes, 26 with" in figure.axes[0].get_title()
    assert sum(len(own) for own in made["figure10_relu_resnet56"][1].values()) == 2032
    rrelu_figures.save("f", figure, values, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".pdf", ".csv"}
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 673


def test_only_proximal_steps_save_anything_exactly() -> None:
    """Of the short runs, those with proximal steps have exact zeros and save FLOPs; subgradients have none."""
    found = {row[0]: row for row in exact_zeros.table().rows}
    assert len(found) >= 3
    for name, row in found.items():
        zeros, saved = int(row[5]), float(row[-1])
        assert (zeros > 0) == (saved > 0) == ("proximal" in name)
