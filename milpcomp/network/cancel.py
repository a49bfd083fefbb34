"""Cancels moves of numbers that are undone later: the same function, without rounding.

    P^-1 f(P x) = f'(x)        P a permutation of axes or a reshape, f element by element, f' its numbers moved by P^-1

Linear layers that map each row of a sample are read as convolutions with 1 x 1 filters, between moves that bring the
channels to the front and back (`torch_arithmetic.linear`). Between two of them, as in the two-layer perceptrons of
transformers, all of these cancel, across the activation too, so channels of hidden layers lie along axis 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from milpcomp.network.affine import Scale
from milpcomp.network.graph import INPUT, Node
from milpcomp.network.index_maps import Permute, Reshape
from milpcomp.network.layers import FloatArray, Layer, Rectifier, Shape
from milpcomp.network.opaque import Gelu

ELEMENTWISE = (Gelu, Rectifier, Scale)


def cancel(input_shape: Shape, nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    """Return the nodes without moves that undo each other, and the name of the output among them.

    Parameters
    ----------
    input_shape : tuple of int
    nodes : sequence of Node
        In topological order.
    output : str
        Name of the output node.

    Returns
    -------
    nodes : list of Node
        In the same order, with the same names.
    output : str
        `output`, or the name of the node that now has its value.
    """
    shapes: dict[str, Shape] = {INPUT: input_shape}
    readers = Counter([name for node in nodes for name in node.inputs] + [output])
    kept: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in nodes:
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        shapes[node.name] = node.layer.output_shape(*(shapes[name] for name in node.inputs))  # type: ignore[attr-defined]
        crossed = _undone(node, kept, readers, shapes)
        if crossed is None:
            kept[node.name] = node
            continue
        first, *between = crossed
        del kept[first.name]
        last = first.inputs[0]
        for inner in between:
            kept[inner.name] = replace(inner, inputs=(last,))
            shapes[inner.name] = shapes[first.inputs[0]]
            last = inner.name
        readers[last] += readers[node.name] - 1  # those of `node`, in place of the next in line
        renamed[node.name] = last
    return list(kept.values()), renamed.get(output, output)


def _undone(node: Node, kept: dict[str, Node], readers: Counter[str], shapes: dict[str, Shape]) -> list[Node] | None:
    """Return the move that `node` undoes and the layers between, as they are without both; None if there is none."""
    if not isinstance(node.layer, Permute | Reshape):
        return None
    between: list[Node] = []
    name = node.inputs[0]
    while name in kept and readers[name] == 1 and isinstance(kept[name].layer, ELEMENTWISE):
        between.insert(0, kept[name])
        name = kept[name].inputs[0]
    if name not in kept or readers[name] != 1:
        return None
    first, source = kept[name], shapes[kept[name].inputs[0]]
    if not _inverse(first.layer, node.layer, source, shapes[node.name]):
        return None
    moved = [_moved(inner.layer, first.layer, source, shapes[name]) for inner in between]
    if any(layer is None for layer in moved):
        return None
    return [first, *(replace(inner, layer=layer) for inner, layer in zip(between, moved, strict=True) if layer)]


def _inverse(first: Layer, second: Layer, before: Shape, after: Shape) -> bool:
    if isinstance(first, Permute) and isinstance(second, Permute):
        return [first.axes[axis] for axis in second.axes] == list(range(len(before)))
    return isinstance(first, Reshape) and isinstance(second, Reshape) and before == after


def _moved(layer: Layer, move: Layer, before: Shape, after: Shape) -> Layer | None:
    """Return the element-wise layer f' on samples of shape `before`; None if its numbers cannot be moved."""
    arrays = {name: _array(value, move, before, after) for name, value in layer.arrays().items()}
    if any(value is None for value in arrays.values()):
        return None
    return type(layer)(**arrays)


def _array(value: FloatArray, move: Layer, before: Shape, after: Shape) -> FloatArray | None:
    """Return an array that broadcasts to `after` as one that broadcasts to `before`; None if there is no such."""
    if not value.ndim:
        return value
    value = value.reshape((1,) * (len(after) - value.ndim) + value.shape)
    if isinstance(move, Permute):
        return value.transpose(np.argsort(move.axes))
    if value.size == 1:
        return value.reshape((1,) * len(before))
    lengths = iter(m for n, m in zip(after, value.shape, strict=True) if n != 1)
    if [n for n in before if n != 1] != [n for n in after if n != 1]:
        return None  # not only axes of length 1 that come and go
    return value.reshape([1 if n == 1 else next(lengths) for n in before])
