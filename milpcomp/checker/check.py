"""`check`: prove every verdict of a report again, by other means than those that produced it.

    stably inactive, stably active   the checker's own bounds have the sign claimed, recorded proofs checked on the way
    unstable                         both witnesses lie in the domain and have the signs claimed
    resting on a solver's word,
    or on a proof not kept           not checkable, and listed as such
    undecided                        no claim

Whatever the kind, a claim that a witness or the checker's bounds refute is rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from milpcomp.checker.arithmetic import require_ieee
from milpcomp.checker.claims import (
    ACTIVE,
    INACTIVE,
    ON_TRUST,
    SOLVER,
    UNDECIDED,
    UNSTABLE,
    Claim,
    Unreadable,
    read_claims,
    read_domain,
    read_witnesses,
    require_same,
)
from milpcomp.checker.document import INPUT, Model, read_network
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import BoolArray, FloatArray
from milpcomp.checker.result import Checked, Entry, Finding
from milpcomp.checker.sections import prove_sections, read_sections
from milpcomp.checker.witnesses import Evidence, replay, unusable_rows

Findings = tuple[Finding, str]


def check(network: Any, domain: Any, report: Any) -> Checked:
    """Check every verdict of `report` on `network` over `domain`.

    Parameters
    ----------
    network : Network
        Read through its ``document()`` only.
    domain : Box
        Read through its ``lower`` and ``upper`` only.
    report : Report
        What a run of `certify` returned or `load_report` read. Nothing in it is believed.

    Returns
    -------
    Checked
        One entry per neuron: accepted, rejected, not checkable or no claim, and why.

    Raises
    ------
    ResultError
        If the report is about another network or another domain.
    NetworkError, DomainError
        If the network or the domain is not usable.

    Notes
    -----
    **Trusts** that ``network.document()`` shows the network that is meant, and IEEE float64 arithmetic. Digests, layer
    semantics, signs and bounds are all worked out anew, by code that shares nothing with the provers.
    """
    model = read_network(network)
    return examine(model, read_domain(domain, model), report)[0]


def examine(model: Model, domain: tuple[FloatArray, FloatArray], report: Any) -> tuple[Checked, dict[str, Interval]]:
    """Check a report on a network and a domain that were read already; return also the bounds that were proved."""
    require_ieee()
    require_same(report, model, domain)
    claims, problems = read_claims(report, model)
    sections, unreadable = read_sections(report, model)
    problems += unreadable
    try:
        witnesses = read_witnesses(report, model)
    except Unreadable as error:
        problems.append(str(error))
        witnesses = np.zeros((0, model.size(INPUT)))
    outside = unusable_rows(witnesses, domain)
    problems += [f"witness {row} lies outside the domain" for row in np.flatnonzero(outside)[:1]]
    evidence = replay(model, claims, witnesses, ~outside)
    proved = prove_sections(model, domain, sections)
    problems += proved.problems
    entries = []
    for step in model.rectifiers:
        reach, seen = proved.bounds[step.source], evidence[step.name]
        for unit in range(model.size(step.name)):
            claim = claims.get((step.name, unit), "the report holds no verdict on this neuron")
            finding, reason = _judge(claim, float(reach.lower[unit]), float(reach.upper[unit]), seen, ~outside)
            phase = claim.phase if isinstance(claim, Claim) else ""
            leaves = sum(proved.leaves.get((step.name, unit, upper), 0) for upper in (False, True))
            if leaves and finding is Finding.ACCEPTED and phase in (INACTIVE, ACTIVE):
                reason += f", by {leaves} case{'s' * (leaves != 1)}"
            entries.append(Entry(step.name, unit, phase, finding, reason))
    return Checked(tuple(entries), tuple(problems)), proved.bounds


def _judge(claim: Claim | str, lower: float, upper: float, seen: Evidence, usable: BoolArray) -> Findings:
    """Return the finding on one claim, given the checker's own bounds and what the witnesses prove."""
    if isinstance(claim, str):
        return Finding.REJECTED, claim
    refutation = _refutation(claim, lower, upper, seen)
    if refutation:
        return Finding.REJECTED, refutation
    if claim.phase == UNDECIDED:
        return Finding.NO_CLAIM, "undecided"
    if claim.phase == UNSTABLE:
        return _judge_unstable(claim, seen, usable)
    if claim.proof in ON_TRUST:
        what = "the word of a solver" if claim.proof == SOLVER else "a proof by cases that was too large to keep"
        return Finding.NOT_CHECKABLE, f"rests on {what}"
    if upper <= 0 if claim.phase == INACTIVE else lower >= 0:
        return Finding.ACCEPTED, f"proved bounds [{lower:.6g}, {upper:.6g}]"
    return Finding.REJECTED, f"not proved: the checker's own bounds are [{lower:.6g}, {upper:.6g}]"


def _refutation(claim: Claim, lower: float, upper: float, seen: Evidence) -> str:
    """Return why the claim is false, or "" where nothing known refutes it."""
    floor, ceiling = float(seen.floor[claim.unit]), float(seen.ceiling[claim.unit])
    if floor > claim.upper or ceiling < claim.lower:
        return f"a witness reaches beyond its claimed bounds [{claim.lower:.6g}, {claim.upper:.6g}]"
    if lower > claim.upper or upper < claim.lower:
        return f"the checker's bounds [{lower:.6g}, {upper:.6g}] exclude its claimed [{claim.lower}, {claim.upper}]"
    if claim.phase == INACTIVE and max(floor, lower) > 0:
        return f"refuted: its pre-activation reaches {max(floor, lower):.6g}"
    if claim.phase == ACTIVE and min(ceiling, upper) < 0:
        return f"refuted: its pre-activation reaches {min(ceiling, upper):.6g}"
    return ""


def _judge_unstable(claim: Claim, seen: Evidence, usable: BoolArray) -> Findings:
    for side, row, proved in (("active", claim.active, seen.active), ("inactive", claim.inactive, seen.inactive)):
        if row is None or not 0 <= row < len(usable) or not usable[row]:
            return Finding.REJECTED, f"its {side} witness {row} is no input of the domain"
        if not proved[claim.unit]:
            return Finding.REJECTED, f"its {side} witness {row} does not have the sign claimed"
    return Finding.ACCEPTED, f"witnesses {claim.active} and {claim.inactive}"
