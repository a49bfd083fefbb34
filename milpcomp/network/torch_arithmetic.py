"""Operators of torch graphs that are affine maps with numbers of their own, and sums of values.

One function per operator, with the parameters of its ATen schema; `OPERATORS` is the table by ATen name. Arguments are
as `torch_build` describes them: values, constants, plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from milpcomp.errors import NetworkError
from milpcomp.network.affine import Dense, Scale
from milpcomp.network.convolution import Conv2d, Pair
from milpcomp.network.index_maps import Permute
from milpcomp.network.layers import Add, FloatArray, size
from milpcomp.network.torch_build import TRAINING, Builder, Operator, Refused, Value, array, operand, variable


def add(build: Builder, x: Any, y: Any, alpha: Any = 1) -> Value:
    """Read ``x + alpha * y``."""
    if isinstance(x, Value) and isinstance(y, Value):
        terms = (build.expanded(x, build.shape), build.expanded(_times(build, y, array(alpha)), build.shape))
        return build.add(Add(), *terms)
    if isinstance(x, Value):
        shift = array(alpha) * operand(y, len(build.shape))
        return build.add(Scale(1.0, shift), build.expanded(x, build.shape))
    shift = operand(x, len(build.shape))
    return build.add(Scale(array(alpha), shift), build.expanded(variable(y), build.shape))


def sub(build: Builder, x: Any, y: Any, alpha: Any = 1) -> Value:
    """Read ``x - alpha * y``."""
    return add(build, x, y, -array(alpha))


def rsub(build: Builder, x: Any, y: Any, alpha: Any = 1) -> Value:
    """Read ``y - alpha * x``."""
    return add(build, y, x, -array(alpha))


def mul(build: Builder, x: Any, y: Any) -> Value:
    """Read ``x * y``, one of them constant."""
    if isinstance(x, Value) and isinstance(y, Value):
        raise Refused("multiplies two values that depend on the input, which is not piecewise linear")
    value, factor = (x, y) if isinstance(x, Value) else (variable(y), x)
    return build.add(Scale(operand(factor, len(build.shape))), build.expanded(value, build.shape))


def div(build: Builder, x: Any, y: Any, rounding_mode: str | None = None) -> Value:
    """Read ``x / y`` as ``x * (1 / y)``, y constant."""
    if rounding_mode is not None:
        raise Refused("rounds to whole numbers")
    if not isinstance(x, Value) or isinstance(y, Value):
        raise Refused("divides by a value that depends on the input, which is not piecewise linear")
    divisor = operand(y, len(build.shape))
    if (divisor == 0).any():
        raise NetworkError(f"{build.place}: division by zero; such a network computes no function")
    return build.add(Scale(1.0 / divisor), build.expanded(x, build.shape))


def neg(build: Builder, x: Any) -> Value:
    """Read ``-x``."""
    return build.add(Scale(-1.0), variable(x))


def linear(build: Builder, x: Any, weight: Any, bias: Any = None) -> Value:
    """Read ``x @ weight.T + bias``; each of several rows is mapped as a pixel is by a 1 x 1 convolution."""
    value, matrix = variable(x), array(weight, "the weight")
    if matrix.ndim != 2:
        raise Refused(f"multiplies with an array of shape {matrix.shape}; use a matrix")
    if size(value.shape[:-1]) != 1:
        return _linear_rows(build, value, matrix, None if bias is None else array(bias, "the bias"))
    flat = build.reshaped(value, value.shape[-1:], "flat")
    part = "" if len(build.shape) == 1 else "product"
    product = build.add(Dense(matrix, None if bias is None else array(bias, "the bias")), flat, part=part)
    return build.reshaped(product, build.shape)


def _linear_rows(build: Builder, x: Value, matrix: FloatArray, bias: FloatArray | None) -> Value:
    """Read ``x @ matrix.T + bias`` on rows, whose axes become the height and width of images and move back."""
    *rows, _ = x.shape
    flat = x if len(rows) <= 2 else build.reshaped(x, (size(tuple(rows)), x.shape[-1]), "rows")
    rank = len(flat.shape)
    turned = build.add(Permute((rank - 1, *range(rank - 1))), flat, part="channels")
    images = build.reshaped(turned, (*turned.shape, 1) if rank == 2 else turned.shape, "image")
    product = build.add(Conv2d(matrix[:, :, None, None], bias), images, part="product")
    narrow = build.reshaped(product, product.shape[:rank], "vectors")
    return build.reshaped(build.add(Permute((*range(1, rank), 0)), narrow, part="rows"), build.shape)


def matmul(build: Builder, x: Any, y: Any) -> Value:
    """Read ``x @ y`` with a constant matrix y."""
    return linear(build, x, array(y, "the matrix on the right").T)


def addmm(build: Builder, bias: Any, x: Any, y: Any, beta: Any = 1, alpha: Any = 1) -> Value:
    """Read ``beta * bias + alpha * x @ y`` with constants bias and y."""
    offset, matrix = array(beta) * operand(bias, 1), array(alpha) * array(y, "the matrix on the right")
    return linear(build, x, matrix.T, np.broadcast_to(offset, matrix.shape[1:]))


def conv2d(
    build: Builder,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Value:
    """Read a convolution of images; padding "same" puts the odd pixel below and to the right."""
    filters = array(weight, "the weight")
    dilations = pair(dilation)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilations, filters.shape[2:], strict=True)]
        before, after = (total[0] // 2, total[1] // 2), (total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        before = after = (0, 0) if isinstance(padding, str) else pair(padding)
    offset = None if bias is None else array(bias, "the bias")
    layer = Conv2d(filters, offset, pair(stride), (*before, *after), dilations, groups)
    return build.add(layer, variable(x))


def convolution(
    build: Builder,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Read the general convolution, if it is an ordinary one over images."""
    if transposed or array(weight, "the weight").ndim != 4:
        raise Refused("is a transposed, one- or three-dimensional convolution; only two-dimensional ones can be read")
    return conv2d(build, x, weight, bias, stride, padding, dilation, groups)


def batch_norm(
    build: Builder, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> tuple[Value]:
    """Read a batch norm with stored statistics as ``scale * x + shift``, channel by channel."""
    value, variances = variable(x), array(variance, "the running variance")
    if (variances + eps <= 0).any():
        raise NetworkError(f"{build.place}: a running variance is negative; such a network computes no function")
    scale = (1.0 if weight is None else array(weight, "the weight")) / np.sqrt(variances + eps)
    shift = (0.0 if bias is None else array(bias, "the bias")) - array(mean, "the running mean") * scale
    channels = (-1,) + (1,) * (len(value.shape) - 1)
    return (build.add(Scale(scale.reshape(channels), np.reshape(shift, channels)), value),)


def kept_batch_norm(
    build: Builder,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Value:
    """Read a batch norm that the exporter kept whole."""
    if training or mean is None or variance is None:
        return batch_statistics(build)
    return batch_norm(build, x, weight, bias, mean, variance, momentum, eps)[0]


def batch_statistics(build: Builder, *args: Any) -> Value:
    """Refuse a normalisation by the statistics of the very batch it is applied to."""
    raise Refused("normalises by statistics of the batch; use module.eval() and track_running_stats=True")


def training_dropout(build: Builder, *args: Any) -> Value:
    """Refuse dropout in training mode; in eval mode it never reaches the graph."""
    raise NetworkError(TRAINING.format("dropout"))


def pair(value: int | Sequence[int]) -> Pair:
    """Return one number, or a sequence of one or two, as (vertical, horizontal)."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def _times(build: Builder, x: Value, factor: Any) -> Value:
    return x if (factor == 1).all() else build.add(Scale(factor), x, part="scaled")


OPERATORS: dict[str, Operator] = {
    "_native_batch_norm_legit_no_training": batch_norm,
    "add": add,
    "addmm": addmm,
    "batch_norm": kept_batch_norm,
    "conv2d": conv2d,
    "convolution": convolution,
    "div": div,
    "linear": linear,
    "matmul": matmul,
    "mm": matmul,
    "mul": mul,
    "native_dropout": training_dropout,
    "neg": neg,
    "rsub": rsub,
    "sub": sub,
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_functional"), batch_statistics),
}
"""What to do with each operator, by ATen name; one with an overload (``max.other``) is meant literally."""
