"""What follows from a proof by cases: its bound, and what the interval step makes of it in later layers."""

from __future__ import annotations

from dataclasses import replace

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.interval import Interval, step
from milpcomp.bounds.tighten import Bounds
from milpcomp.network import Network


def with_proof(network: Network, bounds: Bounds, proof: BranchProof) -> Bounds:
    """Return bounds of every value, tightened by a proof.

    Notes
    -----
    **Trusts** `bounds` and `proof`.
    """
    source = network[proof.layer].inputs[0]
    values = dict(bounds.values)
    values[source] = _narrowed(values[source], proof)
    changed = {source}
    for node in network.nodes:
        if changed.isdisjoint(node.inputs):
            continue
        inputs = [Interval(values[name].lower[None], values[name].upper[None]) for name in node.inputs]
        found = step(node.layer, inputs)
        values[node.name] = values[node.name].meet(Interval(found.lower[0], found.upper[0]))
        changed.add(node.name)
    return replace(bounds, values=values)


def _narrowed(value: Interval, proof: BranchProof) -> Interval:
    """Return the bounds of a node with what a proof about one of its units adds."""
    lower, upper = value.lower.copy(), value.upper.copy()
    if proof.side == "upper":
        upper.reshape(-1)[proof.unit] = min(upper.reshape(-1)[proof.unit], proof.bound)
    else:
        lower.reshape(-1)[proof.unit] = max(lower.reshape(-1)[proof.unit], proof.bound)
    return Interval(lower, upper)
