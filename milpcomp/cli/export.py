"""The command that writes a network, or its MILP model, in the format that the file's ending names."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from milpcomp.cli import inputs
from milpcomp.cli.exits import DONE, print_json
from milpcomp.errors import SettingsError

if TYPE_CHECKING:
    from milpcomp.network import Network


def export(options: argparse.Namespace) -> int:
    """Write a network, or its MILP model, in the format that the file's ending names."""
    target = Path(options.output)
    writers: dict[str, Callable[[Network, Path, argparse.Namespace], None]] = {
        ".onnx": _export_onnx,
        ".pt": _export_torch,
        ".npz": _export_npz,
        ".mps": _export_model,
        ".lp": _export_model,
    }
    if target.suffix not in writers:
        raise SettingsError(f"cannot tell a format from {target.name!r}; end the name in one of {', '.join(writers)}")
    network = inputs.network(options)
    writers[target.suffix](network, target, options)
    if options.json:
        print_json({"written": str(target), "network": network.digest})
    else:
        print(f"written  {target}")
    return DONE


def _export_onnx(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.network.to_onnx import to_onnx

    to_onnx(network, target)


def _export_torch(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.report.outputs import write_state

    if not write_state(network, target):
        raise SettingsError(
            f"{options.network} is no plain chain of layers, so a state dict alone would not tell what it computes; "
            "export it as .onnx or .npz"
        )


def _export_npz(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.network.storage import save_network

    save_network(network, target)


def _export_model(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.bounds.tighten import interval_bounds, tighten
    from milpcomp.milp.encoding import encode
    from milpcomp.milp.export import write_model

    box = inputs.domain(options).fit(network.input_shape)
    bounds = tighten(network, box, interval_bounds(network, box))
    write_model(encode(network, bounds, box).milp, target)
