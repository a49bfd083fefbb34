"""Where work is done: the one small interface that batches, and blocks of one network, hand their work to.

A `Call` goes in, and what became of it comes out as a `Done`: its result, or why there is none. An executor neither
retries nor raises for a call that went wrong, as what to do then is for whoever submitted it.

    done      the function returned; its result is `value`
    failed    the function raised an exception
    killed    the process was killed, or crashed
    time      it was killed at its time limit
    memory    it asked for more memory than its limit

`milpcomp.batches.processes` works in processes of this machine, `milpcomp.batches.cluster` on an existing Dask cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, Protocol

from milpcomp.errors import SettingsError

Kind = Literal["done", "failed", "killed", "time", "memory"]


@dataclass(frozen=True)
class Call:
    """A call of a function in another process.

    Parameters
    ----------
    key : str
        Tells calls apart; no two that are open may share one.
    function : callable
        Of an importable module, not of a script: workers do not run the script again.
    arguments : tuple
        Pickled, and so is what the function returns.
    time_limit_s : float, optional
        Its process is killed when it has run that long.
    memory_limit_bytes : int, optional
        Limit of its process's memory, the interpreter and its libraries included (about 300 MB with torch). Such a call
        has a process of its own.

    Raises
    ------
    SettingsError
        If the function cannot be found by its name in another process.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    time_limit_s: float | None = None
    memory_limit_bytes: int | None = None

    def __post_init__(self) -> None:
        module, name = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "<lambda>")
        if module in (None, "__main__") or "<" in name:
            raise SettingsError(
                f"other processes cannot find the function {name!r} of {module!r}; define it in a module that can be "
                "imported"
            )


@dataclass(frozen=True)
class Done:
    """What became of a call.

    Parameters
    ----------
    key : str
        That of the call.
    kind : {"done", "failed", "killed", "time", "memory"}
    value : object
        What the function returned.
    error : str
        What went wrong, on one line; empty for ``"done"``.
    cause : str
        The name of the exception's class, where there was one: ``"NetworkError"``.
    details : str
        The traceback, or what the process said before its end.
    seconds : float
        Wall-clock time from its beginning to its end.
    """

    key: str
    kind: Kind
    value: Any = None
    error: str = ""
    cause: str = ""
    details: str = ""
    seconds: float = 0.0


class Executor(AbstractContextManager["Executor"], Protocol):
    """Something that runs calls; leaving its ``with`` block ends whatever still runs."""

    @property
    def workers(self) -> int:
        """How many calls can run at once, as far as is known now."""

    def submit(self, call: Call) -> None:
        """Take a call; it runs when a worker is free, in the order of submission."""

    def finished(self, timeout_s: float) -> list[Done]:
        """Return what has ended since the last time; wait for something up to `timeout_s` if nothing has.

        Raises
        ------
        ExecutorError
            If no call can run any more: the scheduler is gone, or no process can be started.
        """

    def running(self) -> Mapping[str, Any]:
        """Return the keys of calls that run now, each with what it last told by ``milpcomp.batches.worker.tell``."""

    def cancel(self) -> None:
        """Drop the calls that wait, and end those that run; none of them is reported by `finished`."""


def require_count(value: object, what: str) -> None:
    """Raise `SettingsError` unless `value`, the number of `what`, is None or a whole number of at least 1."""
    if value is not None and (not isinstance(value, Integral) or value < 1):
        raise SettingsError(f"the number of {what} must be a whole number of at least 1, got {value!r}")
