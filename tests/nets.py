"""Tiny networks with hand arithmetic, and random ones, shared by the tests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from milpcomp.domain import Box
from milpcomp.network import (
    INPUT,
    Add,
    AveragePool,
    Conv2d,
    Dense,
    Layer,
    Network,
    Node,
    Rectifier,
    Reshape,
    Scale,
    Take,
)


def chain(input_shape: tuple[int, ...], *layers: Layer) -> Network:
    """Return the network that applies `layers` one after the other; nodes are called "0", "1", ..."""
    names = [INPUT, *(str(i) for i in range(len(layers)))]
    return Network(input_shape, [Node(names[i + 1], layer, (names[i],)) for i, layer in enumerate(layers)])


def diamond() -> Network:
    r"""Two inputs, two ReLUs, one output, all by hand.

          1         -1        g1 = x1 - x2          y = h1 + 2 h2 - 1
    x1 ─────> h1 <───── x2    g2 = x1 + x2 - 3
          1          1        on [0, 1]^2: g1 in [-1, 1] (unstable), g2 in [-3, -1] (stably inactive)
    x1 ─────> h2 <───── x2 (-3)
    """
    return chain((2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -3.0]), Rectifier(), Dense([[1.0, 2.0]], [-1.0]))


def mlp(
    widths: list[int], rng: np.random.Generator, positive: float | None = 1.0, negative: float | None = 0.0
) -> Network:
    """Return a random dense network; slopes None are drawn per neuron from {-1.5, ..., 1.5}."""
    layers: list[Layer] = []
    for n, m in pairwise(widths):
        layers.append(Dense(rng.normal(size=(m, n)), rng.normal(size=m)))
        layers.append(Rectifier(*(rng.integers(-3, 4, size=m) / 2.0 if s is None else s for s in (positive, negative))))
    return chain((widths[0],), *layers[:-1])


def residual_cnn(rng: np.random.Generator) -> Network:
    """Return a small image network with every kind of layer that images need.

    input (2, 6, 6) ─ stem ─ relu ─┬─ conv ─ norm ─ rotated ─ conv ─┬─ add ─ relu ─ pool ─ flatten ─ dense
                                   └─ every second pixel, two zero channels ─┘
    """
    nodes = [
        Node("normalise", Scale(np.full((2, 1, 1), 2.0), np.full((2, 1, 1), -1.0)), (INPUT,)),
        Node("stem", Conv2d(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), padding=(1, 1, 1, 1)), ("normalise",)),
        Node("relu1", Rectifier(), ("stem",)),
        Node(
            "conv1",
            Conv2d(rng.normal(size=(5, 3, 3, 3)), stride=(2, 2), padding=(1, 1, 1, 1)),
            ("relu1",),
        ),
        Node("norm1", Scale(rng.normal(size=(5, 1, 1)), rng.normal(size=(5, 1, 1))), ("conv1",)),
        Node("relu2", Rectifier(rng.normal(size=(5, 1, 1)), 0.0), ("norm1",)),
        Node("conv2", Conv2d(rng.normal(size=(5, 5, 3, 3)), padding=(1, 1, 1, 1)), ("relu2",)),
        Node("shortcut", Take([[-1, 0, 1, 2, -1], [0, 2, 4], [0, 2, 4]]), ("relu1",)),
        Node("add", Add(), ("conv2", "shortcut")),
        Node("relu3", Rectifier(1.0, 0.1), ("add",)),
        Node("pool", AveragePool((3, 3), (3, 3)), ("relu3",)),
        Node("flatten", Reshape((5,)), ("pool",)),
        Node("dense", Dense(rng.normal(size=(4, 5)), rng.normal(size=4)), ("flatten",)),
    ]
    return Network((2, 6, 6), nodes)


def planted(rng: np.random.Generator, inputs: int) -> tuple[Network, Box]:
    """Return a random network of at most 10 hidden neurons with everything that decides neurons, and a box for it.

    Weights are quarters, so that ties are exact. Rows may be dead, duplicated, dependent or purely of one sign; slopes
    are those of ReLU, leaky ReLU, |x| or rotated ReLU of either sign; many networks have a residual connection.
    """
    width = int(rng.integers(2, 6))
    depth = 2 if width == 5 else int(rng.integers(1, 11 // width))
    residual = depth >= 2 and bool(rng.integers(2))
    nodes, last, skip, columns = [], INPUT, INPUT, inputs
    for i in range(depth):
        nodes.append(Node(f"dense{i}", Dense(*_planted_rows(rng, width, columns)), (last,)))
        last, columns = f"dense{i}", width
        if residual and i == depth - 1:
            nodes.append(Node("add", Add(), (last, skip)))
            last = "add"
        nodes.append(Node(f"relu{i}", Rectifier(*_slopes(rng, width)), (last,)))
        last = f"relu{i}"
        skip = last if i == 0 else skip
    nodes.append(Node("out", Dense(*_planted_rows(rng, 2, columns)), (last,)))
    lower = rng.integers(-8, 5, size=inputs) / 4.0
    return Network((inputs,), nodes), Box(lower, lower + rng.integers(0, 9, size=inputs) / 4.0)


def _planted_rows(rng: np.random.Generator, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    weight = rng.integers(-8, 9, size=(rows, columns)) / 4.0
    bias = rng.integers(-12, 13, size=rows) / 4.0
    for row in range(rows):
        kind = rng.integers(8)
        if kind == 0:
            weight[row] = 0.0
        elif kind == 1 and row:
            weight[row], bias[row] = weight[row - 1], bias[row - 1] * rng.integers(0, 3)
        elif kind == 2 and row > 1:
            weight[row] = 2.0 * weight[row - 1] - weight[row - 2]
        elif kind == 3:
            weight[row], bias[row] = np.abs(weight[row]), abs(bias[row]) * rng.integers(0, 2)
        elif kind == 4:
            weight[row], bias[row] = -np.abs(weight[row]), -abs(bias[row]) * rng.integers(0, 2)
    return weight, bias


def _slopes(rng: np.random.Generator, width: int) -> tuple[np.ndarray | float, np.ndarray | float]:
    kind = rng.integers(5)
    if kind == 0:
        return rng.integers(-4, 5, size=width) / 2.0, 0.0
    if kind == 1:
        return 1.0, rng.integers(-2, 3, size=width) / 4.0
    return (1.0, -1.0) if kind == 2 else (1.0, 0.0)
