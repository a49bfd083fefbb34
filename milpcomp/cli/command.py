"""What the parsers of all commands have in common: errors of one line, and help with examples and exit codes."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

from milpcomp.cli.exits import BAD_INPUT, EXIT_CODES


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which reads -1e-3 as a number."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, epilog=epilog, formatter_class=layout, allow_abbrev=False)
        # Before Python 3.14, argparse takes "-1" for a number but "-1e-3" for an unknown option.
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is not known here, where it is clear which command's help tells more."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Write one line to standard error and exit with code 2."""
        print(f"milpcomp: error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(BAD_INPUT)


def add_command(commands: Any, name: str, what: str, details: str, *examples: str) -> Parser:
    """Add a command: what it does, in the list of commands and in its own help; more on it there, and examples."""
    command: Parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.\n{details}".strip(),
        epilog=example(*examples) + "\n" + EXIT_CODES,
    )
    return command


def example(*lines: str) -> str:
    """Return the examples of a help text."""
    return "example:\n" + "".join(f"  milpcomp {line}\n" for line in lines)
