"""The set-up itself: one list of requirements, a solver that can be believed, and commands that do what they say."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

import milpcomp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def _project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def _requirements(*extras: str) -> list[Requirement]:
    project = _project()
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]


def _pins(name: str) -> dict[str, str]:
    """Read `requirements/name` and return, for this Python, the pinned version of each package."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements" / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    return {r.name: str(r.specifier).removeprefix("==") for r in found if r.marker is None or r.marker.evaluate()}


def _lower_bound(requirement: Requirement) -> str:
    return next(s.version for s in requirement.specifier if s.operator == ">=")


# ---------------------------------------------------------------------------------------------------- requirements


def test_conda_environment_installs_what_pip_installs() -> None:
    """environment.yml asks for the Python of pyproject.toml and leaves every package to pyproject.toml and the pins."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["name"] == _project()["name"]
    assert conda == [f"python{_project()['requires-python']}", "pip"]
    assert pip == ["--constraint requirements/tested.txt", "--editable .[dev,docs]"]
    makefile = (ROOT / "Makefile").read_text()
    assert "CONSTRAINTS ?= requirements/tested.txt" in makefile
    assert "--editable '.[dev,docs]'" in makefile


def test_every_requirement_is_pinned_within_its_range() -> None:
    """The tested version of each requirement, development tools included, is pinned and satisfies the open range."""
    pins = _pins("tested.txt")
    for requirement in _requirements("onnxruntime", "dev", "docs"):
        if requirement.name != "tomli":
            assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_minimum_versions_are_the_lower_bounds() -> None:
    """requirements/minimum.txt pins exactly the run-time requirements, each at the lower bound of its range."""
    bounds = {r.name: _lower_bound(r) for r in _requirements("onnxruntime")}
    minimum = _pins("minimum.txt")
    assert minimum.keys() == bounds.keys()
    for name, version in minimum.items():
        assert version == bounds[name] or version.startswith(bounds[name] + "."), name


def test_installed_versions_satisfy_the_ranges() -> None:
    """What is installed here lies within the ranges, so the tests test what the ranges promise."""
    for requirement in _requirements("dev", "docs"):
        assert requirement.specifier.contains(importlib.metadata.version(requirement.name)), requirement


def test_only_the_package_is_installed() -> None:
    """The built distribution holds milpcomp and leaves models/ and analyses/ to the checkout."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert table["tool"]["setuptools"]["packages"]["find"]["include"] == ["milpcomp*"]
    assert table["project"]["scripts"] == {"milpcomp": "milpcomp.cli:main"}


# ---------------------------------------------------------------------------------------------------- solver canary


def _solve(cost: np.ndarray, row: np.ndarray, demand: float) -> tuple[highspy.HighsModelStatus, float, float]:
    """Minimise `cost @ v` with `row @ v >= demand`, 0 <= v <= 10, v[0] continuous, the rest integer, by HiGHS.

    Returns the status, the optimum and the dual bound.
    """
    n = len(cost)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n, 1
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost.astype(float), np.zeros(n), np.full(n, 10.0)
    lp.row_lower_, lp.row_upper_ = np.array([demand]), np.array([np.inf])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = np.array([0, n]), np.arange(n), row.astype(float)
    lp.integrality_ = [highspy.HighsVarType.kContinuous] + [highspy.HighsVarType.kInteger] * (n - 1)
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(lp)
    solver.run()
    info = solver.getInfo()
    return solver.getModelStatus(), info.objective_function_value, info.mip_dual_bound


def _enumerate(cost: np.ndarray, row: np.ndarray, demand: float) -> float:
    """Solve the same problem by trying every value of the integers."""
    best = np.inf
    for integers in itertools.product(range(11), repeat=len(cost) - 1):
        rest = (demand - row[1:] @ integers) / row[0]
        if rest <= 10:
            best = min(best, cost[0] * max(0.0, rest) + float(cost[1:] @ integers))
    return float(best)


@pytest.mark.parametrize(
    ("cost", "row", "demand", "optimum"),
    [
        ([8, 6], [5, 3], 12.0, 19.2),  # x = 2.4; rounding z up to 4 costs 24
        ([4, 4], [1, 1], 2.5, 10.0),  # x + z = 2.5 costs 10 however it is split; z = 3 costs 12
        ([7, 5], [4, 2], 12.5, 21.875),  # x = 3.125; z = 7 costs 35
        ([1, 4, 8], [3, 1, 4], 14.5, 29 / 6),  # x = 29/6
    ],
)
def test_highs_canary_by_hand(cost: list[int], row: list[int], demand: float, optimum: float) -> None:
    """HiGHS finds the optimum, and proves no more than it, where version 1.14.0 calls a worse point optimal."""
    status, value, bound = _solve(np.array(cost), np.array(row), demand)
    assert status == highspy.HighsModelStatus.kOptimal
    assert value == pytest.approx(optimum, rel=1e-6)
    assert bound <= optimum + 1e-6


def test_highs_canary_by_enumeration() -> None:
    """HiGHS agrees with enumeration on 100 small covering problems, of which 1.14.0 gets more than half wrong."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = int(rng.integers(2, 4))
        cost, row, demand = rng.integers(1, 10, n), rng.integers(1, 6, n), float(rng.integers(1, 40)) / 2
        status, value, bound = _solve(cost, row, demand)
        optimum = _enumerate(cost, row, demand)
        assert status == highspy.HighsModelStatus.kOptimal
        assert value == pytest.approx(optimum, abs=1e-6), (cost, row, demand)
        assert bound <= optimum + 1e-6, (cost, row, demand)


# ---------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the files that the installation reads, with an environment whose Python records its calls."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    fake = tmp_path / "fake-python"
    # `-m venv --clear DIR` puts itself there, `-m pip install` succeeds unless told to fail, the rest succeeds.
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >> {tmp_path}/calls\n'
        'case "$1 $2" in "-m venv")\n'
        f'  mkdir -p "$4/bin"; cp {fake} "$4/bin/python";;\n'
        '"-m pip")\n'
        f'  if [ "$3" = install ] && [ -e {tmp_path}/offline ]; then exit 1; fi;;\n'
        "esac\n"
    )
    fake.chmod(0o755)
    return tmp_path


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make without the settings of the make that may be running these tests."""
    inherited = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON", "VENV", "CONSTRAINTS", "TORCH_INDEX", "JOBS"}
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def _install(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _make(checkout, f"PYTHON={checkout / 'fake-python'}", *arguments)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_install_runs_once_and_again_when_its_inputs_change(checkout: Path) -> None:
    """A finished install is not repeated; a changed pyproject.toml, changed pins or a vanished Python repeat it."""
    stamp = ".venv/installed"
    assert _install(checkout, stamp).returncode == 0
    assert "--constraint requirements/tested.txt" in (checkout / "calls").read_text()
    assert _install(checkout, "-q", stamp).returncode == 0
    for name in ("pyproject.toml", "requirements/tested.txt"):
        later = (checkout / stamp).stat().st_mtime + 10
        (checkout / name).touch()
        subprocess.run(["touch", "-d", f"@{later:.0f}", name], cwd=checkout, check=True)
        assert _install(checkout, "-q", stamp).returncode == 1, name
        subprocess.run(["touch", "-d", "@1", name], cwd=checkout, check=True)
        assert _install(checkout, "-q", stamp).returncode == 0, name
    (checkout / ".venv/bin/python").unlink()
    assert _install(checkout, "-q", stamp).returncode == 1
    assert _install(checkout, stamp).returncode == 0
    assert (checkout / ".venv/bin/python").exists()


@needs_make
def test_failed_install_leaves_no_stamp(checkout: Path) -> None:
    """An install that fails is not taken for a finished one, neither the first time nor as a repetition."""
    (checkout / "offline").touch()
    assert _install(checkout, ".venv/installed").returncode != 0
    assert not (checkout / ".venv/installed").exists()
    (checkout / "offline").unlink()
    assert _install(checkout, ".venv/installed").returncode == 0
    (checkout / "offline").touch()
    subprocess.run(["touch", "-d", "@1", ".venv/installed"], cwd=checkout, check=True)
    assert _install(checkout, ".venv/installed").returncode != 0
    assert not (checkout / ".venv/installed").exists()


@needs_make
def test_old_python_is_refused_with_what_to_do(checkout: Path) -> None:
    """A Python that is too old is named together with the setting that names another one."""
    (checkout / "fake-python").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9); $2"\n'
    )
    result = _install(checkout, ".venv/installed")
    assert result.returncode != 0
    assert "Python 3.10 or newer" in result.stderr
    assert "make PYTHON=" in result.stderr


@needs_make
def test_readme_commands_exist() -> None:
    """Every `make` command in the README is a target of the Makefile, and every shipped file it names exists."""
    readme = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"\bmake ([a-z]+)", readme))
    assert {"demo", "test", "docs"} <= commands
    for target in commands:
        result = _make(ROOT, "-n", target)
        assert result.returncode == 0, result.stderr
    for name in re.findall(r"(?:models|requirements)/[\w./-]+\.(?:safetensors|py|md|txt)", readme):
        assert (ROOT / name).is_file(), name


def test_public_names_are_the_same_everywhere() -> None:
    """What type checkers see, what is imported on first use and `__all__` are the same names, and each can be had."""
    tree = ast.parse((ROOT / "milpcomp" / "__init__.py").read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(milpcomp.__all__)
    for name in milpcomp.__all__:
        assert getattr(milpcomp, name) is not None


def test_continuous_integration_runs_the_readme_commands_strictly() -> None:
    """.ci/run runs the README's two commands, and a missing data file fails there instead of skipping."""
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make \w+$", script, flags=re.MULTILINE) == ["make demo", "make test"]
    assert "export MILPCOMP_STRICT_DATA=1" in script
    assert "set -euo pipefail" in script
