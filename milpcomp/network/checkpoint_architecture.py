"""The module that a checkpoint belongs to: named by the user, made, and filled with the checkpoint's numbers."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from milpcomp.errors import CheckpointError, SettingsError
from milpcomp.network.checkpoint_file import without_wrappers

Architecture = nn.Module | Callable[[], nn.Module] | str
"""A module, something that returns one when called without arguments, or its address "package.module:factory"."""


def make_module(architecture: Architecture) -> nn.Module:
    """Return a new module of the given architecture; a module that is given is copied.

    Raises
    ------
    SettingsError
        If the address cannot be imported, or what is there does not return a module when called without arguments.
    """
    found = _imported(architecture) if isinstance(architecture, str) else architecture
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    title = f"architecture={architecture!r}"
    if not callable(found):
        raise SettingsError(f"{title} is no module and cannot be called; name what makes the module")
    try:
        module = found()
    except Exception as error:  # the user's own code
        raise SettingsError(
            f"{title} failed when called without arguments: {type(error).__name__}: {error}; wrap it in a "
            "function that needs none"
        ) from error
    if not isinstance(module, nn.Module):
        raise SettingsError(f"{title} returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def fill_module(module: nn.Module, tensors: Mapping[str, Tensor], path: object) -> nn.Module:
    """Give `module` the tensors of a checkpoint, in their own types, put it in eval mode, and return it.

    Files older than torch 0.4.1 lack the counters of batch norms, which eval mode does not use.

    Raises
    ------
    CheckpointError
        If names or shapes differ; the message lists which.
    """
    expected = module.state_dict()
    plain = without_wrappers(expected)
    counters = {name: plain[name] for name in plain if name.endswith("num_batches_tracked")}
    full_names = dict(zip(plain, expected, strict=True))  # the module itself may contain wrappers
    named = {full_names.get(name, name): tensor for name, tensor in {**counters, **tensors}.items()}
    fitting = {name: one for name, one in named.items() if name not in expected or one.shape == expected[name].shape}
    try:
        # Only torch knows which names fit: a module may know its tensors under older names, too.
        missing, surplus = module.load_state_dict(fitting, strict=False, assign=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise CheckpointError(
            f"{path} does not belong to the architecture {type(module).__name__}: {reason}"
        ) from error
    other = [name for name in expected if name in named and name not in fitting]
    problems = {
        "the file lacks": [name for name in missing if name not in other],
        "the module does not have": surplus,
        "the file has": [f"{n} {tuple(named[n].shape)} instead of {tuple(expected[n].shape)}" for n in other],
    }
    if any(problems.values()):
        found = "; ".join(f"{text} {_some(names)}" for text, names in problems.items() if names)
        raise CheckpointError(f"{path} does not belong to the architecture {type(module).__name__}: {found}")
    return module.eval()


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _imported(address: str) -> Any:
    """Return what an address "package.module:name" stands for; the working directory is searched first."""
    module_name, colon, attribute = address.partition(":")
    if not (module_name and colon and attribute):
        raise SettingsError(f'architecture={address!r} is no address; write "package.module:factory"')
    try:
        with working_directory_on_path():
            found = importlib.import_module(module_name)
    except Exception as error:  # the user's own code
        raise SettingsError(
            f"architecture={address!r}: importing {module_name} failed: {type(error).__name__}: {error}; run where it "
            "can be imported"
        ) from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise SettingsError(f"architecture={address!r}: {module_name} has no {attribute}")
        found = getattr(found, name)
    return found


@contextmanager
def working_directory_on_path() -> Iterator[None]:
    """Have imports look into the working directory first, as Python does for scripts there."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
