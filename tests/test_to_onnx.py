"""A written model passes the checker, runs in onnxruntime at any batch size, and reads back as the same function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milpcomp.errors import NetworkError, OutputError, SettingsError
from milpcomp.network import (
    INPUT,
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
from milpcomp.network.from_onnx import network_from_onnx
from milpcomp.network.to_onnx import to_onnx
from tests.nets import chain, diamond, mlp, residual_cnn

RNG = np.random.default_rng(0)
IMAGE = (2, 5, 6)


def joined_branches() -> Network:
    """Return three branches, one of them without elements, joined and added, under awkward names."""
    nodes = [
        Node("output", Dense(RNG.normal(size=(3, 4))), (INPUT,)),
        Node("a.weight", Dense(np.zeros((0, 4))), (INPUT,)),
        Node("a", Dense(RNG.normal(size=(2, 4)), [1.0, 2.0]), (INPUT,)),
        Node("batch", Rectifier(), ("a.weight",)),
        Node("ä b/1", Concat(), ("output", "batch", "a")),
        Node("only", Concat(), ("batch", "ä b/1")),
        Node("sum", Add(), ("only", "ä b/1", "only")),
        Node("unused", Scale(2.0), ("sum",)),
    ]
    return Network((4,), nodes, "sum")


NETWORKS = {
    "diamond": diamond(),
    "residual-cnn": residual_cnn(RNG),
    "branches": joined_branches(),
    "relu": mlp([3, 5, 4, 2], RNG),
    "leaky": mlp([3, 5, 4, 2], RNG, 1.0, 0.1),
    "absolute": mlp([3, 5, 4, 2], RNG, 1.0, -1.0),
    "rotated": mlp([3, 5, 4, 2], RNG, None, 0.0),
    "scaled-leaky": mlp([3, 5, 4, 2], RNG, -0.7, 0.3),
    "only-negative": mlp([3, 5, 4, 2], RNG, 0.0, 1.0),
    "linear": mlp([3, 5, 4, 2], RNG, 1.0, 1.0),
    "any-slopes": mlp([3, 9, 9, 2], RNG, None, None),
    "tiny-slope": chain((2,), Rectifier([5e-324, 1.0], [1.0, 2.0])),
    "no-nodes": Network((3,), []),
    "identity-scale": chain((3,), Scale(), Scale([1.0, 2.0, 3.0]), Scale(1.0, 0.5)),
    "grouped": chain(IMAGE, Conv2d(RNG.normal(size=(4, 1, 2, 3)), None, (2, 1), (1, 0, 2, 1), (1, 2), 2), Rectifier()),
    "pool": chain(IMAGE, AveragePool((2, 3), (2, 1))),
    "pool-counts-padding": chain(IMAGE, AveragePool((3, 3), (2, 2), (1, 1, 0, 2))),
    "pool-own-counts": chain(
        IMAGE, AveragePool((2, 2), (2, 2), (0, 0, 1, 0), np.array([[1 / 4] * 3, [1 / 4] * 3, [1 / 2] * 3]))
    ),
    "pool-any-factor": chain(IMAGE, AveragePool((5, 6), (1, 1), coefficient=1.0)),
    "pool-much-padding": chain(IMAGE, AveragePool((2, 2), (1, 1), (2, 2, 2, 2))),
    "moves": chain((2, 3, 4), Permute((2, 0, 1)), Reshape((8, 3)), Permute((1, 0)), Reshape((24,))),
    "take": chain((4, 6), Take([[-1, 0, -1, 3, 3, -1, -1], [1, 3, 5]]), Take([[6, 0, 1, 3], None]), Take([[0], [2]])),
    "take-zeros": chain((4, 2), Take([[-1, -1], None]), Scale(1.0, 3.0)),
    "scalar-slope-images": chain(IMAGE, Rectifier(np.full((2, 1, 1), 1.0), np.array([[[0.1]], [[-2.0]]]))),
    "empty-hidden": chain((2,), Dense(np.zeros((0, 2))), Rectifier(), Dense(np.zeros((2, 0)), [1, -2]), Rectifier()),
    "empty-channels": chain(
        IMAGE, Conv2d(np.zeros((0, 2, 3, 3))), Rectifier(), Conv2d(np.zeros((2, 0, 1, 1)), [1.0, -2.0]), Rectifier()
    ),
    "empty-image": chain((2, 4), Take([[], None]), Rectifier(), Reshape((0,)), Take([None]), Dense(np.zeros((2, 0)))),
    "empty-output": chain((2,), Dense(np.zeros((0, 2)))),
    "empty-input": chain((0,), Dense(np.zeros((2, 0)), [1.0, 2.0]), Rectifier()),
}  # fmt: skip
IMAGES = {name for name, network in NETWORKS.items() if len(network.input_shape) == 3 and name != "moves"}


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """Return what onnxruntime computes for a batch, with its warnings on."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": x})[0])


def gap(network: Network, given: np.ndarray, x: np.ndarray) -> float:
    """Return the largest difference to the network's own output, relative to the largest output."""
    expected = network.forward(x)
    assert given.shape == expected.shape
    return float(np.abs(given - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0)))


@pytest.mark.parametrize("name", NETWORKS)
def test_written_models_are_valid_and_run(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The checker passes, and onnxruntime agrees for one sample and for several, without a warning."""
    network = NETWORKS[name]
    to_onnx(network, tmp_path / "m.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    for count in (1, 4):
        x = RNG.uniform(-1, 1, size=(count, *network.input_shape)).astype(np.float32)
        assert gap(network, run(tmp_path / "m.onnx", x), x.astype(np.float64)) < 1e-5
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_float64_models_read_back_as_the_same_function(tmp_path: Path, name: str) -> None:
    """Written in float64 and read again, or run where onnxruntime has the operators, it agrees within 1e-12."""
    network = NETWORKS[name]
    to_onnx(network, tmp_path / "m.onnx", np.float64)
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    again = network_from_onnx(tmp_path / "m.onnx")
    x = RNG.uniform(-1, 1, size=(5, *network.input_shape))
    assert gap(network, again.forward(x), x) < 1e-12
    if name not in IMAGES:  # onnxruntime has no convolution and no pooling in float64
        assert gap(network, run(tmp_path / "m.onnx", x), x) < 1e-12


@pytest.mark.parametrize("name", ["diamond", "relu", "rotated", "absolute", "moves", "grouped", "pool"])
def test_plain_networks_come_back_bit_by_bit(tmp_path: Path, name: str) -> None:
    """Layers, names and numbers of a plain network are those that were written."""
    network = NETWORKS[name]
    to_onnx(network, tmp_path / "m.onnx", np.float64)
    again = network_from_onnx(tmp_path / "m.onnx")
    assert [node.name for node in again] == [node.name for node in network]
    for given_node, node in zip(again, network, strict=True):
        given_arrays, arrays = given_node.layer.arrays(), node.layer.arrays()
        assert {k: v.tobytes() for k, v in given_arrays.items()} == {k: v.tobytes() for k, v in arrays.items()}


def test_a_relu_network_keeps_its_digest(tmp_path: Path) -> None:
    """Written in float64 and read again, a ReLU network is the same network."""
    network = mlp([6, 5, 4, 3], np.random.default_rng(1))
    to_onnx(network, tmp_path / "m.onnx", np.float64)
    assert network_from_onnx(tmp_path / "m.onnx").digest == network.digest


INDEX = st.lists(st.integers(-1, 3), max_size=6)


@given(INDEX, st.none() | INDEX)
def test_any_take_is_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], columns: list[int] | None
) -> None:
    """Slices, gathers and zeros in any place, on both axes, come out exactly."""
    network = chain((4, 4), Take([rows, columns]))
    path = tmp_path_factory.mktemp("take") / "m.onnx"
    to_onnx(network, path)
    x = np.arange(1, 33, dtype=np.float32).reshape(2, 4, 4)
    assert np.array_equal(run(path, x), network.forward(x))
    assert np.array_equal(network_from_onnx(path).forward(x).reshape(2, *network.output_shape), network.forward(x))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=5), st.integers(0, 99))
def test_any_widths_run(tmp_path_factory: pytest.TempPathFactory, widths: list[int], seed: int) -> None:
    """Dense networks with layers of width zero anywhere run and read back."""
    network = mlp(widths, np.random.default_rng(seed), positive=None, negative=None)
    path = tmp_path_factory.mktemp("widths") / "m.onnx"
    to_onnx(network, path, np.float64)
    x = np.random.default_rng(seed).normal(size=(3, widths[0]))
    assert gap(network, run(path, x), x) < 1e-12
    assert gap(network, network_from_onnx(path).forward(x), x) < 1e-12


def operators(path: Path) -> list[str]:
    """Return the operators of a model in order."""
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (Dense(np.eye(2)), (2,), ["Gemm"]),
        (Rectifier(), (2,), ["Relu"]),
        (Rectifier(1.0, 0.5), (2,), ["LeakyRelu"]),
        (Rectifier(1.0, [0.5, 0.25]), (2,), ["PRelu"]),
        (Rectifier(1.0, -1.0), (2,), ["Abs"]),
        (Rectifier([1.0, -2.0], 0.0), (2,), ["Relu", "Mul"]),
        (Rectifier(2.0, 1.0), (2,), ["LeakyRelu", "Mul"]),
        (Rectifier([0.0, 1.0], 0.5), (2,), ["Mul", "Relu", "Mul", "Add"]),
        (Scale(2.0, 1.0), (2,), ["Mul", "Add"]),
        (Scale(1.0, 1.0), (2,), ["Add"]),
        (Scale(), (2,), []),
        (Conv2d(np.ones((1, 2, 1, 1))), IMAGE, ["Conv"]),
        (AveragePool((2, 2), (1, 1)), IMAGE, ["AveragePool"]),
        (AveragePool((2, 2), (1, 1), coefficient=1.0), IMAGE, ["Conv"]),
        (AveragePool((2, 2), (1, 1), coefficient=0.5), IMAGE, ["Conv", "Mul"]),
        (Take([[1], None, [0, 2, 4]]), IMAGE, ["Slice", "Slice"]),
        (Take([[-1, 0, 1, -1], None, None]), IMAGE, ["Pad"]),
        (Take([[1, 0], None, None]), IMAGE, ["Gather"]),
        (Take([[1, -1, 0], None, None]), IMAGE, ["Pad", "Gather"]),
        (Take([[0, 1], None, None]), IMAGE, []),
    ],
)
def test_layers_become_the_simplest_operators(
    tmp_path: Path, layer: Layer, shape: tuple[int, ...], expected: list[str]
) -> None:
    """Each layer is written in the form that says it with the fewest operators."""
    to_onnx(chain(shape, layer), tmp_path / "m.onnx")
    assert operators(tmp_path / "m.onnx") == [*expected, "Identity"]


def test_an_inexact_leak_is_a_tensor_in_float64(tmp_path: Path) -> None:
    """0.1 does not fit the float32 attribute of LeakyRelu, so float64 models hold it as a tensor."""
    network = chain((2,), Rectifier(1.0, 0.1))
    to_onnx(network, tmp_path / "double.onnx", np.float64)
    to_onnx(network, tmp_path / "single.onnx", np.float32)
    assert operators(tmp_path / "double.onnx")[0] == "PRelu"
    assert operators(tmp_path / "single.onnx")[0] == "LeakyRelu"


def test_the_model_says_what_it_is(tmp_path: Path) -> None:
    """One input and one output with an open batch axis, numbers of the type asked for, a widely known operator set."""
    to_onnx(NETWORKS["residual-cnn"], tmp_path / "m.onnx", "float32")
    model = onnx.load(tmp_path / "m.onnx")
    shapes = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    ]
    assert shapes == [["batch", 2, 6, 6], ["batch", 4]]
    assert model.opset_import[0].version == 17
    assert model.producer_name == "milpcomp"
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Numbers beyond float32, other types, unknown layers and unwritable paths are clear errors without a file."""
    path = tmp_path / "m.onnx"
    for layer in (Dense([[1e39]]), Rectifier(1.0, 1e39), Rectifier(1e39, 0.0), Scale(1.0, -1e39)):
        with pytest.raises(NetworkError, match="holds numbers beyond the range of float32; write the model in float64"):
            to_onnx(chain((1,), layer), path)
    with pytest.raises(SettingsError, match="in float32 or float64, not in float16"):
        to_onnx(diamond(), path, np.float16)
    assert not path.exists()
    with pytest.raises(OutputError, match="does not exist; create it"):
        to_onnx(diamond(), tmp_path / "missing" / "m.onnx")

    class Doubled(Scale):
        """A layer that ONNX export does not know."""

    with pytest.raises(NetworkError, match="'0' is a Doubled, which ONNX has no operators for"):
        to_onnx(chain((1,), Doubled(2.0)), path)


@pytest.mark.parametrize(
    "name", ["acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "cifar10_resnet/resnet_2b.onnx", "vnncomp_test/test_small.onnx"]
)
def test_real_models_survive_a_round_trip(shared_file: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """A real model, read, written in float32 and read again, holds the same numbers, and onnxruntime agrees."""
    network = network_from_onnx(shared_file(f"nets/{name}"))
    to_onnx(network, tmp_path / "m.onnx")
    again = network_from_onnx(tmp_path / "m.onnx")
    assert again.digest == network.digest
    x = RNG.uniform(0, 1, size=(3, *network.input_shape)).astype(np.float32)
    assert gap(network, run(tmp_path / "m.onnx", x), x.astype(np.float64)) < 1e-5
