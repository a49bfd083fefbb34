"""How a command ends: its exit code, and its result as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

DONE, REJECTED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 70, 130

EXIT_CODES = """\
exit codes:
  0    done; neurons that stay undecided are reported and never acted upon
  1    done, but the independent checker rejected a verdict or an edit, or a job of a batch failed
  2    bad input: one line on standard error says what and what to do
  70   a defect of milpcomp: a traceback on standard error says where
  130  interrupted; if neurons were being decided by then, the certificate holds what was decided
"""


def print_json(document: Mapping[str, Any]) -> None:
    """Write a result to standard output."""
    json.dump(document, sys.stdout, indent=1, allow_nan=False)
    print()
