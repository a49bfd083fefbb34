"""Compression of image networks: channels, borders, pooling, groups, residual connections, concatenation.

Reports come from interval arithmetic, so the functions must agree on the whole domain; agreement is tested at points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milpcomp.compression import Compression, Fix, Fold, Join, Merge, Remove, compress, rewrite
from milpcomp.domain import Box
from milpcomp.network import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv2d,
    Dense,
    Network,
    Node,
    Permute,
    Rectifier,
    Reshape,
    Scale,
)
from milpcomp.network.load import load
from tests.handmade import interval_report, points
from tests.nets import chain, residual_cnn

UNIT = Box(0.0, 1.0)
PADDED = (1, 1, 1, 1)


def shrunk(network: Network, domain: Box = UNIT) -> Compression:
    """Compress by interval bounds, and assert that the result is the same function at points, and final."""
    result = compress(network, interval_report(network, domain))
    x = points(domain, network.input_shape, count=40)
    before = network.forward(x)
    assert np.abs(result.network.forward(x) - before).max() <= 1e-11 * (1 + np.abs(before).max())
    assert rewrite(network, result.edits).digest == result.network.digest
    again = compress(result.network, interval_report(result.network, domain))
    assert again.network.digest == result.network.digest
    return result


def edits_of(result: Compression, kind: type[Remove | Fix | Join | Merge | Fold]) -> list[tuple[str, tuple[int, ...]]]:
    """Return (layer, channels) of the edits of one kind."""
    return [(edit.layer, edit.channels) for edit in result.edits if isinstance(edit, kind)]


def with_layer(network: Network, name: str, layer: object) -> Network:
    """Return the network with another layer at one node."""
    nodes = [Node(n.name, layer if n.name == name else n.layer, n.inputs) for n in network.nodes]  # type: ignore[arg-type]
    return Network(network.input_shape, nodes, network.output)


# ---------------------------------------------------------------------------------------------------- removal


@pytest.mark.parametrize(
    ("conv", "rectifier", "channel"),
    [("stem", "relu1", 0), ("stem", "relu1", 2), ("norm1", "relu2", 1), ("conv2", "relu3", 0), ("conv2", "relu3", 3)],
)
def test_dead_channel_goes_at_every_position_of_a_residual_network(conv: str, rectifier: str, channel: int) -> None:
    """A channel dies before, inside and after the branch; it goes there although the skip may still need it."""
    network = residual_cnn(np.random.default_rng(3))
    network = with_layer(network, "relu3", Rectifier())
    layer = network[conv].layer
    if isinstance(layer, Scale):
        shift = layer.shift.copy()
        shift[channel] = -1e6
        network = with_layer(network, conv, Scale(layer.scale, shift))
    else:
        assert isinstance(layer, Conv2d)
        bias = layer.bias.copy()
        bias[channel] = -1e6
        network = with_layer(network, conv, replace(layer, bias=bias))
    result = shrunk(network)
    assert (rectifier, (channel,)) in edits_of(result, Remove)
    assert result.network.shape(rectifier)[0] == network.shape(rectifier)[0] - 1
    assert result.network.shape(conv)[0] == network.shape(conv)[0] - 1
    assert result.deviation_bound == 0.0
    assert result.after.flops < result.before.flops


def test_verdicts_of_all_positions_are_carried() -> None:
    """The removal of a channel of 5 x 5 rests on 25 verdicts."""
    layers = (
        Conv2d(np.ones((2, 1, 3, 3)), [-10.0, -1.0], padding=PADDED),
        Rectifier(),
        Reshape((50,)),
        Dense(np.ones((1, 50))),
    )
    result = shrunk(chain((1, 5, 5), *layers))
    (edit,) = [edit for edit in result.edits if isinstance(edit, Remove)]
    assert (edit.channels, [v.unit for v in edit.verdicts]) == ((0,), list(range(25)))
    assert result.network.shape("2") == (25,)


def test_channel_that_lives_at_the_border_only_stays() -> None:
    """All weights -1 and offset 2.5 on [0.5, 1]: inside the sum is <= -2, in a corner four pixels leave up to 0.5."""
    domain = Box(0.5, 1.0)
    conv = Conv2d(-np.ones((1, 1, 3, 3)), [2.5], padding=PADDED)
    network = chain((1, 5, 5), conv, Rectifier(), Reshape((25,)), Dense(np.ones((1, 25))))
    phases = [verdict.phase.value for verdict in interval_report(network, domain).verdicts]
    assert phases.count("stably_inactive") == 21  # all but the corners
    assert shrunk(network, domain).edits == ()
    dead = chain((1, 5, 5), replace(conv, bias=np.array([2.0])), Rectifier(), Reshape((25,)), Dense(np.ones((1, 25))))
    assert shrunk(dead, domain).after.neurons == 0


def test_removal_passes_pooling_flattening_and_transposition() -> None:
    """A dead channel takes its block of columns out of the dense layer; behind a transposition it stays as zeros."""
    rng = np.random.default_rng(0)
    conv = Conv2d(rng.normal(size=(3, 1, 2, 2)), [-50.0, 0.0, 0.1])
    pooled = chain(
        (1, 5, 5), conv, Rectifier(), AveragePool((2, 2), (2, 2)), Reshape((12,)), Dense(rng.normal(size=(2, 12)))
    )
    result = shrunk(pooled)
    assert result.network.shape("3") == (8,)
    assert result.deviation_bound == 0.0
    turned = chain((1, 5, 5), conv, Rectifier(), Permute((1, 2, 0)), Reshape((48,)), Dense(rng.normal(size=(2, 48))))
    kept = shrunk(turned)
    assert kept.network.shape("1") == (2, 4, 4)
    assert kept.network.shape("3") == (48,)


def test_depthwise_and_grouped_convolutions() -> None:
    """A dead channel takes its depthwise filter along; of a group of two it leaves a zero, of a whole group nothing."""
    rng = np.random.default_rng(1)

    def network(dead: list[int], groups: int) -> Network:
        bias = np.zeros(4)
        bias[dead] = -50.0
        return chain(
            (2, 4, 4),
            Conv2d(np.array([[1.0, -1.0], [-2.0, 1.0], [1.0, -3.0], [-1.0, 1.5]]).reshape(4, 2, 1, 1), bias),
            Rectifier(),
            Conv2d(rng.normal(size=(4, 4 // groups, 3, 3)), rng.normal(size=4), padding=PADDED, groups=groups),
            Rectifier(1.0, 0.5),
            Reshape((64,)),
            Dense(rng.normal(size=(2, 64))),
        )

    depthwise = shrunk(network([1], 4))
    assert depthwise.network.shape("0") == (3, 4, 4)
    whole_group = shrunk(network([2, 3], 2))
    assert whole_group.network.shape("0") == (2, 4, 4)
    half_group = shrunk(network([3], 2))
    assert half_group.network.shape("0") == (3, 4, 4)
    assert half_group.network.shape("2") == (4, 4, 4)
    assert half_group.deviation_bound == 0.0  # elsewhere offsets behind zero inputs are constants, and are fixed


def test_concatenation_loses_channels_on_each_side() -> None:
    """Dead channels of either part disappear from the joined value and from its reader."""
    rng = np.random.default_rng(2)
    nodes = [
        Node("a", Conv2d(rng.normal(size=(3, 1, 1, 1)), [0.0, -50.0, 0.0]), (INPUT,)),
        Node("relu_a", Rectifier(), ("a",)),
        Node("b", Conv2d(rng.normal(size=(2, 1, 1, 1)), [-50.0, 0.0]), (INPUT,)),
        Node("relu_b", Rectifier(), ("b",)),
        Node("joined", Concat(), ("relu_a", "relu_b")),
        Node("conv", Conv2d(rng.normal(size=(2, 5, 3, 3)), padding=PADDED), ("joined",)),
    ]
    network = Network((1, 3, 3), nodes)
    result = shrunk(network, Box(-1.0, 1.0))
    assert (result.network.shape("joined"), result.network.shape("conv")) == ((3, 3, 3), (2, 3, 3))
    assert result.deviation_bound == 0.0


def test_wholly_dead_branch_leaves_its_offset_on_the_skip() -> None:
    """Where the branch is dead, x + conv(relu) + b is x + b: convolution, rectifier and addition become a shift."""
    rng = np.random.default_rng(4)
    nodes = [
        Node("one", Conv2d(rng.normal(size=(3, 2, 3, 3)), np.full(3, -99.0), padding=PADDED), (INPUT,)),
        Node("relu", Rectifier(), ("one",)),
        Node("two", Conv2d(rng.normal(size=(2, 3, 3, 3)), [1.0, 2.0], padding=PADDED), ("relu",)),
        Node("add", Add(), ("two", INPUT)),
        Node("flat", Reshape((32,)), ("add",)),
        Node("out", Dense(rng.normal(size=(2, 32))), ("flat",)),
    ]
    result = shrunk(Network((2, 4, 4), nodes))
    (shift,) = [node.layer for node in result.network.nodes if isinstance(node.layer, Scale)]
    assert shift.shift.reshape(-1).tolist() == [1.0, 2.0]
    assert [node.name for node in result.network.nodes] == ["add", "flat", "out"]


def test_wholly_dead_layer_collapses_an_image_network() -> None:
    """Behind a dead layer padded convolutions see constants that differ at the border; the output is one number."""
    rng = np.random.default_rng(5)
    network = chain(
        (1, 4, 4),
        Conv2d(rng.normal(size=(2, 1, 3, 3)), np.full(2, -99.0), padding=PADDED),
        Rectifier(),
        Conv2d(rng.normal(size=(2, 2, 3, 3)), [1.0, -1.0], padding=PADDED),
        Rectifier(1.0, 0.1),
        Conv2d(rng.normal(size=(2, 2, 3, 3)), [1.0, 2.0], padding=PADDED),
        Reshape((32,)),
        Dense(rng.normal(size=(2, 32))),
    )
    result = shrunk(network)
    assert (result.after.neurons, result.after.flops, result.network.output_shape) == (0, 0, (2,))
    assert result.deviation_bound < 1e-12


# ---------------------------------------------------------------------------------------------------- constants


def constant_channel(padding: tuple[int, int, int, int]) -> Network:
    """Return conv, relu, conv, flatten, dense, where channel 1 of the first layer is the constant 3."""
    rng = np.random.default_rng(6)
    first = rng.normal(size=(3, 1, 3, 3))
    first[1] = 0.0
    size = 4 if any(padding) else 2
    return chain(
        (1, 4, 4),
        Conv2d(first, [0.0, 3.0, 0.5], padding=PADDED),
        Rectifier(),
        Conv2d(rng.normal(size=(2, 3, 3, 3)), [0.25, 0.5], padding=padding),
        Rectifier(1.0, 0.5),
        Reshape((2 * size * size,)),
        Dense(rng.normal(size=(1, 2 * size * size))),
    )


def test_constant_channel_stays_in_front_of_padding() -> None:
    """At the border the padded convolution sees 0, not 3, so no offset replaces it: it stays, and is listed."""
    network = constant_channel(PADDED)
    result = shrunk(network)
    assert edits_of(result, Fix) == []
    assert [(entry.kind, entry.channels) for entry in result.skipped] == [("Fix", (1,))]
    assert "zero padding of '2'" in result.skipped[0].reason
    layer = network["2"].layer
    assert isinstance(layer, Conv2d)
    wrong = replace(layer, bias=layer.bias + 3.0 * layer.weight[:, 1].sum(axis=(1, 2)), weight=layer.weight.copy())
    wrong.weight.setflags(write=True)
    wrong.weight[:, 1] = 0.0
    x = points(UNIT, (1, 4, 4), count=5)
    assert (
        np.abs(with_layer(network, "2", wrong).forward(x) - network.forward(x)).max() > 0.1
    )  # what a naive fold gives


def test_constant_channel_goes_where_nothing_is_padded() -> None:
    """Without padding each output sees the constant at all nine places, and its offset absorbs it."""
    result = shrunk(constant_channel((0, 0, 0, 0)))
    assert edits_of(result, Fix) == [("1", (1,))]
    assert result.network.shape("0") == (2, 4, 4)
    assert result.deviation_bound < 1e-13


def test_constant_channel_goes_into_a_dense_layer_through_pooling() -> None:
    """Average pooling and flattening pass a constant on, up to the rounding of 1 / 9."""
    rng = np.random.default_rng(7)
    weight = rng.normal(size=(2, 1, 1, 1))
    weight[0] = 0.0
    network = chain(
        (1, 6, 6), Conv2d(weight, [0.7, -0.1]), Rectifier(), AveragePool((3, 3), (3, 3)), Reshape((8,)),
        Dense(rng.normal(size=(2, 8))),
    )  # fmt: skip
    result = shrunk(network)
    assert edits_of(result, Fix) == [("1", (0,))]
    assert 0 < result.deviation_bound < 1e-14


def test_batch_norm_with_gamma_zero_makes_a_constant_channel() -> None:
    """A scale of 0 leaves the shift alone: 0.5 in front of a dense layer is an offset."""
    rng = np.random.default_rng(8)
    scale = np.array([1.0, 0.0]).reshape(2, 1, 1)
    network = chain(
        (1, 3, 3), Conv2d(rng.normal(size=(2, 1, 1, 1))), Scale(scale, np.full((2, 1, 1), 0.5)), Rectifier(),
        Reshape((18,)), Dense(rng.normal(size=(1, 18))),
    )  # fmt: skip
    assert edits_of(shrunk(network), Fix) == [("2", (1,))]


# ---------------------------------------------------------------------------------------------------- joining, merging


def dependent_channels(bias: list[float], padding: tuple[int, int, int, int], low: float) -> Network:
    """Return conv, relu, conv, flatten, dense with W_2 = W_0 + W_1 in the first layer; `low` shifts all offsets."""
    rng = np.random.default_rng(9)
    first = rng.integers(-4, 5, size=(3, 1, 3, 3)) / 4.0
    first[2] = first[0] + first[1]
    size = 4 if any(padding) else 2
    return chain(
        (1, 4, 4),
        Conv2d(first, np.array(bias) + low, padding=PADDED),
        Rectifier(),
        Conv2d(rng.integers(-4, 5, size=(2, 3, 3, 3)) / 4.0, padding=padding),
        Rectifier(1.0, 0.5),
        Reshape((2 * size * size,)),
        Dense(rng.integers(-4, 5, size=(2, 2 * size * size)) / 4.0),
    )


def test_dependent_channels_merge_if_offsets_depend_too() -> None:
    """Offsets 20, 30, 50 follow the filters, so nothing is left over at the border: one of three channels goes."""
    result = shrunk(dependent_channels([20.0, 30.0, 50.0], PADDED, 0.0))
    assert [kind for kind, channels in edits_of(result, Merge)] == ["1"]
    assert result.network.shape("0")[0] == 2
    assert result.deviation_bound == 0.0


def test_dependent_channels_with_a_remainder_need_an_unpadded_reader() -> None:
    """Offsets 20, 30, 40 leave a constant: in front of padding rows [w | b] count, and they are independent."""
    padded = shrunk(dependent_channels([20.0, 30.0, 40.0], PADDED, 0.0))
    assert edits_of(padded, Merge) == []
    unpadded = shrunk(dependent_channels([20.0, 30.0, 40.0], (0, 0, 0, 0), 0.0))
    assert len(edits_of(unpadded, Merge)) == 1
    assert unpadded.deviation_bound == 0.0


def test_duplicate_channels_of_unstable_neurons_join_behind_batch_norm() -> None:
    """Filters that batch norm scales to the same rows are duplicates; the reader adds their input channels up."""
    rng = np.random.default_rng(10)
    first = rng.integers(-4, 5, size=(3, 1, 3, 3)) / 4.0
    first[2] = 2.0 * first[0]
    scale = np.array([1.0, 1.0, 0.5]).reshape(3, 1, 1)
    network = chain(
        (1, 4, 4),
        Conv2d(first, padding=PADDED),
        Scale(scale, np.zeros((3, 1, 1))),
        Rectifier(),
        Conv2d(rng.integers(-4, 5, size=(2, 3, 3, 3)) / 4.0, padding=PADDED),
    )
    result = shrunk(network, Box(-1.0, 1.0))
    assert edits_of(result, Join) == [("2", (2,))]
    assert result.network.shape("0")[0] == 2
    assert result.deviation_bound == 0.0


def test_merging_is_left_out_where_an_addition_reads_the_channels_too() -> None:
    """Dependent channels whose value also goes round a residual branch stay, with the reason."""
    rng = np.random.default_rng(11)
    nodes = [
        Node("stem", Conv2d(np.ones((2, 1, 1, 1)), [0.1, 0.1]), (INPUT,)),
        Node("relu", Rectifier(), ("stem",)),
        Node("conv", Conv2d(rng.normal(size=(2, 2, 1, 1))), ("relu",)),
        Node("add", Add(), ("conv", "relu")),
    ]
    result = shrunk(Network((1, 2, 2), nodes), Box(-1.0, 1.0))
    assert [(entry.kind, "'add'" in entry.reason) for entry in result.skipped] == [("Join", True)]


def test_active_convolution_folds() -> None:
    """A convolution that is active everywhere keeps its filters and loses its rectifier."""
    rng = np.random.default_rng(12)
    network = chain(
        (1, 4, 4),
        Conv2d(rng.random((2, 1, 3, 3)), [1.0, 2.0], padding=PADDED),
        Rectifier(),
        Conv2d(rng.normal(size=(2, 2, 3, 3)), padding=PADDED),
        Rectifier(),
    )
    result = shrunk(network)
    assert edits_of(result, Fold) == [("1", (0, 1))]
    assert [node.name for node in result.network.nodes] == ["0", "2", "3"]
    assert result.deviation_bound == 0.0


@pytest.mark.slow
def test_real_residual_network_shrinks_around_an_input(shared_file: Callable[[str], Path]) -> None:
    """The CIFAR-10 ResNet-2b of VNN-COMP loses dead channels of blocks and skips near an input, and deviates by 0."""
    network = load(shared_file("nets/cifar10_resnet/resnet_2b.onnx"))
    center = np.random.default_rng(0).normal(size=network.input_shape) / 2
    result = shrunk(network, Box.around(center, 0.001))
    assert sum(len(channels) for _, channels in edits_of(result, Remove)) >= 10
    assert result.deviation_bound == 0.0
    assert result.after.flops < 0.9 * result.before.flops
