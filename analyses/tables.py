"""A table as plain data, and its three written forms: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """Rows of text under named columns.

    Parameters
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuples of str
        One entry per column.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"the row {row} has {len(row)} entries, but there are {len(self.columns)} columns")


def as_csv(table: Table) -> str:
    """Return the columns and rows, separated by commas; the caption is left out."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.columns, *table.rows])
    return text.getvalue()


def as_markdown(table: Table) -> str:
    """Return the caption and a table of GitHub's Markdown."""
    rule = tuple("---" for _ in table.columns)
    lines = [
        "| " + " | ".join(entry.replace("|", r"\|") for entry in row) + " |"
        for row in (table.columns, rule, *table.rows)
    ]
    return "\n".join([table.caption, "", *lines, ""])


def as_latex(table: Table) -> str:
    """Return a `table` environment that needs no package."""
    lines = [" & ".join(_escaped(entry) for entry in row) + r" \\" for row in (table.columns, *table.rows)]
    lines.insert(1, r"\hline")
    body = "\n".join(["\\begin{tabular}{" + "l" * len(table.columns) + "}", *lines, r"\end{tabular}"])
    return f"\\begin{{table}}\n\\caption{{{_escaped(table.caption)}}}\n{body}\n\\end{{table}}\n"


FORMS: dict[str, Callable[[Table], str]] = {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}
"""What writes each form, by the suffix of its file."""


def write(table: Table, path: Path) -> list[Path]:
    """Write all three forms beside each other; `path` is their name without a suffix. Return the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(path.name + suffix) for suffix in FORMS]
    for file, form in zip(files, FORMS.values(), strict=True):
        file.write_text(form(table), encoding="utf-8")
    return files


def _escaped(text: str) -> str:
    """Return `text` so that LaTeX prints it as it is."""
    text = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    return text.replace("×", r"$\times$")
