"""Penalties that draw slopes, or batch-norm scales, to zero.

    l1_penalty = sum of |p|                          added to the loss, times a weight: small values, hardly ever zeros
    proximal   p <- sign(p) * max(|p| - amount, 0)   after each optimiser step, amount = learning rate * weight

Both act on whatever they are given: the slopes (L1RReLU), or the batch-norm gammas (L1BN, network slimming of Liu et
al., arXiv 1708.06519). The proximal step is the one that gives exact zeros: it is the minimiser of
``amount * |q| + (q - p)^2 / 2`` over q (proximal gradient; Parikh and Boyd 2014, section 6.5.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from milpcomp.errors import SettingsError

Parameters = Mapping[str, Tensor] | Iterable[Tensor]
"""What `slopes` and `batch_norm_gammas` return, or the parameters alone."""


def l1_penalty(parameters: Parameters) -> Tensor:
    """Return the sum of absolute values as a tensor of shape (), through which gradients flow.

    Parameters
    ----------
    parameters : mapping of str to Tensor, or iterable of Tensor

    Raises
    ------
    SettingsError
        If there are none, so that a penalty that acts on nothing is noticed.

    Examples
    --------
    >>> loss = cross_entropy(model(x), y) + 1e-4 * l1_penalty(slopes(model))
    """
    return torch.stack([parameter.abs().sum() for parameter in _tensors(parameters)]).sum()


@torch.no_grad()
def proximal_l1_(parameters: Parameters, amount: float) -> None:
    """Move every number towards zero by `amount`, in place, those within `amount` of zero to exactly zero.

    Parameters
    ----------
    parameters : mapping of str to Tensor, or iterable of Tensor
    amount : float
        At least 0: the current learning rate times the weight of the penalty.

    Raises
    ------
    SettingsError
        If `amount` is negative or not finite, or there are no parameters, or some are no floating-point tensors.

    Examples
    --------
    >>> optimizer.step()
    >>> proximal_l1_(slopes(model), optimizer.param_groups[0]["lr"] * 1e-3)
    """
    try:
        usable = math.isfinite(amount) and amount >= 0
    except TypeError:
        usable = False
    if not usable:
        raise SettingsError(f"amount={amount!r} must be a finite number that is not negative")
    for parameter in _tensors(parameters):
        parameter.copy_(F.softshrink(parameter, amount))


def _tensors(parameters: Parameters) -> list[Tensor]:
    found = list(parameters.values() if isinstance(parameters, Mapping) else parameters)
    if not found:
        raise SettingsError("there are no parameters to penalise; does the model have such layers?")
    for parameter in found:
        if not (isinstance(parameter, Tensor) and parameter.is_floating_point()):
            kind = parameter.dtype if isinstance(parameter, Tensor) else type(parameter).__name__
            raise SettingsError(f"parameters must be tensors of floating-point numbers, got {kind}")
    return found
