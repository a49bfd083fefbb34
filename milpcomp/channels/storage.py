"""Removals on disk: a folder that is complete, and that `milpcomp check` can judge.

channels.json, .npz      threshold, counts and measurements; the slopes as read
masked.npz               the network as read, with small slopes set to 0
certificate.json, .npz   verdicts on it: constants, and all else undecided
compression.json, .npz   the edits that make the smaller network of it, and that network
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from milpcomp.channels.accounting import Accounting, LayerWeights
from milpcomp.channels.measure import Measured, Speed
from milpcomp.channels.removal import Removal
from milpcomp.compression import load_compression, save_compression
from milpcomp.errors import ResultError
from milpcomp.files import PathLike
from milpcomp.network.storage import load_network, save_network
from milpcomp.result_files import Arrays, ResultFiles
from milpcomp.rotated.threshold import Threshold
from milpcomp.stability.storage import load_report, save_report

CHANNELS = ResultFiles("channels", "channels", version=1)


def save_removal(removal: Removal, folder: PathLike) -> Path:
    """Write a removal into a folder, which is made if missing, and return it.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    target = Path(folder)
    CHANNELS.write(target, *_encode(removal))
    save_network(removal.masked, target / "masked.npz")
    save_report(removal.report, target)
    save_compression(removal.compression, target)
    return target


def load_removal(folder: PathLike) -> Removal:
    """Read what `save_removal` wrote.

    Raises
    ------
    ResultError, CheckpointError
        If a file is missing, damaged, or belongs to another removal.
    """
    source = Path(folder)

    def decode(structure: Mapping[str, Any], arrays: Arrays) -> Removal:
        masked = load_network(source / "masked.npz")
        if masked.digest != structure["masked"]:
            raise ResultError("masked.npz is of another removal")
        return Removal(
            original_digest=structure["original"],
            gamma=float(structure["gamma"]),
            slopes={name: arrays[f"slopes/{name}"] for name in structure["alive"]},
            masked=masked,
            report=load_report(source),
            compression=load_compression(source),
            accounting=Accounting(tuple(LayerWeights(**layer) for layer in structure["accounting"])),
            selection=_threshold(structure["selection"]),
            measured=None if structure["measured"] is None else Measured(**structure["measured"]),
            speed=None if structure["speed"] is None else Speed(**structure["speed"]),
        )

    return CHANNELS.read(source, decode)


def _encode(removal: Removal) -> tuple[dict[str, Any], Arrays]:
    optional = {name: getattr(removal, name) for name in ("selection", "measured", "speed")}
    structure = {
        "original": removal.original_digest,
        "masked": removal.masked.digest,
        "gamma": removal.gamma,
        "exact": removal.exact,
        "alive": {name: list(counts) for name, counts in removal.alive.items()},
        "accounting": [asdict(layer) for layer in removal.accounting.layers],
    } | {name: None if value is None else asdict(value) for name, value in optional.items()}
    return structure, {f"slopes/{name}": np.array(own, dtype="<f8") for name, own in removal.slopes.items()}


def _threshold(entry: Mapping[str, Any] | None) -> Threshold | None:
    if entry is None:
        return None
    counts = tuple((name, count) for name, count in entry["ignored_per_activation"])
    return Threshold(**{**entry, "ignored_per_activation": counts})
