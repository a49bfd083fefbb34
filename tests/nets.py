"""Tiny networks with hand arithmetic, and random ones, shared by the tests."""

from __future__ import annotations

import numpy as np

from milpcomp.network import INPUT, Add, AveragePool, Conv2d, Dense, Layer, Network, Node, Rectifier, Reshape, Scale, Take


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
    return chain(
        (2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -3.0]), Rectifier(), Dense([[1.0, 2.0]], [-1.0])
    )


def mlp(widths: list[int], rng: np.random.Generator, positive: float | None = 1.0, negative: float | None = 0.0) -> Network:
    """Return a random dense network; slopes None are drawn per neuron from {-1.5, ..., 1.5}."""
    layers: list[Layer] = []
    for n, m in zip(widths[:-1], widths[1:], strict=True):
        layers.append(Dense(rng.normal(size=(m, n)), rng.normal(size=m)))
        layers.append(
            Rectifier(*(rng.integers(-3, 4, size=m) / 2.0 if s is None else s for s in (positive, negative)))
        )
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
