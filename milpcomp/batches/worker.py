"""The process in which calls run, one after the other, until its parent is gone.

    in     (function, arguments)                          pickled
    out    ("ready",)                                     once
           ("note", object)                               whatever the function tells, at any time
           ("end", kind, value, error, cause, details)    one for every call

A thread reads what comes in. When that ends, the parent has died, was killed, or has had enough: the worker then kills
its whole process group, the processes that the function started included, so nothing goes on computing for nobody.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import shutil
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

_sending = threading.Lock()
_parent: list[Connection] = []


def tell(note: Any) -> None:
    """Pass something on to whoever looks at `Executor.running`; outside a worker, do nothing.

    Parameters
    ----------
    note : object
        Picklable and small. Only the latest one counts.
    """
    for connection in _parent:
        _send(connection, ("note", note))


def refuse(reason: str) -> None:
    """Fail for `reason`: what is called in place of a call that could not be sent."""
    raise TypeError(reason)


def main(descriptor: int, scratch: str) -> None:
    """Run the calls that come in on the socket `descriptor`; the folder `scratch` goes when the parent does."""
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    faulthandler.enable()
    connection = Connection(descriptor)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, calls, scratch), daemon=True).start()
    _parent.append(connection)
    _send(connection, ("ready",))
    while True:
        _send(connection, _answer(calls.get()))


def _read(connection: Connection, calls: queue.SimpleQueue[bytes], scratch: str) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            calls.put(connection.recv_bytes())
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _answer(call: bytes) -> tuple[Any, ...]:
    try:
        function, arguments = pickle.loads(call)
        return ("end", "done", function(*arguments), "", "", "")
    except BaseException as error:  # also SystemExit: nothing that a function does may end the worker unheard
        kind = "memory" if isinstance(error, MemoryError) else "failed"
        cause = type(error).__name__
        return ("end", kind, None, " ".join(str(error).split()) or cause, cause, traceback.format_exc())


def _send(connection: Connection, message: tuple[Any, ...]) -> None:
    try:
        data = pickle.dumps(message, protocol=5)
    except Exception as error:
        reason = f"what it returned cannot be pickled: {error}"
        data = pickle.dumps(("end", "failed", None, reason, type(error).__name__, traceback.format_exc()))
    with _sending, contextlib.suppress(OSError):  # a parent that is gone: the reading thread sees to that
        connection.send_bytes(data)
