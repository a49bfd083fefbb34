"""The tables of the rotated ReLU papers, published and run here side by side.

Published numbers are data (`analyses/published`). What was run here is read from the cards of trained networks
(`models/checkpoints/*.json`), the costs that `analyses.rrelu_costs` counted and the studies of checkpoints, all in
`analyses/results`; nothing is trained or evaluated here. A dash is a cell that was not run: it needs hours of a GPU, or
data that is not at hand.
"""

from __future__ import annotations

import csv
import fcntl
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from analyses.book.entry import ANALYSES, Context, Made
from analyses.tables import Table
from models.recipe import read_recipe
from models.train import run_recipe

PUBLISHED = ANALYSES / "published"
CARDS = ANALYSES.parent / "models" / "checkpoints"

RETRAINED = ("mnist-fcnn-relu", "mnist-fcnn-rotated")
"""What the published schedule trains within an hour on one core."""

AKAMASTER = "accuracy, ReLU: akamaster's checkpoints of 200 epochs, evaluated here on all 10,000 test images"
COARSE = "ResNet-20, slopes alone: two epochs instead of 500, recipe short-coarse"
SHORT = "ResNet-20, rotated: type II from akamaster's network, proximal l1, 1.75 epochs instead of 300"


class Cell(NamedTuple):
    """A number measured here for one cell of a published table, and what it was measured on."""

    row: str
    column: str
    value: float
    remark: str


Cells = Iterator[Cell]


def published(paper: str) -> dict[str, Any]:
    """Return the published tables of a paper, "2022" or "2024", by number."""
    return dict(json.loads((PUBLISHED / f"rrelu{paper}.json").read_text(encoding="utf-8"))["tables"])


def card(name: str) -> dict[str, Any] | None:
    """Return the card of a trained network, or None if it was not trained here."""
    return _json(CARDS / f"{name}.json")


def latest(name: str, context: Context) -> dict[str, Any] | None:
    """Return the card of a trained network; with `full`, of those in `RETRAINED`, of one that is trained now.

    It is trained once for all tables: whoever comes second waits.
    """
    if not context.full or name not in RETRAINED:
        return card(name)
    out = context.measured / name
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not (out / "card.json").exists():
            context.log(f"training {name}")
            run_recipe(read_recipe(name), context.shared("mnist"), out, resume=True)
    return _json(out / "card.json")


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def counted(paper: str, number: str, table: dict[str, Any], results: Path) -> Cells:
    """Yield what full networks cost by our count, from the table of `analyses.rrelu_costs`."""
    with (results / "rrelu_costs.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["table"] != f"{paper} {number}":
                continue
            names = (line["quantity"], f"{line['quantity']}, ReLU", "slopes in all")
            row = next(name for name in names if name in table["rows"])
            column = next(name for name in table["columns"] if f", {line['network']}".endswith(f", {name}"))
            value = float(line["counted"].replace(",", "")) / (1 if row == "slopes in all" else 1e6)
            yield Cell(row, column, value, "full networks: counted by milpcomp.cost")


def trained(column: str, name: str, remark: str, context: Context) -> Cells:
    """Yield the cells that the card of a rotated network fills."""
    found = latest(name, context)
    if found is None:
        return
    results = found["results"]
    threshold, cost = results["threshold"], results["cost"]["ignored_removed"]
    yield Cell("filters ignored %", column, 100 * threshold["ignored"] / threshold["total"], remark)
    yield Cell("parameters, rotated", column, cost["parameters"] / 1e6, remark)
    yield Cell("FLOPs, rotated", column, cost["flops"] / 1e6, remark)
    yield Cell("accuracy, rotated", column, 100 * threshold["accuracy_after"], remark)


def accuracy(column: str, name: str, row: str, remark: str, context: Context) -> Cells:
    """Yield the test accuracy on a card."""
    found = latest(name, context)
    if found is not None:
        yield Cell(row, column, 100 * found["results"]["test_accuracy"], remark)


def baselines(row: str, before: str, results: Path) -> Cells:
    """Yield the accuracies of akamaster's networks; columns are their names behind `before`."""
    found = _json(results / "authors_resnet20.json")
    for name, value in (found["relu_accuracy"] if found else {}).items():
        yield Cell(row, f"{before}{name}", value, AKAMASTER)


def coarse(column: str, row: str, results: Path) -> Cells:
    """Yield the accuracy of slopes alone."""
    found = _json(results / "cifar10-resnet20-coarse.json")
    if found is not None:
        yield Cell(row, column, found["accuracy"], COARSE)


def table_i(context: Context) -> Cells:
    """Table I of 2022: trained from scratch, type I."""
    yield from accuracy(
        "MNIST FCNN", "mnist-fcnn-relu", "accuracy, ReLU", "MNIST FCNN: Adam, 300 epochs, one run", context
    )
    remark = "MNIST FCNN, rotated: type I, Adam, 300 epochs, one run; threshold by milpcomp.rotated.select_threshold"
    yield from trained("MNIST FCNN", "mnist-fcnn-rotated", remark, context)
    yield from baselines("accuracy, ReLU", "CIFAR-10 ", context.results)


def table_ii(context: Context) -> Cells:
    """Table II of 2022: type II."""
    yield from trained("CIFAR-10 ResNet-20", "cifar10-resnet20-type2-proximal", SHORT, context)


def table_v(context: Context) -> Cells:
    """Table V of 2022: thresholds and ignored filters."""
    names = {
        ("MNIST FCNN", "type I"): "mnist-fcnn-rotated",
        ("CIFAR-10 ResNet-20", "type II"): "cifar10-resnet20-type2-proximal",
    }
    for (column, kind), name in names.items():
        found = latest(name, context)
        if found is not None:
            threshold = found["results"]["threshold"]
            yield Cell(f"threshold, {kind}", column, threshold["gamma"], f"{column}: card of {name}")
            yield Cell(f"ignored, {kind}", column, threshold["ignored"], f"{column}: card of {name}")


def table_vi(context: Context) -> Cells:
    """Table VI of 2022: two steps."""
    yield from baselines("accuracy, ReLU", "CIFAR-10 ", context.results)
    yield from coarse("CIFAR-10 ResNet-20", "accuracy, slopes alone", context.results)


def table_vii(context: Context) -> Cells:
    """Table VII of 2022: accuracies."""
    yield from accuracy("MNIST FCNN", "mnist-fcnn-relu", "accuracy, ReLU", "MNIST FCNN: one run", context)
    yield from accuracy("MNIST FCNN", "mnist-fcnn-rotated", "accuracy, rotated", "MNIST FCNN: one run, type I", context)
    yield from baselines("accuracy, ReLU", "CIFAR-10 ", context.results)
    yield from accuracy("CIFAR-10 ResNet-20", "cifar10-resnet20-type2-proximal", "accuracy, rotated", SHORT, context)


def table_1(context: Context) -> Cells:
    """Table 1 of 2024: ReLU baselines."""
    yield from baselines("accuracy, ReLU, 200 epochs", "", context.results)


def table_2(context: Context) -> Cells:
    """Table 2 of 2024: rotated networks trained from scratch."""
    found = _json(context.results / "authors_resnet20.json")
    if found is not None:
        remark = "ResNet-20, rotated: the authors' checkpoint at threshold 0.1, counted as the paper does"
        yield Cell("filters ignored %", "ResNet-20", 100 * found["ignored"] / found["slopes"], remark)
        yield Cell("accuracy, rotated", "ResNet-20", found["accuracy_after"], remark)
        yield Cell("parameters, rotated", "ResNet-20", found["masked_parameters"] / 1e6, remark)
        yield Cell("FLOPs, rotated", "ResNet-20", found["masked_flops"] / 1e6, remark)


def table_4(context: Context) -> Cells:
    """Table 4 of 2024: slopes alone."""
    yield from baselines("accuracy, ReLU", "CIFAR-10 ", context.results)
    yield from coarse("CIFAR-10 ResNet-20", "accuracy, slopes alone", context.results)


RUN: dict[tuple[str, str], Callable[[Context], Iterable[Cell]]] = {
    ("2022", "I"): table_i,
    ("2022", "II"): table_ii,
    ("2022", "V"): table_v,
    ("2022", "VI"): table_vi,
    ("2022", "VII"): table_vii,
    ("2024", "1"): table_1,
    ("2024", "2"): table_2,
    ("2024", "4"): table_4,
}
"""Who fills the cells of tables of which more than full costs was run here."""


def beside(paper: str, number: str, context: Context) -> tuple[Table, tuple[str, ...]]:
    """Return one table with a published row and, where anything was run, a row of our numbers; and the remarks.

    Raises
    ------
    ValueError
        If a measured cell belongs to no row or column of the table.
    """
    table = published(paper)[number]
    columns, kinds = table["columns"], table["rows"]
    run = RUN.get((paper, number))
    cells = [*counted(paper, number, table, context.results), *(run(context) if run else ())]
    for cell in cells:
        if cell.row not in kinds or cell.column not in columns:
            raise ValueError(f"table {number} of {paper} has no cell ({cell.row!r}, {cell.column!r})")
    found = {(cell.row, cell.column): cell.value for cell in cells}
    rows: list[tuple[str, ...]] = []
    for row, values in kinds.items():
        rows.append((row, "published", *("–" if value is None else f"{value:g}" for value in values)))
        if any((row, column) in found for column in columns):
            own = (found.get((row, column)) for column in columns)
            rows.append((row, "here", *("–" if value is None else _digits(value) for value in own)))
    caption = f"Table {number} ({paper}). {table['caption']}"
    return Table(caption, ("quantity", "source", *columns), tuple(rows)), tuple(dict.fromkeys(c.remark for c in cells))


def _digits(value: float) -> str:
    return f"{value:.4g}" if value < 1e4 else f"{value:.0f}"


def printed_table(paper: str, number: str, context: Context) -> Made:
    """Make the page of one table."""
    table, remarks = beside(paper, number, context)
    return Made(table, notes=tuple(f"{remark[0].upper()}{remark[1:]}." for remark in remarks))
