"""One network in blocks: the verdicts of an ordinary run, whoever does the work, and whatever happens to a block."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.batches import blocks
from milpcomp.batches.block import Found, Search, search_block
from milpcomp.batches.blocks import LOST, certify_in_blocks, in_blocks
from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.cli import main
from milpcomp.errors import ExecutorError, SettingsError
from milpcomp.network import Network
from milpcomp.network.storage import save_network
from milpcomp.progress import Snapshot
from milpcomp.stability.report import Report
from milpcomp.stability.task import Task, prepared
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.nets import mlp
from tests.test_batch_run import Here

NET, BOX = mlp([3, 12, 12, 12, 12, 3], np.random.default_rng(1)), mc.Box(-0.4, 0.4)

KILLED = Done("", "killed", error="its process was ended by SIGKILL")


def task(network: Network = NET, box: mc.Box = BOX, **options: object) -> Task:
    """Return the task of `certify` with its default options, or others, and hardly any gradient search."""
    defaults: dict[str, object] = {
        "method": "funnel", "backend": "highs", "time_limit_s": None, "neuron_time_limit_s": 10.0,
        "max_certificate_bytes": 2**28, "data": None, "layers": None, "neurons": None, "start": None, "device": "cpu",
        "seed": 0,
    }  # fmt: skip
    made = prepared(network, box, **(defaults | options))  # type: ignore[arg-type]
    return replace(made, settings=replace(made.settings, restarts=4, climb_steps=10))


@cache
def alone() -> Report:
    """Return the report of an ordinary run."""
    return mc.certify(NET, BOX)


def phases(report: Report) -> list[Phase]:
    """Return the phases of all neurons."""
    return [verdict.phase for verdict in report.verdicts]


def trees(report: Report) -> int:
    """Return how many proofs by cases a report holds."""
    return sum(isinstance(proof, BranchProof) for proof in report.proofs)


def test_the_verdicts_are_those_of_an_ordinary_run() -> None:
    """Cut into blocks, the same neurons are decided in the same way, all is told, and all is checked."""
    assert trees(alone()) > 2
    snapshots: list[Snapshot] = []
    report = in_blocks(task(), Here(), 5, snapshots.append)
    assert phases(report) == phases(alone())
    assert trees(report) > 2
    assert (report.ended, report.sections) == ("complete", ())
    assert [snapshots[-1].total().undecided, snapshots[-1].stage] == [0, "branch"]
    assert mc.check(NET, BOX, report).accepted


def test_layers_wait_for_each_other() -> None:
    """Blocks of one layer are all begun before any of a later one, and are about open neurons of that layer only."""
    begun: list[tuple[str, int]] = []

    class Watched(Here):
        def submit(self, call: Call) -> None:
            super().submit(call)
            if call.arguments:
                begun.append((call.arguments[2].layer, len(call.arguments[2].units)))
                known = call.arguments[1]
                assert (known.proofs, len(known.witnesses)) == ((), 1)

    in_blocks(task(), Watched(), 2)
    first_pass = [layer for layer, _ in begun]
    assert first_pass == sorted(first_pass, key=int)
    assert all(0 < units <= 6 for _, units in begun)


def test_a_block_is_tried_twice() -> None:
    """A block that was killed once is searched again, and nothing is missing in the end."""
    executor = Here({2: KILLED})
    report = in_blocks(task(), executor, 1)
    assert phases(report) == phases(alone())
    assert report.ended == "complete"
    assert "lost" not in report.settings


def test_a_block_that_is_lost_twice() -> None:
    """Its neurons stay undecided, the report says which and why, other blocks go on, and what is decided is checked."""
    executor = Here(dict.fromkeys(range(2, 100), KILLED))
    report = in_blocks(task(), executor, 1)
    open_neurons = [[v.layer, v.unit] for v in report.verdicts if v.phase is Phase.UNDECIDED]
    assert open_neurons
    assert report.ended == LOST
    told = {(entry["layer"], unit) for entry in report.settings["lost"] for unit in entry["neurons"]}
    assert told == {(layer, unit) for layer, unit in open_neurons}
    assert {entry["reason"] for entry in report.settings["lost"]} == {KILLED.error}
    assert mc.check(NET, BOX, report).accepted
    resumed = in_blocks(task(start=report), Here(), 2)
    assert phases(resumed) == phases(alone())
    assert mc.check(NET, BOX, resumed).accepted


def test_an_error_in_a_block_is_not_tried_again() -> None:
    """What fails with an error would fail again; the report has the error."""
    executor = Here(dict.fromkeys(range(2, 100), Done("", "failed", error="no such solver")))
    report = in_blocks(task(), executor, 1)
    assert {entry["reason"] for entry in report.settings["lost"]} == {"no such solver"}
    assert executor.begun == 1 + len({entry["layer"] for entry in report.settings["lost"]}) * 3


def test_an_executor_that_goes() -> None:
    """When no call can run any more, what was decided is reported, and why the rest is not."""

    class Gone(Here):
        def finished(self, timeout_s: float) -> list[Done]:
            if self.begun > 2:
                raise ExecutorError("the scheduler is gone")
            return super().finished(timeout_s)

    report = in_blocks(task(), Gone(), 1)
    assert report.ended == LOST
    assert report.settings["lost"][0]["reason"] == "the scheduler is gone"
    assert mc.check(NET, BOX, report).accepted


def test_ctrl_c_keeps_what_was_found() -> None:
    """Interrupted while blocks run, a run ends with what they had found."""

    def observe(snapshot: Snapshot) -> None:
        if snapshot.stage == "branch" and snapshot.total().undecided < 8:
            raise KeyboardInterrupt

    report = in_blocks(task(), Here(), 2, observe)
    assert report.ended == "interrupted"
    assert 0 < report.counts()["undecided"] < 8
    assert mc.check(NET, BOX, report).accepted


def test_time_is_over() -> None:
    """Blocks that have not begun by the time limit are not begun."""
    started: list[str] = []

    class Slow(Here):
        def submit(self, call: Call) -> None:
            started.append(call.key)
            super().submit(call)

    report = in_blocks(task(time_limit_s=1e-3), Slow(), 1)
    assert report.ended == "time limit"
    assert [key for key in started if key.startswith("block")] == []


def test_words_of_blocks_stay_words() -> None:
    """What a block proves without room for the proof rests on trust in the whole report too, with its stage."""
    report = in_blocks(task(max_certificate_bytes=0), Here(), 2)
    kinds = {verdict.proof for verdict in report.verdicts if verdict.stage is Stage.BRANCH}
    assert kinds == {Proof.UNCERTIFIED, Proof.WITNESSED} or kinds == {Proof.UNCERTIFIED}
    assert trees(report) == 0
    assert mc.check(NET, BOX, report).accepted


def killed_once(network: Network, known: Report, search: Search) -> Found:
    """Do as `search_block`, but for the first call, whose process is killed."""
    try:
        Path(os.environ["MILPCOMP_TEST_KILLED"]).touch(exist_ok=False)
    except FileExistsError:
        return search_block(network, known, search)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_in_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In real processes, the first of which is killed in the middle of its block: the verdicts of an ordinary run."""
    monkeypatch.setenv("MILPCOMP_TEST_KILLED", str(tmp_path / "killed"))
    monkeypatch.setattr(blocks, "search_block", killed_once)
    report = certify_in_blocks(NET, BOX, workers=1, blocks=2)
    assert (tmp_path / "killed").exists()
    assert (phases(report), report.ended) == (phases(alone()), "complete")
    assert mc.check(NET, BOX, report).accepted


@pytest.mark.slow
def test_on_dask() -> None:
    """On a Dask cluster the same, with the address of its scheduler."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=":0"
    ) as cluster:
        report = certify_in_blocks(NET, BOX, scheduler=cluster.scheduler_address, blocks=2)
    assert (phases(report), report.ended) == (phases(alone()), "complete")
    assert mc.check(NET, BOX, report).accepted


def test_arguments_that_cannot_be_used() -> None:
    """No blocks, workers and a scheduler at once: one clear error each, before any work."""
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        certify_in_blocks(NET, BOX, blocks=0)
    with pytest.raises(SettingsError, match="not both"):
        certify_in_blocks(NET, BOX, workers=1, scheduler="tcp://127.0.0.1:8786")


def test_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--workers`` hands blocks to processes; other methods than the funnel have none."""
    save_network(NET, tmp_path / "net.npz")
    asked: list[object] = []

    @contextmanager
    def give(*where: object) -> Iterator[Executor]:
        asked.extend(where)
        yield Here()

    monkeypatch.setattr(blocks, "place", give)
    command = ["certify", str(tmp_path / "net.npz"), "--domain", "-0.4", "0.4", "--out", str(tmp_path), "--quiet"]
    assert main([*command, "--workers", "3"]) == 0
    assert asked == [3, None]
    assert phases(mc.load_report(tmp_path)) == phases(alone())
    assert main([*command, "--workers", "3", "--method", "per-layer"]) == 2
    assert "only the funnel works in blocks" in capsys.readouterr().err
