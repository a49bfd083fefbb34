"""Files appear whole or not at all, and a bad one is one clear error.

Writing goes to a new file in the same folder, which takes the final name only after its content is on disk, so a full
disk or an interrupt leaves the previous file as it was. Arrays are .npz without pickle: reading never runs code.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import MilpcompError, OutputError, ResultError

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """Give a stream whose content becomes the file `path` when the block ends without an exception.

    Parameters
    ----------
    path : path
        Inside an existing folder. A symbolic link is followed; a file that exists is replaced.

    Raises
    ------
    OutputError
        If the folder is missing, `path` is no regular file, or writing fails.
    """
    target = Path(os.path.realpath(path))
    if not os.path.isdir(target.parent):
        raise OutputError(f"cannot write {path}: the folder {target.parent} does not exist; create it first")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"cannot write {path}: it exists and is not a file; give the name of a file")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if os.path.exists(draft):
            draft.unlink()


def require_suffix(path: PathLike, suffix: str) -> None:
    """Refuse to write a file that could not be read back, because files are read by their suffix.

    Raises
    ------
    OutputError
        If `path` does not end in `suffix`, in capitals or not.
    """
    if Path(path).suffix.lower() != suffix:
        raise OutputError(f"cannot write {path}: files are read by their suffix; end the name in {suffix}")


def write_json(path: PathLike, data: Any) -> None:
    """Write `data` as JSON; floats read back bit by bit.

    Parameters
    ----------
    path : path
    data : JSON-ready
        Besides what `json` knows, numpy scalars and arrays. NaN and infinity are no JSON: write None or text.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = json.dumps(data, indent=1, allow_nan=False, default=_plain)
    with replacing(path) as stream:
        stream.write(text.encode() + b"\n")


def read_json(path: PathLike, error: type[MilpcompError] = ResultError) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    error
        If the file is missing, unreadable or not JSON, or holds a number that is none, such as 1e999.
    """
    try:
        return json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant, parse_float=_finite)
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not JSON, or is truncated: {_first_line(cause)}") from cause


def write_arrays(path: PathLike, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as .npz; equal arrays give equal bytes.

    Raises
    ------
    TypeError
        If an array holds Python objects.
    OutputError
        If the file cannot be written.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects; only numbers and text are written")
    with replacing(path) as stream:
        np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]


def read_arrays(path: PathLike, error: type[MilpcompError] = ResultError) -> dict[str, NDArray[Any]]:
    """Return all arrays of an .npz file by name.

    Raises
    ------
    error
        If the file is missing, unreadable, truncated, damaged, no .npz file, or holds pickled objects.
    """
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ValueError("no zip archive")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or _first_line(cause)}") from cause
    except (ValueError, TypeError, EOFError, KeyError, MemoryError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as cause:  # fmt: skip
        raise error(
            f"{path} is not an .npz file of plain arrays, or is truncated or damaged: {_first_line(cause)}"
        ) from cause


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is larger than all numbers")
    return value


def _first_line(cause: BaseException) -> str:
    return str(cause).split("\n", 1)[0].rstrip(".") or type(cause).__name__
