"""Batch-norm scales gamma beside the slopes that follow them.

A `Network` holds batch norm as it works, scale = gamma / sqrt(variance + eps), from which gamma cannot be told. The
checkpoint tells it: a batch norm ``name`` has ``name.weight`` and ``name.running_var``. Its node in the network has the
same name, so the activation it belongs to is found by walking the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from milpcomp.channels.slopes import channel_slopes
from milpcomp.network.affine import Scale
from milpcomp.network.graph import INPUT, Network
from milpcomp.network.layers import Add, FloatArray

if TYPE_CHECKING:
    from torch import Tensor

STATISTIC = ".running_var"


def norm_scales(tensors: Mapping[str, Tensor]) -> dict[str, FloatArray]:
    """Return gamma of every batch norm of a state dict, by the name of the batch norm."""
    names = [name.removesuffix(STATISTIC) for name in tensors if name.endswith(STATISTIC)]
    return {
        name: tensors[f"{name}.weight"].detach().double().cpu().numpy() for name in names if f"{name}.weight" in tensors
    }


def slopes_beside_scales(
    network: Network, scales: Mapping[str, FloatArray]
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return (gamma, slopes) of each activation that follows one of the batch norms, directly or behind an addition.

    Parameters
    ----------
    network : Network
    scales : mapping from node name to ndarray, shape (channels,)
    """
    found = {}
    for name, slopes in channel_slopes(network).items():
        norm = _norm_before(network, name, scales)
        if norm is not None and len(scales[norm]) == len(slopes):
            found[name] = (scales[norm], slopes)
    return found


def _norm_before(network: Network, name: str, scales: Mapping[str, FloatArray]) -> str | None:
    """Return the batch norm in front of an activation; of an addition, the first term that is one."""
    for source in network[name].inputs:
        if source in scales and isinstance(network[source].layer, Scale):
            return source
        if source != INPUT and isinstance(network[source].layer, Add):
            return next((term for term in network[source].inputs if term in scales), None)
    return None
