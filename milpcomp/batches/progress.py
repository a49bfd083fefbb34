"""What a running batch tells: how many jobs ended, what is decided so far, how long the rest may take.

Drawn live on a terminal, else written as plain lines, on standard error; results are not mixed with it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from milpcomp.errors import SettingsError
from milpcomp.progress import LINE_INTERVAL_S

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 12
"""How many running jobs the live display lists."""


@dataclass(frozen=True)
class BatchSnapshot:
    """The state of a batch.

    Parameters
    ----------
    jobs : int
        All of them.
    found : int
        Ended in an earlier run.
    done, failed : int
        Ended in this one.
    running : mapping of str to tuple of int, or None
        Jobs by name, each with how many neurons are decided and how many there are; None before that is known.
    decided, neurons : int
        Sums over the jobs that ended well and those that run.
    seconds : float
        Since the run began.
    notice : str
        What happened just now, if anything that a user should know.
    """

    jobs: int
    found: int
    done: int
    failed: int
    running: Mapping[str, tuple[int, int] | None]
    decided: int
    neurons: int
    seconds: float
    notice: str = ""

    @property
    def left_s(self) -> float | None:
        """How long the rest takes if it goes on as until now; None before the first job ended."""
        ended = self.done + self.failed
        return self.seconds / ended * (self.jobs - self.found - ended) if ended else None


BatchObserver = Callable[[BatchSnapshot], None]


@contextlib.contextmanager
def observing(progress: bool | BatchObserver | None, stream: TextIO | None = None) -> Iterator[BatchObserver]:
    """Give the observer that ``progress=`` asks for; see `milpcomp.progress.observing`.

    Raises
    ------
    SettingsError
        If `progress` is neither a truth value nor a function.
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
        raise SettingsError(f"progress must be True, False or a function of one BatchSnapshot, got {progress!r}")


def line(snapshot: BatchSnapshot) -> str:
    """Return the state on one line."""
    ended = snapshot.found + snapshot.done + snapshot.failed
    parts = [f"{ended:,} of {snapshot.jobs:,} jobs ended"]
    parts += [f"{snapshot.failed:,} failed"] if snapshot.failed else []
    parts += [f"{len(snapshot.running):,} running"] if snapshot.running else []
    parts += [f"{snapshot.decided:,} of {snapshot.neurons:,} neurons decided"] if snapshot.neurons else []
    parts += [f"about {_duration(snapshot.left_s)} left"] if snapshot.left_s else []
    return f"{snapshot.seconds:8.1f} s  {', '.join(parts)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def _plain(stream: TextIO) -> Iterator[BatchObserver]:
    latest: BatchSnapshot | None = None
    written: BatchSnapshot | None = None

    def observe(snapshot: BatchSnapshot) -> None:
        nonlocal latest, written
        latest = snapshot
        if snapshot.notice:
            print(f"{snapshot.seconds:8.1f} s  {snapshot.notice}", file=stream, flush=True)
        if written is None or snapshot.seconds >= written.seconds + LINE_INTERVAL_S:
            written = snapshot
            print(line(snapshot), file=stream, flush=True)

    try:
        yield observe
    finally:
        if latest is not None and latest is not written:
            print(line(latest), file=stream, flush=True)


@contextlib.contextmanager
def _live(stream: TextIO) -> Iterator[BatchObserver]:
    from rich.console import Console
    from rich.live import Live

    screen = _Screen()
    console = Console(file=stream, highlight=False)
    try:
        with Live(screen, console=console, refresh_per_second=4, transient=True):

            def observe(snapshot: BatchSnapshot) -> None:
                screen.show(snapshot)
                if snapshot.notice:
                    console.print(f"{snapshot.seconds:8.1f} s  {snapshot.notice}", markup=False)

            yield observe
    finally:
        if screen.latest is not None:
            print(line(screen.latest), file=stream, flush=True)


class _Screen:
    """The live display; rich draws it again several times a second."""

    def __init__(self) -> None:
        self.latest: BatchSnapshot | None = None
        self._begun: dict[str, float] = {}

    def show(self, snapshot: BatchSnapshot) -> None:
        now = time.monotonic()
        self._begun = {name: self._begun.get(name, now) for name in snapshot.running}
        self.latest = snapshot

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        if self.latest is None:
            return Text("starting ...")
        table = Table(box=None, pad_edge=False)
        for column, side in (("running", "left"), ("seconds", "right"), ("decided", "right")):
            table.add_column(column, justify=side)  # type: ignore[arg-type]
        now = time.monotonic()
        for name, note in list(self.latest.running.items())[:SHOWN]:
            table.add_row(Text(name), f"{now - self._begun[name]:.0f}", _share(note))
        if len(self.latest.running) > SHOWN:
            table.add_row(f"and {len(self.latest.running) - SHOWN:,} more", "", "")
        head = Text(line(self.latest).strip())
        return Group(head, table) if self.latest.running else head


def _share(note: Any) -> str:
    return "" if note is None else f"{note[0]:,} of {note[1]:,}"
