"""Calls in processes of this machine: each may crash, be killed, or be stopped at a limit, and no other suffers.

Every worker has a socket of its own, so that one that is killed in the middle of a message leaves no lock held and no
queue torn, and a new one takes its place. Workers are fresh interpreters that import the functions they are to call:
not forks, which torch does not survive, and without running the caller's script again. They use one thread each.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import wait
from typing import Any

from milpcomp.batches.executor import Call, Done, Executor, require_count
from milpcomp.batches.process import Process, resident
from milpcomp.errors import SettingsError

LOOK_S = 0.1
"""How often limits are looked at."""


class Processes(Executor):
    """Calls in processes of this machine.

    Parameters
    ----------
    workers : int, optional
        How many run at once; as many as this process may use cores if not given.

    Raises
    ------
    SettingsError
        If `workers` is no whole number, or less than 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        require_count(workers, "workers")
        self._count = _cores() if workers is None else workers
        self._waiting: deque[Call] = deque()
        self._idle: list[Process] = []
        self._busy: list[Process] = []

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
        if call.memory_limit_bytes is not None and resident(os.getpid()) is None:
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
            worker = kept or Process()
            if not worker.begin(call) and kept is not None:
                worker.end()  # it died while it was idle
                continue
            self._busy.append(worker)
            self._waiting.popleft()

    def _release(self, worker: Process) -> None:
        if worker.reusable and len(self._idle) + len(self._busy) < self._count:
            self._idle.append(worker)
        else:
            worker.end()


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux; it knows of limits that cpu_count does not
    return len(affinity(0)) if affinity else os.cpu_count() or 1
