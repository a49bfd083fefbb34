"""The book: it is complete, says what is published and what is measured, and no page can spoil another."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from analyses import style
from analyses.book.__main__ import main
from analyses.book.entry import CHAPTERS, Context, Entry
from analyses.book.make import FAILED, MADE, MISSING, make_all, make_entry, read_outcome
from analyses.book.page import OUT, write_index
from analyses.book.registry import ENTRIES
from tests.book_entries import CASES, PLAIN, killed

SEEDS = {
    *(f"talk-{what}-{by}" for what in ("removed", "runtime") for by in ("depth", "width")),
    *(f"talk-autoencoders-{by}" for by in ("middle", "outer", "runtime-middle", "runtime-outer")),
    *("talk-l1", "talk-accuracy", "talk-methods", "beyond-slice", "beyond-relus", "beyond-dead"),
    *(f"rrelu2022-table-{number}" for number in ("i", "ii", "v", "vi", "vii")),
    *(f"rrelu2022-fig-{number}" for number in range(1, 7)),
    *(f"rrelu2024-table-{number}" for number in range(1, 7)),
    *(f"rrelu2024-fig-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10)),
}
"""Every figure and table of the papers with numbers in it (2024 Fig. 6 is accuracy against FLOPs), and three beyond."""

QUICK = ("rrelu2022-table-i", "rrelu2022-fig-4", "rrelu2024-fig-8", "rrelu2024-table-6")
"""Entries of every kind that need no shared data."""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context without any data."""
    return Context(tmp_path / "nowhere", tmp_path / "measured")


def test_the_book_has_every_figure_and_table() -> None:
    """Keys are unique, name their chapter, and hold all that the papers show."""
    keys = [entry.key for entry in ENTRIES]
    assert len(set(keys)) == len(keys)
    assert set(keys) >= SEEDS
    assert all(re.fullmatch(r"[a-z0-9-]+", key) and key.partition("-")[0] in CHAPTERS for key in keys)
    chapters = [entry.chapter for entry in ENTRIES]
    assert chapters == sorted(chapters, key=list(CHAPTERS).index)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_every_entry_has_its_words(entry: Entry) -> None:
    """Each says what it shows, where that is published, what is published and what is measured here."""
    for text in (entry.title, entry.source, entry.published, entry.measured):
        assert text == text.strip() != ""
    assert entry.published.endswith(".")
    assert entry.measured.endswith(".")
    assert not entry.title.endswith(".")


def test_a_key_needs_a_chapter() -> None:
    """An entry of no chapter would be on no page."""
    with pytest.raises(ValueError, match="begins with no chapter"):
        replace(PLAIN, key="other-a")


@pytest.mark.parametrize("key", QUICK)
def test_quick_entries_are_made_without_shared_data(key: str, context: Context, tmp_path: Path) -> None:
    """What is shipped is enough for them, and each leaves the files that it names."""
    (entry,) = (entry for entry in ENTRIES if entry.key == key)
    outcome = make_entry(entry, context, tmp_path)
    assert (outcome.status, outcome.reason) == (MADE, "")
    assert outcome.files
    assert all((tmp_path / name).stat().st_size for name in outcome.files)
    with (tmp_path / f"{key}.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) > 1


def test_entries_of_shared_data_are_made(shared_data: Path, tmp_path: Path) -> None:
    """The figure of the authors' slopes holds all 672 of them, 26 of them small."""
    (entry,) = (entry for entry in ENTRIES if entry.key == "rrelu2024-fig-3")
    made = entry.make(Context(shared_data, tmp_path))
    assert isinstance(made.figure, Figure)
    values = [abs(float(row[-1])) for row in made.table.rows]
    assert (len(values), sum(value <= 0.1 for value in values)) == (672, 26)
    assert "of the 26 small ones 26 are in activations behind an addition" in made.notes[0]


def test_what_fails_or_lacks_data_says_so(context: Context, tmp_path: Path) -> None:
    """An exception becomes a failed page and a missing file one that says what is missing; both are recorded."""
    outcomes = {entry.key: make_entry(entry, context, tmp_path) for entry in CASES}
    assert [one.status for one in outcomes.values()] == [MADE, FAILED, MISSING, MADE]
    assert outcomes["talk-b"].reason == "RuntimeError: no <luck>"
    assert "in broken" in outcomes["talk-b"].details
    assert "nets/none.th is not in the shared data" in outcomes["talk-c"].reason
    assert outcomes["talk-d"].files == ("talk-d.png", "talk-d.pdf", "talk-d.csv")
    assert all(read_outcome(key, tmp_path) == one for key, one in outcomes.items())


class _Links(HTMLParser):
    """Collects what a page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "poster", "data"):
                self.sources.append(value or "")
            elif name == "href":
                self.links.append(value or "")


def test_the_index_shows_all_and_asks_for_nothing(context: Context, tmp_path: Path) -> None:
    """Words are escaped, pictures are part of the page, links lead to files beside it, failures show their reasons."""
    for entry in CASES:
        make_entry(entry, context, tmp_path)
    text = write_index([*CASES, replace(PLAIN, key="beyond-e")], tmp_path).read_text()
    page = _Links()
    page.feed(text)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "b"})
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) == 1
    files = [link for link in page.links if not link.startswith("#")]
    assert {*files} == {
        *(f"talk-a.{end}" for end in ("csv", "md", "tex")),
        *(f"talk-d.{end}" for end in ("csv", "pdf", "png")),
    }
    assert all((tmp_path / link).exists() for link in files)
    assert not re.search(r"url\(|@import|https?://", text)
    for said in (
        "A &lt;b&gt;title",
        "a&lt;b",
        "One &amp; two.",
        "no &lt;luck&gt;",
        "nets/none.th",
        "Not made yet",
        "(failed)",
    ):
        assert said in text


def test_a_killed_entry_spoils_no_other(context: Context, tmp_path: Path) -> None:
    """One whose process is killed is shown as failed; the rest is made, and what it left earlier is gone."""
    (tmp_path / "talk-k.png").write_bytes(b"old")
    said: list[str] = []
    entries = [replace(PLAIN, key="talk-k", make=killed), PLAIN]
    found = {one.key: one for one in make_all(entries, context, tmp_path, 1, said.append)}
    assert {key: one.status for key, one in found.items()} == {"talk-k": FAILED, "talk-a": MADE}
    assert found["talk-k"].reason.startswith("killed: ")
    assert read_outcome("talk-k", tmp_path) == found["talk-k"]
    assert not (tmp_path / "talk-k.png").exists()
    assert [line.split()[0] for line in said] == ["failed", "made"]


def test_the_command_makes_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 1 if something failed, and 0 if data are missing; the page holds both."""
    monkeypatch.setattr("analyses.book.__main__.ENTRIES", tuple(CASES))

    def in_line(entries: list[Entry], context: Context, out: Path, *_: object) -> list[object]:
        out.mkdir(exist_ok=True)
        return [make_entry(entry, context, out) for entry in entries]

    monkeypatch.setattr("analyses.book.__main__.make_all", in_line)
    out = ["--out", str(tmp_path / "figures"), "--data", str(tmp_path)]
    assert main([*out, "--only", "talk-a", "talk-c"]) == 0
    assert main([*out, "--only", "talk-b"]) == 1
    text = (tmp_path / "figures" / "index.html").read_text()
    assert "One &amp; two." in text
    assert "no &lt;luck&gt;" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "taken"], "--out: taken cannot be a folder (File exists); name another"),
        (["--out", "taken/figures"], "--out: taken/figures cannot be a folder (Not a directory)"),
        (["--jobs", "0"], "--jobs: at least 1 entry is made at a time, got 0"),
    ],
)
def test_unusable_options_are_one_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file in place of the folder, and no entry at a time, are said in a line, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_index_tells_not_yet_from_not_at_all(context: Context, tmp_path: Path) -> None:
    """Until all were tried, the others are not made yet, by a command that names the folder."""
    entries = CASES[:3]  # made, failed, and without its data
    make_entry(entries[0], context, tmp_path)
    text = write_index(entries, tmp_path).read_text()
    assert "1 of 3 made so far; the others are marked as not made yet." in text
    assert text.count("(not made yet)") == 2
    assert f"<code>python -m analyses.book --out {tmp_path} --only talk-b</code>" in text
    make_entry(entries[1], context, tmp_path)
    assert "1 of 3 made so far, 1 could not be made; the others" in write_index(entries, tmp_path).read_text()
    make_entry(entries[2], context, tmp_path)
    assert "1 of 3 could be made." in write_index(entries, tmp_path).read_text()


def test_commands_name_no_usual_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder that is the default, commands leave it out."""
    monkeypatch.chdir(tmp_path)
    OUT.mkdir()
    assert "<code>python -m analyses.book --only talk-a</code>" in write_index([PLAIN], OUT).read_text()


def test_the_look_is_left_behind() -> None:
    """Settings hold inside, and outside they are what they were."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style.look():
        assert matplotlib.rcParams["font.size"] == 10
        assert not matplotlib.rcParams["axes.spines.top"]
    assert dict(matplotlib.rcParams) == before
