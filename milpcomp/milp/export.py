"""Problems as MPS or LP files, for any other solver."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from milpcomp.errors import SettingsError, SolverError
from milpcomp.files import PathLike, replacing
from milpcomp.milp.highs_backend import load_highspy, pass_model
from milpcomp.milp.problem import Milp

SUFFIXES = (".mps", ".lp")


def write_model(milp: Milp, path: PathLike) -> None:
    """Write a problem as a file, with HiGHS's writer.

    Column names are made legal for both formats (`h[relu1,3]` becomes ``h_relu1_3``). HiGHS writes numbers with about
    15 digits, so the file is a rounded copy of the problem.

    Parameters
    ----------
    milp : Milp
    path : path
        Ending in .mps or .lp.

    Raises
    ------
    SettingsError
        If the suffix is another one.
    OutputError
        If the file cannot be written.
    SolverError
        If HiGHS refuses the problem.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise SettingsError(f"a model is written as .mps or .lp, but the path is {str(path)!r}; give it one of these")
    highspy = load_highspy()
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as stream:
        draft = Path(folder) / f"model{suffix}"
        accepted = pass_model(highspy, solver, replace(milp, names=legal_names(milp.names)))
        if not accepted or solver.writeModel(str(draft)) == highspy.HighsStatus.kError:
            raise SolverError("HiGHS cannot write this problem; it holds numbers or names that HiGHS refuses")
        stream.write(draft.read_bytes())


def legal_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of letters, digits and underscores, as different from each other as the given ones."""
    plain = [re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") for name in names]
    repeated = len(set(plain)) < len(plain)
    return tuple(f"{name}_c{i}" if repeated else name for i, name in enumerate(plain))
