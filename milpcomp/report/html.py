"""The report as one HTML page that needs nothing else: no scripts, no fonts, no files, no network.

This module says what is on the page; templates/report.html and report.css say how it looks. All text goes through
jinja2 with autoescaping on, so a layer called "<script>" is a layer with an odd name; a content security policy in the
page forbids everything that it does not hold itself. Equal analyses give equal bytes, times apart.

Long lists are cut: the page stays readable and small for any network, and says where the whole is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from milpcomp.cost import cost
from milpcomp.domain import Box
from milpcomp.network import Network
from milpcomp.report import headline, recipe
from milpcomp.report.analysis import Analysis
from milpcomp.report.html_figures import phase_chart, size_chart, stage_chart, time_chart
from milpcomp.report.sizes import edit_table, layer_size_table, shape_table, size_table
from milpcomp.report.tables import Table, count, proof_table, stage_table, verdict_table
from milpcomp.report.witness_images import SAMPLE, examples, image_shape, picture
from milpcomp.report.words import (
    checked_compression_line,
    checked_line,
    deviation_line,
    domain_line,
    earlier_line,
    ended_line,
    network_line,
    proof_line,
    rejections,
    seconds_line,
    shape_text,
    short,
    solver_line,
)
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase

MOST_ROWS = 120
"""Rows that a table has at most; layers.csv and neurons.csv hold all of them."""


def report_page(analysis: Analysis) -> str:
    """Return the report of an analysis as one HTML page, of less than 3 MB for any network.

    Parameters
    ----------
    analysis : Analysis
        Of any outcome: also one that was cut short, removed nothing, or was rejected by the checker.

    Returns
    -------
    str
        A whole document. The commands in it name ``analysis.out``, or the current folder if nothing was written.
    """
    context = _about(analysis) | _verdicts(analysis) | _smaller(analysis) | _checks(analysis) | _appendix(analysis)
    return _environment().get_template("report.html").render(context)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("milpcomp.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"short": short, "count": count}
    found.globals["most_rows"] = MOST_ROWS
    return found


def _about(analysis: Analysis) -> dict[str, Any]:
    domain = analysis.report.domain
    return {
        "name": PurePath(analysis.source).name or analysis.source,
        "source": analysis.source,
        "alarm": headline.alarm(analysis),
        "lead": headline.lead(analysis),
        "cards": headline.cards(analysis),
        "network_line": network_line(analysis.network),
        "network_table": _network_table(analysis.network),
        "digests": recipe.digests(analysis),
        "domain_line": domain_line(domain),
        "domain": _domain_facts(domain),
        "centre": _centre(domain),
    }


def _network_table(network: Network) -> Table:
    """Return every node: what it is, what it reads, the shape of its value, and what it costs."""
    total = cost(network)
    rows = []
    for node, own in zip(network.nodes, total.layers, strict=True):
        reads = ", ".join(short(name, 24) for name in node.inputs)
        costs = (count(n) if n else "" for n in (own.neurons, own.parameters, own.flops))
        rows.append((node.name, own.kind, reads, shape_text(network.shape(node.name)), *costs))
    sums = (count(n) for n in (total.neurons, total.parameters, total.flops))
    rows.append(("all", "", "", "", *sums))
    return Table(("layer", "kind", "reads", "shape", "neurons", "parameters", "FLOPs"), tuple(rows), total=True)


def _domain_facts(domain: Box) -> dict[str, str]:
    facts = {"inputs": count(domain.lower.size), "shape": shape_text(domain.shape)}
    if domain.lower.size:
        widths = domain.upper - domain.lower
        fixed = int((widths == 0).sum())
        facts |= {
            "least and greatest input": f"{domain.lower.min():g} and {domain.upper.max():g}",
            "widths: least, median, greatest": f"{widths.min():g}, {np.median(widths):g}, {widths.max():g}",
        }
        facts |= {"inputs with one value only": count(fixed)} if fixed else {}
    return facts


def _centre(domain: Box) -> str:
    """Return a picture of the middle of the box, where inputs are images and the box is not the same everywhere."""
    shape = image_shape(domain.shape)
    if shape is None or ((domain.lower == domain.lower.flat[0]).all() and (domain.upper == domain.upper.flat[0]).all()):
        return ""
    return picture((domain.lower + domain.upper) / 2, domain, shape)


def _verdicts(analysis: Analysis) -> dict[str, Any]:
    report = analysis.report
    return {
        "phase_chart": phase_chart(report),
        "stage_chart": stage_chart(report),
        "verdict_table": verdict_table(report, analysis.compression.after),
        "proof_table": proof_table(report),
        "stage_table": stage_table(report),
        "proof_line": proof_line(report),
        "notes": [line for line in (solver_line(report), ended_line(report)) if line],
        "step_times": time_chart(analysis.seconds, "step"),
        "earlier_line": earlier_line(report),
        "stage_times": time_chart(report.stage_seconds, "step"),
        "seconds_line": seconds_line(analysis.seconds),
        "examples": examples(analysis.network, report),
        "unstable": sum(verdict.phase is Phase.UNSTABLE for verdict in report.verdicts),
        "sample": SAMPLE,
        "undecided_table": _undecided_table(report),
        "undecided": report.counts()[Phase.UNDECIDED.value],
    }


def _undecided_table(report: Report) -> Table:
    """Return undecided neurons with their proved bounds, and which sign was seen; not more than fit a page."""
    words = {(False, False): "neither", (True, False): "positive", (False, True): "negative", (True, True): "both"}
    undecided = [verdict for verdict in report.verdicts if verdict.phase is Phase.UNDECIDED]
    rows = [
        (
            v.layer, str(v.unit), f"{v.lower:.4g}", f"{v.upper:.4g}",
            words[v.active_witness is not None, v.inactive_witness is not None],
        )
        for v in undecided[:MOST_ROWS]
    ]  # fmt: skip
    return Table(("layer", "neuron", "lower bound", "upper bound", "sign seen"), tuple(rows))


def _smaller(analysis: Analysis) -> dict[str, Any]:
    done = analysis.compression
    return {
        "smaller_line": network_line(done.network),
        "size_table": size_table(done.before, done.after),
        "size_chart": size_chart(analysis.report, done.after),
        "edit_table": edit_table(done),
        "shape_table": shape_table(analysis.network, done.network),
        "layer_size_table": layer_size_table(done.before, done.after),
        "left_out": [
            f"{short(entry.layer)}: {entry.kind} of {count(len(entry.channels))} channels: {entry.reason}"
            for entry in done.skipped
        ],
        "deviation_line": deviation_line(done),
    }


def _checks(analysis: Analysis) -> dict[str, Any]:
    return {
        "check_lines": (checked_line(analysis.checked), checked_compression_line(analysis.checked_compression)),
        "rejections": rejections(analysis.checked_compression),
    }


def _appendix(analysis: Analysis) -> dict[str, Any]:
    versions: Mapping[str, str] = analysis.report.versions
    return {
        "files": recipe.FILES,
        "check_command": recipe.check_command(analysis),
        "python": "\n".join(recipe.python_lines(analysis)),
        "settings": recipe.settings(analysis),
        "versions": dict(versions),
    }
