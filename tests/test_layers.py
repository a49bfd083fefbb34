"""What every layer promises: apply, apply transposed, split, absolute value and matrix are one and the same map.

Weights and inputs are small whole numbers, so float64 computes without rounding and every comparison is for equality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.errors import NetworkError
from milpcomp.network import Add, Affine, AveragePool, Concat, Conv2d, Dense, Permute, Rectifier, Reshape, Scale, Take
from milpcomp.network.layers import FloatArray, Layer, Shape, size

Placed = tuple[Affine, Shape]
"""A layer and the shape of the samples it is applied to."""


def whole(draw: st.DrawFn, *shape: int) -> FloatArray:
    """Draw an array of whole numbers from -3 to 3, about a third of them zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (rng.integers(-3, 4, size=shape) * rng.integers(0, 2, size=shape)).astype(np.float64)


@st.composite
def dense(draw: st.DrawFn) -> Placed:
    """Draw a dense layer, of width zero too."""
    m, n = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    return Dense(whole(draw, m, n), draw(st.sampled_from([None, whole(draw, m)]))), (n,)


@st.composite
def scale(draw: st.DrawFn) -> Placed:
    """Draw a scaling and a shift of one number, of channels or of elements each."""
    shape = (draw(st.integers(0, 3)), 2, 3)
    small = st.sampled_from([(), (shape[0], 1, 1), shape, (1, 3)])
    return Scale(whole(draw, *draw(small)), whole(draw, *draw(small))), shape


@st.composite
def convolution(draw: st.DrawFn) -> Placed:
    """Draw a convolution with any groups, strides, dilations and paddings, and of zero channels too."""
    small = st.tuples(st.integers(1, 2), st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    filters, channels = groups * draw(st.integers(0, 2)), draw(st.integers(0, 2))
    kernel, stride, dilation = draw(small), draw(small), draw(small)
    padding: Any = tuple(draw(st.tuples(*[st.integers(0, 2)] * 4)))
    need = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    height = draw(st.integers(max(1, need[0] - padding[0] - padding[2]), 6))
    width = draw(st.integers(max(1, need[1] - padding[1] - padding[3]), 8))
    layer = Conv2d(whole(draw, filters, channels, *kernel), whole(draw, filters), stride, padding, dilation, groups)
    return layer, (channels * groups, height, width)


@st.composite
def pool(draw: st.DrawFn) -> Placed:
    """Draw an average pooling whose coefficients are powers of two, one for all or one per window."""
    kernel, stride = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
    padding: Any = tuple(draw(st.tuples(*[st.integers(0, 2)] * 4)))
    shape = (draw(st.integers(0, 2)), draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    extent = AveragePool(kernel, stride, padding).output_shape(shape)[1:]
    powers = 2.0 ** whole(draw, *draw(st.sampled_from([(), extent])))
    return AveragePool(kernel, stride, padding, powers), shape


@st.composite
def relabelling(draw: st.DrawFn) -> Placed:
    """Draw a reshape or a permutation of axes."""
    shape = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)))
    if draw(st.booleans()):
        return Reshape(draw(st.sampled_from([(size(shape),), (1, *shape), shape[::-1]]))), shape
    return Permute(tuple(draw(st.permutations(range(len(shape)))))), shape


@st.composite
def take(draw: st.DrawFn) -> Placed:
    """Draw a choice of indices along some axes, with repeats and zeros."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    return Take([draw(st.none() | st.lists(st.integers(-1, n - 1), max_size=5)) for n in shape]), shape


KINDS = {
    "dense": dense(),
    "scale": scale(),
    "convolution": convolution(),
    "pool": pool(),
    "relabelling": relabelling(),
    "take": take(),
}

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@given(data=st.data())
@settings(max_examples=60)
def test_matrix_is_the_linear_part(kind: str, data: st.DataObject) -> None:
    """The sparse matrix, applied to flat samples, is `linear`; it holds no explicit zero and no entry twice."""
    layer, shape = data.draw(KINDS[kind])
    x = _samples(3, shape, 1)
    matrix = layer.matrix(shape)
    out = layer.output_shape(shape)
    assert matrix.shape == (size(out), size(shape))
    assert matrix.nnz == np.count_nonzero(matrix.toarray())
    np.testing.assert_array_equal(layer.linear(x), (x.reshape(3, -1) @ matrix.toarray().T).reshape(3, *out))


@every_kind
@given(data=st.data())
@settings(max_examples=60)
def test_transposed_is_the_matrix_transposed(kind: str, data: st.DataObject) -> None:
    """`transposed` applies the transpose of the matrix, back into the shape of the input."""
    layer, shape = data.draw(KINDS[kind])
    y = _samples(3, layer.output_shape(shape), 2)
    expected = (y.reshape(3, -1) @ layer.matrix(shape).toarray()).reshape(3, *shape)
    np.testing.assert_array_equal(layer.transposed(y, shape), expected)


@every_kind
@given(data=st.data())
@settings(max_examples=60)
def test_split_and_absolute(kind: str, data: st.DataObject) -> None:
    """The parts of `split` are max(A, 0) and min(A, 0), `absolute` is |A|, all without offset."""
    layer, shape = data.draw(KINDS[kind])
    matrix = layer.matrix(shape).toarray()
    positive, negative = layer.split()
    np.testing.assert_array_equal(positive.matrix(shape).toarray(), np.maximum(matrix, 0))
    found = np.zeros(matrix.shape) if negative is None else negative.matrix(shape).toarray()
    np.testing.assert_array_equal(found, np.minimum(matrix, 0))
    np.testing.assert_array_equal(layer.absolute().matrix(shape).toarray(), np.abs(matrix))
    assert not any(part.offset().any() for part in (positive, negative, layer.absolute()) if part is not None)


@every_kind
@given(data=st.data())
@settings(max_examples=60)
def test_apply_adds_the_offset(kind: str, data: st.DataObject) -> None:
    """`apply` is `linear` plus `offset`, the offset is the value at zero, and samples of a batch do not meet."""
    layer, shape = data.draw(KINDS[kind])
    x, out = _samples(3, shape, 3), layer.output_shape(shape)
    applied = layer.apply(x)
    assert applied.shape == (3, *out)
    np.testing.assert_array_equal(applied, layer.linear(x) + layer.offset())
    np.testing.assert_array_equal(layer.apply(np.zeros((1, *shape)))[0], np.broadcast_to(layer.offset(), out))
    np.testing.assert_array_equal(applied[1:2], layer.apply(x[1:2]))
    assert layer.apply(x[:0]).shape == (0, *out)


@every_kind
@given(data=st.data())
@settings(max_examples=60)
def test_terms_bound_the_products(kind: str, data: st.DataObject) -> None:
    """`terms` is at least the number of products, and the offset, in every entry of A x + offset and of A^T y."""
    layer, shape = data.draw(KINDS[kind])
    used = layer.matrix(shape).toarray() != 0
    offset = np.broadcast_to(layer.offset(), layer.output_shape(shape)).reshape(-1) != 0
    assert (used.sum(axis=1) + offset).max(initial=0) <= layer.terms(shape)
    assert used.sum(axis=0).max(initial=0) <= layer.terms(shape)


@given(placed=convolution())
def test_convolution_is_that_of_torch(placed: Placed) -> None:
    """With channels on both sides, a convolution is torch's on the zero-padded image."""
    layer, shape = placed
    assert isinstance(layer, Conv2d)
    x = _samples(2, shape, 4)
    top, left, bottom, right = layer.padding
    if layer.weight.size:
        padded = F.pad(torch.from_numpy(x), (left, right, top, bottom))
        options: Any = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
        expected = F.conv2d(padded, torch.tensor(layer.weight), torch.tensor(layer.bias), **options)
        np.testing.assert_array_equal(layer.apply(x), expected.numpy())
    else:
        assert (layer.apply(x) == layer.offset()).all()


@given(placed=pool())
def test_pooling_is_that_of_torch(placed: Placed) -> None:
    """Pooling is torch's sum over windows of the zero-padded image, times the coefficients."""
    layer, shape = placed
    assert isinstance(layer, AveragePool)
    x = _samples(2, (2, *shape[1:]), 5)
    top, left, bottom, right = layer.padding
    padded = F.pad(torch.from_numpy(x), (left, right, top, bottom))
    expected = F.avg_pool2d(padded, layer.kernel, layer.stride, divisor_override=1).numpy() * layer.coefficient
    np.testing.assert_array_equal(layer.apply(x), expected)


def test_default_coefficient() -> None:
    """Without coefficients pooling takes the mean: of 1, 2, 3, 6 it is 3."""
    assert AveragePool((2, 2), (2, 2)).apply(np.array([[[[1.0, 2.0], [3.0, 6.0]]]])).ravel().tolist() == [3.0]


def test_take_by_hand() -> None:
    """Every second element between zeros, and its transpose adds what was taken twice."""
    layer = Take([[-1, 0, 2, 2, -1]])
    assert layer.apply(np.array([[1.0, 2.0, 3.0]])).tolist() == [[0, 1, 3, 3, 0]]
    assert layer.transposed(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), (3,)).tolist() == [[2, 0, 7]]


# --------------------------------------------------------------------------------------------------------- rectifiers


@given(positive=st.integers(-3, 3), negative=st.integers(-3, 3), x=st.lists(st.integers(-5, 5), min_size=1, max_size=5))
def test_rectifier_is_two_lines(positive: int, negative: int, x: list[int]) -> None:
    """A rectifier multiplies by one slope above zero and by the other below."""
    found = Rectifier(positive, negative).apply(np.array([x], dtype=float))[0]
    assert found.tolist() == [positive * v if v > 0 else negative * v for v in x]


def test_slopes_per_channel() -> None:
    """Slopes of channels are repeated over the pixels, in C order; b relu(x) has slopes b and 0."""
    layer = Rectifier([[[2.0]], [[-1.0]]], 0.0)
    positive, negative = layer.slopes((2, 1, 2))
    assert positive.tolist() == [2.0, 2.0, -1.0, -1.0]
    assert negative.tolist() == [0.0] * 4
    assert layer.apply(np.array([[[[3.0, -3.0]], [[4.0, -4.0]]]])).ravel().tolist() == [6.0, 0.0, -4.0, 0.0]


# -------------------------------------------------------------------------------------------------------- immutability

EXAMPLES: list[Layer] = [
    Dense([[1.0, 2.0]], [3.0]),
    Scale([2.0], [1.0]),
    Conv2d(np.ones((1, 1, 2, 2))),
    AveragePool((2, 2), (1, 1)),
    Take([[0, 1], None]),
    Rectifier([1.0], [0.5]),
]


@pytest.mark.parametrize("layer", EXAMPLES, ids=lambda layer: type(layer).__name__)
def test_layers_are_frozen(layer: Layer) -> None:
    """Neither fields nor the numbers in them can be changed, and numbers given stay the caller's own."""
    assert layer.arrays()
    for array in layer.arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(FrozenInstanceError):
        setattr(layer, fields(layer)[0].name, None)  # type: ignore[arg-type]


def test_layers_copy_what_they_are_given() -> None:
    """Changing an array after a layer was made of it does not change the layer."""
    weight, index = np.ones((1, 2)), np.array([0, 1])
    layer, take = Dense(weight), Take([index])
    weight[:], index[:] = 7.0, 0
    assert layer.weight.tolist() == [[1.0, 1.0]]
    assert take.arrays()["indices.0"].tolist() == [0, 1]


# -------------------------------------------------------------------------------------------------------------- errors

IMPOSSIBLE: dict[str, tuple[Callable[[], object], str]] = {
    "dense, a vector": (lambda: Dense([1.0, 2.0]), r"weight must be a matrix, got shape \(2,\)"),
    "dense, other bias": (lambda: Dense([[1.0, 2.0]], [1.0, 2.0]), r"bias has shape \(2,\), its weight \(1, 2\)"),
    "dense, NaN": (lambda: Dense([[np.nan]]), "a dense layer's weight holds NaN or infinity"),
    "dense, infinite bias": (lambda: Dense([[1.0]], [np.inf]), "a dense layer's bias holds NaN or infinity"),
    "scale, NaN": (lambda: Scale([np.nan]), "a scale holds NaN"),
    "shift, infinite": (lambda: Scale(1.0, [-np.inf]), "a shift holds NaN or infinity"),
    "convolution, a matrix": (lambda: Conv2d([[1.0]]), r"must have 4 axes, got shape \(1, 1\)"),
    "convolution, other bias": (lambda: Conv2d(np.ones((2, 1, 1, 1)), [1.0]), r"bias has shape \(1,\)"),
    "convolution, groups": (lambda: Conv2d(np.ones((3, 1, 1, 1)), groups=2), "3 filters cannot be divided into 2"),
    "convolution, no group": (lambda: Conv2d(np.ones((3, 1, 1, 1)), groups=0), "cannot be divided into 0 groups"),
    "convolution, NaN": (lambda: Conv2d(np.full((1, 1, 1, 1), np.nan)), "a convolution's weight holds NaN"),
    "pool, coefficient": (lambda: AveragePool((1, 1), (1, 1), coefficient=[[0.0]]), "must be positive"),
    "rectifier, NaN": (lambda: Rectifier(np.nan), "a rectifier's positive slope holds NaN"),
    "rectifier, infinite": (lambda: Rectifier(1.0, np.inf), "a rectifier's negative slope holds NaN"),
    "take, a matrix": (lambda: Take([[[0, 1]]]), "must be a vector"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_layers(name: str) -> None:
    """A layer of wrong shapes, or with numbers that are none, cannot be made."""
    make, message = IMPOSSIBLE[name]
    with pytest.raises(NetworkError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (Dense(np.ones((2, 3))), [(4,)], r"weight \(2, 3\) cannot take an input of shape \(4,\)"),
        (Dense(np.ones((2, 3))), [(1, 3)], r"cannot take an input of shape \(1, 3\)"),
        (Scale([1.0, 2.0]), [(3,)], r"scales have shape \(2,\), which does not broadcast to \(3,\)"),
        (Scale(np.ones((2, 3))), [(3,)], "does not broadcast"),
        (Conv2d(np.ones((1, 2, 1, 1))), [(3, 4, 4)], r"cannot take shape \(3, 4, 4\)"),
        (Conv2d(np.ones((1, 2, 1, 1))), [(2, 4)], r"cannot take shape \(2, 4\)"),
        (Conv2d(np.ones((1, 2, 3, 3))), [(2, 2, 4)], "does not fit an image of 2 x 4"),
        (Conv2d(np.ones((1, 1, 1, 1)), padding=(-1, 0, 0, 0)), [(1, 4, 4)], "does not fit an image"),
        (Conv2d(np.ones((1, 1, 1, 1)), stride=(0, 1)), [(1, 4, 4)], "does not fit an image"),
        (AveragePool((2, 2), (2, 2)), [(4, 4)], r"needs images \(channels, height, width\), got shape \(4, 4\)"),
        (AveragePool((2, 2), (2, 2), coefficient=np.ones((3, 3))), [(1, 4, 4)], "pooling coefficients have shape"),
        (Reshape((5,)), [(2, 3)], r"shape \(2, 3\) cannot be reshaped to \(5,\)"),
        (Permute((0, 0)), [(2, 3)], "are no permutation"),
        (Permute((0,)), [(2, 3)], "are no permutation"),
        (Take([[0]]), [(2, 3)], "indices for 1 axes cannot be taken"),
        (Take([[2]]), [(2,)], "do not fit an axis of length 2"),
        (Take([[-2]]), [(2,)], "do not fit an axis of length 2"),
        (Rectifier([1.0, 2.0]), [(3,)], "a rectifier's slopes have shape"),
        (Add(), [(2,)], "needs two or more inputs of one shape"),
        (Add(), [(2,), (3,)], "needs two or more inputs of one shape"),
        (Concat(0), [(2, 3), (2, 4)], "cannot be joined along axis 0"),
        (Concat(2), [(2, 3), (2, 3)], "cannot be joined along axis 2"),
        (Concat(0), [], "cannot be joined"),
    ],
)
def test_inputs_that_do_not_fit(layer: Any, shapes: list[Shape], message: str) -> None:
    """A layer says which shapes it cannot take."""
    with pytest.raises(NetworkError, match=message):
        layer.output_shape(*shapes)


def _samples(count: int, shape: Shape, seed: int) -> FloatArray:
    return np.random.default_rng(seed).integers(-4, 5, size=(count, *shape)).astype(np.float64)
