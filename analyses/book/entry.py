"""What a page of the book is: a figure or a table, what is published of it, and what is measured here.

An `Entry` is one figure or table with its words, and the function that makes it. The function gets a `Context` (where
the data lie, and whether the published scale is asked for) and returns a `Made`: a table, and a figure if it is one.

    def accuracy(context: Context) -> Made:
        network = mc.load(context.shared("nets/akamaster/resnet20-12fca82f.th"), ...)
        table = Table("", ("gamma", "accuracy"), rows)
        return Made(table, draw(table), notes=(f"{count} images.",))

Figures are made inside `analyses.style.look()`; functions need not enter it. A function that cannot go on raises; that
is caught, and its page says why. Missing files are asked for by `Context.shared`, whose error says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from analyses.tables import Table
from milpcomp.batches.worker import tell

ANALYSES = Path(__file__).resolve().parents[1]

CHAPTERS = {
    "talk": ("Exact compression", "talk by Serra, Kumar and Ramalingam; NeurIPS 2021, with Yu, arXiv 2102.07804"),
    "rrelu2022": (
        "Rotated ReLU, 2022",
        "Nayak and Kalyani, Rotate the ReLU to implicitly sparsify deep networks, arXiv 2206.00488",
    ),
    "rrelu2024": ("Rotated ReLU, 2024", "Nayak, Ph.D. seminar II, IIT Madras; Nayak and Kalyani, TMLR 2024"),
    "beyond": ("Beyond the papers", "not published there; measured here"),
}
"""Every chapter of the book, in order: its title, and whose work it shows."""


class MissingDataError(Exception):
    """A file that a page needs is not there; the message names it and says where it is looked for."""


@dataclass(frozen=True)
class Context:
    """What pages are made from.

    Parameters
    ----------
    data : Path
        The folder of shared data, with nets/, mnist/ and cifar10/.
    measured : Path
        A folder where long measurements of `full` are kept, and found again.
    results : Path
        Numbers measured earlier, `analyses/results`.
    full : bool
        The published scale instead of what takes minutes.
    log : function of a line of text
        Says how far it is.
    """

    data: Path
    measured: Path
    results: Path = ANALYSES / "results"
    full: bool = False
    log: Callable[[str], None] = tell

    def shared(self, name: str) -> Path:
        """Return a file or folder of the shared data.

        Raises
        ------
        MissingDataError
            If it is not there.
        """
        path = self.data / name
        if not path.exists():
            raise MissingDataError(f"{name} is not in the shared data ({self.data}); set MILPCOMP_DATA or use --data")
        return path

    def earlier(self, name: str, command: str) -> Path:
        """Return a file of numbers measured earlier; `command` is what measures them.

        Raises
        ------
        MissingDataError
            If it is not there.
        """
        path = self.results / name
        if not path.exists():
            raise MissingDataError(f"{name} is not in {self.results}; make it by: {command}")
        return path


@dataclass(frozen=True)
class Made:
    """What the function of an entry returns.

    Parameters
    ----------
    table : Table
        The table itself, or the numbers behind the figure. Its caption may be empty: the entry has the words.
    figure : Figure or None
        None if the entry is a table.
    notes : tuple of str
        Sentences with what was found when it was made: numbers, on what they were measured, what differs.
    """

    table: Table
    figure: Figure | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One figure or table of the book.

    Parameters
    ----------
    key : str
        Names its files and its place on the page: lower case, digits and hyphens, beginning with its chapter.
    title : str
        What it shows, in a line.
    source : str
        Where it is published: "Fig. 3", "Table II", "slide 12"; for a chapter of our own, "not published".
    published : str
        What is published, in words.
    measured : str
        What is measured here, in words: on which networks and data, and what could not be.
    make : function from Context to Made
    command : str
        If numbers were measured earlier and are read from `analyses/results` or from cards: what measured them.
    full : str
        What `--full` changes; empty if nothing.
    """

    key: str
    title: str
    source: str
    published: str
    measured: str
    make: Callable[[Context], Made] = field(repr=False)
    command: str = ""
    full: str = ""

    def __post_init__(self) -> None:
        if self.chapter not in CHAPTERS:
            raise ValueError(f"the key {self.key!r} begins with no chapter; they are {', '.join(CHAPTERS)}")

    @property
    def chapter(self) -> str:
        """The chapter, one of `CHAPTERS`."""
        return self.key.partition("-")[0]
