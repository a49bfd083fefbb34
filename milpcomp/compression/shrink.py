"""Cut off everything that does not matter, without touching a number: the same function, for every input.

    needed channels -> each node is rebuilt on its needed channels (rows, filters, columns are copied verbatim)

A node *keeps* some channels of its value, and a consumer *wants* some channels of each input. Dense layers, ungrouped
convolutions and index maps want whatever their input keeps, and absorb the selection in columns, input channels or
indices. The others (rectifier, scale, pooling, addition, ...) want the channels that they keep themselves; where these
differ from what the input keeps, a `Take` bridges the gap and puts 0 for a channel that is known to be zero. So a
channel goes on one side of a residual addition even if the other side still uses it. A layer that nothing reaches is a
constant: an addition absorbs one as a shift, and in other places it is written out as ``0 + shift``. The network's
input and output keep all their channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from milpcomp.compression.liveness import Liveness, liveness
from milpcomp.compression.selection import (
    blocks,
    compact,
    constant,
    is_identity,
    places,
    reshaped,
    restricted,
    spread,
    zeros,
)
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.index_maps import Permute, Reshape, Take
from milpcomp.network.layers import Add, Affine, Concat, FloatArray, IntArray, Layer, Shape
from milpcomp.network.opaque import Opaque

Origin = tuple[str, tuple[int, ...] | None]
"""A node of the original network and the channels whose values are carried, in order; None for all of them."""


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A smaller network, and where its values come from.

    Parameters
    ----------
    network : Network
    origin : mapping
        For each node of the smaller network whose value is made of channels of one original node: that node and the
        channels. The zeros from which constants are made, partial sums, and values of which channels are missing that
        their reader multiplies by 0, have no origin.
    """

    network: Network
    origin: Mapping[str, Origin]


def shrink(network: Network) -> Shrunk:
    """Return `network` without what is not needed, equal to it for every input.

    Nodes keep their names; a node that is not needed at all disappears, and so does one that has become the identity.
    """
    builder = _Builder(network, liveness(network))
    for node in network.nodes:
        builder.add(node)
    return builder.finish()


class _Builder:
    """The smaller network, node by node, with what each original node keeps and which new node carries it."""

    def __init__(self, network: Network, live: Liveness) -> None:
        self.network, self.live = network, live
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {INPUT: network.input_shape}
        self.origin: dict[str, Origin] = {}
        self.kept: dict[str, IntArray] = {INPUT: np.arange(network.input_shape[0])}
        self.carrier: dict[str, str] = {INPUT: INPUT}
        self.constants: dict[str, FloatArray] = {}
        self.bridges: dict[tuple[str, bytes], str] = {}
        for node in reversed(network.nodes):
            self.kept[node.name] = self._keep(node)

    def add(self, node: Node) -> None:
        """Rebuild one node; a constant waits until somebody reads it."""
        kept = self.kept[node.name]
        if not len(kept) and node.name != self.network.output:
            return
        if isinstance(node.layer, Affine) and not self.live.reached[node.name][kept].any():
            self.constants[node.name] = np.broadcast_to(node.layer.offset(), self.network.shape(node.name))[kept]
        elif isinstance(node.layer, Add):
            self._addition(node, kept)
        else:
            wants = self._wants(node, kept, self.kept[node.inputs[0]])
            if isinstance(node.layer, Concat):
                wants = [(name, want) for name, want in wants if len(want)] or wants[:1]
            sources = [self._edge(name, node.name, want) for name, want in wants]
            self._emit(node.name, self._layer(node, kept) if len(sources) == len(node.inputs) else node.layer, sources)

    def finish(self) -> Shrunk:
        """Return the network; a constant output is written out at last."""
        output = self._carrier(self.network.output)
        return Shrunk(Network(self.network.input_shape, self.nodes, output), self.origin)

    def _keep(self, node: Node) -> IntArray:
        """Return the channels that the new node carries: all needed ones.

        A `Take` with one reader gives what that wants, zeros included, so readers come first.
        """
        shape, layer = self.network.shape(node.name), node.layer
        if node.name == self.network.output:
            return np.arange(shape[0])
        readers = self.network.consumers(node.name)
        if isinstance(layer, Take) and len(readers) == 1 and not isinstance(readers[0].layer, Dense | Take):
            reader = readers[0]
            own = self.live.channels(node.name)
            return next(want for name, want in self._wants(reader, self.kept[reader.name], own) if name == node.name)
        return self.live.channels(node.name)

    def _wants(self, node: Node, kept: IntArray, have: IntArray) -> list[tuple[str, IntArray]]:
        """Return (input, channels wanted of it) for each input of a node, of which the first one keeps `have`."""
        layer, source = node.layer, node.inputs[0]
        shape = self.network.shape(source)
        if isinstance(layer, Dense | Take):
            return [(source, have)]
        if isinstance(layer, Conv2d):
            groups = np.unique(kept // (len(layer.weight) // layer.groups))
            inputs = blocks(groups, layer.weight.shape[1])
            if len(groups) > 1:
                return [(source, inputs)]
            used = inputs[layer.weight[kept].any(axis=(0, 2, 3))] if layer.groups > 1 else inputs
            return [(source, np.intersect1d(used, have))]
        if isinstance(layer, Reshape):
            return [(source, reshaped(shape, self.network.shape(node.name), kept)[0])]
        if isinstance(layer, Permute) and layer.axes[0] != 0:
            return [(source, np.arange(shape[0]))]
        if isinstance(layer, Opaque) and layer.mixes_channels(self.network.shape(node.name)):
            return [(name, np.arange(self.network.shape(name)[0])) for name in node.inputs]
        if isinstance(layer, Concat) and layer.axis == 0:
            starts = np.cumsum([0, *(self.network.shape(name)[0] for name in node.inputs)])
            parts = [kept[(kept >= a) & (kept < b)] - a for a, b in pairwise(starts)]
            return list(zip(node.inputs, parts, strict=True))
        return [(name, kept) for name in node.inputs]

    def _edge(self, source: str, reader: str, want: IntArray) -> str:
        """Return the new node that carries the channels `want` of the original node `source`."""
        have = self.kept[source]
        if np.array_equal(have, want):
            return self._carrier(source)
        key = (source, want.tobytes())
        if key not in self.bridges:
            where, rest = places(have, want), self.network.shape(source)[1:]
            if (where < 0).all():
                name = self._fresh(f"{source}.for.{reader}" if len(have) else source)
                self._append(*zeros(name, (len(want), *rest), self.network.input_shape))
            else:
                name = self._fresh(f"{source}.for.{reader}")
                self._append(Node(name, Take([where, *(None for _ in rest)]), (self._carrier(source),)))
            if self.live.zero[source][want[where < 0]].all():  # else what is missing meets zero coefficients only
                self.origin[name] = (source, tuple(want.tolist()))
            self.bridges[key] = name
        return self.bridges[key]

    def _carrier(self, source: str) -> str:
        """Return the new node that carries what is kept of `source`, writing it out if it is a constant."""
        if source not in self.carrier:
            self._append(*constant(source, self.constants[source], self.network.input_shape))
            self._record(source)
        return self.carrier[source]

    def _addition(self, node: Node, kept: IntArray) -> None:
        """Add what is not known to be zero; one constant is added as a shift."""
        terms = [name for name in node.inputs if not self.live.zero[name][kept].all()] or [node.inputs[0]]
        fixed = [name for name in terms if name in self.constants]
        shift = np.zeros(())
        if fixed and len(terms) > 1:
            terms.remove(fixed[0])
            shift = compact(spread(self.constants[fixed[0]], self.kept[fixed[0]], kept))
        sources = [self._edge(name, node.name, kept) for name in terms]
        if len(sources) > 1 and fixed:
            partial = self._fresh(f"{node.name}.terms")
            self._append(Node(partial, Add(), tuple(sources)))
            sources = [partial]
        self._emit(node.name, node.layer if len(sources) > 1 else Scale(1.0, shift), sources)

    def _layer(self, node: Node, kept: IntArray) -> Layer:
        (source, reads), *_ = self._wants(node, kept, self.kept[node.inputs[0]])
        return restricted(node.layer, self.network.shape(node.name), kept, self.network.shape(source), reads)

    def _emit(self, name: str, layer: Layer, sources: list[str]) -> None:
        """Append the new node, unless it would be the identity."""
        joined_alone = isinstance(layer, Concat) and len(sources) == 1
        if joined_alone or is_identity(layer, self.shapes[sources[0]]):
            self.carrier[name] = sources[0]
        else:
            self._append(Node(name, layer, tuple(sources)))
            self._record(name)

    def _append(self, *nodes: Node) -> None:
        for node in nodes:
            self.nodes.append(node)
            shapes = [self.shapes[source] for source in node.inputs]
            self.shapes[node.name] = node.layer.output_shape(*shapes)  # type: ignore[attr-defined]

    def _record(self, name: str) -> None:
        """Note that the new node called `name` carries what is kept of the original one."""
        kept = self.kept[name]
        self.carrier[name] = name
        self.origin[name] = (name, None if len(kept) == self.network.shape(name)[0] else tuple(kept.tolist()))

    def _fresh(self, name: str) -> str:
        """Return `name`, or a similar one if a node of that name exists or is still to come."""
        coming = {node.name for node in self.network.nodes if len(self.live.channels(node.name))}
        return self._fresh(f"{name}_") if name in self.shapes or name in coming else name
