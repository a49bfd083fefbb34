"""Everything that one analysis found, and the JSON form of results for programs that read them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milpcomp.cost import cost
from milpcomp.domain import Box
from milpcomp.network import Network
from milpcomp.report.tables import on_trust, proved_counts, solver_count
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase

if TYPE_CHECKING:
    from milpcomp.checker import Checked, CheckedCompression
    from milpcomp.compression import Compression


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results of `milpcomp.analyze`.

    Parameters
    ----------
    source : str
        Where the network came from: a path, or the name of a class.
    network : Network
        As read.
    report : Report
        The verdicts.
    compression : Compression
        The smaller network and how it was obtained.
    checked_compression : CheckedCompression
        What the independent checker says about the two.
    seconds : mapping
        Wall-clock seconds per step: load, certify, compress, check.
    out : Path or None
        The folder that the results were written to.
    """

    source: str
    network: Network
    report: Report
    compression: Compression
    checked_compression: CheckedCompression
    seconds: Mapping[str, float]
    out: Path | None = None

    @property
    def checked(self) -> Checked:
        """What the independent checker says about the verdicts."""
        return self.checked_compression.report

    @property
    def accepted(self) -> bool:
        """Whether the checker rejected nothing."""
        return self.checked.accepted and self.checked_compression.accepted

    def document(self) -> dict[str, Any]:
        """Return the results, JSON-ready."""
        return {
            "source": self.source,
            "network": network_document(self.network),
            "certificate": report_document(self.report),
            "compression": compression_document(self.compression),
            "check": checked_document(self.checked),
            "check_compression": checked_compression_document(self.checked_compression),
            "seconds": dict(self.seconds),
        }


def network_document(network: Network) -> dict[str, Any]:
    """Return what a network is and costs, JSON-ready."""
    total = cost(network)
    return {
        "digest": network.digest,
        "input_shape": list(network.input_shape),
        "output_shape": list(network.output_shape),
        "hidden": {node.name: network.width(node.name) for node in network.rectifiers},
        "neurons": total.neurons,
        "parameters": total.parameters,
        "slopes": total.slopes,
        "flops": total.flops,
    }


def report_document(report: Report) -> dict[str, Any]:
    """Return the counts of a report and how they were obtained, JSON-ready.

    ``solver`` is how many of the stable neurons counted rest on a MIP solver's word: those are not proved.
    """
    return {
        "network": report.network_digest,
        "domain": domain_document(report.domain),
        "ended": report.ended,
        "counts": report.counts(),
        "solver": solver_count(report.verdicts),
        "layers": {
            layer: {phase.value: sum(v.phase is phase for v in verdicts) for phase in Phase}
            | {"solver": solver_count(verdicts)}
            for layer, verdicts in report.layers().items()
        },
        "proofs": dict(Counter(verdict.proof.value for verdict in report.verdicts)),
        "stages": dict(Counter(verdict.stage.value for verdict in report.verdicts)),
        "stage_seconds": dict(report.stage_seconds),
        "settings": dict(report.settings),
        "versions": dict(report.versions),
    }


def domain_document(domain: Box) -> dict[str, Any]:
    """Return what a domain is, JSON-ready: its digest, shape and extremes."""
    empty = domain.lower.size == 0
    return {
        "digest": domain.digest,
        "shape": list(domain.shape),
        "least": None if empty else float(domain.lower.min()),
        "greatest": None if empty else float(domain.upper.max()),
    }


def compression_document(compression: Compression) -> dict[str, Any]:
    """Return what a compression did, JSON-ready."""
    return {
        "network": network_document(compression.network),
        "edits": dict(Counter(type(edit).__name__ for edit in compression.edits)),
        "left_out": len(compression.skipped),
        "deviation_bound": number(compression.deviation_bound),
        "measured_gap": number(compression.measured_gap),
        "samples": compression.samples,
        "tolerance": compression.tolerance,
        "trust_solver": compression.trust_solver,
        "on_trust": on_trust(compression),
    }


def checked_document(checked: Checked) -> dict[str, Any]:
    """Return what the checker says about verdicts, JSON-ready, with every rejection."""
    return {
        "accepted": checked.accepted,
        "counts": checked.counts(),
        "proved": proved_counts(checked),
        "problems": list(checked.problems),
        "rejections": [
            {"layer": entry.layer, "unit": entry.unit, "phase": entry.phase, "reason": entry.reason}
            for entry in checked.rejections
        ],
    }


def checked_compression_document(checked: CheckedCompression) -> dict[str, Any]:
    """Return what the checker says about a compression, JSON-ready, with every rejection."""
    return {
        "accepted": checked.accepted,
        "on_trust": bool(checked.on_trust),
        "counts": checked.counts(),
        "deviation_bound": number(checked.deviation_bound),
        "claimed_bound": number(checked.claimed_bound),
        "problems": list(checked.problems),
        "rejections": [
            {"kind": entry.kind, "layers": list(entry.layers), "channels": list(entry.channels), "reason": entry.reason}
            for entry in checked.rejections
        ],
    }


def number(value: float | None) -> float | None:
    """Return a number as JSON can hold it: None for what is missing or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)
