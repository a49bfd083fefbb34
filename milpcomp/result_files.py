"""Results on disk as pairs of files: JSON that a person reads, and .npz with the numbers, bit by bit.

The JSON carries schema, version and a digest over itself and every array, so a damaged file, and halves that do not
belong together, are noticed. Digests find damage, not lies: whether a result is true is for `milpcomp.checker`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import MilpcompError, OutputError, ResultError
from milpcomp.files import PathLike, read_arrays, read_json, replacing

Arrays = dict[str, NDArray[Any]]

Result = TypeVar("Result")


@dataclass(frozen=True)
class ResultFiles:
    """A kind of result, and the two files that hold one.

    Parameters
    ----------
    name : str
        Of the result, and of its files in a folder: ``"certificate"``.
    command : str
        The command that writes it: ``"certify"``.
    version : int
        Of its schema.
    """

    name: str
    command: str
    version: int

    def halves(self, path: PathLike) -> tuple[Path, Path]:
        """Return the JSON and the .npz file that `path` names: a folder, or a name ending in .json."""
        given = Path(path)
        readable = given if given.suffix == ".json" and not given.is_dir() else given / self.name
        return readable.with_suffix(".json"), readable.with_suffix(".npz")

    def write(self, path: PathLike, structure: Mapping[str, Any], arrays: Arrays) -> Path:
        """Write both files, or neither, and return the JSON file; a folder is made if missing.

        Raises
        ------
        OutputError
            If a file cannot be written, or the .npz file there belongs to something else; files are then as before.
        """
        readable, numbers = self.halves(path)
        if numbers.exists() and not readable.exists():
            raise OutputError(f"{numbers} exists and is no half of a {self.name}; give another name or remove it")
        head = {"schema": f"milpcomp {self.name}", "version": self.version, "digest": None}
        whole = head | dict(structure)
        whole["digest"] = _digest(whole, arrays)
        text = json.dumps(whole, indent=1, allow_nan=False)
        try:
            readable.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {readable.parent}: {error.strerror}") from error
        with replacing(readable) as json_stream, replacing(numbers) as npz_stream:
            json_stream.write(text.encode() + b"\n")
            np.savez_compressed(npz_stream, **arrays)  # type: ignore[arg-type]
        return readable

    def read(self, path: PathLike, decode: Callable[[Mapping[str, Any], Arrays], Result]) -> Result:
        """Return what `decode` makes of both files.

        Raises
        ------
        ResultError
            If a half is missing, truncated, damaged, of another version or another result, or `decode` cannot use it.
        """
        readable, numbers = self.halves(path)
        structure = read_json(readable)
        if not isinstance(structure, dict) or structure.get("schema") != f"milpcomp {self.name}":
            raise ResultError(
                f"{readable} is no {self.name} of milpcomp; name the folder or the JSON file that {self.command} wrote"
            )
        if structure.get("version") != self.version:
            raise ResultError(
                f"{readable} has schema version {structure.get('version')!r} but this milpcomp reads version "
                f"{self.version}; use the milpcomp that wrote it"
            )
        arrays = read_arrays(numbers)
        again = f"run {self.command} again"
        if _digest(structure, arrays) != structure.get("digest"):
            raise ResultError(f"{readable} and {numbers.name} are damaged or not of one {self.name}; {again}")
        try:
            return decode(structure, arrays)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            reason = error if isinstance(error, MilpcompError) else f"{type(error).__name__}: {error}"
            raise ResultError(f"{readable} is not a complete {self.name} ({reason}); {again}") from error


def _digest(structure: Mapping[str, Any], arrays: Arrays) -> str:
    """Return the SHA-256 of everything but the digest itself, as hexadecimal text."""
    content = hashlib.sha256(json.dumps({**structure, "digest": None}, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        content.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()
