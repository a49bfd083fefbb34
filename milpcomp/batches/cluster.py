"""Calls on the workers of an existing Dask cluster, in processes of their own there.

A Dask worker cannot stop a task, nor survive one that crashes. So a task is only a guard: on the worker's machine it
runs the call in a process of `milpcomp.batches.processes`, under the same limits, and reports what became of it. The
process is kept for the next task, and ends with the Dask worker. When the client goes, its tasks are cancelled by the
scheduler, and the guards then end their processes.

Scheduler and workers are somebody else's: ``dask scheduler`` and ``dask worker``, dask-jobqueue (Slurm),
dask-kubernetes and others. The workers need milpcomp, and see the files of the networks under the same paths.
"""

from __future__ import annotations

import queue
import re
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.batches.processes import Processes
from milpcomp.errors import ExecutorError

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 15
"""How long a scheduler may take to answer."""

LOOK_S = 0.5
"""How often a guard looks whether its task is still wanted."""

_idle: list[Processes] = []
"""On a Dask worker: processes that wait for the next task."""


class Cluster(Executor):
    """Calls on a Dask cluster.

    Parameters
    ----------
    address : str
        Of its scheduler: ``"tcp://host:8786"``.

    Raises
    ------
    ExecutorError
        If Dask's package `distributed` is not installed, or no scheduler answers there.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ExecutorError(
                "clusters need Dask's package `distributed`; install it with: pip install 'milpcomp[cluster]'"
            ) from error
        if not re.fullmatch(r"[a-z]+://.+:\d+", str(address)):
            raise ExecutorError(f"{address!r} is no address of a scheduler; give one such as tcp://host:8786")
        self._address = address
        self._run = secrets.token_hex(4)  # a task must never be taken for one of another run
        self._tasks: dict[str, Future[Done]] = {}
        self._ended: queue.SimpleQueue[tuple[str, Future[Done]]] = queue.SimpleQueue()
        self._notes: dict[str, Any] = {}
        try:
            self._client: Client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ExecutorError(
                f"no Dask scheduler answers at {address}: {_line(error)}; give the address that `dask scheduler` prints"
            ) from error
        self._client.subscribe_topic(self._topic, self._noted)

    @property
    def workers(self) -> int:
        """How many threads the cluster's workers have together."""
        return sum(self._client.nthreads().values())

    def submit(self, call: Call) -> None:
        """Take a call; see `Executor.submit`."""
        name = f"{call.key}-{self._run}-{secrets.token_hex(4)}"
        task = self._client.submit(_guarded, call, name, self._topic, key=name, pure=False)
        self._tasks[call.key] = task
        task.add_done_callback(lambda ended: self._ended.put((call.key, ended)))

    def finished(self, timeout_s: float) -> list[Done]:
        """Return what has ended; see `Executor.finished`."""
        ended: list[Done] = []
        deadline = time.monotonic() + timeout_s
        while self._tasks and not ended:
            try:
                key, task = self._ended.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            while True:
                if self._tasks.get(key) is task:
                    ended.append(self._outcome(key, task))
                    del self._tasks[key]
                    self._notes.pop(key, None)
                try:
                    key, task = self._ended.get_nowait()
                except queue.Empty:
                    break
        return ended

    def running(self) -> Mapping[str, Any]:
        """Return what the running calls last told; see `Executor.running`."""
        return {key: note for key, note in self._notes.copy().items() if key in self._tasks}

    def cancel(self) -> None:
        """Drop and end all calls; see `Executor.cancel`."""
        tasks, self._tasks = list(self._tasks.values()), {}
        self._notes.clear()
        self._client.cancel(tasks)

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self._client.close()

    @property
    def _topic(self) -> str:
        return f"milpcomp-{self._run}"

    def _noted(self, event: tuple[Any, tuple[str, Any]]) -> None:
        key, note = event[1]
        self._notes[key] = note

    def _outcome(self, key: str, task: Future[Done]) -> Done:
        from distributed.scheduler import KilledWorker

        if task.status == "finished":
            return task.result()
        if task.status != "error":
            raise ExecutorError(f"the Dask scheduler at {self._address} is gone; start one and run this again")
        error = task.exception()
        if isinstance(error, KilledWorker):
            return Done(key, "killed", error="the Dask workers that it ran on were killed", cause="KilledWorker")
        raise ExecutorError(
            f"the cluster at {self._address} cannot run calls ({type(error).__name__}: {_line(error)}); its workers "
            "need the same milpcomp as this process"
        ) from error


def _guarded(call: Call, name: str, topic: str) -> Done:
    """Run a call in a process of its own, on a Dask worker."""
    from distributed import get_worker

    worker = get_worker()
    processes = _idle.pop() if _idle else Processes(1)
    told: Any = None
    try:
        processes.submit(call)
        while True:
            for done in processes.finished(LOOK_S):
                return done
            task = worker.state.tasks.get(name)
            if task is None or task.state == "cancelled":
                processes.cancel()
                return Done(call.key, "killed", error="it was cancelled")
            note = processes.running().get(call.key)
            if note is not None and note != told:
                told = note
                worker.log_event(topic, (call.key, note))
    except ExecutorError as error:
        return Done(call.key, "killed", error=str(error), cause="ExecutorError")
    finally:
        _idle.append(processes)


def _line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
