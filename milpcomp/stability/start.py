"""What a run takes over from an earlier report of the same network and domain.

    bounds        of all pre-activations, as the verdicts state them; all other values follow by interval steps
    verdicts      each with its stage, its proof and its witnesses: what rests on a solver's word goes on doing so
    proofs        as they are; the run adds a section (`milpcomp.stability.sections`)

Nothing is proved again here. A report may be false, if someone changed its file; what is built on it may then be false
too, and `milpcomp.check` rejects every verdict of the new report that its proofs do not give. To have checked the old
one is not enough: the check is about verdicts, and bounds that a report states are no part of them. Only what
contradicts itself is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from milpcomp.bounds.interval import Interval, step
from milpcomp.bounds.tighten import Bounds
from milpcomp.domain import Box
from milpcomp.errors import ResultError, SettingsError
from milpcomp.network import INPUT, Network
from milpcomp.stability.report import Report, is_duration
from milpcomp.stability.verdict import ON_TRUST, STABLE, Phase, Proof, Stage, Verdict


def require_same(report: object, network: Network, domain: Box) -> Report:
    """Return `report` if it is a sound beginning for a run on `network` over `domain`.

    Raises
    ------
    SettingsError
        If it is no report.
    ResultError
        If it is about another network or domain, or contradicts itself.
    """
    if not isinstance(report, Report):
        raise SettingsError(f"start must be a Report, got {type(report).__name__}; read a file with load_report")
    if report.network_digest != network.digest:
        raise ResultError(
            f"the report to start from is about another network (digest {str(report.network_digest)[:12]}) than this "
            f"one (digest {network.digest[:12]}); start from a report about the same network, or from none"
        )
    theirs = report.domain
    if not theirs.same_as(domain):
        raise ResultError(
            f"the report to start from is about another domain ({theirs!r}, digest {theirs.digest[:12]}) than this "
            f"one ({domain!r}, digest {domain.digest[:12]}); start from a report about the same domain, or from none"
        )
    neurons = [(node.name, unit) for node in network.rectifiers for unit in range(network.width(node.name))]
    if [(verdict.layer, verdict.unit) for verdict in report.verdicts] != neurons:
        raise ResultError("the report to start from does not hold one verdict on each neuron, in order; certify again")
    require_sound(report, "the report to start from")
    return report


def require_sound(report: Report, what: str) -> None:
    """Raise `ResultError`, naming `what`, if a report contradicts itself."""
    for reason in _contradictions(report):
        raise ResultError(f"{what} contradicts itself: {reason}; certify again without it")


def stated_bounds(report: Report, network: Network) -> Bounds:
    """Return the bounds of every value that follow from those that a report states.

    Raises
    ------
    ResultError
        If they contradict each other.

    Notes
    -----
    **Trusts** the report.
    """
    domain, known = report.domain, dict[str, Interval]()
    for layer, verdicts in report.layers().items():
        source = network[layer].inputs[0]
        ends = (np.array([getattr(v, end) for v in verdicts], dtype=np.float64) for end in ("lower", "upper"))
        stated = Interval(*(end.reshape(network.shape(source)) for end in ends))
        known[source] = stated.meet(known[source]) if source in known else stated
    values = {INPUT: Interval(domain.lower, domain.upper)}
    for node in network.nodes:
        found = step(node.layer, [Interval(values[n].lower[None], values[n].upper[None]) for n in node.inputs])
        here = Interval(found.lower[0], found.upper[0])
        values[node.name] = here.meet(known[node.name]) if node.name in known else here
        if (values[node.name].lower > values[node.name].upper).any():
            raise ResultError(f"the report to start from contradicts itself: its bounds of {node.name!r} cannot hold")
    return Bounds(values)


def _contradictions(report: Report) -> Iterable[str]:
    """Yield what cannot be true of a report that a run has written."""
    sections, rows = report.sections, len(report.witnesses)
    firsts = [section.first for section in sections]
    if sections and (firsts[0] != 0 or sorted({*firsts}) != firsts or firsts[-1] >= len(report.proofs)):
        yield "its sections do not divide its proofs"
    if any(not 0 <= parent < place for place, section in enumerate(sections) for parent in section.parents):
        yield "a section of its proofs rests on a later one"
    if not isinstance(report.settings.get("earlier", []), list):
        yield "its settings are none"
    if not all(map(is_duration, report.stage_seconds.values())):
        yield "its times are none"
    if report.witnesses.dtype != np.float64 or report.witnesses.shape[1:] != report.domain.shape:
        yield "its witnesses are no inputs"
    elif not report.domain.contains(report.witnesses).all():
        yield "a witness lies outside the domain"
    for verdict in report.verdicts:
        if not _possible(verdict, rows):
            yield f"its verdict on {verdict.layer}[{verdict.unit}] does not fit its bounds, proof or witnesses"


def _possible(verdict: Verdict, witnesses: int) -> bool:
    """Tell whether the pieces of a verdict go together."""
    seen = [row for row in (verdict.active_witness, verdict.inactive_witness) if row is not None]
    if not verdict.lower <= verdict.upper or any(not 0 <= row < witnesses for row in seen):
        return False
    if (verdict.stage is Stage.NONE) != (verdict.phase is Phase.UNDECIDED):
        return False
    if verdict.phase is Phase.UNSTABLE:
        return verdict.proof is Proof.WITNESSED and len(seen) == 2
    if verdict.phase not in STABLE:
        return verdict.proof is Proof.NONE and len(seen) < 2
    inactive = verdict.phase is Phase.STABLY_INACTIVE
    if (verdict.active_witness if inactive else verdict.inactive_witness) is not None:
        return False
    proved = verdict.upper <= 0 if inactive else verdict.lower >= 0
    return verdict.proof in ON_TRUST or (verdict.proof is Proof.CERTIFIED and proved)
