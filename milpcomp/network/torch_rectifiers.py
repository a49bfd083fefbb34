"""Operators of torch graphs that are rectifiers.

One function per operator, with the parameters of its ATen schema; `OPERATORS` is the table by ATen name. Arguments are
as `torch_build` describes them: values, constants, plain numbers.
"""

from __future__ import annotations

from typing import Any

from milpcomp.errors import NetworkError
from milpcomp.network.torch_build import TRAINING, Builder, Operator, Refused, Value, array, variable


def relu(build: Builder, x: Any) -> Value:
    """Read ``max(x, 0)``."""
    return build.rectify(variable(x), 1.0, 0.0)


def leaky_relu(build: Builder, x: Any, negative_slope: Any = 0.01) -> Value:
    """Read a leaky ReLU."""
    return build.rectify(variable(x), 1.0, array(negative_slope))


def prelu(build: Builder, x: Any, weight: Any) -> Value:
    """Read a leaky ReLU with one slope for all, or one per channel."""
    value, slope = variable(x), array(weight, "the slope")
    per_channel = slope.reshape((-1,) + (1,) * (len(value.shape) - 1))
    return build.rectify(value, 1.0, slope.reshape(()) if slope.size == 1 else per_channel)


def rrelu(build: Builder, x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Value:
    """Read torch's randomised leaky ReLU in eval mode, where its slope is the middle of its range."""
    if training:
        raise NetworkError(TRAINING.format("RReLU"))
    return build.rectify(variable(x), 1.0, (lower + upper) / 2)


def absolute(build: Builder, x: Any) -> Value:
    """Read ``|x|``."""
    return build.rectify(variable(x), 1.0, -1.0)


def maximum(build: Builder, x: Any, y: Any) -> Value:
    """Read ``max(x, 0)``."""
    value, bound = (x, y) if isinstance(x, Value) else (variable(y), x)
    return clamp(build, value, bound)


def minimum(build: Builder, x: Any, y: Any) -> Value:
    """Read ``min(x, 0)``."""
    value, bound = (x, y) if isinstance(x, Value) else (variable(y), x)
    return clamp(build, value, None, bound)


def clamp(build: Builder, x: Any, least: Any = None, greatest: Any = None) -> Value:
    """Read ``max(x, 0)`` and ``min(x, 0)`` written as a clamp."""
    bounds = [bound for bound in (least, greatest) if bound is not None]
    if len(bounds) != 1 or isinstance(bounds[0], Value) or (array(bounds[0]) != 0).any():
        raise Refused("cuts at other bounds than one 0; write max(x, c) as c + relu(x - c), and likewise from above")
    value = build.expanded(variable(x), build.shape)
    return build.rectify(value, 1.0, 0.0) if greatest is None else build.rectify(value, 0.0, 1.0)


def clamp_max(build: Builder, x: Any, greatest: Any) -> Value:
    """Read ``min(x, 0)``."""
    return clamp(build, x, None, greatest)


OPERATORS: dict[str, Operator] = {
    "abs": absolute,
    "clamp": clamp,
    "clamp_max": clamp_max,
    "clamp_min": clamp,
    "leaky_relu": leaky_relu,
    "max.other": maximum,
    "maximum": maximum,
    "min.other": minimum,
    "minimum": minimum,
    "prelu": prelu,
    "relu": relu,
    "rrelu": rrelu,
}
"""What to do with each operator, by ATen name; one with an overload (``max.other``) is meant literally."""
