"""Reads an ONNX model as a `Network`: node by node, layers kept as read.

The network is the real-arithmetic function of the numbers in the file at batch size one; `onnx_draft` says how axes are
counted. float32 numbers become the equal float64, a cast between floating-point types is the identity, and what depends
on no input is evaluated once. Identities vanish, biases and rotated slopes are joined, all exactly (`join`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from milpcomp.errors import NetworkError, UnsupportedOperatorError
from milpcomp.files import PathLike
from milpcomp.network import onnx_arithmetic, onnx_indices, onnx_windows
from milpcomp.network.graph import Network, Node
from milpcomp.network.join import join
from milpcomp.network.layers import Shape
from milpcomp.network.onnx_draft import Call, Draft, Operand, Unsupported, Value
from milpcomp.network.onnx_file import (
    FLOATS,
    at_batch_one,
    attributes,
    constants,
    ends,
    exact,
    load_model,
    needed,
    opset,
)

RULES = onnx_arithmetic.RULES | onnx_windows.RULES | onnx_indices.RULES
"""What each supported ONNX operator means."""

RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
"""Operators that have no value that could be computed once."""

CURE = (
    "Usual cures: cut the model before a final Softmax, Sigmoid or ArgMax with onnx.utils.extract_model; train with "
    "average pooling or strided convolutions in place of MaxPool, and rectifiers in place of smooth activations; "
    "export in eval mode and with constant shapes."
)


def network_from_onnx(path: PathLike) -> Network:
    """Return the network in the ONNX file `path`.

    Parameters
    ----------
    path : path
        A model with one input and one output. A first input axis of length 1 or of open size is the batch axis if
        others follow; the network's samples do not have it.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, no ONNX model, too old, or its external data cannot be read.
    UnsupportedOperatorError
        If nodes have no counterpart in a rectifier network; the message lists all of them.
    NetworkError
        If the model has several inputs or outputs, an input without fixed shape, a malformed node, or NaN in its
        weights.
    """
    model = load_model(path)
    version = opset(model, path)
    input_name, shape, output_name = ends(model, path)
    draft = Draft(shape)
    known: dict[str, Operand] = {**constants(model, path), input_name: draft.input}
    guesses: dict[str, Operand] = {}
    problems: list[str] = []
    for node in needed(model, output_name):
        try:
            call = _call(node, known, version)
            known |= _read(draft, node, call, known, later=bool(problems))
        except Unsupported as reason:  # what follows is still looked at, with the shapes that ONNX infers
            guesses = guesses or _guesses(model, input_name, shape)
            if any(isinstance(operand, Value) for operand in call.inputs):  # else it stays unknown: it may be constant
                known |= {name: guesses[name] for name in node.output if name in guesses}
            problems.append(_describe(node, call, str(reason)))
        except (ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
            if not problems:
                what = "" if isinstance(error, NetworkError) else f"malformed, {type(error).__name__}: "
                raise NetworkError(f"{path}, node {_label(node)!r}: {what}{error}") from error
    if problems:
        found = "\n".join(f"  {problem}" for problem in problems)
        raise UnsupportedOperatorError(f"{path} has {len(problems)} unsupported operator(s):\n{found}\n{CURE}")
    if output_name not in known:
        raise NetworkError(f"{path}: no node computes the output {output_name!r}")
    result = known[output_name]
    result = draft.fixed("output", result) if isinstance(result, np.ndarray) else result
    return Network(draft.input.sample, *join(*_reachable(draft.nodes, result.node)))


def _call(node: onnx.NodeProto, known: Mapping[str, Operand], version: int) -> Call:
    inputs = tuple(known.get(name) for name in node.input)
    return Call(_label(node), inputs, attributes(node), version, len(node.output))


def _label(node: onnx.NodeProto) -> str:
    return str(node.name or f"{node.op_type}_{node.output[0]}")


def _read(
    draft: Draft, node: onnx.NodeProto, call: Call, known: Mapping[str, Operand], later: bool
) -> dict[str, Operand]:
    """Return what a node computes, by name; nothing if it is a `later` one whose input an unsupported one computes."""
    absent = [name for name in node.input if name and name not in known]
    if node.domain not in {"", "ai.onnx"}:
        raise Unsupported(f"operators of {node.domain} are not known")
    if absent and not later:
        raise NetworkError(f"it reads {absent[0]!r}, which no earlier node computes")
    if not absent and not any(isinstance(operand, Value) for operand in call.inputs):
        return dict(zip(node.output, _evaluate(node, call), strict=False))
    if node.op_type not in RULES:
        raise Unsupported("")
    if absent:
        return {}
    with np.errstate(all="ignore"):  # NaN and infinity are refused by the layers
        result = RULES[node.op_type](draft, call)
    return dict(zip(node.output, result if isinstance(result, list) else [result], strict=False))


def _evaluate(node: onnx.NodeProto, call: Call) -> Sequence[Operand]:
    """Return the outputs of a node that depends on no input of the model."""
    if node.op_type in RANDOM or any(attribute.HasField("g") for attribute in node.attribute):
        raise Unsupported("it has no constant value")
    if node.op_type == "Constant":
        return [exact(np.asarray(next(iter(call.attributes.values()))))]
    if node.op_type == "Cast" and call.attributes["to"] in FLOATS:
        return [call.constant(0, "input").astype(np.float64)]
    operands = {name: operand for name, operand in zip(node.input, call.inputs, strict=True) if name}
    try:
        return [
            exact(np.asarray(array)) for array in ReferenceEvaluator(node, opsets={"": call.opset}).run(None, operands)
        ]
    except Exception as error:  # whatever an operator of the reference implementation raises
        raise Unsupported(f"it cannot be evaluated: {error}") from error


def _guesses(model: onnx.ModelProto, input_name: str, shape: Shape) -> dict[str, Operand]:
    return {name: Value("unknown", inferred) for name, inferred in at_batch_one(model, input_name, shape).items()}


def _describe(node: onnx.NodeProto, call: Call, reason: str) -> str:
    shapes = ", ".join(str(operand.shape) for operand in call.inputs if operand is not None)
    return f"{node.op_type} {call.label!r} on {shapes or 'unknown shapes'}" + (f": {reason}" if reason else "")


def _reachable(nodes: Sequence[Node], output: str) -> tuple[list[Node], str]:
    """Return the nodes that `output` depends on, and `output`."""
    wanted = {output}
    kept = []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted |= set(node.inputs)
            kept.append(node)
    return kept[::-1], output
