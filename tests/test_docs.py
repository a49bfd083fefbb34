"""The documentation: what it shows runs and prints what it says, its pages build, and its lists are complete."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import milpcomp
from milpcomp.cli import main
from milpcomp.cli.commands import COMMANDS
from milpcomp.cli.parser import EXIT_CODES, parser
from tests.docs_pages import ROOT, RUN, Block, blocks, commands, matches, pages

TRAINS = "trains networks; tests train smaller ones"

NOT_RUN = {
    "CONTRIBUTING.md: make test": "these are what continuous integration runs, or parts of it",
    "docs/batch.md: dask scheduler --port 8786": "there is no cluster",
    "docs/batch.md: milpcomp certify wide.npz --domain 0 1 --workers 2 --out blocks": (
        "starts processes for a network that has nothing hard in it; other tests do"
    ),
    "docs/command-line.md: milpcomp analyze resnet.th \\": "there is no such checkpoint",
    "docs/figures.md: make figures": "takes minutes; other tests make the entries",
    "docs/figures.md: .venv/bin/python -m analyses.book --out figures --only rrelu2022-fig-6 rrelu2024-fig-7": (
        "takes minutes; other tests make the entries"
    ),
    "models/README.md: .venv/bin/python -m models.train_mlp --data FOLDER": TRAINS,
    "models/grid/README.md: python -m models.grid --data FOLDER_WITH_THE_FOUR_MNIST_FILES      # what is missing;"
    " large shapes go to the cache": TRAINS,
    "models/recipes/README.md: python -m models.train RECIPE --data FOLDER --out FOLDER [--start CHECKPOINT]"
    " [--device cuda] [--resume]": TRAINS,
    "docs/rotated.md: milpcomp channels models/checkpoints/cifar10-resnet20-type2-proximal.safetensors \\": (
        "takes more than a minute, and wants the CIFAR-10 test set as test.npz"
    ),
}
"""Every block that is not run, and why, as its page says."""


def _demo() -> list[str]:
    """Return what `make demo` runs after the installation."""
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^demo: .*\n\t\$\(VENV\)/bin/(.*)$", makefile, flags=re.MULTILINE)
    (network,) = re.findall(r"^DEMO_NETWORK := (.*)$", makefile, flags=re.MULTILINE)
    return shlex.split(recipe.replace("$(DEMO_NETWORK)", network))


def _command(words: list[str]) -> None:
    assert words[0] == "milpcomp", f"only milpcomp and make demo are run; mark {words} as not run"
    assert main(words[1:]) == 0, words


def _run(block: Block, names: dict[str, Any]) -> str:
    """Run a block and return what it prints on standard output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, block.page, "exec"), names)
        else:
            for words in commands(block):
                _command(_demo() if words == ["make", "demo"] else words)
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("page", pages())
def test_what_a_page_shows_runs_and_prints_what_it_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks of a page run in order in an empty folder, their assertions hold, and their outputs are as shown."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    names: dict[str, Any] = {"__name__": page}
    printed = ""
    for block in blocks(page):
        if block.runs:
            printed = _run(block, names)
        elif block.mark == "output":
            assert matches(printed, block.text), f"{page}, line {block.line}: not as shown, but\n{printed}"
        elif block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text)
    assert list(tmp_path.iterdir())


def test_every_block_is_run_or_says_why_not() -> None:
    """No code escapes: each block has a language or a mark that is known, and the exceptions are the ones listed."""
    skipped = {}
    for block in (block for page in pages() for block in blocks(page)):
        kind, _, why = block.mark.partition(": ")
        assert kind in ("", "output", "file", "not run", "as it is"), block.title
        assert why or kind in ("", "output"), block.title
        if kind in ("", "not run"):
            assert block.language in RUN, f"{block.page}, line {block.line}: which language is this?"
        if kind == "not run":
            skipped[block.title] = why
    assert skipped == NOT_RUN


def test_commands_that_are_not_run_are_at_least_commands() -> None:
    """The parser takes every milpcomp command of blocks that are not run, and the Makefile has their targets."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    seen = set()
    for block in (block for page in pages() for block in blocks(page) if block.mark.startswith("not run")):
        for words in commands(block) if block.language == "bash" else []:
            seen.add(words[0])
            if words[0] == "milpcomp":
                assert parser().parse_args(words[1:]).command == words[1]
            elif words[0] == "make":
                assert targets.issuperset(word for word in words[1:] if "=" not in word), block.title
    assert "make" in seen


def test_the_command_line_page_shows_every_command_and_exit_code() -> None:
    """Each command has a section or stands in one, and the table of exit codes is the one of the help."""
    text = (ROOT / "docs" / "command-line.md").read_text()
    headings = " ".join(re.findall(r"^## (.*)$", text, flags=re.MULTILINE))
    assert set(COMMANDS) <= set(re.findall(r"\w+", headings))
    for code, meaning in re.findall(r"^  (\d+) +(.*)$", EXIT_CODES, flags=re.MULTILINE):
        assert f"| {code} | {meaning} |" in text


# ------------------------------------------------------------------------------------------------------------ the build


PARTS = ("batches", "channels", "checker", "compression", "network", "paths", "robustness", "rotated")
"""Packages with public names of their own."""


def _sphinx(out: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages with the command of `make docs`, into another folder."""
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^\t\$\(PY\) (-m sphinx .*) docs/_build/html$", makefile, flags=re.MULTILINE)
    assert "-W" in recipe.split()
    return subprocess.run(
        [sys.executable, *recipe.split(), str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_pages_build_without_a_warning_and_ask_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Warnings are errors; all public names are in the reference; pages load no file from another host."""
    built = _sphinx(tmp_path)
    assert built.returncode == 0, built.stderr
    reference = " ".join(path.read_text() for path in (tmp_path / "api").glob("*.html"))
    documented = set(re.findall(r'id="milpcomp\.([\w.]+)"', reference))
    assert not set(milpcomp.__all__) - documented
    own = {name.rpartition(".")[2] for name in documented}
    for part in PARTS:
        module = importlib.import_module(f"milpcomp.{part}")
        public = [name for name in getattr(module, "__all__", ()) if callable(getattr(module, name))]
        assert not set(public) - own, part
    for path in (path for path in tmp_path.rglob("*") if path.suffix in (".html", ".css", ".js")):
        text = path.read_text()
        assert not re.search(r'<(script|img|iframe|link)[^>]*(src|href)="(https?:)?//', text), path
        assert not re.search(r'@import|url\(["\']?(https?:)?//', text), path


# -------------------------------------------------------------------------------------------------------------- the map


def _map() -> list[set[str]]:
    """Return the rows of the map of modules: the names of one row each, as "bounds" or "domain"."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("| module |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([\w/.]+)`", line.split("|")[1]) for line in text.splitlines()[2:]]
    return [{name.removesuffix("/").removesuffix(".py") for name in row} for row in rows]


def _unit(path: Path) -> str:
    return path.relative_to(ROOT / "milpcomp").parts[0].removesuffix(".py")


def test_the_map_shows_every_package_and_module() -> None:
    """Each package and top-level module of milpcomp is in exactly one row; each folder of the checkout is named."""
    shown = [name for row in _map() for name in row]
    units = {_unit(path) for path in (ROOT / "milpcomp").rglob("*.py")} - {"__init__", "__main__"}
    assert sorted(shown) == sorted(units)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for folder in ("models", "analyses", "tests", "docs", "requirements"):
        assert f"| `{folder}/` |" in text


def test_arrows_go_one_way() -> None:
    """What a module imports of milpcomp stands above it on the map, or beside it; the checker takes only errors."""
    level = {name: i for i, row in enumerate(_map()) for name in row}
    for path in (ROOT / "milpcomp").rglob("*.py"):
        unit = _unit(path)
        if unit in ("__init__", "__main__"):
            continue
        imported = {
            node.module.split(".")[1]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("milpcomp.")
        }
        assert all(level[other] <= level[unit] for other in imported), path
        if unit == "checker":
            assert imported <= {"checker", "errors"}, path


def test_readme_stays_short() -> None:
    """What it is, one command and what that prints come first, and the rest does not grow."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("make demo") < 10
    assert len(lines) <= 150


@pytest.mark.parametrize("page", pages())
def test_what_a_page_names_exists(page: str) -> None:
    """Files that a page links to are there, and so are modules that it runs and targets of make."""
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module), module
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"`make ([a-z]+)", text)) <= set(targets)
