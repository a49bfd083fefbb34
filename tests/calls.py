"""Functions for other processes to run in tests: well behaved, failing, crashing, hanging, greedy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from milpcomp.batches.worker import tell
from milpcomp.errors import NetworkError


def double(x: int) -> int:
    """Return twice `x`."""
    return 2 * x


def fail(reason: str) -> None:
    """Raise an error of a user's network."""
    raise NetworkError(reason)


def leave(code: int) -> None:
    """End the process without a word."""
    os._exit(code)


def kill_always() -> None:
    """End the process by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float) -> str:
    """Say so, and sleep."""
    tell("asleep")
    time.sleep(seconds)
    return "awake"


def sleep_with_child(file: str) -> None:
    """Start a process that sleeps, write the numbers of both into `file`, and sleep."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    draft = Path(f"{file}.draft")
    draft.write_text(f"{os.getpid()} {child.pid}")
    draft.rename(file)
    time.sleep(600)


def eat(megabytes: int) -> int:
    """Touch ever more memory, up to `megabytes`."""
    eaten = []
    for _ in range(megabytes // 10):
        eaten.append(np.ones(10 * 2**17))
        time.sleep(0.002)
    return len(eaten)


def unpicklable() -> Any:
    """Return what cannot be sent back."""
    return lambda: None


def environment(name: str) -> str | None:
    """Return a variable of the environment."""
    return os.environ.get(name)


def sleep_with_child_once(file: str) -> str:
    """Do as `sleep_with_child` the first time, that is while `file` does not exist."""
    if not Path(file).exists():
        sleep_with_child(file)
    return "second time"
