"""Calls in processes: what they return, and what becomes of them when they fail, crash, hang, or eat too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from milpcomp.batches import worker
from milpcomp.batches.executor import Call, Done, Executor
from milpcomp.batches.processes import Processes
from milpcomp.errors import ExecutorError, SettingsError
from tests import calls

ROOT = Path(__file__).resolve().parents[1]


def outcomes(executor: Executor, *submitted: Call) -> dict[str, Done]:
    """Submit calls, and wait until all of them have ended."""
    for call in submitted:
        executor.submit(call)
    ended: dict[str, Done] = {}
    deadline = time.monotonic() + 120
    while len(ended) < len(submitted):
        assert time.monotonic() < deadline, f"only {sorted(ended)} ended"
        ended |= {done.key: done for done in executor.finished(1.0)}
    return ended


def until(condition: Callable[[], Any]) -> Any:
    """Wait until `condition` gives something true, and return it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not yet waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_every_end_of_a_call_is_told_apart() -> None:
    """A result, an exception, an exit, a signal, a limit of time, and what cannot be sent either way."""
    with Processes(2) as executor:
        ended = outcomes(
            executor,
            Call("result", calls.double, (21,)),
            Call("exception", calls.fail, ("two\nlines",)),
            Call("exit", calls.leave, (3,)),
            Call("signal", calls.kill_always),
            Call("time", calls.sleep, (60,), time_limit_s=1.0),
            Call("return", calls.unpicklable),
            Call("argument", calls.double, (lambda: None,)),
            Call("after", calls.double, (1,)),
        )
    kinds = {key: done.kind for key, done in ended.items()}
    assert kinds == {
        "result": "done", "exception": "failed", "exit": "killed", "signal": "killed", "time": "time",
        "return": "failed", "argument": "failed", "after": "done",
    }  # fmt: skip
    assert (ended["result"].value, ended["after"].value) == (42, 2)
    assert (ended["exception"].cause, ended["exception"].error) == ("NetworkError", "two lines")
    assert "in fail" in ended["exception"].details
    assert "exit code 3" in ended["exit"].error
    assert "SIGKILL" in ended["signal"].error
    assert "its time limit of 1 s" in ended["time"].error
    assert 1.0 <= ended["time"].seconds < 30
    assert "cannot be pickled" in ended["return"].error
    assert "cannot be pickled" in ended["argument"].error


def test_workers_are_kept_and_use_one_thread_and_a_folder_of_their_own() -> None:
    """Calls in turn share a process; its libraries use one thread, and its temporary files go when it does."""
    with Processes(1) as executor:
        ended = outcomes(
            executor,
            Call("first", os.getpid),
            Call("second", os.getpid),
            Call("threads", calls.environment, ("OMP_NUM_THREADS",)),
            Call("scratch", calls.environment, ("TMPDIR",)),
        )
        assert ended["first"].value == ended["second"].value != os.getpid()
        assert ended["threads"].value == "1"
        scratch = Path(ended["scratch"].value)
        assert scratch.is_dir()
    assert not scratch.exists()
    assert not alive(ended["first"].value)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell how much memory is used")
def test_a_call_over_its_memory_limit_is_stopped_alone() -> None:
    """A call that eats memory is stopped and told so; another with the same limit, which does not, returns."""
    limit = 300_000_000
    with Processes(2) as executor:
        ended = outcomes(
            executor,
            Call("greedy", calls.eat, (4000,), memory_limit_bytes=limit),
            Call("modest", calls.eat, (20,), memory_limit_bytes=limit),
        )
    assert (ended["greedy"].kind, ended["modest"].kind) == ("memory", "done")
    assert "over its memory limit of 300 MB" in ended["greedy"].error


def test_a_killed_worker_is_told_at_once_and_replaced() -> None:
    """SIGKILL from outside, while a call runs and while a worker waits, costs at most the call that ran."""
    executor = Processes(1)
    with executor:
        executor.submit(Call("hit", calls.sleep, (60,)))
        until(lambda: executor.finished(0.05) or executor.running() == {"hit": "asleep"})
        os.kill(executor._busy[0]._process.pid, signal.SIGKILL)
        (hit,) = until(lambda: executor.finished(0.1))
        assert hit.kind == "killed"
        first = outcomes(executor, Call("next", os.getpid))["next"]
        os.kill(first.value, signal.SIGKILL)
        looked = os.WEXITED | os.WNOWAIT | os.WNOHANG
        until(lambda: os.waitid(os.P_PID, first.value, looked))  # until all of it is gone, with its connection
        second = outcomes(executor, Call("last", os.getpid))["last"]
    assert (first.kind, second.kind) == ("done", "done")
    assert first.value != second.value


def test_cancelled_calls_end_with_all_that_they_started(tmp_path: Path) -> None:
    """Cancelling ends a running call and the process it started, drops what waits, and the executor can go on."""
    with Processes(1) as executor:
        executor.submit(Call("running", calls.sleep_with_child, (str(tmp_path / "pids"),)))
        executor.submit(Call("waiting", calls.double, (1,)))
        until((tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(map(alive, pids))
        executor.cancel()
        until(lambda: not any(map(alive, pids)))
        assert executor.finished(0.0) == []
        assert outcomes(executor, Call("after", calls.double, (2,)))["after"].value == 4


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    """When SIGKILL ends the parent alone, its worker, what that started and its folder are gone soon after."""
    script = (
        "from milpcomp.batches.executor import Call; from milpcomp.batches.processes import Processes\n"
        "from tests import calls\n"
        "executor = Processes(1)\n"
        f"executor.submit(Call('a', calls.sleep_with_child, ({str(tmp_path / 'pids')!r},)))\n"
        "executor.finished(600)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as parent:
        until((tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(map(alive, pids))
        parent.kill()
    until(lambda: not any(map(alive, pids)))
    until(lambda: not list(tmp_path.glob("milpcomp-*")))


def test_workers_do_not_run_the_script_again(tmp_path: Path) -> None:
    """A script without a guard for its main part, from standard input or a file, runs once."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('here')\n"
        "import os\n"
        "from milpcomp.batches.executor import Call\n"
        "from milpcomp.batches.processes import Processes\n"
        "with Processes(1) as executor:\n"
        "    executor.submit(Call('a', os.getpid))\n"
        "    print([done.kind for done in executor.finished(60)])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout.split("\n") == ["here", "['done']", ""]


def test_functions_that_other_processes_cannot_find_are_refused() -> None:
    """A lambda, a local function and one of a script are refused when the call is made."""

    def local() -> None: ...

    script = type("script", (), {"__module__": "__main__"})
    for function in (lambda: None, local, script):
        with pytest.raises(SettingsError, match="cannot find the function"):
            Call("a", function)


def test_a_worker_that_cannot_start_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a new process ends before it is ready, no call can run: the error says what it said."""
    monkeypatch.setattr("milpcomp.batches.process.START", "raise SystemExit('no interpreter today')")
    with Processes(1) as executor:
        executor.submit(Call("a", os.getpid))
        with pytest.raises(ExecutorError, match="cannot start: no interpreter today"):
            until(lambda: executor.finished(1.0))


def test_the_number_of_workers_is_at_least_one() -> None:
    """Zero workers are refused; the default is one for each core."""
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        Processes(0)
    assert Processes().workers >= 1


def test_telling_outside_of_a_worker_does_nothing() -> None:
    """A function that tells can be called anywhere."""
    worker.tell("something")
    assert calls.sleep(0.0) == "awake"
