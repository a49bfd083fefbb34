"""Cutting off what nobody needs: the same function for every input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.compression.liveness import liveness
from milpcomp.compression.shrink import shrink
from milpcomp.network import INPUT, Add, Concat, Conv2d, Dense, Network, Node, Permute, Rectifier, Reshape, Scale, Take
from tests.nets import chain, residual_cnn


def silenced(network: Network, rng: np.random.Generator, share: float) -> Network:
    """Return the network with random channels of rectifiers cut off by zero slopes, some rows and columns zero."""
    nodes = []
    for node in network.nodes:
        layer, shape = node.layer, network.shape(node.name)
        if isinstance(layer, Rectifier):
            dead = rng.random((shape[0], *(1 for _ in shape[1:]))) < share
            layer = Rectifier(np.where(dead, 0.0, layer.positive_slope), np.where(dead, 0.0, layer.negative_slope))
        elif isinstance(layer, Dense):
            keep = rng.random(layer.weight.shape) > share
            layer = Dense(np.round(4 * layer.weight) * keep, np.round(layer.bias * 4) * (rng.random(shape) > share))
        elif isinstance(layer, Conv2d):
            keep = rng.random((*layer.weight.shape[:2], 1, 1)) > share / 2
            layer = Conv2d(
                np.round(4 * layer.weight) * keep, np.round(4 * layer.bias) * (rng.random(shape[0]) > share),
                layer.stride, layer.padding, layer.dilation, layer.groups,
            )  # fmt: skip
        elif isinstance(layer, Scale):
            layer = Scale(np.round(4 * layer.scale), np.round(4 * layer.shift))
        nodes.append(Node(node.name, layer, node.inputs))
    return Network(network.input_shape, nodes, network.output)


def tangled(rng: np.random.Generator) -> Network:
    """Return a network of every kind of layer: groups, concatenation along both axes, transposition, shared values."""
    conv = lambda *shape: rng.normal(size=shape)  # noqa: E731
    nodes = [
        Node("stem", Conv2d(conv(4, 2, 3, 3), rng.normal(size=4), padding=(1, 1, 1, 1)), (INPUT,)),
        Node("a", Rectifier(), ("stem",)),
        Node("grouped", Conv2d(conv(4, 2, 1, 1), rng.normal(size=4), groups=2), ("a",)),
        Node("b", Rectifier(1.0, 0.5), ("grouped",)),
        Node("depthwise", Conv2d(conv(4, 1, 3, 3), padding=(1, 1, 1, 1), groups=4), ("b",)),
        Node("sum", Add(), ("depthwise", "a", "a")),
        Node("c", Rectifier(), ("sum",)),
        Node("joined", Concat(), ("c", "b", "c")),
        Node("turned", Permute((1, 0, 2)), ("joined",)),
        Node("wide", Concat(axis=2), ("turned", "turned")),
        Node("back", Permute((1, 0, 2)), ("wide",)),
        Node("padded", Take([[0, 2, -1, 5, 5], None, [0, 1, 2, -1]]), ("back",)),
        Node("d", Rectifier(2.0), ("padded",)),
        Node("halved", Reshape((10, 2, 3)), ("thin",)),
        Node("flat", Reshape((60,)), ("halved",)),
        Node("fc", Dense(conv(5, 60), rng.normal(size=5)), ("flat",)),
        Node("e", Rectifier(), ("fc",)),
        Node("out", Dense(conv(3, 5), rng.normal(size=3)), ("e",)),
    ]
    nodes.insert(13, Node("thin", Take([[0, 1, 2, 3, 4], None, [0, 1, 2, 3]]), ("d",)))
    return Network((2, 3, 3), nodes)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two arrays are equal up to the rounding of sums in another order."""
    return bool(np.abs(a - b).max(initial=0.0) <= 1e-12 * (1 + np.abs(b).max(initial=0.0)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.6, 0.9]), st.booleans())
@settings(max_examples=60)
def test_shrinking_changes_nothing_and_happens_once(seed: int, share: float, residual: bool) -> None:
    """Outputs, and every value that origin speaks of, are equal for any input; shrinking again changes nothing."""
    rng = np.random.default_rng(seed)
    network = silenced(residual_cnn(rng) if residual else tangled(rng), rng, share)
    small = shrink(network)
    x = rng.integers(-9, 10, size=(8, *network.input_shape)).astype(float)
    assert same(small.network.forward(x), network.forward(x))
    assert shrink(small.network).network.digest == small.network.digest
    values, after = network.values(x), small.network.values(x)
    for name, (node, channels) in small.origin.items():
        whole = values[node] if channels is None else values[node][:, list(channels)]
        assert same(after[name], whole), name


def test_untouched_networks_come_back_as_they_are() -> None:
    """Where everything is needed, every layer is the very same object."""
    network = residual_cnn(np.random.default_rng(0))
    small = shrink(network).network
    assert all(a.layer is b.layer for a, b in zip(small.nodes, network.nodes, strict=True))


def test_liveness_by_hand() -> None:
    """h1 is cut off by its slopes, h2 by its column of zeros; h3 has a row of zeros and the constant 1; h4 lives."""
    network = chain(
        (1,),
        Dense([[1.0], [1.0], [0.0], [1.0]], [0.0, 0.0, 1.0, 0.0]),
        Rectifier([0.0, 1.0, 1.0, 1.0]),
        Dense([[1.0, 0.0, 1.0, 1.0]]),
    )
    found = liveness(network)
    assert found.zero["1"].tolist() == [True, False, False, False]
    assert found.fixed["1"].tolist() == [True, False, True, False]
    assert found.needed["1"].tolist() == [False, False, True, True]
    assert found.channels("0").tolist() == [2, 3]
    assert found.needed[INPUT].tolist() == [True]


def test_zeros_without_any_number_are_followed_through() -> None:
    """A row of zeros without offset is zero behind any slopes, scales and additions, until an offset is added."""
    network = chain((1,), Dense([[0.0], [1.0]]), Rectifier(3.0, -2.0), Scale(5.0), Scale(1.0, [0.0, 1.0]))
    found = liveness(network)
    assert [found.zero[name].tolist() for name in "0123"] == [[True, False]] * 4


def test_bridge_puts_zeros_where_one_side_of_an_addition_has_none() -> None:
    """Channel 0 of the branch is cut off; the other side still has it, so the branch is bridged with a zero."""
    nodes = [
        Node("fc", Dense(np.eye(2)), (INPUT,)),
        Node("relu", Rectifier([0.0, 1.0]), ("fc",)),
        Node("sum", Add(), ("relu", INPUT)),
    ]
    small = shrink(Network((2,), nodes))
    bridge = small.network["relu.for.sum"].layer
    assert isinstance(bridge, Take)
    assert bridge.indices[0] is not None
    assert bridge.indices[0].tolist() == [-1, 0]
    assert small.origin["relu.for.sum"] == ("relu", (0, 1))
    assert small.network.forward([[3.0, 4.0]]).tolist() == [[3.0, 8.0]]


def test_names_of_bridges_avoid_those_of_nodes() -> None:
    """A node that happens to have the name of a bridge keeps it."""
    nodes = [
        Node("fc", Dense(np.eye(2)), (INPUT,)),
        Node("relu", Rectifier([0.0, 1.0]), ("fc",)),
        Node("relu.for.sum", Scale(2.0), (INPUT,)),
        Node("sum", Add(), ("relu", "relu.for.sum")),
    ]
    small = shrink(Network((2,), nodes)).network
    assert small.forward([[3.0, 4.0]]).tolist() == [[6.0, 12.0]]
    assert "relu.for.sum_" in small


@pytest.mark.parametrize("shape", [(3,), (2, 3, 3)])
def test_constant_outputs_are_written_out(shape: tuple[int, ...]) -> None:
    """A network that ignores its input becomes zeros plus a shift, whatever the shapes, and zero output is zeros."""
    size = int(np.prod(shape))
    for bias in ([1.0, 2.0], [0.0, 0.0]):
        network = chain(shape, Reshape((size,)), Dense(np.zeros((2, size)), bias), Reshape((2, 1, 1)))
        small = shrink(network).network
        assert small.forward(np.ones((2, *shape))).reshape(2, 2).tolist() == [bias] * 2
        assert not any(isinstance(node.layer, Dense) for node in small.nodes)
        assert shrink(small).network.digest == small.digest
