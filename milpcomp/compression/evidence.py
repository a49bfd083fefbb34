"""What a report proves of each rectifier, channel by channel: zero, or linear with a slope.

Nothing in the report is believed unseen: it must belong to the network, hold exactly one well-formed verdict per
neuron in order, and every verdict's type, values and proof must go together. A ``solver`` verdict counts only if
asked for; undecided and unstable neurons count for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval
from milpcomp.compression.edits import is_zero, linear_slope
from milpcomp.compression.validate import check_verdict
from milpcomp.domain import Box
from milpcomp.errors import EditError, ResultError
from milpcomp.network.graph import Network
from milpcomp.network.layers import FloatArray, Rectifier, size
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import ON_TRUST, Proof, Verdict


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is proved of one rectifier with C channels of n units.

    Parameters
    ----------
    layer : str
    verdicts : tuple of Verdict
        One per unit.
    zero : ndarray of bool, shape (C,)
        All outputs of the channel are zero on the domain.
    slope : ndarray, shape (C,)
        The slope with which all units of the channel are linear, NaN where that is not proved.
    constant : ndarray of bool, shape (C * n,)
        The pre-activation is constant, because its certified bounds are equal.
    bounds : Interval of shape (C * n,)
        Proved bounds of the pre-activations.
    """

    layer: str
    verdicts: tuple[Verdict, ...]
    zero: NDArray[np.bool_]
    slope: FloatArray
    constant: NDArray[np.bool_]
    bounds: Interval

    def of(self, channels: Sequence[int]) -> tuple[Verdict, ...]:
        """Return the verdicts on all units of some channels."""
        per_channel = len(self.verdicts) // max(1, len(self.zero))
        return tuple(v for c in channels for v in self.verdicts[c * per_channel : (c + 1) * per_channel])


def evidence(network: Network, report: Report, trust_solver: bool) -> dict[str, Evidence]:
    """Return what `report` proves, by rectifier in topological order.

    Raises
    ------
    ResultError
        If the report is none, or belongs to another network.
    EditError
        If verdicts are missing, repeated, out of order, or malformed.
    """
    if type(report) is not Report:
        raise ResultError(f"{type(report).__name__} is no report; certify returns one, load_report reads one back")
    if report.network_digest != network.digest:
        raise ResultError(
            f"the report belongs to network {str(report.network_digest)[:12]}, not to {network.digest[:12]}; "
            "certify this network"
        )
    if type(report.domain) is not Box or report.domain.shape != network.input_shape:
        raise ResultError(f"the report's domain {report.domain!r} does not have the input shape {network.input_shape}")
    expected = [(node.name, unit) for node in network.rectifiers for unit in range(network.width(node.name))]
    for verdict in report.verdicts:
        check_verdict(verdict)
    if [(verdict.layer, verdict.unit) for verdict in report.verdicts] != expected:
        raise EditError(
            f"the report must hold one verdict for each of the network's {len(expected)} neurons, in order; "
            f"it holds {len(report.verdicts)}, or in another order"
        )
    found, start = {}, 0
    for node in network.rectifiers:
        width = network.width(node.name)
        found[node.name] = _layer(network, node.name, report.verdicts[start : start + width], trust_solver)
        start += width
    return found


def _layer(network: Network, name: str, verdicts: Sequence[Verdict], trust_solver: bool) -> Evidence:
    layer, shape = network[name].layer, network.shape(name)
    assert isinstance(layer, Rectifier)
    positive, negative = (slopes.tolist() for slopes in layer.slopes(shape))
    usable = [verdict if trust_solver or verdict.proof not in ON_TRUST else None for verdict in verdicts]
    triples = list(zip(usable, positive, negative, strict=True))
    zero = np.array([is_zero(*triple) for triple in triples], dtype=bool).reshape(shape[0], size(shape[1:]))
    slopes = [linear_slope(*triple) for triple in triples]
    linear = np.array([np.nan if slope is None else slope for slope in slopes], dtype=float).reshape(zero.shape)
    uniform = (linear == linear[:, :1]).all(axis=1) if linear.shape[1] else np.zeros(shape[0], dtype=bool)
    bounds = Interval(*(np.array([getattr(v, side) for v in verdicts], dtype=float) for side in ("lower", "upper")))
    slope = np.where(uniform, linear[:, 0] if linear.shape[1] else np.nan, np.nan)
    certified = np.array([verdict.proof is Proof.CERTIFIED for verdict in verdicts], dtype=bool)
    constant = certified & (bounds.lower == bounds.upper)
    return Evidence(name, tuple(verdicts), np.asarray(zero.all(axis=1)), slope, constant, bounds)
