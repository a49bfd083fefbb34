"""Progress: what is told, how often, and where it goes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from milpcomp import progress
from milpcomp.errors import SettingsError
from milpcomp.progress import LayerCount, Snapshot, observing


class Terminal(io.StringIO):
    """A text file that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def snapshot(stage: str, seconds: float, undecided: int) -> Snapshot:
    """Return the state of two layers of 10 neurons, the first decided, the second with `undecided` open."""
    return Snapshot(
        stage, seconds, (LayerCount("relu1", 10, 3, 2, 5, 0), LayerCount("relu2", 10, 0, 0, 10 - undecided, undecided))
    )


def test_total_adds_the_layers() -> None:
    """The total of a snapshot is the sum over its layers, phase by phase."""
    assert snapshot("bound", 1.0, 4).total() == LayerCount("all", 20, 3, 2, 11, 4)


def test_plain_line_says_what_is_open_and_decided() -> None:
    """A plain line names time, stage, and all four counts."""
    assert progress.line(snapshot("bound", 1.25, 4)) == (
        "     1.2 s  bound        4 of 20 neurons open, 3 stably inactive, 2 stably active, 11 unstable"
    )


def test_stages_without_neurons() -> None:
    """A stage that is not about neurons is a line of time and name, and leaves the live table as it was."""
    assert progress.line(Snapshot("load", 1.25, ())) == "     1.2 s  load"
    screen = progress._Screen()
    screen.observe(Snapshot("load", 0.0, ()))
    assert str(screen.__rich__()).startswith("load  0.0 s")
    for state in (snapshot("bound", 0.5, 4), Snapshot("compress", 1.0, ())):
        screen.observe(state)
    assert screen.latest == Snapshot("compress", 1.0, snapshot("bound", 0.5, 4).layers)


def test_plain_lines_come_at_stage_changes_and_now_and_then() -> None:
    """Away from a terminal a line is written per stage and per interval, and the last state is never left out."""
    stream = io.StringIO()
    with observing(True, stream) as observe:
        observe(snapshot("refute", 0.0, 10))
        observe(snapshot("refute", 0.1, 9))  # same stage, too soon
        observe(snapshot("bound", 0.2, 9))
        observe(snapshot("bound", 0.2 + progress.LINE_INTERVAL_S, 7))
        observe(snapshot("bound", 6.0, 1))  # too soon, but the last
    lines = stream.getvalue().splitlines()
    assert [text.split()[2:4] for text in lines] == [
        ["refute", "10"], ["bound", "9"], ["bound", "7"], ["bound", "1"],
    ]  # fmt: skip
    assert "\x1b" not in stream.getvalue()


def test_last_state_is_not_written_twice() -> None:
    """If the last snapshot has been written, leaving adds nothing."""
    stream = io.StringIO()
    with observing(True, stream) as observe:
        observe(snapshot("refute", 0.0, 10))
    assert len(stream.getvalue().splitlines()) == 1


def test_live_table_leaves_one_line_behind() -> None:
    """On a terminal a table is drawn while running, and one plain line remains."""
    stream = Terminal()
    with observing(True, stream) as observe:
        observe(snapshot("bound", 0.5, 4))
    assert stream.getvalue().splitlines()[-1].endswith(progress.line(snapshot("bound", 0.5, 4)))
    assert "\x1b" in stream.getvalue()


def test_live_table_shows_every_layer() -> None:
    """The live table holds a row per layer with its counts, the stage and a total."""
    screen = progress._Screen()
    screen.observe(snapshot("bound", 0.5, 4))
    console = Console(file=io.StringIO(), width=100)
    console.print(screen)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [text_line.split()[:6] for text_line in text.splitlines()]
    assert rows[0][0] == "bound"
    assert ["relu1", "10", "3", "2", "5", "0"] in rows
    assert ["relu2", "10", "0", "0", "6", "4"] in rows
    assert ["all", "20", "3", "2", "11", "4"] in rows


def test_names_are_no_markup_on_the_screen() -> None:
    """A layer's name in brackets appears as it is, neither as a style nor as an error."""
    screen = progress._Screen()
    screen.observe(Snapshot("bound", 0.5, (LayerCount("[/relu]", 10, 3, 2, 5, 0),)))
    console = Console(file=io.StringIO(), width=100)
    console.print(screen)
    assert "[/relu]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_deep_networks_fit_the_screen() -> None:
    """With many layers the decided ones share a row, so do open ones beyond the limit; none is lost."""
    layers = tuple(LayerCount(str(i), 5, 0, 0, 5 if i < 10 else 0, 0 if i < 10 else 5) for i in range(60))
    rows = progress._rows(Snapshot("bound", 0.0, layers))
    assert len(rows) == progress.LIVE_ROWS + 3
    assert rows[0] == LayerCount("10 layers decided", 50, 0, 0, 50, 0)
    assert sum(row.neurons for row in rows[:-1]) == rows[-1].neurons == 300


@pytest.mark.parametrize("silent", [False, None])
def test_silence(silent: bool | None) -> None:
    """Without progress nothing is written."""
    stream = Terminal()
    with observing(silent, stream) as observe:
        observe(snapshot("bound", 0.5, 4))
    assert stream.getvalue() == ""


def test_a_function_is_given_every_snapshot() -> None:
    """A callable observer sees each snapshot, unfiltered."""
    seen: list[Snapshot] = []
    states = [snapshot("bound", 0.0, 4), snapshot("bound", 0.0, 3)]
    with observing(seen.append) as observe:
        for state in states:
            observe(state)
    assert seen == states


def test_anything_else_is_refused() -> None:
    """A progress option of another kind is refused with what it may be."""
    with pytest.raises(SettingsError, match="True, False or a function"), observing("yes"):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_the_display_ends_with_an_exception(stream: io.StringIO) -> None:
    """An interruption passes through, and the last state is still told."""

    def interrupted_run() -> None:
        with observing(True, stream) as observe:
            observe(snapshot("bound", 0.5, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert "4 of 20 neurons open" in stream.getvalue().splitlines()[-1]
