"""Removal of channels whose slope is zero, exactly, and of those whose slope is small, which is another function."""

from milpcomp.channels.accounting import Accounting, LayerWeights, masked_accounting
from milpcomp.channels.measure import Measured, Speed, measure, speed
from milpcomp.channels.removal import Removal
from milpcomp.channels.remove import remove_channels
from milpcomp.channels.slopes import channel_slopes, dead_channels, silenced

__all__ = [
    "Accounting",
    "LayerWeights",
    "Measured",
    "Removal",
    "Speed",
    "channel_slopes",
    "dead_channels",
    "masked_accounting",
    "measure",
    "remove_channels",
    "silenced",
    "speed",
]
