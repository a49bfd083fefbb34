"""Pages of the book are made apart from each other: what one of them does, or dies of, is no other's business.

    KEY.png .pdf .csv          a figure and the numbers behind it
    KEY.csv .md .tex           a table
    KEY.json                   what became of it (`Outcome`), which is all that the index page needs

Each is made in a process of its own kind (`milpcomp.batches.processes`), so that even one that is killed is only shown
as failed.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from analyses import style
from analyses.book.entry import CHAPTERS, Context, Entry, Made, MissingDataError
from analyses.tables import FORMS, as_csv, write
from milpcomp.batches.executor import Call
from milpcomp.batches.processes import Processes
from milpcomp.errors import ResultError
from milpcomp.files import read_json, write_json
from milpcomp.report.figure import save_figure

MADE, MISSING, FAILED = "made", "missing", "failed"

LOOK_S = 30.0
"""How often it is said what still runs."""


@dataclass(frozen=True)
class Outcome:
    """What became of an entry.

    Parameters
    ----------
    key : str
    status : "made", "missing" or "failed"
        "missing" if a file was not there that it needs.
    seconds : float
        Wall-clock time that it took.
    full : bool
        Whether the published scale was asked for.
    notes : tuple of str
    files : tuple of str
        What was written, by name.
    reason, details : str
        Why there is nothing, in a line and at length.
    """

    key: str
    status: str
    seconds: float
    full: bool
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    reason: str = ""
    details: str = ""


def make_entry(entry: Entry, context: Context, out: Path) -> Outcome:
    """Make one entry and write its files; return what became of it, and never raise for what its function does."""
    start = time.monotonic()
    try:
        with style.look():
            made = entry.make(context)
            files = _write(entry, made, out)
    except MissingDataError as error:
        outcome = Outcome(entry.key, MISSING, 0.0, context.full, reason=str(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        outcome = Outcome(entry.key, FAILED, 0.0, context.full, reason=reason, details=traceback.format_exc())
    else:
        outcome = Outcome(entry.key, MADE, 0.0, context.full, made.notes, files)
    outcome = replace(outcome, seconds=round(time.monotonic() - start, 2))
    _record(outcome, out)
    return outcome


def make_all(
    entries: Sequence[Entry], context: Context, out: Path, workers: int | None, say: Callable[[str], None]
) -> list[Outcome]:
    """Make entries, several at a time, and say of each what became of it; return the outcomes as they came.

    Parameters
    ----------
    entries : sequence of Entry
    context : Context
    out : Path
        Where the files go; what earlier runs left there of these entries goes first.
    workers : int or None
        How many are made at a time; None for one on each core.
    say : function of a line of text
    """
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    with Processes(workers) as executor:
        for entry in entries:
            _clear(entry.key, out)
            executor.submit(Call(entry.key, make_entry, (entry, context, out)))
        while len(outcomes) < len(entries):
            ended = executor.finished(LOOK_S)
            for done in ended:
                outcome = done.value
                if not isinstance(outcome, Outcome):  # its process is gone, or could not send what it made
                    reason = f"{done.kind}: {done.error}"
                    outcome = Outcome(done.key, FAILED, done.seconds, context.full, reason=reason, details=done.details)
                    _record(outcome, out)
                outcomes.append(outcome)
                say(f"{outcome.status:8}{outcome.seconds:7.1f} s  {outcome.key}  {outcome.reason}".rstrip())
            if not ended:
                for key, note in executor.running().items():
                    say(f"running          {key}  {note or ''}".rstrip())
    return outcomes


def read_outcome(key: str, out: Path) -> Outcome | None:
    """Return what became of an entry when it was last made; None if it was not, or nothing readable is there."""
    try:
        fields = read_json(_record_path(key, out))
        return Outcome(**fields | {"notes": tuple(fields["notes"]), "files": tuple(fields["files"])})
    except (ResultError, TypeError, KeyError):
        return None


def _write(entry: Entry, made: Made, out: Path) -> tuple[str, ...]:
    stem = out / entry.key
    if made.figure is None:
        caption = made.table.caption or f"{CHAPTERS[entry.chapter][0]}, {entry.source}. {entry.title}."
        return tuple(path.name for path in write(replace(made.table, caption=caption), stem))
    files = [*save_figure(made.figure, stem), stem.with_suffix(".csv")]
    files[-1].write_text(as_csv(made.table), encoding="utf-8")
    return tuple(path.name for path in files)


def _clear(key: str, out: Path) -> None:
    for suffix in (".png", ".pdf", ".json", *FORMS):
        (out / f"{key}{suffix}").unlink(missing_ok=True)


def _record(outcome: Outcome, out: Path) -> None:
    write_json(_record_path(outcome.key, out), asdict(outcome))


def _record_path(key: str, out: Path) -> Path:
    return out / f"{key}.json"
