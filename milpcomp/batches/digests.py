"""What a job is, by content: equal digests mean equal results, whatever files are called and wherever they lie.

    network     the bytes of its file and of the files that it refers to, how it is loaded, the code of its architecture
    domain      the bounds
    settings    the task and every option, defaults included; samples by their content

Of an architecture's code, the module that is named counts, not what that imports in turn.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from milpcomp.errors import CheckpointError, SettingsError
from milpcomp.files import PathLike
from milpcomp.network import Network


@dataclass(frozen=True)
class Identity:
    """The digests that make a job what it is: SHA-256 as hexadecimal text."""

    network: str
    domain: str
    settings: str

    @property
    def digest(self) -> str:
        """The digest of all three."""
        return text_digest(asdict(self))


def text_digest(content: Mapping[str, Any]) -> str:
    """Return the digest of something JSON-ready, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_digest(path: PathLike) -> str:
    """Return the digest of a file's bytes.

    Raises
    ------
    CheckpointError
        If it cannot be read.
    """
    try:
        status = os.stat(path)
        return _file_digest(os.path.abspath(path), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def network_digest(
    network: PathLike | Network, architecture: str | None = None, input_shape: tuple[int, ...] | None = None
) -> str:
    """Return the digest of a network as a job names it.

    Raises
    ------
    CheckpointError, SettingsError
        If its file, a file that it refers to, or the module of its architecture cannot be found.
    """
    if isinstance(network, Network):
        return network.digest
    files = [file_digest(path) for path in (network, *_external(Path(network)))]
    code = None if architecture is None else _code(architecture)
    shape = None if input_shape is None else list(input_shape)
    return text_digest({"files": files, "architecture": architecture, "code": code, "input_shape": shape})


@cache
def _file_digest(path: str, *_version: int) -> str:
    content = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            content.update(block)
    return content.hexdigest()


def _external(path: Path) -> list[Path]:
    """Return the files in which an ONNX file keeps its numbers."""
    if path.suffix.lower() != ".onnx":
        return []
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # whatever a broken file makes protobuf raise; whoever loads the network will say so
        return []
    kept = [tensor.external_data for tensor in model.graph.initializer if tensor.external_data]
    names = {entry.value for entries in kept for entry in entries if entry.key == "location"}
    return [path.parent / name for name in sorted(names)]


def _code(architecture: str) -> str:
    from milpcomp.network.checkpoint_architecture import working_directory_on_path

    module = architecture.partition(":")[0]
    try:
        with working_directory_on_path():
            found = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError) as error:
        raise SettingsError(f"architecture {architecture!r}: cannot find the module {module}: {error}") from error
    if found is None or found.origin is None or not os.path.isfile(found.origin):
        raise SettingsError(f"architecture {architecture!r}: there is no module {module}; check the name and the path")
    return file_digest(found.origin)
