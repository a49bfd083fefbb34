"""Make the figures and tables of the book, and the page that shows them.

    python -m analyses.book --out figures [--only KEY ...] [--full]

Exit code 1 if an entry failed, 2 if nothing could be begun; files of the shared data that are not there are no failure,
but said.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from analyses.book.entry import ANALYSES, Context
from analyses.book.make import FAILED, MADE, make_all
from analyses.book.page import OUT, write_index
from analyses.book.registry import ENTRIES

DATA = Path(os.environ.get("MILPCOMP_DATA", ANALYSES.parents[1] / "shared" / "data"))


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Make what is asked for, write the page, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analyses.book", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for all files (default: {OUT})")
    parser.add_argument("--data", type=Path, default=DATA, help="the shared data (default: $MILPCOMP_DATA)")
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=[entry.key for entry in ENTRIES], help="these only")
    parser.add_argument("--full", action="store_true", help="the published scale, where that means anything: hours")
    parser.add_argument("--jobs", type=int, help="entries made at a time (default: one on each core)")
    chosen = parser.parse_args(arguments)
    if chosen.jobs is not None and chosen.jobs < 1:
        parser.exit(2, f"{parser.prog}: error: --jobs: at least 1 entry is made at a time, got {chosen.jobs}\n")
    try:
        chosen.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.exit(
            2, f"{parser.prog}: error: --out: {chosen.out} cannot be a folder ({error.strerror}); name another\n"
        )
    start = time.monotonic()
    entries = [entry for entry in ENTRIES if chosen.only is None or entry.key in chosen.only]
    context = Context(chosen.data.resolve(), chosen.out.resolve() / "measured", full=chosen.full)
    outcomes = make_all(entries, context, chosen.out, chosen.jobs, _say)
    page = write_index(ENTRIES, chosen.out)
    made = sum(outcome.status == MADE for outcome in outcomes)
    _say(f"{made} of {len(entries)} made in {time.monotonic() - start:.0f} s; see {page}")
    return int(any(outcome.status == FAILED for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
