"""Results for people: every number in a table is the number in the report, and folders hold whole results."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from rich.console import Console

from milpcomp.domain import Box
from milpcomp.errors import OutputError
from milpcomp.report import figure as figures
from milpcomp.report.analysis import report_document
from milpcomp.report.folder import staged
from milpcomp.report.tables import Table, change, proof_table, stage_table, verdict_table
from milpcomp.report.words import solver_line
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict

KINDS = {
    Phase.STABLY_INACTIVE: (Stage.CLOSED_FORM, Proof.CERTIFIED),
    Phase.STABLY_ACTIVE: (Stage.SOLVER, Proof.SOLVER),
    Phase.UNSTABLE: (Stage.REFUTE, Proof.WITNESSED),
    Phase.UNDECIDED: (Stage.NONE, Proof.NONE),
}


def report(**layers: tuple[int, int, int, int]) -> Report:
    """Return a report with so many (inactive, active, unstable, undecided) neurons per layer."""
    verdicts: list[Verdict] = []
    for layer, counts in layers.items():
        phases = [phase for phase, n in zip(Phase, counts, strict=True) for _ in range(n)]
        verdicts += [Verdict(layer, unit, phase, *KINDS[phase], -1.0, 1.0) for unit, phase in enumerate(phases)]
    seconds = {"closed-form": 0.25, "refute": 1.0, "solver": 2.5}
    return Report("ab" * 32, Box(0.0, 1.0), tuple(verdicts), np.zeros((0,)), stage_seconds=seconds)


EXAMPLE = report(relu1=(2, 1, 5, 0), relu2=(1000, 0, 200, 34))


def drawn(table: Table) -> list[list[str]]:
    """Return the cells of a table as rich draws it, row by row, without rules and empty lines."""
    console = Console(file=io.StringIO(), width=120)
    console.print(table.rich())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell for cell in line.split("  ") if cell.strip()] for line in lines if line.strip(" ─")]


# ------------------------------------------------------------------------------------------------------------- tables


def test_verdicts_by_layer() -> None:
    """The verdict table counts every phase in every layer, and sums them up."""
    table = verdict_table(EXAMPLE)
    assert table.header == ("layer", "neurons", "stably inactive", "stably active", "unstable", "undecided")
    assert table.rows == (
        ("relu1", "8", "2", "1", "5", "0"),
        ("relu2", "1,234", "1,000", "0", "200", "34"),
        ("all", "1,242", "1,002", "1", "205", "34"),
    )


def test_verdicts_by_stage() -> None:
    """The stage table says who decided what, in which time; nothing is undecided by a stage."""
    assert stage_table(EXAMPLE).rows == (
        ("closed-form", "1,002", "0", "0", "0.25"),
        ("refute", "0", "0", "205", "1.00"),
        ("solver", "0", "1", "0", "2.50"),
        ("all", "1,002", "1", "205", "3.75"),
    )


def test_solver_verdicts_are_counted_apart() -> None:
    """Stable neurons on a solver's word are named as not proved, in words and JSON."""
    assert solver_line(EXAMPLE) == "of the 1,003 stable neurons, 1 on a solver's word, not proved"
    assert solver_line(report(relu=(2, 0, 1, 1))) == ""
    document = report_document(EXAMPLE)
    assert (document["solver"], document["layers"]["relu1"]["solver"], document["layers"]["relu2"]["solver"]) == (
        1,
        1,
        0,
    )


def test_verdicts_by_proof() -> None:
    """The proof table says in words what the verdicts rest on, and leaves out what none rests on."""
    words = {row[0].split(":")[0]: row[1] for row in proof_table(EXAMPLE).rows}
    assert words == {"certified": "1,002", "witnessed": "205", "solver": "1", "none": "34"}
    certified = {row[0].split(":")[0] for row in proof_table(report(relu1=(2, 0, 0, 0))).rows}
    assert certified == {"certified"}


def test_network_without_neurons() -> None:
    """A network without hidden neurons has tables too."""
    assert verdict_table(report()).rows == (("all", "0", "0", "0", "0", "0"),)
    assert proof_table(report()).rows == ()


def test_markdown() -> None:
    """Markdown sets numbers flush right, the total in bold, and a bar inside a name apart from the columns."""
    table = Table(("layer", "neurons"), (("a|b", "1"), ("all", "1,000")), total=True)
    assert table.markdown() == (
        "| layer | neurons |\n|-------|--------:|\n| a\\|b  |       1 |\n| **all** | **1,000** |\n"
    )


def test_terminal_and_markdown_agree() -> None:
    """The two renderings of a table hold the same cells."""
    table = verdict_table(EXAMPLE)
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.markdown().splitlines()]
    del cells[1]  # the rule
    assert [[cell.strip() for cell in row] for row in drawn(table)] == cells


def test_names_are_no_markup() -> None:
    """A layer name in brackets appears as it is, not as a style."""
    table = Table(("layer", "neurons"), (("[bold]x[/bold]", "1"),))
    assert drawn(table)[1][0].strip() == "[bold]x[/bold]"


def test_names_stay_on_their_line() -> None:
    """Line breaks and other control characters of a name are spelled out, in Markdown and on a terminal."""
    table = Table(("layer", "neurons"), (("a\n# b\x1b[1m\u2028|α", "1"),))
    assert table.markdown().splitlines()[2] == r"| a\n# b\x1b[1m\u2028\|α |       1 |"
    assert drawn(table)[1][0].strip() == r"a\n# b\x1b[1m\u2028|α"


@pytest.mark.parametrize(
    ("before", "after", "text"), [(200, 150, "-25.0 %"), (8, 8, ""), (4, 5, "+25.0 %"), (0, 0, "")]
)
def test_change(before: int, after: int, text: str) -> None:
    """A change is a signed percentage of what was there before."""
    assert change(before, after) == text


# ------------------------------------------------------------------------------------------------------------- figure


def test_figure_stacks_every_layer_to_a_hundred() -> None:
    """Each layer's bars add up to 100 %, begin where the last one ended, and are as long as their share."""
    axes = figures.verdict_figure(EXAMPLE).axes[0]
    rows: dict[int, list[tuple[float, float]]] = {}
    for bar in axes.patches:
        rows.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append((bar.get_x(), bar.get_width()))  # type: ignore[attr-defined]
    assert rows.keys() == {0, 1}
    assert [width for _, width in rows[0]] == pytest.approx([25.0, 12.5, 62.5, 0.0])  # the active one on trust
    for bars in rows.values():
        assert [x for x, _ in bars] == pytest.approx(np.cumsum([0.0] + [width for _, width in bars])[:-1])
        assert sum(width for _, width in bars) == pytest.approx(100.0)
    assert axes.get_ylim() == (1.5, -0.5)  # the first layer on top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["relu1  (8)", "relu2  (1,234)"]


def test_figure_shows_trust_apart() -> None:
    """What is stable on a solver's word has a hatched bar and a name of its own, not that of what is proved."""
    axes = figures.verdict_figure(report(relu=(2, 1, 0, 0))).axes[0]
    names = axes.get_legend_handles_labels()[1]
    assert names == ["stably inactive", "stably active (solver's word)"]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, True]


def test_figure_colours_differ_in_lightness() -> None:
    """Any two fills differ in relative luminance by a tenth at least, so they survive grey printing."""
    luminances = sorted(float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(f["facecolor"]))) for f in figures.FILLS.values())
    assert min(np.diff(luminances)) > 0.1


def test_figure_files(tmp_path: Path) -> None:
    """The figure is written as PNG and PDF, the same bytes every time, whatever the layers are called."""
    named = report(**{"$a_$": (1, 1, 1, 1), "x" * 80: (3, 0, 0, 0)})
    png, pdf = figures.save_figure(figures.verdict_figure(named), tmp_path / "one")
    again = figures.save_figure(figures.verdict_figure(named), tmp_path / "two")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), pdf.read_bytes()]


def test_figure_of_nothing(tmp_path: Path) -> None:
    """A network without hidden neurons has a figure too, an empty one."""
    png, _ = figures.save_figure(figures.verdict_figure(report()), tmp_path / "empty")
    assert png.stat().st_size > 0


# ------------------------------------------------------------------------------------------------------------- folder


def test_folder_receives_everything_at_once(tmp_path: Path) -> None:
    """Files move in at the end, stale ones go, files of other names stay, nothing hidden remains."""
    out = tmp_path / "a" / "out"
    out.mkdir(parents=True)
    for name in ("new", "stale", "other"):
        (out / name).write_text("old")
    with staged(out, stale=("stale", "never")) as draft:
        (draft / "new").write_text("new")
        assert (out / "new").read_text() == "old"
    assert {path.name: path.read_text() for path in out.iterdir()} == {"new": "new", "other": "old"}


@pytest.mark.parametrize("existed", [False, True])
def test_folder_is_as_before_after_an_error(tmp_path: Path, existed: bool) -> None:
    """An exception leaves the folder as it was: unchanged, or absent."""
    out = tmp_path / "out"
    if existed:
        out.mkdir()

    def interrupted() -> None:
        with staged(out, stale=("old",)) as draft:
            (draft / "new").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.exists() is existed
    assert not existed or not list(out.iterdir())


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_folder_that_cannot_be(tmp_path: Path, place: str) -> None:
    """A folder below or in place of a file is refused."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write into the folder"), staged(tmp_path / place):
        pass


def test_folder_does_not_replace_folders(tmp_path: Path) -> None:
    """Where a folder stands in a result's place, that is an error, and it stands."""
    (tmp_path / "report.md").mkdir()

    def write() -> None:
        with staged(tmp_path) as draft:
            (draft / "report.md").write_text("")

    with pytest.raises(OutputError, match="cannot move the results"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
