"""The report page in Markdown: what was found, what it rests on, and how to reproduce and check it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from milpcomp.report.analysis import Analysis
from milpcomp.report.sizes import edit_table, layer_size_table, size_table
from milpcomp.report.tables import count, proof_table, stage_table, verdict_table
from milpcomp.report.words import (
    checked_compression_line,
    checked_line,
    deviation_line,
    domain_line,
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
# {analysis.source}

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
    note, trusted = ended_line(report), solver_line(report)
    return f"""\
## Verdicts

{WORDS}
{verdict_table(report, analysis.compression.after).markdown()}
{f"{trusted[0].upper()}{trusted[1:]}.{chr(10)}{chr(10)}" if trusted else ""}\
![share of the neurons of each layer by phase](verdicts.png)
{f"{chr(10)}Not everything was decided: {note}.{chr(10)}" if note else ""}
{proof_table(report).markdown()}
### Who decided them, and where the time went

{stage_table(report).markdown()}
All steps: {seconds_line(analysis.seconds)}.
"""


def _compression(analysis: Analysis) -> str:
    compression = analysis.compression
    left_out = "".join(
        f"* {entry.layer}, {entry.kind} of {count(len(entry.channels))} channels: {entry.reason}\n"
        for entry in compression.skipped
    )
    return f"""\
## What was removed

{size_table(compression.before, compression.after).markdown()}
{edit_table(compression).markdown() if compression.edits else "Nothing could be removed."}
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

{"".join(f"* {line}{chr(10)}" for line in lines)}"""


def _how(analysis: Analysis) -> str:
    report, out = analysis.report, str(analysis.out or ".")
    original, folder = (shlex.quote(text) for text in (str(Path(out) / "original.npz"), out))
    return f"""\
## How to check and reproduce

| file | what |
|---|---|
| `certificate.json`, `.npz` | the verdicts, with witnesses and proofs |
| `original.npz` | the network as read, every bit |
| `network.npz`, `.onnx` | the smaller network: every bit, and in float32; `.pt`, for chains of layers, its state dict |
| `compression.json`, `.npz` | the edits that lead from one to the other |
| `summary.json` | this page for programs |

Check:

    milpcomp check {original} {folder} {folder}

Reproduce, in Python:

    import milpcomp as mc
    report = mc.load_report({out!r})
    network = mc.load({str(Path(out) / "original.npz")!r})
    again = mc.certify(network, report.domain{_arguments(report.settings)})
    smaller = mc.compress(network, again{_compress_arguments(analysis)})

| digest | |
|---|---|
| network | `{analysis.network.digest}` |
| domain | `{report.domain.digest}` |
| smaller network | `{analysis.compression.network.digest}` |

| setting | value |
|---|---|
{_rows({name: json.dumps(value) for name, value in report.settings.items()})}\
{_rows({name: json.dumps(getattr(analysis.compression, name)) for name in ("trust_solver", "tolerance")})}
| version | |
|---|---|
{_rows(report.versions)}"""


def _compress_arguments(analysis: Analysis) -> str:
    done = analysis.compression
    changed = {"trust_solver": done.trust_solver} if done.trust_solver else {}
    return "".join(f", {name}={value!r}" for name, value in {**changed, "tolerance": done.tolerance}.items())


def _arguments(settings: Mapping[str, Any]) -> str:
    names = ("method", "backend", "time_limit_s", "seed")
    return "".join(f", {name}={settings[name]!r}" for name in names if settings.get(name) is not None)


def _rows(entries: Mapping[str, str]) -> str:
    return "".join(f"| {name} | {value} |\n" for name, value in entries.items())
