"""The bars of the HTML report as data: every bar is text that can be read aloud, and segments in percent of its length.

    Chart = legend + bars, bar = a name + segments, segment = where it begins, how long it is, how many, which style

The template draws them as inline SVG with lengths in percent, so bars fit any screen and patterns keep their size. The
page's style sheet knows the colours. Networks with more hidden layers than `MOST_BARS` have neighbours drawn together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from milpcomp.cost import Cost
from milpcomp.report.tables import PHASE_WORDS, count
from milpcomp.report.words import short
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import ON_TRUST, STABLE, Phase, Stage, Verdict

MOST_BARS = 40
"""How many bars a chart of layers has at most."""

STAGE_WORDS = {
    Stage.CLOSED_FORM: "closed form: interval arithmetic",
    Stage.REFUTE: "refute: inputs of both signs found",
    Stage.BOUND: "bound: linear bounds",
    Stage.BRANCH: "branch: proof by cases",
    Stage.SOLVER: "solver: mixed-integer program",
    Stage.NONE: "undecided",
}


@dataclass(frozen=True)
class Segment:
    """A part of a bar.

    Parameters
    ----------
    words : str
        What is counted: "stably inactive".
    style : str
        Name of its style, which gives colour and pattern.
    number : int
    start, length : float
        In percent of the bar.
    """

    words: str
    style: str
    number: int
    start: float
    length: float

    @property
    def label(self) -> str:
        """The number, where there is room for it on a phone; else nothing."""
        text = count(self.number)
        return text if self.length > 3.0 + 2.4 * len(text) else ""


@dataclass(frozen=True)
class Bar:
    """A named bar; `note` stands beside the name, `spoken` says all that the bar shows."""

    name: str
    note: str
    segments: tuple[Segment, ...]

    @property
    def spoken(self) -> str:
        """The bar in words."""
        parts = ", ".join(f"{count(segment.number)} {segment.words}" for segment in self.segments)
        return f"{self.name}: {parts or 'nothing'}"


@dataclass(frozen=True)
class Chart:
    """Bars with a legend of (words, style, total)."""

    legend: tuple[tuple[str, str, str], ...]
    bars: tuple[Bar, ...]


Kind = tuple[str, str]
"""Words and style of a segment."""


def phase_chart(report: Report) -> Chart:
    """Return layers by phase; what is stable on a solver's word stands apart from what is proved."""
    return _layer_chart(report, _phase_kinds(), _phase_kind)


def stage_chart(report: Report) -> Chart:
    """Return layers by the stage that decided their neurons."""
    kinds = [(STAGE_WORDS[stage], _stage_style(stage)) for stage in Stage]
    return _layer_chart(report, kinds, lambda verdict: (STAGE_WORDS[verdict.stage], _stage_style(verdict.stage)))


def size_chart(report: Report, after: Cost) -> Chart:
    """Return layers by how many of their neurons are kept; one that is no rectifier any more keeps none."""
    left = {layer.name: layer.neurons for layer in after.layers}
    kinds = [("kept", "kept"), ("gone", "gone")]
    counts = {
        name: Counter({kinds[0]: left.get(name, 0), kinds[1]: len(own) - left.get(name, 0)})
        for name, own in report.layers().items()
    }
    return _chart(counts, kinds)


def time_chart(seconds: Mapping[str, float], style: str) -> Chart:
    """Return one bar per step, as long as its share of the longest one; the note says its seconds."""
    longest = max(seconds.values(), default=0.0)
    bars = []
    for name, value in seconds.items():
        length = 100.0 * value / longest if longest > 0 else 0.0
        bars.append(Bar(name, f"{value:.2f} s", (Segment("", style, 0, 0.0, round(length, 3)),)))
    return Chart((), tuple(bars))


def _phase_kinds() -> list[Kind]:
    kinds = []
    for phase, words in PHASE_WORDS.items():
        kinds.append((words, phase.value))
        if phase in STABLE:
            kinds.append((f"{words}, on a solver's word", f"{phase.value}_trusted"))
    return kinds


def _phase_kind(verdict: Verdict) -> Kind:
    if verdict.phase in STABLE and verdict.proof in ON_TRUST:
        return f"{PHASE_WORDS[verdict.phase]}, on a solver's word", f"{verdict.phase.value}_trusted"
    return PHASE_WORDS[verdict.phase], verdict.phase.value


def _stage_style(stage: Stage) -> str:
    return Phase.UNDECIDED.value if stage is Stage.NONE else stage.value


def _layer_chart(report: Report, kinds: Sequence[Kind], kind: Callable[[Verdict], Kind]) -> Chart:
    return _chart({name: Counter(map(kind, own)) for name, own in report.layers().items()}, kinds)


def _chart(counts: Mapping[str, Counter[Kind]], kinds: Sequence[Kind]) -> Chart:
    """Return one bar per layer, all of one length; with many layers, one per group of neighbours."""
    total: Counter[Kind] = sum(counts.values(), Counter())
    legend = tuple((words, style, count(total[words, style])) for words, style in kinds if total[words, style])
    names, share = list(counts), -(-len(counts) // MOST_BARS) or 1
    groups = [names[i : i + share] for i in range(0, len(names), share)]
    return Chart(legend, tuple(_bar(group, sum((counts[n] for n in group), Counter()), kinds) for group in groups))


def _bar(names: Sequence[str], counts: Counter[Kind], kinds: Sequence[Kind]) -> Bar:
    segments, start, total = [], 0.0, counts.total()
    for words, style in kinds:
        if number := counts[words, style]:
            length = 100.0 * number / total
            segments.append(Segment(words, style, number, round(start, 3), round(length, 3)))
            start += length
    name = names[0] if len(names) == 1 else f"{short(names[0], 24)} to {short(names[-1], 24)}"
    note = f"{count(total)}" if len(names) == 1 else f"{count(total)} in {len(names)} layers"
    return Bar(name, note, tuple(segments))
