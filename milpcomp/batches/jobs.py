"""A job: one network, one domain, one choice of settings, and what to do with them."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from milpcomp.batches.digests import Identity, file_digest, network_digest, text_digest
from milpcomp.domain import Box
from milpcomp.errors import SettingsError
from milpcomp.files import PathLike
from milpcomp.network import Network
from milpcomp.network.load import sample_shape

_BOTH: dict[str, Any] = {
    "method": "funnel", "backend": "highs", "time_limit_s": None, "data": None, "device": "cpu", "seed": 0
}  # fmt: skip

TASKS: dict[str, dict[str, Any]] = {
    "analyze": _BOTH | {"trust_solver": False, "tolerance": "rounding"},
    "certify": _BOTH | {"neuron_time_limit_s": 10.0, "max_certificate_bytes": 2**28, "layers": None},
}
"""What can be done, and the settings of each with their defaults."""

_OPTIONAL = ("time_limit_s", "data", "layers")
_TEXTS = ("method", "backend", "device")
_NUMBERS = {"time_limit_s": float, "neuron_time_limit_s": float, "max_certificate_bytes": int, "seed": int}


@dataclass(frozen=True, eq=False)
class Job:
    """One network, one domain, one choice of settings, and what to do with them.

    Parameters
    ----------
    network : path or Network
        What `milpcomp.load` reads from a file, or a network that was read.
    domain : Box
        Scalar bounds are broadcast to the network's input shape.
    task : {"analyze", "certify"}
        `milpcomp.analyze` does it all; `milpcomp.certify` decides neurons only.
    settings : mapping
        Options of the task: method, backend, time_limit_s, data (an .npy file), device, seed; for ``"analyze"``
        trust_solver and tolerance, for ``"certify"`` neuron_time_limit_s, max_certificate_bytes and layers.
    architecture, input_shape
        See `milpcomp.load`; the architecture by its address "package.module:factory".
    memory_limit_mb : float, optional
        The job's process is ended when it uses more, the interpreter and its libraries (about 300 MB) included.
    network_name, domain_name, settings_name : str
        What the table calls them; made up if empty, that of the settings from those that are not at their defaults.
        Names are no part of what a job is.
    path : str
        What the table calls the network's file; as it was given if empty.

    Raises
    ------
    SettingsError, SolverError, CheckpointError
        If the task, a setting or a limit cannot be used.
    """

    network: PathLike | Network
    domain: Box
    task: str = "analyze"
    settings: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    input_shape: int | Sequence[int] | None = None
    memory_limit_mb: float | None = None
    network_name: str = ""
    domain_name: str = ""
    settings_name: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        if self.task not in list(TASKS):  # a list, as what is no text may have no hash
            raise SettingsError(f"unknown task {self.task!r}; choose one of {', '.join(TASKS)}")
        network = self.network if isinstance(self.network, Network) else Path(os.path.abspath(self.network))
        settings = _checked(self.task, self.settings)
        made: dict[str, Any] = {
            "network": network,
            "settings": settings,
            **loading(self.architecture, self.input_shape),
            "memory_limit_mb": _memory(self.memory_limit_mb),
            "network_name": self.network_name or (network.stem if isinstance(network, Path) else network.digest[:12]),
            "domain_name": self.domain_name or _domain_name(self.domain),
            "settings_name": self.settings_name or settings_name(self.task, settings),
            "path": self.path or ("" if isinstance(self.network, Network) else str(self.network)),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @cached_property
    def identity(self) -> Identity:
        """What the job is, by content.

        Raises
        ------
        CheckpointError, SettingsError
            If a file cannot be read.
        """
        return self.now()

    def now(self) -> Identity:
        """Return what the job is with the files as they are now; see `identity`, which is what it was at first."""
        data = self.settings["data"]
        content = {**self.settings, "task": self.task, "data": None if data is None else file_digest(data)}
        network = network_digest(self.network, **loading(self.architecture, self.input_shape))
        return Identity(network, self.domain.digest, text_digest(content))

    @property
    def name(self) -> str:
        """The job in words."""
        return ", ".join(part for part in (self.network_name, self.domain_name, self.settings_name) if part)


def loading(architecture: Any, input_shape: Any) -> dict[str, Any]:
    """Return how a network is loaded, checked: the options of `milpcomp.load`, each None if it is not given.

    Raises
    ------
    SettingsError
        If one cannot be used.
    """
    if architecture is not None and not isinstance(architecture, str):
        raise SettingsError(f'architecture must be a text "package.module:factory", got {architecture!r}')
    return {
        "architecture": architecture, "input_shape": None if input_shape is None else sample_shape(input_shape)
    }  # fmt: skip


def settings_name(task: str, settings: Mapping[str, Any], shown: Collection[str] = ()) -> str:
    """Return what settings are called: those that are not at their defaults, and those that are to be shown."""
    said = [name for name, default in TASKS[task].items() if name in shown or settings[name] != default]
    return " ".join(f"{name}={'none' if settings[name] is None else settings[name]}" for name in said)


def uniform(domain: Box) -> tuple[float, float] | None:
    """Return the bounds that all elements of a domain share, None if they differ."""
    low, high = domain.lower, domain.upper
    if low.size and (low == low.flat[0]).all() and (high == high.flat[0]).all():
        return float(low.flat[0]), float(high.flat[0])
    return None


def _memory(limit_mb: Any) -> float | None:
    """Return a limit of memory as a number; whoever wrote 4e3 into a YAML file gave a text."""
    if limit_mb is None:
        return None
    try:
        number = math.nan if isinstance(limit_mb, bool) else float(limit_mb)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise SettingsError(f"memory_limit_mb must be a positive number, got {limit_mb!r}")
    return number


def _checked(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a task, those that are not given at their defaults."""
    from milpcomp.compression.compress import check_tolerance
    from milpcomp.milp.backends import backend
    from milpcomp.stability.settings import Settings

    known = TASKS[task]
    if unknown := [name for name in given if name not in known]:
        raise SettingsError(f"unknown settings {unknown} for the task {task}; known are {', '.join(known)}")
    settings = known | {name: _value(name, value) for name, value in given.items()}
    checked = Settings(settings["method"], backend(settings["backend"]).name, settings["time_limit_s"])
    replace(checked, seed=settings["seed"])  # the device is for the machine that will use it
    if task == "analyze":
        check_tolerance(settings["tolerance"])
    else:
        replace(
            checked, neuron_time_limit_s=settings["neuron_time_limit_s"],
            max_certificate_bytes=settings["max_certificate_bytes"],
        )  # fmt: skip
    return settings


def _value(name: str, value: Any) -> Any:
    """Return a setting in its own type; whoever wrote 1e-3 into a YAML file gave a text."""
    if value is None and name in _OPTIONAL:
        return None
    try:
        if name in _TEXTS and not isinstance(value, str):
            raise ValueError
        if name in _NUMBERS:
            number = float(value)
            if isinstance(value, bool) or _NUMBERS[name](number) != number:
                raise ValueError
            return _NUMBERS[name](number)
        if name == "tolerance" and value != "rounding":
            return float(value)
        if name == "trust_solver" and not isinstance(value, bool):
            raise ValueError
        if name == "layers":
            return [value] if isinstance(value, str) else [str(layer) for layer in value]
        if name == "data":
            return os.path.abspath(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"the setting {name} cannot be {value!r}") from None
    return value


def _domain_name(domain: Box) -> str:
    bounds = uniform(domain)
    return f"box {domain.digest[:8]}" if bounds is None else f"[{bounds[0]:g}, {bounds[1]:g}]"
