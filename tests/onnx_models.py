"""ONNX models for tests: small ones by hand, any of them converted to double precision, and run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(3)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str] = ("N", 4),
    constants: Mapping[str, ArrayLike] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Return the float32 model from "x" of `shape` to "y"; floating-point constants become float32."""
    stored = []
    for name, value in (constants or {}).items():
        array = np.asarray(value)
        stored.append(numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name))
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Return a node whose inputs and outputs are written as words; "-" is an input left out."""
    given = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, given, outputs.split(), **attributes)


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    """Write a model into `folder` and return its path."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Return what onnxruntime computes, in the input's own precision."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    kind = np.float64 if entry.type == "tensor(double)" else np.float32
    return np.asarray(session.run(None, {entry.name: x.astype(kind)})[0])


def doubled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every float32 made double: initializers, constants, casts and declared types."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    for tensor in graph.initializer:
        _double(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for entry in graph.node:
        for attribute in entry.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _double(attribute.t)
            elif entry.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            elif entry.op_type == "Constant" and attribute.type in {
                onnx.AttributeProto.FLOAT,
                onnx.AttributeProto.FLOATS,
            }:
                numbers = np.asarray(helper.get_attribute_value(attribute), dtype=np.float64)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(numbers)))
    return without_convolutions(copy)


def without_convolutions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every Conv as a product with the matrix that torch's convolution has.

    onnxruntime has no convolution in double precision on the CPU; the model must have batch size one.
    """
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for graph in [onnx.shape_inference.infer_shapes(proto).graph]
        for value in [*graph.input, *graph.value_info, *graph.output]
    }
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for entry in proto.graph.node:
        if entry.op_type != "Conv":
            nodes.append(entry)
            continue
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in entry.attribute}
        name, shape = entry.output[0], shapes[entry.input[0]][1:]
        basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
        filters, bias = (torch.from_numpy(np.array(stored[i], dtype=np.float64)) for i in entry.input[1:])
        assert options["pads"][:2] == options["pads"][2:]
        image = torch.nn.functional.conv2d(
            basis, filters, None, options["strides"], options["pads"][:2], options["dilations"], options["group"]
        )
        offset = bias.reshape(-1, 1, 1).broadcast_to(image.shape[1:]).reshape(1, -1)
        extra = {
            f"{name}.m": image.reshape(len(basis), -1).numpy(),
            f"{name}.b": offset.numpy(),
            f"{name}.s": np.array([1, *image.shape[1:]]),
        }
        proto.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in extra.items())
        nodes += [
            node("Flatten", entry.input[0], f"{name}.flat"),
            node("MatMul", f"{name}.flat {name}.m", f"{name}.product"),
            node("Add", f"{name}.product {name}.b", f"{name}.sum"),
            node("Reshape", f"{name}.sum {name}.s", name),
        ]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _double(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
