"""What the benchmark of the grid measured, as one small table: a row per network and method.

    python -m analyses.benchmarks.grid --out CELLS ...                          measures; hours, resumable
    python -m analyses.grid_results CELLS [MORE ...] --networks FOLDER          -> analyses/results/grid.csv

A cell is the record of one network by one method (`analyses.benchmarks.grid`). What the network is, its l1 and what it
reaches comes from the card beside its weights. A record counts only if its digest is that of the weights: a network
that was trained anew makes its records stale, and they are refused. The figures of the talk read the table alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import milpcomp as mc
from analyses import rows
from milpcomp.stability.verdict import Stage

RESULTS = Path(__file__).resolve().parent / "results"
GRID = Path(__file__).resolve().parents[1] / "models" / "grid"
COMMAND = "python -m analyses.benchmarks.grid --out CELLS; python -m analyses.grid_results CELLS"
STAGES = tuple(stage.value.replace("-", "_") for stage in Stage if stage is not Stage.NONE)


@dataclass(frozen=True)
class Cell:
    """One network by one method.

    Parameters
    ----------
    network, shape, variant : str
        ``"2x100_full"``, ``"2x100"``, ``"full"``.
    l1 : float
        Weight of the regularisation.
    accuracy : float or None
        Test accuracy of a classifier, from 0 to 1.
    loss : float or None
        Test loss of an autoencoder.
    method : str
    neurons : int
    stably_inactive, stably_active, unstable, undecided : int
    closed_form, refute, bound, branch, solver : int
        How many neurons each stage decided.
    seconds, cpu_seconds, check_seconds : float or None
        Wall-clock and processor seconds of the run, wall-clock seconds of the check.
    rejected : int
        Verdicts that the checker rejects.
    contradictions : int or None
        Verdicts that one of `samples` random inputs refutes; None if none were drawn.
    samples : int
    peak_mib : float
        Largest memory of the process.
    neurons_after : int
        Of the compressed network.
    deviation_bound : float
        Proved bound on the change of the outputs.
    limit_s : float
        Time limit of the run.
    ended : str
        ``"complete"`` or ``"time limit"``.
    """

    network: str
    shape: str
    variant: str
    l1: float
    accuracy: float | None
    loss: float | None
    method: str
    neurons: int
    stably_inactive: int
    stably_active: int
    unstable: int
    undecided: int
    closed_form: int
    refute: int
    bound: int
    branch: int
    solver: int
    seconds: float
    cpu_seconds: float | None
    check_seconds: float
    rejected: int
    contradictions: int | None
    samples: int
    peak_mib: float
    neurons_after: int
    deviation_bound: float
    limit_s: float
    ended: str

    @property
    def removed(self) -> float:
        """Share of the neurons that compression removed."""
        return 1 - self.neurons_after / self.neurons


class StaleRecordError(Exception):
    """A record does not belong to the network it names; the message says which, and what to do."""


def collect(cells: Iterable[Path], networks: Iterable[Path] = (GRID,)) -> tuple[Cell, ...]:
    """Return the records in some folders with what the cards of their networks say, in order of network and method.

    Raises
    ------
    StaleRecordError
        If a record is of other weights, or the same cell was measured twice.
    FileNotFoundError
        If a network is in none of the folders.
    """
    folders = tuple(networks)
    found: dict[tuple[str, str], Cell] = {}
    for path in sorted(path for folder in cells for path in Path(folder).glob("*_*.*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = (record["network"], record["method"])
        if key in found:
            raise StaleRecordError(f"{key[0]} by {key[1]} was measured twice; keep one of the records ({path})")
        found[key] = _cell(record, _weights(record["network"], folders), path)
    return tuple(found[key] for key in sorted(found))


def _weights(name: str, folders: tuple[Path, ...]) -> Path:
    for folder in folders:
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    raise FileNotFoundError(f"{name}.safetensors is in none of {', '.join(map(str, folders))}; add --networks FOLDER")


def _cell(record: dict[str, Any], weights: Path, path: Path) -> Cell:
    """Return one row, of a record and the card of its network."""
    if mc.load(weights).digest != record["digest"]:
        raise StaleRecordError(f"{path} was measured on other weights than {weights}; measure it anew")
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    shape, _, variant = record["network"].rpartition("_")
    stages = {name: record["stages"].get(name.replace("_", "-"), 0) for name in STAGES}
    same = {
        field.name: record[field.name] for field in fields(Cell) if field.name in record and field.name != "undecided"
    }
    return Cell(
        **{
            **same,
            **record["counts"],
            **stages,
            "shape": shape,
            "variant": variant,
            "l1": card["recipe"]["l1"],
            "accuracy": card.get("test_accuracy"),
            "loss": None if "test_accuracy" in card else card["test_loss"],
            "cpu_seconds": record.get("cpu_seconds"),
        }
    )


def main(arguments: list[str] | None = None) -> None:
    """Write the table of the records in the folders named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cells", type=Path, nargs="+", help="folders of records")
    parser.add_argument("--networks", type=Path, nargs="+", default=[], help="folders of weights and cards, first")
    parser.add_argument("--out", type=Path, default=RESULTS / "grid.csv")
    options = parser.parse_args(arguments)
    found = collect(options.cells, (*options.networks, GRID))
    rows.write(found, Cell, options.out)
    print(f"{len(found)} cells of {len({cell.network for cell in found})} networks: {options.out}")


if __name__ == "__main__":
    main()
