"""All entries of the book, in order. A chapter is a module with a tuple `ENTRIES`."""

from __future__ import annotations

from analyses.book.entry import Entry

ENTRIES: tuple[Entry, ...] = ()
