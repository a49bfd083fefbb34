"""`compress`: from proved verdicts to a smaller network, edit by edit, with a proved bound on what they change.

    remove what is zero -> collapse if the output is constant -> layer by layer, inputs first:
    fix constants, join parallel channels, merge dependent ones,
    with a positive tolerance also fix channels whose outputs hardly move, fold what is linear

Every edit is proposed on the network as it is by then, and admitted only if the proved deviation of all edits together
stays within the tolerance; one that does not is tried again in halves. The order, and hence the result, is a function
of the network and the report alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.compression.deviation import deviation, ranges
from milpcomp.compression.edits import Collapse, Edit, Fix, Join, Merge, Remove, by_layer
from milpcomp.compression.evidence import Evidence, evidence
from milpcomp.compression.liveness import liveness
from milpcomp.compression.propose import Site, constants, dependents, folds, narrow, parallels, smaller
from milpcomp.compression.result import Compression, Skipped, Tolerance
from milpcomp.compression.rewrite import prepare, replay
from milpcomp.compression.samples import float32_gap, samples
from milpcomp.cost import cost
from milpcomp.errors import EditError, NetworkError, SettingsError
from milpcomp.network.graph import Network, Node, require_network
from milpcomp.network.layers import FloatArray, Rectifier, size
from milpcomp.network.opaque import refuse_opaque
from milpcomp.stability.report import Report

ROUNDING = 1e-9
"""With ``tolerance="rounding"``, the proved deviation may be this part of the range of the outputs."""

TRIALS = 64
"""How many parts of one edit are tried before the rest of it is left out."""


def compress(
    network: Network,
    report: Report,
    trust_solver: bool = False,
    tolerance: Tolerance = "rounding",
    data: ArrayLike | None = None,
) -> Compression:
    """Return a smaller network that computes the same function on the report's domain.

    Parameters
    ----------
    network : Network
    report : Report
        Of `milpcomp.certify` for this network. Undecided neurons are never acted upon; what holds of any neuron, that
        copies can be joined and that nobody misses what nobody reads, holds of them too.
    trust_solver : bool
        Act also on verdicts that rest on the word of a MIP solver.
    tolerance : "rounding" or float
        ``"rounding"``: edits that are exact up to the rounding of their own arithmetic, with a proved deviation of at
        most 1e-9 of the range of the outputs. 0: only edits verified to be exact. A positive number: the proved
        deviation stays at most that.
    data : array_like, shape (N, *input_shape), optional
        Inputs for the measured gap; random ones of the domain if not given.

    Returns
    -------
    Compression

    Raises
    ------
    NetworkError
        If `network` is none, or its inputs have no axis.
    ResultError
        If the report is none, or belongs to another network.
    EditError
        If its verdicts are incomplete or forged.
    SettingsError
        If the tolerance is neither ``"rounding"`` nor a number >= 0, or the data do not fit the network.
    UnsupportedOperatorError
        If the network holds opaque layers.

    Notes
    -----
    **Trusts** the certified verdicts and the bounds of the report, which `milpcomp.check` proves again. The deviation
    bound is derived with `milpcomp.bounds.interval`; `milpcomp.check_compression` derives it with other code.
    """
    check_tolerance(tolerance)
    require_network(network, "compress")
    refuse_opaque(network, "compress")
    if not network.input_shape:
        raise NetworkError("compress needs inputs of at least one axis; give those of shape () the shape (1,)")
    proved = evidence(network, report, trust_solver)
    inputs = samples(network, report.domain, data)
    plan = _Plan(network, report, proved, tolerance, inputs)
    plan.run()
    shrunk = replay(network, plan.edits)
    return Compression(
        network=shrunk.network,
        edits=tuple(plan.edits),
        deviation=plan.deviation,
        measured_gap=float32_gap(network, shrunk.network, inputs),
        samples=len(inputs),
        before=cost(network),
        after=cost(shrunk.network),
        unread=_unread(network, shrunk.network, plan.edits),
        origin=shrunk.origin,
        skipped=tuple(plan.skipped),
        tolerance=tolerance,
        trust_solver=trust_solver,
        original_digest=network.digest,
        domain_digest=report.domain.digest,
    )


class _Plan:
    """The edits admitted so far, and the deviation that is proved for them."""

    def __init__(
        self, network: Network, report: Report, proved: dict[str, Evidence], tolerance: Tolerance, inputs: FloatArray
    ) -> None:
        self.network, self.domain, self.proved = network, report.domain, proved
        self.tolerance, self.inputs = tolerance, inputs
        self.known = ranges(network, report.domain, {layer: found.bounds for layer, found in proved.items()})
        self.edits: list[Edit] = []
        self.skipped: list[Skipped] = []
        self.deviation: FloatArray = np.zeros(network.output_shape)
        self._sited: tuple[Site | None, int] = (None, 0)

    def run(self) -> None:
        """Find edits in the order that the module describes."""
        for layer, found in self.proved.items():
            channels = tuple(np.flatnonzero(found.zero).tolist())
            if channels:
                self.edits.append(Remove(layer, channels, found.of(channels)))
        if self._collapse():
            return
        for layer in self.proved:
            self._admit_all(layer, constants)
            self._admit_all(layer, parallels)
            self._admit_all(layer, dependents)
            if not isinstance(self.tolerance, str) and self.tolerance > 0:
                self._fix_narrow(layer)
            self._admit_all(layer, folds)
        self._collapse()

    def _site(self, layer: str) -> Site:
        site, count = self._sited
        if site is None or site.layer != layer or count != len(self.edits):
            site = Site.at(self.network, prepare(self.network, self.edits).fused, self.proved[layer])
            self._sited = site, len(self.edits)
        return site

    @cached_property
    def limit(self) -> float:
        """The proved deviation that is allowed."""
        if not isinstance(self.tolerance, str):
            return float(self.tolerance)
        outputs = self.network.forward(self.inputs)
        spread = float(np.max(np.ptp(outputs, axis=0), initial=0.0)) if len(outputs) else 0.0
        size = float(np.abs(outputs).max(initial=0.0))
        return ROUNDING * (spread if spread > ROUNDING * size else size)

    def _admit_all(self, layer: str, propose: Callable[[Site], Iterator[Edit]]) -> None:
        for edit in propose(self._site(layer)):
            count = len(self.skipped)
            self._admit(edit, TRIALS)
            parts = self.skipped[count:]
            if parts:  # the reason of the first part stands for those of the others
                channels = tuple(sorted({channel for part in parts for channel in part.channels}))
                self.skipped[count:] = [replace(parts[0], channels=channels)]

    def _fix_narrow(self, layer: str) -> None:
        """Fix as many of the channels that hardly move as the tolerance allows, the cheapest first."""
        site = self._site(layer)
        bases = {c for edit in by_layer(self.edits).get(layer, []) if isinstance(edit, Join | Merge) for c in edit.base}
        candidates = [pair for pair in narrow(site, self.known[layer]) if pair[0] not in bases]
        least, most = 0, len(candidates)
        while least < most:
            count = (least + most + 1) // 2
            channels, values = zip(*sorted(candidates[:count]), strict=True)
            edit = Fix(layer, channels, values, site.proved.of(channels))
            found = deviation(self.network, [*self.edits, edit], self.domain, self.known)
            if np.max(found, initial=0.0) <= self.limit:
                least, best = count, (edit, found)
            else:
                most = count - 1
        if least:
            self.edits.append(best[0])
            self.deviation = best[1]

    def _admit(self, edit: Edit, trials: int) -> int:
        """Take an edit, or those parts of it that the tolerance allows; return the trials that are left."""
        try:
            found = deviation(self.network, [*self.edits, edit], self.domain, self.known)
        except (EditError, NetworkError) as error:
            self._skip(edit, str(error))
            return trials
        worst = float(np.max(found, initial=0.0))
        if worst == 0 or worst <= self.limit:
            self.edits.append(edit)
            self.deviation = found
            return trials
        parts = smaller(edit) if trials > 0 else []
        if not parts:
            self._skip(edit, f"the proved deviation would be {worst:.2g}, more than {self.limit:.2g}")
        trials -= len(parts)
        for part in parts:
            trials = self._admit(part, trials)
        return trials

    def _skip(self, edit: Edit, reason: str) -> None:
        layer = ", ".join(edit.layers) if isinstance(edit, Collapse) else edit.layer
        self.skipped.append(Skipped(layer, type(edit).__name__, getattr(edit, "channels", ()), reason))

    def _collapse(self) -> bool:
        """Replace the network by a constant if nothing reaches its output any more."""
        current, layers, nodes = prepare(self.network, self.edits).fused, [], []
        for node in current.nodes:
            if isinstance(node.layer, Rectifier):
                shape, found = current.shape(node.name), self.proved[node.name]
                still = found.constant.reshape(shape[0], size(shape[1:])) | found.zero[:, None]
                layers += [node.name] * bool(still.all())
                slopes = np.where(still, 0.0, 1.0).reshape(shape)
                node = Node(node.name, Rectifier(slopes, slopes), node.inputs)
            nodes.append(node)
        if not layers or not liveness(Network(current.input_shape, nodes, current.output)).fixed[current.output].all():
            return False
        count = len(self.edits)
        value = self.network.forward(self.domain.lower + (self.domain.upper - self.domain.lower) / 2)
        if not np.isfinite(value).all():
            return False
        verdicts = tuple(verdict for layer in layers for verdict in self.proved[layer].verdicts)
        self._admit(Collapse(tuple(layers), value, verdicts), 0)
        return len(self.edits) > count


def _unread(network: Network, smaller: Network, edits: Sequence[Edit]) -> int:
    """Return how many neurons went that no edit mentions."""
    if any(isinstance(edit, Collapse) for edit in edits):
        return 0
    gone = sum(network.width(node.name) for node in network.rectifiers)
    gone -= sum(smaller.width(node.name) for node in smaller.rectifiers)
    for layer, own in by_layer(edits).items():
        per_channel = network.width(layer) // max(1, network.shape(layer)[0])
        gone -= per_channel * sum(len(edit.channels) for edit in own)
    return max(0, gone)


def check_tolerance(tolerance: Tolerance) -> None:
    """Raise `SettingsError` unless the tolerance is ``"rounding"`` or a finite number >= 0."""
    number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
    if tolerance != "rounding" and not (number and 0 <= float(tolerance) < math.inf):
        raise SettingsError(f'the tolerance must be "rounding" or a number >= 0, got {tolerance!r}')
