"""Figures 2, 3, 4, 5 and 10 of the 2024 seminar (2 to 5 of the 2022 paper): slopes and batch-norm scales.

    python -m analyses.rrelu_figures ../shared/data --out results

    figure 2     slopes before training: the truncated mixture
    figure 3     slopes after training: the authors' ResNet-20, and ours by type II where it was trained
    figure 4     batch-norm scales after training with l1 on them, and with l1 on the slopes
    figure 5     slopes against the batch-norm scales before them, stage by stage
    figure 10    batch-norm scales of ReLU networks and of the rotated one

Each is written as .png, .pdf and the .csv of what it shows. Networks that the papers show and that nobody has published
(ResNet-56, -110 and -164 with rotated ReLU) are not shown; the published file and the networks trained here are.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from milpcomp.report.slope_figures import norm_histogram, slope_histogram, slopes_against_scales, slopes_by_layer
from milpcomp.rotated import draw_slopes

CHECKPOINTS = Path(__file__).parent.parent / "models" / "checkpoints"
TYPE2 = CHECKPOINTS / "cifar10-resnet20-type2-proximal.safetensors"
L1BN = Path(__file__).parent / "results" / "cifar10-resnet20-l1bn_scales.csv"
"""Batch-norm scales of the run of the recipe short-l1bn, whose weights are not shipped."""

GAMMA = 0.1

State = Mapping[str, torch.Tensor]
Values = dict[str, np.ndarray]


def published(path: Path) -> State:
    """Return the state dict of a published checkpoint, without the prefix of data-parallel training."""
    state: State = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("module."): value for name, value in state.items()}


def slopes(state: State) -> Values:
    """Return the slopes of a state dict by activation."""
    ends = (".a", ".slope")
    return {n.rpartition(".")[0]: v.double().numpy().ravel() for n, v in state.items() if n.endswith(ends)}


def scales(state: State) -> Values:
    """Return the batch-norm scales gamma of a state dict by batch norm."""
    norms = [name.removesuffix(".running_var") for name in state if name.endswith(".running_var")]
    return {norm: state[f"{norm}.weight"].double().numpy() for norm in norms}


def pairs(state: State) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (gamma, b) of each rotated activation and the batch norm of the same number in its block."""
    norms, found = scales(state), slopes(state)
    return {name: (norms[name.replace("rrelu", "bn")], own) for name, own in found.items()}


def figures(data: Path) -> dict[str, tuple[Figure, Values]]:
    """Return every figure with the numbers behind it."""
    authors = published(data / "nets/rrelu2024/resnet20_rrelu_cifar10.th")
    start = {"start": draw_slopes(100_000, torch.Generator().manual_seed(0)).numpy()}
    made: dict[str, tuple[Figure, Values]] = {
        "figure2_start": (slope_histogram(start, 0.0), start),
        "figure3_authors": (slope_histogram(slopes(authors), GAMMA), slopes(authors)),
        "figure3_authors_layers": (slopes_by_layer(slopes(authors), GAMMA), slopes(authors)),
        "figure5_authors": (
            slopes_against_scales(pairs(authors), GAMMA),
            {f"{name} {kind}": own[i] for name, own in pairs(authors).items() for i, kind in enumerate(("gamma", "b"))},
        ),
        "figure10_rotated_resnet20": (norm_histogram(scales(authors)), scales(authors)),
    }
    for name, file in (("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")):
        found = scales(published(data / "nets/akamaster" / file))
        made[f"figure10_relu_{name}"] = (norm_histogram(found), found)
    own, l1bn = load_file(TYPE2), read_values(L1BN)
    made["figure3_type2_layers"] = (slopes_by_layer(slopes(own), GAMMA), slopes(own))
    made["figure4_l1rrelu"] = (norm_histogram(scales(own)), scales(own))
    made["figure4_l1bn"] = (norm_histogram(l1bn), l1bn)
    return made


def save(name: str, figure: Figure, values: Values, out: Path) -> None:
    """Write one figure in both forms, and its numbers, one row each."""
    for suffix in (".png", ".pdf"):
        figure.savefig(out / f"{name}{suffix}", dpi=160)
    with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "value"])
        writer.writerows((group, f"{value:.9g}") for group, own in values.items() for value in own)


def read_values(path: Path) -> Values:
    """Return the numbers that `save` wrote."""
    found: dict[str, list[float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["group"], []).append(float(line["value"]))
    return {group: np.array(own) for group, own in found.items()}


def main() -> None:
    """Make all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with nets/")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (figure, values) in figures(options.data).items():
        save(name, figure, values, options.out)
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
