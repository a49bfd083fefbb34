"""An ONNX file as the reader wants it: checked, one computed input, one output, constants in float64, batch size one.

The only module that knows how ONNX stores things; what the operators mean is in `onnx_arithmetic` and `onnx_indices`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from milpcomp.errors import CheckpointError, NetworkError
from milpcomp.files import PathLike
from milpcomp.network.layers import Shape

OLDEST_OPSET = 7
"""Before this version element-wise operators broadcast by other rules."""

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def load_model(path: PathLike) -> onnx.ModelProto:
    """Return the model in the file `path`, with external data loaded and its own functions inlined.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, not ONNX, or its external data cannot be read.
    """
    try:
        model = onnx.load(str(path), format="protobuf")
    except (OSError, EOFError) as error:
        raise CheckpointError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except DecodeError as error:
        raise CheckpointError(f"{path} is not an ONNX file, or is truncated") from error
    except (onnx.checker.ValidationError, ValueError) as error:
        raise CheckpointError(
            f"{path} stores weights in a second file, which cannot be read: {_first_line(error)}; "
            "keep both files in one folder, or save the model with its weights inside"
        ) from error
    if not model.graph.output:
        raise CheckpointError(f"{path} is not an ONNX file: it holds no graph")
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def opset(model: onnx.ModelProto, path: PathLike) -> int:
    """Return the version of the standard operators that `model` uses."""
    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 1)
    if version < OLDEST_OPSET:
        raise CheckpointError(
            f"{path} uses operator set {version}, and the oldest that is read is {OLDEST_OPSET}; "
            "convert the model with onnx.version_converter.convert_version(model, 13)"
        )
    return version


def ends(model: onnx.ModelProto, path: PathLike) -> tuple[str, Shape, str]:
    """Return (input name, its shape at batch size one, output name).

    The shape keeps every axis of the file; a first axis without a fixed size counts as 1.

    Raises
    ------
    NetworkError
        If there is not exactly one input and one output, or the input has no fixed shape of floating-point numbers.
    """
    stored = {tensor.name for tensor in [*model.graph.initializer, *_sparse(model)]}
    inputs = [value for value in model.graph.input if value.name not in stored]
    for what, values in (("inputs", inputs), ("outputs", list(model.graph.output))):
        if len(values) != 1:
            raise NetworkError(
                f"{path} has {len(values)} {what} ({', '.join(repr(value.name) for value in values) or 'none'}), and a "
                "network has one; cut the part to analyse out with onnx.utils.extract_model"
            )
    return inputs[0].name, _input_shape(inputs[0], path), model.graph.output[0].name


def at_batch_one(model: onnx.ModelProto, name: str, shape: Shape) -> dict[str, Shape]:
    """Return the shapes that ONNX can infer for the values of `model` when the input `name` has `shape`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name == name:
            for axis, length in enumerate(shape):
                value.type.tensor_type.shape.dim[axis].dim_value = length
    try:
        inferred = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    found = {}
    for value in [*inferred.value_info, *inferred.output]:
        lengths = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(length.HasField("dim_value") for length in lengths):
            found[value.name] = tuple(int(length.dim_value) for length in lengths)
    return found


def constants(model: onnx.ModelProto, path: PathLike) -> dict[str, NDArray[Any]]:
    """Return the stored tensors of `model` by name, as `exact` arrays."""
    found = {}
    for tensor in model.graph.initializer:
        try:
            found[tensor.name] = exact(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError, MemoryError) as error:
            raise CheckpointError(
                f"{path} is damaged: the stored tensor {tensor.name!r} cannot be read: {_first_line(error)}"
            ) from error
    return found


def exact(array: NDArray[Any]) -> NDArray[Any]:
    """Return floating-point numbers of any width as the equal float64; anything else as it is."""
    is_float = array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))
    with np.errstate(invalid="ignore"):  # NaN is refused by the layers
        return array.astype(np.float64) if is_float else array


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of `node`: numbers, lists, text and arrays."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, onnx.TensorProto):
            value = exact(numpy_helper.to_array(value))
        found[attribute.name] = value
    return found


def needed(model: onnx.ModelProto, output: str) -> list[onnx.NodeProto]:
    """Return the nodes that the value `output` depends on, in the order of the file."""
    wanted = {output}
    kept = []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _input_shape(value: onnx.ValueInfoProto, path: PathLike) -> Shape:
    tensor = value.type.tensor_type
    if tensor.elem_type not in FLOATS or not tensor.HasField("shape"):
        raise NetworkError(f"the input {value.name!r} of {path} is no tensor of floating-point numbers of known rank")
    lengths = [int(axis.dim_value) if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim]
    if len(lengths) > 1 and lengths[0] <= 0:
        lengths[0] = 1
    if min(lengths, default=0) < 0:
        shown = [axis.dim_param or axis.dim_value or "?" for axis in tensor.shape.dim]
        raise NetworkError(
            f"the input {value.name!r} of {path} has shape {shown}; only a first (batch) axis that others follow may "
            "be of open size: fix the others, for example with onnxruntime.tools.make_dynamic_shape_fixed"
        )
    return tuple(lengths)


def _sparse(model: onnx.ModelProto) -> Iterable[Any]:
    return (tensor.values for tensor in model.graph.sparse_initializer)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
