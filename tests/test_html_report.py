"""The HTML report: it shows what the analysis holds, needs nothing else, and stays readable for any network."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.checker.result import Entry, Finding
from milpcomp.compression.result import Skipped
from milpcomp.cost import cost
from milpcomp.network import INPUT, Conv2d, Dense, Network, Node, Rectifier, Reshape
from milpcomp.report import html, kept, recipe
from milpcomp.report.folder import RESULTS
from milpcomp.report.html import report_page
from milpcomp.report.html_figures import MOST_BARS
from milpcomp.report.page import page
from milpcomp.report.witness_images import examples
from milpcomp.report.words import at_most, short
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.nets import chain, diamond, mlp

VOID = {"meta", "br", "img", "rect", "circle", "link", "input", "hr"}
NASTY = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """What a browser would find: tags with attributes, the text outside of style, and tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.unmatched: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unmatched += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.text += " " * (tag in {"th", "td"})
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unmatched.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


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


@pytest.fixture(scope="module")
def analysis() -> mc.Analysis:
    """An analysis of a random network, some neurons of which are removed."""
    return mc.analyze(mlp([4, 12, 8, 3], np.random.default_rng(3)), mc.Box(0.0, 0.4))


@pytest.fixture(scope="module")
def images() -> mc.Analysis:
    """An analysis of a network that reads flat images of 28 x 28."""
    rng = np.random.default_rng(1)
    network = chain((784,), Dense(rng.normal(size=(20, 784)), np.zeros(20)), Rectifier(), Dense(np.ones((2, 20))))
    low = rng.uniform(0.0, 0.5, size=784)
    return mc.analyze(network, mc.Box(low, low + 0.5))


def test_page_needs_nothing_else(images: mc.Analysis) -> None:
    """No scripts, frames or style sheets; pictures are in the page, links lead to it, and its policy forbids more."""
    text = report_page(images)
    page = Page(text)
    assert not {name for name, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form", "use"}
    sources = [value for _, own in page.tags for name, value in own.items() if name in {"src", "srcset", "data"}]
    links = [value for _, own in page.tags for name, value in own.items() if name in {"href", "xlink:href", "action"}]
    assert sources
    assert all(value is not None and value.startswith("data:image/png;base64,") for value in sources)
    assert links
    assert all(value is not None and re.fullmatch(r"#[a-z]+", value) for value in links)
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    policy = {own.get("http-equiv"): own.get("content") for own in page.named("meta")}["Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not [name for _, own in page.tags for name in own if name.startswith("on")]


def test_page_is_well_formed(analysis: mc.Analysis) -> None:
    """Every tag that opens closes, identifiers are unique, every section is linked, and every picture has a text."""
    page = Page(report_page(analysis))
    assert page.unmatched == []
    ids = [own["id"] for _, own in page.tags if "id" in own]
    assert len(set(ids)) == len(ids)
    assert {f"#{own['id']}" for own in page.named("section")} == {own["href"] for own in page.named("a")}
    assert all(own.get("alt") for own in page.named("img"))
    assert all(own.get("aria-label") or own.get("aria-hidden") for own in page.named("svg"))
    assert page.named("html") == [{"lang": "en"}]


def test_names_are_no_markup(tmp_path: Path) -> None:
    """Layers, files and folders may be called anything: it is shown as text, and makes no tags or attributes."""
    dense = Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -3.0])
    nodes = [
        Node("a" + NASTY, dense, (INPUT,)),
        Node(NASTY, Rectifier(), ("a" + NASTY,)),
        Node("out", Dense([[1.0, 2.0]]), (NASTY,)),
    ]
    found = mc.analyze(Network((2,), nodes), mc.Box(0.0, 1.0))
    found = replace(found, source=f"models/{NASTY}.onnx", out=Path(NASTY))
    page, plain = Page(report_page(found)), Page(report_page(mc.analyze(diamond(), mc.Box(0.0, 1.0))))
    assert Counter(tag for tag, _ in page.tags) == Counter(tag for tag, _ in plain.tags)
    assert page.unmatched == []
    assert page.text.count(NASTY) >= 8
    assert all(not own.keys() & {"alert(1)", "onerror"} for _, own in page.tags)


def test_page_says_what_was_found(analysis: mc.Analysis) -> None:
    """The first screen holds the numbers of the analysis, and every section what it promises."""
    text = " ".join(Page(report_page(analysis)).text.split())
    before, after = analysis.compression.before, analysis.compression.after
    gone = before.neurons - after.neurons
    assert gone > 0
    for expected in (
        f"{gone} of the 20 hidden neurons ({100 * gone / before.neurons:.1f} %) are not needed on this domain",
        f"neurons 20 → {after.neurons}",
        f"parameters {before.parameters} → {after.parameters}",
        "neurons decided 20 of 20",
        "independent check accepted 20 verdicts",
        "An independent checker accepted everything",
        "all inputs in [0, 0.4]^4",
        analysis.network.digest,
        analysis.report.domain.digest,
        analysis.compression.network.digest,
        recipe.check_command(analysis),
        'method "funnel"',
        f"torch {analysis.report.versions['torch']}",
        f"≤ {at_most(analysis.compression.deviation_bound)}",
    ):
        assert expected in text, expected
    assert "REJECTED" not in text


def test_page_names_every_file() -> None:
    """The list of files on the page is the list of files that an analysis writes."""
    named = set()
    for names, what in recipe.FILES:
        last = ""
        for name in [*names.split(", "), *re.findall(r"^\.\w+|(?<=; )\.\w+", what)]:
            last = name if not name.startswith(".") else Path(last).stem + name
            named.add(last)
    assert named == set(RESULTS)


def test_equal_analyses_give_equal_pages(tmp_path: Path) -> None:
    """Run again, the page is the same, byte by byte, except for times."""
    pages = []
    for _ in range(2):
        found = mc.analyze(mlp([3, 8, 2], np.random.default_rng(3)), mc.Box(0.0, 1.0), tmp_path, seed=1)
        timeless = replace(found.report, stage_seconds={"bound": 1.0})
        pages.append(report_page(replace(found, report=timeless, seconds={"certify": 1.0})))
        written = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert written == report_page(found)
    assert pages[0] == pages[1]


@pytest.mark.parametrize("name", ["relu", "y" * 900])
def test_page_of_a_large_network_is_small(analysis: mc.Analysis, name: str) -> None:
    """A hundred layers of a hundred neurons, whatever their names, fit in 1 MB; bars and rows are counted."""
    names = [f"{name}{i}" for i in range(100)]
    network = Network((1,), [Node(names[i], Rectifier(), (([INPUT, *names])[i],)) for i in range(100)])
    large = report_of(**dict.fromkeys(names, "iIauo" * 20))
    done = replace(analysis.compression, network=network, before=cost(network), after=cost(network))
    page = report_page(replace(analysis, network=network, report=large, compression=done))
    assert len(page.encode()) < 1_000_000
    assert page.count('<div class="bar">') <= 3 * MOST_BARS + 20
    bodies = re.findall(r"<tbody>(.*?)</tbody>", page, flags=re.S)
    assert max(body.count("<tr") for body in bodies) <= html.MOST_ROWS + 1
    assert "neurons.csv holds all of them" in page


@pytest.mark.parametrize("hidden", [0, 2])
def test_page_of_little(hidden: int) -> None:
    """A network without hidden neurons has a page, and so has one that is a constant."""
    layers = [Dense([[-1.0, -1.0], [-2.0, 0.0]], [-1.0, -1.0]), Rectifier(), Dense([[1.0, 1.0]], [5.0])]
    found = mc.analyze(chain((2,), *(layers if hidden else layers[:1])), mc.Box(0.0, 1.0))
    page = Page(report_page(found))
    assert page.unmatched == []
    assert ("no hidden neurons" in page.text) is not hidden
    assert ("2 of the 2 hidden neurons (100.0 %)" in page.text) is bool(hidden)
    assert "No neuron was found to be unstable" in page.text


def test_page_without_gain() -> None:
    """Where nothing can be removed, the page says so first, and why."""
    network = chain((2,), Dense([[1.0, -1.0], [1.0, -2.0]]), Rectifier(), Dense([[1.0, 1.0]]))
    text = Page(report_page(mc.analyze(network, mc.Box(0.0, 1.0)))).text
    assert "No neuron could be removed: of 2 hidden neurons, 2 switch on and off within the domain." in text
    assert "The network was left as it is." in text


def partly_stable() -> tuple[Network, mc.Box]:
    """Return one map of two neurons, y = relu(x1) + relu(x2), and a domain on which the first of them is always 0."""
    network = chain((1, 1, 2), Conv2d(np.ones((1, 1, 1, 1))), Rectifier(), Reshape((2,)), Dense([[1.0, 1.0]]))
    return network, mc.Box(np.array([[[-2.0, -1.0]]]), np.array([[[-1.0, 1.0]]]))


def test_page_of_neurons_that_are_stable_in_part_of_a_map() -> None:
    """Neurons that are always 0 stay where the rest of their map does not; both reports say so, and not "needed"."""
    found = mc.analyze(*partly_stable())
    assert found.report.counts() == {"stably_inactive": 1, "stably_active": 0, "unstable": 1, "undecided": 0}
    said = f"No neuron could be removed: of 2 hidden neurons, 1 {kept.UNSTABLE}; 1 {kept.PART}."
    assert said in Page(report_page(found)).text
    assert said in page(found)


@pytest.mark.parametrize(
    ("proof", "trust", "skipped", "reason"),
    [
        (Proof.CERTIFIED, False, (), kept.NEEDED),
        (Proof.SOLVER, False, (), kept.TRUST),
        (Proof.SOLVER, True, (), kept.NEEDED),
        (Proof.CERTIFIED, False, (Skipped("1", "Merge", (0,), "too much"),), kept.LEFT_OUT),
    ],
)
def test_reasons_of_dense_layers(proof: Proof, trust: bool, skipped: tuple[Skipped, ...], reason: str) -> None:
    """A stable unit of a dense layer is needed, or not to be believed, or would have changed the output too much."""
    network = chain((1,), Dense([[1.0]], [2.0]), Rectifier(), Dense([[1.0]]))
    report = mc.certify(network, mc.Box(0.0, 1.0))
    done = replace(mc.compress(network, report), before=cost(network), trust_solver=trust, skipped=skipped)
    (verdict,) = report.verdicts
    words = kept.nothing_removed(network, replace(report, verdicts=(replace(verdict, proof=proof),)), done)
    assert words == f"No neuron could be removed: of 1 hidden neuron, 1 {reason}."


def test_page_of_what_was_rejected(analysis: mc.Analysis) -> None:
    """What the checker rejects is on the first screen, with its reason below, and not all is called accepted."""
    wrong = Entry("<b>", 3, "stably_active", Finding.REJECTED, "the bound is <0>")
    checked = replace(analysis.checked_compression, report=replace(analysis.checked, entries=(wrong,)))
    text = report_page(replace(analysis, checked_compression=checked))
    page = Page(text)
    assert "The independent checker REJECTED a part of this" in page.text
    assert "REJECTED: <b> 3 stably active: the bound is <0>" in page.text
    assert "lead bad" in [own.get("class") for own in page.named("p")]
    assert "An independent checker accepted" not in page.text
    assert "Proved: " not in page.text
    assert "proved on the whole domain" not in page.text


def test_page_on_trust(analysis: mc.Analysis) -> None:
    """A solver's word has a bar of its own and a condition on the conclusion."""
    first = next(i for i, v in enumerate(analysis.report.verdicts) if v.phase is Phase.STABLY_INACTIVE)
    changed = list(analysis.report.verdicts)
    changed[first] = replace(changed[first], stage=Stage.SOLVER, proof=Proof.SOLVER, lower=-2.0, upper=0.5)
    report = replace(analysis.report, verdicts=tuple(changed))
    done = mc.compress(analysis.network, report, trust_solver=True)
    checked = mc.check_compression(analysis.network, done, report.domain, report)
    page = Page(report_page(replace(analysis, report=report, compression=done, checked_compression=checked)))
    assert "If the solver is right, which is not proved, " in page.text
    assert "stably inactive, on a solver's word 1" in " ".join(page.text.split())
    assert "url(#dots)" in [own.get("fill") for own in page.named("rect")]
    assert "1 of the stable on a solver's word" in page.text


def test_undecided_neurons_are_listed(analysis: mc.Analysis) -> None:
    """Each undecided neuron is there with its bounds and the sign that was seen."""
    open_ = Verdict("1", 7, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -0.25, 1234.5678, active_witness=0)
    report = replace(analysis.report, verdicts=(*analysis.report.verdicts, open_), ended="time limit")
    text = " ".join(Page(report_page(replace(analysis, report=report))).text.split())
    assert "1 7 -0.25 1235 positive" in re.sub(r"\s+", " ", text)
    assert "the time limit was reached; 1 neuron undecided" in text
    assert "1 neuron stayed undecided, and untouched" in text


@pytest.mark.parametrize("length", [1, 80, 81, 5000])
def test_short_names(length: int) -> None:
    """Names that fit stay; longer ones keep both ends."""
    name = "a" + "x" * (length - 2) + "b" * (length > 1)
    assert len(short(name)) <= 80
    assert (short(name) == name) is (length <= 80)
    assert short(name)[0] == "a"
    assert short(name)[-1] == name[-1]


def test_pictures_are_on_the_page(images: mc.Analysis) -> None:
    """Every example has its two witnesses and their difference, and the domain the middle of its box."""
    shown = [own.get("alt") for own in Page(report_page(images)).named("img")]
    assert len(shown) == 3 * len(examples(images.network, images.report)) + 1
    assert shown[-1] == "the middle of the box"
