"""Batches: what is done, what is not done again, what a failure costs, and that nothing is ever half written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milpcomp as mc
from analyses import batch_endurance
from milpcomp.batches import run
from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.batches.jobs import Job
from milpcomp.batches.progress import BatchSnapshot, line, observing
from milpcomp.batches.show import show_batch
from milpcomp.batches.table import COLUMNS, SECONDS, BatchResult
from milpcomp.cli import main
from milpcomp.domain import Box
from milpcomp.errors import OutputError, SettingsError
from milpcomp.network.storage import save_network
from milpcomp.stability.storage import load_report
from tests.nets import diamond, mlp

ROOT = Path(__file__).resolve().parents[1]


class Here(Executor):
    """Runs calls in this process, one at each look; `fates` says of some, by their turn, what becomes of them."""

    def __init__(self, fates: dict[int, Done] | None = None) -> None:
        self.calls: list[Call] = []
        self.begun = 0
        self._fates = fates or {}

    workers = 1

    def submit(self, call: Call) -> None:
        self.calls.append(call)

    def finished(self, timeout_s: float) -> list[Done]:
        call = self.calls.pop(0)
        self.begun += 1
        if self.begun in self._fates:
            return [replace(self._fates[self.begun], key=call.key)]
        try:
            return [Done(call.key, "done", call.function(*call.arguments))]
        except Exception as error:
            return [Done(call.key, "failed", None, str(error), type(error).__name__)]

    def running(self) -> dict[str, Any]:
        return {call.key: (1, 2) for call in self.calls[:1]}

    def cancel(self) -> None:
        self.calls.clear()

    def __exit__(self, *_: object) -> None:
        self.cancel()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Here]:
    """Return a function that makes batches run in this process."""

    def install(**fates: Done) -> Here:
        executor = Here({int(turn[1:]): done for turn, done in fates.items()})

        @contextmanager
        def give(*_: object) -> Iterator[Executor]:
            yield executor

        monkeypatch.setattr(run, "place", give)
        return executor

    return install


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Return four quick jobs."""
    networks = [diamond(), mlp([2, 4, 3, 1], np.random.default_rng(0))]
    for i, network in enumerate(networks):
        save_network(network, tmp_path / f"net{i}.npz")
    return [
        Job(tmp_path / f"net{i}.npz", Box(0.0, upper), "certify") for i in range(len(networks)) for upper in (0.5, 1.0)
    ]


def lasting(result: BatchResult) -> list[dict[str, Any]]:
    """Return the rows without times."""
    return [{key: value for key, value in row.items() if key not in SECONDS} for row in result.rows]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a batch, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# ------------------------------------------------------------------------------------------------------------ results


def test_every_job_has_its_row_and_its_folder(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """The table, as rows, CSV, Parquet and frame, says of each job what its certificate says."""
    here()
    result = mc.batch(jobs, tmp_path / "out")
    assert [(row["network"], row["domain"]) for row in result.rows] == [
        ("net0", "[0, 0.5]"), ("net0", "[0, 1]"), ("net1", "[0, 0.5]"), ("net1", "[0, 1]")
    ]  # fmt: skip
    for job, row in zip(jobs, result.rows, strict=True):
        assert tuple(row) == COLUMNS
        report = load_report(next((tmp_path / "out" / "jobs").glob(f"{job.identity.digest[:24]}")))
        assert {key: row[key] for key in report.counts()} == report.counts()
        assert (row["status"], row["ended"], row["neurons"]) == ("done", "complete", len(report.verdicts))
    pandas = pytest.importorskip("pandas")
    frame = result.frame()
    assert list(frame.columns) == list(COLUMNS)
    for read, name in ((pandas.read_csv, "table.csv"), (pandas.read_parquet, "table.parquet")):
        again = read(tmp_path / "out" / name)
        assert list(again.columns) == list(COLUMNS)
        for column in ("digest", "neurons", "unstable", "seconds"):
            assert again[column].tolist() == frame[column].tolist()


def test_every_column_is_explained() -> None:
    """The page on batches says of each column what it is, and of no other."""
    lines = (
        (ROOT / "docs" / "batch.md").read_text().split("| columns | what they say |")[1].split("\n\n")[0].split("\n")
    )
    explained = [name.strip(" `") for line in lines[2:] for name in line.split("|")[1].split(",")]
    assert sorted(explained) == sorted(COLUMNS)


def test_analyze_is_the_default_task_and_leaves_its_folder(here: Callable[..., Here], tmp_path: Path) -> None:
    """A job of a network in memory is certified, compressed and checked; its files are those of an analysis."""
    here()
    (row,) = mc.batch([Job(diamond(), Box(0.0, 1.0))], tmp_path / "out").rows
    assert (row["neurons"], row["neurons_after"], row["accepted"]) == (2, 1, True)
    (folder,) = (tmp_path / "out" / "jobs").iterdir()
    assert {"certificate.json", "compression.json", "report.md", "network.npz", "result.json"} <= set(
        os.listdir(folder)
    )
    assert mc.load_report(folder).counts()["stably_inactive"] == row["stably_inactive"] == 1


def test_equal_jobs_are_one_row(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two names for one content are one job, under the first name; the row and the output count the entries."""
    executor = here()
    shutil.copy(tmp_path / "net0.npz", tmp_path / "twin.npz")
    result = mc.batch([jobs[0], Job(tmp_path / "twin.npz", Box(0.0, 0.5), "certify"), jobs[2]], tmp_path / "out")
    assert executor.begun == 2
    assert [(row["network"], row["entries"]) for row in result.rows] == [("net0", 2), ("net1", 1)]
    show_batch(result)
    assert "2 jobs: 2 done; of 3 entries, 1 repeated a job and was left out" in " ".join(
        capsys.readouterr().out.split()
    )


def test_jobs_in_python_are_told_apart(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """Labels show the setting that differs, and the table the path as given and the bounds that all inputs share."""
    here()
    seeds = [replace(jobs[1], settings={"seed": seed}, settings_name="") for seed in (0, 1)]
    uneven = replace(jobs[0], domain=Box([0.0, 0.0], [1.0, 0.1]), domain_name="uneven")
    rows = mc.batch([*seeds, uneven], tmp_path / "out").rows
    assert [row["settings"] for row in rows] == ["seed=0", "seed=1", "seed=0"]
    assert [(row["lower"], row["upper"]) for row in rows] == [(0.0, 1.0), (0.0, 1.0), (None, None)]
    assert {row["path"] for row in rows} == {str(tmp_path / "net0.npz")}


# -------------------------------------------------------------------------------------------------------- going on


def test_what_ended_is_not_done_again(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """A second run does only what is new, also under other paths, and gives the same rows as one run of all."""
    here()
    mc.batch(jobs[:2], tmp_path / "out")
    moved = tmp_path / "elsewhere.npz"
    (tmp_path / "net0.npz").rename(moved)
    again = [replace(job, network=moved) for job in jobs[:2]]
    executor = here()
    result = mc.batch([*again, *jobs[2:]], tmp_path / "out")
    assert (executor.begun, result.found, result.notices) == (2, 2, ())
    moved.rename(tmp_path / "net0.npz")
    assert lasting(result) == lasting(mc.batch(jobs, tmp_path / "whole"))
    changed = Job(tmp_path / "net1.npz", Box(0.0, 1.0), "certify", {"seed": 1})
    assert mc.batch([changed], tmp_path / "out").found == 0


@pytest.mark.parametrize("damage", ["truncate", "flip", "other file", "missing file", "other job", "version"])
def test_a_damaged_result_is_noticed_and_done_again(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path, damage: str
) -> None:
    """Whatever happened to a result file, the job is done again, this is said, and the result is whole again."""
    here()
    first = mc.batch(jobs[:2], tmp_path / "out")
    folder, other = (tmp_path / "out" / "jobs" / job.identity.digest[:24] for job in jobs[:2])
    target = folder / "result.json"
    content = target.read_bytes()
    if damage == "truncate":
        target.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        target.write_bytes(content.replace(b'"unstable": 1', b'"unstable": 7'))
    elif damage == "other file":
        (folder / "certificate.npz").write_bytes(b"")
    elif damage == "missing file":
        (folder / "certificate.npz").unlink()
    elif damage == "other job":
        shutil.copy(other / "result.json", target)
    else:
        target.write_bytes(content.replace(b'"version": 1', b'"version": 2'))
    assert damage in {"other file", "missing file"} or target.read_bytes() != content
    executor = here()
    result = mc.batch(jobs[:2], tmp_path / "out")
    assert executor.begun == 1
    assert len(result.notices) == 1
    assert "net0, [0, 0.5]: done again, as" in result.notices[0]
    assert lasting(result) == lasting(first)
    assert mc.batch(jobs[:2], tmp_path / "out").found == 2


def test_what_stands_in_the_place_of_a_folder_makes_room(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path
) -> None:
    """A link to nowhere, to itself or to a file where the folder of a job belongs is replaced, and nothing stays."""
    here()
    first = mc.batch(jobs[:3], tmp_path / "out")
    nowhere, loop, file = (tmp_path / "out" / "jobs" / job.identity.digest[:24] for job in jobs[:3])
    for folder in (nowhere, loop, file):
        shutil.rmtree(folder)
    nowhere.symlink_to(tmp_path / "none")
    loop.symlink_to(loop)
    file.write_text("in the way")
    assert lasting(mc.batch(jobs[:3], tmp_path / "out")) == lasting(first)
    assert mc.batch(jobs[:3], tmp_path / "out").found == 3
    assert sorted(path.name for path in (tmp_path / "out" / "jobs").iterdir()) == sorted(
        path.name for path in (nowhere, loop, file)
    )


def test_names_that_are_no_text_are_written_readably(here: Callable[..., Here], tmp_path: Path) -> None:
    """A file name that is not UTF-8 is in the table with what is foreign spelled out."""
    here()
    name = os.fsdecode(b"caf\xe9.npz")
    save_network(diamond(), tmp_path / "plain.npz")
    (tmp_path / "plain.npz").rename(tmp_path / name)
    result = mc.batch([Job(tmp_path / name, Box(0.0, 1.0), "certify")], tmp_path / "out")
    assert [(row["network"], row["status"]) for row in result.rows] == [(r"caf\udce9", "done")]
    assert r"caf\udce9" in (tmp_path / "out" / "table.csv").read_text(encoding="utf-8")


def test_an_interrupted_run_writes_the_table_and_goes_on(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path
) -> None:
    """Ctrl-C keeps what ended, in a table in which the rest is open; the next run does the rest."""
    here()

    def stop(snapshot: BatchSnapshot) -> None:
        if snapshot.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mc.batch(jobs, tmp_path / "out", progress=stop)
    table = (tmp_path / "out" / "table.csv").read_text()
    assert (table.count(",done,"), table.count(",open,")) == (2, 2)
    executor = here()
    assert mc.batch(jobs, tmp_path / "out").found == 2
    assert executor.begun == 2


# ---------------------------------------------------------------------------------------------------------- failures


def test_a_job_that_fails_does_not_stop_the_others(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """An unreadable network and a domain that does not fit are rows with their errors; the others are done."""
    here()
    (tmp_path / "net0.npz").write_bytes(b"no network")
    jobs.insert(3, Job(tmp_path / "net1.npz", Box(np.zeros(3), np.ones(3)), "certify"))
    result = mc.batch(jobs, tmp_path / "out")
    assert [row["status"] for row in result.rows] == ["failed", "failed", "done", "failed", "done"]
    assert {row["failure"] for row in result.failed} == {"failed"}
    assert "net0.npz is not an .npz file" in result.rows[0]["error"]
    assert "the box has shape (3,)" in result.rows[3]["error"]
    assert len(result.notices) == 3
    details = [json.loads(path.read_text())["ended"]["details"] for path in (tmp_path / "out").rglob("result.json")]
    assert len(details) == 5


def test_failures_of_jobs_are_kept_and_failures_of_machines_are_not(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path
) -> None:
    """The next run repeats what was killed or had no room, the rest of the failures only when it is told to."""
    here(
        t1=Done("", "memory", error="over"), t2=Done("", "time", error="late"),
        t3=Done("", "failed", error="no space", cause="OutputError"), t4=Done("", "failed", error="bad", cause="X"),
    )  # fmt: skip
    assert len(mc.batch(jobs, tmp_path / "out").failed) == 4
    executor = here()
    assert len(mc.batch(jobs, tmp_path / "out").failed) == 3
    assert executor.begun == 1
    result = mc.batch(jobs, tmp_path / "out", retry_failed=True)
    assert (executor.begun, result.found, len(result.failed)) == (4, 1, 0)


def test_a_killed_job_is_begun_again_and_then_given_up(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path
) -> None:
    """Two more attempts, each told; what is killed three times has failed, until the next run."""
    shot = Done("", "killed", error="its process was ended by SIGKILL")
    executor = here(t1=shot)
    result = mc.batch(jobs[:1], tmp_path / "once")
    assert (executor.begun, result.failed) == (2, ())
    assert result.notices == ("net0, [0, 0.5]: begun again, as its process was ended by SIGKILL",)
    executor = here(t1=shot, t2=shot, t3=shot)
    result = mc.batch(jobs[:1], tmp_path / "out")
    assert (executor.begun, result.rows[0]["failure"], len(result.notices)) == (3, "killed", 3)
    assert mc.batch(jobs[:1], tmp_path / "out").failed == ()


def test_limits_are_handed_to_the_executor(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """A job's process may take twice its time limit and a minute; its memory limit is in millions of bytes."""
    executor = here()
    seen: list[Call] = []
    submit = executor.submit

    def watch(call: Call) -> None:
        seen.append(call)
        submit(call)

    executor.submit = watch  # type: ignore[method-assign]
    limited = Job(diamond(), Box(0.0, 1.0), "certify", {"time_limit_s": 5}, memory_limit_mb=900)
    mc.batch([limited, jobs[0]], tmp_path / "out")
    assert [(call.time_limit_s, call.memory_limit_bytes) for call in seen] == [(70.0, 900_000_000), (None, None)]


def test_a_network_that_changes_while_the_batch_runs_is_an_error(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path
) -> None:
    """A result is never filed under the digest of something else."""
    here()

    def meddle(snapshot: BatchSnapshot) -> None:
        if snapshot.done == 1:
            save_network(mlp([2, 3, 1], np.random.default_rng(5)), tmp_path / "net1.npz")

    result = mc.batch(jobs, tmp_path / "out", progress=meddle)
    assert [row["status"] for row in result.rows] == ["done", "done", "failed", "failed"]
    assert "not what they were when the batch began" in result.rows[3]["error"]


# ---------------------------------------------------------------------------------------------------- disk and folder


def test_a_disk_that_is_full_at_any_write_leaves_nothing_half_written(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes from a stand-in for the system call: one clear error, only whole results, and the run goes on."""
    here()
    sync, calls, whole = os.fsync, 0, mc.batch(jobs, tmp_path / "whole")

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    # Of the eight of a job, the first three are the worker's; then its three files, its document, and its name.
    for fails_at in (4, 6, 7, 8, 13):
        calls, out = 0, tmp_path / f"out{fails_at}"
        with pytest.raises(OutputError, match=r"No space left on device; .*make room and run this again"):
            mc.batch(jobs, out)
        assert not list((out / "jobs").glob(".*"))
        names = {path.parent.name for path in out.rglob("result.json")}
        assert names == set(os.listdir(out / "jobs"))
        result = mc.batch(jobs, out)
        assert result.notices == ()
        assert lasting(result) == lasting(whole)


def test_a_worker_without_room_costs_its_job_until_the_next_run(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the worker's disk is full, its job has failed and says why; the next run does it again."""
    here()

    def full(*_: object) -> None:
        raise OutputError("cannot write certificate.npz: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("milpcomp.stability.storage.save_report", full)
        failed = mc.batch(jobs[:1], tmp_path / "out").failed
    assert "No space left on device" in failed[0]["error"]
    assert mc.batch(jobs[:1], tmp_path / "out").failed == ()


def test_a_disk_that_is_really_full(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """On a disk of 64 kB the run ends with one error; with more room it goes on from what is there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        here()
        many = [*jobs, *(replace(job, settings={"seed": 1}) for job in jobs)]
        with pytest.raises(OutputError, match="No space left on device"):
            mc.batch(many, disk / "out")
        kept = len(list(disk.rglob("result.json")))
        assert 0 < kept < len(many)
        subprocess.run([mount, "-o", "remount,size=8m", str(disk)], check=True)
        assert mc.batch(many, disk / "out").found == kept
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_runs_do_not_share_a_folder(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """While a run works, another one is refused with the number of its process; afterwards it is welcome."""
    here()
    refusals: list[str] = []

    def try_too(snapshot: BatchSnapshot) -> None:
        if not refusals:
            script = f"import milpcomp as mc; mc.batch([], {str(tmp_path / 'out')!r})"
            ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
            refusals.append(ran.stderr.strip().split("\n")[-1])

    mc.batch(jobs[:1], tmp_path / "out", progress=try_too)
    assert f"another run is writing into {tmp_path / 'out'} (process {os.getpid()} on" in refusals[0]
    assert mc.batch([], tmp_path / "out").rows == ()


def test_a_run_killed_while_it_writes_leaves_what_the_next_one_can_use(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path
) -> None:
    """SIGKILL in the middle of the second result, at each of its steps: the first is kept, no draft stays."""
    here()
    whole = mc.batch(jobs[:2], tmp_path / "whole")
    script = (
        "import os, signal, sys; from pathlib import Path; from milpcomp.batches.store import *\n"
        "store, left, sync = Store(sys.argv[1]), int(sys.argv[2]), os.fsync\n"
        "def step(descriptor):\n"
        "    global left; left -= 1; sync(descriptor)\n"
        "    if not left: os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = step\n"
        "with store.locked():\n"
        "    for name in sys.argv[3:]:\n"
        "        files = {path.name: path.read_bytes() for path in Path(name).iterdir() if path.name != RESULT}\n"
        "        content = read_json(Path(name) / RESULT)\n"
        "        identity = Identity(**content['identity'])\n"
        "        store.save(identity, content['job'], Ended(**content['ended']), files)\n"
    )
    folders = [str(tmp_path / "whole" / "jobs" / job.identity.digest[:24]) for job in jobs[:2]]
    for steps in (6, 9):  # five for a result: three files, its document, its name
        out = tmp_path / f"out{steps}"
        command = [sys.executable, "-c", script, str(out), str(steps), *folders]
        assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGKILL
        assert list((out / "jobs").glob(".draft-*"))
        executor = here()
        result = mc.batch(jobs[:2], out)
        assert (executor.begun, result.found, result.notices) == (1, 1, ())
        assert lasting(result) == lasting(whole)
        assert set(contents(out)) == set(contents(tmp_path / "whole"))


@pytest.mark.slow
def test_a_batch_that_is_killed_ends_as_if_it_was_not(here: Callable[..., Here], tmp_path: Path) -> None:
    """SIGKILL of a run on processes at random moments, twice, leaves exactly the results of a run in this process."""
    listed = batch_endurance.write_jobs(tmp_path / "networks", 3, full=False)
    here()
    whole = mc.batch(listed, tmp_path / "undisturbed")
    rng = np.random.default_rng()
    kills = batch_endurance.disturbed(listed, tmp_path / "killed", 12, 2, rng, workers=1, delay_s=0.02)
    assert [1 <= kill.ended < len(whole.rows) == 12 for kill in kills] == [True, True]
    assert batch_endurance.differences(tmp_path / "undisturbed", tmp_path / "killed") == []


@pytest.mark.slow
def test_jobs_in_processes_are_killed_and_limited_one_by_one(jobs: list[Job], tmp_path: Path) -> None:
    """A worker that is killed from outside is replaced and its job begun again; one over its memory limit fails."""
    hit: list[int] = []
    others = set(batch_endurance.descendants(os.getpid()))  # what earlier tests left running

    def shoot(snapshot: BatchSnapshot) -> None:
        workers = [worker for worker in batch_endurance.descendants(os.getpid()) if worker not in others]
        if snapshot.running and workers and not hit:
            hit.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    greedy = replace(jobs[1], memory_limit_mb=100.0)  # less than torch takes
    result = mc.batch([jobs[0], greedy, jobs[2]], tmp_path / "out", workers=1, progress=shoot)
    assert [row["status"] for row in result.rows] == ["done", "failed", "done"]
    assert result.rows[1]["failure"] == "memory"
    assert result.rows[1]["error"] == "stopped over its memory limit of 100 MB"
    assert "net0, [0, 0.5]: begun again, as its process was ended by SIGKILL" in result.notices  # in any order
    assert len(hit) == 1


def test_a_folder_that_cannot_be_used_is_refused(jobs: list[Job], tmp_path: Path) -> None:
    """A file in place of the folder is one clear error, before any work."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make the folder .*file: it is a file; name another folder"):
        mc.batch(jobs, tmp_path / "file")


# ----------------------------------------------------------------------------------------------- progress and command


def test_progress_counts_jobs_and_neurons(here: Callable[..., Here], jobs: list[Job], tmp_path: Path) -> None:
    """The last snapshot accounts for every job and neuron; before the first end there is no estimate."""
    here()
    seen: list[BatchSnapshot] = []
    mc.batch(jobs[:1], tmp_path / "out", progress=seen.append)
    result = mc.batch(jobs, tmp_path / "out", progress=seen.append)
    assert seen[0].left_s is None
    last = seen[-1]
    assert (last.jobs, last.found, last.done, last.failed, last.left_s) == (4, 1, 3, 0, 0.0)
    assert last.neurons == sum(row["neurons"] for row in result.rows) == last.decided
    assert line(replace(last, done=1, failed=1, seconds=60.0)).split("  ")[-1] == (
        "3 of 4 jobs ended, 1 failed, 18 of 18 neurons decided, about 30 s left"
    )
    with pytest.raises(SettingsError, match="progress must be"), observing("yes"):  # type: ignore[arg-type]
        pass


class Terminal:
    """A stream that says it is a terminal, and keeps what is drawn."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_and_written_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Notices stay on the screen, running jobs are listed, and the last line stays."""
    state = BatchSnapshot(3, 1, 1, 0, {"a, [0, 1]": (3, 8), "b": None}, 11, 16, 2.0)
    terminal = Terminal()
    with observing(True, terminal) as notify:  # type: ignore[arg-type]
        notify(state)
        notify(replace(state, notice="a [bold]: begun again"))
    assert "a [bold]: begun again" in terminal.text
    assert "3 of 8" in terminal.text
    assert terminal.text.rstrip().endswith("2 of 3 jobs ended, 2 running, 11 of 16 neurons decided, about 2 s left")
    with observing(True) as notify:
        notify(state)
        notify(replace(state, seconds=3.0, notice="b: failed: why"))
    assert "3.0 s  b: failed: why\n" in capsys.readouterr().err


def _interrupt(*_: object) -> list[Done]:
    raise KeyboardInterrupt


def test_the_command_tells_by_its_exit_code_whether_a_job_failed(
    here: Callable[..., Here], jobs: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """0 if all is done, 1 if a job failed, 2 if the jobs cannot be read, 130 after Ctrl-C; failures are listed."""
    here()
    (tmp_path / "bad.npz").write_bytes(b"")
    (tmp_path / "good.yaml").write_text("{networks: net*.npz, domains: [0, 1], task: certify}")
    (tmp_path / "mixed.yaml").write_text("{networks: [net*.npz, bad.npz], domains: [0, 1], task: certify}")
    out = ["--out", str(tmp_path / "out")]
    assert main(["batch", str(tmp_path / "good.yaml"), *out]) == 0
    captured = capsys.readouterr()
    assert "2 jobs: 2 done\n" in captured.out
    assert "2 of 2 jobs ended" in captured.err
    assert main(["batch", str(tmp_path / "mixed.yaml"), *out, "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "3 jobs: 2 done, 1 failed, 2 of them in an earlier run" in captured.out
    assert "bad, [0, 1]" in captured.out
    assert captured.err == ""
    assert main(["batch", str(tmp_path / "mixed.yaml"), *out, "--json", "--quiet"]) == 1
    rows = json.loads(capsys.readouterr().out)["jobs"]
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    (tmp_path / "shape.yaml").write_text("{networks: [{path: net0.npz, input_shape: abc}], domains: [0, 1]}")
    assert main(["batch", str(tmp_path / "shape.yaml"), *out]) == 2
    assert "shape.yaml, networks, entry 1: input_shape='abc' is no shape" in capsys.readouterr().err
    assert main(["batch", str(tmp_path / "none.yaml"), *out]) == 2
    assert "cannot read" in capsys.readouterr().err
    monkeypatch.setattr(Here, "finished", _interrupt)
    assert main(["batch", str(tmp_path / "good.yaml"), "--out", str(tmp_path / "new"), "--quiet"]) == 130
    assert capsys.readouterr().err == "milpcomp: interrupted; the same command goes on where this one stopped\n"
    monkeypatch.undo()
    both = ["--out", str(tmp_path / "new"), "--workers", "1", "--scheduler", "tcp://127.0.0.1:1"]
    assert main(["batch", str(tmp_path / "good.yaml"), *both]) == 2
    assert "workers or a scheduler, not both" in capsys.readouterr().err
