"""All entries of the book, in order. A chapter is a module with a tuple `ENTRIES`."""

from __future__ import annotations

from analyses.book import beyond, rrelu2022, rrelu2024, talk
from analyses.book.entry import Entry

ENTRIES: tuple[Entry, ...] = (*talk.ENTRIES, *rrelu2022.ENTRIES, *rrelu2024.ENTRIES, *beyond.ENTRIES)
