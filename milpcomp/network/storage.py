"""A `Network` as one .npz file: its structure as JSON text, its arrays, and the digest that proves both arrived.

    header      JSON in UTF-8, as bytes: format, version, digest, structure (`Network.document`)
    0/weight    the arrays of node 0, by field name; 1/..., 2/...

No pickle, and no number changes: what is loaded equals what was saved bit by bit, or is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import CheckpointError, NetworkError
from milpcomp.files import PathLike, read_arrays, require_suffix, write_arrays
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import AveragePool, Conv2d
from milpcomp.network.graph import Network, Node
from milpcomp.network.index_maps import Permute, Reshape, Take
from milpcomp.network.layers import Add, Concat, Layer, Rectifier
from milpcomp.network.opaque import Gelu, LayerNorm, MaxPool, Product, Softmax

FORMAT = "milpcomp network"
VERSION = 1
"""Version of the file format; higher versions are refused."""

KINDS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Add, AveragePool, Concat, Conv2d, Dense, Gelu, LayerNorm, MaxPool, Permute, Product, Rectifier, Reshape, Scale,
        Softmax, Take,
    )
}  # fmt: skip
"""The kinds of layers that a file may name."""


def save_network(network: Network, path: PathLike) -> None:
    """Write `network` to the .npz file `path`.

    Raises
    ------
    OutputError
        If the file cannot be written, or its name does not end in .npz.
    """
    require_suffix(path, ".npz")
    structure, arrays = network.document()
    header = {"format": FORMAT, "version": VERSION, "digest": network.digest, "structure": structure}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    write_arrays(path, {"header": text, **arrays})


def load_network(path: PathLike) -> Network:
    """Return the network that `save_network` wrote to `path`.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, no network, of a newer version, or its content does not have its digest.
    """
    arrays = read_arrays(path, CheckpointError)
    header = _header(path, arrays.pop("header", None))
    try:
        network = network_from_document(header["structure"], arrays)
    except NetworkError as error:
        raise CheckpointError(f"{path} holds no valid network: {error}") from error
    if network.digest != header["digest"]:
        raise CheckpointError(
            f"{path} is damaged or was edited: its content has digest {network.digest[:12]}..., "
            f"the file says {str(header['digest'])[:12]}...; save the network again"
        )
    return network


def network_from_document(structure: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Network:
    """Return the network with this `Network.document`.

    Parameters
    ----------
    structure : mapping
        JSON-ready: input shape, output, and the nodes' names, kinds, inputs and options.
    arrays : mapping from "node index/field" to ndarray

    Raises
    ------
    NetworkError
        If the document is malformed or the network it describes is invalid.
    """
    try:
        nodes = [
            Node(entry["name"], _layer(entry, f"{i}/", arrays), tuple(entry["inputs"]))
            for i, entry in enumerate(structure["nodes"])
        ]
        return Network(structure["input_shape"], nodes, structure["output"])
    except NetworkError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NetworkError(f"the description of a network is malformed ({type(error).__name__}: {error})") from error


def _header(path: PathLike, text: NDArray[Any] | None) -> dict[str, Any]:
    """Return the header of a file, after checking that this version reads it."""
    try:
        header = json.loads(b"" if text is None else text.tobytes())
        known = header["format"] == FORMAT and {"version", "digest", "structure"} <= set(header)
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known:
        raise CheckpointError(f"{path} is no network saved by milpcomp; its header is missing or unreadable")
    if header["version"] != VERSION:
        raise CheckpointError(
            f"{path} has network format {header['version']!r}, this milpcomp reads format {VERSION}; update milpcomp"
        )
    return dict(header)


def _layer(entry: Mapping[str, Any], prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Layer:
    """Return the layer of one entry: every field of its kind, from the arrays or from the options."""
    kind = KINDS.get(entry["kind"])
    if kind is None:
        raise NetworkError(f"{entry['kind']!r} is no kind of layer; known are {', '.join(KINDS)}")
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        name = prefix + field.name
        values[field.name] = arrays[name] if name in arrays else _option(entry["options"][field.name], name, arrays)
    return kind(**values)


def _option(value: Any, name: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return an option as a layer takes it: lists are tuples, and True in a list stands for an array kept apart."""
    if isinstance(value, list):
        return tuple(arrays[f"{name}.{i}"] if entry is True else entry for i, entry in enumerate(value))
    return value
