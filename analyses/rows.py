"""Flat dataclasses as the rows of a CSV file: written whole or not at all, read back with their types."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from milpcomp.files import replacing

Row = TypeVar("Row")

KINDS = {"str": str, "int": int, "float": float}


def write(rows: Iterable[Any], kind: type, path: Path) -> None:
    """Write dataclasses of fields str, int and float, or such or None; None is left empty, numbers have six digits."""
    lines = [",".join(field.name for field in fields(kind))]
    lines += [",".join(_text(value) for value in asdict(row).values()) for row in rows]
    with replacing(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read(kind: type[Row], path: Path) -> tuple[Row, ...]:
    """Return what `write` wrote."""
    kinds = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(kind(**{k: _value(text, kinds[k]) for k, text in line.items()}) for line in csv.DictReader(file))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(text: str, kind: str) -> Any:
    if text == "" and "None" in kind:
        return None
    return KINDS[kind.removesuffix(" | None")](text)
