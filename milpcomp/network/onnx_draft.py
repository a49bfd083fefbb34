"""What one ONNX node is given, and the network that grows from node to node.

The network is the model at batch size one. A value keeps its full ONNX shape, and the network holds it as a *sample*:

    sample shape = full shape without its first axis, if that has length 1 and others follow; else the full shape

so (1, 3, 32, 32) is held as (3, 32, 32), (1, 784, 1) as (784, 1), and (5,), which has no batch axis, as (5,). Both hold
the same numbers in C order, so an operator that needs another view gets a `Reshape` and nothing is ever lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import NetworkError
from milpcomp.network.affine import Scale
from milpcomp.network.graph import INPUT, Node
from milpcomp.network.index_maps import Reshape, Take
from milpcomp.network.layers import Add, Affine, Concat, FloatArray, Layer, Rectifier, Shape, size


class Unsupported(Exception):
    """Why one ONNX node has no counterpart in a network; the reader collects these."""


def sample_shape(shape: Shape) -> Shape:
    """Return how a value of the full ONNX shape `shape` is held."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


@dataclass(frozen=True)
class Value:
    """A computed value: the network node that holds its sample, and its full ONNX shape."""

    node: str
    shape: Shape

    @property
    def sample(self) -> Shape:
        """The shape in which the network holds it."""
        return sample_shape(self.shape)


Operand = Value | NDArray[Any]
"""A computed value, or a constant."""


@dataclass(frozen=True, eq=False)
class Call:
    """One ONNX node with its inputs; an input that is left out is None."""

    label: str
    inputs: tuple[Operand | None, ...]
    attributes: Mapping[str, Any]
    opset: int
    outputs: int

    def operand(self, index: int) -> Operand | None:
        """Return the input at `index`, None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def value(self, index: int = 0) -> Value:
        """Return the input at `index`, which must be computed."""
        operand = self.operand(index)
        if not isinstance(operand, Value):
            raise Unsupported(f"its input {index} is constant or missing")
        return operand

    def constant(self, index: int, what: str) -> NDArray[Any]:
        """Return the input at `index`, which must be constant."""
        operand = self.operand(index)
        if not isinstance(operand, np.ndarray):
            raise Unsupported(f"its {what} is computed, not constant" if operand else f"its {what} is missing")
        return operand

    def option(self, name: str, index: int) -> list[Any] | None:
        """Return numbers given as attribute `name` (older operator sets) or as constant input `index` (newer ones)."""
        if name in self.attributes:
            return list(np.atleast_1d(self.attributes[name]).tolist())
        if self.operand(index) is None:
            return None
        return list(np.atleast_1d(self.constant(index, name)).tolist())

    def require(self, name: str, wanted: Any) -> None:
        """Refuse the node unless attribute `name` is absent or equals `wanted`."""
        if self.attributes.get(name, wanted) != wanted:
            raise Unsupported(f"{name}={self.attributes[name]!r}")


class Draft:
    """A network under construction; the only mutable object of the reader."""

    def __init__(self, shape: Shape) -> None:
        self.input = Value(INPUT, shape)
        self.nodes: list[Node] = []
        self._names = {INPUT}

    def add(self, label: str, layer: Layer, inputs: Sequence[str]) -> str:
        """Append a node called `label` (or `label_2`, ... if that is taken) and return its name."""
        name, count = label, 1
        while name in self._names:
            count += 1
            name = f"{label}_{count}"
        self._names.add(name)
        self.nodes.append(Node(name, layer, tuple(inputs)))
        return name

    def view(self, label: str, value: Value, shape: Shape) -> str:
        """Return the name of a node that holds `value` as a sample of `shape`."""
        if value.sample == shape:
            return value.node
        return self.add(f"{label}/view", Reshape(shape), [value.node])

    def reshape(self, label: str, value: Value, shape: Shape) -> Value:
        """Return `value` with the full shape `shape`, same numbers in C order."""
        if sample_shape(shape) == value.sample:
            return Value(value.node, shape)
        return Value(self.add(label, Reshape(sample_shape(shape)), [value.node]), shape)

    def apply(
        self,
        label: str,
        layer: Affine | Rectifier,
        value: Value,
        taken: Shape | None = None,
        shape: Shape | None = None,
    ) -> Value:
        """Return `layer` of `value`.

        Parameters
        ----------
        label : str
            Name of the new node.
        layer : Affine or Rectifier
        value : Value
        taken : tuple of int, optional
            The sample shape that the layer reads; that of `value` if not given.
        shape : tuple of int, optional
            The full ONNX shape of the result; that of `value` if not given.
        """
        taken = value.sample if taken is None else taken
        shape = value.shape if shape is None else shape
        given = layer.output_shape(taken)
        if size(given) != size(shape):
            raise NetworkError(f"it gives a sample of shape {given}, and ONNX says {shape}")
        return self._hold(label, self.add(label, layer, [self.view(label, value, taken)]), given, shape)

    def take(self, label: str, value: Value, indices: Sequence[Any]) -> Value:
        """Return `value` with `indices` taken along its full axes: None keeps an axis, -1 gives zeros."""
        shape = tuple(n if i is None else len(i) for n, i in zip(value.shape, indices, strict=True))
        if all(index is None for index in indices):
            return value
        if indices[0] is None and value.sample != value.shape:
            return self.apply(label, Take(indices[1:]), value, shape=shape)
        return self.apply(label, Take(indices), value, value.shape, shape)

    def expand(self, label: str, value: Value, shape: Shape) -> Value:
        """Return `value` repeated to the full shape `shape`, by the broadcasting rules."""
        padded = self.reshape(label, value, (1,) * (len(shape) - len(value.shape)) + value.shape)
        pairs = zip(padded.shape, shape, strict=True)
        return self.take(label, padded, [None if n == m else np.zeros(m, dtype=np.int64) for n, m in pairs])

    def fixed(self, label: str, numbers: FloatArray) -> Value:
        """Return a value that is constant: nothing of the input, plus `numbers`."""
        flat = self.view(label, self.input, (size(self.input.shape),))
        nothing = self.add(f"{label}/zero", Take([np.full(numbers.size, -1)]), [flat])
        placed = self.reshape(label, Value(nothing, (numbers.size,)), numbers.shape)
        shift = numbers.reshape(placed.sample)
        return Value(self.add(f"{label}/constant", Scale(1.0, shift), [placed.node]), placed.shape)

    def total(self, label: str, values: Sequence[Value]) -> Value:
        """Return the sum of values of one full shape."""
        return Value(self.add(label, Add(), [value.node for value in values]), values[0].shape)

    def join(self, label: str, values: Sequence[Value], axis: int) -> Value:
        """Return values joined along a full axis."""
        shape = Concat(axis).output_shape(*(value.shape for value in values))
        if axis > 0 and all(value.sample != value.shape for value in values):
            return Value(self.add(label, Concat(axis - 1), [value.node for value in values]), shape)
        joined = self.add(label, Concat(axis), [self.view(label, value, value.shape) for value in values])
        return self._hold(label, joined, shape, shape)

    def _hold(self, label: str, node: str, given: Shape, shape: Shape) -> Value:
        """Return the value of full shape `shape` that `node` holds in the sample shape `given`."""
        if given != sample_shape(shape):
            node = self.add(f"{label}/view", Reshape(sample_shape(shape)), [node])
        return Value(node, shape)
