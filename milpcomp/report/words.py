"""Results in sentences: the same words on a terminal and in a report.

"Proved" is said of what a proof covers, "measured" of what was only seen on inputs, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import TYPE_CHECKING

from milpcomp.checker.result import Checked, CheckedCompression, Finding
from milpcomp.cost import cost
from milpcomp.domain import Box
from milpcomp.network import Network
from milpcomp.report.tables import PHASE_WORDS, count, on_trust, proved_counts, solver_count
from milpcomp.stability.report import Report, is_duration
from milpcomp.stability.verdict import STABLE, Phase, Proof

if TYPE_CHECKING:
    from milpcomp.compression import Compression


NAME_LENGTH = 80
"""Longer names are shortened where a page shows them."""


def network_line(network: Network) -> str:
    """Return the network's size in words."""
    layers, total = len(network.rectifiers), cost(network)
    return (
        f"{shape_text(network.input_shape)} -> {shape_text(network.output_shape)}, {many(total.neurons, 'neuron')} in "
        f"{many(layers, 'hidden layer')}, {many(total.parameters, 'parameter')}"
    )


def domain_line(domain: Box) -> str:
    """Return the domain in words: an interval where all inputs share one, else the extremes."""
    n = domain.lower.size
    if not n:
        return "the network takes no inputs"
    least, greatest = float(domain.lower.min()), float(domain.upper.max())
    if (domain.lower == least).all() and (domain.upper == greatest).all():
        return f"all inputs in [{least:g}, {greatest:g}]^{n}"
    widths = domain.upper - domain.lower
    return (
        f"a box of {many(n, 'input')} within [{least:g}, {greatest:g}], "
        f"widths {float(widths.min()):g} to {float(widths.max()):g}"
    )


def ended_line(report: Report) -> str:
    """Return in words how a run ended, empty where it decided everything."""
    undecided = report.counts()[Phase.UNDECIDED.value]
    why = {"complete": "", "time limit": "the time limit was reached", "interrupted": "the run was interrupted"}
    parts = [why.get(report.ended, report.ended), f"{many(undecided, 'neuron')} undecided" if undecided else ""]
    return "; ".join(part for part in parts if part)


def proof_line(report: Report) -> str:
    """Return how many verdicts rest on which kind of proof."""
    words = {
        Proof.CERTIFIED: "certified by bounds",
        Proof.WITNESSED: "by two witnesses each",
        Proof.UNCERTIFIED: "proved by cases too many to keep",
        Proof.SOLVER: "on a MIP solver's word alone",
    }
    counts = {text: sum(v.proof is proof for v in report.verdicts) for proof, text in words.items()}
    return ", ".join(f"{count(n)} {text}" for text, n in counts.items() if n)


def solver_line(report: Report) -> str:
    """Return how many of the neurons that are counted as stable are not proved to be; empty where all are."""
    trusted, stable = solver_count(report.verdicts), sum(verdict.phase in STABLE for verdict in report.verdicts)
    if not trusted:
        return ""
    return f"of the {many(stable, 'stable neuron')}, {count(trusted)} on a solver's word, not proved"


def proved_line(checked: Checked) -> str:
    """Return how many neurons the checker proved to be in which phase."""
    counts = proved_counts(checked)
    found = [f"{count(counts[phase.value])} {text}" for phase, text in PHASE_WORDS.items() if counts.get(phase.value)]
    trusted = checked.counts()[Finding.NOT_CHECKABLE.value]
    words = f"; {count(trusted)} more on a solver's word, not proved" if trusted else ""
    return (", ".join(found) or "of no neuron anything") + words


def deviation_line(compression: Compression) -> str:
    """Return what is known of the difference between the two networks' outputs."""
    bound = compression.deviation_bound
    if bound == 0:
        proved = "proved: equal outputs on the whole domain, in real arithmetic"
    elif math.isfinite(bound):
        proved = f"proved: outputs differ by at most {at_most(bound)} on the whole domain, in real arithmetic"
    else:
        proved = "NOT proved: there is no finite bound on how much outputs differ"
    if on_trust(compression):
        proved = proved.replace("proved:", "if the solver is right, not proved:")
    inputs = many(compression.samples, "input")
    return f"{proved}; measured in float32: {compression.measured_gap:.2g} on {inputs}"


def checked_line(checked: Checked) -> str:
    """Return the checker's findings on verdicts in words."""
    words = {
        Finding.ACCEPTED: "accepted",
        Finding.REJECTED: "REJECTED",
        Finding.NOT_CHECKABLE: "not checkable, on a solver's word",
        Finding.NO_CLAIM: "undecided",
    }
    return _findings("verdict", checked.counts(), words, len(checked.problems))


def checked_compression_line(checked: CheckedCompression) -> str:
    """Return the checker's findings on a compression in words."""
    words = {
        Finding.ACCEPTED: "accepted",
        Finding.REJECTED: "REJECTED",
        Finding.NOT_CHECKABLE: "accepted on a solver's word",
    }
    findings = _findings("edit", checked.counts(), words, len(checked.problems))
    bound = checked.deviation_bound
    trusting = bool(checked.on_trust)
    if not math.isfinite(bound):
        return f"{findings}; NOT proved: the checker finds no finite bound on how much outputs differ"
    found = "equal outputs" if bound == 0 else f"outputs differ by at most {at_most(bound)}"
    if trusting:
        return f"{findings}; if the solver is right, {found}; not proved"
    return f"{findings}; {found}, by the checker's own {'proof' if bound == 0 else 'bound'}"


def rejections(checked: Checked | CheckedCompression) -> list[str]:
    """Return everything that the checker rejected, and why; for a compression, of its report too."""
    found = list(checked.problems)
    if isinstance(checked, CheckedCompression):
        found += [f"{entry.kind} of {', '.join(entry.layers)}: {entry.reason}" for entry in checked.rejections]
        return rejections(checked.report) + [text for text in found if text not in checked.report.problems]
    return found + [f"{e.layer} {e.unit} {e.phase.replace('_', ' ')}: {e.reason}" for e in checked.rejections]


def _findings(what: str, counts: Mapping[str, int], words: Mapping[Finding, str], problems: int) -> str:
    found = [f"{many(counts[kind.value], what)} {text}" for kind, text in words.items() if counts[kind.value]]
    found += [f"REJECTED for {many(problems, 'problem')}"] if problems else []
    return ", ".join(found) or f"no {what}s"


def seconds_line(seconds: Mapping[str, float]) -> str:
    """Return where the time went."""
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())


def earlier_line(report: Report) -> str:
    """Return how much of the stages' time runs took from which this one went on; empty where there were none.

    Limits are of a run, but the seconds of the stages count from the beginning of the first one.
    """
    earlier = report.settings.get("earlier")
    last = earlier[-1] if isinstance(earlier, list | tuple) and earlier else None
    spent = last.get("seconds_until_here") if isinstance(last, Mapping) else None
    return f"of which {spent:.1f} s in earlier runs" if is_duration(spent) else ""


def at_most(bound: float) -> str:
    """Return a bound with two digits, rounded up, so that what is proved of it holds of what is printed too."""
    exact = Decimal(bound)
    if not exact.is_finite():
        return str(bound)
    return f"{float(Context(prec=2, rounding=ROUND_CEILING).plus(exact)):.2g}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as in 3x32x32; a scalar is 1."""
    return "x".join(str(n) for n in shape) or "1"


def short(name: str, length: int = NAME_LENGTH) -> str:
    """Return a name in at most `length` characters: its beginning and its end, which tell layers apart."""
    half = (length - 3) // 2
    return name if len(name) <= length else f"{name[:half]} … {name[-half:]}"


def many(n: int, what: str) -> str:
    """Return a count with its noun, in the plural where there is not one."""
    return f"{count(n)} {what}{'' if n == 1 else 's'}"
