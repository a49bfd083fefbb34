"""The options of a certification run, as they are written into its report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import SettingsError
from milpcomp.network import Network

METHODS = ("funnel", "one-solve", "per-layer", "per-neuron")


@dataclass(frozen=True)
class Settings:
    """Options of a certification run; all of them are written into its report.

    Parameters
    ----------
    method : {"funnel", "one-solve", "per-layer", "per-neuron"}
    backend : str
        Name of the MIP backend: ``"highs"``, ``"ortools"`` or ``"pyomo"``.
    time_limit_s : float or None
        Wall-clock limit of the whole run.
    neuron_time_limit_s : float
        Limit of one search, and of one MILP, about one neuron.
    max_certificate_bytes : int
        Limit of all proofs by cases together; a verdict whose proof does not fit is labelled ``uncertified``.
    device : str
        Torch device of the witness search.
    seed : int
        Seed of all random choices.
    slope_steps : int
        Steps of slope optimisation in the bound stage.
    restarts, climb_steps : int
        Starts per open question, and steps, of the long gradient search between short and long searches for proofs.
    layers : tuple of str or None
        Rectifiers whose neurons are to be decided; None for all.
    neurons : mapping from str to tuple of int, or None
        The neurons to be decided, by rectifier; None for all.
    """

    method: str = "funnel"
    backend: str = "highs"
    time_limit_s: float | None = None
    neuron_time_limit_s: float = 10.0
    max_certificate_bytes: int = 2**28
    device: str = "cpu"
    seed: int = 0
    slope_steps: int = 20
    restarts: int = 128
    climb_steps: int = 100
    layers: tuple[str, ...] | None = None
    neurons: Mapping[str, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(f"unknown method {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.time_limit_s is not None and not _is_limit(self.time_limit_s):
            raise SettingsError(
                f"the time limit must be a positive number of seconds, got {self.time_limit_s!r}; None is no limit"
            )
        if not _is_limit(self.neuron_time_limit_s):
            raise SettingsError(f"the limit per neuron must be positive and finite, got {self.neuron_time_limit_s!r}")
        if not _is(self.max_certificate_bytes, Real) or not self.max_certificate_bytes >= 0:  # nor is NaN
            raise SettingsError(f"the limit of a certificate must be >= 0 bytes, got {self.max_certificate_bytes!r}")
        if not _is(self.seed, Integral) or self.seed < 0:
            raise SettingsError(f"the seed must be a whole number >= 0, got {self.seed!r}")
        if self.layers is not None and self.neurons is not None:
            raise SettingsError("layers and neurons both say what to decide; give one of them")
        if self.method != "funnel" and (self.layers is not None or self.neurons is not None):
            raise SettingsError(
                f"method {self.method!r} decides all layers; leave out layers and neurons, or the method"
            )
        check_device(self.device)

    def wanted(self, network: Network) -> dict[str, NDArray[np.bool_]]:
        """Return which neurons of each rectifier are to be decided.

        Raises
        ------
        SettingsError
            If the network does not have what `layers` or `neurons` name.
        """
        widths = {node.name: network.width(node.name) for node in network.rectifiers}
        named = list(widths if self.layers is None else self.layers) if self.neurons is None else list(self.neurons)
        if unknown := [layer for layer in named if layer not in widths]:
            raise SettingsError(f"the network has no rectifiers {unknown}; it has {list(widths)}")
        masks = {layer: np.full(width, layer in named) for layer, width in widths.items()}
        for layer, units in (self.neurons or {}).items():
            if beyond := [unit for unit in units if not 0 <= unit < widths[layer]]:
                raise SettingsError(f"{layer!r} has neurons 0 to {widths[layer] - 1}, but not {beyond}")
            masks[layer] = np.isin(np.arange(widths[layer]), units)
        return masks


def _is(value: object, kind: type) -> bool:
    """Tell whether a value is of a kind, whatever its annotation promises."""
    return isinstance(value, kind)


def _is_limit(value: object) -> bool:
    return isinstance(value, Real) and not value <= 0 and value <= sys.float_info.max  # nor is it NaN


def check_device(device: str) -> None:
    """Raise `SettingsError` where torch cannot use a device."""
    if device == "cpu":
        return  # without importing torch: whoever only states settings needs none
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:  # torch raises each of them for some unusable devices
        reason = str(error).split("\n")[0]
        raise SettingsError(f"the torch device {device!r} cannot be used: {reason}; choose cpu, or cuda") from error
