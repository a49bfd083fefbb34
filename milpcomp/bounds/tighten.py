"""Bounds of every value of a network over a domain: by intervals, and tightened in sweeps of linear bounds.

Sweeps can follow each other, as verdicts make neurons stable and targets fewer: each starts from the bounds of the last
one and meets them, so bounds never get looser. See `milpcomp.bounds.sweep` for what a sweep does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.bounds.interval import Interval, propagate
from milpcomp.bounds.slopes import LinearProof
from milpcomp.bounds.sweep import Sweep, Targets
from milpcomp.domain import Box
from milpcomp.errors import DomainError
from milpcomp.network import INPUT, Network, Rectifier
from milpcomp.network.layers import FloatArray

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
    targets: Targets | None = None,
    steps: int = 20,
    deadline: float | None = None,
    on_layer: OnLayer | None = None,
) -> Bounds:
    """Return bounds that are nowhere looser than `bounds`, after one sweep.

    Parameters
    ----------
    network : Network
    domain : Box
    bounds : Bounds
        Proved bounds over this domain: of `interval_bounds`, or of an earlier sweep.
    targets : mapping from rectifier name to (lower mask, upper mask), optional
        Flat boolean arrays: of which neurons a lower bound >= 0, or an upper bound <= 0, would decide something. A
        layer that is not named has no targets. Without this argument all neurons are targets.
    steps : int
        Steps of slope optimisation; 0 for default slopes only.
    deadline : float, optional
        ``time.monotonic()`` value after which the remaining layers get interval steps only.
    on_layer : callable, optional
        Called with (rectifier name, lower, upper), flat, when a layer's pre-activations are done.

    Raises
    ------
    DomainError
        If the domain does not fit, or `bounds` are over another one.

    Notes
    -----
    **Trusts** `bounds`, and what `milpcomp.bounds.rounding` trusts.
    """
    box, given = domain.fit(network.input_shape), bounds.values[INPUT]
    if not box.same_as(Box(given.lower, given.upper)):
        raise DomainError("the bounds to tighten were proved over another domain")
    if targets is None:
        everything = {node.name: np.ones(network.width(node.name), dtype=bool) for node in network.rectifiers}
        targets = {layer: (mask, mask) for layer, mask in everything.items()}
    first = 1 + max((proof.round for proof in bounds.proofs), default=-1)
    sweep = Sweep(network, bounds.values, targets, steps, float("inf") if deadline is None else deadline, first)
    for name in (INPUT, *(node.name for node in network.nodes)):
        layers = [reader.name for reader in network.consumers(name) if isinstance(reader.layer, Rectifier)]
        if name != INPUT:
            sweep.visit(network[name], layers)
        if on_layer is not None:
            for layer in layers:
                on_layer(layer, sweep.values[name].lower.reshape(-1), sweep.values[name].upper.reshape(-1))
    return Bounds(sweep.values, bounds.proofs + tuple(sweep.proofs))
