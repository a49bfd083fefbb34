"""`rewrite`: apply edits to a network. Pure: it reads the network and the edits, and looks at no verdict.

    adjust   numbers change, shapes and names do not: zero slopes for removed channels, readers that absorb dropped
             ones, scales in place of folded rectifiers
    fuse     dense - scale - dense becomes one dense layer where a fold says so
    shrink   what is no longer needed goes, the rest is copied verbatim (`milpcomp.compression.shrink`)

Rounding happens in the first two steps only, in absorbed and fused numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from milpcomp.compression.absorb import Absorbed, absorb, obstacle, readers, with_numbers
from milpcomp.compression.balls import Ball, accumulate
from milpcomp.compression.edits import Collapse, Edit, Expansion, Fold, Remove, by_layer
from milpcomp.compression.liveness import liveness
from milpcomp.compression.selection import constant
from milpcomp.compression.shrink import Shrunk, shrink
from milpcomp.compression.validate import check_edits
from milpcomp.errors import EditError
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.graph import Network, Node
from milpcomp.network.layers import FloatArray, Layer, Rectifier, Shape


def rewrite(network: Network, edits: Sequence[Edit]) -> Network:
    """Return the smaller network that `edits` make of `network`.

    Parameters
    ----------
    network : Network
        The network that the edits were made for.
    edits : sequence of Edit

    Raises
    ------
    EditError
        If an edit is malformed, not backed by the verdicts it carries, or does not fit the network.
    """
    return replay(network, edits).network


def replay(network: Network, edits: Sequence[Edit]) -> Shrunk:
    """Return the smaller network together with where its values come from; see `rewrite`."""
    check_edits(network, edits)
    for edit in edits:
        if isinstance(edit, Collapse):
            made = Network(network.input_shape, constant(network.output, edit.value, network.input_shape))
            return Shrunk(made, {network.output: (network.output, None)})
    prepared = prepare(network, edits)
    for edit in edits:
        if isinstance(edit, Fold):
            read = set(liveness(prepared.before(edit.layer)).channels(edit.layer).tolist())
            if not read <= set(edit.channels):
                raise EditError(f"folding {edit.layer!r} leaves out channels that are still read")
    return shrink(prepared.fused)


@dataclass(frozen=True, eq=False)
class Absorption:
    """A reader of a rectifier, and what it absorbed of the channels `dropped` of it."""

    rectifier: str
    path: tuple[Node, ...]
    dropped: frozenset[int]
    absorbed: Absorbed


@dataclass(frozen=True, eq=False)
class Fusion:
    """In `network`, `first` reads `source`, then comes `layer`; dense `name` became ``weight @ source + bias``."""

    network: Network
    layer: str
    name: str
    source: str
    first: Dense
    weight: Ball
    bias: Ball


@dataclass(frozen=True, eq=False)
class Prepared:
    """The network before and after fusing, and how far its new numbers are from what they stand for."""

    adjusted: Network
    fused: Network
    absorbed: Mapping[str, Absorption]
    fusions: tuple[Fusion, ...]

    def before(self, layer: str) -> Network:
        """Return the network at the time when `layer` was fused, or after all fusing if it was not."""
        return next((fusion.network for fusion in self.fusions if fusion.layer == layer), self.fused)


def prepare(network: Network, edits: Sequence[Edit]) -> Prepared:
    """Adjust and fuse a network; see the module."""
    layers: dict[str, Layer] = {node.name: node.layer for node in network.nodes}
    absorbed: dict[str, Absorption] = {}
    for name, own in by_layer(edits).items():
        layers[name] = _instead(network, name, own)
        expansions = [edit for edit in own if isinstance(edit, Expansion)]
        if expansions:
            found = _absorptions(network, name, expansions)
            absorbed |= found
            layers |= {reader: with_numbers(layers[reader], entry.absorbed) for reader, entry in found.items()}
    nodes = [Node(node.name, layers[node.name], node.inputs) for node in network.nodes]
    adjusted = Network(network.input_shape, nodes, network.output)
    fused, fusions = adjusted, []
    for edit in edits:
        if isinstance(edit, Fold) and edit.fuse:
            fused, fusion = _fuse(fused, edit.layer)
            fusions.append(fusion)
    return Prepared(adjusted, fused, absorbed, tuple(fusions))


def fusible(network: Network, layer: str) -> tuple[Node, Node]:
    """Return the dense nodes right before and after `layer`, which must be each other's only company.

    Raises
    ------
    EditError
        If there are no such nodes.
    """
    source, after = network[layer].inputs[0], network.consumers(layer)
    alone = source in network and len(network.consumers(source)) == len(after) == 1
    if not alone or network.output in (source, layer):
        raise EditError(f"{layer!r} cannot be fused: it or its input is read elsewhere")
    if not isinstance(network[source].layer, Dense) or not isinstance(after[0].layer, Dense):
        raise EditError(f"{layer!r} cannot be fused: it does not lie between two dense layers")
    return network[source], after[0]


def _fuse(network: Network, layer: str) -> tuple[Network, Fusion]:
    before, after = fusible(network, layer)
    first, middle, second = before.layer, network[layer].layer, after.layer
    assert isinstance(first, Dense)
    assert isinstance(middle, Scale)
    assert isinstance(second, Dense)
    scales = np.broadcast_to(middle.scale, first.bias.shape)
    columns = Ball.exact(second.weight) * Ball.exact(scales)
    weight = accumulate(
        Ball.exact(np.zeros((len(second.bias), first.weight.shape[1]))), columns, Ball.exact(first.weight)
    )
    bias = accumulate(Ball.exact(second.bias[:, None]), columns, Ball.exact(first.bias[:, None]))[:, 0]
    joined = Node(after.name, Dense(weight.value, bias.value), before.inputs)
    nodes = [joined if node is after else node for node in network.nodes if node.name not in (before.name, layer)]
    fusion = Fusion(network, layer, after.name, before.inputs[0], first, weight, bias)
    return Network(network.input_shape, nodes, network.output), fusion


def _absorptions(network: Network, name: str, expansions: list[Expansion]) -> dict[str, Absorption]:
    reason = obstacle(network, name, any(has_shift(edit) for edit in expansions))
    if reason is not None:
        raise EditError(f"channels of {name!r} cannot be dropped: {reason}")
    dropped = frozenset(channel for edit in expansions for channel in edit.channels)
    return {
        reader.node.name: Absorption(
            name, reader.path, dropped, absorb(reader.layer, network.shape(name)[0], reader.path, expansions)
        )
        for reader in readers(network, name)[0]
    }


def has_shift(edit: Expansion) -> bool:
    """Tell whether dropped channels leave a constant behind."""
    values = getattr(edit, "values", getattr(edit, "shift", ()))
    return bool(np.any(values))


def _instead(network: Network, name: str, own: Sequence[Remove | Expansion | Fold]) -> Layer:
    """Return what stands in place of a rectifier: slopes zero where removed, a scale where folded."""
    layer, shape = network[name].layer, network.shape(name)
    assert isinstance(layer, Rectifier)
    for fold in own:
        if isinstance(fold, Fold):
            scale = _per_channel(np.ones(()), shape)
            scale[[channel for edit in own for channel in edit.channels]] = 0.0
            scale[list(fold.channels)] = np.array(fold.slopes).reshape(-1, *(1 for _ in shape[1:]))
            return Scale(scale)
    removed = [channel for edit in own if isinstance(edit, Remove) for channel in edit.channels]
    if not removed:
        return layer
    slopes = [_per_channel(slope, shape) for slope in (layer.positive_slope, layer.negative_slope)]
    for slope in slopes:
        slope[removed] = 0.0
    return Rectifier(*slopes)


def _per_channel(array: FloatArray, shape: Shape) -> FloatArray:
    """Return a copy of an array, broadcastable to `shape`, that has an entry for every channel."""
    padded = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return np.array(np.broadcast_to(padded, (shape[0], *padded.shape[1:])))
