"""The tables of the rotated ReLU papers: published ones are whole, and our numbers stand in cells that exist."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analyses import exact_zeros
from analyses.accuracy_flops import Point, cut_scales, cut_slopes, read_points, write_points
from analyses.book import printed
from analyses.book.entry import ANALYSES, Context
from analyses.values import Channels, channels, every, write_values
from milpcomp.cost import cost
from milpcomp.network.checkpoint_file import read_tensors
from models.recipe import Recipe, read_recipe
from tests.test_compare import classifier

RESULTS = ANALYSES / "results"
CONTEXT = Context(Path(), Path())
TABLES = [(paper, number) for paper in ("2022", "2024") for number in printed.published(paper) if number != "6"]


@pytest.mark.parametrize("paper", ["2022", "2024"])
def test_published_tables_are_rectangular(paper: str) -> None:
    """Every row of a published table has one entry per column."""
    for name, table in printed.published(paper).items():
        for row, values in table["rows"].items():
            assert len(values) == len(table["columns"]), (name, row)


@pytest.mark.parametrize(("paper", "number"), TABLES)
def test_published_rows_stand_first(paper: str, number: str) -> None:
    """Each quantity has its published row, and our row, if there is one, follows; remarks say whose it is."""
    table, remarks = printed.beside(paper, number, CONTEXT)
    sources = [row[1] for row in table.rows]
    assert sources.count("published") == len(dict.fromkeys(row[0] for row in table.rows))
    for before, row in zip(table.rows, table.rows[1:], strict=False):
        assert row[1] == "published" or before[:2] == (row[0], "published")
    assert remarks
    assert "here" in sources


def test_published_counts_are_what_the_authors_checkpoint_gives() -> None:
    """Of the study of the authors' checkpoint, 26 of 672 slopes are the 3.86 % that the paper prints."""
    table, _ = printed.beside("2024", "2", CONTEXT)
    rows = {(row[0], row[1]): row[2] for row in table.rows}
    assert rows["filters ignored %", "published"] == "3.86"
    assert float(rows["filters ignored %", "here"]) == pytest.approx(100 * 26 / 672, abs=0.005)
    assert rows["accuracy, rotated", "published"] == rows["accuracy, rotated", "here"] == "92.86"


def test_cells_that_do_not_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number for a row that the published table does not have is a mistake in the script."""
    monkeypatch.setitem(printed.RUN, ("2022", "I"), lambda _: [printed.Cell("speed", "MNIST FCNN", 1.0, "")])
    with pytest.raises(ValueError, match="no cell"):
        printed.beside("2022", "I", CONTEXT)


def test_the_published_scale_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `full` the MNIST networks are trained anew, and the next table finds what the first has trained."""
    runs: list[Path] = []

    def train(recipe: Recipe, data: Path, out: Path, resume: bool) -> None:
        runs.append(out)
        (out / "card.json").write_text(json.dumps({"results": {"test_accuracy": 0.5}}))

    monkeypatch.setattr(printed, "run_recipe", train)
    (tmp_path / "mnist").mkdir()
    full = Context(tmp_path, tmp_path / "measured", full=True)
    cells = [list(printed.accuracy("MNIST FCNN", "mnist-fcnn-relu", "accuracy", "", full)) for _ in range(2)]
    assert cells == [[printed.Cell("accuracy", "MNIST FCNN", 50.0, "")]] * 2
    assert runs == [tmp_path / "measured" / "mnist-fcnn-relu"]


def test_only_proximal_steps_save_anything_exactly() -> None:
    """Of the short runs, those with proximal steps have exact zeros and save FLOPs; subgradients have none."""
    table = exact_zeros.exact_zeros(CONTEXT).table
    assert len(table.rows) >= 3
    for row in table.rows:
        zeros, saved = int(row[5]), float(row[-1])
        assert (zeros > 0) == (saved > 0) == ("proximal" in row[0])


def test_kept_numbers_are_those_of_the_cards(tmp_path: Path) -> None:
    """Slopes and scales in a file are as many, and as often small, as the card of the run says; writing keeps them."""
    for name in ("cifar10-resnet20-l1bn", "cifar10-resnet20-type2-subgradient"):
        found = channels(RESULTS / f"{name}_values.csv")
        card = printed.card(name)
        assert card is not None
        for values, kind in ((found.slopes, "slopes"), (found.scales, "batch_norm_gammas")):
            said = card["results"][kind] or {"total": 0, "within": {"0.01": 0}}
            sizes = np.abs(every(values))
            assert (len(sizes), int((sizes <= 0.01).sum())) == (said["total"], said["within"]["0.01"])
        write_values(found, tmp_path / "again.csv")
        assert (tmp_path / "again.csv").read_text() == (RESULTS / f"{name}_values.csv").read_text()


def test_the_study_of_slopes_alone_is_about_the_kept_slopes() -> None:
    """The accuracy that the tables show, and the slopes that the figure shows, are of one run."""
    said = json.loads((RESULTS / "cifar10-resnet20-coarse.json").read_text())
    sizes = np.abs(every(channels(RESULTS / "cifar10-resnet20-coarse_values.csv").slopes))
    assert len(sizes) == said["slopes"] == 672
    assert {bound: int((sizes <= float(bound)).sum()) for bound in said["within"]} == said["within"]
    assert said["epochs"] == sum(stage.epochs for stage in read_recipe(said["recipe"]).stages)


def test_pairs_stand_in_one_block() -> None:
    """The slope of `rrelu2` belongs to the scale of `bn2` of the same block."""
    own = Channels({"a.rrelu2": np.ones(1)}, {"a.bn1": np.zeros(1), "a.bn2": np.full(1, 5.0)})
    assert {name: (*scale, *slope) for name, (scale, slope) in own.pairs().items()} == {"a.rrelu2": (5.0, 1.0)}


def test_cuts_set_what_is_small_to_zero(shared_data: Path) -> None:
    """A cut counts slopes, or scales, of at most the threshold; what is left of it computes the same."""
    network = classifier()
    cut = cut_slopes(network, 0.05)
    assert (cut.removed, cut.channels) == (1, 3)
    assert cut.network.digest != network.digest
    tensors = read_tensors(shared_data / "nets/akamaster/resnet20-12fca82f.th")
    cut = cut_scales(tensors, False, 0.01)
    assert (cut.removed, cut.channels) == (18, 688)
    assert cost(cut.smaller).flops < cost(cut.network).flops
    image = np.random.default_rng(0).uniform(-1.0, 1.0, (1, 3, 32, 32))
    np.testing.assert_allclose(cut.smaller.forward(image), cut.network.forward(image), atol=1e-9)


def test_points_are_read_back(tmp_path: Path) -> None:
    """A file of points gives back the points."""
    points = [Point("net, a", 0.1, 1, 2, 300, 40, 1000, 92.5), Point("net", 0.2, 2, 2, 100, 4, 1000, 10.0)]
    write_points(points, tmp_path / "points.csv")
    assert read_points(tmp_path / "points.csv") == points
