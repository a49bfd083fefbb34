"""Opaque layers: neither affine nor rectifiers, so nothing can be proved through them, but channels can be.

    Gelu        y = slope * x * Phi(x)                        Phi the normal distribution function, slopes per channel
    LayerNorm   y = (x - mean(x)) / sqrt(variance(x) + eps)   over the last axes; weight and bias are a Scale behind it
    Softmax     y = exp(x) / sum(exp(x))                      along one axis
    Product     y = x_1 @ x_2                                 matrices of the last two axes, one pair per leading index
    MaxPool     y = max over a window of x                    channel by channel; pixels of the padding do not take part

Attention is ``Product(Softmax(Product(q / sqrt(d), transposed k)), v)``, with affine layers around it. A Gelu with
slopes is the rotated GELU of Nayak and Kalyani (TMLR 2024): a slope of 0 silences its channel.

Networks that hold such layers are counted, shrunk, evaluated, saved and written like any other. Whatever needs bounds
refuses them (`refuse_opaque`). All that is known of an opaque layer is which of its elements depend on which: its
masks, which err on the side of more dependence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, softmax

from milpcomp.errors import NetworkError, UnsupportedOperatorError
from milpcomp.network.convolution import Padding, Pair, Window
from milpcomp.network.layers import FloatArray, Layer, Shape, check_broadcast, frozen_floats

if TYPE_CHECKING:
    from milpcomp.network.graph import Network

Mask = NDArray[np.bool_]


class Opaque(Layer):
    """A layer that bounds cannot handle, of `arity` inputs."""

    arity: ClassVar[int] = 1

    @abstractmethod
    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of one output sample for input samples of `shapes`.

        Raises
        ------
        NetworkError
            If the layer cannot take such inputs.
        """

    @abstractmethod
    def apply(self, *inputs: FloatArray) -> FloatArray:
        """Return the value for batches of shape ``(N, *shape)``, in float64."""

    @abstractmethod
    def reached(self, *masks: Mask) -> Mask:
        """Return which outputs may depend on a marked input, or be non-zero where only marked inputs are."""

    @abstractmethod
    def needed(self, mask: Mask, shapes: Sequence[Shape]) -> list[Mask]:
        """Return for each input which of its elements the marked outputs may depend on."""

    @abstractmethod
    def mixes_channels(self, shape: Shape) -> bool:
        """Tell whether a channel of the output, of sample shape `shape`, reads other channels of the inputs."""


@dataclass(frozen=True, eq=False)
class Gelu(Opaque):
    """``y = slope * x * Phi(x)`` element by element, with the exact Phi.

    Parameters
    ----------
    slope : array_like
        Broadcastable to the sample shape.
    """

    slope: FloatArray

    def __init__(self, slope: ArrayLike = 1.0) -> None:
        object.__setattr__(self, "slope", frozen_floats(slope, "a GELU's slope"))

    def output_shape(self, *shapes: Shape) -> Shape:
        check_broadcast(self.slope.shape, shapes[0], "a GELU's slopes")
        return shapes[0]

    def apply(self, *inputs: FloatArray) -> FloatArray:
        return self.slope * (inputs[0] * ndtr(inputs[0]))

    def reached(self, *masks: Mask) -> Mask:
        return masks[0] & (self.slope != 0)

    def needed(self, mask: Mask, shapes: Sequence[Shape]) -> list[Mask]:
        return [mask & (self.slope != 0)]

    def mixes_channels(self, shape: Shape) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class LayerNorm(Opaque):
    """``y = (x - mean) / sqrt(variance + eps)``, both over the last `axes` axes, the variance without correction.

    Parameters
    ----------
    axes : int
    eps : float
        Positive.
    """

    axes: int
    eps: float

    def __init__(self, axes: int, eps: float) -> None:
        if axes < 1 or not 0 < eps < np.inf:
            raise NetworkError(f"a layer norm needs one axis or more and a positive eps, got {axes} and {eps}")
        object.__setattr__(self, "axes", int(axes))
        object.__setattr__(self, "eps", float(eps))

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) < self.axes:
            raise NetworkError(f"a layer norm over {self.axes} axes cannot take a sample of shape {shapes[0]}")
        return shapes[0]

    def apply(self, *inputs: FloatArray) -> FloatArray:
        centred = inputs[0] - inputs[0].mean(axis=self._last(), keepdims=True)
        return centred / np.sqrt(np.mean(centred**2, axis=self._last(), keepdims=True) + self.eps)

    def reached(self, *masks: Mask) -> Mask:
        return np.broadcast_to(masks[0].any(axis=self._last(), keepdims=True), masks[0].shape)

    def needed(self, mask: Mask, shapes: Sequence[Shape]) -> list[Mask]:
        return [self.reached(mask)]

    def mixes_channels(self, shape: Shape) -> bool:
        return self.axes == len(shape)

    def _last(self) -> tuple[int, ...]:
        return tuple(range(-self.axes, 0))


@dataclass(frozen=True, eq=False)
class Softmax(Opaque):
    """``y = exp(x) / sum(exp(x))``, the sum along `axis` of the sample; never zero."""

    axis: int

    def output_shape(self, *shapes: Shape) -> Shape:
        if not 0 <= self.axis < len(shapes[0]):
            raise NetworkError(f"a softmax along axis {self.axis} cannot take a sample of shape {shapes[0]}")
        return shapes[0]

    def apply(self, *inputs: FloatArray) -> FloatArray:
        result: FloatArray = softmax(inputs[0], axis=self.axis + 1)
        return result

    def reached(self, *masks: Mask) -> Mask:
        return np.ones_like(masks[0])

    def needed(self, mask: Mask, shapes: Sequence[Shape]) -> list[Mask]:
        return [np.broadcast_to(mask.any(axis=self.axis, keepdims=True), mask.shape)]

    def mixes_channels(self, shape: Shape) -> bool:
        return self.axis == 0


@dataclass(frozen=True, eq=False)
class Product(Opaque):
    """``y = x_1 @ x_2`` for inputs (..., m, k) and (..., k, n) with the same leading axes."""

    arity: ClassVar[int] = 2

    def output_shape(self, *shapes: Shape) -> Shape:
        first, second = shapes
        fits = len(first) == len(second) >= 2 and first[:-2] == second[:-2] and first[-1] == second[-2]
        if not fits:
            raise NetworkError(f"matrices of shapes {first} and {second} cannot be multiplied")
        return (*first[:-1], second[-1])

    def apply(self, *inputs: FloatArray) -> FloatArray:
        return inputs[0] @ inputs[1]

    def reached(self, *masks: Mask) -> Mask:
        return np.logical_or(masks[0].any(axis=-1, keepdims=True), masks[1].any(axis=-2, keepdims=True))

    def needed(self, mask: Mask, shapes: Sequence[Shape]) -> list[Mask]:
        rows, columns = mask.any(axis=-1, keepdims=True), mask.any(axis=-2, keepdims=True)
        return [np.broadcast_to(rows, shapes[0]), np.broadcast_to(columns, shapes[1])]

    def mixes_channels(self, shape: Shape) -> bool:
        return len(shape) == 2


@dataclass(frozen=True, eq=False)
class MaxPool(Opaque):
    """The maximum over windows of images (channels, height, width).

    Parameters
    ----------
    kernel, stride : pair of int
    padding : (top, left, bottom, right)
        At most half the kernel, so that every window holds a pixel.
    dilation : pair of int
    """

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    @property
    def window(self) -> Window:
        """Where the kernel reads."""
        return Window(self.kernel, self.stride, self.padding, self.dilation)

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 3:
            raise NetworkError(f"max pooling needs images (channels, height, width), got shape {shapes[0]}")
        if any(2 * self.padding[i] > self.kernel[i % 2] for i in range(4)):
            raise NetworkError(f"max pooling of kernel {self.kernel} takes at most half of it as padding")
        extent = self.window.extent(*shapes[0][1:])
        if not self.window.view(np.ones((1, 1, *shapes[0][1:]))).any(axis=(-2, -1)).all():
            raise NetworkError(f"max pooling by {self.window} has windows without a pixel of the image {shapes[0]}")
        return (shapes[0][0], *extent)

    def apply(self, *inputs: FloatArray) -> FloatArray:
        top, left, bottom, right = self.padding
        padded = np.pad(inputs[0], ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
        result: FloatArray = replace(self, padding=(0, 0, 0, 0)).window.view(padded).max(axis=(-2, -1))
        return result

    def reached(self, *masks: Mask) -> Mask:
        result: Mask = self.window.view(masks[0][None])[0].any(axis=(-2, -1))
        return result

    def needed(self, mask: Mask, shapes: Sequence[Shape]) -> list[Mask]:
        spread = np.broadcast_to(mask[None, ..., None, None].astype(float), (1, *mask.shape, *self.kernel))
        return [self.window.fold(spread, *shapes[0][1:])[0] > 0]

    def mixes_channels(self, shape: Shape) -> bool:
        return False


def refuse_opaque(network: Network, action: str) -> None:
    """Raise an error that lists all opaque layers of `network`, if it has any.

    Parameters
    ----------
    network : Network
    action : str
        What cannot be done, to begin the message with: ``"certify"``.

    Raises
    ------
    UnsupportedOperatorError
    """
    found = [node for node in network.nodes if isinstance(node.layer, Opaque)]
    if found:
        listed = "\n".join(f"  {n.name}: {type(n.layer).__name__}, shape {network.shape(n.name)}" for n in found)
        raise UnsupportedOperatorError(
            f"{action} cannot handle {len(found)} layer(s) that are neither affine nor rectifiers:\n{listed}\n"
            "such a network can be counted, its channels removed, and the result written; to prove anything about one, "
            "build it of relu, leaky_relu, prelu or abs, batch norm, average pooling, and additions"
        )
