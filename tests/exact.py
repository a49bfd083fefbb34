"""Exact evaluation in plain Fractions (a second implementation), and adversarial networks and boxes."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from milpcomp.network import (
    INPUT,
    Add,
    Affine,
    Concat,
    Conv2d,
    Dense,
    Layer,
    Network,
    Node,
    Permute,
    Rectifier,
    Reshape,
    Scale,
    Take,
)
from tests.nets import chain, mlp, residual_cnn

Exact = list[Fraction]


def exact_values(network: Network, x: np.ndarray) -> dict[str, Exact]:
    """Return the exact value of every node at the input x, flat in C order, by sums of Fractions."""
    values: dict[str, Exact] = {INPUT: [Fraction(v) for v in np.asarray(x, dtype=float).reshape(-1).tolist()]}
    for node in network.nodes:
        inputs, shape = [values[name] for name in node.inputs], network.shape(node.name)
        if isinstance(node.layer, Affine):
            values[node.name] = exact_affine(node.layer, network.shape(node.inputs[0]), shape, inputs[0])
        elif isinstance(node.layer, Rectifier):
            slopes = zip(*(s.tolist() for s in node.layer.slopes(shape)), inputs[0], strict=True)
            values[node.name] = [Fraction(p if v > 0 else n) * v for p, n, v in slopes]
        elif isinstance(node.layer, Concat):
            parts = [
                np.array(v, dtype=object).reshape(network.shape(name))
                for v, name in zip(inputs, node.inputs, strict=True)
            ]
            values[node.name] = np.concatenate(parts, axis=node.layer.axis).reshape(-1).tolist()
        else:
            values[node.name] = [sum(terms, Fraction(0)) for terms in zip(*inputs, strict=True)]
    return values


def exact_affine(layer: Affine, shape: tuple[int, ...], out: tuple[int, ...], x: Exact) -> Exact:
    """Return A x + offset exactly."""
    matrix = layer.matrix(shape)
    offset = np.broadcast_to(layer.offset(), out).reshape(-1).tolist()
    result = []
    for row, b in enumerate(offset):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        pairs = zip(matrix.data[span].tolist(), matrix.indices[span].tolist(), strict=True)
        result.append(sum((Fraction(w) * x[i] for w, i in pairs), Fraction(b)))
    return result


def concat_network(rng: np.random.Generator) -> Network:
    """Return a small dense network with a concatenation, a three-fold sum, a shared node and slopes of both signs."""
    nodes = [
        Node("first", Dense(rng.normal(size=(4, 3)), rng.normal(size=4)), (INPUT,)),
        Node("abs", Rectifier(1.0, -1.0), ("first",)),
        Node("leaky", Rectifier(rng.normal(size=4), 0.25), ("first",)),
        Node("joined", Concat(), ("abs", "leaky", INPUT)),
        Node("second", Dense(rng.normal(size=(4, 11)), rng.normal(size=4)), ("joined",)),
        Node("sum", Add(), ("second", "abs", "abs")),
        Node("relu", Rectifier(), ("sum",)),
        Node("image", Reshape((1, 2, 2)), ("relu",)),
        Node("turned", Permute((0, 2, 1)), ("image",)),
        Node("conv", Conv2d(rng.normal(size=(2, 1, 2, 2)), rng.normal(size=2), padding=(1, 0, 0, 1)), ("turned",)),
        Node("both", Concat(axis=0), ("conv", "image")),
        Node("last", Rectifier(np.array([1.0, -0.5, 2.0]).reshape(3, 1, 1), 0.0), ("both",)),
        Node("flat", Reshape((12,)), ("last",)),
        Node("picked", Take([[0, 3, 3, 11, -1, 7]]), ("flat",)),
        Node("scaled", Scale(rng.normal(size=6), 0.5), ("picked",)),
        Node("end", Rectifier(), ("scaled",)),
    ]
    return Network((3,), nodes)


PALETTE = [0.0, 1.0, -1.0, 0.1, -0.1, 1 / 3, -1 / 3, 1e12, -1e12, 1e-12, 1e-160, -1e-170, 1e-300, -1e-308, 5e-324]
"""Coefficients that round, cancel, underflow and dwarf each other."""

HUGE = [*PALETTE, 1e200, -1e308]


def awkward_array(rng: np.random.Generator, shape: tuple[int, ...], palette: list[float]) -> np.ndarray:
    """Return numbers from the palette, from a normal distribution, or pairs that cancel up to the last bit."""
    values = np.where(rng.random(shape) < 0.6, rng.choice(palette, size=shape), rng.normal(size=shape))
    if shape and shape[-1] > 1 and rng.random() < 0.5:
        values[..., 1] = -np.nextafter(values[..., 0], rng.choice([-np.inf, 0.0, np.inf]))
    return values


def awkward_mlp(rng: np.random.Generator, palette: list[float]) -> Network:
    """Return a small dense network of awkward numbers, with zero rows and slopes of any sign."""
    widths = rng.integers(1, 5, size=int(rng.integers(2, 5)))
    layers: list[Layer] = []
    for n, m in pairwise(widths):
        weight, bias = awkward_array(rng, (m, n), palette), awkward_array(rng, (m,), [0.0, *palette])
        weight[rng.random(m) < 0.2] = 0.0
        slopes = rng.choice([1.0, 0.0, -1.0, 0.1, -3.0, 1e-300], size=(2, m))
        layers += [Dense(weight, bias), Rectifier(*slopes) if rng.random() < 0.5 else Rectifier()]
    return chain((int(widths[0]),), *layers)


def awkward_box(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return a box: unit, huge, tiny, touching zero, with faces (lower == upper), or a point."""
    centre = rng.choice([0.0, 0.5, 1.0, -1.0, 1e12, 1e-300], size=shape) * rng.choice([1.0, rng.normal()])
    radius = rng.choice([0.0, 0.5, 1.0, 1e-17, 1e12, 5e-324], size=shape)
    if rng.random() < 0.2:
        radius = np.zeros(shape)
    return centre - radius, centre + radius


def points(rng: np.random.Generator, lower: np.ndarray, upper: np.ndarray, count: int) -> np.ndarray:
    """Return inputs of the box: corners, and some from the inside."""
    corner = rng.random((count, *lower.shape)) < 0.5
    inside = np.clip(lower + rng.random(corner.shape) * (upper - lower), lower, upper)
    return np.where(rng.random((count,) + (1,) * lower.ndim) < 0.6, np.where(corner, lower, upper), inside)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Network, np.ndarray, np.ndarray, np.random.Generator]:
    """Draw a network of any kind, the bounds of a box, and the generator they came from."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["awkward", "awkward", "huge", "mlp", "concat", "cnn"]))
    if kind == "cnn":
        network = residual_cnn(rng)
    elif kind == "concat":
        network = concat_network(rng)
    elif kind == "mlp":
        network = mlp([3, 4, 3, 2], rng, None, None)
    else:
        network = awkward_mlp(rng, HUGE if kind == "huge" else PALETTE)
    return (network, *awkward_box(rng, network.input_shape), rng)
