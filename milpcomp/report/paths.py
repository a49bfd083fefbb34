"""Filter paths for people and programs: a table, JSON, the distribution as CSV, and figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx

from milpcomp.files import replacing, write_json
from milpcomp.paths.distribution import Distribution, path_lengths
from milpcomp.report.tables import Table, count

EXACT_DIGITS = 10**9
"""Numbers of paths from here on are shortened in tables."""

GRAPHS = 20
"""At most so many graphs are drawn."""

RESULTS = (
    "paths.json", "lengths.csv", "paths.md", "lengths.png", "lengths.pdf",
    *(f"graph-{i}.{kind}" for i in range(1, GRAPHS + 1) for kind in ("png", "pdf")),
)  # fmt: skip
"""Every name that `write_paths` may write; files of other names are not touched."""


@dataclass(frozen=True, eq=False)
class Paths:
    """The filter paths of several networks.

    Parameters
    ----------
    graphs : mapping from str to networkx.DiGraph
    lengths : mapping from str to Distribution
        By the same names.
    settings : mapping
        What was counted and charged, JSON-ready.
    """

    graphs: Mapping[str, nx.DiGraph]
    lengths: Mapping[str, Distribution]
    settings: Mapping[str, Any]


def study(graphs: Mapping[str, nx.DiGraph], settings: Mapping[str, Any]) -> Paths:
    """Return the distribution of every graph."""
    return Paths(graphs, {name: path_lengths(graph) for name, graph in graphs.items()}, settings)


def settings_line(found: Paths) -> str:
    """Return what was counted and charged."""
    given = found.settings
    charged = [what for what in ("trunk", "projections") if given[what]]
    parts = [
        f"slopes |b| <= {given['threshold']:g} are silent" if given["threshold"] else "slopes of exactly 0 are silent",
        f"charged too: {' and '.join(charged)}" if charged else "trunk and shortcuts are not charged",
    ]
    if given["preset"] != "correct":
        parts.append(f"lists of counts as published: preset {given['preset']}, the first half, one count a block")
    return "; ".join(parts)


def path_table(found: Paths) -> Table:
    """Return a row for each network."""
    rows = []
    for name, own in found.lengths.items():
        numbers = [own.minimum, own.quantile(0.05), own.quantile(0.5), own.quantile(0.95), own.maximum]
        rows.append(
            (
                name,
                paths_text(own.paths),
                f"{own.mean:,.1f}",
                f"{own.sd:,.1f}",
                *map(count, numbers),
                count(found.graphs[name].graph["trunk_filters"]),
            )
        )
    header = ("network", "paths", "mean", "sd", "shortest", "5 %", "median", "95 %", "longest", "filters on every path")
    return Table(header, tuple(rows))


def paths_text(paths: int) -> str:
    """Return a number of paths: in full, as a power of two, or in three digits."""
    if paths < EXACT_DIGITS:
        return count(paths)
    power = paths.bit_length() - 1
    if paths == 1 << power:
        return f"2^{power}"
    digits = str(paths)
    return f"{digits[0]}.{digits[1:3]}e{len(digits) - 1}"


def paths_document(found: Paths) -> dict[str, Any]:
    """Return everything but the distributions themselves, JSON-ready; numbers of paths are whole numbers in full."""
    return {
        "settings": dict(found.settings),
        "networks": {
            name: {
                "paths": own.paths,
                "mean": own.mean,
                "sd": own.sd,
                "shortest": own.minimum,
                "longest": own.maximum,
                "quantiles": {str(share): own.quantile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)},
                "trunk_filters": int(found.graphs[name].graph["trunk_filters"]),
                "filters": {
                    node: {"active": int(data["filters"]), "all": int(data["all"]), "length": int(data["length"])}
                    for node, data in found.graphs[name].nodes(data=True)
                    if data["all"]
                },
            }
            for name, own in found.lengths.items()
        },
    }


def show_paths(found: Paths, written: str) -> None:
    """Print the table."""
    from milpcomp.report.terminal import Screen

    screen = Screen()
    screen.facts([("paths", settings_line(found))])
    screen.table(path_table(found))
    screen.facts([("written", written)])


def write_paths(found: Paths, folder: Path) -> None:
    """Write the table, the distributions and the figures.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    from milpcomp.report.figure import save_figure
    from milpcomp.report.path_figures import GRAPH_NODES, graph_figure, path_figure

    write_json(folder / "paths.json", paths_document(found))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("network", "length", "paths", "share"))
    for name, own in found.lengths.items():
        shares = own.shares()
        lines.writerows((name, length, paths, f"{shares[length]:.6g}") for length, paths in own.counts.items())
    for name, content in (("lengths.csv", text.getvalue()), ("paths.md", _page(found))):
        with replacing(folder / name) as stream:
            stream.write(content.encode())
    save_figure(path_figure(found.lengths), folder / "lengths")
    small = [graph for graph in found.graphs.values() if len(graph) <= GRAPH_NODES]
    for number, graph in enumerate(small[:GRAPHS], 1):
        save_figure(graph_figure(graph), folder / f"graph-{number}")


def _page(found: Paths) -> str:
    settings = settings_line(found)
    return f"# Filter paths\n\n{settings[0].upper()}{settings[1:]}.\n\n{path_table(found).markdown()}"
