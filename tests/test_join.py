"""Readers' nodes are cleaned up exactly: identities vanish, rotated slopes join, nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from milpcomp.network import INPUT, Add, AveragePool, Conv2d, Dense, Layer, Network, Node, Rectifier, Scale
from milpcomp.network.join import join


def build(*steps: tuple[str, Layer, tuple[str, ...]]) -> list[Node]:
    """Return nodes from (name, layer, inputs) triples."""
    return [Node(*step) for step in steps]


def test_rotated_slope_becomes_one_rectifier() -> None:
    """The product b * relu(x) is Rectifier(b, 0) under the rectifier's name, and readers of the product read that."""
    slope = np.array([[[2.0]], [[-0.5]], [[0.0]]])
    nodes = build(
        ("relu", Rectifier(), (INPUT,)), ("times", Scale(slope, 0.0), ("relu",)), ("after", Scale(3.0, 1.0), ("times",))
    )
    joined, output = join(nodes, "after")
    assert [(node.name, node.inputs) for node in joined] == [("relu", (INPUT,)), ("after", ("relu",))]
    assert isinstance(joined[0].layer, Rectifier)
    assert np.array_equal(joined[0].layer.positive_slope, slope)
    assert np.array_equal(joined[0].layer.negative_slope, np.zeros(()))
    assert output == "after"
    assert nodes[0].layer is not joined[0].layer  # the nodes given are as they were


@pytest.mark.parametrize(
    ("layer", "shift", "bias"),
    [
        (Dense([[1.0, 2.0], [3.0, 4.0]]), [0.1, -0.2], [0.1, -0.2]),
        (Dense([[1.0, 2.0], [3.0, 4.0]], [0.0, -0.0]), 0.3, [0.3, 0.3]),
        (Conv2d(np.ones((2, 2, 1, 1))), [[[0.1]], [[-0.2]]], [0.1, -0.2]),
        (Conv2d(np.ones((2, 2, 1, 1))), 0.3, [0.3, 0.3]),
    ],
)
def test_a_bias_that_is_added_apart_is_joined(layer: Dense | Conv2d, shift: ArrayLike, bias: list[float]) -> None:
    """(W x + 0) + c is W x + c, under the name of the product."""
    joined, output = join(build(("w", layer, (INPUT,)), ("c", Scale(1.0, shift), ("w",))), "c")
    assert [node.name for node in joined] == [output] == ["w"]
    assert isinstance(joined[0].layer, type(layer))
    assert np.array_equal(joined[0].layer.weight, layer.weight)
    assert np.array_equal(joined[0].layer.bias, bias)


def test_a_factor_and_a_term_become_one_scaling() -> None:
    """(b x + 0) + c is Scale(b, c)."""
    joined, _ = join(build(("b", Scale([2.0, 3.0]), (INPUT,)), ("c", Scale(1.0, 0.5), ("b",))), "c")
    assert isinstance(joined[0].layer, Scale)
    assert (joined[0].layer.scale.tolist(), joined[0].layer.shift.tolist()) == ([2.0, 3.0], 0.5)
    assert len(joined) == 1


def test_the_output_is_followed() -> None:
    """Where the product or an identity is the output, the output is the node that has its value now."""
    assert join(build(("r", Rectifier(), (INPUT,)), ("b", Scale(2.0), ("r",))), "b")[1] == "r"
    assert join(build(("same", Scale(1.0, 0.0), (INPUT,))), "same") == ([], INPUT)


def test_identities_vanish_between_the_two() -> None:
    """relu, then x * 1 - 0, then b * x is still one rectifier."""
    nodes = build(
        ("zero", Scale(1.0, -np.zeros(3)), (INPUT,)),
        ("r", Rectifier(1.0, -0.0), ("zero",)),
        ("one", Scale(np.ones(3), 0.0), ("r",)),
        ("b", Scale([1.0, 2.0, 3.0]), ("one",)),
    )
    joined, output = join(nodes, "b")
    assert [node.name for node in joined] == ["r"]
    assert joined[0].inputs == (INPUT,)
    assert output == "r"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Rectifier(1.0, 0.1), Scale(2.0)),
        (Rectifier(2.0, 0.0), Scale(2.0)),
        (Rectifier(), Scale(2.0, 1e-300)),
        (Scale(2.0), Scale(3.0)),
        (Scale(2.0, 1.0), Scale(1.0, 1.0)),
        (Rectifier(), Rectifier()),
        (Dense(np.eye(2), [0.0, 1.0]), Scale(1.0, 2.0)),
        (Dense(np.eye(2)), Scale(2.0, 2.0)),
        (Conv2d(np.ones((2, 2, 1, 1))), Scale(1.0, np.ones((2, 1, 3)))),
        (Conv2d(np.ones((2, 2, 1, 1))), Scale(1.0, np.ones(3))),
        (AveragePool((1, 1), (1, 1)), Scale(1.0, 2.0)),
    ],
)
def test_what_would_round_or_change_is_left_alone(first: Layer, second: Layer) -> None:
    """Leaky or scaled rectifiers, second biases, biases that differ by pixel and pairs of scalings stay as read."""
    nodes = build(("a", first, (INPUT,)), ("b", second, ("a",)))
    joined, output = join(nodes, "b")
    assert [node.layer for node in joined] == [first, second]
    assert output == "b"


@pytest.mark.parametrize("reader", ["other", "sum", "output"])
def test_a_rectifier_that_is_read_elsewhere_is_left_alone(reader: str) -> None:
    """A second reader, an addition that reads it too, or being the output itself, keeps the rectifier plain."""
    nodes = build(("r", Rectifier(), (INPUT,)), ("b", Scale(2.0), ("r",)))
    if reader == "other":
        nodes += build(("c", Scale(3.0), ("r",)), ("d", Add(), ("b", "c")))
    elif reader == "sum":
        nodes += build(("d", Add(), ("b", "r")))
    joined, _ = join(nodes, {"output": "r"}.get(reader, "d"))
    assert [node.name for node in joined] == [node.name for node in nodes]
    assert all(node.layer is old.layer for node, old in zip(joined, nodes, strict=True))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 99)), max_size=12), st.integers(0, 99))
def test_the_function_stays(steps: list[tuple[int, int, int]], last: int) -> None:
    """On random graphs of everything that joins, and sums, the joined nodes compute equal numbers."""
    names = [INPUT]
    nodes = []
    for i, (kind, one, two) in enumerate(steps):
        kinds = (
            Scale(1.0, 0.0),
            Scale([-2.0, 0.5]),
            Rectifier(),
            Add(),
            Dense([[1, 2], [-3, 4]]),
            Scale(1.0, [0.5, 7.0]),
        )
        inputs = (names[one % len(names)], names[two % len(names)])[: 2 if kind == 3 else 1]
        nodes.append(Node(f"n{i}", kinds[kind], inputs))
        names.append(f"n{i}")
    output = names[last % len(names)]
    x = np.random.default_rng(0).normal(size=(5, 2))
    before = Network((2,), nodes, output)
    after = Network((2,), *join(nodes, output))
    assert np.array_equal(before.forward(x), after.forward(x))
    assert Network((2,), *join(after.nodes, after.output)).digest == after.digest  # nothing is left to do
