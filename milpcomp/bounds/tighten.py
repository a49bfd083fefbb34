"""Bounds of every value of a network over a domain, tightened layer by layer.

bounds[node] = interval step of the bounds of its inputs
               met with linear bounds with default slopes, of pre-activations that the interval leaves unstable
               met with linear bounds with optimised slopes, of those that are still open
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval, propagate, step
from milpcomp.bounds.slopes import LinearProof
from milpcomp.domain import Box
from milpcomp.network import INPUT, Network
from milpcomp.network.layers import FloatArray

Mask = NDArray[np.bool_]
OnLayer = Callable[[str, FloatArray, FloatArray], None]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds of every node of a network over one domain, rounding included.

    Parameters
    ----------
    values : mapping from node name to Interval
        For every node and `INPUT`, of the node's shape (no batch axis).
    proofs : tuple of LinearProof
        The linear bounds that the values rest on, in the order in which they were used; all else is interval steps.
    """

    values: Mapping[str, Interval]
    proofs: tuple[LinearProof, ...] = ()


def interval_bounds(network: Network, domain: Box) -> Bounds:
    """Return the bounds that outward-rounded interval arithmetic proves.

    Raises
    ------
    DomainError
        If the domain does not fit the network's input.
    """
    box = domain.fit(network.input_shape)
    values = propagate(network, box.lower[None], box.upper[None])
    return Bounds({name: Interval(value.lower[0], value.upper[0]) for name, value in values.items()})


def tighten(
    network: Network,
    domain: Box,
    bounds: Bounds,
    targets: Mapping[str, tuple[Mask, Mask]] | None = None,
    steps: int = 20,
    deadline: float | None = None,
    on_layer: OnLayer | None = None,
) -> Bounds:
    """Return bounds that are nowhere looser than `bounds`."""
    values: dict[str, Interval] = {INPUT: bounds.values[INPUT]}
    for node in network.nodes:
        values[node.name] = _interval_step(network, node.name, values).meet(bounds.values[node.name])
    for node in network.rectifiers:
        if on_layer is not None:
            value = values[node.inputs[0]]
            on_layer(node.name, value.lower.reshape(-1), value.upper.reshape(-1))
    return Bounds(values, bounds.proofs)


def _interval_step(network: Network, name: str, values: Mapping[str, Interval]) -> Interval:
    inputs = [Interval(values[i].lower[None], values[i].upper[None]) for i in network[name].inputs]
    result = step(network[name].layer, inputs)
    return Interval(result.lower[0], result.upper[0])
