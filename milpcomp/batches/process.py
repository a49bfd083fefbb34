"""One worker process as its parent sees it: how it is started, what it says, when it is over a limit, how it ended.

Memory is what is resident, read from /proc; a process above its limit is killed. A limit that lets allocations fail
instead would be answered by libraries in their own ways, down to results that are quietly poorer.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from milpcomp.batches.executor import Call, Done, Kind
from milpcomp.batches.worker import refuse
from milpcomp.errors import ExecutorError

EXIT_S = 5.0
"""How long a process that hung up may take to end."""

LOG_BYTES = 4000
"""How much of what a worker wrote before its end is kept."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

START = "import sys; sys.path[:] = {path!r}; from milpcomp.batches.worker import main; main({descriptor}, {scratch!r})"


class Process:
    """One process, and the call that it works at."""

    call: Call

    def __init__(self) -> None:
        self.note: Any = None
        self.reusable = False
        self._ready = False
        self._started = 0.0
        self._said = ""
        self._scratch = tempfile.TemporaryDirectory(prefix="milpcomp-", ignore_cleanup_errors=True)
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (closed in `end`)
        ours, theirs = socket.socketpair()
        path = [entry or os.getcwd() for entry in sys.path]
        start = START.format(path=path, descriptor=theirs.fileno(), scratch=self._scratch.name)
        environment = os.environ | dict.fromkeys(THREADS, "1") | {"TMPDIR": self._scratch.name}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                pass_fds=[theirs.fileno()], env=environment, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ExecutorError(f"cannot start a process: {error.strerror or error}; use fewer workers") from error
        finally:
            theirs.close()
        self.connection = Connection(ours.detach())

    def begin(self, call: Call) -> bool:
        """Start a call; False if the process is gone, which `listen` then tells too."""
        self.call, self.note, self.reusable = call, None, False
        self._log.truncate(0)
        self._started = time.monotonic()
        try:
            data = pickle.dumps((call.function, call.arguments), protocol=5)
        except Exception as error:
            data = pickle.dumps((refuse, (f"the arguments cannot be pickled: {error}",)))
        try:
            self.connection.send_bytes(data)
        except OSError:
            return False
        return True

    def listen(self) -> Done | None:
        """Return what became of the call, as the process says or as its end shows; None if it only told something."""
        try:
            message = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return self._gone()
        except Exception as error:
            return self._done("failed", f"its result cannot be read: {error}", type(error).__name__)
        if message[0] == "end":
            _, kind, value, reason, cause, details = message
            self.reusable = self.call.memory_limit_bytes is None and kind != "memory"
            return Done(self.call.key, kind, value, reason, cause, details, self._seconds())
        if message[0] == "note":
            self.note = message[1]
        self._ready = True
        return None

    def look(self) -> Done | None:
        """Return that the call ends here if it is over a limit."""
        limit_s, limit = self.call.time_limit_s, self.call.memory_limit_bytes
        if limit_s is not None and self._seconds() > limit_s:
            return self._done("time", f"stopped after its time limit of {limit_s:g} s")
        if limit is not None and (resident(self._process.pid) or 0) > limit:
            return self._done("memory", f"stopped over its memory limit of {limit / 1e6:.0f} MB")
        return None

    def end(self) -> None:
        """Kill the process and all that it started; before its number is given up, or it could be another's by then."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - LOG_BYTES))
        self._said = self._log.read().decode(errors="replace").strip()
        self._log.close()
        self._scratch.cleanup()

    def _gone(self) -> Done:
        patience = time.monotonic() + EXIT_S
        looked = os.WEXITED | os.WNOWAIT | os.WNOHANG  # not Popen.wait: see `end`
        while os.waitid(os.P_PID, self._process.pid, looked) is None and time.monotonic() < patience:
            time.sleep(0.01)
        self.end()
        code, names = self._process.returncode, {one.value: one.name for one in signal.Signals}
        if code >= 0 and not self._ready:
            raise ExecutorError(f"a worker process cannot start: {self._said or f'exit code {code}'}")
        if code >= 0:
            return self._done("killed", f"its process ended by itself with exit code {code}")
        return self._done("killed", f"its process was ended by {names.get(-code, f'signal {-code}')}")

    def _done(self, kind: Kind, error: str, cause: str = "") -> Done:
        self.end()
        return Done(self.call.key, kind, None, error, cause, self._said, self._seconds())

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def resident(pid: int) -> int | None:
    """Return the resident bytes of a process and of those that it started; None where /proc does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except (OSError, IndexError, ValueError):
        return None
    children = [int(child) for text in lists for child in text.split()]
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(child) or 0 for child in children)
