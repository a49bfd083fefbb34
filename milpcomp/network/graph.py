"""`Network`: a rectifier network as plain data.

A network is a directed acyclic graph of named layers in topological order. It holds float64 arrays and integers only,
knows no framework and no solver, never changes, and is identified by the digest of its content. A sequential network
is the graph with one path; there is no second kind.

    input ──> node ──> node ──> ... ──> output        node = (name, layer, names of its inputs)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from milpcomp.errors import NetworkError
from milpcomp.network.layers import Affine, Concat, FloatArray, Layer, Rectifier, Shape, size
from milpcomp.network.opaque import Opaque

if TYPE_CHECKING:
    import torch

INPUT = "input"
"""Name of the network's input, which every path starts from."""

CHUNK_ELEMENTS = 500_000
"""How many numbers one layer of one chunk of a batch may have in `Network.forward`: 4 MB, about what a cache holds."""


@dataclass(frozen=True, eq=False)
class Node:
    """A named layer and the names of the nodes (or `INPUT`) that it reads."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


class Network:
    """A rectifier network: ``y = f(x)`` for samples x of one shape.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one input sample, without the batch axis.
    nodes : sequence of Node
        In topological order: a node reads `INPUT` and earlier nodes only.
    output : str, optional
        Name of the node whose value is the output; the last one if not given.

    Raises
    ------
    NetworkError
        If names repeat or are unknown, or shapes do not fit; the message names the node.
    """

    def __init__(self, input_shape: Sequence[int], nodes: Sequence[Node], output: str | None = None) -> None:
        self._nodes = tuple(nodes)
        self._shapes: dict[str, Shape] = {INPUT: tuple(int(n) for n in input_shape)}
        for node in self._nodes:
            if node.name in self._shapes:
                raise NetworkError(f"two nodes are called {node.name!r}; names must be unique")
            unknown = [name for name in node.inputs if name not in self._shapes]
            if unknown:
                raise NetworkError(f"node {node.name!r} reads {unknown}, which no earlier node defines")
            self._shapes[node.name] = _output_shape(node, [self._shapes[name] for name in node.inputs])
        self._by_name = {node.name: node for node in self._nodes}
        self._output = output if output is not None else (self._nodes[-1].name if self._nodes else INPUT)
        if self._output not in self._shapes:
            raise NetworkError(f"the output {self._output!r} is no node of the network")
        self._digest = _digest(self)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in topological order."""
        return self._nodes

    @property
    def hidden(self) -> tuple[Node, ...]:
        """The nodes before the last rectifier, in topological order; no pre-activation depends on any other."""
        last = max((k for k, node in enumerate(self._nodes) if isinstance(node.layer, Rectifier)), default=0)
        return self._nodes[:last]

    @property
    def output(self) -> str:
        """Name of the output node."""
        return self._output

    @property
    def input_shape(self) -> Shape:
        """Shape of one input sample."""
        return self._shapes[INPUT]

    @property
    def output_shape(self) -> Shape:
        """Shape of one output sample."""
        return self._shapes[self._output]

    @property
    def digest(self) -> str:
        """SHA-256 of structure, names and numbers, as hexadecimal text."""
        return self._digest

    @property
    def rectifiers(self) -> tuple[Node, ...]:
        """The nodes whose layer is a `Rectifier`, in topological order: the hidden layers."""
        return tuple(node for node in self._nodes if isinstance(node.layer, Rectifier))

    def __getitem__(self, name: str) -> Node:
        """Return the node called `name`."""
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def shape(self, name: str) -> Shape:
        """Return the shape of one sample of the value of node `name` (or of `INPUT`)."""
        return self._shapes[name]

    def width(self, name: str) -> int:
        """Return the number of elements of one sample of the value of node `name`: of a rectifier, its neurons."""
        return size(self._shapes[name])

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Return the nodes that read the value of `name`, each once."""
        return tuple(node for node in self._nodes if name in node.inputs)

    def values(self, x: FloatArray, nodes: Sequence[Node] | None = None) -> dict[str, FloatArray]:
        """Return the value of every node (and of `INPUT`) for a batch x of shape ``(N, *input_shape)``, in float64.

        With `nodes`, only of these: the first so many of the network.
        """
        values = {INPUT: x}
        for node in self._nodes if nodes is None else nodes:
            values[node.name] = evaluate(node.layer, [values[name] for name in node.inputs])
        return values

    def forward(self, x: ArrayLike) -> FloatArray:
        """Return f(x) in float64.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape) or input_shape

        Returns
        -------
        ndarray, shape (N, *output_shape) or output_shape

        Raises
        ------
        NetworkError
            If x has another shape.
        """
        batch = np.asarray(x, dtype=np.float64)
        if batch.shape == self.input_shape:
            return self.forward(batch[None])[0]
        if batch.shape[1:] != self.input_shape:
            raise NetworkError(
                f"inputs must have shape {self.input_shape} or (N, *{self.input_shape}), got {batch.shape}"
            )
        chunk = max(1, CHUNK_ELEMENTS // max(1, *map(size, self._shapes.values())))
        parts = [self.values(batch[i : i + chunk])[self._output] for i in range(0, len(batch), chunk)]
        return np.concatenate(parts) if parts else np.zeros((0, *self.output_shape))

    def pre_activations(self, x: FloatArray) -> dict[str, FloatArray]:
        """Return for each rectifier, by name, its input for a batch x, ``(N, *input_shape)``, as (N, neurons)."""
        values = self.values(x, self.hidden)
        return {node.name: values[node.inputs[0]].reshape(len(x), self.width(node.name)) for node in self.rectifiers}

    def document(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the network as plain data: a JSON-ready structure, and its arrays by ``"node index/field"``."""
        arrays: dict[str, NDArray[Any]] = {}
        entries = []
        for i, node in enumerate(self._nodes):
            own = node.layer.arrays()
            arrays |= {f"{i}/{name}": array for name, array in own.items()}
            options = {
                field.name: _plain(getattr(node.layer, field.name))
                for field in fields(node.layer)  # type: ignore[arg-type]
                if not isinstance(getattr(node.layer, field.name), np.ndarray)
            }
            entries.append(
                {"name": node.name, "kind": type(node.layer).__name__, "inputs": list(node.inputs), "options": options}
            )
        return {"input_shape": list(self.input_shape), "output": self._output, "nodes": entries}, arrays

    def to_torch(self, dtype: torch.dtype | None = None) -> torch.nn.Module:
        """Return the network as a torch module, in float32 unless told otherwise: `milpcomp.network.to_torch`."""
        from milpcomp.network import to_torch

        return to_torch.to_torch(self) if dtype is None else to_torch.to_torch(self, dtype)

    def to_onnx(self, path: str | Path, dtype: DTypeLike = np.float32) -> None:
        """Write the network to the ONNX file `path`: `milpcomp.network.to_onnx`."""
        from milpcomp.network import to_onnx

        to_onnx.to_onnx(self, path, dtype)

    def save(self, path: str | Path) -> None:
        """Write the network, bit by bit, to the .npz file `path`, which `milpcomp.load` reads."""
        from milpcomp.network.storage import save_network

        save_network(self, path)

    def __repr__(self) -> str:
        hidden = ", ".join(str(self.width(node.name)) for node in self.rectifiers) or "none"
        return (
            f"Network({self.input_shape} -> {self.output_shape}, {len(self._nodes)} nodes, "
            f"neurons: {hidden}, digest {self._digest[:12]})"
        )


def evaluate(layer: Layer, inputs: Sequence[FloatArray]) -> FloatArray:
    """Return the value of `layer` for batches `inputs`, each of shape ``(N, *shape)``, in float64."""
    if isinstance(layer, Affine | Rectifier):
        return layer.apply(inputs[0])
    if isinstance(layer, Opaque):
        return layer.apply(*inputs)
    if isinstance(layer, Concat):
        return np.concatenate(inputs, axis=layer.axis + 1)
    total = inputs[0]
    for term in inputs[1:]:
        total = total + term
    return total


def require_network(network: object, action: str) -> None:
    """Raise `NetworkError` where something else, often a module, was given in place of a network."""
    if not isinstance(network, Network):
        kind = type(network).__name__
        raise NetworkError(f"{action} needs a milpcomp.Network, got {kind}; milpcomp.load reads modules and files")


def _output_shape(node: Node, shapes: list[Shape]) -> Shape:
    arity = node.layer.arity if isinstance(node.layer, Opaque) else 1
    if isinstance(node.layer, Affine | Opaque | Rectifier) and len(shapes) != arity:
        expected = "one input" if arity == 1 else f"{arity} inputs"
        raise NetworkError(f"node {node.name!r} takes {expected}, got {len(shapes)}")
    try:
        return node.layer.output_shape(*shapes)  # type: ignore[attr-defined]
    except NetworkError as error:
        raise NetworkError(f"node {node.name!r}: {error}") from None


def _plain(value: Any) -> Any:
    """Return an option as JSON knows it; array entries of a tuple are written apart and leave their place as True."""
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return True if isinstance(value, np.ndarray) else value


def _digest(network: Network) -> str:
    structure, arrays = network.document()
    content = hashlib.sha256(json.dumps(structure, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        content.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        content.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return content.hexdigest()
