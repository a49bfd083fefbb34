"""What a running certification tells: immutable snapshots, drawn live or written as plain lines.

A run calls its observer with one `Snapshot` whenever a stage begins, ends, or has decided something; calls are cheap,
and the observers here limit how often they draw. Everything goes to standard error: standard output holds results only.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from milpcomp.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_INTERVAL_S = 5.0
"""Plain lines: at most one in this time, and one at every change of stage."""

LIVE_ROWS = 16
"""Live display: with more layers than this, only layers with undecided neurons have a row of their own."""


@dataclass(frozen=True)
class LayerCount:
    """How many neurons of one layer are in each phase; `undecided` are still open."""

    layer: str
    neurons: int
    stably_inactive: int
    stably_active: int
    unstable: int
    undecided: int


@dataclass(frozen=True)
class Snapshot:
    """The state of a run.

    Parameters
    ----------
    stage : str
        What the run is doing now, in words of the user's world: ``"refute"``, ``"bound"``, ...
    seconds : float
        Wall-clock time since the run began.
    layers : tuple of LayerCount
        In topological order; empty where a stage is not about neurons.
    """

    stage: str
    seconds: float
    layers: tuple[LayerCount, ...]

    def total(self) -> LayerCount:
        """Return the counts of all layers together."""
        return _sum("all", self.layers)


Observer = Callable[[Snapshot], None]


@contextlib.contextmanager
def observing(progress: bool | Observer | None, stream: TextIO | None = None) -> Iterator[Observer]:
    """Give the observer that ``progress=`` asks for, and take its display down at the end, also after an exception.

    Parameters
    ----------
    progress : bool, callable or None
        False or None: silence. True: a live table where `stream` is a terminal, else plain lines. A callable is given
        every snapshot as it is.
    stream : text file, optional
        Standard error if not given.

    Raises
    ------
    SettingsError
        If `progress` is something else.
    """
    if progress is None or progress is False:
        yield lambda snapshot: None
    elif callable(progress):
        yield progress
    elif progress is True:
        target = sys.stderr if stream is None else stream
        with _live(target) if target.isatty() else _plain(target) as observer:
            yield observer
    else:
        raise SettingsError(f"progress must be True, False or a function of one Snapshot, got {progress!r}")


def line(snapshot: Snapshot) -> str:
    """Return one plain line: seconds, stage, and, if there are layers, how many neurons are open and decided."""
    total = snapshot.total()
    if not snapshot.layers:
        return f"{snapshot.seconds:8.1f} s  {snapshot.stage}"
    return (
        f"{snapshot.seconds:8.1f} s  {snapshot.stage:<12} {total.undecided:,} of {total.neurons:,} neurons open, "
        f"{total.stably_inactive:,} stably inactive, {total.stably_active:,} stably active, {total.unstable:,} unstable"
    )


@contextlib.contextmanager
def _plain(stream: TextIO) -> Iterator[Observer]:
    latest: Snapshot | None = None
    written: Snapshot | None = None

    def observe(snapshot: Snapshot) -> None:
        nonlocal latest, written
        latest = snapshot
        if written is None or snapshot.stage != written.stage or snapshot.seconds >= written.seconds + LINE_INTERVAL_S:
            written = snapshot
            print(line(snapshot), file=stream, flush=True)

    try:
        yield observe
    finally:
        if latest is not None and latest.layers != (written.layers if written else None):
            print(line(latest), file=stream, flush=True)


@contextlib.contextmanager
def _live(stream: TextIO) -> Iterator[Observer]:
    from rich.console import Console
    from rich.live import Live

    screen = _Screen()
    try:
        with Live(screen, console=Console(file=stream), refresh_per_second=8, transient=True):
            yield screen.observe
    finally:
        if screen.latest is not None:
            print(line(screen.latest), file=stream, flush=True)


class _Screen:
    """The live table; rich draws it again several times a second, so the clock runs between snapshots too."""

    def __init__(self) -> None:
        self.latest: Snapshot | None = None
        self._received = time.monotonic()

    def observe(self, snapshot: Snapshot) -> None:
        if not snapshot.layers and self.latest is not None:
            snapshot = replace(snapshot, layers=self.latest.layers)  # keep the table on the screen
        self.latest, self._received = snapshot, time.monotonic()

    def __rich__(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        if self.latest is None:
            return Text("starting ...")
        seconds = self.latest.seconds + time.monotonic() - self._received
        title = f"{self.latest.stage}  {seconds:.1f} s"
        if not self.latest.layers:
            return Text(title)
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("layer")
        for column in ("neurons", "inactive", "active", "unstable", "open"):
            table.add_column(column, justify="right")
        table.add_column("decided")
        for row in _rows(self.latest):
            table.add_row(
                Text(row.layer),
                *(str(n) for n in (row.neurons, row.stably_inactive, row.stably_active, row.unstable, row.undecided)),
                _bar(row),
            )
        return table


def _rows(snapshot: Snapshot) -> list[LayerCount]:
    """Return the rows of the live table: each layer and the total, or fewer where that would not fit a screen."""
    layers = snapshot.layers
    if len(layers) > LIVE_ROWS:
        settled = tuple(layer for layer in layers if not layer.undecided)
        moving = tuple(layer for layer in layers if layer.undecided)
        head = (_sum(f"{len(settled)} layers decided", settled),) if settled else ()
        tail = (_sum(f"{len(moving) - LIVE_ROWS} more layers", moving[LIVE_ROWS:]),) if len(moving) > LIVE_ROWS else ()
        layers = (*head, *moving[:LIVE_ROWS], *tail)
    return [*layers, snapshot.total()]


def _bar(row: LayerCount, width: int = 20) -> str:
    filled = width if not row.neurons else width * (row.neurons - row.undecided) // row.neurons
    return "━" * filled + "─" * (width - filled)


def _sum(name: str, layers: tuple[LayerCount, ...]) -> LayerCount:
    return LayerCount(
        name,
        sum(layer.neurons for layer in layers),
        sum(layer.stably_inactive for layer in layers),
        sum(layer.stably_active for layer in layers),
        sum(layer.unstable for layer in layers),
        sum(layer.undecided for layer in layers),
    )
