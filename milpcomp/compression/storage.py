"""Compressions on disk: compression.json (what a person reads) and compression.npz (the numbers), bit by bit.

The pair is complete: the smaller network, every edit with the verdicts it rests on, the deviation, and what was left
out. ``rewrite(original, load_compression(path).edits)`` gives the smaller network again. A digest over both halves
notices damage, and halves that do not belong together; whether the claims are true is for `milpcomp.check_compression`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.compression.edits import Collapse, Edit, Fix, Fold, Join, Merge, Remove
from milpcomp.compression.result import Compression, Skipped
from milpcomp.cost import Cost, LayerCost, cost
from milpcomp.errors import ResultError
from milpcomp.files import PathLike
from milpcomp.network.storage import network_from_document
from milpcomp.result_files import Arrays, ResultFiles
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict

COMPRESSION = ResultFiles("compression", "compress", version=1)

KINDS: dict[str, type[Edit]] = {kind.__name__: kind for kind in (Remove, Fix, Join, Merge, Fold, Collapse)}
ENUMS: dict[str, type[Phase | Stage | Proof]] = {"phase": Phase, "stage": Stage, "proof": Proof}
NUMBERS = {"unit": np.int64, "lower": np.float64, "upper": np.float64, "seconds": np.float64}
WITNESSES = ("active_witness", "inactive_witness")


def save_compression(compression: Compression, path: PathLike) -> Path:
    """Write `compression` as two files, both or neither.

    Parameters
    ----------
    compression : Compression
    path : path
        A folder (made if missing), which gets compression.json and compression.npz; or a name ending in .json, whose
        other half then lies beside it with the ending .npz.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    OutputError
        If a file cannot be written; files of that name are then as they were before.
    """
    return COMPRESSION.write(path, *_encode(compression))


def load_compression(path: PathLike) -> Compression:
    """Read what `save_compression` wrote.

    Parameters
    ----------
    path : path
        The folder, or the JSON file.

    Raises
    ------
    ResultError
        If a half is missing, truncated, damaged, of another version, or belongs to another compression.
    """
    return COMPRESSION.read(path, _decode)


def _encode(compression: Compression) -> tuple[dict[str, Any], Arrays]:
    document, network_arrays = compression.network.document()
    table = _VerdictTable()
    edits, arrays = [], {f"network/{name}": array for name, array in network_arrays.items()}
    for i, edit in enumerate(compression.edits):
        entry, own = _encode_edit(edit, table)
        edits.append(entry)
        arrays |= {f"edit/{i}/{name}": array for name, array in own.items()}
    structure = {
        "original": compression.original_digest,
        "compressed": compression.network.digest,
        "domain": compression.domain_digest,
        "tolerance": compression.tolerance,
        "trust_solver": compression.trust_solver,
        "deviation_bound": _number(compression.deviation_bound),
        "measured_gap": _number(compression.measured_gap),
        "samples": compression.samples,
        "unread": compression.unread,
        "edits": edits,
        "skipped": [asdict(entry) for entry in compression.skipped],
        "before": [asdict(layer) for layer in compression.before.layers],
        "origin": {name: [node, channels] for name, (node, channels) in compression.origin.items()},
        "layers": table.layers,
        "network": document,
    }
    arrays |= table.columns() | {"deviation": compression.deviation}
    return structure, {name: array.astype(array.dtype.newbyteorder("<")) for name, array in arrays.items()}


def _encode_edit(edit: Edit, table: _VerdictTable) -> tuple[dict[str, Any], Arrays]:
    """Return an edit's texts, flags and arrays; channels are written in both halves, for the reader's sake."""
    entry: dict[str, Any] = {"kind": type(edit).__name__}
    arrays = {"verdicts": table.rows(edit.verdicts)}
    for field in fields(edit):
        value = getattr(edit, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif field.name in {"values", "factors", "slopes"}:
            arrays[field.name] = np.array(value, dtype=np.float64)
        elif field.name != "verdicts":
            entry[field.name] = list(value) if isinstance(value, tuple) else value
    return entry, arrays


def _decode(structure: Mapping[str, Any], arrays: Arrays) -> Compression:
    parts = {name.removeprefix("network/"): array for name, array in arrays.items() if name.startswith("network/")}
    network = network_from_document(structure["network"], parts)
    if network.digest != structure["compressed"]:
        raise ResultError("the digest of its network is not that of its content")
    verdicts = _decode_verdicts(structure["layers"], arrays)
    gap = structure["measured_gap"]
    return Compression(
        network=network,
        edits=tuple(_decode_edit(i, entry, arrays, verdicts) for i, entry in enumerate(structure["edits"])),
        deviation=arrays["deviation"],
        measured_gap=math.nan if gap is None else float(gap),
        samples=structure["samples"],
        before=Cost(tuple(LayerCost(**layer) for layer in structure["before"])),
        after=cost(network),
        unread=structure["unread"],
        origin={name: (node, None if c is None else tuple(c)) for name, (node, c) in structure["origin"].items()},
        skipped=tuple(Skipped(**{**entry, "channels": tuple(entry["channels"])}) for entry in structure["skipped"]),
        tolerance=structure["tolerance"],
        trust_solver=structure["trust_solver"],
        original_digest=structure["original"],
        domain_digest=structure["domain"],
    )


def _decode_edit(i: int, entry: Mapping[str, Any], arrays: Arrays, verdicts: list[Verdict]) -> Edit:
    kind = KINDS[entry["kind"]]
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
    del options["kind"]
    for name in {field.name for field in fields(kind)} - options.keys() - {"verdicts"}:
        array = arrays[f"edit/{i}/{name}"]
        options[name] = tuple(array.tolist()) if name in {"values", "factors", "slopes"} else array
    return kind(**options, verdicts=tuple(verdicts[row] for row in arrays[f"edit/{i}/verdicts"].tolist()))


class _VerdictTable:
    """All verdicts that edits carry, each written once, as columns."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self._verdicts: dict[Verdict, int] = {}

    def rows(self, verdicts: tuple[Verdict, ...]) -> NDArray[np.int64]:
        """Return the row of each verdict, adding those that are new."""
        for verdict in verdicts:
            self._verdicts.setdefault(verdict, len(self._verdicts))
            if verdict.layer not in self.layers:
                self.layers.append(verdict.layer)
        return np.array([self._verdicts[verdict] for verdict in verdicts], dtype=np.int64)

    def columns(self) -> Arrays:
        """Return the table."""
        table = list(self._verdicts)
        columns: Arrays = {"layer": np.array([self.layers.index(v.layer) for v in table], dtype=np.int64)}
        for name, enum in ENUMS.items():
            order = list(enum)
            columns[name] = np.array([order.index(getattr(v, name)) for v in table], dtype=np.uint8)
        columns |= {name: np.array([getattr(v, name) for v in table], dtype=kind) for name, kind in NUMBERS.items()}
        for name in WITNESSES:
            rows = [getattr(v, name) for v in table]
            columns[name] = np.array([-1 if row is None else row for row in rows], dtype=np.int64)
        return {f"verdict/{name}": column for name, column in columns.items()}


def _decode_verdicts(layers: list[str], arrays: Arrays) -> list[Verdict]:
    columns: dict[str, list[Any]] = {"layer": [layers[code] for code in arrays["verdict/layer"].tolist()]}
    for name, enum in ENUMS.items():
        order = list(enum)
        columns[name] = [order[code] for code in arrays[f"verdict/{name}"].tolist()]
    columns |= {name: arrays[f"verdict/{name}"].tolist() for name in NUMBERS}
    columns |= {name: [None if row < 0 else row for row in arrays[f"verdict/{name}"].tolist()] for name in WITNESSES}
    return [Verdict(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
