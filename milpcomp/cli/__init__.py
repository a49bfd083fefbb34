"""The command line: five commands over the same functions that Python users call.

Standard output holds results only, standard error progress and errors. A mistake of the user is one line and exit
code 2; see `milpcomp.cli.parser.EXIT_CODES`. Heavy libraries are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from milpcomp.cli.parser import parser
from milpcomp.errors import MilpcompError

BAD_INPUT, DEFECT, INTERRUPTED, TERMINATED = 2, 70, 130, 143

SAME_SIGNAL_S = 1.0
"""``timeout`` sends SIGTERM to a process and to its group; what comes within this time is one request."""

OPTION_WORDS = {
    r'architecture=, a module, a callable that makes it, or "package.module:factory",': "--architecture MODULE:FACTORY",
    r"architecture=(?=['\"])": "--architecture ",
    r"architecture=": "--architecture",
    r"input_shape=?": "--input-shape",
}
"""What Python users call an option, and what it is called here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        The exit code: 0 done, 1 the checker rejected something, 2 bad input, 70 a defect, 130 interrupted,
        143 terminated.
    """
    options = parser().parse_args(arguments)
    with _terminations() as terminated:
        code = _run(options)
    return TERMINATED if code == INTERRUPTED and terminated else code


def _run(options: argparse.Namespace) -> int:
    """Run a command, and turn whatever it raises into an exit code."""
    try:
        from milpcomp.cli import commands

        code = commands.COMMANDS[options.command](options)
        sys.stdout.flush()  # here, where a pipe that nobody reads any more can still be dealt with
        return code
    except MilpcompError as error:
        message = _in_options(" ".join(str(error).split()))  # one line, whatever a library put into it
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


@contextmanager
def _terminations() -> Iterator[list[float]]:
    """Treat SIGTERM like Ctrl-C inside the block, and give the list of when it came.

    Batch systems and ``timeout`` send it some time before they kill: time in which what was decided can be written.
    """
    came: list[float] = []

    def interrupt(*_: object) -> None:
        repeated = came and time.monotonic() < came[-1] + SAME_SIGNAL_S
        came.append(time.monotonic())
        if not repeated:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield came  # somebody else decides what the signal means
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _in_options(message: str) -> str:
    """Return a message of the library in the words of the command line."""
    for python, option in OPTION_WORDS.items():
        message = re.sub(rf"(?<![\w./*-]){python}", option, message)
    return message
