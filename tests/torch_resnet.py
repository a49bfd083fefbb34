"""ResNets for CIFAR-10 as torch modules, with the names that the published checkpoints have.

He et al. (arXiv 1512.03385), section 4.2: 6n + 2 layers, shortcut option A (every second pixel, zero channels).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Statistics by which the published networks expect their inputs to be normalised."""


class Rotated(nn.Module):
    """``a * relu(x)``, one slope a per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.linspace(-1.0, 1.0, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.a[None, :, None, None] * F.relu(x)


class Block(nn.Module):
    """Two convolutions with batch norm, and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, rotated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if rotated:
            self.rrelu1, self.rrelu2 = Rotated(outputs), Rotated(outputs)
        self.rotated = rotated
        self.extra = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        first = self.bn1(self.conv1(x))
        second = self.bn2(self.conv2(self.rrelu1(first) if self.rotated else F.relu(first)))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra), "constant", 0)
        second += x
        return self.rrelu2(second) if self.rotated else F.relu(second)


class ResNet(nn.Module):
    """Stem, three stages of `blocks` blocks, mean over pixels, linear layer; input normalised, (N, 3, 32, 32)."""

    def __init__(self, blocks: int, rotated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1, rotated)
        self.layer2 = _stage(16, 32, blocks, 2, rotated)
        self.layer3 = _stage(32, 64, blocks, 2, rotated)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        out = F.avg_pool2d(out, out.size()[3])
        result: Tensor = self.linear(out.view(out.size(0), -1))
        return result


def _stage(inputs: int, outputs: int, blocks: int, stride: int, rotated: bool) -> nn.Sequential:
    first = Block(inputs, outputs, stride, rotated)
    return nn.Sequential(first, *(Block(outputs, outputs, 1, rotated) for _ in range(blocks - 1)))


def resnet20() -> nn.Module:
    """Return a ResNet-20 with ReLU."""
    return ResNet(3, rotated=False)


def resnet56() -> nn.Module:
    """Return a ResNet-56 with ReLU."""
    return ResNet(9, rotated=False)


def rotated_resnet20() -> nn.Module:
    """Return a ResNet-20 with rotated ReLU in its blocks."""
    return ResNet(3, rotated=True)
