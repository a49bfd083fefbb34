"""Pages of Markdown as the things that can be run in them: code, commands, and what they print.

```python / ```bash    run, in the order of the page, Python in one namespace, in one empty folder with models/ in it
<!-- output -->        the ```text block that follows is what the block before it prints
<!-- file: NAME -->    the block that follows is written to NAME
<!-- not run: WHY -->  the ```python or ```bash block that follows is only looked at
<!-- as it is: WHY --> the ```text block that follows is compared with nothing
"""

from __future__ import annotations

import doctest
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
RUN = ("python", "bash")


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, its text, where it stands, and the comment before it."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def runs(self) -> bool:
        """Whether the block is executed."""
        return self.language in RUN and not self.mark

    @property
    def title(self) -> str:
        """The page and the first line, for a list of exceptions."""
        return f"{self.page}: {self.text.splitlines()[0]}"


def pages() -> list[str]:
    """Return every page that may hold commands: the READMEs, their relatives, and docs/ without the API reference."""
    top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    top += [f"models/{name}README.md" for name in ("", "grid/", "recipes/")]
    return top + sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))


def blocks(page: str) -> list[Block]:
    """Return the fenced and the indented blocks of a page; the directives of Sphinx ({...}) are none."""
    found, mark = [], ""
    for token in MarkdownIt().parse((ROOT / page).read_text()):
        if token.type == "html_block":
            mark = token.content.strip().removeprefix("<!--").removesuffix("-->").strip()
            continue
        if token.type in ("fence", "code_block") and not token.info.startswith("{"):
            line = 0 if token.map is None else token.map[0] + 1
            found.append(Block(page, line, token.info.strip(), token.content, mark))
        mark = ""
    return found


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a bash block, in words; lines that end in a backslash go on."""
    return [words for line in block.text.replace("\\\n", " ").splitlines() if (words := shlex.split(line, True))]


def matches(printed: str, said: str) -> bool:
    """Whether a page says what was printed, apart from spaces, times, digests and numbers as in 1.2e-07.

    They depend on the machine. Three dots stand for anything.
    """
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(_steady(said), _steady(printed), options)


def _steady(text: str) -> str:
    text = re.sub(r"\d[\d.]*e[-+]\d+|\b0\.00\d+", "SMALL", text)
    text = re.sub(r"\b[\d,]+(\.\d+)? (s|ms|seconds)\b", "TIME", text)
    text = re.sub(r"digest [0-9a-f]{12}", "digest", text)
    return re.sub(r"[─━]+", "-", text)
