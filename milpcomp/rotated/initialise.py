"""How a rotated network starts.

Type I: weights by Kaiming-He, every slope from two truncated Gaussians, one around +1 and one around -1.

    sign = +1 or -1, fair
    slope = sign * t,   t from N(mean 1, variance 3) truncated to [tan 35 deg, tan 55 deg]

The draw is exact: t is the inverse distribution function of a uniform number, so no draw is ever rejected.

Type II: slopes one, weights of a trained network with plain activations.

Nayak and Kalyani (arXiv 2206.00488), section IV-A and appendix A; He et al. (arXiv 1502.01852).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.stats import truncnorm
from torch import Tensor, nn

from milpcomp.errors import CheckpointError, NetworkError
from milpcomp.rotated.activation import RotatedActivation, slopes

LEAST, GREATEST = math.tan(math.radians(35)), math.tan(math.radians(55))
"""Range of |slope| at the start of type I: rotations by 35 to 55 degrees."""

DEVIATION = math.sqrt(3)
"""Standard deviation of the Gaussians before truncation."""

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights are drawn."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)
"""Layers that go back to the identity."""


def draw_slopes(count: int, generator: torch.Generator) -> Tensor:
    """Return `count` slopes of type I, float64, on the CPU."""
    uniform, coin = torch.rand(2, count, dtype=torch.float64, generator=generator)
    size = truncnorm.ppf(uniform.numpy(), (LEAST - 1) / DEVIATION, (GREATEST - 1) / DEVIATION, 1, DEVIATION)
    return torch.from_numpy(np.clip(size, LEAST, GREATEST)) * torch.where(coin < 0.5, -1.0, 1.0)


def initialise_type1(model: nn.Module, seed: int = 0) -> None:
    """Start `model` anew in place: weights by Kaiming-He, biases zero, norms the identity, slopes from the mixture.

    Parameters
    ----------
    model : nn.Module
        With rotated activations. Parameters of other layers than linear, convolutional and norm layers stay.
    seed : int
        The same seed gives the same numbers on every device.

    Raises
    ------
    NetworkError
        If the model has no rotated activation.
    """
    _require_rotated(model)
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, WEIGHTED):
            fresh = torch.empty_like(part.weight, device="cpu", requires_grad=False)
            part.weight.data.copy_(nn.init.kaiming_normal_(fresh, nonlinearity="relu", generator=generator))
            if part.bias is not None:
                part.bias.data.zero_()
        elif isinstance(part, NORMS):
            part.reset_parameters()
        elif isinstance(part, RotatedActivation):
            part.slope.data.copy_(draw_slopes(len(part.slope), generator))


def initialise_type2(model: nn.Module, trained: Mapping[str, Tensor] | None = None) -> None:
    """Set all slopes of `model` to one, in place, and load the weights of a network with plain activations.

    Parameters
    ----------
    model : nn.Module
        With rotated activations.
    trained : mapping of str to Tensor, optional
        State dict of the trained network. It must hold every entry of the model but those of rotated activations, and
        no other. Without it, the weights stay.

    Raises
    ------
    CheckpointError
        If the state dict does not fit; the model is then as it was.
    NetworkError
        If the model has no rotated activation.
    """
    _require_rotated(model)
    if trained is not None:
        _load(model, trained)
    for slope in slopes(model).values():
        slope.data.fill_(1.0)


def _load(model: nn.Module, trained: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    rotated = [name for name, part in model.named_modules() if isinstance(part, RotatedActivation)]
    needed = {key: value for key, value in own.items() if key.rpartition(".")[0] not in rotated}
    wrong = [
        f"{key}: {'missing' if key not in trained else 'unknown' if key not in needed else 'of another shape'}"
        for key in [*needed, *(trained.keys() - needed.keys())]
        if key not in trained or key not in needed or trained[key].shape != needed[key].shape
    ]
    if wrong:
        raise CheckpointError(
            f"the trained weights do not fit the rotated network ({len(wrong)} entries): {'; '.join(wrong[:5])}. They "
            "must be the state dict of the same network with plain activations"
        )
    model.load_state_dict({**own, **trained})


def _require_rotated(model: nn.Module) -> None:
    if not slopes(model):
        raise NetworkError(f"{type(model).__name__} has no rotated activation; make a copy that has with rotate()")
