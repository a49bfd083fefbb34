"""A saved network comes back bit by bit, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milpcomp.errors import CheckpointError, NetworkError, OutputError
from milpcomp.files import read_arrays, write_arrays
from milpcomp.network import (
    INPUT,
    Add,
    Concat,
    Dense,
    Gelu,
    Layer,
    LayerNorm,
    MaxPool,
    Network,
    Node,
    Permute,
    Product,
    Rectifier,
    Reshape,
    Scale,
    Softmax,
    Take,
)
from milpcomp.network.storage import KINDS, load_network, network_from_document, save_network
from tests.nets import chain, diamond, mlp, residual_cnn


def every_kind() -> Network:
    """Return a network that has each kind of layer, an output that is not its last node, and odd names."""
    base = residual_cnn(np.random.default_rng(0))
    nodes = [
        *base.nodes,
        Node("permute/ä b", Permute((1, 2, 0)), ("relu1",)),
        Node("concat", Concat(2), ("permute/ä b", "permute/ä b")),
        Node("take", Take([None, [-1, 0], None]), ("concat",)),
        Node("gelu", Gelu([1.5]), ("take",)),
        Node("norm", LayerNorm(2, 1e-6), ("gelu",)),
        Node("softmax", Softmax(2), ("norm",)),
        Node("transposed", Permute((0, 2, 1)), ("norm",)),
        Node("product", Product(), ("softmax", "transposed")),
        Node("largest", MaxPool((2, 1), (1, 1), (1, 0, 1, 0)), ("product",)),
    ]
    return Network(base.input_shape, nodes, "dense")


def assert_same(one: Network, other: Network) -> None:
    """Assert that two networks are equal bit by bit, names included."""
    (structure, arrays), (structure2, arrays2) = one.document(), other.document()
    assert structure == structure2
    assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()} == {
        k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays2.items()
    }
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "network",
    [
        diamond(),
        every_kind(),
        Network((3,), []),
        chain((2,), Dense([[-0.0, 5e-324]], [-0.0]), Rectifier(-0.0, -1.0), Scale(np.pi, -0.0)),
        chain((2,), Dense(np.zeros((0, 2))), Rectifier(np.zeros(0), 0.0), Dense(np.zeros((3, 0)), [1.0, 2.0, 3.0])),
        chain((4, 1), Take([[], None]), Reshape((0,)), Take([None]), Take([[-1, -1]])),
        chain((), Scale(2.0, 1.0), Reshape((1,))),
    ],
    ids=["diamond", "every-kind", "no-nodes", "signed-zero", "zero-width", "take", "scalar"],
)
def test_round_trip_is_bit_exact(tmp_path: Path, network: Network) -> None:
    """Structure, names, arrays, types and digest are those that were saved."""
    save_network(network, tmp_path / "net.npz")
    assert_same(network, load_network(tmp_path / "net.npz"))


def test_every_kind_of_layer_can_be_stored() -> None:
    """The table of kinds has every concrete layer, and one network above has them all."""

    def concrete(kind: type[Layer]) -> set[str]:
        below = {name for child in kind.__subclasses__() for name in concrete(child)}
        return below or ({kind.__name__} if kind.__module__.startswith("milpcomp.network.") else set())

    assert set(KINDS) == concrete(Layer)
    assert set(KINDS) == {type(node.layer).__name__ for node in every_kind().nodes}


@given(st.lists(st.integers(0, 4), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_document_rebuilds_the_network(widths: list[int], seed: int) -> None:
    """A dense network of any widths, zero included, equals the one rebuilt from its document."""
    network = mlp(widths, np.random.default_rng(seed), positive=None, negative=None)
    rebuilt = network_from_document(*network.document())
    assert_same(network, rebuilt)


def test_the_file_needs_no_pickle_and_does_not_depend_on_time(tmp_path: Path) -> None:
    """Every member is a plain array, and saving twice gives equal bytes."""
    save_network(diamond(), tmp_path / "a.npz")
    save_network(diamond(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert {array.dtype.kind for array in read_arrays(tmp_path / "a.npz").values()} == {"f", "u"}


def altered(tmp_path: Path, network: Network, change: dict[str, Any], arrays: dict[str, Any]) -> Path:
    """Save `network` with some header entries and arrays replaced."""
    path = tmp_path / "net.npz"
    save_network(network, path)
    content = read_arrays(path)
    header = json.loads(content["header"].tobytes()) | change
    content["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    write_arrays(path, content | arrays)
    return path


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        ({}, {"0/weight": np.zeros((2, 2))}, "damaged or was edited: its content has digest"),
        ({"digest": "0" * 64}, {}, "the file says 000000000000"),
        ({"digest": 7}, {}, "the file says 7"),
        ({}, {"0/weight": np.array([[1, -1], [1, 1]], dtype=np.float32)[:, :1]}, "holds no valid network: node '0'"),
        ({}, {"0/weight": np.full((2, 2), np.nan)}, "holds NaN or infinity"),
        ({"version": 2}, {}, "has network format 2, this milpcomp reads format 1; update"),
        ({"format": "milpcomp report"}, {}, "is no network saved by milpcomp"),
        ({"structure": {"nodes": 3}}, {}, "description of a network is malformed"),
        ({}, {"header": np.zeros(3, dtype=np.uint8)}, "its header is missing or unreadable"),
        ({}, {"header": np.frombuffer(b"[1]", dtype=np.uint8)}, "its header is missing or unreadable"),
    ],
)
def test_a_changed_file_is_refused(
    tmp_path: Path, change: dict[str, Any], arrays: dict[str, Any], message: str
) -> None:
    """Edited numbers, a wrong digest, a newer version, another format and a broken header are each one clear error."""
    path = altered(tmp_path, diamond(), change, arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_foreign_truncated_and_missing_files_are_refused(tmp_path: Path) -> None:
    """A file that is no .npz, half of one, an .npz without header, and no file at all are each one clear error."""
    path = tmp_path / "net.npz"
    with pytest.raises(CheckpointError, match="No such file"):
        load_network(path)
    path.write_text("not a network")
    with pytest.raises(CheckpointError, match=r"is not an \.npz file"):
        load_network(path)
    save_network(residual_cnn(np.random.default_rng(0)), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_network(path)
    write_arrays(path, {"x": np.zeros(3)})
    with pytest.raises(CheckpointError, match="is no network saved by milpcomp"):
        load_network(path)
    with pytest.raises(OutputError, match="does not exist"):
        save_network(diamond(), tmp_path / "missing" / "net.npz")


def test_malformed_documents_are_network_errors() -> None:
    """Unknown kinds, missing fields, missing arrays and unknown inputs are `NetworkError`s."""
    structure, arrays = Network((2,), [Node("a", Add(), (INPUT, INPUT)), Node("b", Take([[0]]), ("a",))]).document()

    def with_node(**change: Any) -> dict[str, Any]:
        return structure | {"nodes": [structure["nodes"][0], structure["nodes"][1] | change]}

    for document, given_arrays, message in [
        (with_node(kind="Sigmoid"), arrays, "'Sigmoid' is no kind of layer"),
        (with_node(options={}), arrays, "malformed"),
        (structure, {}, "malformed"),
        (with_node(inputs=["c"]), arrays, "which no earlier node defines"),
        ({}, arrays, "malformed"),
        (structure | {"nodes": [7]}, arrays, "malformed"),
    ]:
        with pytest.raises(NetworkError, match=message):
            network_from_document(document, given_arrays)
