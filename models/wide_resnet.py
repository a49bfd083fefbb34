"""Wide ResNets: WRN-d-k for images of 32 x 32 pixels, and WRN-50-2 for ImageNet.

    WRN-d-k     h = f1(bn1(x)),  y = x' + conv2(f2(bn2(conv1(h))))    x' = x, or a 1x1 convolution of h
                d = 6n + 4 layers, stages of 16k, 32k and 64k channels
    WRN-50-2    y = f3(x' + bn3(conv3(f2(bn2(conv2(f1(bn1(conv1(x)))))))))    x' = x, or bn(1x1 convolution of x)
                ResNet-50 with 3x3 convolutions that are twice as wide and have the stride

Zagoruyko and Komodakis (arXiv 1605.07146), table 1 and section 3.4. Where a block of WRN-d-k changes the number of
channels, its first activation feeds the shortcut too, so a zero slope there removes the channel from both.

Rotated: every activation of a block has slopes; WRN-d-k keeps the plain ReLU behind the last block, WRN-50-2 that of
the stem. The state dicts have the names of the widely used training code for WRN-d-k (``block1.layer.0.convShortcut``)
and of torchvision's ``wide_resnet50_2`` (``layer1.0.downsample.0``).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.parts import Activation, activation, initialise, pool


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and an activation.

    Parameters
    ----------
    inputs, outputs : int
        Channels; where they differ, the shortcut is a 1x1 convolution of the activated input.
    stride : int
        Of the first convolution and of the shortcut.
    kind : "relu" or "rotated"
    """

    def __init__(self, inputs: int, outputs: int, stride: int, kind: Activation) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = activation(kind, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = activation(kind, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of x, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        activated = self.relu1(self.bn1(x))
        branch = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        result: Tensor = branch + (x if self.convShortcut is None else self.convShortcut(activated))
        return result


class Stage(nn.Module):
    """Blocks in a row, of which the first has the stride."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int, kind: Activation) -> None:
        super().__init__()
        rest = (WideBlock(outputs, outputs, 1, kind) for _ in range(blocks - 1))
        self.layer = nn.Sequential(WideBlock(inputs, outputs, stride, kind), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks."""
        result: Tensor = self.layer(x)
        return result


class WideResNet(nn.Module):
    """WRN-d-k: stem, three stages, batch norm, ReLU, mean over the pixels, dense layer; (N, 3, 32, 32) in.

    Parameters
    ----------
    depth, factor : int
        d and k.
    kind : "relu" or "rotated"
    classes : int
    """

    def __init__(self, depth: int, factor: int, kind: Activation, classes: int) -> None:
        super().__init__()
        blocks, widths = (depth - 4) // 6, [16 * factor, 32 * factor, 64 * factor]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Stage(16, widths[0], blocks, 1, kind)
        self.block2 = Stage(widths[0], widths[1], blocks, 2, kind)
        self.block3 = Stage(widths[1], widths[2], blocks, 2, kind)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images x."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        result: Tensor = self.fc(pool(F.relu(self.bn1(x))))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with batch norm, and a shortcut around them.

    Parameters
    ----------
    inputs, width, outputs : int
        Channels of the input, of the first two convolutions, and of the third.
    stride : int
        Of the 3x3 convolution and of the shortcut.
    kind : "relu" or "rotated"
    """

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, kind: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = activation(kind, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = activation(kind, width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu3 = activation(kind, outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of x, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        branch = self.relu1(self.bn1(self.conv1(x)))
        branch = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(branch)))))
        result: Tensor = self.relu3(branch + self.downsample(x))
        return result


class WideResNet50(nn.Module):
    """WRN-50-2: stem with max pooling, stages of 3, 4, 6 and 3 blocks, mean over the pixels, dense layer.

    Parameters
    ----------
    kind : "relu" or "rotated"
    classes : int
    """

    def __init__(self, kind: Activation, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _bottlenecks(64, 128, 256, 3, 1, kind)
        self.layer2 = _bottlenecks(256, 256, 512, 4, 2, kind)
        self.layer3 = _bottlenecks(512, 512, 1024, 6, 2, kind)
        self.layer4 = _bottlenecks(1024, 1024, 2048, 3, 2, kind)
        self.fc = nn.Linear(2048, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images x, (N, 3, 224, 224) -> (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        result: Tensor = self.fc(pool(self.layer4(self.layer3(self.layer2(self.layer1(x))))))
        return result


def _bottlenecks(inputs: int, width: int, outputs: int, blocks: int, stride: int, kind: Activation) -> nn.Sequential:
    first = Bottleneck(inputs, width, outputs, stride, kind)
    return nn.Sequential(first, *(Bottleneck(outputs, width, outputs, 1, kind) for _ in range(blocks - 1)))


def wrn16_4(activation: Activation = "relu", classes: int = 10) -> WideResNet:
    """Return a WRN-16-4."""
    return WideResNet(16, 4, activation, classes)


def wrn40_4(activation: Activation = "relu", classes: int = 10) -> WideResNet:
    """Return a WRN-40-4."""
    return WideResNet(40, 4, activation, classes)


def wrn50_2(activation: Activation = "relu", classes: int = 1000) -> WideResNet50:
    """Return a WRN-50-2 for images of 224 x 224 pixels."""
    return WideResNet50(activation, classes)


def rotated_wrn16_4() -> WideResNet:
    """Return a WRN-16-4 with rotated ReLU in its blocks."""
    return wrn16_4("rotated")


def rotated_wrn40_4() -> WideResNet:
    """Return a WRN-40-4 with rotated ReLU in its blocks."""
    return wrn40_4("rotated")


def rotated_wrn50_2() -> WideResNet50:
    """Return a WRN-50-2 with rotated ReLU in its blocks."""
    return wrn50_2("rotated")
