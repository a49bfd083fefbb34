"""What can be said on the command line, and the help that explains it.

Values that need the library to be understood (methods, backends, domains) are passed on as they are; the library
refuses them with its own message, which is the same in Python.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from milpcomp.cli import network_arguments, study_arguments
from milpcomp.cli.command import Parser, example
from milpcomp.cli.exits import EXIT_CODES


class _Version(argparse.Action):
    """Print the version and exit; it is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"milpcomp {version('milpcomp')}")
        parser.exit(0)


def parser() -> Parser:
    """Return the parser of all commands; the parsed options name theirs in `command`."""
    main = Parser(
        prog="milpcomp",
        description="A trained rectifier network in; a smaller network that computes the same function out, with a "
        "proof that can be checked.",
        epilog=example("analyze model.onnx --domain 0 1 --out report") + "\n" + EXIT_CODES,
    )
    main.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    network_arguments.analyze(commands)
    network_arguments.certify(commands)
    network_arguments.compress(commands)
    network_arguments.check(commands)
    study_arguments.batch(commands)
    network_arguments.channels(commands)
    study_arguments.paths(commands)
    study_arguments.attack(commands)
    network_arguments.export(commands)
    return main
