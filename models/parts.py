"""What the architectures share: the activation, the shortcut without parameters, and the initial weights.

rotated ReLU        b * max(0, x), one trainable slope b per channel (Nayak and Kalyani, arXiv 2206.00488, eq. 3)
shortcut option A   every second pixel, zeros for the new channels (He et al., arXiv 1512.03385, section 3.3)
Kaiming-He          weights of variance 2 / fan_in, zero biases (He et al., arXiv 1502.01852, eq. 10)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milpcomp.rotated import RotatedReLU, slopes

Activation = Literal["relu", "rotated"]
"""ReLU, or rotated ReLU with slopes of its own at every place, initially 1."""


def activation(kind: Activation, channels: int) -> nn.Module:
    """Return a new activation.

    Parameters
    ----------
    kind : "relu" or "rotated"
    channels : int
        Number of slopes of a rotated one.

    Raises
    ------
    ValueError
        If there is no activation of that name.
    """
    if kind == "relu":
        return nn.ReLU()
    if kind == "rotated":
        return RotatedReLU(channels)
    raise ValueError(f'activation={kind!r} is not known; choose "relu" or "rotated"')


def padded_shortcut(x: Tensor, channels: int, stride: int) -> Tensor:
    """Return every `stride`-th pixel of x (N, C, H, W), with zero channels on both sides up to `channels` channels."""
    extra = channels - x.shape[1]
    if stride == 1 and not extra:
        return x
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, extra // 2, extra - extra // 2), "constant", 0)


def pool(x: Tensor) -> Tensor:
    """Return the mean over the pixels of x, (N, C, H, W) -> (N, C)."""
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def initialise(model: nn.Module) -> None:
    """Draw Kaiming-He weights for all convolutions and dense layers, from torch's global generator; biases become 0."""
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@torch.no_grad()
def stir(model: nn.Module, seed: int = 0) -> None:
    """Move all biases, batch norms and slopes of a new model to random numbers that are neither 0 nor 1.

    Training does the same. A network that has just been made adds zeros and multiplies by ones, which nobody would
    store and `milpcomp.cost` does not count.

    Parameters
    ----------
    model : nn.Module
        Changed in place; its weights stay.
    seed : int
        Of the numbers; torch's global generator stays untouched.
    """
    draw = torch.Generator().manual_seed(seed)

    def around(tensor: Tensor, centre: float) -> None:
        sign = torch.randint(2, tensor.shape, generator=draw) * 2 - 1
        tensor.copy_(centre + sign * (0.05 + 0.25 * torch.rand(tensor.shape, generator=draw)))

    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            for tensor, centre in ((part.weight, 1), (part.bias, 0), (part.running_mean, 0), (part.running_var, 1)):
                around(tensor, centre)
        elif isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            around(part.bias, 0.0)
    for slope in slopes(model).values():
        around(slope, 1.0)
        slope.mul_(torch.randint(2, slope.shape, generator=draw) * 2 - 1)
