"""Exact clean-up of the nodes that a reader produced: no rounding, the same real function.

    y = 1 * x + 0                      is x: the node vanishes (normalisation by zero mean, `x - 0`)
    y = b * max(0, x)                  written as Rectifier(1, 0), then Scale(b, 0), is one Rectifier(b, 0)

The second is the rotated ReLU of Nayak and Kalyani (arXiv 2206.00488, eq. 3) as frameworks write it. Both hold in real
arithmetic for every finite b, so readers apply them always. Nothing else is joined: two scalings in a row, or a scaling
behind a leaky rectifier, would round when multiplied out, and layers are kept as read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from milpcomp.network.affine import Scale
from milpcomp.network.graph import Node
from milpcomp.network.layers import FloatArray, Layer, Rectifier


def join(nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    """Return nodes without identities and with rotated slopes joined, and the name of the output among them.

    Every reader calls this once, last, on its nodes in topological order, before it makes the `Network`. A joined
    rectifier keeps its own name; the name of its scaling vanishes. A rectifier that something else reads too, or that
    is the output itself, is left alone.

    Parameters
    ----------
    nodes : sequence of Node
        In topological order.
    output : str
        Name of the output node.

    Returns
    -------
    nodes : list of Node
        In the same order; the nodes given are not changed.
    output : str
        `output`, or the name of the node that now has its value (the network's input, where nothing else is left).
    """
    return _join_slopes(*_drop_identities(nodes, output))


def _drop_identities(nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    kept: list[Node] = []
    renamed: dict[str, str] = {}
    for node in nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        factor = _factor(node.layer)
        if factor is not None and (factor == 1).all():
            renamed[node.name] = inputs[0]
        else:
            kept.append(replace(node, inputs=inputs))
    return kept, renamed.get(output, output)


def _join_slopes(nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    readers = Counter([name for node in nodes for name in node.inputs] + [output])
    place: dict[str, int] = {}  # plain ReLUs seen so far: where they are in `kept`
    kept: list[Node] = []
    renamed: dict[str, str] = {}
    for node in nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        factor = _factor(node.layer)
        if factor is not None and inputs[0] in place and readers[inputs[0]] == 1:
            where = place.pop(inputs[0])
            kept[where] = replace(kept[where], layer=Rectifier(factor, 0.0))
            renamed[node.name] = inputs[0]
            continue
        if isinstance(node.layer, Rectifier) and _is_relu(node.layer):
            place[node.name] = len(kept)
        kept.append(replace(node, inputs=inputs))
    return kept, renamed.get(output, output)


def _factor(layer: Layer) -> FloatArray | None:
    """Return b if `layer` is ``y = b * x``, else None."""
    return layer.scale if isinstance(layer, Scale) and (layer.shift == 0).all() else None


def _is_relu(layer: Rectifier) -> bool:
    return bool((layer.positive_slope == 1).all() and (layer.negative_slope == 0).all())
