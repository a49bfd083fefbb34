"""All jobs of a batch in one table, a row each, in the order of the jobs.

Columns in ``SECONDS`` tell times, which no two runs share; all others are the same whenever and wherever the same jobs
run, as long as they end by themselves and not by a limit.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milpcomp.batches.jobs import Job, uniform
from milpcomp.batches.store import Ended
from milpcomp.errors import OutputError
from milpcomp.files import replacing

if TYPE_CHECKING:
    import pandas as pd

ABOUT = ("network", "path", "domain", "settings", "task", "status", "failure", "error", "ended")
DIGESTS = ("network_digest", "domain_digest", "digest")
BOUNDS = ("lower", "upper")
ENTRIES = ("entries",)
COUNTS = (
    "neurons", "stably_inactive", "stably_active", "unstable", "undecided", "certified", "witnessed", "uncertified",
    "solver", "parameters", "flops", "neurons_after", "parameters_after", "flops_after",
)  # fmt: skip
NUMBERS = ("deviation_bound", "measured_gap")
TRUTHS = ("on_trust", "accepted")
SECONDS = ("seconds", "seconds_load", "seconds_certify", "seconds_compress", "seconds_check")

COLUMNS = (*ABOUT, *BOUNDS, *ENTRIES, *COUNTS, *NUMBERS, *TRUTHS, *SECONDS, *DIGESTS)
"""Their order."""

Row = dict[str, Any]


@dataclass(frozen=True)
class BatchResult:
    """What a batch gave.

    Parameters
    ----------
    rows : tuple of dict
        One for each job, in their order, with the keys of `COLUMNS`; None where a value does not apply. Entries that
        are the same job by content share the row of the first, which counts them.
    out : Path
        The folder that holds the table and the results of every job.
    found : int
        How many jobs had ended in an earlier run.
    notices : tuple of str
        What happened on the way: results that were damaged, jobs that were begun again.
    """

    rows: tuple[Row, ...]
    out: Path
    found: int = 0
    notices: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows of the jobs that failed."""
        return tuple(row for row in self.rows if row["status"] == "failed")

    @property
    def rejected(self) -> tuple[Row, ...]:
        """The rows of the jobs in which the independent checker rejected something."""
        return tuple(row for row in self.rows if row["accepted"] is False)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a pandas frame.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS))


def row(job: Job, ended: Ended | None, entries: int = 1) -> Row:
    """Return the row of a job that so many entries name; None stands for a job that has not ended."""
    content: Row = dict.fromkeys(COLUMNS)
    content |= {"path": job.path or None, "entries": entries}
    content |= dict(zip(BOUNDS, uniform(job.domain) or (None, None), strict=True))
    content |= {"network": job.network_name, "domain": job.domain_name, "settings": job.settings_name}
    content |= {"task": job.task, "status": "open", "digest": job.identity.digest}
    content["domain_digest"] = job.identity.domain
    if ended is not None:
        content |= {"status": ended.status, "seconds": ended.seconds.get("total")}
        if ended.status == "failed":
            content |= {"failure": ended.kind, "error": ended.error}
        content |= {key: value for key, value in ended.row.items() if key in content}
        content |= {f"seconds_{key}": ended.seconds[key] for key in ended.seconds if f"seconds_{key}" in content}
    return {key: _text(value) if isinstance(value, str) else value for key, value in content.items()}


def _text(value: str) -> str:
    r"""Return a text that any file can hold: what a file name has that is no UTF-8 is written as ``\udce9``."""
    return value.encode("utf-8", "backslashreplace").decode()


def write_table(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write table.csv, and table.parquet where pyarrow is installed.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(folder / "table.csv") as stream:
        stream.write(text.getvalue().encode())
    target = folder / "table.parquet"
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        target.unlink(missing_ok=True)  # it would tell of an earlier run
        return
    types = dict.fromkeys((*ABOUT, *DIGESTS), pa.string()) | dict.fromkeys((*ENTRIES, *COUNTS), pa.int64())
    types |= dict.fromkeys((*BOUNDS, *NUMBERS, *SECONDS), pa.float64()) | dict.fromkeys(TRUTHS, pa.bool_())
    table = pa.Table.from_pylist(list(rows), schema=pa.schema([(name, types[name]) for name in COLUMNS]))
    try:
        with replacing(target) as stream:
            pq.write_table(table, stream)
    except pa.ArrowException as error:
        raise OutputError(f"cannot write {target}: {error}") from error
