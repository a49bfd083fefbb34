"""Shared fixtures: where the data lies, what a missing file means, and how Hypothesis and torch are set up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

DATA = Path(os.environ.get("MILPCOMP_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
STRICT_DATA = os.environ.get("MILPCOMP_STRICT_DATA", "0") not in {"", "0"}

# No deadlines: a busy machine is not a failing test. In continuous integration every run draws the same examples.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if STRICT_DATA or os.environ.get("CI") else "desk")

torch.set_num_threads(1)  # pytest-xdist already uses every core


def require(path: Path) -> Path:
    """Return `path` if it exists; skip the test if not, or fail it when MILPCOMP_STRICT_DATA is set."""
    if not path.exists():
        message = f"{path} not found; set MILPCOMP_DATA to the folder that holds the shared data"
        if STRICT_DATA:
            pytest.fail(f"{message} (MILPCOMP_STRICT_DATA is set: missing data is a failure)", pytrace=False)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data and third-party networks; skip (or fail, in strict mode) where it is absent."""
    return require(DATA)


@pytest.fixture(scope="session")
def shared_file(shared_data: Path) -> Callable[[str], Path]:
    """Return a function from a path inside the shared data to the file, with the same policy for a missing file."""
    return lambda name: require(shared_data / name)
