"""The tables of an analysis for a paper: LaTeX to include, and the numbers behind them as tidy CSV.

tables.tex    every table of the report as a float with a caption, for the package booktabs
layers.csv    one row per hidden layer: neurons, how many in each phase, decided by each stage, kept
neurons.csv   one row per neuron: its verdict, who decided it, and its proved bounds, every digit
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from milpcomp.files import replacing
from milpcomp.report.analysis import Analysis
from milpcomp.report.sizes import edit_table, layer_size_table, size_table
from milpcomp.report.tables import Table, proof_table, solver_count, stage_table, verdict_table
from milpcomp.stability.verdict import Phase, Stage

NEURON_COLUMNS = (
    "layer", "unit", "phase", "stage", "proof", "lower", "upper", "active_witness", "inactive_witness", "seconds",
)  # fmt: skip


def tables(analysis: Analysis) -> dict[str, tuple[str, Table]]:
    """Return every table of the report by a short name, with its caption; tables without rows are left out."""
    report, done = analysis.report, analysis.compression
    found = {
        "verdicts": ("Hidden neurons by layer and phase.", verdict_table(report, done.after)),
        "proofs": ("What the verdicts rest on.", proof_table(report)),
        "stages": ("Which stage decided how many neurons, and its time.", stage_table(report)),
        "sizes": ("The network before and after compression.", size_table(done.before, done.after)),
        "edits": ("What was removed, and why.", edit_table(done)),
        "layers": ("Layers before and after compression.", layer_size_table(done.before, done.after)),
    }
    return {name: entry for name, entry in found.items() if entry[1].rows}


def latex(analysis: Analysis) -> str:
    """Return all tables in LaTeX."""
    head = "% needs \\usepackage{booktabs}\n"
    return "\n".join(
        [head, *(table.latex(caption, f"tab:{name}") for name, (caption, table) in tables(analysis).items())]
    )


def layers_csv(analysis: Analysis) -> str:
    """Return the hidden layers as CSV; ``solver`` counts the stable neurons that are not proved."""
    kept = {layer.name: layer.neurons for layer in analysis.compression.after.layers}
    stages = [stage for stage in Stage if stage is not Stage.NONE]
    header = (
        "layer",
        "neurons",
        *(p.value for p in Phase),
        "solver",
        *(f"by_{s.value.replace('-', '_')}" for s in stages),
        "kept",
    )
    rows = [
        (
            name, len(own), *(sum(v.phase is phase for v in own) for phase in Phase), solver_count(own),
            *(sum(v.stage is stage for v in own) for stage in stages), kept.get(name, 0),
        )
        for name, own in analysis.report.layers().items()
    ]  # fmt: skip
    return _csv(header, rows)


def neurons_csv(analysis: Analysis) -> str:
    """Return the neurons as CSV; witnesses are rows of `Report.witnesses`, empty where none is known."""
    rows = (
        (v.layer, v.unit, v.phase.value, v.stage.value, v.proof.value, v.lower, v.upper, v.active_witness,
         v.inactive_witness, round(v.seconds, 6))
        for v in analysis.report.verdicts
    )  # fmt: skip
    return _csv(NEURON_COLUMNS, rows)


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write tables.tex, layers.csv and neurons.csv into a folder.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    write_text(folder / "tables.tex", latex(analysis))
    write_text(folder / "layers.csv", layers_csv(analysis))
    write_text(folder / "neurons.csv", neurons_csv(analysis))


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8; what UTF-8 cannot hold (half characters from odd file names) becomes a question mark.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "replace"))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
