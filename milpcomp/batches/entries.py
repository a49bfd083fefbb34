"""The entries of a product of jobs: from what is written to networks, domains and settings."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from milpcomp.batches.jobs import Job, loading
from milpcomp.domain import Box
from milpcomp.errors import MilpcompError, SettingsError
from milpcomp.vnnlib import read_vnnlib

DOMAIN_KINDS = {
    "lower": ("lower", "upper"), "around": ("around", "radius", "clip"), "vnnlib": ("vnnlib", "box")
}  # fmt: skip
"""The keys of a domain, by the one that tells its kind."""

DOMAIN_KEYS = tuple(key for keys in DOMAIN_KINDS.values() for key in keys)
NETWORK_KEYS = ("path", "architecture", "input_shape")
PRODUCT_KEYS = ("networks", "domains", "settings", "task", "memory_limit_mb")

Named = tuple[str, Box]


def product_jobs(product: Mapping[str, Any], where: str, folder: Path) -> Iterator[Job]:
    """Yield the jobs of a product whose keys are among `PRODUCT_KEYS`.

    Parameters
    ----------
    product : mapping
    where : str
        What to call it in errors.
    folder : path
        That paths are relative to.

    Raises
    ------
    SettingsError
        If an entry cannot be understood or used; the message says which.
    """
    networks = [n for entry, at in _entries(product, "networks", where) for n in _networks(entry, at, folder)]
    domains = [d for entry, at in _entries(product, "domains", where) for d in _domains(entry, at, folder)]
    settings = [_settings(entry, at, folder) for entry, at in _entries(product, "settings", where)]
    common = {name: product[name] for name in ("task", "memory_limit_mb") if name in product}
    for network, (name, box), (settings_name, chosen) in itertools.product(networks, domains, settings):
        with _naming(where):
            yield Job(
                **network, domain=box, settings=chosen, domain_name=name, settings_name=settings_name, **common
            )  # fmt: skip


def _entries(product: Mapping[str, Any], key: str, where: str) -> list[tuple[Any, str]]:
    """Return the entries under a key, and how to call each; one may stand for a list of one."""
    content = product.get(key)
    if key == "settings" and content is None:
        content = {}
    pair = key == "domains" and isinstance(content, list) and len(content) == 2 and not any(map(_is_entry, content))
    listed = content if isinstance(content, list) and not pair else [content]
    if not listed:
        raise SettingsError(f"{where}: `{key}` is empty")
    return [(entry, f"{where}, {key}, entry {number}") for number, entry in enumerate(listed, start=1)]


def _is_entry(content: Any) -> bool:
    return isinstance(content, dict | list)


def _networks(entry: Any, where: str, folder: Path) -> list[dict[str, Any]]:
    given = {"path": entry} if isinstance(entry, str) else entry
    _mapping(given, (*NETWORK_KEYS, "name"), where, "a path, or a mapping with `path`")
    paths = _paths(given.get("path"), where, folder, "onnx")
    with _naming(where):
        rest = loading(given.get("architecture"), given.get("input_shape"))
    name = given.get("name")
    stems = [path.stem for path in paths]
    named = [str(name) if name and len(paths) == 1 else f"{name} {stem}" if name else stem for stem in stems]
    return [
        {"network": path, "network_name": text, "path": _as_written(path, given["path"], folder), **rest}
        for path, text in zip(paths, named, strict=True)
    ]


def _as_written(path: Path, pattern: str, folder: Path) -> str:
    """Return a path that a pattern stands for, relative to the file of jobs if the pattern is."""
    return str(path if Path(pattern).is_absolute() else path.relative_to(folder))


def _domains(entry: Any, where: str, folder: Path) -> list[Named]:
    given = {"lower": entry[0], "upper": entry[1]} if isinstance(entry, list) and len(entry) == 2 else entry
    _mapping(given, (*DOMAIN_KEYS, "name"), where, "[lower, upper], or a mapping with `lower`, `around` or `vnnlib`")
    kinds = [kind for kind in ("lower", "around", "vnnlib") if kind in given]
    if len(kinds) != 1:
        raise SettingsError(f"{where}: give one of lower and upper, around and radius, or vnnlib; got {sorted(given)}")
    own = DOMAIN_KINDS[kinds[0]]
    if stray := [key for key in given if key not in (*own, "name")]:
        raise SettingsError(f"{where}: {stray} mean nothing beside `{kinds[0]}`, which goes with {', '.join(own[1:])}")
    makers = {"lower": _bounds, "around": _balls, "vnnlib": _properties}
    with _naming(where):
        found = makers[kinds[0]](given, where, folder)
    name = given.get("name")
    return [(text if name is None else f"{name} {text}" if len(found) > 1 else str(name), box) for text, box in found]


def _bounds(given: Mapping[str, Any], where: str, folder: Path) -> list[Named]:
    if "upper" not in given:
        raise SettingsError("lower bounds need upper ones; give both")
    return [("", Box(_numbers(given["lower"], folder), _numbers(given["upper"], folder)))]


def _balls(given: Mapping[str, Any], where: str, folder: Path) -> list[Named]:
    radii = given.get("radius")
    if radii is None:
        raise SettingsError("around needs a radius")
    radii = np.atleast_1d(_numbers(radii, folder))
    if radii.ndim != 1 or not radii.size:
        raise SettingsError(f"the radius must be a number or a list of numbers, got {given['radius']!r}")
    clip = None if given.get("clip") is None else np.asarray(_numbers(given["clip"], folder))
    if clip is not None and clip.shape != (2,):
        raise SettingsError(f"clip must be [least, greatest], got {given['clip']!r}")
    range_ = None if clip is None else (float(clip[0]), float(clip[1]))
    return [
        (f"{path.stem} +- {radius:g}", Box.around(_array(path), radius, range_))
        for path in _paths(given["around"], where, folder, "npy")
        for radius in radii.tolist()
    ]


def _properties(given: Mapping[str, Any], where: str, folder: Path) -> list[Named]:
    found: list[Named] = []
    for path in _paths(given["vnnlib"], where, folder, "vnnlib"):
        boxes = read_vnnlib(path)
        chosen = given.get("box")
        if chosen is not None and (
            isinstance(chosen, bool) or not isinstance(chosen, int) or not 1 <= chosen <= len(boxes)
        ):
            raise SettingsError(f"{path} describes {len(boxes)} boxes, and {chosen!r} is none of them")
        for number, box in enumerate(boxes, start=1):
            if chosen in (None, number):
                found.append((path.stem if len(boxes) == 1 else f"{path.stem} box {number}", box))
    return found


def _settings(entry: Any, where: str, folder: Path) -> tuple[str, dict[str, Any]]:
    _mapping(entry, None, where, "a mapping of settings")
    name = entry.get("name")
    chosen = {key: value for key, value in entry.items() if key != "name"}
    if isinstance(chosen.get("data"), str):
        chosen["data"] = str(folder / chosen["data"])
    return "" if name is None else str(name), chosen


def _paths(pattern: Any, where: str, folder: Path, suffix: str) -> list[Path]:
    """Return the files that a path or pattern stands for; `suffix` is one that they may have."""
    if not isinstance(pattern, str):
        raise SettingsError(f"{where}: a path or pattern is a text, got {pattern!r}")
    exact = (folder / pattern).exists()
    found = [str(folder / pattern)] if exact else sorted(glob.glob(str(folder / pattern), recursive=True))
    for path in found:
        if Path(path).is_dir():
            inside = str(Path(_as_written(Path(path), pattern, folder)) / f"*.{suffix}")
            raise SettingsError(f'{where}: {path} is a folder; give the files in it, such as "{inside}"')
    if not found:
        raise SettingsError(f"{where}: there is no file {folder / pattern}; paths are relative to the file of jobs")
    return [Path(path) for path in found]


def _numbers(content: Any, folder: Path) -> Any:
    """Return numbers as they are, and those of an .npy file; texts are numbers that YAML does not take for such."""
    if isinstance(content, str) and content.endswith(".npy"):
        return _array(folder / content)
    try:
        return np.asarray(content, dtype=np.float64)
    except (TypeError, ValueError):
        raise SettingsError(f"numbers are needed, not {content!r}") from None


def _array(path: Path) -> Any:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise SettingsError(f"cannot read numbers from {path}, which must be an .npy file: {error}") from error


def _mapping(content: Any, known: tuple[str, ...] | None, where: str, what: str) -> None:
    if not isinstance(content, dict):
        raise SettingsError(f"{where}: it must be {what}; got {content!r}")
    if known is not None:
        known_keys(content, known, where)


def known_keys(content: Collection[str], known: tuple[str, ...], where: str) -> None:
    """Refuse keys that mean nothing.

    Raises
    ------
    SettingsError
        If there are any; the message names them and those that are known.
    """
    if unknown := [key for key in content if key not in known]:
        raise SettingsError(f"{where}: unknown {unknown}; known are {', '.join(known)}")


def part(content: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return what a mapping says under some of its keys."""
    return {key: content[key] for key in content if key in keys}


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Have errors say where in the file their cause is."""
    try:
        yield
    except MilpcompError as error:
        message = str(error)
        raise SettingsError(message if message.startswith(where) else f"{where}: {message}") from error
