"""Reports written by hand: from true ranges, from interval bounds, or neuron by neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from milpcomp.bounds.interval import propagate
from milpcomp.bounds.rational import round_down, round_up
from milpcomp.domain import Box
from milpcomp.network import Network
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict


def verdict(layer: str, unit: int, lower: float, upper: float, proof: Proof | None = None) -> Verdict:
    """Return the verdict that bounds speak for; a neuron whose bounds leave its sign open is unstable."""
    if upper <= 0:
        phase, default = Phase.STABLY_INACTIVE, Proof.CERTIFIED
    elif lower >= 0:
        phase, default = Phase.STABLY_ACTIVE, Proof.CERTIFIED
    else:
        phase, default = Phase.UNSTABLE, Proof.WITNESSED
    witness = 0 if phase is Phase.UNSTABLE else None
    return Verdict(layer, unit, phase, Stage.BOUND, proof or default, lower, upper, witness, witness)


def report_of(network: Network, domain: Box, verdicts: Sequence[Verdict]) -> Report:
    """Return a report with these verdicts."""
    box = domain.fit(network.input_shape)
    return Report(network.digest, box, tuple(verdicts), box.lower[None])


def true_report(network: Network, domain: Box, ranges: Mapping[str, Sequence[tuple[Any, Any]]]) -> Report:
    """Return the report that true ranges (exact Fractions) of all pre-activations make."""
    verdicts = [
        verdict(node.name, unit, round_down(Fraction(low)), round_up(Fraction(high)))
        for node in network.rectifiers
        for unit, (low, high) in enumerate(ranges[node.name])
    ]
    return report_of(network, domain, verdicts)


def interval_report(network: Network, domain: Box) -> Report:
    """Return the report that interval arithmetic alone makes; a neuron whose sign it leaves open is undecided."""
    box = domain.fit(network.input_shape)
    values = propagate(network, box.lower[None], box.upper[None])
    verdicts = []
    for node in network.rectifiers:
        bounds = values[node.inputs[0]]
        pairs = zip(bounds.lower.reshape(-1).tolist(), bounds.upper.reshape(-1).tolist(), strict=True)
        for unit, (low, high) in enumerate(pairs):
            found = verdict(node.name, unit, low, high)
            if found.phase is Phase.UNSTABLE:
                found = Verdict(node.name, unit, Phase.UNDECIDED, Stage.NONE, Proof.NONE, low, high)
            verdicts.append(found)
    return report_of(network, box, verdicts)


def points(domain: Box, shape: tuple[int, ...], count: int = 200, seed: int = 0) -> np.ndarray:
    """Return random points of a domain, corners among them."""
    box = domain.fit(shape)
    shares = np.random.default_rng(seed).random((count, *shape))
    shares[::2] = np.round(shares[::2])
    return box.lower + shares * (box.upper - box.lower)
