"""Which axis of an activation's input counts channels.

A layer that mixes channels says so: convolutions and batch norms have them on axis 1, linear layers and layer norms on
the last axis. What stands between such a layer and the activation is looked through if it works element by element;
otherwise the convention decides: the last axis of (N, T, C), axis 1 of everything else.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from milpcomp.rotated.activation import RotatedActivation, channel_axis

FIRST_MODULES = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.GroupNorm,
    nn.SyncBatchNorm,
)
LAST_MODULES = (nn.LayerNorm, nn.Linear)
FIRST_FUNCTIONS: set[Any] = {F.batch_norm, F.conv1d, F.conv2d, F.conv3d, F.group_norm}
LAST_FUNCTIONS: set[Any] = {F.layer_norm, F.linear}
ELEMENTWISE_MODULES = (nn.Dropout, nn.Dropout2d, nn.GELU, nn.Identity, nn.ReLU, RotatedActivation)
ELEMENTWISE: set[Any] = {
    "add",
    "add_",
    "mul",
    "relu",
    "relu_",
    F.dropout,
    F.gelu,
    F.relu,
    operator.add,
    operator.iadd,
    operator.mul,
    operator.sub,
    torch.add,
    torch.mul,
    torch.relu,
}
"""Functions and methods that leave every element where it is."""


def axis_of(model: nn.Module, node: fx.Node, ndim: int) -> int | None:
    """Return the axis of the channels in the value of `node`, of `ndim` axes; None if it is the usual one."""
    found = _axis(model, node, ndim)
    return None if found == channel_axis(ndim) else found


def _axis(model: nn.Module, node: fx.Node, ndim: int) -> int:
    seen: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop(0)
        if node in seen:
            continue
        seen.add(node)
        what = model.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        if isinstance(what, FIRST_MODULES) or what in FIRST_FUNCTIONS:
            return 1
        if isinstance(what, LAST_MODULES) or what in LAST_FUNCTIONS:
            return ndim - 1
        if isinstance(what, ELEMENTWISE_MODULES) or what in ELEMENTWISE:
            waiting += node.all_input_nodes
    return channel_axis(ndim)
