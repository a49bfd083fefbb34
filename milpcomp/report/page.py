"""The report page in Markdown: what was found, what it rests on, and how to reproduce and check it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from milpcomp.report.analysis import Analysis
from milpcomp.report.kept import nothing_removed
from milpcomp.report.recipe import FILES, check_command, digests, python_lines, settings
from milpcomp.report.sizes import edit_table, layer_size_table, size_table
from milpcomp.report.tables import count, markdown_cell, one_line, proof_table, stage_table, verdict_table
from milpcomp.report.words import (
    checked_compression_line,
    checked_line,
    deviation_line,
    domain_line,
    earlier_line,
    ended_line,
    network_line,
    rejections,
    seconds_line,
    solver_line,
)

WORDS = """\
*Stably inactive* (*active*): the pre-activation is at most (at least) 0 for every input of the domain, proved
unless it rests on a solver's word, which is counted apart below the table.
*Unstable*: two inputs of the domain are known at which it has opposite signs. *Undecided*: neither; never acted upon.
"""


def page(analysis: Analysis) -> str:
    """Return the report of an analysis, in Markdown; it refers to the other files of the folder by name."""
    sections = [
        _head(analysis),
        _verdicts(analysis),
        _compression(analysis),
        _same_function(analysis),
        _check(analysis),
        _how(analysis),
    ]
    return "\n".join(sections)


def _head(analysis: Analysis) -> str:
    report, smaller = analysis.report, analysis.compression.network
    return f"""\
# {one_line(analysis.source)}

| | |
|---|---|
| network | {network_line(analysis.network)} |
| domain | {domain_line(report.domain)} |
| compressed | {network_line(smaller)} |
| same function | {deviation_line(analysis.compression)} |
| checked | {checked_line(analysis.checked)} |
| | {checked_compression_line(analysis.checked_compression)} |
"""


def _verdicts(analysis: Analysis) -> str:
    report = analysis.report
    note, trusted, earlier = ended_line(report), solver_line(report), earlier_line(report)
    return f"""\
## Verdicts

{WORDS}
{verdict_table(report, analysis.compression.after).markdown()}
{f"{trusted[0].upper()}{trusted[1:]}.{chr(10)}{chr(10)}" if trusted else ""}\
![share of the neurons of each layer by phase](verdicts.png)
{f"{chr(10)}Not everything was decided: {one_line(note)}.{chr(10)}" if note else ""}
{proof_table(report).markdown()}
### Who decided them, and where the time went

{stage_table(report).markdown()}
{f"Seconds of all stages, {earlier}.{chr(10)}{chr(10)}" if earlier else ""}\
All steps: {seconds_line(analysis.seconds)}.
"""


def _compression(analysis: Analysis) -> str:
    compression, edits = analysis.compression, edit_table(analysis.compression)
    left_out = _list(
        f"{entry.layer}, {entry.kind} of {count(len(entry.channels))} channels: {entry.reason}"
        for entry in compression.skipped
    )
    return f"""\
## What was removed

{size_table(compression.before, compression.after).markdown()}
{edits.markdown() if edits.rows else nothing_removed(analysis.network, analysis.report, compression)}
{f"Possible, but left out:{chr(10)}{chr(10)}{left_out}" if left_out else ""}
### By layer

{layer_size_table(compression.before, compression.after).markdown()}"""


def _same_function(analysis: Analysis) -> str:
    return f"""\
## Same function

{deviation_line(analysis.compression)}.

The proof is about real arithmetic with the numbers as stored, over the whole domain. The measured gap is what float32
arithmetic showed on inputs; it is no proof.
"""


def _check(analysis: Analysis) -> str:
    lines = [checked_line(analysis.checked), checked_compression_line(analysis.checked_compression)]
    lines += [f"REJECTED: {text}" for text in rejections(analysis.checked_compression)]
    return f"""\
## Independent check

Code that shares nothing with the code that proved all this replayed the witnesses, derived the bounds again, and
related the two networks value by value:

{_list(lines)}"""


def _how(analysis: Analysis) -> str:
    python = "".join(f"    {line}{chr(10)}" for line in python_lines(analysis))
    return f"""\
## How to check and reproduce

| file | what |
|---|---|
{_rows(dict(FILES))}
Check:

    {check_command(analysis)}

Reproduce, in Python:

{python}
| digest | |
|---|---|
{_rows({name: f"`{digest}`" for name, digest in digests(analysis).items()})}
| setting | value |
|---|---|
{_rows(settings(analysis))}
| version | |
|---|---|
{_rows(analysis.report.versions)}"""


def _list(lines: Iterable[str]) -> str:
    return "".join(f"* {one_line(line)}\n" for line in lines)


def _rows(entries: Mapping[str, str]) -> str:
    return "".join(f"| {markdown_cell(name)} | {markdown_cell(value)} |\n" for name, value in entries.items())
