"""`batch`: many jobs, each done once, whatever happens to the machine in between.

A job is known by its content. What ended in an earlier run is read from the folder, and what is there but damaged is
done again; the rest goes to an executor, and every result is on disk before the next is looked at. So a run may be
killed at any moment: the same command goes on where it stopped.

A job that fails is written down with its reason, and the others go on. One whose process is killed is begun again, at
most `RETRIES` times. Failures that lie in a job (an error, a limit) are kept; those that lie in the machine (killed, a
full disk) are tried again by the next run.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.batches.jobs import Job, loading
from milpcomp.batches.names import told_apart
from milpcomp.batches.places import place
from milpcomp.batches.progress import BatchObserver, BatchSnapshot, observing
from milpcomp.batches.reading import read_jobs
from milpcomp.batches.store import Ended, Store
from milpcomp.batches.table import BatchResult, row, write_table
from milpcomp.batches.work import Outcome, carry_out
from milpcomp.errors import OutputError, ResultError
from milpcomp.files import PathLike

RETRIES = 2
"""How often a job whose process was killed is begun again."""

LOOK_S = 0.5
"""How often the observer is told at least."""

AHEAD = 1000
"""How many jobs are handed out at once; a cluster may grow by what it sees, but every job takes its memory."""

GRACE_S = 60.0
"""A job's process is killed when it runs longer than twice its time limit, which is the certification's, and this."""


def batch(
    jobs: PathLike | Sequence[Job],
    out: PathLike,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    progress: bool | BatchObserver = False,
) -> BatchResult:
    """Do many jobs, and gather what they give in one table.

    Parameters
    ----------
    jobs : path or sequence of Job
        A .yaml or .csv file (see `milpcomp.batches.reading`), or jobs. Equal ones are done once, and named
        as the first of them.
    out : path
        Folder for table.csv, table.parquet (where pyarrow is installed) and jobs/, with result.json and the files of
        `milpcomp.analyze` or `milpcomp.certify` for each job. Jobs that ended there in an earlier run are not done
        again.
    workers : int, optional
        How many processes of this machine work at once; as many as there are cores if not given.
    scheduler : str, optional
        Address of a Dask scheduler, ``"tcp://host:8786"``, whose workers do it instead.
    retry_failed : bool
        Do jobs again that failed in an earlier run.
    progress : bool or callable
        True draws progress on standard error; a callable receives each `BatchSnapshot`.

    Returns
    -------
    BatchResult
        With a row for every job, failed ones included; equal ones have one.

    Raises
    ------
    SettingsError, CheckpointError
        If a job cannot be understood, or one of its files not be read, before any work is done.
    OutputError
        If the folder cannot be written to, the disk is full, or another run is writing there.
    ExecutorError
        If no process can be started, or there is no cluster at that address.

    Examples
    --------
    >>> result = mc.batch("jobs.yaml", "out")
    >>> result.frame().groupby("domain")["stably_inactive"].sum()
    """
    listed = read_jobs(jobs) if isinstance(jobs, str) or hasattr(jobs, "__fspath__") else told_apart(jobs)
    store = Store(out)
    with observing(progress) as notify, store.locked():
        run = _Run(store, {}, notify)
        for job in listed:
            run.jobs.setdefault(job.identity.digest, job)
            run.entries[job.identity.digest] += 1
        run.look(retry_failed)
        try:
            if run.open:
                with place(workers, scheduler) as executor:
                    run.work(executor)
        except BaseException:
            with contextlib.suppress(OutputError):  # what is wrong is being raised already
                write_table(run.rows(), store.folder)
            raise
        rows = run.rows()
        write_table(rows, store.folder)
    return BatchResult(tuple(rows), store.folder, run.found, tuple(run.notices))


@dataclass
class _Run:
    """One run over the jobs of a batch, by their digests."""

    store: Store
    jobs: dict[str, Job]
    notify: BatchObserver
    entries: Counter[str] = field(default_factory=Counter)
    ended: dict[str, Ended] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    found: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)

    @property
    def open(self) -> list[str]:
        """The jobs that are to be done."""
        return [digest for digest in self.jobs if digest not in self.ended]

    def look(self, retry_failed: bool) -> None:
        """Take what ended in an earlier run."""
        for digest, job in self.jobs.items():
            try:
                ended = self.store.find(job.identity)
            except ResultError as error:
                self.notice(f"{job.name}: done again, as {error}")
                continue
            if ended is not None and (ended.status == "done" or not (retry_failed or _machine_failed(ended))):
                self.ended[digest] = ended
        self.found = len(self.ended)

    def work(self, executor: Executor) -> None:
        """Do the jobs that are open, and write down how each ended."""
        waiting = self.open[::-1]
        handed: set[str] = set()
        self.tell(executor)
        while waiting or handed:
            while waiting and len(handed) < AHEAD:
                handed.add(waiting[-1])
                executor.submit(self.call(waiting.pop()))
            for done in executor.finished(LOOK_S):
                if done.kind == "killed" and self.attempts[done.key] <= RETRIES:
                    self.notice(f"{self.jobs[done.key].name}: begun again, as {done.error}", executor)
                    executor.submit(self.call(done.key))
                else:
                    handed.discard(done.key)
                    self.end(done)
            self.tell(executor)

    def call(self, digest: str) -> Call:
        """Return the call that does a job."""
        job = self.jobs[digest]
        self.attempts[digest] += 1
        limit_s, limit_mb = job.settings["time_limit_s"], job.memory_limit_mb
        return Call(
            digest, carry_out, (job,),
            time_limit_s=None if limit_s is None else 2 * limit_s + GRACE_S,
            memory_limit_bytes=None if limit_mb is None else round(limit_mb * 1e6),
        )  # fmt: skip

    def end(self, done: Done) -> None:
        """Write down how a job ended."""
        job = self.jobs[done.key]
        if done.kind == "done":
            outcome: Outcome = done.value
            ended = Ended("done", outcome.row, outcome.seconds)
            files = outcome.files
        else:
            ended = Ended("failed", {}, {"total": done.seconds}, done.kind, done.error, done.cause, done.details)
            files = {}
            self.notice(f"{job.name}: failed: {done.error}")
        ended = replace(ended, attempts=self.attempts[done.key])
        self.store.save(job.identity, _about(job), ended, files)
        self.ended[done.key] = ended

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table."""
        return [row(job, self.ended.get(digest), self.entries[digest]) for digest, job in self.jobs.items()]

    def notice(self, text: str, executor: Executor | None = None) -> None:
        """Tell of something that a user should know, and keep it."""
        self.notices.append(text)
        self.tell(executor, text)

    def tell(self, executor: Executor | None, notice: str = "") -> None:
        """Give the observer the state as it is now."""
        running = {} if executor is None else dict(executor.running())
        ends = list(self.ended.values())
        well = [ended.row for ended in ends if ended.status == "done"]
        known = [note for note in running.values() if note is not None]
        failed = sum(ended.status == "failed" for ended in ends[self.found :])
        self.notify(
            BatchSnapshot(
                jobs=len(self.jobs),
                found=self.found,
                done=len(ends) - self.found - failed,
                failed=failed,
                running={self.jobs[digest].name: note for digest, note in running.items()},
                decided=sum(r["neurons"] - r["undecided"] for r in well) + sum(decided for decided, _ in known),
                neurons=sum(r["neurons"] for r in well) + sum(neurons for _, neurons in known),
                seconds=time.monotonic() - self.begun,
                notice=notice,
            )
        )


def _machine_failed(ended: Ended) -> bool:
    """Tell whether a failure lies in the machine, so that the job may well end another time."""
    return ended.kind == "killed" or ended.cause == OutputError.__name__


def _about(job: Job) -> dict[str, Any]:
    return {
        "network": str(job.network_name) if not hasattr(job.network, "__fspath__") else str(job.network),
        **loading(job.architecture, job.input_shape),
        "domain": repr(job.domain),
        "task": job.task,
        "settings": dict(job.settings),
        "memory_limit_mb": job.memory_limit_mb,
    }
