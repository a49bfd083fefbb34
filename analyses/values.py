"""Slopes b and batch-norm scales gamma of a checkpoint, and the file that keeps them where its weights are not kept.

    python -m analyses.values RUN/model.safetensors --out results/NAME_values.csv

The file has a line per channel: the layer, whether the number is a slope or a scale, and the number. In the ResNets
here an activation and the batch norm in front of it have the same number in their block: `rrelu1` and `bn1`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from milpcomp.files import replacing
from milpcomp.network.checkpoint_file import read_tensors

SLOPE_ENDS = (".a", ".slope")
"""Of keys that hold slopes: in files of the papers' authors, and of ours."""

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Channels:
    """What the channels of a network have.

    Parameters
    ----------
    slopes, scales : mapping from layer name to ndarray, shape (channels,)
    """

    slopes: Values
    scales: Values

    def pairs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return (gamma, b) of each rotated activation and the batch norm of its number in its block."""
        return {name: (self.scales[name.replace("rrelu", "bn")], own) for name, own in self.slopes.items()}


def every(values: Values) -> np.ndarray:
    """Return all numbers in one array."""
    return np.concatenate([np.zeros(0), *values.values()])


def channels(path: Path) -> Channels:
    """Return the slopes and scales of a checkpoint, or of a file that `write_values` wrote."""
    return _from_csv(path) if path.suffix == ".csv" else _from_tensors(read_tensors(path))


def _from_tensors(tensors: Mapping[str, torch.Tensor]) -> Channels:
    numbers = {name: value.double().numpy().ravel() for name, value in tensors.items()}
    norms = [name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")]
    return Channels(
        {name.rpartition(".")[0]: value for name, value in numbers.items() if name.endswith(SLOPE_ENDS)},
        {norm: numbers[f"{norm}.weight"] for norm in norms},
    )


def _from_csv(path: Path) -> Channels:
    found: dict[str, dict[str, list[float]]] = {"slope": {}, "scale": {}}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found[line["kind"]].setdefault(line["layer"], []).append(float(line["value"]))
    return Channels(*({layer: np.array(own) for layer, own in found[kind].items()} for kind in ("slope", "scale")))


def lines(found: Channels) -> Iterable[tuple[str, str, str]]:
    """Yield (layer, kind, value) of every channel."""
    for kind, values in (("slope", found.slopes), ("scale", found.scales)):
        for layer, own in values.items():
            yield from ((layer, kind, f"{value:.9g}") for value in own)


def write_values(found: Channels, path: Path) -> None:
    """Write all numbers; nine digits give back the float32 they come from."""
    with replacing(path) as stream:
        text = "\n".join([",".join(line) for line in (("layer", "kind", "value"), *lines(found))])
        stream.write(f"{text}\n".encode())


def main(arguments: list[str] | None = None) -> None:
    """Write the file of a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    write_values(channels(chosen.checkpoint), chosen.out)
    print(chosen.out)


if __name__ == "__main__":
    main()
