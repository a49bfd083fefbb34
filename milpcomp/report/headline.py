"""The first screen of a report: one paragraph in plain words, and the numbers that matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from milpcomp.report.analysis import Analysis
from milpcomp.report.kept import nothing_removed
from milpcomp.report.tables import change, count, on_trust, solver_count
from milpcomp.report.words import at_most, many
from milpcomp.stability.verdict import STABLE, Phase


@dataclass(frozen=True)
class Card:
    """A number with its name, a remark, and whether it is "good", "bad" or (empty) neither."""

    name: str
    number: str
    remark: str
    mood: str = ""


def lead(analysis: Analysis) -> str:
    """Return what was found, in two or three sentences."""
    return " ".join(part for part in (_removed(analysis), _same(analysis), _checked(analysis)) if part)


def alarm(analysis: Analysis) -> str:
    """Return what has to be said before anything else, empty where nothing has."""
    if analysis.accepted:
        return ""
    return "The independent checker REJECTED a part of this: do not rely on it before you have read why."


def cards(analysis: Analysis) -> tuple[Card, ...]:
    """Return the numbers of the first screen."""
    return (
        _size_card(analysis, "neurons"),
        _size_card(analysis, "parameters"),
        _decided_card(analysis),
        _change_card(analysis),
        _check_card(analysis),
        Card("time", f"{sum(analysis.seconds.values()):.1f} s", _slowest(analysis)),
    )


def _removed(analysis: Analysis) -> str:
    before, after = analysis.compression.before, analysis.compression.after
    if after.neurons < before.neurons:
        return (
            f"{count(before.neurons - after.neurons)} of the {many(before.neurons, 'hidden neuron')} "
            f"({change(before.neurons, after.neurons).lstrip('-')}) are not needed on this domain and were removed."
        )
    return nothing_removed(analysis.network, analysis.report, analysis.compression)


def _same(analysis: Analysis) -> str:
    done = analysis.compression
    if done.network.digest == analysis.network.digest:
        return "The network was left as it is."
    if not math.isfinite(done.deviation_bound):
        return "It is NOT proved how much the outputs of the smaller network differ."
    if not done.deviation_bound:
        found = "the smaller network computes exactly the same function on it, in real arithmetic"
    else:
        bound = at_most(done.deviation_bound)
        found = f"outputs of the smaller network differ on it by at most {bound}, in real arithmetic"
    if not analysis.accepted:
        return f"Claimed, and not accepted by the checker: {found}."
    return f"If the solver is right, which is not proved, {found}." if on_trust(done) else f"Proved: {found}."


def _checked(analysis: Analysis) -> str:
    removed = analysis.compression.after.neurons < analysis.compression.before.neurons
    undecided = analysis.report.counts()[Phase.UNDECIDED.value] if removed else 0  # else they have been named
    checked = "An independent checker accepted everything that is called proved here." if analysis.accepted else ""
    more = f"{many(undecided, 'neuron')} stayed undecided, and untouched." if undecided else ""
    return " ".join(part for part in (checked, more) if part)


def _size_card(analysis: Analysis, what: str) -> Card:
    before, after = analysis.compression.before, analysis.compression.after
    old, new = getattr(before, what), getattr(after, what)
    remark = change(old, new) or "as before"
    if what == "parameters":
        remark += f"; FLOPs {change(before.flops, after.flops) or 'as before'}"
    return Card(what, f"{count(old)} → {count(new)}", remark)


def _decided_card(analysis: Analysis) -> Card:
    report = analysis.report
    total, open_ = len(report.verdicts), report.counts()[Phase.UNDECIDED.value]
    trusted = solver_count(report.verdicts)
    stable = sum(verdict.phase in STABLE for verdict in report.verdicts)
    remark = f"{count(stable)} stable, {count(report.counts()[Phase.UNSTABLE.value])} unstable"
    remark += f", {count(open_)} undecided" if open_ else ""
    remark += f"; {count(trusted)} of the stable on a solver's word" if trusted else ""
    return Card("neurons decided", f"{count(total - open_)} of {count(total)}", remark)


def _change_card(analysis: Analysis) -> Card:
    done = analysis.compression
    measured = f"{done.measured_gap:.2g} measured in float32"
    if not math.isfinite(done.deviation_bound):
        return Card("change of the output", "unknown", f"no finite bound is proved; {measured}", "bad")
    proved = "if the solver is right" if on_trust(done) else "proved on the whole domain"
    proved = proved if analysis.accepted else "claimed, and not accepted by the checker"
    number = f"≤ {at_most(done.deviation_bound)}" if done.deviation_bound else "none"
    return Card("change of the output", number, f"{proved}; {measured}")


def _check_card(analysis: Analysis) -> Card:
    verdicts, edits = analysis.checked.counts(), analysis.checked_compression.counts()
    remark = f"{many(verdicts['accepted'], 'verdict')}, {many(edits['accepted'], 'edit')}"
    if not analysis.accepted:
        wrong = len(analysis.checked.rejections) + len(analysis.checked_compression.rejections)
        wrong += len(analysis.checked.problems) + len(analysis.checked_compression.problems)
        return Card("independent check", "REJECTED", f"{many(wrong, 'objection')}; accepted: {remark}", "bad")
    trusted = verdicts["not_checkable"]
    remark += f"; {count(trusted)} not checkable" if trusted else ""
    return Card("independent check", "accepted", remark, "good")


def _slowest(analysis: Analysis) -> str:
    if not analysis.seconds:
        return ""
    name = max(analysis.seconds, key=lambda step: analysis.seconds[step])
    return f"{analysis.seconds[name]:.1f} s to {name}"
