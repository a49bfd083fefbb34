"""ONNX operators that compute: element by element, matrix products, normalisation, rectifiers.

Constants are the file's numbers, exactly. A number that the network needs and the file does not hold is the float64
nearest to it: 1 / c for a division, gamma / sqrt(variance + epsilon) for a batch norm, 1 / count for an average.
Definitions: the ONNX operator reference, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from milpcomp.network.affine import Dense, Scale
from milpcomp.network.layers import FloatArray, Rectifier, Shape, size
from milpcomp.network.onnx_draft import Call, Draft, Operand, Unsupported, Value
from milpcomp.network.onnx_file import FLOATS

Rule = Callable[[Draft, Call], Operand | list[Operand]]
"""What one ONNX operator means: the value, or values, that its node computes."""

LEAK = float(np.float32(0.01))  # the default slope of LeakyRelu, and of a batch norm's epsilon, are float32 in ONNX
EPSILON = float(np.float32(1e-5))


def same(draft: Draft, call: Call) -> Value:
    """Identity."""
    return call.value()


def cast(draft: Draft, call: Call) -> Value:
    """Cast between floating-point types, which is the identity in real arithmetic."""
    if call.attributes["to"] not in FLOATS:
        raise Unsupported("it casts to a type without fractions, which rounds")
    return call.value()


def dropout(draft: Draft, call: Call) -> Value:
    """Dropout is the identity, unless the model is exported in training mode."""
    if call.operand(2) is not None and bool(call.constant(2, "training mode")):
        raise Unsupported("training_mode=1: export the model in eval mode")
    return call.value()


def combine(draft: Draft, call: Call, sign: float) -> Value:
    """``a + b`` (sign 1) or ``a - b`` (sign -1)."""
    one, two = call.operand(0), call.operand(1)
    if isinstance(one, np.ndarray):
        return scaled(draft, call, call.value(1), sign, one)
    if isinstance(two, np.ndarray):
        return scaled(draft, call, call.value(0), 1.0, sign * two)
    second = call.value(1) if sign == 1 else scaled(draft, call, call.value(1), sign, 0.0)
    return add_all(draft, call, [call.value(0), second])


def total(draft: Draft, call: Call) -> Value:
    """Sum of any number of values and constants."""
    values = [operand for operand in call.inputs if isinstance(operand, Value)]
    result = values[0] if len(values) == 1 else add_all(draft, call, values)
    for operand in call.inputs:
        if isinstance(operand, np.ndarray):
            result = scaled(draft, call, result, 1.0, operand)
    return result


def add_all(draft: Draft, call: Call, values: list[Value]) -> Value:
    """Return the sum of values that broadcast together."""
    shape = np.broadcast_shapes(*(value.shape for value in values))
    return draft.total(call.label, [draft.expand(call.label, value, shape) for value in values])


def scaled(draft: Draft, call: Call, value: Value, scale: ArrayLike, shift: ArrayLike) -> Value:
    """Return ``scale * value + shift`` for constants that broadcast with the value, enlarging it where they must."""
    factor, term = np.asarray(scale), np.asarray(shift)
    value = draft.expand(call.label, value, np.broadcast_shapes(value.shape, factor.shape, term.shape))
    return draft.apply(call.label, Scale(_on_sample(factor, value), _on_sample(term, value)), value)


def multiply(draft: Draft, call: Call) -> Value:
    """Product of a value and a constant."""
    constant = next((operand for operand in call.inputs if isinstance(operand, np.ndarray)), None)
    if constant is None:
        raise Unsupported("both factors are computed")
    value = call.value(1 if constant is call.inputs[0] else 0)
    return scaled(draft, call, value, constant, 0.0)


def divide(draft: Draft, call: Call) -> Value:
    """Quotient of a value and a constant."""
    divisor = call.constant(1, "divisor")
    if (divisor == 0).any():
        raise Unsupported("it divides by zero")
    return scaled(draft, call, call.value(), 1.0 / divisor, 0.0)


def negate(draft: Draft, call: Call) -> Value:
    """``-x``."""
    return draft.apply(call.label, Scale(-1.0), call.value())


def rectify(draft: Draft, call: Call, negative: float | None = None) -> Value:
    """Relu, LeakyRelu (its `alpha`) and Abs (-1)."""
    slope = call.attributes.get("alpha", LEAK) if negative is None else negative
    return draft.apply(call.label, Rectifier(1.0, slope), call.value())


def prelu(draft: Draft, call: Call) -> Value:
    """A leaky rectifier whose slopes are a tensor."""
    value = call.value()
    return draft.apply(call.label, Rectifier(1.0, _on_sample(call.constant(1, "slope"), value)), value)


def gemm(draft: Draft, call: Call) -> Value:
    """``alpha * A B + beta * C`` with constant B and C and one row A."""
    call.require("transA", 0)
    weight = call.constant(1, "matrix B")
    weight = weight if call.attributes.get("transB", 0) else weight.T
    bias = np.zeros(()) if call.operand(2) is None else call.constant(2, "bias C")
    value = call.value()
    one_row(value.shape[:-1])
    alpha, beta = call.attributes.get("alpha", 1.0), call.attributes.get("beta", 1.0)
    layer = Dense(alpha * weight, np.broadcast_to(beta * bias, (1, len(weight)))[0])
    return draft.apply(call.label, layer, value, shape=(1, len(weight)))


def matmul(draft: Draft, call: Call) -> Value:
    """Product of a value and a constant matrix, on either side, where the value is one row (or one column)."""
    left = isinstance(call.operand(0), np.ndarray)
    matrix = call.constant(0 if left else 1, "second factor")
    value = call.value(1 if left else 0)
    if matrix.ndim == 0 or not value.shape:
        raise Unsupported("a factor is a scalar")
    shape = _product_shape(matrix.shape, value.shape) if left else _product_shape(value.shape, matrix.shape)
    if left:
        one_row((*value.shape[:-2], *value.shape[-1:]) if len(value.shape) > 1 else ())
    else:
        one_row(value.shape[:-1])
        matrix = matrix if matrix.ndim == 1 else np.swapaxes(matrix, -1, -2)
    weight = matrix.reshape(size(matrix.shape[:-1]), matrix.shape[-1])  # a vector is one row, a stack is one matrix
    return draft.apply(call.label, Dense(weight), value, (weight.shape[1],), shape)


def batch_norm(draft: Draft, call: Call) -> Value:
    """BatchNormalization at inference: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, channel by channel."""
    call.require("training_mode", 0)
    call.require("spatial", 1)
    value = call.value()
    if len(value.shape) < 2:
        raise Unsupported("its input has no channel axis")
    one_row(value.shape[:1])
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (call.constant(i, name) for i, name in enumerate(names, start=1))
    scale = gamma / np.sqrt(variance + call.attributes.get("epsilon", EPSILON))
    channels = (-1,) + (1,) * (len(value.shape) - 2)
    return draft.apply(call.label, Scale(scale.reshape(channels), (beta - mean * scale).reshape(channels)), value)


def _on_sample(constant: NDArray[Any], value: Value) -> FloatArray:
    """Return a constant that broadcasts to the full shape of `value` so that it broadcasts to its sample."""
    return constant.reshape(constant.shape[1:]) if constant.ndim > len(value.sample) else constant


def one_row(rows: Shape) -> None:
    """Refuse a node that works on several rows at once, given the axes that count them."""
    if size(rows) != 1:
        raise Unsupported(
            f"it works on {size(rows)} rows at once; if they are a batch, export the model with batch size 1 or open"
        )


def _product_shape(one: Shape, two: Shape) -> Shape:
    """Return the shape of a matrix product, by the rules of `numpy.matmul`."""
    stacked = np.broadcast_shapes(one[:-2], two[:-2])
    return stacked + (one[-2:-1] if len(one) > 1 else ()) + (two[-1:] if len(two) > 1 else ())


RULES: dict[str, Rule] = {
    "Identity": same,
    "Cast": cast,
    "Dropout": dropout,
    "Add": partial(combine, sign=1.0),
    "Sub": partial(combine, sign=-1.0),
    "Sum": total,
    "Mul": multiply,
    "Div": divide,
    "Neg": negate,
    "Relu": partial(rectify, negative=0.0),
    "LeakyRelu": rectify,
    "Abs": partial(rectify, negative=-1.0),
    "PRelu": prelu,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
}
"""The operators of this module, by ONNX name."""
