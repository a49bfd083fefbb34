"""Counting neurons, parameters and FLOPs, against hand counts and the published ResNet-20."""

from __future__ import annotations

import numpy as np
import pytest

from milpcomp.cost import cost
from milpcomp.network import INPUT, Add, AveragePool, Conv2d, Dense, Network, Node, Rectifier, Reshape, Scale, Take
from tests.nets import chain, residual_cnn

ONES = (1, 1, 1, 1)


def resnet20(rotated: bool) -> Network:
    """Return a CIFAR ResNet-20 with option A shortcuts; rotated slopes everywhere but in the stem."""
    nodes: list[Node] = []

    def add(name: str, layer: object, *inputs: str) -> str:
        nodes.append(Node(name, layer, inputs))  # type: ignore[arg-type]
        return name

    def conv_norm(name: str, source: str, c_in: int, c_out: int, stride: int) -> str:
        conv = Conv2d(np.full((c_out, c_in, 3, 3), 0.1), stride=(stride, stride), padding=ONES)
        add(f"{name}.conv", conv, source)
        return add(f"{name}.bn", Scale(np.full((c_out, 1, 1), 0.5), np.full((c_out, 1, 1), 0.1)), f"{name}.conv")

    def relu(name: str, source: str, channels: int, stem: bool = False) -> str:
        return add(name, Rectifier() if stem or not rotated else Rectifier(np.ones((channels, 1, 1))), source)

    last, channels, extent = relu("relu", conv_norm("stem", INPUT, 3, 16, 1), 16, stem=True), 16, 32
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage and not block else 1
            inner = relu(f"{name}.relu1", conv_norm(f"{name}.1", last, channels, width, stride), width)
            branch, skip = conv_norm(f"{name}.2", inner, width, width, 1), last
            if stride == 2:
                edge, pixels = [-1] * (channels // 2), np.arange(0, extent, 2)
                skip = add(f"{name}.skip", Take([[*edge, *range(channels), *edge], pixels, pixels]), last)
                extent //= 2
            last = relu(f"{name}.relu2", add(f"{name}.add", Add(), branch, skip), width)
            channels = width
    add("pool", AveragePool((8, 8), (8, 8)), last)
    add("flat", Reshape((64,)), "pool")
    add("fc", Dense(np.full((10, 64), 0.1), np.full(10, 0.1)), "flat")
    return Network((3, 32, 32), nodes)


def test_resnet20_has_the_published_parameters_and_flops() -> None:
    """A plain ResNet-20 has 269,722 parameters, 81,102,080 FLOPs and no slopes."""
    found = cost(resnet20(rotated=False))
    assert (found.parameters, found.flops, found.slopes) == (269_722, 81_102_080, 0)


def test_rotated_resnet20_has_672_slopes_and_its_additions_apart() -> None:
    """Rotated slopes add 672 numbers; the paper's 81.19 MFLOPs are these FLOPs plus the residual additions."""
    found = cost(resnet20(rotated=True))
    assert (found.slopes, found.parameters + found.slopes) == (672, 270_394)
    assert (found.flops, found.additions) == (81_102_080, 86_016)
    assert found.neurons == 7 * 16 * 32 * 32 + 6 * 32 * 16 * 16 + 6 * 64 * 8 * 8


@pytest.mark.parametrize(("bias", "parameters"), [(0.0, 397_000), (1.0, 397_510)])
def test_fully_connected_network(bias: float, parameters: int) -> None:
    """784-500-10 has 397,000 weights, 510 biases unless they are all zero, and 794,000 FLOPs."""
    layers = Dense(np.ones((500, 784)), np.full(500, bias)), Rectifier(), Dense(np.ones((10, 500)), np.full(10, bias))
    found = cost(chain((784,), *layers))
    assert (found.neurons, found.parameters, found.flops) == (500, parameters, 794_000)


def test_layers_one_by_one() -> None:
    """The residual image network, layer by layer and by hand: a 3x3 window of 3 channels at 3x3 places, and so on."""
    table = {layer.name: layer for layer in cost(residual_cnn(np.random.default_rng(0))).layers}
    assert table["normalise"].parameters == 4
    assert (table["conv1"].parameters, table["conv1"].flops) == (5 * 3 * 9, 2 * 5 * 3 * 9 * 9)
    assert (table["norm1"].parameters, table["norm1"].flops) == (10, 0)
    assert (table["relu2"].neurons, table["relu2"].slopes) == (45, 5)
    assert (table["add"].additions, table["add"].flops) == (45, 0)
    assert (table["dense"].parameters, table["dense"].flops, table["dense"].kind) == (24, 40, "Dense")


def test_depthwise_convolutions_count_their_own_channel_only() -> None:
    """A depthwise 3x3 convolution on 4 channels of 5x5 makes 2 * 9 * 4 * 9 FLOPs without padding."""
    found = cost(chain((4, 5, 5), Conv2d(np.ones((4, 1, 3, 3)), groups=4)))
    assert (found.parameters, found.flops) == (36, 2 * 9 * 4 * 9)


def test_zero_width_layers_cost_nothing() -> None:
    """A hidden layer without neurons leaves the biases of the next one."""
    found = cost(chain((3,), Dense(np.zeros((0, 3))), Rectifier(), Dense(np.zeros((2, 0)), [1.0, 0.0])))
    assert (found.neurons, found.parameters, found.flops) == (0, 2, 0)
