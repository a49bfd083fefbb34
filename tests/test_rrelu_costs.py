"""analyses/: tables in their three forms, and printed costs beside counted ones."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from analyses.rrelu_costs import (
    MODELS,
    Count,
    Figure,
    agreement,
    count,
    figures,
    ours,
    read,
    remark,
    table,
    with_classes,
)
from analyses.tables import Table, as_csv, as_latex, as_markdown, write
from milpcomp.cost import Cost, LayerCost

SMALL = Table("50% of $x_1$", ("a", "b|c"), (("1,5", "3×3"), ("x_1", "R&D")))


M = 1_000_000

RESIDUAL = Count(
    Cost(
        (
            LayerCost("stem", "Conv2d", parameters=M, flops=10 * M),
            *(LayerCost(f"conv{i}", "Conv2d", parameters=4 * M, flops=20 * M) for i in range(6)),
            LayerCost("relu", "Rectifier", neurons=2 * M, slopes=3 * M),
            LayerCost("shortcut", "Conv2d", parameters=M, flops=2 * M),
            LayerCost("add", "Add", additions=4 * M),
            LayerCost("dense", "Dense", parameters=M, flops=2 * M),
        )
    ),
    weights=26 * M,
    stem=LayerCost("stem", "Conv2d", parameters=M, flops=10 * M),
    shortcuts=(LayerCost("shortcut", "Conv2d", parameters=M, flops=2 * M),),
    halved=15 * M,
)
"""27 M parameters, one of them no weight, and 10 + 6 * 20 + 2 + 2 = 134 MFLOPs."""


def test_tables_are_written_in_three_forms(tmp_path: Path) -> None:
    """CSV reads back; Markdown and LaTeX escape what has a meaning there."""
    files = write(SMALL, tmp_path / "new" / "v1.5")
    assert [file.name for file in files] == ["v1.5.csv", "v1.5.md", "v1.5.tex"]
    assert list(csv.reader(files[0].read_text().splitlines())) == [["a", "b|c"], ["1,5", "3×3"], ["x_1", "R&D"]]
    assert as_csv(SMALL) == files[0].read_text()
    assert as_markdown(SMALL).splitlines()[2:5] == [r"| a | b\|c |", "| --- | --- |", "| 1,5 | 3×3 |"]
    latex = as_latex(SMALL)
    assert r"\caption{50\% of \$x\_1\$}" in latex
    assert "a & b|c \\\\\n\\hline\n1,5 & 3$\\times$3 \\\\\nx\\_1 & R\\&D \\\\" in latex


def test_rows_must_fit_the_columns() -> None:
    """A row with an entry too few is an error."""
    with pytest.raises(ValueError, match="has 1 entries, but there are 2 columns"):
        Table("", ("a", "b"), (("1",),))


def test_agreement_is_judged_by_the_printed_digits() -> None:
    """0.27 stands for 0.265 .. 0.275 rounded, or up to 0.28 cut off; 81 for 80.5 .. 82."""
    assert agreement("0.27", 0.2697) == "rounded"
    assert agreement("0.27", 0.2797) == "cut off"
    assert agreement("0.27", 0.2801) == agreement("0.27", 0.2649) == ""
    assert [agreement("81", value) for value in (80.6, 81.9, 82.0)] == ["rounded", "cut off", ""]


def test_every_printed_cost_has_a_network() -> None:
    """Tables I, V, VI of 2022 and 2, 3, 5 of 2024 print costs of full networks, all of them in `MODELS`."""
    found = figures()
    assert {figure.table for figure in found} == {"2022 I", "2022 V", "2022 VI", "2024 2", "2024 3", "2024 5"}
    assert {figure.network for figure in found} == set(MODELS)
    assert len(found) == 20 + 10 + 8 + 10 + 2 + 4
    assert Figure("2022 I", "MNIST FCNN", "FCNN", "parameters", "0.10") in found  # with all its digits


def test_networks_are_counted_with_all_their_parts() -> None:
    """784-500-10 has 397,510 parameters, 397,000 of them weights; for 100 classes the last layer alone costs more."""
    network = read("FCNN")
    small, large = count(network), count(with_classes(network, 100))
    assert (ours(small, "parameters"), small.weights, ours(small, "slopes")) == (397_510, 397_000, 500)
    assert (small.stem.flops, small.shortcuts, small.halved) == (784_000, (), 0)
    assert ours(large, "parameters") - ours(small, "parameters") == 90 * 501
    assert ours(large, "FLOPs") - ours(small, "FLOPs") == 90 * 500 * 2
    assert large.cost.layers[:-1] == small.cost.layers[:-1]


@pytest.mark.slow
def test_strided_bottlenecks_and_their_shortcuts_are_found() -> None:
    """ResNet-164 has three 1x1 shortcuts; without them, and strided earlier, it needs the printed 478 MFLOPs."""
    found = count(read("ResNet-164-pre"))
    assert [layer.parameters for layer in found.shortcuts] == [16 * 64, 64 * 128, 128 * 256]
    figure = Figure("", "", "", "FLOPs", "478")
    assert remark(figure, found) == ("without 1x1 shortcuts, and with the stride in the first 1x1 convolution: 478.52")


@pytest.mark.parametrize(
    ("quantity", "printed", "expected"),
    [
        ("parameters", "27", "rounded"),
        ("parameters", "26", "weights alone, no batch norms or biases: 26"),
        ("parameters", "30", "with the slopes: 30"),
        ("parameters", "34", "weights alone, with 3x3 instead of 1x1 shortcuts: 34"),
        ("parameters", "99", "not reproduced by any count tried"),
        ("FLOPs", "134", "rounded"),
        ("FLOPs", "67", "multiplications alone: 67"),
        ("FLOPs", "138", "with the residual additions: 138"),
        ("FLOPs", "124", "without the stem: 124"),
        (
            "FLOPs",
            "48",
            "without the stem and four of the 3x3 convolutions, with the residual additions: 48",
        ),
        ("FLOPs", "117", "without 1x1 shortcuts, and with the stride in the first 1x1 convolution: 117"),
        ("FLOPs", "172", "with 3x3 instead of 1x1 shortcuts, each counted twice, and the residual additions: 172"),
        ("FLOPs", "146", "with 6 for each number that passes a batch norm and a ReLU: 146"),
        ("slopes", "3000000", "same"),
    ],
)
def test_remarks_name_the_first_count_that_gives_the_digits(quantity: str, printed: str, expected: str) -> None:
    """Each other way of counting, by hand on a made-up residual network; what fits none is said to."""
    assert remark(Figure("", "", "", quantity, printed, "odd; "), RESIDUAL) == f"odd; {expected}"


def test_the_table_sets_both_counts_side_by_side() -> None:
    """A row holds the printed figure, our count, by how much they differ, and the remark."""
    made = table({(figure.network, figure.classes): RESIDUAL for figure in figures()})
    assert len(made.rows) == len(figures())
    row = ("2022 I", "CIFAR-10 ResNet-20", "FLOPs", "81", "134,000,000", "-39.6 %", "not reproduced by any count tried")
    assert row in made.rows
    assert ("2024 3", "ResNet-164-pre, ReLU", "parameters", "1.71") in {row[:4] for row in made.rows}
