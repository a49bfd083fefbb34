"""The exact distribution of path lengths of a weighted graph, without enumerating paths.

With ``length(v)`` the length of node v and ``ways(u, v)`` the number of parallel edges from u to v, the polynomials

    P_source(z) = z^length(source)        P_v(z) = z^length(v) * sum over u of ways(u, v) * P_u(z)

hold at z^n how many paths of length n lead to each node (a ResNet with b two-way blocks is the product of b binomials
``1 + z^(filters of the block)``). A polynomial is kept as one integer, its value at ``z = 2^bits`` with `bits` wide
enough for the number of all paths, so that a step of the recursion is a shift and an addition of exact integers; a
network with 2^333 paths takes a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import networkx as nx

from milpcomp.errors import SettingsError


@dataclass(frozen=True, eq=False)
class Distribution:
    """How many paths have which length.

    Parameters
    ----------
    counts : mapping from int to int
        Number of paths by length, lengths ascending; exact.
    """

    counts: Mapping[int, int]

    @property
    def paths(self) -> int:
        """Number of all paths."""
        return sum(self.counts.values())

    @property
    def support(self) -> tuple[int, ...]:
        """The lengths that occur, ascending."""
        return tuple(self.counts)

    @property
    def minimum(self) -> int:
        """Length of the shortest path."""
        return next(iter(self.counts))

    @property
    def maximum(self) -> int:
        """Length of the longest path."""
        return next(reversed(self.counts))

    @property
    def mean(self) -> float:
        """Mean length of all paths, correctly rounded."""
        return float(self._moment(1))

    @property
    def sd(self) -> float:
        """Standard deviation of the lengths of all paths."""
        return math.sqrt(self._moment(2) - self._moment(1) ** 2)

    def quantile(self, share: float) -> int:
        """Return the smallest length that at least this share of all paths does not exceed.

        Raises
        ------
        SettingsError
            If the share is not in [0, 1].
        """
        if not 0 <= share <= 1:
            raise SettingsError(f"a quantile is asked for by a share between 0 and 1, got {share!r}")
        wanted, seen = Fraction(share) * self.paths, 0
        for length, count in self.counts.items():
            seen += count
            if seen >= wanted and seen:
                return length
        return self.maximum

    def shares(self) -> dict[int, float]:
        """Return the share of all paths by length."""
        total = self.paths
        return {length: count / total for length, count in self.counts.items()}

    def _moment(self, order: int) -> Fraction:  # exact: sums of floats would drown in the size of the counts
        return Fraction(sum(count * length**order for length, count in self.counts.items()), self.paths)


def path_lengths(graph: nx.DiGraph) -> Distribution:
    """Return the distribution of the lengths of all paths from the source to the sink of `graph`.

    Parameters
    ----------
    graph : networkx.DiGraph
        Acyclic, with graph attributes ``source`` and ``sink``; nodes carry ``length`` (int >= 0, default 0), edges
        ``ways`` (int >= 1, default 1), as `milpcomp.filter_graph` and `block_graph` make them.

    Raises
    ------
    SettingsError
        If the graph has a cycle, lacks a source or sink, has no path between them, or a length is negative or no
        whole number.
    """
    _, sink = check_graph(graph)
    return Distribution(unpack(*packed_polynomials(graph, keep=(sink,)), sink))


@dataclass(frozen=True)
class Packing:
    """How polynomials are written as integers: ``z = 2^bits``, and lengths are multiples of `unit`."""

    bits: int
    unit: int


@dataclass(frozen=True)
class Polynomial:
    """``z^(unit * offset) * packed`` with ``z^unit = 2^bits``; the offset spares long shifts along unbranched ways."""

    packed: int
    offset: int


def packed_polynomials(graph: nx.DiGraph, keep: Collection[str] | None = None) -> tuple[dict[str, Polynomial], Packing]:
    """Return the polynomials of the nodes on paths from source to sink, and how they are packed.

    Those of nodes not named in `keep` (all are kept by default) are dropped when nobody needs them any more: they may
    take megabytes each.
    """
    source, sink = check_graph(graph)
    on_path = (nx.descendants(graph, source) | {source}) & (nx.ancestors(graph, sink) | {sink})
    order = [node for node in nx.topological_sort(graph) if node in on_path]
    entering = {
        node: [(u, int(e.get("ways", 1))) for u, e in graph.pred[node].items() if u in on_path] for node in order
    }
    ways: dict[str, int] = {}
    for node in order:
        ways[node] = sum(ways[before] * count for before, count in entering[node]) if node != source else 1
    lengths = {node: int(graph.nodes[node].get("length", 0)) for node in order}
    unit = reduce(math.gcd, lengths.values()) or 1
    packing = Packing(8 * (ways[sink].bit_length() // 8 + 1), unit)
    pending = {node: sum(after in on_path for after in graph.succ[node]) for node in order}
    polynomials: dict[str, Polynomial] = {}
    for node in order:
        terms = [(polynomials[before], count) for before, count in entering[node]]
        total = _sum(terms, packing.bits) if node != source else Polynomial(1, 0)
        polynomials[node] = Polynomial(total.packed, total.offset + lengths[node] // unit)
        for before, _ in entering[node]:
            pending[before] -= 1
            if keep is not None and not pending[before] and before not in keep:
                del polynomials[before]
    return polynomials, packing


def _sum(terms: Sequence[tuple[Polynomial, int]], bits: int) -> Polynomial:
    """Return the sum of polynomials, each taken `count` times."""
    offset = min(term.offset for term, _ in terms)
    shifted = (term.packed << (bits * (term.offset - offset)) for term, _ in terms)
    return Polynomial(sum(p * count if count > 1 else p for p, (_, count) in zip(shifted, terms, strict=True)), offset)


def unpack(polynomials: Mapping[str, Polynomial], packing: Packing, node: str) -> dict[int, int]:
    """Return the coefficients of one node's polynomial that are not zero, by length."""
    step, found = packing.bits // 8, polynomials[node]
    digits = found.packed.to_bytes(step * (found.packed.bit_length() // packing.bits + 1), "little")
    values = (int.from_bytes(digits[i : i + step], "little") for i in range(0, len(digits), step))
    return {(found.offset + i) * packing.unit: value for i, value in enumerate(values) if value}


def check_graph(graph: nx.DiGraph) -> tuple[str, str]:
    """Return the source and the sink of a usable graph; raise `SettingsError` for any other."""
    if not isinstance(graph, nx.DiGraph) or graph.is_multigraph() or not nx.is_directed_acyclic_graph(graph):
        raise SettingsError("path lengths are defined for directed acyclic graphs; make one with filter_graph(network)")
    source, sink = (graph.graph.get(end) for end in ("source", "sink"))
    if source not in graph or sink not in graph or not nx.has_path(graph, source, sink):
        raise SettingsError("the graph needs attributes 'source' and 'sink' that name two nodes with a path in between")
    for node, length in graph.nodes(data="length", default=0):
        if int(length) != length or length < 0:
            raise SettingsError(f"the length of node {node!r} must be a whole number >= 0, got {length!r}")
    for start, end, ways in graph.edges(data="ways", default=1):
        if int(ways) != ways or ways < 1:
            raise SettingsError(f"the ways from {start!r} to {end!r} must be a whole number >= 1, got {ways!r}")
    return source, sink
