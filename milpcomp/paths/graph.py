"""The filter graph of a network: its layers with filters, the points where branches part and meet, and nothing else.

A node is a layer with filters (dense or convolution), a place where several branches meet (addition, concatenation), a
value that several layers read, the input, or the output; whatever lies between two of them is the edge. Each node has

    filters   how many of its filters (output channels) are active; 0 for the others
    all       how many it has
    length    what a path through it is charged

Nayak and Kalyani (arXiv 2206.00488, section IV-C): "the input can either pass through skip connection", of length 0, or
take the weighted path, whose length is the number of its active filters. So a shortcut costs nothing even if it holds a
projection, and layers on the trunk (stem, classifier), which every path passes, are not charged; both can be had.

A filter is active if its output matters: some element reaches the network's output through non-zero numbers, and it is
not zero. So a zero slope kills the filter before it where nothing else reads that filter, as in a chain or after the
addition of a block, and it does not where the value goes on along a skip connection, as in pre-activation networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import networkx as nx
import numpy as np

from milpcomp.channels.slopes import silenced as small_silenced
from milpcomp.compression.liveness import liveness
from milpcomp.errors import ResultError, SettingsError
from milpcomp.network.affine import Dense
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import INPUT, Network, Node, require_network
from milpcomp.network.layers import Rectifier
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof


def active_filters(network: Network, threshold: float = 0.0, report: Report | None = None) -> dict[str, int]:
    """Return how many filters of each dense and convolution node are active.

    Parameters
    ----------
    network : Network
    threshold : float
        Rectifier channels whose slopes are both at most this in magnitude count as silent. 0: only those that are.
    report : Report, optional
        Channels that it certifies to be stably inactive, with a negative slope of 0, count as silent too.

    Raises
    ------
    SettingsError
        If the threshold is negative or no number.
    ResultError
        If the report belongs to another network.
    """
    live = liveness(silenced(network, threshold, report))
    return {
        node.name: len(live.channels(node.name)) for node in network.nodes if isinstance(node.layer, Dense | Conv2d)
    }


def filter_graph(
    network: Network,
    threshold: float = 0.0,
    report: Report | None = None,
    *,
    trunk: bool = False,
    projections: bool = False,
) -> nx.DiGraph:
    """Return the filter graph of a network.

    Parameters
    ----------
    network, threshold, report
        As for `active_filters`.
    trunk : bool
        Charge also the layers that every path passes.
    projections : bool
        Charge also the layers of a shortcut: a branch without a rectifier that runs beside one with a rectifier.

    Returns
    -------
    networkx.DiGraph
        Nodes carry ``filters``, ``all``, ``length`` and ``kind``; edges carry ``ways`` and ``rectified``. The graph
        attributes ``source`` and ``sink`` name the ends, ``trunk_filters`` is the number of active filters that every
        path passes.
    """
    require_network(network, "filter_graph")
    active = active_filters(network, threshold, report)
    graph = _contracted(network, active)
    dominators = nx.immediate_dominators(graph, INPUT)
    common = set(_chain(dominators, graph.graph["sink"]))
    free = set() if trunk else set(common)
    if not projections:
        free |= _shortcuts(graph, dominators)
    for name, data in graph.nodes(data=True):
        data["length"] = 0 if name in free else data["filters"]
    graph.graph["trunk_filters"] = sum(graph.nodes[name]["filters"] for name in common)
    return graph


def block_graph(counts: Iterable[int], per_block: int = 2) -> nx.DiGraph:
    """Return the graph of residual blocks in a row, each with a skip of length 0.

    Parameters
    ----------
    counts : iterable of int
        Active filters of each convolution, block by block.
    per_block : int
        Convolutions of a block.

    Raises
    ------
    SettingsError
        If the counts do not fill whole blocks, or one is negative or no whole number.
    """
    numbers = np.asarray(list(counts))
    if numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise SettingsError(f"counts must be whole numbers >= 0, got {numbers.tolist()}")
    if per_block < 1 or len(numbers) % per_block:
        raise SettingsError(f"{len(numbers)} counts do not fill blocks of {per_block}")
    graph = nx.DiGraph(source=INPUT, sink=INPUT, trunk_filters=0)
    graph.add_node(INPUT, filters=0, all=0, length=0, kind="input")
    for start in range(0, len(numbers), per_block):
        fork, number = graph.graph["sink"], start // per_block + 1
        join, before = f"block {number}", fork
        for i, filters in enumerate(numbers[start : start + per_block]):
            name = f"block {number} convolution {i + 1}"
            graph.add_node(name, filters=int(filters), all=int(filters), length=int(filters), kind="Conv2d")
            graph.add_edge(before, name, ways=1, rectified=True)
            before = name
        graph.add_node(join, filters=0, all=0, length=0, kind="Add")
        graph.add_edge(before, join, ways=1, rectified=True)
        graph.add_edge(fork, join, ways=1, rectified=False)
        graph.graph["sink"] = join
    return graph


def silenced(network: Network, threshold: float, report: Report | None) -> Network:
    """Return `network` with the slopes of all silent channels set to 0."""
    if report is not None and report.network_digest != network.digest:
        raise ResultError("the report belongs to another network; certify this one")
    quiet = small_silenced(network, threshold)
    return quiet if report is None else _inactive_silenced(quiet, report)


def _inactive_silenced(network: Network, report: Report) -> Network:
    """Return `network` with the slopes of neurons at 0 that are certified to be stably inactive with slope 0."""
    verdicts, nodes = report.layers(), []
    for node in network.nodes:
        if isinstance(node.layer, Rectifier):
            shape = network.shape(node.name)
            positive, negative = (slopes.reshape(shape) for slopes in node.layer.slopes(shape))
            dead = [v.phase is Phase.STABLY_INACTIVE and v.proof is Proof.CERTIFIED for v in verdicts[node.name]]
            quiet = np.reshape(dead, shape) & (negative == 0)
            if quiet.any():
                node = replace(node, layer=Rectifier(np.where(quiet, 0, positive), negative))
        nodes.append(node)
    return Network(network.input_shape, nodes, network.output)


def _contracted(network: Network, active: dict[str, int]) -> nx.DiGraph:
    """Return the graph of the nodes that stay, without lengths."""
    readers = dict.fromkeys((INPUT, *(node.name for node in network.nodes)), 0)
    for node in network.nodes:
        for name in node.inputs:
            readers[name] += 1
    graph = nx.DiGraph(source=INPUT, sink=network.output)
    graph.add_node(INPUT, filters=0, all=0, kind="input")
    origin = {INPUT: (INPUT, False)}  # the node of the graph before a value, and whether a rectifier lies in between
    for node in network.nodes:
        sources = [_passed(node, origin[name]) for name in node.inputs]
        stays = node.name in active or len(sources) > 1 or readers[node.name] > 1 or node.name == network.output
        if not stays:
            origin[node.name] = sources[0]
            continue
        filters = network.shape(node.name)[0] if node.name in active else 0
        graph.add_node(node.name, filters=active.get(node.name, 0), all=filters, kind=type(node.layer).__name__)
        for source, rectified in sources:
            known = graph.get_edge_data(source, node.name, {"ways": 0, "rectified": False})
            graph.add_edge(source, node.name, ways=known["ways"] + 1, rectified=known["rectified"] or rectified)
        origin[node.name] = (node.name, False)
    return graph


def _passed(node: Node, origin: tuple[str, bool]) -> tuple[str, bool]:
    return origin[0], origin[1] or isinstance(node.layer, Rectifier)


def _chain(dominators: dict[str, str], node: str) -> Sequence[str]:
    """Return the dominators of a node, itself included."""
    chain = [node]
    while dominators.get(chain[-1], chain[-1]) not in (chain[-1], None):
        chain.append(dominators[chain[-1]])
    return chain


def _shortcuts(graph: nx.DiGraph, dominators: dict[str, str]) -> set[str]:
    """Return the nodes of branches without rectifier that meet a branch with one."""
    found: set[str] = set()
    for join in graph:
        if graph.in_degree(join) < 2:
            continue
        plain, bent = [], False
        for last, edge in graph.pred[join].items():
            inside = _between(graph, dominators[join], last)
            rectified = edge["rectified"] or any(
                data["rectified"] for _, end, data in graph.in_edges(inside, data=True) if end in inside
            )
            bent |= rectified
            plain += [] if rectified else sorted(inside)
        found |= set(plain) if bent else set()
    return found


def _between(graph: nx.DiGraph, fork: str, last: str) -> set[str]:
    """Return the nodes after `fork` on paths from it to `last`, `last` included."""
    if last == fork:
        return set()
    return (nx.ancestors(graph, last) | {last}) & nx.descendants(graph, fork)
