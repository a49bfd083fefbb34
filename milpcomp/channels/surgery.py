"""Cutting off what is zero or unread, as a compression that needs no verdict.

rectifiers and affine layers only   `milpcomp.compress` on a report in which every neuron is undecided
opaque layers (attention, GELU)     `shrink` alone: nothing can be bounded, and nothing is rounded
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.channels.measure import Images
from milpcomp.compression import Compression, compress
from milpcomp.compression.liveness import liveness
from milpcomp.compression.samples import float32_gap, samples
from milpcomp.compression.shrink import shrink
from milpcomp.cost import cost
from milpcomp.domain import Box
from milpcomp.network.graph import Network
from milpcomp.network.opaque import Opaque
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict


def cut(network: Network, report: Report, tolerance: float | str, data: Images | None) -> Compression:
    """Return `network` without what its zero slopes, and zero weights, make superfluous.

    Parameters
    ----------
    network : Network
    report : Report
        As `structural_report` returns it.
    tolerance : "rounding" or float
        For edits that round; without opaque layers only.
    data : ndarray, shape (N, *input_shape), optional
        Inputs for the measured float32 gap.
    """
    if not is_opaque(network):
        return compress(network, report, tolerance=tolerance, data=data)
    shrunk, inputs = shrink(network), samples(network, report.domain, data)
    before, after = cost(network), cost(shrunk.network)
    return Compression(
        network=shrunk.network,
        edits=(),
        deviation=np.zeros(network.output_shape),
        measured_gap=float32_gap(network, shrunk.network, inputs),
        samples=len(inputs),
        before=before,
        after=after,
        unread=max(0, before.neurons - after.neurons),
        origin=shrunk.origin,
        skipped=(),
        tolerance=tolerance,
        trust_solver=False,
        original_digest=network.digest,
        domain_digest=report.domain.digest,
    )


def structural_report(network: Network, domain: Box) -> Report:
    """Return a report that decides nothing but what the structure alone decides: pre-activations that are constants.

    All other neurons are undecided, so what follows from the report is true of every domain. Each verdict carries the
    interval bounds over `domain`, where there are any.
    """
    bounds = {} if is_opaque(network) else interval_bounds(network, domain).values
    fixed, verdicts = liveness(network).fixed, []
    for node in network.rectifiers:
        source, width = node.inputs[0], network.width(node.name)
        unbounded = Interval(np.full(width, -np.inf), np.full(width, np.inf))
        found = bounds.get(source, unbounded)
        columns = (found.lower, found.upper, fixed[source])
        for unit, row in enumerate(zip(*(column.reshape(-1).tolist() for column in columns), strict=True)):
            verdicts.append(_verdict(node.name, unit, *row))
    return Report(
        network.digest,
        domain,
        tuple(verdicts),
        np.zeros((0, *network.input_shape)),
        settings={"method": "none: channels go by their slopes"},
        versions={"milpcomp": version("milpcomp")},
    )


def _verdict(layer: str, unit: int, lower: float, upper: float, fixed: bool) -> Verdict:
    """Return the verdict on a neuron: undecided, unless its pre-activation is a constant whose sign is proved."""
    if fixed and upper <= 0:
        return Verdict(layer, unit, Phase.STABLY_INACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED, lower, upper)
    if fixed and lower >= 0:
        return Verdict(layer, unit, Phase.STABLY_ACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED, lower, upper)
    return Verdict(layer, unit, Phase.UNDECIDED, Stage.NONE, Proof.NONE, lower, upper)


def is_opaque(network: Network) -> bool:
    """Tell whether a network has layers through which nothing can be bounded or proved."""
    return any(isinstance(node.layer, Opaque) for node in network.nodes)
