"""Jobs from a file: networks x domains x settings.

YAML: one product, or a list of several.

    networks: [nets/*.onnx, {path: resnet.th, architecture: "models.resnet:resnet20", input_shape: [3, 32, 32]}]
    domains:
      - [0, 1]
      - {around: image.npy, radius: [0.01, 0.02], clip: [0, 1]}
      - {vnnlib: properties/*.vnnlib}
    settings: [{seed: 0}, {seed: 1, time_limit_s: 600}]
    task: certify
    memory_limit_mb: 4000

CSV: one product in a row, with the columns network, architecture, input_shape, lower, upper, around, radius, clip,
vnnlib, box, task, memory_limit_mb, and any setting; what is left empty has its default.

Paths are relative to the file, and may be patterns. `name` in a network, domain or choice of settings is what the table
calls it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from milpcomp.batches.entries import DOMAIN_KEYS, NETWORK_KEYS, PRODUCT_KEYS, known_keys, part, product_jobs
from milpcomp.batches.jobs import TASKS, Job
from milpcomp.batches.names import told_apart
from milpcomp.errors import SettingsError
from milpcomp.files import PathLike


def read_jobs(path: PathLike) -> tuple[Job, ...]:
    """Read a file of jobs.

    Parameters
    ----------
    path : path
        Ending in .yaml, .yml or .csv; see `milpcomp.batches.reading` for what it holds.

    Returns
    -------
    tuple of Job
        In the order of the file: of each product, all domains and settings of the first network, then of the next.

    Raises
    ------
    SettingsError
        If something in it cannot be understood or used; the message names the file and the line or the entry.
    """
    file = Path(path)
    readers = {".yaml": _yaml_products, ".yml": _yaml_products, ".csv": _csv_products}
    if file.suffix.lower() not in readers:
        raise SettingsError(f"cannot tell what {file} is; jobs are read from files ending in {', '.join(readers)}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    jobs: list[Job] = []
    written: set[str] = set()
    for where, product in readers[file.suffix.lower()](text, file):
        jobs += product_jobs(product, where, file.parent)
        written |= _written(product.get("settings"))
    if not jobs:
        raise SettingsError(f"{file} holds no jobs")
    return told_apart(jobs, written)


def _written(settings: Any) -> set[str]:
    """Return the settings that are written, where they are not given a name."""
    entries = settings if isinstance(settings, list) else [settings or {}]
    return {key for entry in entries if "name" not in entry for key in entry}


class _Loader(yaml.SafeLoader):
    """Reads YAML, and refuses a mapping in which a key stands twice, of which the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return what a mapping says."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key `{key.value}` stands twice in one mapping; give a list of values, or leave one out"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _yaml_products(text: str, file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = _load(text)
    except (yaml.YAMLError, ValueError) as error:  # such as a date in a month 13
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        starred = mark is not None and "*" in "".join(text.splitlines()[mark.line : mark.line + 1])
        advice = "; quote a pattern that begins with *" if starred else ""
        reason = f"this is no YAML: {getattr(error, 'problem', None) or error}{advice}"
        raise SettingsError(f"{file}{line}: {reason}") from error
    several = isinstance(content, list)
    for number, product in enumerate(content if several else [content], start=1):
        where = f"{file}, product {number}" if several else str(file)
        form = "jobs are given as a mapping with `networks` and `domains`"
        if not isinstance(product, dict):
            raise SettingsError(f"{where}: {form}")
        known_keys(product, PRODUCT_KEYS, where)
        if missing := [f"`{key}`" for key in ("networks", "domains") if key not in product]:
            raise SettingsError(f"{where}: there is no {' and no '.join(missing)}; {form}")
        yield where, product


def _csv_products(text: str, file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    settings = {name for task in TASKS.values() for name in task}
    own = ("network", *NETWORK_KEYS[1:], *DOMAIN_KEYS, "task", "memory_limit_mb")
    try:
        columns = list(rows.fieldnames or ())
        if "network" not in columns:
            found = ", ".join(repr(column) for column in columns) or "none"
            raise SettingsError(
                f"{file}, line 1: the columns must be named, one of them `network`, with commas between; found {found}"
            )
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise SettingsError(f"{file}, line 1: the columns {twice} stand there twice; leave one out")
        known_keys(columns, (*own, *sorted(settings)), f"{file}, line 1")
        for row in rows:
            where = f"{file}, line {rows.line_num}"
            if None in row or None in row.values():
                raise SettingsError(f"{where}: it has not as many cells as there are columns")
            cells = {name: _cell(cell, where) for name, cell in row.items() if cell.strip()}
            network = {"path": cells.get("network")} | part(cells, NETWORK_KEYS)
            product = part(cells, ("task", "memory_limit_mb"))
            yield where, product | {
                "networks": [network], "domains": [part(cells, DOMAIN_KEYS)], "settings": part(cells, settings)
            }  # fmt: skip
    except csv.Error as error:
        raise SettingsError(f"{file}, line {rows.line_num}: this is no CSV: {error}") from error


def _cell(text: str, where: str) -> Any:
    """Return what a cell says; numbers, lists and truth values are written as in YAML."""
    try:
        return _load(text)
    except (yaml.YAMLError, ValueError):
        raise SettingsError(f"{where}: cannot read the cell {text!r}; quote a text that begins with a sign") from None


def _load(text: str) -> Any:
    return yaml.load(text, _Loader)
