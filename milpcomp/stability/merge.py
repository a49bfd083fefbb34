"""`merge`: several reports on one network and one domain become one that holds what any of them knows.

    bounds      the tighter ones of each neuron
    witnesses   all of them, equal ones once; two signs from two reports make a neuron unstable
    verdicts    the best founded: certified or witnessed, then a proof not kept, then a solver's word
    proofs      side by side, each on the ground that it was found on (`milpcomp.stability.sections`)

Reports that contradict each other are refused: one of them is false, and nothing here can tell which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from milpcomp.domain import FloatArray
from milpcomp.errors import ResultError, SettingsError
from milpcomp.stability.report import Report
from milpcomp.stability.sections import united
from milpcomp.stability.start import require_sound
from milpcomp.stability.verdict import ON_TRUST, STABLE, Phase, Proof, Stage, Verdict

WORTH = (Proof.CERTIFIED, Proof.WITNESSED, Proof.UNCERTIFIED, Proof.SOLVER, Proof.NONE)
"""What verdicts rest on, the best first."""

ROWS = ("active_witness", "inactive_witness")


def merge(reports: Iterable[Report]) -> Report:
    """Return one report with everything that several know.

    Parameters
    ----------
    reports : iterable of Report
        On the same network and domain; it does not matter whether they started from a common one.

    Returns
    -------
    Report
        Its ``stage_seconds`` are the longest of each stage, as if all had run side by side; ``ended`` is that of the
        first that was not complete; ``settings`` are those that all share, and under ``merged`` those of each.

    Raises
    ------
    SettingsError
        If there is no report, or something else among them.
    ResultError
        If they are about different networks or domains, or contradict each other.

    Notes
    -----
    **Trusts** the reports: nothing is proved again, so `milpcomp.check` the result if their files may be falsified.
    """
    given = _listed(reports)
    for report in given:
        require_sound(report, "a report to merge")
    _require_same(given)
    witnesses, places = _all_witnesses(given)
    moved = [[_moved(v, places[i]) for v in report.verdicts] for i, report in enumerate(given)]
    seconds = max(sum(report.stage_seconds.values()) for report in given)
    chain = united(report.chain for report in given)
    stages = dict.fromkeys(stage for report in given for stage in report.stage_seconds)
    return Report(
        network_digest=given[0].network_digest,
        domain=given[0].domain,
        verdicts=tuple(_merged(verdicts, seconds) for verdicts in zip(*moved, strict=True)),
        witnesses=witnesses,
        proofs=chain.proofs,
        sections=chain.sections,
        settings=_settings(given),
        versions=_versions(given),
        stage_seconds={stage: max(report.stage_seconds.get(stage, 0.0) for report in given) for stage in stages},
        ended=next((report.ended for report in given if report.ended != "complete"), "complete"),
    )


def _listed(reports: object) -> tuple[Report, ...]:
    given = tuple(reports) if isinstance(reports, Iterable) else ()
    if not given or not all(isinstance(report, Report) for report in given):
        raise SettingsError("merge needs a list of at least one Report, and nothing else; read files with load_report")
    return given


def _require_same(reports: Sequence[Report]) -> None:
    first = reports[0]
    neurons = [(verdict.layer, verdict.unit) for verdict in first.verdicts]
    for report in reports[1:]:
        same = {
            "networks": report.network_digest == first.network_digest,
            "domains": report.domain.same_as(first.domain),
            "neurons": [(verdict.layer, verdict.unit) for verdict in report.verdicts] == neurons,
        }
        for name in (name for name, agrees in same.items() if not agrees):
            raise ResultError(f"the reports are about different {name}; merge only those about the same")


def _all_witnesses(reports: Sequence[Report]) -> tuple[FloatArray, list[list[int]]]:
    """Return all witnesses, equal ones once, and for each report the new rows of its own."""
    rows: dict[bytes, int] = {}
    found: list[FloatArray] = []
    places: list[list[int]] = []
    for report in reports:
        places.append([])
        for x in report.witnesses:
            key = x.tobytes()
            if key not in rows:
                rows[key] = len(found)
                found.append(x)
            places[-1].append(rows[key])
    return np.stack(found) if found else reports[0].witnesses, places


def _moved(verdict: Verdict, places: Sequence[int]) -> Verdict:
    active, inactive = (None if row is None else places[row] for row in (getattr(verdict, name) for name in ROWS))
    return replace(verdict, active_witness=active, inactive_witness=inactive)


def _merged(verdicts: Sequence[Verdict], seconds: float) -> Verdict:
    """Return what verdicts on one neuron say together; `seconds` is when two of its signs met."""
    best = min(verdicts, key=lambda v: (WORTH.index(v.proof), v.phase is Phase.STABLY_ACTIVE, v.seconds))
    active, inactive = (next((row for v in verdicts if (row := getattr(v, name)) is not None), None) for name in ROWS)
    lower, upper = max(v.lower for v in verdicts), min(v.upper for v in verdicts)
    if lower > upper or _contradict(verdicts, active, inactive):
        _refuse(verdicts)
    both = replace(best, lower=lower, upper=upper, active_witness=active, inactive_witness=inactive)
    if best.phase is Phase.UNDECIDED and active is not None and inactive is not None:
        return replace(both, phase=Phase.UNSTABLE, stage=Stage.REFUTE, proof=Proof.WITNESSED, seconds=seconds)
    return both


def _contradict(verdicts: Sequence[Verdict], active: int | None, inactive: int | None) -> bool:
    """Tell whether verdicts on one neuron, or verdicts and witnesses, cannot be true together.

    A neuron that is identically 0 is stably inactive and stably active; two proofs may say so, a solver may not.
    """
    stable = {v.phase for v in verdicts if v.phase in STABLE}
    if (Phase.STABLY_INACTIVE in stable and active is not None) or (
        Phase.STABLY_ACTIVE in stable and inactive is not None
    ):
        return True
    return len(stable) > 1 and any(v.proof in ON_TRUST for v in verdicts)


def _refuse(verdicts: Sequence[Verdict]) -> None:
    on_trust = any(v.proof in ON_TRUST for v in verdicts)
    raise ResultError(
        f"the reports contradict each other at {verdicts[0].layer}[{verdicts[0].unit}]: "
        f"{' against '.join(dict.fromkeys(map(_words, verdicts)))}. "
        f"One of them is false: its file was changed, {'a solver was wrong, ' if on_trust else ''}or this is a defect "
        "of milpcomp; have each judged by milpcomp check"
    )


def _words(verdict: Verdict) -> str:
    seen = [name.split("_")[0] for name in ROWS if getattr(verdict, name) is not None]
    return (
        f"{verdict.phase.value.replace('_', ' ')} ({verdict.proof.value}; bounds [{verdict.lower:.6g}, "
        f"{verdict.upper:.6g}]{f'; {seen[0]} on an input' if len(seen) == 1 else ''})"
    )


def _settings(reports: Sequence[Report]) -> dict[str, Any]:
    first, others = reports[0].settings, [report.settings for report in reports[1:]]
    shared = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    different = any(report.settings != shared for report in reports)
    return shared | ({"merged": [dict(report.settings) for report in reports]} if different else {})


def _versions(reports: Sequence[Report]) -> dict[str, str]:
    names = dict.fromkeys(name for report in reports for name in report.versions)
    found = {name: dict.fromkeys(r.versions[name] for r in reports if name in r.versions) for name in names}
    return {name: ", ".join(versions) for name, versions in found.items()}
