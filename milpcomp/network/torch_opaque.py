"""Operators of torch graphs that are opaque layers: GELU, layer norm, attention, and max pooling.

One function per operator, with the parameters of its ATen schema; `OPERATORS` is the table by ATen name. Arguments are
as `torch_build` describes them: values, constants, plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from milpcomp.network import torch_arithmetic
from milpcomp.network.affine import Scale
from milpcomp.network.index_maps import Permute
from milpcomp.network.opaque import Gelu, LayerNorm, MaxPool, Product, Softmax
from milpcomp.network.torch_arithmetic import pair
from milpcomp.network.torch_build import Builder, Operator, Refused, Value, array, axis_of, variable


def gelu(build: Builder, x: Any, approximate: str = "none") -> Value:
    """Read ``x * Phi(x)``."""
    if approximate != "none":
        raise Refused(f"approximates Phi by {approximate}; use approximate='none'")
    return build.add(Gelu(), variable(x))


def layer_norm(
    build: Builder,
    x: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    """Read a layer norm as the normalisation, then ``weight * x + bias``."""
    plain = weight is None and bias is None
    value = build.add(LayerNorm(len(normalized_shape), eps), variable(x), part="" if plain else "normalised")
    scale = 1.0 if weight is None else array(weight, "the weight")
    return value if plain else build.add(Scale(scale, 0.0 if bias is None else array(bias, "the bias")), value)


def softmax(build: Builder, x: Any, dim: int, dtype: Any = None) -> Value:
    """Read a softmax along one axis."""
    return build.add(Softmax(axis_of(dim, variable(x))), x)


def matmul(build: Builder, x: Any, y: Any) -> Value:
    """Read ``x @ y``, both of them values or y a constant matrix."""
    if not (isinstance(x, Value) and isinstance(y, Value)):
        return torch_arithmetic.matmul(build, x, y)
    if len(x.shape) != len(y.shape) or len(x.shape) < 2 or x.shape[:-2] != y.shape[:-2]:
        raise Refused(f"multiplies samples of shapes {x.shape} and {y.shape}; give them the same leading axes")
    return build.add(Product(), x, y)


def attention(
    build: Builder,
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """Read ``softmax(scale * q @ k^T) @ v``."""
    if mask is not None or dropout or causal or enable_gqa:
        raise Refused("masks attention, drops parts of it, or groups heads; only plain attention can be read")
    query, key, value = variable(q), variable(k), variable(v)
    scaled = build.add(Scale(1 / math.sqrt(query.shape[-1]) if scale is None else scale), query, part="scaled")
    rank = len(key.shape)
    turned = build.add(Permute((*range(rank - 2), rank - 1, rank - 2)), key, part="transposed")
    scores = build.add(Product(), scaled, turned, part="scores")
    return build.add(Product(), build.add(Softmax(rank - 1), scores, part="softmax"), value)


def max_pool2d(
    build: Builder,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    """Read a max pooling."""
    if ceil_mode:
        raise Refused("rounds the output size up; use ceil_mode=False")
    kernel, (rows, columns) = pair(kernel_size), pair(padding)
    # torch hands on an empty list where no stride was given
    layer = MaxPool(kernel, pair(stride) if stride else kernel, (rows, columns, rows, columns), pair(dilation))
    return build.add(layer, variable(x))


OPERATORS: dict[str, Operator] = {
    "_softmax": softmax,
    "bmm": matmul,
    "gelu": gelu,
    "layer_norm": layer_norm,
    "matmul": matmul,
    "max_pool2d": max_pool2d,
    "scaled_dot_product_attention": attention,
    "softmax": softmax,
}
"""What to do with each operator, by ATen name."""
