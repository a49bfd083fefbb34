"""A network under construction, as operators of a torch graph add to it.

A value in that graph is one of four things: a `Value` (computed from the input, one sample of known shape per row of
the batch), a constant (a tensor, or a number), `BATCH` (anything made of the batch size), or, once something could not
be read, `Unknown`. Operators that see only constants are evaluated on the spot, in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch

from milpcomp.errors import NetworkError
from milpcomp.network.graph import INPUT, Node
from milpcomp.network.index_maps import Reshape, Take
from milpcomp.network.layers import FloatArray, Layer, Rectifier, Shape

TRAINING = (
    "the module is in training mode, in which {} is random or depends on the whole batch; call module.eval() first"
)
"""The error for modules in training mode, with room for the part that minds."""


Operator = Callable[..., Any]
"""Maps a builder and the arguments of a torch operator to its result."""


@dataclass(frozen=True)
class Value:
    """The value of node `name`: samples of `shape`."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Unknown:
    """What an operator returns that could not be read; whatever is computed from it is unknown too."""


class Batch(Enum):
    """The batch size, or a number computed from it."""

    SIZE = "batch size"


BATCH = Batch.SIZE


class Refused(Exception):
    """An operator cannot be read; the message says why and what to do."""


@dataclass
class Builder:
    """Nodes so far, and where the operator at hand stands.

    Parameters
    ----------
    input_shape : tuple of int
    nodes : list of Node
        Grows; in topological order.
    place : str
        Name that the next node should have.
    shape : tuple of int
        Sample shape that torch gives the result of the operator at hand.
    """

    input_shape: Shape
    nodes: list[Node] = field(default_factory=list)
    place: str = ""
    shape: Shape = ()
    _names: set[str] = field(default_factory=lambda: {INPUT})

    def add(self, layer: Layer, *inputs: Value, part: str = "") -> Value:
        """Append a node that applies `layer` and return its value.

        Parameters
        ----------
        layer : Layer
        *inputs : Value
        part : str, optional
            What the node does on the way to the operator's result; nodes without it are named like the operator.

        Raises
        ------
        NetworkError
            If the layer does not take inputs of these shapes.
        """
        name = self._unique(f"{self.place}.{part}" if part else self.place)
        try:
            shape = layer.output_shape(*(value.shape for value in inputs))  # type: ignore[attr-defined]
        except NetworkError as error:
            raise NetworkError(f"{name}: {error}") from None
        self.nodes.append(Node(name, layer, tuple(value.name for value in inputs)))
        return Value(name, shape)

    def rectify(self, x: Value, positive: FloatArray | float, negative: FloatArray | float) -> Value:
        """Append a rectifier."""
        return self.add(Rectifier(positive, negative), x)

    def reshaped(self, x: Value, shape: Shape, part: str = "") -> Value:
        """Return `x` with samples of `shape`."""
        return x if x.shape == shape else self.add(Reshape(shape), x, part=part)

    def expanded(self, x: Value, shape: Shape) -> Value:
        """Return `x` repeated along axes of length 1 until its samples have `shape`."""
        if x.shape == shape:
            return x
        if len(x.shape) != len(shape):
            raise Refused(f"joins samples of shapes {x.shape} and {shape}; give them the same number of axes")
        repeat = [None if n == m else np.zeros(m, np.int64) for n, m in zip(x.shape, shape, strict=True)]
        return self.add(Take(repeat), x, part="repeat")

    def needed(self, output: Value) -> tuple[list[Node], str]:
        """Return the nodes that `output` depends on, in order, and its name."""
        wanted = {output.name}
        kept = []
        for node in reversed(self.nodes):
            if node.name in wanted:
                wanted.update(node.inputs)
                kept.append(node)
        return kept[::-1], output.name

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate


def variable(x: Any) -> Value:
    """Return `x` if it is computed from the input, or refuse it."""
    if isinstance(x, Value):
        return x
    raise Refused("is applied to a constant in a way that cannot be read; make the constant a buffer")


def array(x: Any, what: str = "an operand") -> FloatArray:
    """Return a constant as a float64 array, or refuse it."""
    if isinstance(x, Value):
        raise Refused(f"{what} depends on the input, so the operator is not piecewise linear; make it a constant")
    if x is BATCH:
        raise Refused(f"{what} depends on the batch size; use a constant")
    return np.asarray(x.numpy() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


def operand(x: Any, rank: int) -> FloatArray:
    """Return a constant that meets samples with `rank` axes element by element, without its batch axis."""
    value = array(x)
    if value.ndim <= rank:
        return value
    if value.ndim == rank + 1 and len(value) == 1:
        return value[0]
    raise Refused(f"a constant of shape {value.shape} treats the samples of a batch differently; drop its batch axis")


def axis_of(dim: int, x: Value) -> int:
    """Return the sample axis that torch counts as `dim`, or refuse the batch axis."""
    rank = len(x.shape) + 1
    if dim % rank == 0:
        raise Refused("works along the batch axis, which would mix samples; keep axis 0 for the batch")
    return dim % rank - 1
