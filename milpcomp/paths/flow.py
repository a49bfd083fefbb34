"""How much of the gradient the paths of each length carry, measured on data.

The gradient of a loss with respect to the input is the sum over all paths p of the products of the Jacobians along p.
After Veit, Wilber and Belongie (arXiv 1605.06431, section 4.3), what the paths of a length carry together is the number
of these paths times the mean norm of the gradient along one of them, which is estimated from paths drawn at random:

    carried(bin) = paths in the bin * mean over drawn paths and samples of |product of Jacobians along the path|_2

A path is drawn exactly uniformly among those of its length: backwards from the output, branch by branch, each with the
number of paths of the remaining length that lead there, which the polynomials of `milpcomp.paths.distribution` hold.
Along the other branches nothing flows; rectifiers keep the slopes that they have in the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from milpcomp.errors import DomainError, SettingsError
from milpcomp.network.graph import INPUT, Network
from milpcomp.network.layers import Affine, Concat, FloatArray, Rectifier
from milpcomp.network.opaque import refuse_opaque
from milpcomp.paths.distribution import packed_polynomials, unpack


@dataclass(frozen=True, eq=False)
class Flow:
    """Gradient by path length.

    Parameters
    ----------
    edges : ndarray, shape (B + 1,)
        Bin i holds the lengths from ``edges[i]`` up to but not including ``edges[i + 1]`` (the last one included).
    paths : tuple of int
        Number of paths in each bin.
    norm : ndarray, shape (B,)
        Mean norm of the gradient along one path, NaN where no path was drawn.
    share : ndarray, shape (B,)
        Share of what is carried in all: `paths` times `norm`, scaled to sum 1 (all 0 if nothing is carried).
    drawn : ndarray of int, shape (B,)
        Paths drawn.
    """

    edges: FloatArray
    paths: tuple[int, ...]
    norm: FloatArray
    share: FloatArray
    drawn: NDArray[np.int64]


def gradient_flow(
    network: Network,
    graph: nx.DiGraph,
    x: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    bins: int = 20,
    draws: int = 20,
    seed: int = 0,
) -> Flow:
    """Measure the gradient of the cross-entropy along paths of each length.

    Parameters
    ----------
    network : Network
        A classifier: its output is a vector of logits.
    graph : networkx.DiGraph
        Of this network, from `filter_graph`.
    x : array_like, shape (N, *input_shape)
    labels : array_like of int, shape (N,), optional
        The network's own predictions if not given.
    bins, draws : int
        Bins of equal width between the shortest and the longest path, and paths drawn for each that holds any.
    seed : int

    Raises
    ------
    SettingsError, DomainError
        If the graph is of another network, or numbers or inputs do not fit.
    UnsupportedOperatorError
        If the network has opaque layers, whose derivatives are not known here.
    """
    inputs = np.asarray(x, dtype=np.float64)
    if inputs.shape[1:] != network.input_shape or not len(inputs):
        raise DomainError(f"inputs must have shape (N, *{network.input_shape}), got {inputs.shape}")
    if len(network.output_shape) != 1 or bins < 1 or draws < 1:
        raise SettingsError("gradient flow needs a network with a vector of logits, and bins and draws of at least 1")
    if not {node for node in graph if node != INPUT} <= {node.name for node in network.nodes}:
        raise SettingsError("the graph names layers that this network does not have; make it with filter_graph")
    refuse_opaque(network, "gradient flow")
    walk = _Walk(network, graph, inputs, labels)
    rng = np.random.default_rng(seed)
    lengths = sorted(walk.counts[graph.graph["sink"]])
    edges = np.linspace(lengths[0], lengths[-1] + 1, bins + 1)
    place = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, bins - 1)
    total, norms, drawn, paths = walk.counts[graph.graph["sink"]], np.full(bins, np.nan), np.zeros(bins, int), []
    for b in range(bins):
        inside = [length for length, at in zip(lengths, place, strict=True) if at == b]
        paths.append(sum(total[length] for length in inside))
        if not inside:
            continue
        odds = np.array([total[length] / paths[-1] for length in inside])
        picked = rng.choice(inside, size=draws, p=odds / odds.sum())
        norms[b] = np.mean([walk.norm(walk.draw(int(length), rng)) for length in picked])
        drawn[b] = draws
    whole = sum(paths)
    carried = np.array([count / whole for count in paths]) * np.nan_to_num(norms)
    share = carried / carried.sum() if carried.sum() > 0 else np.zeros(bins)
    return Flow(edges, tuple(paths), norms, share, drawn)


class _Walk:
    """Forward values of one batch, and random paths backwards through the network."""

    def __init__(self, network: Network, graph: nx.DiGraph, x: FloatArray, labels: ArrayLike | None) -> None:
        self.network, self.graph = network, graph
        self.values = network.values(x)
        polynomials, packing = packed_polynomials(graph)
        self.counts = {node: unpack(polynomials, packing, node) for node in polynomials}
        logits = self.values[network.output]
        chosen = logits.argmax(axis=1) if labels is None else np.asarray(labels)
        if chosen.shape != (len(x),) or chosen.min() < 0 or chosen.max() >= logits.shape[1]:
            raise DomainError(f"labels must be {len(x)} class numbers below {logits.shape[1]}")
        softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
        self.start = softmax / softmax.sum(axis=1, keepdims=True)
        self.start[np.arange(len(x)), chosen] -= 1.0
        self.origin = _origins(network, graph)

    def draw(self, length: int, rng: np.random.Generator) -> dict[str, int]:
        """Return a random path of this length: for every layer with several inputs on it, which one is taken."""
        choice: dict[str, int] = {}
        node = self.graph.graph["sink"]
        while node != self.graph.graph["source"]:
            length -= self.graph.nodes[node].get("length", 0)
            sources = self.origin[node]
            counts = [self.counts.get(source, {}).get(length, 0) for source in sources]
            odds = np.array([count / sum(counts) for count in counts])
            choice[node] = int(rng.choice(len(sources), p=odds / odds.sum()))
            node = sources[choice[node]]
        return choice

    def norm(self, choice: dict[str, int]) -> float:
        """Return the mean over the batch of the norm of the gradient along one path."""
        name, gradient = self.network.output, self.start
        while name != INPUT:
            node: Any = self.network[name]
            source = node.inputs[choice.get(name, 0)]
            layer, x = node.layer, self.values[source]
            if isinstance(layer, Affine):
                gradient = layer.transposed(gradient, self.network.shape(source))
            elif isinstance(layer, Rectifier):
                gradient = gradient * np.where(x > 0, layer.positive_slope, layer.negative_slope)
            elif isinstance(layer, Concat):
                widths = np.cumsum([self.network.shape(i)[layer.axis] for i in node.inputs])[:-1]
                gradient = np.split(gradient, widths, axis=layer.axis + 1)[choice[name]]
            name = source
        return float(np.linalg.norm(gradient.reshape(len(gradient), -1), axis=1).mean())


def _origins(network: Network, graph: nx.DiGraph) -> dict[str, list[str]]:
    """Return for each node of the graph the node before it on each of its inputs."""
    before = {INPUT: INPUT}
    origin: dict[str, list[str]] = {}
    for node in network.nodes:
        sources = [before[name] for name in node.inputs]
        if node.name in graph:
            origin[node.name] = sources
        before[node.name] = node.name if node.name in graph else sources[0]
    return origin
