"""Exact clean-up of the nodes that a reader produced: no rounding, the same real function.

    y = 1 * x + 0                      is x: the node vanishes (normalisation by zero mean, `x - 0`)
    y = (A x + 0) + c                  written as Dense, Conv2d or Scale, then Scale(1, c), gets the offset c
    y = b * max(0, x)                  written as Rectifier(1, 0), then Scale(b, 0), is one Rectifier(b, 0)
    y = b * gelu(x)                    written as Gelu(1), then Scale(b, 0), is one Gelu(b)

The last two are the rotated ReLU and GELU of Nayak and Kalyani (arXiv 2206.00488, eq. 3) as frameworks write them. All
hold in real arithmetic for every finite b and c, so readers apply them always. Nothing else is joined: two scalings in
a row, a second offset, or a scaling behind a leaky rectifier, would round when multiplied out, and layers are kept as
read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d
from milpcomp.network.graph import Node
from milpcomp.network.layers import FloatArray, Layer, Rectifier
from milpcomp.network.opaque import Gelu


def join(nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    """Return nodes without identities, with biases and rotated slopes joined, and the name of the output among them.

    Every reader calls this once, last, on its nodes in topological order, before it makes the `Network`. A joined
    node has the name of the first of the two. A node that something else reads too, or that is the output itself, is
    left alone.

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
    return _join_pairs(*_drop_identities(nodes, output))


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


def _join_pairs(nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    readers = Counter([name for node in nodes for name in node.inputs] + [output])
    place: dict[str, int] = {}  # where each node is in `kept`
    kept: list[Node] = []
    renamed: dict[str, str] = {}
    for node in nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        where = place.pop(inputs[0], None) if readers[inputs[0]] == 1 else None
        joined = None if where is None else _joined(kept[where].layer, node.layer)
        if where is not None and joined is not None:
            kept[where] = replace(kept[where], layer=joined)
            renamed[node.name] = inputs[0]
        else:
            place[node.name] = len(kept)
            kept.append(replace(node, inputs=inputs))
    return kept, renamed.get(output, output)


def _joined(first: Layer, second: Layer) -> Layer | None:
    """Return the layer that is `first`, then `second`, in real arithmetic; None unless it is one of those above."""
    factor = _factor(second)
    if isinstance(first, Rectifier) and factor is not None and _is_relu(first):
        return Rectifier(factor, 0.0)
    if isinstance(first, Gelu) and factor is not None and (first.slope == 1).all():
        return Gelu(factor)
    if not isinstance(first, Dense | Conv2d | Scale) or not isinstance(second, Scale):
        return None
    if (first.offset() != 0).any() or (second.scale != 1).any():
        return None
    if isinstance(first, Scale):
        return Scale(first.scale, second.shift)
    per_output = second.shift.reshape(second.shift.shape[:1]) if second.shift.shape[1:] == (1, 1) else second.shift
    if isinstance(first, Conv2d) and second.shift.ndim and per_output is second.shift:
        return None  # differs from pixel to pixel
    return replace(first, bias=np.broadcast_to(per_output, first.bias.shape))


def _factor(layer: Layer) -> FloatArray | None:
    """Return b if `layer` is ``y = b * x``, else None."""
    return layer.scale if isinstance(layer, Scale) and (layer.shift == 0).all() else None


def _is_relu(layer: Rectifier) -> bool:
    return bool((layer.positive_slope == 1).all() and (layer.negative_slope == 0).all())
