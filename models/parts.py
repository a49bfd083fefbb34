"""What the architectures share: the activation, the shortcut without parameters, and the initial weights.

rotated ReLU        b * max(0, x), one trainable slope b per channel (Nayak and Kalyani, arXiv 2206.00488, eq. 3)
shortcut option A   every second pixel, zeros for the new channels (He et al., arXiv 1512.03385, section 3.3)
Kaiming-He          weights of variance 2 / fan_in, zero biases (He et al., arXiv 1502.01852, eq. 10)
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from milpcomp.rotated import RotatedReLU

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
