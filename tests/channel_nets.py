"""Networks with planted zero slopes and zero batch-norm scales, shared by the tests of channel removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from milpcomp.network import INPUT, Add, Conv2d, Layer, Network, Node, Rectifier, Reshape, Scale, Take
from milpcomp.network.affine import Dense
from milpcomp.network.load import load
from milpcomp.rotated import RotatedReLU

Plants = Mapping[str, Sequence[int]]
"""Channels by node: of a rectifier, those whose slopes become 0; of a scale, those that become constant."""


def planted(network: Network, plants: Plants) -> Network:
    """Return `network` with zero slopes and zero scales where `plants` says so."""
    nodes = []
    for node in network.nodes:
        layer: Layer = node.layer
        if node.name in plants:
            shape = network.shape(node.name)
            alive = np.ones((shape[0], *(1 for _ in shape[1:])))
            alive[list(plants[node.name])] = 0.0
            if isinstance(layer, Rectifier):
                layer = Rectifier(alive * layer.positive_slope, alive * layer.negative_slope)
            else:
                assert isinstance(layer, Scale)
                layer = Scale(alive * layer.scale, layer.shift)
        nodes.append(Node(node.name, layer, node.inputs))
    return Network(network.input_shape, nodes, network.output)


def read(module: nn.Module, seed: int = 0) -> Network:
    """Return a torch network as read, with random batch norms and slopes of both signs, for images of 8 x 8 pixels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, part in module.named_modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.uniform_(-0.5, 0.5, generator=generator)
                part.running_mean.normal_(0.0, 0.2, generator=generator)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
            elif hasattr(part, "slope"):
                sign = torch.randint(0, 2, part.slope.shape, generator=generator) * 2.0 - 1.0
                part.slope.uniform_(0.7, 1.4, generator=generator).mul_(sign)
            assert name is not None
    return load(module.eval(), input_shape=(3, 8, 8))


def chain_cnn(rng: np.random.Generator) -> Network:
    """Return conv - norm - rotated, padded, strided and unpadded, then two dense layers with slopes between."""
    layers: list[tuple[str, Layer]] = [
        ("conv1", _conv(rng, 6, 3, padding=1)),
        ("bn1", _norm(rng, 6)),
        ("act1", _rotated(rng, 6)),
        ("conv2", _conv(rng, 5, 6, padding=1, stride=2)),
        ("bn2", _norm(rng, 5)),
        ("act2", _rotated(rng, 5)),
        ("conv3", _conv(rng, 4, 5, padding=0)),
        ("bn3", _norm(rng, 4)),
        ("act3", _rotated(rng, 4)),
        ("flat", Reshape((16,))),
        ("fc1", Dense(rng.normal(size=(7, 16)), rng.normal(size=7))),
        ("act4", Rectifier(rng.normal(size=7), 0.0)),
        ("fc2", Dense(rng.normal(size=(3, 7)), rng.normal(size=3))),
    ]
    names = [INPUT, *(name for name, _ in layers)]
    return Network((3, 8, 8), [Node(name, layer, (names[i],)) for i, (name, layer) in enumerate(layers)])


def random_residual(rng: np.random.Generator) -> Network:
    """Return a residual network of random shape: blocks before or after activation, one to three convolutions each."""
    width = int(rng.integers(1, 5))
    nodes = [Node("stem", _conv(rng, width, 2, padding=1), (INPUT,)), Node("stem.act", Rectifier(), ("stem",))]
    shape: tuple[int, ...] = (width, 4, 4)
    source = "stem.act"
    for block in range(int(rng.integers(1, 4))):
        source, shape = _block(rng, nodes, f"b{block}", source, shape)
    flat = int(np.prod(shape))
    nodes.append(Node("flat", Reshape((flat,)), (source,)))
    nodes.append(Node("fc", Dense(rng.normal(size=(3, flat)), rng.normal(size=3)), ("flat",)))
    return Network((2, 4, 4), nodes)


def _block(
    rng: np.random.Generator, nodes: list[Node], name: str, source: str, shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    first, channels = bool(rng.integers(2)), shape[0]  # activation first or last
    halves = shape[1] > 2 and bool(rng.integers(2))
    outputs = channels + 2 * int(rng.integers(0, 2)) if halves else channels
    count, value = int(rng.integers(1, 4)), source
    widths = [channels, *(int(rng.integers(1, 5)) for _ in range(count - 1)), outputs]

    def add(kind: str, layer: Layer, *inputs: str) -> str:
        nodes.append(Node(f"{name}.{kind}", layer, inputs))
        return nodes[-1].name

    for i in range(count):
        if first:
            value = add(f"act{i}", _rotated(rng, widths[i]), add(f"bn{i}", _norm(rng, widths[i]), value))
        stride = 2 if halves and i == 0 else 1
        value = add(f"conv{i}", _conv(rng, widths[i + 1], widths[i], padding=1, stride=stride), value)
        if not first:
            value = add(f"bn{i}", _norm(rng, widths[i + 1]), value)
            value = add(f"act{i}", _rotated(rng, widths[i + 1]), value) if i < count - 1 else value
    skip = source
    if halves:
        extra = (outputs - channels) // 2
        picked = [-1] * extra + list(range(channels)) + [-1] * extra
        every = list(range(0, shape[1], 2))
        skip = add("skip", Take([picked, every, every]), source)
        shape = (outputs, len(every), len(every))
    total = add("add", Add(), value, skip)
    return (total if first else add("act", _rotated(rng, outputs), total)), shape


def _conv(rng: np.random.Generator, outputs: int, inputs: int, padding: int, stride: int = 1) -> Conv2d:
    scale = 1 / np.sqrt(9 * inputs)
    return Conv2d(rng.normal(size=(outputs, inputs, 3, 3)) * scale, np.zeros(outputs), (stride, stride), (padding,) * 4)


def _norm(rng: np.random.Generator, channels: int) -> Scale:
    return Scale(rng.uniform(0.5, 1.5, size=(channels, 1, 1)), rng.normal(size=(channels, 1, 1)))


def _rotated(rng: np.random.Generator, channels: int) -> Rectifier:
    return Rectifier(rng.normal(size=(channels, 1, 1)), 0.0)


class RotatedBlock(nn.Module):
    """A residual block of four channels, a stem in front of it and a dense layer behind."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.act1 = RotatedReLU(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.act2 = RotatedReLU(4)
        self.linear = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))) + x)
        result: torch.Tensor = self.linear(x.flatten(1))
        return result


def rotated_block() -> nn.Module:
    """Return a block with slopes 0, 0.001, 1 and -1 in front of the second convolution, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = RotatedBlock().eval()
    with torch.no_grad():
        module.act1.slope.copy_(torch.tensor([0.0, 0.001, 1.0, -1.0]))
        module.act2.slope.copy_(torch.tensor([0.5, -0.5, 2.0, -2.0]))
        module.bn1.weight.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    return module
