"""A batch on a terminal: how its jobs ended, and where the results are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milpcomp.batches.table import BatchResult
from milpcomp.report.tables import Table, count
from milpcomp.report.terminal import Screen
from milpcomp.report.words import many

SHOWN_JOBS = 30
"""More jobs than this are summed up, except those that failed."""

SHOWN_FAILURES = 10
"""How many failures are spelled out; all of them are in the table."""


def show_batch(result: BatchResult) -> None:
    """Print what a batch gave."""
    screen = Screen()
    if len(result.rows) <= SHOWN_JOBS:
        screen.table(_table(result))
    failed = [(_name(row), str(row["error"])) for row in result.failed]
    screen.facts([("jobs", _sum(result))])
    screen.facts(
        [("failed" if not i else "", f"{name}: {error}") for i, (name, error) in enumerate(failed[:SHOWN_FAILURES])]
    )
    if len(failed) > SHOWN_FAILURES:
        screen.facts([("", f"and {len(failed) - SHOWN_FAILURES} more")])
    screen.facts(
        [("rejected" if not i else "", f"{_name(row)}: see its report") for i, row in enumerate(result.rejected)]
    )
    screen.facts([("table", str(result.out / "table.csv"))])


def _table(result: BatchResult) -> Table:
    header = ("job", "neurons", "inactive", "active", "unstable", "undecided", "kept", "seconds")
    keys = ("neurons", "stably_inactive", "stably_active", "unstable", "undecided", "neurons_after")
    rows = tuple(
        (
            _name(row),
            *("" if row[key] is None else count(row[key]) for key in keys),
            "" if row["seconds"] is None else f"{row['seconds']:.1f}",
        )
        for row in result.rows
    )
    return Table(header, rows)


def _name(row: Mapping[str, Any]) -> str:
    return ", ".join(row[part] for part in ("network", "domain", "settings") if row[part])


def _sum(result: BatchResult) -> str:
    done = sum(row["status"] == "done" for row in result.rows)
    parts = [f"{done:,} done"]
    parts += [f"{len(result.failed):,} failed"] if result.failed else []
    parts += [f"{result.found:,} of them in an earlier run"] if result.found else []
    entries = sum(row["entries"] for row in result.rows)
    repeated = entries - len(result.rows)
    again = f"; of {entries:,} entries, {repeated:,} repeated a job and {_was(repeated)} left out" if repeated else ""
    return f"{many(len(result.rows), 'job')}: {', '.join(parts)}{again}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
