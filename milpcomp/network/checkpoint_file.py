"""Named tensors from a checkpoint file, and never code.

    .pt .pth .th .tar    `torch.load` with ``weights_only=True``: a pickle that asks for anything but numbers is refused
    .safetensors         numbers by construction

Training scripts wrap their state dicts and add epochs, optimizers and scores; the tensors of the model are found among
those. Name parts that only wrappers add, ``module`` of DataParallel and ``_orig_mod`` of torch.compile, are dropped.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from milpcomp.errors import CheckpointError
from milpcomp.files import PathLike

STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
"""Under which key a wrapper keeps the model, most telling first."""

WRAPPER_PARTS = frozenset({"module", "_orig_mod"})
"""Parts of dotted names that wrappers of modules add."""


def read_tensors(path: PathLike) -> dict[str, Tensor]:
    """Return the model's tensors in a checkpoint file by name, in the order of the file.

    Parameters
    ----------
    path : path

    Raises
    ------
    CheckpointError
        If the file is missing, a folder, empty, truncated, of another format, wants to run code, or holds no state dict
        or several.
    """
    file = Path(path)
    if file.is_dir():
        raise CheckpointError(f"{file} is a folder; give the checkpoint file in it")
    if not file.exists():
        raise CheckpointError(f"{file} does not exist; check the path")
    if not file.stat().st_size:
        raise CheckpointError(f"{file} is empty; save or fetch it again")
    content = _safetensors(file) if file.suffix.lower() == ".safetensors" else _unpickled(file)
    return without_wrappers(_state_dict(file, content))


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors with names free of `WRAPPER_PARTS`, unless two names would then be one."""
    renamed = {
        ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS): tensor
        for name, tensor in tensors.items()
    }
    return renamed if len(renamed) == len(tensors) else dict(tensors)


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(file, error, "safetensors file") from error


def _unpickled(file: Path) -> Any:
    try:
        with warnings.catch_warnings():  # torch warns of oddities of a file before it fails on them
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the bytes of a broken file make it raise
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise _unreadable(file, error, "checkpoint of torch") from error
        raise CheckpointError(
            f"{file} holds more than numbers: reading it would import and run {asked[1]}, so it is refused. Where you "
            "trust the file, load it with torch and save the numbers alone, with torch.save(model.state_dict(), path)"
        ) from error


def _unreadable(file: Path, error: Exception, kind: str) -> CheckpointError:
    reason = re.split(r"\. |\n", str(error))[0]
    if not reason or reason.startswith("Weights only"):  # torch goes on to advise running the file's code
        reason = "it does not hold named tensors"
    return CheckpointError(
        f"{file} cannot be read as a {kind}: it is truncated, corrupt or something else ({reason}); fetch it again, or "
        "save it again with torch.save(model.state_dict(), path)"
    )


def _state_dict(file: Path, content: Any) -> dict[str, Tensor]:
    """Return the tensors of the model in what a file holds: at the top, or under a telling key, or a single one."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{file} holds a {type(content).__name__}, not a state dict; save one with "
            "torch.save(model.state_dict(), path)"
        )
    inside = {str(key): _tensors(value) for key, value in content.items() if isinstance(value, Mapping)}
    telling = [key for key in STATE_KEYS if inside.get(key)]
    nested = [key for key in STATE_KEYS if isinstance(content.get(key), Mapping)]
    if telling:
        return inside[telling[0]]
    if nested:
        return _state_dict(file, content[nested[0]])
    if tensors := _tensors(content):
        return tensors
    models = [key for key, value in inside.items() if value and len(value) == len(content[key])]
    if len(models) == 1:
        return inside[models[0]]
    keys = ", ".join(map(str, content)) or "nothing"
    found = f"several state dicts, {', '.join(models)}" if models else f"no tensors by name, but {keys}"
    raise CheckpointError(
        f"{file} holds {found}; they are looked for at the top and under one of {', '.join(STATE_KEYS)}. Save one "
        "state dict with torch.save(model.state_dict(), path)"
    )


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
