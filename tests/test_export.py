"""Exported files read back as the same problem, under names that both formats allow."""

from __future__ import annotations

from pathlib import Path

import highspy
import numpy as np
import pytest

from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box
from milpcomp.errors import OutputError, SettingsError, SolverError
from milpcomp.milp.backends import backend
from milpcomp.milp.encoding import encode
from milpcomp.milp.export import legal_names, write_model
from milpcomp.milp.guard import guarded_solve
from milpcomp.milp.problem import Milp, SolveOptions
from tests.nets import mlp


def problem() -> Milp:
    """Return the problem of one neuron of a small network."""
    network, box = mlp([3, 5, 4, 2], np.random.default_rng(1)), Box(0.0, 1.0).fit((3,))
    return encode(network, interval_bounds(network, box), box).neuron("3", 1, 1)


@pytest.mark.parametrize("suffix", [".mps", ".lp", ".LP"])
def test_files_read_back(suffix: str, tmp_path: Path) -> None:
    """HiGHS finds the same optimum in the file, objective offset included, and the columns by name."""
    milp, path = problem(), tmp_path / f"model{suffix}"
    assert milp.offset != 0
    write_model(milp, path)
    lower = path.rename(tmp_path / f"again{suffix.lower()}")
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    assert solver.readModel(str(lower)) == highspy.HighsStatus.kOk
    solver.run()
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    expected = guarded_solve(backend("highs"), milp, SolveOptions())
    assert solver.getInfo().objective_function_value == pytest.approx(expected.dual_bound, abs=1e-9)
    model = solver.getLp()
    assert (model.num_row_, model.num_col_) == milp.matrix.shape
    assert set(model.col_names_) == {name.replace("[", "_").replace(",", "_").rstrip("]") for name in milp.names}
    assert sum(kind == highspy.HighsVarType.kInteger for kind in model.integrality_) == milp.integer.sum()


def test_names_are_legal_and_different() -> None:
    """Brackets and commas become underscores; where that makes names equal, their numbers keep them apart."""
    assert legal_names(("x[0]", "h[relu 1.a,3]", "ok")) == ("x_0", "h_relu_1_a_3", "ok")
    assert legal_names(("z[a,1]", "z[a.1]")) == ("z_a_1_c0", "z_a_1_c1")


@pytest.mark.parametrize("name", ["model.txt", "model", "model.mps.gz"])
def test_other_suffixes_are_refused(name: str, tmp_path: Path) -> None:
    """Only .mps and .lp are written."""
    with pytest.raises(SettingsError, match=r"written as \.mps or \.lp"):
        write_model(problem(), tmp_path / name)


def test_unwritable_path(tmp_path: Path) -> None:
    """A missing folder is an error that names it, and nothing is left behind."""
    with pytest.raises(OutputError, match="does not exist"):
        write_model(problem(), tmp_path / "missing" / "model.lp")
    assert list(tmp_path.iterdir()) == []


def test_refused_problem_leaves_no_file(tmp_path: Path) -> None:
    """A problem that HiGHS refuses is an error and writes nothing."""
    milp = problem()
    milp.matrix.data[0] = 1e20
    with pytest.raises(SolverError, match="HiGHS cannot write this problem"):
        write_model(milp, tmp_path / "model.mps")
    assert list(tmp_path.iterdir()) == []
