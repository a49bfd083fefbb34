"""A model that is read computes what onnxruntime computes, and whatever cannot be read is named, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from packaging.version import Version

from milpcomp.errors import CheckpointError, MilpcompError, NetworkError, UnsupportedOperatorError
from milpcomp.network import AveragePool, Conv2d, Dense, Network, Permute, Rectifier, Reshape, Scale, Take
from milpcomp.network.from_onnx import RULES, network_from_onnx
from milpcomp.network.to_onnx import to_onnx
from tests.nets import residual_cnn
from tests.onnx_models import doubled, model, node, run, saved

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    """Return multiples of 1/8, on which sums of products are exact in float32."""
    return RNG.integers(-16, 17, size=shape) / 8.0


IMAGE = ("N", 2, 5, 6)
W = numbers(4, 3)
FILTERS, BIAS = numbers(4, 2, 3, 2), numbers(4)
INT = np.int64

# name: (nodes, input shape, constants, operator set)
Case = tuple[Sequence[onnx.NodeProto], Sequence[int | str], dict[str, Any], int]
CASES: dict[str, Case] = {
    "gemm": ([node("Gemm", "x w b", alpha=0.5, beta=2.0)], ("N", 4), {"w": W, "b": numbers(3)}, 17),
    "gemm-transposed": ([node("Gemm", "x w b", transB=1)], ("N", 4), {"w": W.T, "b": numbers(1, 3)}, 17),
    "gemm-scalar-bias": ([node("Gemm", "x w b")], (1, 4), {"w": W, "b": np.array(0.5)}, 17),
    "gemm-without-bias": ([node("Gemm", "x w")], ("N", 4), {"w": W}, 17),
    "matmul-right": ([node("MatMul", "x w")], ("N", 4), {"w": W}, 17),
    "matmul-right-of-images": ([node("MatMul", "x w")], (1, 1, 1, 4), {"w": W}, 17),
    "matmul-left-column": ([node("MatMul", "w x")], (1, 3, 1), {"w": W}, 17),
    "matmul-left-vector": ([node("MatMul", "w x")], (3,), {"w": W}, 17),
    "matmul-right-vector": ([node("MatMul", "x w")], (4,), {"w": W}, 17),
    "matmul-by-a-vector": ([node("MatMul", "x w")], ("N", 4), {"w": numbers(4)}, 17),
    "matmul-by-a-stack": ([node("MatMul", "x w")], (1, 4), {"w": numbers(2, 4, 3)}, 17),
    "matmul-of-a-stack": ([node("MatMul", "w x")], (1, 4, 1), {"w": numbers(2, 3, 4)}, 17),
    "add": ([node("Add", "x b")], IMAGE, {"b": numbers(2, 1, 1)}, 17),
    "add-left": ([node("Add", "b x")], IMAGE, {"b": numbers(1, 2, 5, 6)}, 17),
    "add-enlarges": ([node("Add", "x b")], (1, 1, 3), {"b": numbers(2, 4, 1)}, 17),
    "add-more-axes": ([node("Add", "x b")], (4,), {"b": numbers(2, 1, 4)}, 17),
    "sub": ([node("Sub", "x b")], ("N", 4), {"b": numbers(4)}, 17),
    "sub-left": ([node("Sub", "b x")], ("N", 4), {"b": np.array(0.5)}, 17),
    "mul": ([node("Mul", "b x")], IMAGE, {"b": numbers(6)}, 17),
    "div": ([node("Div", "x b")], ("N", 4), {"b": np.array([0.5, -2.0, 4.0, 1.0])}, 17),
    "div-rounds": ([node("Div", "x b")], ("N", 4), {"b": np.array([3.0, 0.1, 0.7, -9.0])}, 17),
    "neg": ([node("Neg", "x")], IMAGE, {}, 17),
    "two-values": (
        [
            node("Relu", "x", "r"),
            node("Neg", "x", "n"),
            node("Add", "r n", "a"),
            node("Sub", "a r", "s"),
            node("Sum", "s x r b"),
        ],
        ("N", 4),
        {"b": numbers(4)},
        17,
    ),
    "values-broadcast": ([node("ReduceMean", "x", "m", axes=[2, 3]), node("Sub", "x m")], IMAGE, {}, 17),
    "a-value-twice": ([node("Add", "x x")], ("N", 4), {}, 17),
    "relu": ([node("Relu", "x")], IMAGE, {}, 17),
    "leaky": ([node("LeakyRelu", "x", alpha=0.25)], ("N", 4), {}, 17),
    "leaky-default": ([node("LeakyRelu", "x")], ("N", 4), {}, 17),
    "prelu": ([node("PRelu", "x s")], IMAGE, {"s": numbers(2, 1, 1)}, 17),
    "prelu-scalar": ([node("PRelu", "x s")], IMAGE, {"s": numbers(1)}, 17),
    "abs": ([node("Abs", "x")], ("N", 4), {}, 17),
    "rotated": ([node("Relu", "x", "r"), node("Mul", "b r")], IMAGE, {"b": numbers(1, 2, 1, 1)}, 17),
    "conv": ([node("Conv", "x w b", pads=[1, 0, 2, 1], strides=[2, 1])], IMAGE, {"w": FILTERS, "b": BIAS}, 17),
    "conv-dilated": ([node("Conv", "x w", dilations=[2, 3])], IMAGE, {"w": FILTERS}, 17),
    "conv-groups": ([node("Conv", "x w b", group=2)], IMAGE, {"w": numbers(4, 1, 2, 2), "b": BIAS}, 17),
    "conv-same-upper": ([node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])], IMAGE, {"w": FILTERS}, 17),
    "conv-same-lower": ([node("Conv", "x w", auto_pad="SAME_LOWER")], IMAGE, {"w": FILTERS}, 17),
    "conv-valid": ([node("Conv", "x w", auto_pad="VALID")], IMAGE, {"w": FILTERS}, 17),
    "batch-norm": (
        [node("BatchNormalization", "x g b m v", epsilon=0.25)],
        IMAGE,
        {"g": numbers(2), "b": numbers(2), "m": numbers(2), "v": np.array([0.5, 3.0])},
        17,
    ),
    "batch-norm-of-vectors": (
        [node("BatchNormalization", "x g b m v")],
        ("N", 2),
        {"g": numbers(2), "b": numbers(2), "m": numbers(2), "v": np.array([0.5, 3.0])},
        9,
    ),
    "pool": ([node("AveragePool", "x", kernel_shape=[2, 3], strides=[2, 1])], IMAGE, {}, 17),
    "pool-padded": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 0, 2])], IMAGE, {}, 17),
    "pool-counts-padding": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 0, 2], count_include_pad=1)],
        IMAGE,
        {},
        17,
    ),
    "pool-same": (
        [node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")],
        IMAGE,
        {},
        17,
    ),
    "pool-harmless-ceil": (
        [node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)],
        IMAGE,
        {},
        17,
    ),
    "global-pool": ([node("GlobalAveragePool", "x")], IMAGE, {}, 17),
    "global-pool-of-signals": ([node("GlobalAveragePool", "x")], ("N", 2, 5), {}, 17),
    "mean": ([node("ReduceMean", "x", axes=[-1, -2], keepdims=0)], IMAGE, {}, 17),
    "mean-axes-as-input": ([node("ReduceMean", "x a")], IMAGE, {"a": np.array([2, 3])}, 18),
    "mean-of-all": ([node("ReduceMean", "x", keepdims=0)], (1, 2, 3), {}, 17),
    "mean-last": ([node("ReduceMean", "x", axes=[2])], (1, 4, 5), {}, 17),
    "sum": ([node("ReduceSum", "x a", keepdims=0)], IMAGE, {"a": np.array([1, 2, 3])}, 17),
    "sum-of-nothing": ([node("ReduceSum", "x", noop_with_empty_axes=1)], IMAGE, {}, 17),
    "flatten": ([node("Flatten", "x")], IMAGE, {}, 17),
    "flatten-axis-0": ([node("Flatten", "x", axis=0)], (1, 2, 3), {}, 17),
    "flatten-axis-3": ([node("Flatten", "x", axis=-1)], (1, 2, 3, 2), {}, 17),
    "reshape": ([node("Reshape", "x s")], IMAGE, {"s": np.array([0, 3, -1])}, 17),
    "reshape-without-batch": ([node("Reshape", "x s")], (1, 2, 6), {"s": np.array([3, 4])}, 17),
    "squeeze": ([node("Squeeze", "x a")], (1, 2, 1, 3), {"a": np.array([-2])}, 17),
    "squeeze-all": ([node("Squeeze", "x", axes=[0, 2])], (1, 2, 1, 3), {}, 11),
    "squeeze-any": ([node("Squeeze", "x")], (1, 2, 1, 3), {}, 17),
    "unsqueeze": ([node("Unsqueeze", "x a")], ("N", 3), {"a": np.array([-1, 1])}, 17),
    "unsqueeze-old": ([node("Unsqueeze", "x", axes=[0])], (2, 3), {}, 11),
    "transpose": ([node("Transpose", "x", perm=[0, 3, 1, 2])], IMAGE, {}, 17),
    "transpose-batch": ([node("Transpose", "x")], (1, 2, 3), {}, 17),
    "transpose-of-ones": ([node("Transpose", "x", perm=[1, 0])], (1, 4), {}, 17),
    "pad": ([node("Pad", "x p")], IMAGE, {"p": np.array([0, 1, 0, 2, 0, 0, 1, 0])}, 17),
    "pad-constant": ([node("Pad", "x p c")], IMAGE, {"p": np.array([0, 0, 0, 2, 0, 0, 1, 0]), "c": np.array(0.5)}, 17),
    "pad-old": ([node("Pad", "x", pads=[0, 1, 0, 2], value=-3.0)], ("N", 4), {}, 9),
    "pad-edge": ([node("Pad", "x p", mode="edge")], IMAGE, {"p": np.array([0, 0, 1, 2, 0, 0, 1, 0])}, 17),
    "pad-reflect": ([node("Pad", "x p", mode="reflect")], IMAGE, {"p": np.array([0, 0, 1, 2, 0, 0, 1, 3])}, 17),
    "pad-crops": ([node("Pad", "x p")], IMAGE, {"p": np.array([0, 0, -1, 2, 0, 0, 1, -2])}, 17),
    "pad-axes": ([node("Pad", "x p - a")], IMAGE, {"p": np.array([1, 2, 0, 1]), "a": np.array([-1, 1])}, 18),
    "slice": (
        [node("Slice", "x s e a t")],
        IMAGE,
        {"s": np.array([1, 0]), "e": np.array([-1, 100]), "a": np.array([2, -1]), "t": np.array([1, 2])},
        17,
    ),
    "slice-backwards": (
        [node("Slice", "x s e a t")],
        ("N", 4),
        {"s": np.array([-1]), "e": np.array([np.iinfo(INT).min]), "a": np.array([1]), "t": np.array([-1])},
        17,
    ),
    "slice-old": ([node("Slice", "x", starts=[1], ends=[3], axes=[1])], ("N", 4), {}, 9),
    "slice-everything": ([node("Slice", "x s e")], ("N", 4), {"s": np.array([0]), "e": np.array([9])}, 17),
    "gather": ([node("Gather", "x i", axis=1)], IMAGE, {"i": np.array([1, -1, 0])}, 17),
    "gather-one": ([node("Gather", "x i", axis=1)], IMAGE, {"i": np.array(-1)}, 17),
    "gather-table": ([node("Gather", "x i", axis=-1)], ("N", 4), {"i": np.array([[0, 1], [2, 3], [3, 0]])}, 17),
    "gather-batch": ([node("Gather", "x i")], (1, 4), {"i": np.array(0)}, 17),
    "split": (
        [node("Split", "x s", "a b", axis=1), node("Concat", "b a", axis=1)],
        ("N", 5),
        {"s": np.array([2, 3])},
        17,
    ),
    "split-one-used": ([node("Split", "x", "a y b", axis=1, split=[1, 2, 1])], ("N", 4), {}, 11),
    "split-evenly": ([node("Split", "x", "a y", axis=1)], ("N", 4), {}, 17),
    "concat": ([node("Relu", "x", "r"), node("Concat", "x r x", axis=-1)], IMAGE, {}, 17),
    "concat-constant": ([node("Concat", "x c", axis=1)], (1, 2, 3), {"c": numbers(1, 1, 3)}, 17),
    "concat-batch": ([node("Neg", "x", "n"), node("Concat", "x n", axis=0)], (1, 3), {}, 17),
    "expand": ([node("Expand", "x s")], (1, 3, 1), {"s": np.array([2, 1, 4])}, 17),
    "identity-dropout-cast": (
        [node("Identity", "x", "i"), node("Dropout", "i", "d"), node("Cast", "d", to=TensorProto.FLOAT)],
        ("N", 4),
        {},
        17,
    ),
    "dropout-old": ([node("Dropout", "x", ratio=0.5)], ("N", 4), {}, 9),
    "constant-node": (
        [node("Constant", "", "c", value=numpy_helper.from_array(np.arange(4, dtype=np.float32))), node("Mul", "x c")],
        ("N", 4),
        {},
        17,
    ),
    "constant-numbers": ([node("Constant", "", "c", value_floats=[0.5, 2, 3, 4]), node("Add", "x c")], (1, 4), {}, 17),
    "constants-are-folded": (
        [node("Mul", "a a", "b"), node("Sqrt", "b", "c"), node("Transpose", "c", "d"), node("Add", "x d")],
        ("N", 4),
        {"a": numbers(4, 1)},
        17,
    ),
    "shape-arithmetic": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n axis", "m"),
            node("Concat", "m rest", "t", axis=0),
            node("Reshape", "x t"),
        ],
        IMAGE,
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])},
        17,
    ),
    "cast-of-a-constant": (
        [node("Cast", "i", "f", to=TensorProto.FLOAT), node("Add", "x f")],
        ("N", 4),
        {"i": np.arange(4)},
        17,
    ),
    "constant-output": ([node("Relu", "c")], ("N", 4), {"c": numbers(1, 3)}, 17),
    "zero-width": (
        [node("Gemm", "x w b", "h"), node("Relu", "h", "r"), node("Gemm", "r v c")],
        ("N", 4),
        {"w": np.zeros((4, 0)), "b": np.zeros(0), "v": np.zeros((0, 3)), "c": numbers(3)},
        17,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators_compute_what_onnxruntime_computes(tmp_path: Path, name: str) -> None:
    """Each supported operator, in each form it has, gives the numbers that onnxruntime gives, in ONNX's shape."""
    if name == "sum-of-nothing" and Version(onnxruntime.__version__) < Version("1.24"):
        pytest.skip("this onnxruntime fails on ReduceSum without axes")
    nodes, shape, constants, opset = CASES[name]
    proto = model(nodes, shape, constants, opset)
    network = network_from_onnx(saved(proto, tmp_path))
    full = (1, *shape[1:]) if shape[0] == "N" else tuple(shape)
    for _ in range(3):
        x = numbers(*(int(n) for n in full))
        expected = run(proto, x)
        given = network.forward(x.reshape(network.input_shape))
        assert given.size == expected.size
        assert given.shape in {expected.shape, expected.shape[1:]}
        np.testing.assert_allclose(given.reshape(expected.shape), expected, rtol=2e-6, atol=1e-6)


def test_every_rule_is_tested() -> None:
    """The cases above use each operator that the reader knows."""
    assert {entry.op_type for case in CASES.values() for entry in case[0]} >= set(RULES)


def layers(network: Network) -> list[str]:
    """Return the kinds of layers in order."""
    return [type(entry.layer).__name__ for entry in network]


def test_layers_are_kept_as_read(tmp_path: Path) -> None:
    """A convolution, its batch norm and a leaky rectifier stay three layers under the names of the nodes."""
    proto = model(
        [
            node("Conv", "x w b", "c", name="stem", pads=[1, 1, 1, 1]),
            node("BatchNormalization", "c g h m v", "n", name="stem/norm"),
            node("LeakyRelu", "n", "l", alpha=0.5),
            node("Flatten", "l", "f"),
            node("Gemm", "f u k", "y", name="stem"),
        ],
        ("N", 1, 2, 2),
        {
            "w": numbers(2, 1, 3, 3),
            "b": numbers(2),
            "g": [1.5, 2.0],
            "h": [0.1, 0.2],
            "m": [0.3, 0.4],
            "v": [4.0, 1.0],
            "u": numbers(8, 3),
            "k": numbers(3),
        },
    )
    network = network_from_onnx(saved(proto, tmp_path))
    assert layers(network) == ["Conv2d", "Scale", "Rectifier", "Reshape", "Dense"]
    assert [entry.name for entry in network] == ["stem", "stem/norm", "LeakyRelu_l", "Flatten_f", "stem_2"]
    norm = network["stem/norm"].layer
    assert isinstance(norm, Scale)
    gamma, beta, mean = (np.array(v, dtype=np.float32).astype(float) for v in ([1.5, 2], [0.1, 0.2], [0.3, 0.4]))
    factor = gamma / np.sqrt(np.array([4.0, 1.0]) + float(np.float32(1e-5)))
    assert np.array_equal(norm.scale, factor.reshape(2, 1, 1))
    assert np.array_equal(norm.shift, (beta - mean * factor).reshape(2, 1, 1))


def test_float32_numbers_become_the_equal_float64(tmp_path: Path) -> None:
    """0.1 in float32 is read as that number, not as the float64 nearest to 0.1; half precision likewise."""
    for kind in (np.float32, np.float16, np.float64):
        proto = model([node("Mul", "x c")], ("N", 2))
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0.1, 1 / 3], dtype=kind), "c"))
        proto.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        (entry,) = network_from_onnx(saved(proto, tmp_path))
        assert isinstance(entry.layer, Scale)
        assert entry.layer.scale.tolist() == [float(kind(0.1)), float(kind(1 / 3))]


def test_exact_clean_up(tmp_path: Path) -> None:
    """Subtracting zero vanishes, a bias joins its product, and a rotated slope its rectifier."""
    proto = model(
        [
            node("Sub", "x z", "s"),
            node("MatMul", "s w", "m"),
            node("Add", "m b", "a"),
            node("Relu", "a", "r"),
            node("Mul", "r k"),
        ],
        ("N", 4),
        {"z": np.zeros((1, 4)), "w": W, "b": [1.0, 2.0, 3.0], "k": [1.0, -2.0, 0.0]},
    )
    network = network_from_onnx(saved(proto, tmp_path))
    dense, rectifier = (entry.layer for entry in network)
    assert isinstance(dense, Dense)
    assert isinstance(rectifier, Rectifier)
    assert np.array_equal(dense.weight, W.T)
    assert dense.bias.tolist() == [1, 2, 3]
    assert rectifier.positive_slope.tolist() == [1, -2, 0]
    assert rectifier.negative_slope.tolist() == 0
    assert [entry.name for entry in network] == ["MatMul_m", "Relu_r"]


@pytest.mark.parametrize(
    ("shape", "sample"),
    [
        (("N", 3, 8, 8), (3, 8, 8)),
        ((1, 3, 8, 8), (3, 8, 8)),
        ((1, 784, 1), (784, 1)),
        ((1, 1, 1, 5), (1, 1, 5)),
        ((None, 5), (5,)),
        ((0, 5), (5,)),
        ((1, 1), (1,)),
        ((1,), (1,)),
        ((5,), (5,)),
        ((3, 4), (3, 4)),
        ((), ()),
    ],
)
def test_the_batch_axis(tmp_path: Path, shape: Sequence[Any], sample: tuple[int, ...]) -> None:
    """A first axis of length 1 or open size is the batch axis if others follow; samples do not have it."""
    network = network_from_onnx(saved(model([node("Relu", "x")], shape), tmp_path))
    assert network.input_shape == network.output_shape == sample


def test_initializers_may_be_listed_as_inputs(tmp_path: Path) -> None:
    """Older files list their weights among the inputs; they are weights all the same."""
    proto = model([node("Mul", "x c")], ("N", 4), {"c": numbers(4)})
    proto.graph.input.insert(0, helper.make_tensor_value_info("c", TensorProto.FLOAT, [4]))
    assert network_from_onnx(saved(proto, tmp_path)).input_shape == (4,)


def test_what_the_output_does_not_need_is_not_read(tmp_path: Path) -> None:
    """A Softmax beside the path to the output is no obstacle."""
    proto = model([node("Softmax", "x", "side"), node("Relu", "x", "y")])
    assert layers(network_from_onnx(saved(proto, tmp_path))) == ["Rectifier"]


def test_functions_of_the_model_are_inlined(tmp_path: Path) -> None:
    """An operator that the model defines itself is what it is made of."""
    proto = model([helper.make_node("Twice", ["x"], ["y"], domain="com.example")])
    proto.functions.append(
        helper.make_function(
            "com.example", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)]
        )
    )
    network = network_from_onnx(saved(proto, tmp_path))
    assert network.forward(np.arange(4.0)).tolist() == [0, 2, 4, 6]


def test_weights_in_a_second_file_are_read(tmp_path: Path) -> None:
    """External data beside the model is part of it; without that file the error says what is missing."""
    proto = model([node("MatMul", "x w")], ("N", 4), {"w": W})
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    (entry,) = network_from_onnx(tmp_path / "m.onnx")
    assert isinstance(entry.layer, Dense)
    assert np.array_equal(entry.layer.weight, W.T)
    (tmp_path / "m.bin").write_bytes(b"\0")
    with pytest.raises(CheckpointError, match="cannot be read"):
        network_from_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.bin").unlink()
    with pytest.raises(CheckpointError, match="keep both files in one folder"):
        network_from_onnx(tmp_path / "m.onnx")


def test_all_unsupported_operators_are_named_at_once(tmp_path: Path) -> None:
    """The error lists each node that has no counterpart: operator, name, shapes and why; also behind another one."""
    proto = model(
        [
            node("MaxPool", "x", "p", name="pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", "p w", "c", name="conv"),
            node("Sigmoid", "c", "s", name="gate"),
            node("Mul", "c s", "m", name="swish"),
            helper.make_node("Magic", ["m"], ["g"], domain="com.example", name="magic"),
            node("NoSuchOperator", "g", "q"),
            node("Relu", "q", "r"),
            node("Softmax", "r", "y", name="probabilities"),
        ],
        ("N", 2, 6, 6),
        {"w": numbers(3, 2, 1, 1)},
    )
    with pytest.raises(UnsupportedOperatorError) as caught:
        network_from_onnx(saved(proto, tmp_path))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("model.onnx has 6 unsupported operator(s):")
    assert lines[1:-1] == [
        "  MaxPool 'pool' on (1, 2, 6, 6)",
        "  Sigmoid 'gate' on (1, 3, 3, 3)",
        "  Mul 'swish' on (1, 3, 3, 3), (1, 3, 3, 3): both factors are computed",
        "  Magic 'magic' on (1, 3, 3, 3): operators of com.example are not known",
        "  NoSuchOperator 'NoSuchOperator_q' on unknown shapes",
        "  Softmax 'probabilities' on unknown shapes",
    ]
    assert lines[-1].startswith("Usual cures: cut the model before a final Softmax")


def test_products_behind_unsupported_operators_are_named(tmp_path: Path) -> None:
    """A product of values that unsupported nodes compute is named; one with a constant that cannot be read is not."""
    proto = model(
        [
            node("Sigmoid", "x", "s"),
            node("Gelu", "s", "g"),
            node("Gemm", "g w", "d"),
            node("ReduceMean", "g axes", "m", keepdims=1),
            node("Mul", "d m", "p"),
            node("RandomNormal", "", "r", shape=[1, 4]),
            node("Mul", "p r", "q"),
            node("Softmax", "q", "y"),
        ],
        ("N", 4),
        {"w": numbers(4, 4), "axes": np.array([1])},
        20,
    )
    with pytest.raises(UnsupportedOperatorError) as caught:
        network_from_onnx(saved(proto, tmp_path))
    found = [line.split()[0] for line in str(caught.value).splitlines()[1:-1]]
    assert found == ["Sigmoid", "Gelu", "Mul", "RandomNormal", "Softmax"]


SMALL: dict[str, Any] = {"w": numbers(4, 4), "i": np.array([7]), "z": np.array([0.0, 1, 1, 1]), "t": np.array(True)}


@pytest.mark.parametrize(
    ("nodes", "shape", "reason"),
    [
        ([node("Gemm", "x w", transA=1)], (4, 1), r"Gemm 'Gemm_y' on \(4, 1\), \(4, 4\): transA=1"),
        ([node("Gemm", "x w")], (3, 4), "it works on 3 rows at once; if they are a batch, export the model with batch"),
        ([node("Gemm", "w x")], (4, 1), "its matrix B is computed, not constant"),
        ([node("MatMul", "x w")], (1, 3, 4), "it works on 3 rows at once"),
        ([node("MatMul", "w x")], (4, 2), "it works on 2 rows at once"),
        ([node("MatMul", "x x")], (1, 1), "second factor is computed"),
        ([node("Mul", "x x")], ("N", 4), "both factors are computed"),
        ([node("Div", "x z")], ("N", 4), "it divides by zero"),
        ([node("Div", "z x")], ("N", 4), "its divisor is computed, not constant"),
        ([node("PRelu", "x x")], ("N", 4), "its slope is computed"),
        ([node("Conv", "x f")], ("N", 2, 9), "it works on 1 spatial axes, and 2 are supported"),
        ([node("Conv", "x v")], (2, 2, 9, 9), "it works on 2 rows at once"),
        ([node("Conv", "x v", pads=[-1, 0, 0, 0])], ("N", 2, 9, 9), "negative padding"),
        ([node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], ("N", 2, 5, 5), "ceil_mode=1"),
        ([node("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2])], ("N", 2, 5, 5), r"dilations=\[2, 2\]"),
        ([node("ReduceMean", "x", axes=[1])], ("N", 2, 5, 5), r"axes=\[1\] are not the last axes"),
        ([node("Reshape", "x s")], ("N", 4), r"\(1, 4\) does not reshape to \[2, 6\] at batch size 1"),
        ([node("Cast", "x", "c", to=TensorProto.INT64), node("Cast", "c", to=TensorProto.FLOAT)], ("N", 4), "rounds"),
        ([node("Dropout", "x - t")], ("N", 4), "training_mode=1: export the model in eval mode"),
        ([node("Pad", "x p", mode="wrap2")], ("N", 4), "mode=wrap2"),
        ([node("Gather", "x i", axis=1)], ("N", 4), r"indices 7 \.\. 7 do not fit axis 1"),
        ([node("RandomNormal", "", "r", shape=[4]), node("Add", "x r")], ("N", 4), "it has no constant value"),
        (
            [node("Dropout", "x", "d m"), node("Cast", "m", to=TensorProto.FLOAT)],
            ("N", 4),
            "reads 'm', which no earlier",
        ),
    ],
)
def test_unsupported_forms_say_why(
    tmp_path: Path, nodes: list[onnx.NodeProto], shape: Sequence[int | str], reason: str
) -> None:
    """A known operator in a form that is no affine map or rectifier of one sample is refused with the reason."""
    constants = SMALL | {"f": numbers(3, 2, 3), "v": numbers(3, 2, 3, 3), "s": np.array([2, 6]), "p": np.ones(4, INT)}
    proto = model(nodes, shape, constants, 19 if "dilations" in reason else 17)
    with pytest.raises(NetworkError, match=reason):
        network_from_onnx(saved(proto, tmp_path))


def test_training_mode_and_subgraphs_are_refused(tmp_path: Path) -> None:
    """A batch norm in training mode and an If are unsupported operators."""
    norm = {name: np.ones(4) for name in "gbmv"}
    trained = model([node("BatchNormalization", "x g b m v", "y o p", training_mode=1)], ("N", 4), norm)
    branch = helper.make_graph(
        [node("Identity", "x", "z")], "branch", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    )
    chosen = model([node("If", "t", then_branch=branch, else_branch=branch)], ("N", 4), {"t": np.array(True)})
    for proto, reason in ((trained, "training_mode=1"), (chosen, "If 'If_y' on")):
        with pytest.raises(UnsupportedOperatorError, match=reason):
            network_from_onnx(saved(proto, tmp_path))


def test_several_inputs_or_outputs_are_refused(tmp_path: Path) -> None:
    """A network has one input and one output; the error names what the model has."""
    two = model([node("Add", "x z")])
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4]))
    with pytest.raises(NetworkError, match=r"has 2 inputs \('x', 'z'\), and a network has one; cut the part"):
        network_from_onnx(saved(two, tmp_path))
    both = model([node("Relu", "x"), node("Neg", "x", "z")])
    both.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4]))
    with pytest.raises(NetworkError, match=r"has 2 outputs \('y', 'z'\)"):
        network_from_onnx(saved(both, tmp_path))
    none = model([node("Relu", "c")], constants={"c": np.ones(3)})
    del none.graph.input[:]
    with pytest.raises(NetworkError, match=r"has 0 inputs \(none\)"):
        network_from_onnx(saved(none, tmp_path))


def test_inputs_without_a_fixed_float_shape_are_refused(tmp_path: Path) -> None:
    """An open axis that is not the batch axis, an unknown rank and whole numbers are clear errors."""
    with pytest.raises(NetworkError, match=r"shape \['N', 3, 'height', '\?'\]; only a first \(batch\) axis"):
        network_from_onnx(saved(model([node("Relu", "x")], ("N", 3, "height", None)), tmp_path))  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"shape \['N'\]; only a first"):
        network_from_onnx(saved(model([node("Relu", "x")], ("N",)), tmp_path))
    unknown = model([node("Relu", "x")])
    unknown.graph.input[0].type.tensor_type.ClearField("shape")
    whole = model([node("Cast", "x", to=TensorProto.FLOAT)])
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    for proto in (unknown, whole):
        with pytest.raises(NetworkError, match="is no tensor of floating-point numbers of known rank"):
            network_from_onnx(saved(proto, tmp_path))


def test_bad_numbers_and_shapes_name_the_node(tmp_path: Path) -> None:
    """NaN weights, a negative variance, misfits and names of nothing are `NetworkError`s at a node."""
    cases: list[tuple[dict[str, Any], list[onnx.NodeProto], str]] = [
        ({"w": [[np.nan]] * 4}, [node("MatMul", "x w", name="fc")], r"model\.onnx, node 'fc': .*NaN or infinity"),
        ({"w": numbers(3, 3)}, [node("Gemm", "x w", name="fc")], "node 'fc'"),
        ({"w": numbers(3)}, [node("Add", "x w", name="fc")], "node 'fc': malformed, ValueError: .*shape"),
        ({}, [node("Relu", "nothing", name="fc")], "node 'fc': it reads 'nothing', which no earlier node computes"),
        ({}, [node("Concat", "x x", name="fc")], "node 'fc': malformed, KeyError: 'axis'"),
        ({}, [node("Relu", "x", "z", name="fc")], "no node computes the output 'y'"),
        ({"w": [-1.0] * 4}, [node("BatchNormalization", "x w w w w", name="bn")], "node 'bn': a scale holds NaN"),
    ]
    for constants, nodes, message in cases:
        with pytest.raises(NetworkError, match=message):
            network_from_onnx(saved(model(nodes, ("N", 4), constants), tmp_path))


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    """Missing, empty, foreign, truncated and too old files are each one clear `CheckpointError`."""
    path = tmp_path / "model.onnx"
    whole = model([node("MatMul", "x w")], constants={"w": W}).SerializeToString()
    old = model([node("Relu", "x")], opset=6).SerializeToString()
    with pytest.raises(CheckpointError, match=r"cannot read .*No such file"):
        network_from_onnx(path)
    with pytest.raises(CheckpointError, match=r"cannot read .*directory"):
        network_from_onnx(tmp_path)
    for content, message in [
        (b"", "is not an ONNX file: it holds no graph"),
        (b"no model at all", "is not an ONNX file, or is truncated"),
        (whole[:-20], "is not an ONNX file, or is truncated"),
        (old, r"uses operator set 6, and the oldest that is read is 7; convert"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as caught:
            network_from_onnx(path)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, MilpcompError)


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]
) -> None:
    """Whatever bytes change in a model, it is read or refused with an error of this package."""
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    to_onnx(residual_cnn(np.random.default_rng(0)), path)
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[int(where * len(content))] = value
    path.write_bytes(content)
    try:
        assert network_from_onnx(path).output_shape is not None
    except MilpcompError as error:
        assert str(path) in str(error)  # noqa: PT017


ACASXU = [f"acasxu/ACASXU_run2a_1_{i}_batch_2000.onnx" for i in range(1, 10)]
REAL = {
    **{name: ["Reshape", *["Dense", "Rectifier"] * 6, "Dense"] for name in ACASXU},
    "mnistfc/mnist-net_256x2.onnx": ["Reshape", "Dense", "Rectifier", "Dense", "Rectifier", "Dense"],
    "cifar10_resnet/resnet_2b.onnx": [
        *["Conv2d", "Rectifier", "Conv2d", "Rectifier", "Conv2d", "Conv2d", "Add", "Rectifier"],
        *["Conv2d", "Rectifier", "Conv2d", "Add", "Rectifier", "Reshape", "Dense", "Rectifier", "Dense"],
    ],
    "vnncomp_test/test_nano.onnx": ["Dense", "Rectifier"],
    "vnncomp_test/test_tiny.onnx": ["Dense", "Rectifier", "Dense"],
    "vnncomp_test/test_small.onnx": ["Dense", "Rectifier", "Dense", "Rectifier", "Dense"],
    "vnncomp_test/test_sat.onnx": ["Reshape", *["Dense", "Rectifier"] * 6, "Dense"],
    "vnncomp_test/test_unsat.onnx": ["Reshape", *["Dense", "Rectifier"] * 6, "Dense"],
}


@pytest.mark.parametrize("name", REAL)
def test_real_models_agree_with_onnxruntime(shared_file: Callable[[str], Path], name: str) -> None:
    """Forward equals onnxruntime within 1e-9 on the model in double precision, and within 1e-5 on the file itself."""
    path = shared_file(f"nets/{name}")
    network = network_from_onnx(path)
    assert layers(network) == REAL[name]
    proto = onnx.load(path)
    in_double = doubled(proto)
    stored = {tensor.name for tensor in proto.graph.initializer}
    (entry,) = (value for value in proto.graph.input if value.name not in stored)
    shape = [axis.dim_value for axis in entry.type.tensor_type.shape.dim]
    rng = np.random.default_rng(1)
    for _ in range(5):
        x = rng.uniform(-1, 1, size=shape)
        given = network.forward(x.reshape(network.input_shape)).reshape(-1)
        exact = run(in_double, x).reshape(-1)
        single = run(proto, x.astype(np.float32)).reshape(-1)
        at_single = network.forward(x.astype(np.float32).reshape(network.input_shape)).reshape(-1)
        scale = max(1e-300, np.abs(exact).max())
        assert exact.dtype == np.float64
        assert np.abs(given - exact).max() <= 1e-9 * scale
        assert np.abs(at_single - single).max() <= 1e-5 * max(scale, 1.0)


def test_kinds_of_index_maps(tmp_path: Path) -> None:
    """Moves become a `Reshape` where numbers stay, else a `Permute` or a `Take`; pooling keeps its window."""
    for nodes, shape, constants, kinds in [
        ([node("Transpose", "x", perm=[0, 2, 1])], (1, 3, 1), {}, [Reshape]),
        ([node("Transpose", "x", perm=[0, 2, 1])], (1, 3, 2), {}, [Permute]),
        ([node("Gather", "x i", axis=1)], (1, 3, 2), {"i": np.array([0])}, [Take]),
        ([node("GlobalAveragePool", "x")], IMAGE, {}, [AveragePool]),
        ([node("Conv", "x w")], IMAGE, {"w": FILTERS}, [Conv2d]),
    ]:
        network = network_from_onnx(saved(model(nodes, shape, constants), tmp_path))
        assert [type(entry.layer) for entry in network] == kinds
