"""The tables of the rotated ReLU papers, published and run here side by side.

    python -m analyses.rrelu_tables --out results        prints them; writes one .csv, .md and .tex for each

Published numbers are data (`published/`). What was run here is read from the cards of trained networks
(`models/checkpoints/*.json`), the costs that `analyses.rrelu_costs` counted and the study of the authors' checkpoint
that `analyses.authors_resnet20` made (`results/`); nothing is trained or evaluated by this script. A dash is a cell
that was not run: it needs hours of a GPU, or data that is not at hand.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from analyses.tables import Table, as_markdown, write

HERE = Path(__file__).parent
CARDS = HERE.parent / "models" / "checkpoints"
PAPERS = {"2022": "rrelu2022.json", "2024": "rrelu2024.json"}


class Cell(NamedTuple):
    """A number measured here for one cell of a published table, and what it was measured on."""

    row: str
    column: str
    value: float
    remark: str


def card(name: str) -> dict[str, Any] | None:
    """Return the card of a trained network, or None if it was not trained here."""
    path = CARDS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def counted(paper: str, number: str, rows: Collection[str]) -> Iterator[Cell]:
    """Yield what full networks cost by our count, from the table of `analyses.rrelu_costs`."""
    path = HERE / "results" / "rrelu_costs.csv"
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["table"] != f"{paper} {number}":
                continue
            names = (line["quantity"], f"{line['quantity']}, ReLU", "slopes in all")
            row = next(name for name in names if name in rows)
            value = float(line["counted"].replace(",", "")) / (1 if row == "slopes in all" else 1e6)
            yield Cell(row, line["network"], value, "full networks: counted by milpcomp.cost")


def trained(column: str, name: str, remark: str) -> Iterator[Cell]:
    """Yield the cells that the card of a rotated network fills."""
    found = card(name)
    if found is None:
        return
    results = found["results"]
    threshold, cost = results["threshold"], results["cost"]["ignored_removed"]
    yield Cell("filters ignored %", column, 100 * threshold["ignored"] / threshold["total"], remark)
    yield Cell("parameters, rotated", column, cost["parameters"] / 1e6, remark)
    yield Cell("FLOPs, rotated", column, cost["flops"] / 1e6, remark)
    yield Cell("accuracy, rotated", column, 100 * threshold["accuracy_after"], remark)


def accuracy(column: str, name: str, row: str, remark: str) -> Iterator[Cell]:
    """Yield the test accuracy on a card."""
    found = card(name)
    if found is not None:
        yield Cell(row, column, 100 * found["results"]["test_accuracy"], remark)


def authors() -> dict[str, Any] | None:
    """Return the study of the authors' checkpoint, if `analyses.authors_resnet20` was run."""
    path = HERE / "results" / "authors_resnet20.json"
    return json.loads(path.read_text()) if path.exists() else None


def table_i() -> Iterator[Cell]:
    """Table I of 2022: trained from scratch, type I."""
    yield from accuracy("MNIST FCNN", "mnist-fcnn-relu", "accuracy, ReLU", "MNIST FCNN: Adam, 300 epochs, one run")
    remark = "MNIST FCNN, rotated: type I, Adam, 300 epochs, one run; threshold by milpcomp.rotated.select_threshold"
    yield from trained("MNIST FCNN", "mnist-fcnn-rotated", remark)


def table_ii() -> Iterator[Cell]:
    """Table II of 2022: type II."""
    remark = "ResNet-20: from a published ReLU network of 91.73 %, proximal l1, a short run (see its card)"
    yield from trained("CIFAR-10 ResNet-20", "cifar10-resnet20-type2-proximal", remark)


def table_v() -> Iterator[Cell]:
    """Table V of 2022: thresholds and ignored filters."""
    names = {
        ("MNIST FCNN", "type I"): "mnist-fcnn-rotated",
        ("CIFAR-10 ResNet-20", "type II"): "cifar10-resnet20-type2-proximal",
    }
    for (column, kind), name in names.items():
        found = card(name)
        if found is not None:
            threshold = found["results"]["threshold"]
            yield Cell(f"threshold, {kind}", column, threshold["gamma"], f"{column}: card of {name}")
            yield Cell(f"ignored, {kind}", column, threshold["ignored"], f"{column}: card of {name}")


def table_vii() -> Iterator[Cell]:
    """Table VII of 2022: accuracies."""
    yield from accuracy("MNIST FCNN", "mnist-fcnn-relu", "accuracy, ReLU", "MNIST FCNN: one run")
    yield from accuracy("MNIST FCNN", "mnist-fcnn-rotated", "accuracy, rotated", "MNIST FCNN: one run, type I")
    yield from accuracy(
        "CIFAR-10 ResNet-20", "cifar10-resnet20-type2-proximal", "accuracy, rotated", "ResNet-20: type II, a short run"
    )


def table_1() -> Iterator[Cell]:
    """Table 1 of 2024: ReLU baselines."""
    found = authors()
    for column, value in (found["relu_accuracy"] if found else {}).items():
        yield Cell("accuracy, ReLU, 200 epochs", column, value, f"{column}: third-party checkpoint, evaluated here")


def table_2() -> Iterator[Cell]:
    """Table 2 of 2024: rotated networks trained from scratch."""
    found = authors()
    if found is not None:
        remark = "ResNet-20, rotated: the authors' checkpoint at threshold 0.1, counted as the paper does"
        yield Cell("filters ignored %", "ResNet-20", 100 * found["ignored"] / found["slopes"], remark)
        yield Cell("accuracy, rotated", "ResNet-20", found["accuracy_after"], remark)
        yield Cell("parameters, rotated", "ResNet-20", found["masked_parameters"] / 1e6, remark)
        yield Cell("FLOPs, rotated", "ResNet-20", found["masked_flops"] / 1e6, remark)


TABLES = tuple(("2022", number) for number in ("I", "II", "V", "VI", "VII"))
TABLES += tuple(("2024", number) for number in ("1", "2", "3", "4", "5"))

RUN: dict[tuple[str, str], Callable[[], Iterable[Cell]]] = {
    ("2022", "I"): table_i,
    ("2022", "II"): table_ii,
    ("2022", "V"): table_v,
    ("2022", "VII"): table_vii,
    ("2024", "1"): table_1,
    ("2024", "2"): table_2,
}
"""Who fills the cells of tables of which more than full costs was run here."""


def beside(paper: str, number: str) -> tuple[Table, tuple[str, ...]]:
    """Return one table with a published row and, where anything was run, a row of our numbers; and the remarks.

    Raises
    ------
    ValueError
        If a measured cell belongs to no row or column of the table.
    """
    document = json.loads((HERE / "published" / PAPERS[paper]).read_text())
    published = document["tables"][number]
    columns = published["columns"]
    cells = [*counted(paper, number, published["rows"]), *RUN.get((paper, number), tuple)()]
    for cell in cells:
        if cell.row not in published["rows"] or cell.column not in columns:
            raise ValueError(f"table {number} of {paper} has no cell ({cell.row!r}, {cell.column!r})")
    found = {(cell.row, cell.column): cell.value for cell in cells}
    rows: list[tuple[str, ...]] = []
    for row, values in published["rows"].items():
        rows.append((row, "published", *("–" if value is None else f"{value:g}" for value in values)))
        if any((row, column) in found for column in columns):
            own = (found.get((row, column)) for column in columns)
            rows.append((row, "here", *("–" if value is None else f"{value:.4g}" for value in own)))
    caption = f"Table {number} ({paper}). {published['caption']}"
    return Table(caption, ("quantity", "source", *columns), tuple(rows)), tuple(dict.fromkeys(c.remark for c in cells))


def main() -> None:
    """Print all tables, and write them where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="folder for the tables")
    options = parser.parse_args()
    for paper, number in TABLES:
        table, remarks = beside(paper, number)
        print(as_markdown(table))
        print("\n".join(f"- {remark}" for remark in remarks), end="\n\n" if remarks else "")
        if options.out is not None:
            write(table, options.out / f"rrelu{paper}_table_{number.lower()}")


if __name__ == "__main__":
    main()
