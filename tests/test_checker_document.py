"""The checker's own reader: layers, digests, and that it shares no code with the provers."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milpcomp.checker
from milpcomp.checker.document import INPUT, Linear, Model, read_network
from milpcomp.errors import NetworkError
from milpcomp.network import (
    Add,
    AveragePool,
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
from tests.nets import chain, diamond, mlp, residual_cnn

RNG = np.random.default_rng(5)

LAYERS: list[tuple[tuple[int, ...], Layer]] = [
    ((3,), Dense(RNG.normal(size=(4, 3)), RNG.normal(size=4))),
    ((3,), Dense(np.zeros((0, 3)))),
    ((0,), Dense(np.zeros((2, 0)), [1.0, 2.0])),
    ((2, 3, 3), Scale(RNG.normal(size=(2, 1, 1)), RNG.normal(size=(2, 1, 1)))),
    ((4,), Scale(2.0, -1.0)),
    ((4,), Scale(RNG.normal(size=4) * [1, 0, 1, 0])),
    ((2, 5, 4), Conv2d(RNG.normal(size=(3, 2, 2, 3)), RNG.normal(size=3))),
    ((4, 7, 6), Conv2d(RNG.normal(size=(6, 2, 3, 2)), None, (2, 3), (1, 0, 2, 1), (2, 1), 2)),
    ((2, 3, 3), Conv2d(RNG.normal(size=(2, 1, 3, 3)), None, padding=(3, 3, 3, 3), groups=2)),
    ((2, 4, 4), Conv2d(np.zeros((0, 2, 1, 1)))),
    ((2, 6, 6), AveragePool((2, 2), (2, 2))),
    ((3, 5, 4), AveragePool((3, 2), (2, 1), (1, 1, 1, 0), RNG.uniform(0.1, 1.0, size=(3, 4)))),
    ((2, 3, 4), Reshape((4, 6))),
    ((2, 3, 4), Permute((2, 0, 1))),
    ((3, 5), Take([[2, -1, 0, 0], None])),
    ((2, 4, 4), Take([[-1, 1], [0, 2], [3, -1, 0]])),
    ((4,), Rectifier(1.5, -0.25)),
    ((2, 3, 3), Rectifier([[[2.0]], [[-1.0]]], 0.1)),
]


def value(model: Model, name: str, x: np.ndarray) -> np.ndarray:
    """Evaluate the checker's model in plain floats at one input."""
    values = {INPUT: x.reshape(-1)}
    for step in model.steps:
        if isinstance(step, Linear):
            values[step.name] = sum((a @ values[s] for s, a in step.matrices.items()), step.offset)
        else:
            source = values[step.source]
            values[step.name] = step.positive * np.maximum(source, 0) + step.negative * np.minimum(source, 0)
    return values[name]


@pytest.mark.parametrize(("shape", "layer"), LAYERS, ids=[f"{type(layer).__name__}{shape}" for shape, layer in LAYERS])
def test_every_layer_kind_means_the_same_to_both(shape: tuple[int, ...], layer: Layer) -> None:
    """Two implementations of every layer, written apart, agree on random inputs."""
    network = chain(shape, layer)
    model = read_network(network)
    for x in RNG.normal(size=(3, *shape)):
        expected = network.forward(x)
        assert model.shapes["0"] == expected.shape
        assert value(model, "0", x) == pytest.approx(expected.reshape(-1), rel=1e-13, abs=1e-13)


def test_joins_mean_the_same_to_both() -> None:
    """Additions and concatenations agree, also where one value enters twice."""
    nodes = [
        Node("a", Scale(2.0), (INPUT,)),
        Node("sum", Add(), (INPUT, "a", "a")),
        Node("joined", Concat(1), ("a", "sum", "a")),
        Node("stacked", Concat(0), ("joined", "joined")),
    ]
    network = Network((2, 3), nodes)
    model = read_network(network)
    for x in RNG.normal(size=(3, 2, 3)):
        assert value(model, "stacked", x) == pytest.approx(network.forward(x).reshape(-1))


@given(st.integers(0, 2**32 - 1))
def test_images_mean_the_same_to_both(seed: int) -> None:
    """A residual image network evaluates alike at every node, and its digest is recomputed."""
    rng = np.random.default_rng(seed)
    network = residual_cnn(rng)
    model = read_network(network)
    x = rng.normal(size=(2, 6, 6))
    expected = network.values(x[None])
    for name in model.names:
        assert value(model, name, x) == pytest.approx(expected[name].reshape(-1), rel=1e-10, abs=1e-10)
    assert model.digest == network.digest


def test_digest_tells_networks_apart() -> None:
    """The digest that the checker works out changes with one bit of one weight, and with a name."""
    digests = {
        read_network(chain((2,), Dense([[1.0, 2.0]]))).digest,
        read_network(chain((2,), Dense([[1.0, np.nextafter(2.0, 3.0)]]))).digest,
        read_network(chain((2,), Dense([[1.0, 2.0]], [-0.0]))).digest,
        read_network(Network((2,), [Node("other", Dense([[1.0, 2.0]]), (INPUT,))])).digest,
    }
    assert len(digests) == 4
    for network in (diamond(), mlp([3, 4, 2], RNG)):
        assert read_network(network).digest == network.digest


class Forged:
    """A network that shows whatever document it is given."""

    def __init__(self, network: Network, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        self.structure, self.arrays = network.document()
        change(self.structure, self.arrays)

    def document(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.structure, self.arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, a: s["nodes"][0].update(kind="Softmax"), "knows no layer of kind 'Softmax'"),
        (lambda s, a: a.update({"0/weight": np.full((2, 2), np.nan)}), "finite float64"),
        (lambda s, a: a.update({"0/weight": np.ones((2, 2), np.float32)}), "finite float64"),
        (lambda s, a: a.update({"0/weight": np.ones((2, 3))}), "does not fit"),
        (lambda s, a: a.pop("0/bias"), "finite float64"),
        (lambda s, a: a.update({"1/positive_slope": np.ones(3)}), "does not fit"),
        (lambda s, a: s["nodes"][1].update(inputs=["2"]), "no earlier node"),
        (lambda s, a: s["nodes"][1].update(inputs=["0", "0"]), "reads one value"),
        (lambda s, a: s["nodes"][1].update(name="0"), "repeats a name"),
        (lambda s, a: s.update(output="9"), "no node"),
        (lambda s, a: s.pop("nodes"), "describes no network"),
        (lambda s, a: s["nodes"][0].pop("name"), "describes no network"),
        (lambda s, a: s["nodes"][0].update(inputs=[["input"]]), "describes no network"),
        (lambda s, a: s.update(nodes=3), "describes no network"),
    ],
)
def test_malformed_networks_are_refused(change: Callable[..., None], message: str) -> None:
    """A document that describes no network ends in an error that says why."""
    with pytest.raises(NetworkError, match=message):
        read_network(Forged(diamond(), change))


def test_the_checker_imports_no_prover() -> None:
    """No module of the checker imports anything of milpcomp but the checker itself and the error classes."""
    folder = Path(milpcomp.checker.__file__).parent
    seen = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                seen |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} imports relatively"
                seen.add(node.module or "")
            elif isinstance(node, ast.Call):
                assert getattr(node.func, "id", getattr(node.func, "attr", "")) not in {"__import__", "import_module"}
    ours = {name for name in seen if name.split(".")[0] == "milpcomp"}
    assert "milpcomp.checker.document" in ours
    assert all(name == "milpcomp.errors" or name.startswith("milpcomp.checker") for name in ours)
    assert {name.split(".")[0] for name in seen - ours} <= {
        "__future__", "collections", "dataclasses", "enum", "fractions", "functools", "hashlib", "itertools", "json",
        "math", "numpy", "scipy", "typing",
    }  # fmt: skip
