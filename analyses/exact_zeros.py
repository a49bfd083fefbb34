"""Exact zeros by training: the proximal step against subgradient l1 and against l1 on batch norms, on equal budgets.

Everything is read from the cards of the runs (`models/checkpoints/*.json`); the recipes are in `models/recipes/`. A
zero slope (or batch-norm scale) lets a channel go without changing the function; a small one does not. The runs are
minutes on a processor core, so accuracies are those of short runs and no match for the published schedules. The first
stage, under the penalty, is the same budget for all runs; the proximal ones go on without it, their zeros held.
"""

from __future__ import annotations

from typing import Any

from analyses.book.entry import Context, Made
from analyses.book.printed import card
from analyses.tables import Table

RUNS = {
    "cifar10-resnet20-continue-proximal": "the authors' network, proximal l1 on slopes",
    "cifar10-resnet20-type2-proximal": "type II, proximal l1 on slopes",
    "cifar10-resnet20-type2-subgradient": "type II, subgradient l1 on slopes",
    "cifar10-resnet20-l1bn": "ReLU, subgradient l1 on batch norms (L1BN)",
}
COLUMNS = (
    "run", "l1", "accuracy before %", "accuracy after each stage % (epochs)", "penalised", "exactly 0", "within 1e-3",
    "parameters saved exactly %", "FLOPs saved exactly %",
)  # fmt: skip


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of one run."""
    results = found["results"]
    values = results["slopes"] or results["batch_norm_gammas"]
    whole, left = results["cost"]["as_trained"], results["cost"]["dead_removed"]
    weights = {stage["penalty"]["weight"] for stage in found["recipe"]["stages"] if stage.get("penalty")}
    return (
        RUNS[name],
        ", ".join(f"{weight:g}" for weight in sorted(weights)),
        f"{100 * results['test_accuracy_at_start']:.2f}",
        ", ".join(f"{100 * stage['test_accuracy']:.2f} ({stage['epochs']:g})" for stage in found["stages"]),
        str(values["total"]),
        str(values["zero"]),
        str(values["within"]["0.001"]),
        f"{100 * (1 - left['parameters'] / whole['parameters']):.1f}",
        f"{100 * (1 - left['flops'] / whole['flops']):.1f}",
    )


def exact_zeros(context: Context) -> Made:
    """Return the runs that have a card."""
    rows = [row(name, found) for name in RUNS if (found := card(name)) is not None]
    return Made(Table("", COLUMNS, tuple(rows)))
