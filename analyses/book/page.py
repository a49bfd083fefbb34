"""index.html: the whole book on one page that needs nothing else, made from what the entries left in the folder.

Pictures are part of the page; PDF, CSV, Markdown and LaTeX lie beside it and are linked. The page is made anew after
every run, from the words of all entries and the record of each (`Outcome`), so that a run of a few entries keeps the
others.
"""

from __future__ import annotations

import base64
import csv
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from analyses.book.entry import CHAPTERS, Entry
from analyses.book.make import MADE, Outcome, read_outcome
from milpcomp.files import replacing

TEMPLATE = "page.html.j2"
OUT = Path("figures")
"""The folder that commands need not name."""

NUMBER = re.compile(r"[-–+−]?[\d.,]*( ?%)?")
"""What is set flush right in tables."""

Row = list[tuple[str, bool]]
"""Cells, and whether each is a number; in the head, whether all below are."""


@dataclass(frozen=True)
class Section:
    """An entry as the page shows it: its words, what became of it, and its picture or its table."""

    entry: Entry
    outcome: Outcome | None
    image: str
    head: Row
    rows: list[Row]

    @property
    def made(self) -> bool:
        """Whether there is something to show."""
        return self.outcome is not None and self.outcome.status == MADE


def section(entry: Entry, out: Path) -> Section:
    """Return an entry with what a run left of it in the folder."""
    outcome = read_outcome(entry.key, out)
    image, head, rows = "", Row(), list[Row]()
    if outcome is not None and outcome.status == MADE:
        picture, numbers = out / f"{entry.key}.png", out / f"{entry.key}.csv"
        if picture.name in outcome.files:
            image = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
        else:
            with numbers.open(newline="", encoding="utf-8") as file:
                names, *body = list(csv.reader(file))
            rows = [[(cell, bool(NUMBER.fullmatch(cell))) for cell in line] for line in body]
            head = [(name, all(row[i][1] for row in rows)) for i, name in enumerate(names)]
    return Section(entry, outcome, image, head, rows)


def write_index(entries: Sequence[Entry], out: Path) -> Path:
    """Write index.html into the folder; return its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sections = [section(entry, out) for entry in entries]
    chapters = [
        (key, title, whose, found)
        for key, (title, whose) in CHAPTERS.items()
        if (found := [one for one in sections if one.entry.chapter == key])
    ]
    text = environment.get_template(TEMPLATE).render(
        chapters=chapters,
        made=sum(one.made for one in sections),
        tried=sum(one.outcome is not None for one in sections),
        total=len(sections),
        where="" if out == OUT else f" --out {shlex.quote(str(out))}",
    )
    path = out / "index.html"
    with replacing(path) as stream:
        stream.write(text.encode())
    return path
