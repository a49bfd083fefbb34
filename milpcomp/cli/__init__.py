"""The command line: commands over the same functions that Python users call.

Standard output holds results only, standard error progress and errors. A mistake of the user is one line and exit
code 2; see `milpcomp.cli.exits.EXIT_CODES`. Heavy libraries are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence

from milpcomp.cli.exits import BAD_INPUT, DEFECT, INTERRUPTED
from milpcomp.cli.parser import parser
from milpcomp.errors import MilpcompError

OPTION_WORDS = {
    r"input_shape=, the shape of one sample, such as \(784,\) or \(3, 32, 32\), or example_input=, a batch of inputs": (
        "--input-shape, the shape of one sample, such as 784 or 3,32,32"
    ),
    r'architecture=, a module, a callable that makes it, or "package.module:factory",': "--architecture MODULE:FACTORY",
    r"architecture=(?=['\"])": "--architecture ",
    r"architecture=": "--architecture",
    r"input_shape=?": "--input-shape",
}
"""What Python users call an option, and what it is called here, by the commands that have these options."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        The exit code: 0 done, 1 the checker rejected something, 2 bad input, 70 a defect, 130 interrupted.
    """
    options = parser().parse_args(arguments)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    """Run a command, and turn whatever it raises into an exit code."""
    try:
        from milpcomp.cli import commands

        code = commands.COMMANDS[options.command](options)
        sys.stdout.flush()  # here, where a pipe that nobody reads any more can still be dealt with
        return code
    except MilpcompError as error:
        message = " ".join(str(error).split())  # one line, whatever a library put into it
        if hasattr(options, "architecture"):  # else such words are keys of a file, as in one of jobs
            message = _in_options(message)
        print(f"milpcomp: error: {message}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("milpcomp: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `milpcomp ... | head`: whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # not 1, which is Python's way and would look like a rejection
        traceback.print_exc()
        print("milpcomp: this is a defect of milpcomp; please report it with the lines above", file=sys.stderr)
        return DEFECT


def _in_options(message: str) -> str:
    """Return a message of the library in the words of the command line."""
    for python, option in OPTION_WORDS.items():
        message = re.sub(rf"(?<![\w./*-]){python}", option, message)
    return message
