"""A chain of linear layers from nothing but its named weights.

    x ── name_1 ── name_1.relu ── name_2 ── name_2.relu ── ... ── name_k ── output        W_i of shape (n_i, n_{i-1})

A state dict says neither in which order its layers run nor what stands between them. The order is searched for: shapes
must follow on each other, and among names that differ in a number only, the number decides ("10" comes after "2",
whatever the order of the file). It is accepted only if it is the only one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from torch import Tensor

from milpcomp.errors import NetworkError
from milpcomp.network.affine import Dense
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.index_maps import Reshape
from milpcomp.network.layers import Rectifier, Shape, size

Layer = tuple[str, Tensor, Tensor | None]
"""Name, weight and bias of a linear layer."""


def linear_layers(tensors: Mapping[str, Tensor]) -> list[Layer] | None:
    """Return the linear layers that `tensors` are, in the order of the file, or None if they are something else.

    All tensors must be weights with two axes, or biases that fit one of them.
    """
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    layers: list[Layer] = []
    for name in names:
        weight, bias = (tensors.get(f"{name}.{part}" if name else part) for part in ("weight", "bias"))
        if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            return None
        layers.append((name, weight, bias))
    count = sum(1 if bias is None else 2 for _, _, bias in layers)
    numbers = all(tensor.is_floating_point() for tensor in tensors.values())
    return layers if layers and numbers and count == len(tensors) else None


def chains(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Return the orders in which `layers` make a chain: none, the one, or two if there are more.

    Layers whose names differ in the last number only stay in the order of that number.
    """
    families: dict[str, list[Layer]] = defaultdict(list)
    for layer in sorted(layers, key=lambda layer: _natural(layer[0])):
        families[re.sub(r"\d+(?=\D*$)", "#", layer[0])].append(layer)
    return list(islice(_orders([], [*families.values()]), 2))


def chain_network(layers: Sequence[Layer], input_shape: Shape | None) -> Network:
    """Return the network of linear layers in order, with a ReLU after each but the last.

    Parameters
    ----------
    layers : sequence of Layer
        A chain, as `chains` returns it.
    input_shape : tuple of int or None
        If it has several axes, samples are flattened first.

    Raises
    ------
    NetworkError
        If `input_shape` has another number of elements than the first layer takes, or a layer holds NaN or infinity.
    """
    width = layers[0][1].shape[1]
    shape = (width,) if input_shape is None else input_shape
    if size(shape) != width:
        raise NetworkError(f"the first layer, {layers[0][0]!r}, takes {width} inputs, but input_shape is {shape}")
    nodes = [Node("flatten", Reshape((width,)), (INPUT,))] if len(shape) != 1 else []
    for i, (name, weight, bias) in enumerate(layers):
        name = name if name not in {"", INPUT, "flatten"} else f"{name}.linear".strip(".")
        try:
            dense = Dense(weight.double().numpy(), None if bias is None else bias.double().numpy())
        except NetworkError as error:
            raise NetworkError(f"{name}: {error}") from None
        nodes.append(Node(name, dense, (nodes[-1].name if nodes else INPUT,)))
        if i < len(layers) - 1:
            nodes.append(Node(f"{name}.relu", Rectifier(), (name,)))
    return Network(shape, nodes)


def _orders(chain: list[Layer], families: list[list[Layer]]) -> Iterator[list[Layer]]:
    """Yield every chain that begins with `chain` and goes on with all layers of `families`, each in its order."""
    if not families:
        yield chain
    for i, (first, *rest) in enumerate(families):
        if not chain or chain[-1][1].shape[0] == first[1].shape[1]:
            others = families[:i] + ([rest] if rest else []) + families[i + 1 :]
            yield from _orders([*chain, first], others)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key under which numbers in names count as numbers."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]
