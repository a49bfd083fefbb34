"""The independent checker: reads results and re-proves them with its own reader, layer semantics and arithmetic.

It imports none of the modules that produce networks' values, bounds, verdicts or edits; of the rest of the package it
uses the error classes only. A mistake has to be made twice, in two different ways, to go unnoticed.
"""

from milpcomp.checker.check import check
from milpcomp.checker.compression import check_compression
from milpcomp.checker.result import Checked, CheckedCompression, EditEntry, Entry, Finding

__all__ = ["Checked", "CheckedCompression", "EditEntry", "Entry", "Finding", "check", "check_compression"]
