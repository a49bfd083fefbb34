"""Writes a `Network` as an ONNX model with an open batch axis, which runs in any ONNX runtime.

Every layer becomes the operators that say the same (`onnx_layers`). A value without elements is not written at all,
because runtimes refuse empty images. What would read it has a constant value, its offset, which is repeated to the
batch size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from onnx import helper

from milpcomp.errors import NetworkError
from milpcomp.files import PathLike, replacing, require_suffix
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.index_maps import Take
from milpcomp.network.layers import Affine, Concat, size
from milpcomp.network.onnx_graph import OUTPUT, Graph
from milpcomp.network.onnx_layers import WRITERS, Place

OPSET = 17
IR_VERSION = 8  # the oldest that goes with that operator set


def to_onnx(network: Network, path: PathLike, dtype: DTypeLike = np.float32) -> None:
    """Write `network` to the ONNX file `path`.

    Parameters
    ----------
    network : Network
    path : path
    dtype : float32 or float64
        Type of all numbers and of the input. float64 keeps every number; onnxruntime has no convolution and no average
        pooling in float64 on the CPU.

    Raises
    ------
    NetworkError
        If a layer cannot be written, or a number does not fit the type.
    SettingsError
        If `dtype` is another type.
    OutputError
        If the file cannot be written, or its name does not end in .onnx.
    """
    require_suffix(path, ".onnx")
    graph = Graph(dtype)
    tensors: dict[str, str] = {INPUT: INPUT}
    for node in network:
        if network.width(node.name):
            tensors[node.name] = _write(graph, node, network, tensors)
    shape = network.output_shape
    last = tensors[network.output] if size(shape) else graph.repeated("nothing", np.zeros(shape))
    graph.emit("Identity", [last], "result")
    graph.nodes[-1].output[0] = OUTPUT
    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
    proto = helper.make_graph(
        graph.nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, kind, ["batch", *network.input_shape])],
        [helper.make_tensor_value_info(OUTPUT, kind, ["batch", *shape])],
        graph.constants,
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="milpcomp"
    )
    with replacing(path) as stream:
        stream.write(model.SerializeToString())


def _write(graph: Graph, node: Node, network: Network, tensors: dict[str, str]) -> str:
    """Write one node whose value has elements, and return the name of its tensor."""
    layer, shape = node.layer, network.shape(node.name)
    inputs = [name for name in node.inputs if network.width(name)]
    empty = isinstance(layer, Take) and any(index is not None and (index < 0).all() for index in layer.indices)
    if isinstance(layer, Affine) and (empty or not inputs):
        return graph.repeated(node.name, np.broadcast_to(layer.offset(), shape))
    if isinstance(layer, Concat) and len(inputs) == 1:
        return tensors[inputs[0]]
    writer = WRITERS.get(type(layer))
    if writer is None:
        raise NetworkError(f"{node.name!r} is a {type(layer).__name__}, which ONNX has no operators for")
    place = Place(node.name, [tensors[name] for name in inputs], network.shape(inputs[0]), shape)
    return writer(graph, layer, place)
