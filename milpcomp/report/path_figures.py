"""Figures of filter paths: the distribution of their lengths, network against network, and a picture of the graph.

The first shows what Nayak and Kalyani show of WRN-40-4 (arXiv 2206.00488, Fig. 6; TMLR 2024, Fig. 7): how long the
paths are, ReLU against rotated ReLU. Another one sets the gradient that paths of each length carry beside how many they
are. The picture is for networks small enough to be looked at: every layer with filters and every place where branches
meet, from input to output, layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.figure import Figure

from milpcomp.network.layers import FloatArray
from milpcomp.paths.distribution import Distribution
from milpcomp.paths.flow import Flow

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""From the palette of Okabe and Ito."""

BINS = 60

GRAPH_NODES = 60
"""Graphs of more nodes are not drawn."""

CHARGED, FREE, EMPTY = "#0072B2", "#D9D9D9", "#FFFFFF"


def path_figure(distributions: Mapping[str, Distribution], bins: int = BINS) -> Figure:
    """Return the histograms of path lengths of several networks, with the mean of each as a dashed line."""
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    edges = _edges(list(distributions.values()), bins)
    for i, (name, found) in enumerate(distributions.items()):
        shares = found.shares()
        heights, _ = np.histogram(list(shares), edges, weights=list(shares.values()))
        colour = COLOURS[i % len(COLOURS)]
        label = f"{name}: mean {found.mean:,.1f}, sd {found.sd:,.1f}"
        axes.stairs(100 * heights, edges, fill=True, color=colour, alpha=0.35, label=label)
        axes.stairs(100 * heights, edges, color=colour, linewidth=1.0)
        axes.axvline(found.mean, color=colour, linestyle="--", linewidth=1.0)
    axes.set_xlabel("filter-path length (active filters that a feature passes)")
    axes.set_ylabel("share of all paths (%)")
    axes.set_xlim(edges[0], edges[-1])
    axes.spines[["top", "right"]].set_visible(False)
    texts = figure.legend(loc="outside upper center", frameon=False, fontsize=9, ncols=1).get_texts()
    for text in texts:
        text.set_parse_math(False)
    return figure


def flow_figure(flows: Mapping[str, Flow]) -> Figure:
    """Return, one panel a network, which share of all paths each bin of lengths holds, and carries of the gradient."""
    figure = Figure(figsize=(7.0, 1.0 + 2.0 * len(flows)), layout="constrained")
    panels = figure.subplots(len(flows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, flow) in zip(panels, flows.items(), strict=True):
        total = sum(flow.paths)
        paths = np.array([100 * count / total for count in flow.paths])
        axes.stairs(paths, flow.edges, fill=True, color=FREE, label="of all paths")
        axes.stairs(100 * flow.share, flow.edges, color=COLOURS[1], linewidth=1.5, label="of the gradient")
        axes.set_ylabel("share (%)")
        axes.set_title(name, fontsize=10, parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    panels[-1].set_xlabel("filter-path length (active filters that a feature passes)")
    return figure


def _edges(distributions: Sequence[Distribution], bins: int) -> FloatArray:
    """Return edges of bins in the middle of which lengths lie.

    The width is a multiple of the widest grid on which the lengths of a network lie, as bins of another width would
    hold now one, now two points of that grid.
    """
    low, high = min(d.minimum for d in distributions), max(d.maximum for d in distributions)
    grid = max(math.gcd(*(length - d.minimum for length in d.support)) for d in distributions) or 1
    width = grid * max(1, math.ceil((high - low + 1) / (bins * grid)))
    return low - width / 2 + width * np.arange((high - low) // width + 2, dtype=np.float64)


def graph_figure(graph: nx.DiGraph) -> Figure:
    """Return a picture of a filter graph: input on top, a row for each step of the longest way down.

    Dark nodes are charged to the paths through them, light ones are not; the label says how many filters are active,
    and of how many. Edges that pass rows by are bent around them.
    """
    rows = list(nx.topological_generations(graph))
    position = {
        name: (column - (len(names) - 1) / 2, -row)
        for row, names in enumerate(rows)
        for column, name in enumerate(sorted(names))
    }
    widest = max(len(names) for names in rows)
    figure = Figure(figsize=(2.0 + 2.2 * widest, 0.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    drawn: Any = {"ax": axes, "node_size": 90, "arrowsize": 7, "edge_color": "#555555", "width": 0.8}
    height = {name: -y for name, (_, y) in position.items()}
    straight = [edge for edge in graph.edges if height[edge[1]] - height[edge[0]] == 1]
    bent = [edge for edge in graph.edges if height[edge[1]] - height[edge[0]] > 1]
    nx.draw_networkx_edges(graph, position, edgelist=straight, **drawn)
    nx.draw_networkx_edges(graph, position, edgelist=bent, connectionstyle="arc3,rad=0.5", **drawn)
    colours = [CHARGED if data["length"] else FREE if data["filters"] else EMPTY for _, data in graph.nodes(data=True)]
    nx.draw_networkx_nodes(
        graph, position, ax=axes, node_size=90, node_color=colours, edgecolors="#555555", linewidths=0.8
    )
    for name, (x, y) in position.items():
        axes.text(x + 0.12, y, _label(name, graph.nodes[name]), va="center", fontsize=8, parse_math=False)
        for source, data in graph.pred[name].items():
            if data["ways"] > 1:
                across, down = np.mean([position[source], position[name]], axis=0).tolist()
                axes.text(across, down, f"× {data['ways']}", fontsize=7)
    axes.set_xlim(-widest / 2 - 0.2, widest / 2 + 1.0)
    axes.set_ylim(0.5 - len(rows), 0.5)
    return figure


def _label(name: str, data: Mapping[str, Any]) -> str:
    if not data["all"]:
        return f"{name}  ({data['kind']})" if data["kind"] != "input" else "input"
    full = data["filters"] == data["all"]
    return f"{name}  {data['filters']}" if full else f"{name}  {data['filters']} of {data['all']}"
