"""Activations with one trainable slope per channel.

    RotatedReLU    y = slope * max(0, a * x)         a = +1 or -1, fixed
    RotatedGELU    y = slope * x * Phi(x)            Phi: distribution function of the standard normal

A slope of exactly zero makes its channel zero: that is what training looks for. The sign a can always be moved into
the layer in front; it is kept for networks that were written with it.

Nayak and Kalyani (arXiv 2206.00488), eq. 1 with a, eq. 3 without; the rotated GELU is theirs, too (TMLR 2024).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from milpcomp.errors import NetworkError, SettingsError


class RotatedActivation(nn.Module):
    """What the rotated activations have in common: the slopes and the axis they belong to.

    Parameters
    ----------
    num_channels : int
        Number C of slopes; they start at one.
    axis : int, optional
        Axis of the channels. By default axis 1 of (N, C) and (N, C, H, W), and the last one of (N, T, C).

    Attributes
    ----------
    slope
        The parameter b, of shape (C,).
    """

    slope: nn.Parameter

    def __init__(self, num_channels: int, axis: int | None = None) -> None:
        super().__init__()
        if num_channels < 0:
            raise SettingsError(f"num_channels={num_channels} is no number of channels")
        self.axis = axis
        self.slope = nn.Parameter(torch.ones(num_channels))

    @abstractmethod
    def activate(self, x: Tensor) -> Tensor:
        """Return the activation of `x` with slopes one."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of `x` times the slope of each channel."""
        return self._spread(self.slope, x) * self.activate(x)

    def extra_repr(self) -> str:
        """Return what the module's printed form says in its brackets."""
        return f"{len(self.slope)}" + ("" if self.axis is None else f", axis={self.axis}")

    def _spread(self, values: Tensor, x: Tensor) -> Tensor:
        """Return `values` (C,) in a shape that multiplies the channels of `x`."""
        axis = channel_axis(x.ndim) if self.axis is None else self.axis % x.ndim
        if x.shape[axis] != values.shape[0]:
            raise NetworkError(
                f"axis {axis} of an input of shape {tuple(x.shape)} has no {values.shape[0]} channels, one per slope"
            )
        return values.reshape((-1,) + (1,) * (x.ndim - axis - 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take slopes under the name `a`, too, which they have in the checkpoints of the paper's authors."""
        if f"{prefix}slope" not in state_dict and f"{prefix}a" in state_dict:
            state_dict[f"{prefix}slope"] = state_dict.pop(f"{prefix}a").reshape(-1)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class RotatedReLU(RotatedActivation):
    """``slope * max(0, a * x)`` with one trainable slope per channel.

    Parameters
    ----------
    num_channels : int
        Number C of slopes; they start at one.
    a : float or array_like, shape (C,)
        +1 or -1, for all channels or each; not trained. If any is -1 they are part of the state dict, as `sign`, so
        that slopes never load into an activation of another sign.
    axis : int, optional
        Axis of the channels. By default axis 1 of (N, C) and (N, C, H, W), and the last one of (N, T, C).

    Raises
    ------
    SettingsError
        If `a` is anything but +1 and -1.

    Examples
    --------
    >>> rotated = RotatedReLU(2)
    >>> rotated.slope.data = torch.tensor([-2.0, 0.5])
    >>> rotated(torch.tensor([[1.0, 4.0], [-1.0, -4.0]]))
    tensor([[-2.,  2.],
            [-0.,  0.]], grad_fn=<MulBackward0>)
    """

    sign: Tensor | None

    def __init__(self, num_channels: int, a: float | ArrayLike | Tensor = 1.0, axis: int | None = None) -> None:
        super().__init__(num_channels, axis)
        sign = torch.as_tensor(a, dtype=torch.get_default_dtype()).detach()
        if sign.shape not in {(), (num_channels,)} or not (sign.abs() == 1).all():
            raise SettingsError(f"a={a!r} must be +1 or -1, for all channels or for each of the {num_channels}")
        negative = bool((sign < 0).any())
        self.register_buffer("sign", sign.expand(num_channels).clone() if negative else None)

    def activate(self, x: Tensor) -> Tensor:
        """Return ``max(0, a * x)``."""
        return F.relu(x if self.sign is None else self._spread(self.sign, x) * x)


class RotatedGELU(RotatedActivation):
    """``slope * gelu(x)`` with one trainable slope per channel.

    Parameters
    ----------
    num_channels : int
        Number C of slopes; they start at one.
    approximate : str
        "none" for the exact function, "tanh" for the approximation that some networks were trained with.
    axis : int, optional
        Axis of the channels. By default axis 1 of (N, C) and (N, C, H, W), and the last one of (N, T, C).

    Raises
    ------
    SettingsError
        If `approximate` is neither.
    """

    def __init__(self, num_channels: int, approximate: str = "none", axis: int | None = None) -> None:
        super().__init__(num_channels, axis)
        if approximate not in {"none", "tanh"}:
            raise SettingsError(f'approximate={approximate!r} must be "none" or "tanh"')
        self.approximate = approximate

    def activate(self, x: Tensor) -> Tensor:
        """Return ``gelu(x)``."""
        return F.gelu(x, approximate=self.approximate)


def channel_axis(ndim: int) -> int:
    """Return the axis of the channels in a batch of `ndim` axes: the last of (N, T, C), otherwise axis 1."""
    return 2 if ndim == 3 else min(1, ndim - 1)


def slopes(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the slopes of every rotated activation of `model`, by the activation's name, in order of the modules."""
    return {name: part.slope for name, part in model.named_modules() if isinstance(part, RotatedActivation)}


def batch_norm_gammas(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the scale gamma of every batch norm of `model` that has one, by the batch norm's name."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return {name: part.weight for name, part in model.named_modules() if isinstance(part, kinds) and part.affine}
