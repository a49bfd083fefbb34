"""Lists of active filters from files: what papers print, and what other programs count.

.json   [61, 16, ...]   or   {"name": [61, 16, ...], ...}
.csv    numbers only: one list, read line by line; or lines that begin with a name: one list each
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from milpcomp.errors import SettingsError
from milpcomp.files import PathLike, read_json


def read_counts(path: PathLike) -> dict[str, list[int]]:
    """Return lists of active filters by name; a list without a name is called like its file.

    Raises
    ------
    SettingsError
        If the file cannot be read, or holds something else.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise SettingsError(f"counts are read from .json and .csv files, not from {file.name!r}")
    content = _from_csv(file) if suffix == ".csv" else read_json(file, SettingsError)
    lists = content if isinstance(content, dict) else {file.stem: content}
    if not lists or not all(_is_list(numbers) for numbers in lists.values()):
        raise SettingsError(f"{file} must hold a list of whole numbers >= 0, or such lists by name")
    return lists


def _is_list(numbers: Any) -> bool:
    return bool(isinstance(numbers, list) and numbers) and all(type(n) is int and n >= 0 for n in numbers)


def _from_csv(file: Path) -> Any:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            lines = [
                cells for cells in ([c.strip() for c in line if c.strip()] for line in csv.reader(stream)) if cells
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"cannot read {file}: {error}") from error
    if all(_number(cell) is not None for cells in lines for cell in cells):
        return [_number(cell) for cells in lines for cell in cells]
    return {cells[0]: [_number(cell) for cell in cells[1:]] for cells in lines}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
