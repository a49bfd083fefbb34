"""The checker's own model of a network, read from the plain data of `Network.document()`.

Two kinds of step are all there is, in topological order:

    Linear      value = sum over sources s of matrices[s] @ value(s) + offset
    Rectifier   value = positive * max(0, value(source)) + negative * min(0, value(source))

Additions and concatenations are linear steps with several sources. Values are vectors in C order.

The digest is recomputed from the data that was read, so a claim about another network cannot be passed off as one
about this network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from milpcomp.checker import matrices
from milpcomp.checker.matrices import FloatArray, Shape
from milpcomp.errors import NetworkError

INPUT = "input"
"""The name of the network's input in every document."""


@dataclass(frozen=True, eq=False)
class Linear:
    """``value = sum of matrices[s] @ value(s) + offset``; the matrices store no zeros."""

    name: str
    shape: Shape
    matrices: Mapping[str, sp.csr_array]
    offset: FloatArray

    @cached_property
    def absolutes(self) -> Mapping[str, sp.csr_array]:
        """The matrices of absolute values."""
        return {source: abs(matrix) for source, matrix in self.matrices.items()}

    @cached_property
    def row_terms(self) -> NDArray[np.int64]:
        """How many products each element sums up."""
        return np.sum([np.diff(matrix.indptr) for matrix in self.matrices.values()], axis=0, dtype=np.int64)

    @property
    def terms(self) -> int:
        """The most numbers that any element sums up, the offset included."""
        return int(self.row_terms.max(initial=0)) + 1

    @cached_property
    def copies(self) -> bool:
        """Whether every element is an input, its negative, or zero: then nothing is ever rounded."""
        ones = all(bool((np.abs(matrix.data) == 1).all()) for matrix in self.matrices.values())
        return ones and self.terms <= 2 and not self.offset.any()


@dataclass(frozen=True, eq=False)
class Rectifier:
    """``value = positive * max(0, value(source)) + negative * min(0, value(source))``, slopes one per unit."""

    name: str
    shape: Shape
    source: str
    positive: FloatArray
    negative: FloatArray


Step = Linear | Rectifier


@dataclass(frozen=True, eq=False)
class Model:
    """A network as the checker understands it.

    Parameters
    ----------
    shapes : mapping
        Shape of one sample of the value of `INPUT` and of every step.
    steps : tuple of Linear or Rectifier
        In topological order.
    output : str
    digest : str
        Recomputed from the document.
    """

    shapes: Mapping[str, Shape]
    steps: tuple[Step, ...]
    output: str
    digest: str

    @property
    def rectifiers(self) -> tuple[Rectifier, ...]:
        """The hidden layers, in topological order."""
        return tuple(step for step in self.steps if isinstance(step, Rectifier))

    def size(self, name: str) -> int:
        """Return the number of elements of one sample of the value called `name`."""
        return prod(self.shapes[name])

    def step(self, name: str) -> Step:
        """Return the step called `name`."""
        return next(step for step in self.steps if step.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the steps, in topological order."""
        return tuple(step.name for step in self.steps)


def read_network(network: Any) -> Model:
    """Read a network from the plain data that its ``document()`` returns.

    Raises
    ------
    NetworkError
        If the data describe no network that the checker understands; the message names the node.
    """
    try:
        return _read(*network.document())
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"this describes no network: {type(error).__name__}: {error}") from error


def _read(structure: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    shapes: dict[str, Shape] = {INPUT: tuple(int(n) for n in structure["input_shape"])}
    steps: list[Step] = []
    for position, entry in enumerate(structure["nodes"]):
        name, sources = entry["name"], entry["inputs"]
        prefix = f"{position}/"
        own = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
        if name in shapes or not sources or any(source not in shapes for source in sources):
            raise NetworkError(f"node {name!r} repeats a name, or reads a value that no earlier node defines")
        try:
            step = _step(entry, {source: shapes[source] for source in sources}, own)
        except NetworkError as error:
            raise NetworkError(f"node {name!r}: {error}") from None
        steps.append(step)
        shapes[name] = step.shape
    if structure["output"] not in shapes:
        raise NetworkError(f"the output {structure['output']!r} is no node of the network")
    return Model(shapes, tuple(steps), structure["output"], digest_of(structure, arrays))


def digest_of(structure: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return SHA-256 of structure and little-endian numbers, as hexadecimal text."""
    pieces = [json.dumps(structure, sort_keys=True).encode()]
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"))
        pieces += [f"{name}:{array.dtype.str}:{array.shape}".encode(), little.tobytes(order="C")]
    return hashlib.sha256(b"".join(pieces)).hexdigest()


Builder = Callable[[Shape, Mapping[str, Any], Mapping[str, NDArray[Any]]], matrices.Built]

BUILDERS: Mapping[str, Builder] = {
    "Dense": matrices.dense,
    "Scale": matrices.scale,
    "Conv2d": matrices.conv2d,
    "AveragePool": matrices.average_pool,
    "Reshape": matrices.reshape,
    "Permute": matrices.permute,
    "Take": matrices.take,
}


def _step(entry: Mapping[str, Any], shapes: Mapping[str, Shape], arrays: Mapping[str, NDArray[Any]]) -> Step:
    """Return the step that a node of the document describes."""
    name, kind, sources, options = entry["name"], entry["kind"], list(entry["inputs"]), entry["options"]
    if kind == "Add":
        return _addition(name, sources, shapes)
    if kind == "Concat":
        return _concatenation(name, sources, shapes, matrices.integers(options, "axis", 1)[0])
    if len(sources) != 1:
        raise NetworkError(f"a layer of kind {kind!r} reads one value, got {len(sources)}")
    shape = shapes[sources[0]]
    if kind == "Rectifier":
        slopes = (matrices.stretched(arrays, key, shape) for key in ("positive_slope", "negative_slope"))
        return Rectifier(name, shape, sources[0], *slopes)
    if kind not in BUILDERS:
        raise NetworkError(f"the checker knows no layer of kind {kind!r}")
    new, matrix, offset = BUILDERS[kind](shape, options, arrays)
    return Linear(name, new, {sources[0]: matrix}, offset)


def _addition(name: str, sources: list[str], shapes: Mapping[str, Shape]) -> Linear:
    shape = shapes[sources[0]]
    if len(sources) < 2 or any(shapes[source] != shape for source in sources):
        raise NetworkError(f"values of shapes {[shapes[s] for s in sources]} cannot be added")
    one = sp.eye_array(prod(shape), format="csr")
    return Linear(name, shape, {s: sp.csr_array(one * sources.count(s)) for s in shapes}, np.zeros(prod(shape)))


def _concatenation(name: str, sources: list[str], shapes: Mapping[str, Shape], axis: int) -> Linear:
    """Join along `axis`: element (a, i, b) of source s lands at (a, start of s + i, b)."""
    first = shapes[sources[0]]
    rest = {shapes[s][:axis] + shapes[s][axis + 1 :] for s in sources}
    if not 0 <= axis < len(first) or len(rest) != 1 or len({len(shapes[s]) for s in sources}) != 1:
        raise NetworkError(f"values of shapes {[shapes[s] for s in sources]} cannot be joined along axis {axis}")
    total = sum(shapes[s][axis] for s in sources)
    before, after, start = prod(first[:axis]), prod(first[axis + 1 :]), 0
    parts: dict[str, sp.csr_array] = {}
    for source in sources:
        length = shapes[source][axis]
        block = np.add.outer((start + np.arange(length)) * after, np.arange(after)).ravel()
        target = np.add.outer(np.arange(before) * (total * after), block).ravel()
        size = (before * total * after, prod(shapes[source]))
        part = sp.csr_array(sp.coo_array((np.ones(len(target)), (target, np.arange(len(target)))), shape=size))
        parts[source] = sp.csr_array(parts[source] + part) if source in parts else part
        start += length
    shape = (*first[:axis], total, *first[axis + 1 :])
    return Linear(name, shape, parts, np.zeros(prod(shape)))
