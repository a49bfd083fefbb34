"""The bars, colours and pictures of the HTML report: no neuron is lost, and everybody can tell them apart."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import milpcomp as mc
from milpcomp.cost import cost
from milpcomp.network import Dense, Rectifier, Reshape
from milpcomp.report import html
from milpcomp.report.html_figures import MOST_BARS, Chart, phase_chart, size_chart, stage_chart, time_chart
from milpcomp.report.witness_images import SAMPLE, examples, image_shape, picture
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.nets import chain, diamond


def verdicts(**layers: str) -> tuple[Verdict, ...]:
    """Return verdicts from one letter per neuron: inactive, active, unstable, open; capitals on a solver's word."""
    kinds = {
        "i": (Phase.STABLY_INACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED),
        "I": (Phase.STABLY_INACTIVE, Stage.SOLVER, Proof.SOLVER),
        "a": (Phase.STABLY_ACTIVE, Stage.BOUND, Proof.CERTIFIED),
        "u": (Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED),
        "o": (Phase.UNDECIDED, Stage.NONE, Proof.NONE),
    }
    return tuple(
        Verdict(layer, unit, *kinds[letter], -1.0, 1.0)
        for layer, letters in layers.items()
        for unit, letter in enumerate(letters)
    )


def report_of(**layers: str) -> Report:
    """Return a report with these verdicts."""
    return Report("ab" * 32, mc.Box(0.0, 1.0), verdicts(**layers), np.zeros((0, 1)))


def shares(chart: Chart) -> list[list[tuple[str, int]]]:
    """Return (style, number) of every segment, bar by bar."""
    return [[(segment.style, segment.number) for segment in bar.segments] for bar in chart.bars]


@pytest.fixture(scope="module")
def images() -> mc.Analysis:
    """An analysis of a network that reads flat images of 28 x 28."""
    rng = np.random.default_rng(1)
    network = chain((784,), Dense(rng.normal(size=(20, 784)), np.zeros(20)), Rectifier(), Dense(np.ones((2, 20))))
    low = rng.uniform(0.0, 0.5, size=784)
    return mc.analyze(network, mc.Box(low, low + 0.5))


def test_bars_count_every_neuron() -> None:
    """By hand: phases with trust apart, stages from cheap to dear, kept and gone."""
    report = report_of(one="iiIau", two="uo")
    assert shares(phase_chart(report)) == [
        [("stably_inactive", 2), ("stably_inactive_trusted", 1), ("stably_active", 1), ("unstable", 1)],
        [("unstable", 1), ("undecided", 1)],
    ]
    assert shares(stage_chart(report)) == [
        [("closed-form", 2), ("refute", 1), ("bound", 1), ("solver", 1)],
        [("refute", 1), ("undecided", 1)],
    ]
    smaller = cost(chain((3,), Rectifier()))
    smaller = replace(smaller, layers=(replace(smaller.layers[0], name="one"),))
    assert shares(size_chart(report, smaller)) == [[("kept", 3), ("gone", 2)], [("gone", 2)]]
    assert [entry[::2] for entry in phase_chart(report).legend] == [
        ("stably inactive", "2"), ("stably inactive, on a solver's word", "1"), ("stably active", "1"),
        ("unstable", "2"), ("undecided", "1"),
    ]  # fmt: skip
    assert phase_chart(report).bars[1].spoken == "two: 1 unstable, 1 undecided"


@pytest.mark.parametrize("layers", [1, MOST_BARS, MOST_BARS + 1, 100])
def test_bars_of_many_layers(layers: int) -> None:
    """Neighbours share a bar where there are many; each bar is full, and no neuron is lost."""
    chart = phase_chart(report_of(**{f"relu{i}": "iau"[: 1 + i % 3] for i in range(layers)}))
    assert len(chart.bars) == (layers if layers <= MOST_BARS else -(-layers // -(-layers // MOST_BARS)))
    for bar in chart.bars:
        assert sum(segment.length for segment in bar.segments) == pytest.approx(100.0, abs=0.01)
        ends = [segment.start + segment.length for segment in bar.segments]
        assert [segment.start for segment in bar.segments[1:]] == pytest.approx(ends[:-1], abs=0.01)
    assert sum(number for bar in shares(chart) for _, number in bar) == sum(1 + i % 3 for i in range(layers))
    assert chart.bars[-1].name.endswith(f"relu{layers - 1}")


def test_time_bars() -> None:
    """The longest step fills its bar, the others have their share of it; no time at all is no error."""
    chart = time_chart({"load": 1.0, "certify": 4.0, "nothing": 0.0}, "step")
    assert [(bar.name, bar.note, bar.segments[0].length) for bar in chart.bars] == [
        ("load", "1.00 s", 25.0), ("certify", "4.00 s", 100.0), ("nothing", "0.00 s", 0.0),
    ]  # fmt: skip
    assert time_chart({"load": 0.0}, "step").bars[0].segments[0].length == 0.0
    assert time_chart({}, "step").bars == ()


def test_every_style_has_a_colour() -> None:
    """Whatever a bar is drawn with is in the style sheet, as is the colour of the number on it."""
    report = report_of(one="iIauo")
    styles = {
        style for chart in (phase_chart(report), stage_chart(report)) for bar in shares(chart) for style, _ in bar
    }
    styles |= {stage.value for stage in Stage if stage is not Stage.NONE} | {"kept", "gone", "stably_active_trusted"}
    sheet = (Path(html.__file__).parent / "templates" / "report.css").read_text()
    for style in styles:
        assert re.search(rf"\.s-{style}\b", sheet), style
        assert re.search(rf"\.t-{style}\b", sheet), style


def test_colours_can_be_told_apart() -> None:
    """Text has a contrast of 4.5 with what is behind it, and neighbours differ in lightness, by day and by night."""
    sheet = (Path(html.__file__).parent / "templates" / "report.css").read_text()
    day, night = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in sheet.split("@media", 2)[:2])
    for colours in (day, {**day, **night}):
        light = {name: _luminance(value) for name, value in colours.items()}
        for text, ground in (
            ("ink", "paper"), ("ink", "panel"), ("quiet", "paper"), ("quiet", "panel"), ("link", "paper"),
            ("good", "panel"), ("bad", "panel"), ("bad", "paper"), ("on-inactive", "inactive"),
            ("on-active", "active"), ("on-unstable", "unstable"),
        ):  # fmt: skip
            assert _contrast(light[text], light[ground]) >= 4.5, (text, ground)
        stages = [light[f"stage-{i}"] for i in range(1, 6)]
        assert all(_contrast(a, b) > 1.3 for a, b in pairwise(stages))
        phases = sorted(light[name] for name in ("inactive", "active", "unstable"))
        assert all(_contrast(a, b) > 1.3 for a, b in pairwise(phases))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((784,), (1, 28, 28)), ((784, 1), (1, 28, 28)), ((1, 784, 1), (1, 28, 28)), ((3072,), (3, 32, 32)),
        ((1, 28, 28), (1, 28, 28)), ((3, 32, 32), (3, 32, 32)), ((28, 28), (1, 28, 28)), ((1, 1, 28, 28), (1, 28, 28)),
        ((5,), None), ((785,), None), ((2, 6, 6), None), ((3, 1, 1), None), ((), None), ((1,), None), ((4, 4), None),
    ],
)  # fmt: skip
def test_which_inputs_are_images(shape: tuple[int, ...], seen: tuple[int, ...] | None) -> None:
    """Images are what has one or three channels, or is a known flat form of such; nothing else is."""
    assert image_shape(shape) == seen


def pixels(uri: str) -> np.ndarray:
    """Return the colours of a data URI, as bytes."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray((imread(io.BytesIO(data)) * 255).round().astype(int)[..., :3])


def test_pictures_span_the_domain() -> None:
    """Each channel goes from black, its least value in the domain, to white, its greatest; flat channels are black."""
    lower = np.stack([np.full((8, 8), -1.0), np.full((8, 8), 0.0), np.full((8, 8), 5.0)])
    box = mc.Box(lower, lower + np.array([2.0, 1e308, 0.0])[:, None, None])
    x = np.array(lower)
    x[:, 0, 0] = box.upper[:, 0, 0]
    x[0, 0, 1] = 0.0
    colours = pixels(picture(x, box, (3, 8, 8)))
    assert colours.shape == (8, 8, 3)
    assert colours[0, 0].tolist() == [255, 255, 0]
    assert colours[0, 1].tolist() == [128, 0, 0]
    assert colours[1, 1].tolist() == [0, 0, 0]


def test_large_pictures_are_thinned() -> None:
    """A picture has no side longer than 64 pixels, whatever the input's."""
    box = mc.Box(np.zeros((1, 200, 130)), np.ones((1, 200, 130)))
    assert max(pixels(picture(box.upper, box, (1, 200, 130))).shape) <= 64


def test_witnesses_are_shown(images: mc.Analysis) -> None:
    """Each example shows its neuron's own two witnesses and the pre-activations there; no neuron is shown twice."""
    found = examples(images.network, images.report)
    assert len(found) == min(SAMPLE, images.report.counts()["unstable"])
    assert len({(e.layer, e.unit) for e in found}) == len(found)
    by_name = {(v.layer, v.unit): v for v in images.report.verdicts}
    for example in found:
        verdict = by_name[example.layer, example.unit]
        assert verdict.phase is Phase.UNSTABLE
        assert verdict.active_witness is not None
        x = images.report.witnesses[verdict.active_witness]
        value = images.network.pre_activations(x[None])[example.layer][0, example.unit]
        assert float(example.active.value) == pytest.approx(value, rel=1e-2)
        assert float(example.inactive.value) < 0 < float(example.active.value)
        assert example.active.picture == picture(x, images.report.domain, (1, 28, 28))
        assert example.active.text == ""
        assert {len(set(colour)) for colour in pixels(example.difference).reshape(-1, 3).tolist()} == {1}  # grey


def test_few_inputs_are_written_out() -> None:
    """Witnesses that are no images are shown as numbers where there are few, and as nothing where there are many."""
    (example,) = examples(diamond(), mc.certify(diamond(), mc.Box(0.0, 1.0)))
    point = [float(number) for number in example.active.text.split(", ")]
    assert example.active.picture == example.difference == ""
    assert point[0] - point[1] == pytest.approx(float(example.active.value), rel=1e-2)
    wide = chain((20,), Reshape((20,)), Dense(np.ones((1, 20)), [-1.0]), Rectifier())
    (example,) = examples(wide, mc.certify(wide, mc.Box(0.0, 1.0)))
    assert example.active.picture == example.active.text == ""


def test_signs_beyond_float64_are_not_made_up() -> None:
    """Where float64 arithmetic shows another sign than was established, the sign is stated, not the number."""
    report = mc.certify(diamond(), mc.Box(0.0, 1.0))
    swapped = tuple(
        replace(v, active_witness=v.inactive_witness) if v.phase is Phase.UNSTABLE else v for v in report.verdicts
    )
    (example,) = examples(diamond(), replace(report, verdicts=swapped))
    assert example.active.value == "> 0, too near to 0 for float64"
