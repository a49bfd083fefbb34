"""Tables as data, and their two renderings: rich on a terminal, Markdown in a file.

A table is text: whoever builds it has decided what a number looks like, so a terminal and a page never disagree.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milpcomp.checker.result import Checked, Finding
from milpcomp.cost import Cost
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import ON_TRUST, STABLE, Phase, Proof, Stage, Verdict

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from milpcomp.compression import Compression

PHASE_WORDS = {
    Phase.STABLY_INACTIVE: "stably inactive",
    Phase.STABLY_ACTIVE: "stably active",
    Phase.UNSTABLE: "unstable",
    Phase.UNDECIDED: "undecided",
}

PROOF_WORDS = {
    Proof.CERTIFIED: "certified: proved by bounds that the checker derives again",
    Proof.WITNESSED: "witnessed: two inputs with opposite signs that the checker replays",
    Proof.UNCERTIFIED: "uncertified: proved by cases that were too many to keep; nobody can check it",
    Proof.SOLVER: "solver: a MIP solver says so; nobody can check it",
    Proof.NONE: "none: undecided, never acted upon",
}


@dataclass(frozen=True)
class Table:
    """A table of text.

    Parameters
    ----------
    header : tuple of str
    rows : tuple of tuple of str
        Each as long as the header. The first column names the row; the others hold numbers and are set flush right.
    total : bool
        Whether the last row sums up the others.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: bool = False

    def markdown(self) -> str:
        """Return the table in Markdown, padded so that the source reads well too."""
        rows = [tuple(map(markdown_cell, row)) for row in (self.header, *self.rows)]
        widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
        if self.total:
            rows[-1] = tuple(f"**{cell}**" if cell else "" for cell in rows[-1])
        lines = [
            "| "
            + " | ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            + " |"
            for row in rows
        ]
        rule = "|" + "|".join("-" * (w + 1) + ":" if i else "-" * (w + 2) for i, w in enumerate(widths)) + "|"
        return "\n".join([lines[0], rule, *lines[1:]]) + "\n"

    def latex(self, caption: str, label: str) -> str:
        """Return the table as a LaTeX float with the rules of the package booktabs, for a paper to take as it is."""
        rows = [" & ".join(map(latex_text, row)) + r" \\" for row in self.rows]
        if self.total:
            rows.insert(-1, r"\midrule")
        head = " & ".join(map(latex_text, self.header))
        lines = [
            r"\begin{table}", r"\centering", rf"\caption{{{latex_text(caption)}}}", rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}", r"\toprule", rf"{head} \\", r"\midrule",
            *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def rich(self) -> RichTable:
        """Return the table for a `rich.console.Console`."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for i, name in enumerate(self.header):
            table.add_column(name, justify="right" if i else "left", no_wrap=bool(i))
        for i, row in enumerate(self.rows):
            last = self.total and i == len(self.rows) - 1
            if last:
                table.add_section()
            table.add_row(*(Text(one_line(cell)) for cell in row), style="bold" if last else None)
        return table


UNPRINTED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is no letter, but would break a line or change what stands around it."""


def one_line(text: str) -> str:
    r"""Return text, such as a name that a file gives, on one line: line breaks and other controls as in ``a\nb``."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in UNPRINTED else c for c in text)


def markdown_cell(text: str) -> str:
    """Return text as it may stand in a table of Markdown."""
    return one_line(text).replace("|", "\\|")


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "\n": " "}
)


def latex_text(text: str) -> str:
    """Return text as LaTeX prints it: special characters escaped, and a minus that is no hyphen before numbers."""
    minus = text[:1] == "-" and text[1:2].isdigit()
    return ("$-$" if minus else "") + text[minus:].translate(LATEX).replace(r" \%", r"\,\%")


def verdict_table(report: Report, after: Cost | None = None) -> Table:
    """Return neurons by layer and phase; with the cost of what was compressed, also how many are kept.

    Stable neurons on a solver's word are counted with the others; `milpcomp.report.words.solver_line` tells how many.
    """
    header = ("layer", "neurons", *PHASE_WORDS.values())
    names = [*report.layers(), "all"]
    groups = [*report.layers().values(), report.verdicts]
    rows = [[len(group), *(sum(v.phase is phase for v in group) for phase in PHASE_WORDS)] for group in groups]
    if after is not None:
        header = (*header, "kept")
        kept = {layer.name: layer.neurons for layer in after.layers}
        for name, row in zip(names, rows, strict=True):
            row.append(kept.get(name, 0))
        rows[-1][-1] = after.neurons
    return Table(header, tuple((name, *map(count, row)) for name, row in zip(names, rows, strict=True)), total=True)


def stage_table(report: Report) -> Table:
    """Return what each stage decided and how long it took; a stage that did nothing in no time has no row."""
    header = ("stage", "stably inactive", "stably active", "unstable", "seconds")
    rows = []
    for stage in Stage:
        decided = [v for v in report.verdicts if v.stage is stage and v.phase is not Phase.UNDECIDED]
        seconds = report.stage_seconds.get(stage.value)
        if decided or seconds is not None:
            counts = [count(sum(v.phase is phase for v in decided)) for phase in list(PHASE_WORDS)[:3]]
            rows.append((stage.value, *counts, "" if seconds is None else f"{seconds:.2f}"))
    known = {stage.value for stage in Stage}
    rows += [(name, "", "", "", f"{s:.2f}") for name, s in report.stage_seconds.items() if name not in known]
    totals = [report.counts()[phase.value] for phase in list(PHASE_WORDS)[:3]]
    rows.append(("all", *(count(n) for n in totals), f"{sum(report.stage_seconds.values()):.2f}"))
    return Table(header, tuple(rows), total=True)


def proof_table(report: Report) -> Table:
    """Return on what the verdicts rest, in words."""
    rows = [(words, count(sum(v.proof is proof for v in report.verdicts))) for proof, words in PROOF_WORDS.items()]
    return Table(("what a verdict rests on", "neurons"), tuple(row for row in rows if row[1] != "0"))


def solver_count(verdicts: Iterable[Verdict]) -> int:
    """Return how many neurons are stable on what nobody can check, such as a MIP solver's word."""
    return sum(verdict.proof in ON_TRUST and verdict.phase in STABLE for verdict in verdicts)


def proved_counts(checked: Checked) -> dict[str, int]:
    """Return how many neurons the checker accepted in each phase; a solver's word is not among them."""
    accepted = Counter(entry.phase for entry in checked.entries if entry.finding is Finding.ACCEPTED)
    return {phase.value: accepted[phase.value] for phase in Phase if phase is not Phase.UNDECIDED}


def on_trust(compression: Compression) -> bool:
    """Return whether some edit rests on what nobody can check, such as a MIP solver's word."""
    return any(verdict.proof in ON_TRUST for edit in compression.edits for verdict in edit.verdicts)


def count(n: int) -> str:
    """Return a count with thousands separated."""
    return f"{n:,}"


def change(before: int, after: int) -> str:
    """Return by how many percent a count changed, empty where it did not."""
    return f"{100 * (after - before) / before:+.1f} %" if before and after != before else ""
