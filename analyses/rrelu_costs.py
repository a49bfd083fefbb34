"""What the networks of the rotated ReLU papers cost, counted here, beside every figure that the papers print.

    python -m analyses.rrelu_costs --out analyses/results/rrelu_costs.csv        prints the table and writes it

Each network is made from models/, read as a `Network`, and counted by `milpcomp.cost`. The papers print costs of full
networks in Tables I and VI (2022) and 2, 3 and 5 (2024), and numbers of slopes in Table V; Tables II and VII (2022) and
1 and 4 (2024) print no cost of a full network. Figures are in millions. One that is neither our count rounded nor our
count with its last digits cut off is compared with `OTHER_COUNTS`, each of them a way in which one may count; the
first that gives the printed digits is named. That they agree is arithmetic; that the authors counted so is a guess.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import milpcomp as mc
from analyses.book.entry import Context, Made
from analyses.tables import Table, as_csv, as_markdown
from milpcomp.cost import Cost, LayerCost, cost
from milpcomp.network import Conv2d, Dense, Network
from models import mlp, preact_resnet, resnet, vit, wide_resnet
from models.parts import stir

PUBLISHED = Path(__file__).with_name("published")
COMMAND = "python -m analyses.rrelu_costs --out analyses/results/rrelu_costs.csv"

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "FCNN": (mlp.rotated_fcnn, (784,)),
    "ResNet-20": (resnet.rotated_resnet20, (3, 32, 32)),
    "ResNet-56": (resnet.rotated_resnet56, (3, 32, 32)),
    "ResNet-110": (resnet.rotated_resnet110, (3, 32, 32)),
    "ResNet-110-pre": (preact_resnet.rotated_preact_resnet110, (3, 32, 32)),
    "ResNet-164-pre": (preact_resnet.rotated_resnet164, (3, 32, 32)),
    "WRN-16-4": (wide_resnet.rotated_wrn16_4, (3, 32, 32)),
    "WRN-40-4": (wide_resnet.rotated_wrn40_4, (3, 32, 32)),
    "WRN-50-2": (wide_resnet.rotated_wrn50_2, (3, 224, 224)),
    "ViT-S/16 MLPs": (lambda: vit.vit_small_16("rotated"), (3, 224, 224)),
}
"""What makes each network, and the shape of its samples."""

TOKENS = 197
"""Of ViT-S/16: 14 x 14 patches and the class token; the paper prints FLOPs per token."""


@dataclass(frozen=True)
class Figure:
    """One printed number.

    Parameters
    ----------
    table : str
        Paper and number of the table.
    column, network : str
        The column as printed, and its network among `MODELS`.
    quantity : "parameters", "FLOPs" or "slopes"
    printed : str
        With all digits that are printed.
    remark : str
        What the page itself shows to be odd.
    """

    table: str
    column: str
    network: str
    quantity: str
    printed: str
    remark: str = ""

    @property
    def classes(self) -> int | None:
        """Classes where they are not those of the network in `MODELS`."""
        return 100 if "CIFAR-100" in self.column else None


# -------------------------------------------------------------------------------------------------- what is printed


ROWS = {"parameters, ReLU": "parameters", "FLOPs, ReLU": "FLOPs", "slopes in all": "slopes"}
"""The rows that print costs of full networks, one network a column, and what they print."""

CELLS = (
    ("3", "ReLU", "ResNet-164-pre", "parameters", "parameters"),
    ("3", "ReLU", "ResNet-164-pre", "FLOPs", "FLOPs"),
    ("5", "ViT-S/16 MLPs, GELU", "ViT-S/16 MLPs", "parameters", "parameters"),
    ("5", "ViT-S/16 MLPs, GELU", "ViT-S/16 MLPs", "FLOPs", "FLOPs"),
    ("5", "WRN-50-2, ReLU", "WRN-50-2", "parameters", "FLOPs"),
    ("5", "WRN-50-2, ReLU", "WRN-50-2", "FLOPs", "parameters"),
)
"""Single cells of 2024 that do: table, column, network, quantity, and the row under which it is printed."""


def figures() -> list[Figure]:
    """Return every printed cost of a full network."""
    found = []
    for year in ("2022", "2024"):
        tables = _printed(year)
        for name, table in tables.items():
            for row, quantity in ROWS.items():
                for column, printed in zip(table["columns"], table["rows"].get(row, ()), strict=False):
                    found.append(Figure(f"{year} {name}", column, column.split(" ")[-1], quantity, printed))
    for name, column, network, quantity, row in CELLS:
        printed = tables[name]["rows"][row][tables[name]["columns"].index(column)]
        remark = "" if row == quantity else f"printed under {row}; "
        found.append(Figure(f"2024 {name}", column, network, quantity, printed, remark))
    return found


def _printed(year: str) -> dict[str, Any]:
    """Return the tables of one paper, numbers as the text that is printed."""
    content = json.loads((PUBLISHED / f"rrelu{year}.json").read_text(), parse_float=str, parse_int=str)
    return dict(content["tables"])


# ------------------------------------------------------------------------------------------------- what is counted


def read(name: str) -> Network:
    """Return a network of `MODELS`, with rotated activations and with numbers that no count leaves out."""
    make, shape = MODELS[name]
    model = make().eval()
    stir(model)
    return mc.load(model, input_shape=shape)


def with_classes(network: Network, classes: int) -> Network:
    """Return the network with another number of rows in its last layer."""
    last = network.nodes[-1]
    assert isinstance(last.layer, Dense)
    head = Dense(np.ones((classes, last.layer.weight.shape[1])), np.ones(classes))
    return Network(network.input_shape, [*network.nodes[:-1], replace(last, layer=head)])


@dataclass(frozen=True)
class Count:
    """A network's cost, and the parts of it that other ways of counting treat otherwise."""

    cost: Cost
    weights: int
    stem: LayerCost
    shortcuts: tuple[LayerCost, ...]
    halved: int  # FLOPs saved if the first 1x1 convolution of a bottleneck had the stride of its 3x3 convolution


def count(network: Network) -> Count:
    """Return what a network costs; of a vision transformer only the perceptrons, and their FLOPs per token."""
    found = cost(network)
    if any(".mlp." in layer.name for layer in found.layers):
        kept = (layer for layer in found.layers if ".mlp." in layer.name)
        found = Cost(tuple(replace(layer, flops=layer.flops // TOKENS) for layer in kept))
    layers = {layer.name: layer for layer in found.layers}
    weighty = {node.name: node.layer for node in network if isinstance(node.layer, Dense | Conv2d)}
    strided = [name for name, layer in weighty.items() if isinstance(layer, Conv2d) and layer.stride == (2, 2)]
    firsts = [layers[name.replace("conv2", "conv1")] for name in strided if name.endswith("conv2")]
    return Count(
        found,
        weights=sum(layer.weight.size for name, layer in weighty.items() if name in layers),
        stem=next(layer for layer in found.layers if layer.flops),
        shortcuts=tuple(layers[name] for name in weighty if "hortcut" in name or "downsample" in name),
        halved=sum(layer.flops * 3 // 4 for layer in firsts),
    )


def ours(found: Count, quantity: str) -> int:
    """Return our count of a quantity."""
    return {"parameters": found.cost.parameters, "FLOPs": found.cost.flops, "slopes": found.cost.slopes}[quantity]


def _wider_shortcuts(found: Count, quantity: str) -> int:
    """Return what 3x3 instead of 1x1 shortcuts cost in all."""
    total = sum(s.flops if quantity == "FLOPs" else s.parameters for s in found.shortcuts)
    return 9 * total


def _usual_convolution(found: Count) -> int:
    """Return the FLOPs that most convolutions have."""
    return Counter(layer.flops for layer in found.cost.layers if layer.kind == "Conv2d").most_common(1)[0][0]


OTHER_COUNTS: dict[str, list[tuple[str, Callable[[Count], int]]]] = {
    "parameters": [
        ("weights alone, no batch norms or biases", lambda c: c.weights),
        ("with the slopes", lambda c: c.cost.parameters + c.cost.slopes),
        (
            "weights alone, with 3x3 instead of 1x1 shortcuts",
            lambda c: c.weights - sum(s.parameters for s in c.shortcuts) + _wider_shortcuts(c, "parameters"),
        ),
    ],
    "FLOPs": [
        ("multiplications alone", lambda c: c.cost.flops // 2),
        ("with the residual additions", lambda c: c.cost.flops + c.cost.additions),
        ("without the stem", lambda c: c.cost.flops - c.stem.flops),
        (
            "without the stem and four of the 3x3 convolutions, with the residual additions",
            lambda c: c.cost.flops + c.cost.additions - c.stem.flops - 4 * _usual_convolution(c),
        ),
        (
            "without 1x1 shortcuts, and with the stride in the first 1x1 convolution",
            lambda c: c.cost.flops - sum(s.flops for s in c.shortcuts) - c.halved,
        ),
        (
            "with 3x3 instead of 1x1 shortcuts, each counted twice, and the residual additions",
            lambda c: (
                c.cost.flops + c.cost.additions - sum(s.flops for s in c.shortcuts) + 2 * _wider_shortcuts(c, "FLOPs")
            ),
        ),
        ("with 6 for each number that passes a batch norm and a ReLU", lambda c: c.cost.flops + 6 * c.cost.neurons),
    ],
    "slopes": [],
}
"""For each quantity, other ways to count it, the likelier first."""


# ------------------------------------------------------------------------------------------------------- the table


def agreement(printed: str, value: float) -> str:
    """Return how `value` gives the printed digits: "rounded", "cut off", or "" if it does not."""
    unit = 10.0 ** -len(printed.partition(".")[2])
    if abs(value - float(printed)) <= unit / 2:
        return "rounded"
    return "cut off" if 0 <= value - float(printed) < unit else ""


def remark(figure: Figure, found: Count) -> str:
    """Say how a printed figure comes from our count, or from which other count, or that it is not reproduced."""
    scale = 1 if figure.quantity == "slopes" else 1e6
    value = ours(found, figure.quantity) / scale
    direct = agreement(figure.printed, value)
    if direct:
        return figure.remark + ("same" if scale == 1 else direct)
    for text, other in OTHER_COUNTS[figure.quantity]:
        if agreement(figure.printed, other(found) / scale):
            return f"{figure.remark}{text}: {other(found) / scale:,.5g}"
    return f"{figure.remark}not reproduced by any count tried"


def table(counts: Mapping[tuple[str, int | None], Count]) -> Table:
    """Return the table, given the count of each network and number of classes."""
    rows = []
    for figure in figures():
        found = counts[figure.network, figure.classes]
        value, printed = ours(found, figure.quantity), float(figure.printed)
        scale = 1.0 if figure.quantity == "slopes" else 1e6
        gap = f"{round(100 * (printed * scale / value - 1), 1) + 0.0:+} %"
        column = figure.column if figure.network in figure.column else f"{figure.network}, {figure.column}"
        note = remark(figure, found)
        rows.append((figure.table, column, figure.quantity, figure.printed, f"{value:,}", gap, note))
    return Table("", ("table", "network", "quantity", "printed", "counted", "printed / counted", "remark"), tuple(rows))


def counts(log: Callable[[str], None]) -> dict[tuple[str, int | None], Count]:
    """Return the count of each network and number of classes that a printed figure is about."""
    found: dict[tuple[str, int | None], Count] = {}
    for name in MODELS:
        log(name)
        network = read(name)
        for classes in {figure.classes for figure in figures() if figure.network == name}:
            found[name, classes] = count(network if classes is None else with_classes(network, classes))
    return found


def costs(context: Context) -> Made:
    """Count all networks now; say whether the file that other tables read has the same numbers."""
    made = table(counts(context.log))
    kept = context.results / "rrelu_costs.csv"
    same = kept.exists() and kept.read_text(encoding="utf-8") == as_csv(made)
    note = "The numbers that the other tables use are these." if same else f"{kept.name} has other numbers: {COMMAND}"
    return Made(made, notes=(note,))


def main(arguments: list[str] | None = None) -> None:
    """Count all networks, print the table, write its file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="the file, .csv")
    chosen = parser.parse_args(arguments)
    result = table(counts(print))
    print(as_markdown(result))
    chosen.out.write_text(as_csv(result), encoding="utf-8")


if __name__ == "__main__":
    main()
