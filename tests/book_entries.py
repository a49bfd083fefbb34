"""Made-up entries of the book: one that is made, one that fails, one that lacks data, one with a figure, one killed."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from analyses import style
from analyses.book.entry import Context, Entry, Made
from analyses.tables import Table

SMALL = Table("", ("name", "value"), (("a<b", "1.5"), ("c", "–")))


def plain(context: Context) -> Made:
    """Return a table."""
    return Made(SMALL, notes=("One & two.",))


def drawn(context: Context) -> Made:
    """Return a figure."""
    figure = style.figure(height=1.0)
    figure.add_subplot().plot([0, 1])
    return Made(SMALL, figure)


def broken(context: Context) -> Made:
    """Fail."""
    raise RuntimeError("no <luck>")


def wanting(context: Context) -> Made:
    """Ask for what is not there."""
    return Made(Table("", (str(context.shared("nets/none.th")),), ()))


def killed(context: Context) -> Made:
    """Take the process down."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Made(SMALL)


PLAIN = Entry("talk-a", "A <b>title</b>", "Table 1", "published", "measured", plain)
CASES = (
    PLAIN,
    replace(PLAIN, key="talk-b", make=broken),
    replace(PLAIN, key="talk-c", make=wanting),
    replace(PLAIN, key="talk-d", make=drawn, full="more"),
)
