"""ResNets for images of 32 x 32 pixels: 6n + 2 layers, activations behind the additions.

    y = f2(x' + bn2(conv2(f1(bn1(conv1(x))))))      x' = x, or option A where the size changes

He et al. (arXiv 1512.03385), section 4.2. Rotated: f1 and f2 of every block have slopes, the stem keeps its ReLU
(Nayak and Kalyani, arXiv 2206.00488, appendix B): 2n (16 + 32 + 64) slopes.

The state dicts have the names of the published checkpoints: ``conv1, bn1, layerS.B.{conv1, bn1, conv2, bn2}, linear``
and, rotated, ``layerS.B.rrelu1, rrelu2``. Those networks expect pixels in [0, 1], normalised by `MEAN` and `STD`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.parts import Activation, activation, initialise, padded_shortcut, pool

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, by which the published networks expect their inputs to be normalised: (x - MEAN) / STD."""


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut around them.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        Of the first convolution.
    kind : "relu" or "rotated"
    """

    def __init__(self, inputs: int, outputs: int, stride: int, kind: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.rrelu1 = activation(kind, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.rrelu2 = activation(kind, outputs)
        self.outputs, self.stride = outputs, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of x, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        branch = self.bn2(self.conv2(self.rrelu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.rrelu2(branch + padded_shortcut(x, self.outputs, self.stride))
        return result


class ResNet(nn.Module):
    """Stem, three stages of blocks, mean over the pixels, dense layer; (N, 3, 32, 32) -> (N, classes).

    Parameters
    ----------
    blocks : int
        Per stage; the network has 6 * blocks + 2 layers.
    kind : "relu" or "rotated"
    classes : int
    """

    def __init__(self, blocks: int, kind: Activation, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1, kind)
        self.layer2 = _stage(16, 32, blocks, 2, kind)
        self.layer3 = _stage(32, 64, blocks, 2, kind)
        self.linear = nn.Linear(64, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images x."""
        x = F.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.linear(pool(self.layer3(self.layer2(self.layer1(x)))))
        return result


def _stage(inputs: int, outputs: int, blocks: int, stride: int, kind: Activation) -> nn.Sequential:
    first = Block(inputs, outputs, stride, kind)
    return nn.Sequential(first, *(Block(outputs, outputs, 1, kind) for _ in range(blocks - 1)))


def resnet20(activation: Activation = "relu", classes: int = 10) -> ResNet:
    """Return a ResNet-20."""
    return ResNet(3, activation, classes)


def resnet56(activation: Activation = "relu", classes: int = 10) -> ResNet:
    """Return a ResNet-56."""
    return ResNet(9, activation, classes)


def resnet110(activation: Activation = "relu", classes: int = 10) -> ResNet:
    """Return a ResNet-110."""
    return ResNet(18, activation, classes)


def rotated_resnet20() -> ResNet:
    """Return a ResNet-20 with rotated ReLU in its blocks."""
    return resnet20("rotated")


def rotated_resnet56() -> ResNet:
    """Return a ResNet-56 with rotated ReLU in its blocks."""
    return resnet56("rotated")


def rotated_resnet110() -> ResNet:
    """Return a ResNet-110 with rotated ReLU in its blocks."""
    return resnet110("rotated")
