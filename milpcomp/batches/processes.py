"""Calls in processes of this machine: each may crash, be killed, or be stopped at a limit, and no other suffers.

Every worker has a socket of its own, so that one that is killed in the middle of a message leaves no lock held and no
queue torn, and a new one takes its place. Workers are fresh interpreters that import the functions they are to call:
not forks, which torch does not survive, and without running the caller's script again. They use one thread each.

Memory is what is resident, read from /proc ten times a second; a process above its limit is killed. A limit that lets
allocations fail instead would be answered by libraries in their own ways, down to results that are quietly poorer.
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
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.batches.worker import refuse
from milpcomp.errors import ExecutorError, SettingsError

LOOK_S = 0.1
"""How often limits are looked at."""

EXIT_S = 5.0
"""How long a process that hung up may take to end."""

LOG_BYTES = 4000
"""How much of what a worker wrote before its end is kept."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

START = "import sys; sys.path[:] = {path!r}; from milpcomp.batches.worker import main; main({descriptor}, {scratch!r})"


class Processes(Executor):
    """Calls in processes of this machine.

    Parameters
    ----------
    workers : int, optional
        How many run at once; as many as this process may use cores if not given.

    Raises
    ------
    SettingsError
        If `workers` is less than 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._count = _cores() if workers is None else workers
        if self._count < 1:
            raise SettingsError(f"the number of workers must be at least 1, got {workers!r}")
        self._waiting: deque[Call] = deque()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    @property
    def workers(self) -> int:
        """How many calls can run at once."""
        return self._count

    def submit(self, call: Call) -> None:
        """Take a call; see `Executor.submit`.

        Raises
        ------
        SettingsError
            If it has a memory limit and this system does not tell how much memory a process uses.
        """
        if call.memory_limit_bytes is not None and _resident(os.getpid()) is None:
            raise SettingsError("memory limits need /proc, as on Linux; leave the limit out on this system")
        self._waiting.append(call)
        self._assign()

    def finished(self, timeout_s: float) -> list[Done]:
        """Return what has ended; see `Executor.finished`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._assign()
            left = max(0.0, deadline - time.monotonic())
            ready = wait([worker.connection for worker in self._busy], min(left, LOOK_S))
            ended: list[Done] = []
            for worker in tuple(self._busy):
                done = worker.listen() if worker.connection in ready else None
                if done := done or worker.look():
                    ended.append(done)
                    self._busy.remove(worker)
                    self._release(worker)
            if ended or left <= 0 or not (self._busy or self._waiting):
                self._assign()
                return ended

    def running(self) -> Mapping[str, Any]:
        """Return what the running calls last told; see `Executor.running`."""
        return {worker.call.key: worker.note for worker in self._busy}

    def cancel(self) -> None:
        """Drop and end all calls; see `Executor.cancel`."""
        self._waiting.clear()
        while self._busy:
            self._busy.pop().end()

    def __exit__(self, *_: object) -> None:
        self.cancel()
        while self._idle:
            self._idle.pop().end()

    def _assign(self) -> None:
        while self._waiting and len(self._busy) < self._count:
            call = self._waiting[0]
            kept = self._idle.pop() if self._idle else None
            if kept is not None and call.memory_limit_bytes is not None:
                kept.end()  # what earlier calls left behind would count
                kept = None
            worker = kept or _Worker()
            if not worker.begin(call) and kept is not None:
                worker.end()  # it died while it was idle
                continue
            self._busy.append(worker)
            self._waiting.popleft()

    def _release(self, worker: _Worker) -> None:
        if worker.reusable and len(self._idle) + len(self._busy) < self._count:
            self._idle.append(worker)
        else:
            worker.end()


class _Worker:
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
        if limit is not None and (_resident(self._process.pid) or 0) > limit:
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
        code = self._process.returncode
        if code >= 0 and not self._ready:
            raise ExecutorError(f"a worker process cannot start: {self._said or f'exit code {code}'}")
        if code >= 0:
            return self._done("killed", f"its process ended by itself with exit code {code}")
        return self._done("killed", f"its process was ended by {signal.Signals(-code).name}")

    def _done(self, kind: Any, error: str, cause: str = "") -> Done:
        self.end()
        return Done(self.call.key, kind, None, error, cause, self._said, self._seconds())

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux; it knows of limits that cpu_count does not
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _resident(pid: int) -> int | None:
    """Return the resident bytes of a process and of those that it started; None where /proc does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except (OSError, IndexError, ValueError):
        return None
    children = [int(child) for text in lists for child in text.split()]
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(child) or 0 for child in children)
