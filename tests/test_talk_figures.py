"""The talk's tables and figures show what the records say, what is published beside it, and nothing that is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from analyses import grid_deviation, grid_results, l1_sweep, rows, style, talk_figures, talk_tables
from analyses.book import talk
from analyses.book.entry import Context, MissingDataError
from analyses.grid_deviation import Compressed
from analyses.grid_results import Cell, StaleRecordError
from analyses.l1_sweep import Point
from milpcomp.network import Dense, Rectifier
from models import grid
from models.data import load_images
from tests.nets import chain

CELL = Cell(
    network="2x100_full", shape="2x100", variant="full", l1=0.0002, accuracy=0.9797, loss=None, method="funnel",
    neurons=200, stably_inactive=40, stably_active=8, unstable=150, undecided=2, closed_form=40, refute=150, bound=8,
    branch=0, solver=0, seconds=61.25, cpu_seconds=20.5, check_seconds=0.4, rejected=0, contradictions=None, samples=0,
    peak_mib=400.5, neurons_after=150, deviation_bound=1.25e-16, limit_s=60.0, ended="time limit",
)  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder of results with two cells, one compression, and three weights of l1."""
    slow = replace(CELL, method="one-solve", seconds=600.0, cpu_seconds=None, undecided=0)
    rows.write([CELL, slow], Cell, tmp_path / "grid.csv")
    within = Compressed("2x100_full", 0.001, 200, 130, 9e-4, 0.9797, 0.9796, 1)
    rows.write([within], Compressed, tmp_path / "grid_deviation.csv")
    points = [
        Point(1e-4 * n, 0.98, 200, 0, 0, 200 - n, n, 9.0, 3.0 + n, 200, 200 - 20 * n, 0.98, 0.0) for n in (0, 1, 2)
    ]
    rows.write(points, Point, tmp_path / "l1_sweep.csv")
    return tmp_path


def record(folder: Path, name: str) -> Path:
    """Write a record as the benchmark does, of a network of the grid, and return its file."""
    network = mc.load(grid.find(name))
    path = folder / f"{name}.funnel.json"
    text = {
        "network": name, "method": "funnel", "digest": network.digest, "limit_s": 60.0, "neurons": 100,
        "counts": {"stably_inactive": 16, "stably_active": 2, "unstable": 81, "undecided": 1},
        "stages": {"closed-form": 18, "refute": 81}, "stage_seconds": {}, "seconds": 1.5, "ended": "complete",
        "undecided": [{"layer": "0.relu", "unit": 1, "lower": -1.0, "upper": 1.0}], "check_seconds": 0.25,
        "rejected": 0, "contradictions": 0, "samples": 1000, "neurons_after": 84, "deviation_bound": 0.0,
        "peak_mib": 512.5,
    }  # fmt: skip
    path.write_text(json.dumps(text))
    return path


def test_records_become_rows_with_what_the_card_says(tmp_path: Path) -> None:
    """A record and the card of its network are one row, and reading the table gives the same rows."""
    record(tmp_path, "2x50_proximal")
    (cell,) = grid_results.collect([tmp_path])
    assert (cell.shape, cell.variant, cell.l1, cell.accuracy, cell.loss) == ("2x50", "proximal", 0.0002, 0.9762, None)
    assert (cell.closed_form, cell.refute, cell.branch, cell.undecided) == (18, 81, 0, 1)
    assert (cell.cpu_seconds, cell.contradictions) == (None, 0)
    assert cell.removed == pytest.approx(0.16)
    rows.write([cell, CELL], Cell, tmp_path / "grid.csv")
    assert rows.read(Cell, tmp_path / "grid.csv") == (cell, CELL)


def test_records_of_other_weights_are_refused(tmp_path: Path) -> None:
    """A record whose digest is not that of the weights, or that is there twice, or without a network, is an error."""
    path = record(tmp_path, "2x50_proximal")
    with pytest.raises(StaleRecordError, match="twice"):
        grid_results.collect([tmp_path, tmp_path])
    path.write_text(path.read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(StaleRecordError, match="measure it anew"):
        grid_results.collect([tmp_path])
    path.write_text(path.read_text().replace("2x50_proximal", "9x9_half"))
    with pytest.raises(FileNotFoundError, match="--networks"):
        grid_results.collect([tmp_path])


def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m analyses.grid_results CELLS --out FILE` collects a folder."""
    record(tmp_path, "2x50_proximal")
    grid_results.main([str(tmp_path), "--out", str(tmp_path / "grid.csv")])
    assert "1 cells of 1 networks" in capsys.readouterr().out
    assert [cell.network for cell in rows.read(Cell, tmp_path / "grid.csv")] == ["2x50_proximal"]


def test_cells_show_numbers_open_neurons_and_gaps(results: Path) -> None:
    """What was measured is shown with what is open; what was not is missing, and published numbers are as printed."""
    context = Context(results, results, results=results)
    shares = {row[:2]: row[2:] for row in talk_tables.removed_by_depth(context).table.rows}
    assert shares["2x100", "published"] == ("0 % (97.93 %)", "13 % (98.14 %)", "23 % (97.89 %)", "–")
    assert shares["2x100", "here, exactly"] == ("missing", "missing", "25.0 % (97.97 %, 2 open)", "missing")
    assert shares["2x100", "here, within 0.001"][2] == "35.0 % (97.96 %)"
    times = {row[:2]: row[2:] for row in talk_tables.runtime_by_width(context).table.rows}
    assert times["2x100", "here: funnel"] == ("missing", "missing", "61 s (20 s), 2 open", "missing")
    assert times["2x100", "here: one solve, HiGHS"][2] == "600 s"
    assert times["2x800", "published: one solve, Gurobi"] == ("3,500 s", "–", "1,000 s", "–")
    autoencoders = {row[:2]: row[2:] for row in talk_tables.removed_by_outer(context).table.rows}
    assert autoencoders["50-10-50", "published"] == ("0 % (0.047)", "14 % (0.051)", "89 % (0.081)", "–")
    assert set(autoencoders["400-10-400", "here, exactly"]) == {"missing"}
    assert talk_tables.runtime_by_middle(context).notes == ("24 cells were not measured.",)


def test_figures_draw_what_is_there(results: Path) -> None:
    """With nearly everything missing the figures are made all the same, and their numbers say what is missing."""
    context = Context(results, results, results=results)
    with style.look():
        made = {entry.key: entry.make(context) for entry in talk.ENTRIES}
        for page in made.values():
            if page.figure is not None:
                page.figure.draw_without_rendering()
    drawn = {row[:3]: row[3] for row in made["talk-l1-shapes"].table.rows}
    assert drawn["here: funnel, processor time", "2x100", "full"] == "20.5"
    assert drawn["here: funnel, processor time", "2x100", "half"] == "missing"
    assert drawn["published: removed", "5x100", "half"] == "17.0"
    assert drawn["here: removed, outputs within 0.001", "2x100", "full"] == "35.0"
    curve = {row[:3]: row[3:] for row in made["talk-methods"].table.rows}
    assert curve["here: funnel", "2x100", "full"] == ("61.2", "20.5", "2")
    assert curve["published: per-neuron, Gurobi", "2x50", ""] == ("100", "", "")
    assert made["talk-accuracy"].notes[1:] == (
        "published averages: R² = 0.29, 13 networks.",
        "here, 2x100, 2 networks.",
        "here, all shapes, 1 networks.",
    )
    assert made["talk-l1"].table.rows[2] == ("0.0002", "98.00", "20.0", "0.0", "5.0", "2")
    assert made["talk-l1"].notes == ("3 networks; the hardest has l1 = 0.0002 and takes 5.0 s.",)


def test_without_records_the_command_is_named(tmp_path: Path) -> None:
    """A page whose numbers were never measured says by what to measure them."""
    with pytest.raises(MissingDataError, match=r"analyses\.benchmarks\.grid"):
        talk_figures.methods(Context(tmp_path, tmp_path, results=tmp_path))


def test_r_squared_by_hand() -> None:
    """Points on a line have 1; (0, 0), (1, 1), (2, 0) have 0; too few, or all alike, have none."""
    assert talk_figures.r_squared([0, 1, 2], [5, 3, 1]) == pytest.approx(1.0)
    assert talk_figures.r_squared([0, 1, 2], [0, 1, 0]) == pytest.approx(0.0)
    assert talk_figures.r_squared([0, 1], [0, 1]) is None
    assert talk_figures.r_squared([1, 1, 1], [0, 1, 2]) is None


def test_outputs_that_may_move_let_dust_go(tmp_path: Path) -> None:
    """A neuron of weights 1e-6 is unstable, so it stays exactly; with a tolerance of 1e-4 it goes, within its bound."""
    weight = [[1.0, -1.0, 0.5], [1e-6, -1e-6, 0.0]]
    network = chain((3,), Dense(weight, [0.0, 0.0]), Rectifier(), Dense([[1.0, 1.0], [-1.0, 2.0]]))
    network.save(tmp_path / "dust.npz")
    images = np.random.default_rng(0).random((20, 3))
    labels = network.forward(images).argmax(axis=1)
    found = list(grid_deviation.measure(tmp_path / "dust.npz", images, labels))
    assert [row.tolerance for row in found] == list(grid_deviation.TOLERANCES)
    assert (found[0].neurons, found[0].neurons_after, found[0].accepted, found[0].before) == (2, 1, 1, 1.0)
    assert 0 < found[0].deviation_bound <= 2e-6
    rows.write(found, Compressed, tmp_path / "rows.csv")
    assert [row.neurons_after for row in rows.read(Compressed, tmp_path / "rows.csv")] == [1, 1, 1]


def test_the_sweep_covers_the_range_coarsely_first() -> None:
    """The first nine of the seventeen weights of l1 already go from 0 to 0.0004."""
    order = l1_sweep.order()
    assert (len(order), min(order[:9]), max(order[:9])) == (17, 0.0, 0.0004)
    assert sorted(order) == pytest.approx([n * 0.000025 for n in range(17)])


def test_a_network_of_the_sweep_is_measured(shared_data: Path) -> None:
    """Of the grid's network with exact zeros, more neurons go within a bound than exactly, and the rest adds up."""
    pixels, labels = load_images(shared_data / "mnist", "t10k")
    point = l1_sweep.measure(grid.find("2x50_proximal"), 0.0002, pixels.astype(np.float64), labels)
    assert (point.neurons, point.undecided, point.exactly) == (100, 0, 84)
    assert point.within <= point.exactly
    assert 0 <= point.deviation_bound <= l1_sweep.TOLERANCE
    assert point.accuracy == pytest.approx(0.9762)
    assert abs(point.accuracy_within - point.accuracy) < 0.001


def test_scores_of_autoencoders_are_squared_errors() -> None:
    """A network of as many outputs as inputs is measured by how far it is from its input."""
    halves = chain((2,), Dense(np.eye(2) / 2))
    assert grid_deviation.score(halves, np.ones((3, 2)), np.zeros(3)) == pytest.approx(0.25)


def test_results_at_hand_hold_together() -> None:
    """In the committed tables every neuron is decided or open, no verdict was rejected, and no bound is exceeded."""
    folder = grid_results.RESULTS
    cells = rows.read(Cell, folder / "grid.csv")
    assert len(cells) > 20
    for cell in cells:
        assert cell.stably_inactive + cell.stably_active + cell.unstable + cell.undecided == cell.neurons
        assert sum(getattr(cell, stage) for stage in grid_results.STAGES) == cell.neurons - cell.undecided
        assert (cell.rejected, cell.contradictions or 0) == (0, 0)
        assert (cell.undecided == 0) <= (cell.ended == "complete")
    for row in rows.read(Compressed, folder / "grid_deviation.csv"):
        assert row.accepted == 1
        assert row.deviation_bound <= row.tolerance
