"""The graph: what a network computes, what identifies it, that it never changes, and which graphs are refused."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milpcomp.bounds.interval import propagate
from milpcomp.errors import MilpcompError, NetworkError
from milpcomp.network import INPUT, Add, Concat, Conv2d, Dense, Network, Node, Rectifier, Scale, graph
from tests.nets import chain, diamond, mlp, residual_cnn

# ------------------------------------------------------------------------------------------------------------- function


def test_forward_by_hand() -> None:
    """The diamond at (1, 0): g = (1, -2), h = (1, 0), y = 0; at (2, 2): g = (0, 1), y = 2 * 1 - 1 = 1."""
    found = diamond().forward([[1, 0], [2, 2]])
    assert found.dtype == np.float64
    assert found.tolist() == [[0.0], [1.0]]


def test_one_sample_needs_no_batch_axis() -> None:
    """A single sample gives a single output, equal to that of a batch of one."""
    network = residual_cnn(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=network.input_shape)
    assert network.forward(x).shape == (4,)
    assert network.forward(x).tolist() == network.forward(x[None])[0].tolist()


def test_residual_network_by_other_means() -> None:
    """The image network computes what its drawing says, worked out with sparse matrices."""
    network = residual_cnn(np.random.default_rng(2))
    x = np.random.default_rng(3).normal(size=(2, *network.input_shape))
    flat = {INPUT: x.reshape(2, -1)}
    for node in network:
        inputs = [flat[name] for name in node.inputs]
        if isinstance(node.layer, Add):
            flat[node.name] = inputs[0] + inputs[1]
        elif isinstance(node.layer, Rectifier):
            positive, negative = node.layer.slopes(network.shape(node.name))
            flat[node.name] = np.where(inputs[0] > 0, positive, negative) * inputs[0]
        else:
            shape = network.shape(node.inputs[0])
            offset = np.broadcast_to(node.layer.offset(), network.shape(node.name)).reshape(-1)  # type: ignore[attr-defined]
            flat[node.name] = inputs[0] @ node.layer.matrix(shape).toarray().T + offset  # type: ignore[attr-defined]
    np.testing.assert_allclose(network.forward(x), flat["dense"], rtol=1e-12)


def test_values_and_pre_activations() -> None:
    """`values` has every node, and a rectifier's pre-activations are the flat value of the node it reads."""
    network = residual_cnn(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(3, *network.input_shape))
    values = network.values(x)
    assert list(values) == [INPUT, *(node.name for node in network)]
    assert all(values[name].shape == (3, *network.shape(name)) for name in values)
    found = network.pre_activations(x)
    assert list(found) == ["relu1", "relu2", "relu3"]
    assert found["relu2"].tolist() == values["norm1"].reshape(3, -1).tolist()
    assert [network.width(name) for name in found] == [array.shape[1] for array in found.values()]


def test_pre_activations_need_no_later_node() -> None:
    """`hidden` ends before the last rectifier; its values are as they were, and none without a rectifier."""
    network = residual_cnn(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(3, *network.input_shape))
    values, early = network.values(x), network.values(x, network.hidden)
    assert [*network.hidden, network["relu3"]] == [*network][: len(network.hidden) + 1]
    assert network.output not in early
    assert all((early[name] == values[name]).all() for name in early)
    enclosed = propagate(network, x, x, network.hidden)
    assert list(enclosed) == list(early)
    assert all(
        (enclosed[name].lower <= early[name]).all() and (early[name] <= enclosed[name].upper).all() for name in early
    )
    plain = chain((3,), Dense([[1.0, 2.0, 3.0]]))
    assert plain.hidden == ()
    assert plain.pre_activations(np.ones((4, 3))) == {}


@given(count=st.integers(0, 9), chunk=st.integers(1, 200))
def test_chunks_do_not_show(count: int, chunk: int) -> None:
    """A long batch, cut into chunks of any size, gives what its samples give one by one; an empty one gives none."""
    network = chain((3,), Dense([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), Rectifier(1.0, -1.0))
    x = np.arange(3.0 * count).reshape(count, 3) - 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "CHUNK_ELEMENTS", chunk)
        found = network.forward(x)
    assert found.shape == (count, 2)
    assert found.tolist() == [network.forward(row).tolist() for row in x]


def test_zero_width() -> None:
    """Behind a layer without neurons the output is the last bias; a network of nothing but that works too."""
    network = chain((2,), Dense(np.zeros((0, 2))), Rectifier(), Dense(np.zeros((3, 0)), [1.0, 2.0, 3.0]))
    assert network.forward(np.ones((4, 2))).tolist() == [[1.0, 2.0, 3.0]] * 4
    assert network.width("1") == 0
    assert network.pre_activations(np.ones((4, 2)))["1"].shape == (4, 0)
    assert chain((0,), Rectifier()).forward(np.ones((4, 0))).shape == (4, 0)


def test_no_nodes() -> None:
    """A network without nodes is the identity."""
    network = Network((2,), [])
    assert network.output == INPUT
    assert network.output_shape == (2,)
    assert network.forward([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert network.rectifiers == ()


def test_concat_and_add() -> None:
    """Joined along the channel axis and summed, by hand; a node may read one value twice."""
    nodes = [
        Node("twice", Add(), (INPUT, INPUT)),
        Node("joined", Concat(0), ("twice", INPUT)),
        Node("sum", Dense([[1.0, 1.0, 1.0, 1.0]]), ("joined",)),
    ]
    network = Network((2,), nodes)
    assert network.values(np.array([[1.0, 2.0]]))["joined"].tolist() == [[2.0, 4.0, 1.0, 2.0]]
    assert network.forward([1.0, 2.0]).tolist() == [9.0]


def test_output_in_the_middle() -> None:
    """The output need not be the last node."""
    whole = diamond()
    network = Network((2,), whole.nodes, output="1")
    assert network.output_shape == (2,)
    assert network.forward([1.0, 0.0]).tolist() == [1.0, 0.0]


# --------------------------------------------------------------------------------------------------------- the graph


def test_graph_questions() -> None:
    """Nodes, shapes, widths, readers and rectifiers are as drawn."""
    network = residual_cnn(np.random.default_rng(0))
    assert [node.name for node in network.rectifiers] == ["relu1", "relu2", "relu3"]
    assert network.shape(INPUT) == network.input_shape == (2, 6, 6)
    assert network.shape("conv1") == (5, 3, 3)
    assert network.width("conv1") == 45
    assert [node.name for node in network.consumers("relu1")] == ["conv1", "shortcut"]
    assert [node.name for node in network.consumers(INPUT)] == ["normalise"]
    assert network.consumers("dense") == ()
    assert network["add"].inputs == ("conv2", "shortcut")
    assert "add" in network
    assert INPUT not in network
    assert list(network) == list(network.nodes)


def test_a_node_that_reads_twice_is_one_reader() -> None:
    """`consumers` names each node once."""
    network = Network((2,), [Node("sum", Add(), (INPUT, INPUT))])
    assert [node.name for node in network.consumers(INPUT)] == ["sum"]


def test_repr_tells_the_essentials() -> None:
    """Shapes, neurons per layer and the beginning of the digest."""
    network = diamond()
    assert repr(network) == f"Network((2,) -> (1,), 3 nodes, neurons: 2, digest {network.digest[:12]})"


# ------------------------------------------------------------------------------------------------------------- digest


def test_digest_is_of_the_content() -> None:
    """Two networks made separately of the same content have the same digest, 64 hexadecimal digits."""
    one, two = residual_cnn(np.random.default_rng(0)), residual_cnn(np.random.default_rng(0))
    assert one.digest == two.digest
    assert len(one.digest) == 64
    assert int(one.digest, 16) >= 0


def test_digest_is_pinned() -> None:
    """The digest of the diamond is the same on every machine and in every version: results refer to it."""
    assert diamond().digest == "851df5bb58936e3e3a8c5a3d7f8580b90fee26d6129d8364a071d6992a842bd8"


def variants() -> dict[str, Network]:
    """Return networks that differ from the diamond, or from each other, in one thing each."""
    first, relu, last = diamond().nodes
    dense = first.layer
    assert isinstance(dense, Dense)
    least = np.nextafter(dense.weight, 9.0)
    nodes = {
        "a weight in its last bit": [Node("0", Dense(least, dense.bias), (INPUT,)), relu, last],
        "a bias": [Node("0", Dense(dense.weight, [0.0, -2.0]), (INPUT,)), relu, last],
        "a slope": [first, Node("1", Rectifier(1.0, 0.5), ("0",)), last],
        "slopes per unit": [first, Node("1", Rectifier([1.0, 1.0], 0.0), ("0",)), last],
        "a name": [first, Node("relu", relu.layer, ("0",)), Node("2", last.layer, ("relu",))],
        "an edge": [first, relu, Node("2", last.layer, ("0",))],
        "a kind": [first, Node("1", Scale(1.0, 0.0), ("0",)), last],
        "a node more": [first, relu, last, Node("3", Rectifier(), ("2",))],
    }
    conv = np.ones((1, 1, 2, 2))
    return {name: Network((2,), content) for name, content in nodes.items()} | {
        "nothing": diamond(),
        "the output": Network((2,), diamond().nodes, output="1"),
        "stride 1": chain((1, 4, 4), Conv2d(conv)),
        "stride 2": chain((1, 4, 4), Conv2d(conv, stride=(1, 2))),
        "padding": chain((1, 4, 4), Conv2d(conv, padding=(0, 1, 0, 0))),
        "another input": chain((1, 4, 5), Conv2d(conv)),
    }


def test_every_difference_changes_the_digest() -> None:
    """Numbers to the last bit, names, edges, options, shapes and the choice of output: each one shows."""
    digests = {name: network.digest for name, network in variants().items()}
    assert len(set(digests.values())) == len(digests), digests


def test_document_is_plain_data() -> None:
    """The document is JSON and arrays, and the arrays are all the numbers there are."""
    structure, arrays = residual_cnn(np.random.default_rng(0)).document()
    assert json.loads(json.dumps(structure)) == structure
    assert structure["nodes"][7]["kind"] == "Take"
    assert structure["nodes"][7]["options"] == {"indices": [True, True, True]}
    assert sorted(name for name in arrays if name.startswith("7/")) == ["7/indices.0", "7/indices.1", "7/indices.2"]
    assert {str(array.dtype) for array in arrays.values()} == {"float64", "int64"}


# -------------------------------------------------------------------------------------------------------- immutability


def test_networks_do_not_change() -> None:
    """Nodes cannot be replaced, their parts cannot be set, and the list they came in is not kept."""
    nodes = list(diamond().nodes)
    network = Network((2,), nodes)
    before = network.digest
    nodes.clear()
    assert isinstance(network.nodes, tuple)
    with pytest.raises(FrozenInstanceError):
        network.nodes[0].name = "other"  # type: ignore[misc]
    for name in ("nodes", "output", "digest", "input_shape"):
        with pytest.raises(AttributeError):
            setattr(network, name, None)
    assert network.forward([1.0, 0.0]).tolist() == [0.0]
    assert Network((2,), network.nodes).digest == before


def test_forward_leaves_its_input_alone() -> None:
    """The array given to forward is neither changed nor handed back, and the result may be written to."""
    network = mlp([3, 4, 2], np.random.default_rng(0))
    x = np.ones((2, 3))
    found = network.forward(x)
    found[:] = 7.0
    assert x.tolist() == np.ones((2, 3)).tolist()
    assert network.forward(x).tolist() != found.tolist()


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node("a", Rectifier(), (INPUT,)), Node("a", Rectifier(), ("a",))], "two nodes are called 'a'"),
        ([Node(INPUT, Rectifier(), (INPUT,))], "two nodes are called 'input'"),
        ([Node("a", Rectifier(), ("b",))], r"node 'a' reads \['b'\], which no earlier node defines"),
        ([Node("a", Rectifier(), ("a",))], r"node 'a' reads \['a'\]"),
        ([Node("a", Rectifier(), ("b",)), Node("b", Rectifier(), ("a",))], r"node 'a' reads \['b'\]"),
        ([Node("a", Dense([[1.0, 1.0, 1.0]]), (INPUT,))], r"node 'a': .*\(1, 3\) cannot take an input of shape \(2,\)"),
        ([Node("a", Rectifier(), (INPUT, INPUT))], "node 'a' takes one input, got 2"),
        ([Node("a", Rectifier(), ())], "node 'a' takes one input, got 0"),
        ([Node("a", Dense([[1.0, 1.0]]), (INPUT,)), Node("b", Add(), ("a", INPUT))], "node 'b': an addition needs"),
        ([Node("a", Add(), (INPUT,))], "node 'a': an addition needs two or more inputs"),
        ([Node("a", Concat(1), (INPUT, INPUT))], "node 'a': .*cannot be joined along axis 1"),
    ],
)
def test_malformed_graphs(nodes: list[Node], message: str) -> None:
    """Repeated names, unknown inputs, cycles and shapes that do not fit are refused with the name of the node."""
    with pytest.raises(NetworkError, match=message) as caught:
        Network((2,), nodes)
    assert isinstance(caught.value, MilpcompError)
    assert isinstance(caught.value, ValueError)


def test_unknown_output() -> None:
    """The output must be a node."""
    with pytest.raises(NetworkError, match="the output '7' is no node of the network"):
        Network((2,), diamond().nodes, output="7")


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (1, 1, 2)])
def test_inputs_of_another_shape(shape: tuple[int, ...]) -> None:
    """`forward` says which shapes it takes and which it got."""
    with pytest.raises(NetworkError, match=r"inputs must have shape \(2,\) or \(N, \*\(2,\)\), got"):
        diamond().forward(np.zeros(shape))
