"""Pre-activation ResNets for images of 32 x 32 pixels: activations stand before the convolutions.

    basic        y = x' + conv2(f2(bn2(conv1(f1(bn1(x))))))                            x' = x, or option A
    bottleneck   y = x' + conv3(f3(bn3(conv2(f2(bn2(conv1(f1(bn1(x)))))))))            x' = x, or a 1x1 convolution of x

    depth = 6n + 2 (basic), 9n + 2 (bottleneck); the second convolution of a bottleneck has the stride

He et al. (arXiv 1603.05027), figure 1b and table 3. The additions are followed by nothing, so the stream is a sum of
all branches, and a zero slope silences one reader of it. The stem is a convolution alone; one batch norm and ReLU
stand behind the last block. Rotated: every activation of a block has slopes, that last one has none.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.parts import Activation, activation, initialise, padded_shortcut, pool


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and an activation, and a shortcut from the input.

    Parameters
    ----------
    inputs, width : int
        Channels of the input, and of both convolutions.
    stride : int
        Of the first convolution.
    kind : "relu" or "rotated"
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, kind: Activation) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.rrelu1 = activation(kind, inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.rrelu2 = activation(kind, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.width, self.stride = width, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of x, (N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        branch = self.conv1(self.rrelu1(self.bn1(x)))
        branch = self.conv2(self.rrelu2(self.bn2(branch)))
        result: Tensor = branch + padded_shortcut(x, self.width, self.stride)
        return result


class PreActBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, each behind batch norm and an activation, and a shortcut from the input.

    Parameters
    ----------
    inputs, width : int
        Channels of the input, and of the first two convolutions; the output has 4 * width.
    stride : int
        Of the 3x3 convolution.
    kind : "relu" or "rotated"
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, kind: Activation) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.bn1 = nn.BatchNorm2d(inputs)
        self.rrelu1 = activation(kind, inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.rrelu2 = activation(kind, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.rrelu3 = activation(kind, width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of x, (N, inputs, H, W) -> (N, 4 * width, H / stride, W / stride)."""
        branch = self.conv1(self.rrelu1(self.bn1(x)))
        branch = self.conv2(self.rrelu2(self.bn2(branch)))
        branch = self.conv3(self.rrelu3(self.bn3(branch)))
        result: Tensor = branch + self.shortcut(x)
        return result


Block = type[PreActBlock] | type[PreActBottleneck]


class PreActResNet(nn.Module):
    """Stem, three stages of blocks, batch norm, ReLU, mean over the pixels, dense layer; (N, 3, 32, 32) in.

    Parameters
    ----------
    block : PreActBlock or PreActBottleneck
    blocks : int
        Per stage.
    kind : "relu" or "rotated"
    classes : int
    """

    def __init__(self, block: Block, blocks: int, kind: Activation, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(block, 16, 16, blocks, 1, kind)
        self.layer2 = _stage(block, 16 * block.expansion, 32, blocks, 2, kind)
        self.layer3 = _stage(block, 32 * block.expansion, 64, blocks, 2, kind)
        self.bn = nn.BatchNorm2d(64 * block.expansion)
        self.linear = nn.Linear(64 * block.expansion, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images x."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        result: Tensor = self.linear(pool(F.relu(self.bn(x))))
        return result


def _stage(block: Block, inputs: int, width: int, blocks: int, stride: int, kind: Activation) -> nn.Sequential:
    first = block(inputs, width, stride, kind)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1, kind) for _ in range(blocks - 1)))


def preact_resnet20(activation: Activation = "relu", classes: int = 10) -> PreActResNet:
    """Return a pre-activation ResNet-20 of basic blocks."""
    return PreActResNet(PreActBlock, 3, activation, classes)


def preact_resnet110(activation: Activation = "relu", classes: int = 10) -> PreActResNet:
    """Return a pre-activation ResNet-110 of basic blocks."""
    return PreActResNet(PreActBlock, 18, activation, classes)


def resnet164(activation: Activation = "relu", classes: int = 10) -> PreActResNet:
    """Return a pre-activation ResNet-164 of bottleneck blocks."""
    return PreActResNet(PreActBottleneck, 18, activation, classes)


def rotated_preact_resnet20() -> PreActResNet:
    """Return a pre-activation ResNet-20 with rotated ReLU in its blocks."""
    return preact_resnet20("rotated")


def rotated_preact_resnet110() -> PreActResNet:
    """Return a pre-activation ResNet-110 with rotated ReLU in its blocks."""
    return preact_resnet110("rotated")


def rotated_resnet164() -> PreActResNet:
    """Return a pre-activation ResNet-164 with rotated ReLU in its blocks."""
    return resnet164("rotated")
