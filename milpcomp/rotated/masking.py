"""Slopes set to exactly zero: for good, for a while, and while training goes on.

Training in two steps (Nayak and Kalyani, arXiv 2206.00488, section IV-B) is put together from these:

    train_slopes_only(model)                   step 1: a loop that trains; weights are frozen at their random start
    dropped = apply_threshold_(model, gamma)   drop what the slopes say is not needed
    train_everything(model)                    step 2: the same loop,
    hold_at_zero_(model, dropped)              with this after every optimiser step
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from milpcomp.errors import NetworkError, SettingsError
from milpcomp.rotated.activation import slopes

Masks = Mapping[str, Tensor]
"""For each rotated activation by name: which slopes, bool (C,)."""


def small_slopes(model: nn.Module, gamma: float) -> dict[str, Tensor]:
    """Return which slopes have ``|slope| <= gamma``: a bool tensor (C,) for each rotated activation, by name.

    Raises
    ------
    NetworkError
        If the model has no rotated activation.
    SettingsError
        If `gamma` is negative or NaN.
    """
    if not gamma >= 0:
        raise SettingsError(f"gamma={gamma} must not be negative")
    found = slopes(model)
    if not found:
        raise NetworkError(f"{type(model).__name__} has no rotated activation, so there are no slopes to compare")
    return {name: slope.detach().double().abs() <= gamma for name, slope in found.items()}


@torch.no_grad()
def apply_threshold_(model: nn.Module, gamma: float) -> dict[str, Tensor]:
    """Set every slope with ``|slope| <= gamma`` to exactly 0, in place; return which those are, as `small_slopes` does.

    This changes the function, unless all of them were zero before: it is not exact compression.
    """
    small = small_slopes(model, gamma)
    hold_at_zero_(model, small)
    return small


@torch.no_grad()
def hold_at_zero_(model: nn.Module, dropped: Masks) -> None:
    """Set the slopes `dropped` to exactly 0, in place; called after every optimiser step, they never come back.

    Parameters
    ----------
    model : nn.Module
    dropped : mapping of str to Tensor, bool (C,)
        As `apply_threshold_` returned it.

    Raises
    ------
    SettingsError
        If `dropped` names activations that the model does not have.
    """
    found = slopes(model)
    if not dropped.keys() <= found.keys():
        raise SettingsError(f"the model has no rotated activations {sorted(dropped.keys() - found.keys())}")
    for name, mask in dropped.items():
        found[name].masked_fill_(mask.to(found[name].device), 0.0)


@contextmanager
def thresholded(model: nn.Module, gamma: float) -> Iterator[nn.Module]:
    """Give `model` for the length of a with-block, with every slope of at most `gamma` at 0; then its slopes come back.

    Examples
    --------
    >>> with thresholded(model, 0.1):
    ...     logits = model(images)
    """
    before = {name: slope.detach().clone() for name, slope in slopes(model).items()}
    apply_threshold_(model, gamma)
    try:
        yield model
    finally:
        for name, slope in slopes(model).items():
            slope.data.copy_(before[name])


def train_slopes_only(model: nn.Module) -> None:
    """Let gradients flow to the slopes of `model` and to no other parameter, until `train_everything`.

    Batch norms keep counting their statistics in training mode; gamma and beta are frozen, like all weights.

    Raises
    ------
    NetworkError
        If the model has no rotated activation.
    """
    found = {id(slope) for slope in slopes(model).values()}
    if not found:
        raise NetworkError(f"{type(model).__name__} has no rotated activation, so nothing would be trained")
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in found)


def train_everything(model: nn.Module) -> None:
    """Let gradients flow to all parameters of `model`."""
    model.requires_grad_(True)
