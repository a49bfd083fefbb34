"""Calls and batches on a real Dask cluster, started here on the loopback device."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milpcomp as mc
from analyses import batch_endurance
from milpcomp.batches.cluster import Cluster
from milpcomp.batches.executor import Call
from milpcomp.batches.progress import BatchSnapshot
from milpcomp.domain import Box
from milpcomp.errors import ExecutorError
from tests import calls
from tests.nets import diamond
from tests.test_batch_processes import alive, outcomes, until

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """Return a cluster of two workers, each a process with one thread."""
    with batch_endurance.cluster(2) as made:
        yield made


@pytest.mark.slow
def test_every_end_of_a_call_is_told_apart(dask: Any) -> None:
    """On a cluster calls end as they do in local processes: results, failures, deaths and limits."""
    with Cluster(dask.scheduler_address) as executor:
        assert executor.workers == 2
        ended = outcomes(
            executor,
            Call("result", calls.double, (21,)),
            Call("exception", calls.fail, ("bad",)),
            Call("signal", calls.kill_always),
            Call("time", calls.sleep, (60,), time_limit_s=1.0),
            Call("memory", calls.eat, (4000,), memory_limit_bytes=300_000_000),
        )
    kinds = {key: done.kind for key, done in ended.items()}
    assert kinds == {"result": "done", "exception": "failed", "signal": "killed", "time": "time", "memory": "memory"}
    assert ended["result"].value == 42
    assert (ended["exception"].cause, ended["exception"].error) == ("NetworkError", "bad")


@pytest.mark.slow
def test_a_call_survives_the_worker_that_it_ran_on(dask: Any, tmp_path: Path) -> None:
    """SIGKILL of a Dask worker ends the process of its call too; the call runs again on another worker."""
    with Cluster(dask.scheduler_address) as executor:
        executor.submit(Call("a", calls.sleep_with_child_once, (str(tmp_path / "pids"),)))
        until((tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        (hit,) = [worker.process.pid for worker in dask.workers.values() if pids[0] in _children(worker.process.pid)]
        os.kill(hit, signal.SIGKILL)
        until(lambda: not any(map(alive, pids)))
        (done,) = until(lambda: executor.finished(1.0))
    assert (done.kind, done.value) == ("done", "second time")


def _children(pid: int) -> list[int]:
    return batch_endurance.descendants(pid)


@pytest.mark.slow
def test_cancelled_calls_end_and_running_ones_tell(dask: Any, tmp_path: Path) -> None:
    """What a call tells arrives here; when the client goes, the process of its call is ended and the worker free."""
    with Cluster(dask.scheduler_address) as executor:
        executor.submit(Call("a", calls.sleep, (600,)))
        until(lambda: executor.finished(0.1) or executor.running() == {"a": "asleep"})
        executor.submit(Call("b", calls.sleep_with_child, (str(tmp_path / "pids"),)))
        until((tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(map(alive, pids)))
    with Cluster(dask.scheduler_address) as executor:
        assert outcomes(executor, Call("a", calls.double, (2,)))["a"].value == 4


@pytest.mark.slow
def test_a_batch_that_is_killed_ends_as_if_it_was_not(dask: Any, tmp_path: Path) -> None:
    """On the cluster, too, SIGKILL of the run at a random moment leaves exactly the results of a whole run."""
    jobs = batch_endurance.write_jobs(tmp_path / "networks", 3, full=False)
    whole = mc.batch(jobs, tmp_path / "undisturbed", scheduler=dask.scheduler_address)
    rng = np.random.default_rng()
    (kill,) = batch_endurance.disturbed(jobs, tmp_path / "killed", 12, 1, rng, dask.scheduler_address, delay_s=0.02)
    assert 1 <= kill.ended < len(whole.rows) == 12
    assert batch_endurance.differences(tmp_path / "undisturbed", tmp_path / "killed") == []


def test_a_scheduler_that_is_not_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer, no address and no Dask are told apart, and nothing is recorded as failed."""
    monkeypatch.setattr("milpcomp.batches.cluster.CONNECT_S", 0.5)
    jobs = [mc.Job(diamond(), Box(0.0, 1.0), "certify")]
    with pytest.raises(ExecutorError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9: .*`dask scheduler`"):
        mc.batch(jobs, tmp_path, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ExecutorError, match="'somewhere' is no address of a scheduler"):
        mc.batch(jobs, tmp_path, scheduler="somewhere")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorError, match=r"install it with: pip install 'milpcomp\[cluster\]'"):
        mc.batch(jobs, tmp_path, scheduler="tcp://127.0.0.1:9")
    assert not list((tmp_path / "jobs").iterdir())


def test_a_cluster_that_goes_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """When the scheduler is gone the run ends with one clear error; jobs that had not ended are still open."""
    made = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=":0", host="127.0.0.1",
        silence_logs=logging.CRITICAL,
    )  # fmt: skip

    def go(snapshot: BatchSnapshot) -> None:
        if snapshot.done == 1:
            made.close()

    jobs = [mc.Job(diamond(), Box(0.0, upper), "certify") for upper in (0.5, 1.0, 1.5, 2.0)]
    with pytest.raises(ExecutorError, match=r"the Dask scheduler at .* is gone"):
        mc.batch(jobs, tmp_path, scheduler=made.scheduler_address, progress=go)
    kept = len(list((tmp_path / "jobs").iterdir()))
    assert 1 <= kept < 4
    assert (tmp_path / "table.csv").read_text().count(",open,") == 4 - kept
