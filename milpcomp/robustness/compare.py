"""What compression does to robustness: the same measurement on several networks, and every image that changes.

An exactly compressed network is the same function in real arithmetic, so that whatever differs is rounding: attacks
and searches start from the same random numbers, and an image changes only where float32 decides otherwise. A network
whose small slopes were removed is another function; what it changes is measured, not bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from milpcomp.errors import SettingsError
from milpcomp.network.graph import Network
from milpcomp.robustness.evaluate import Preset, Robustness, evaluate


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several networks, measured alike.

    Parameters
    ----------
    results : mapping from str to Robustness
        By name; the first network is the one that the others are compared with.
    """

    results: Mapping[str, Robustness]

    def changed(self, name: str) -> dict[str, tuple[int, ...]]:
        """Return the images on which a network differs from the first one.

        Parameters
        ----------
        name : str
            Of a network.

        Returns
        -------
        dict from str to tuple of int
            ``"prediction"``: another class is predicted; and for each attack, by its name: the image is broken in one
            of the two networks only.
        """
        first, other = next(iter(self.results.values())), self.results[name]
        masks = {"prediction": first.predicted != other.predicted}
        masks |= {attack: held != other.held[attack] for attack, held in first.held.items()}
        return {what: tuple(np.flatnonzero(mask).tolist()) for what, mask in masks.items()}

    def largest_ratio_change(self, name: str) -> float | None:
        """Return the greatest change of an image's Lipschitz ratio from the first network; None if none were sought."""
        first, other = next(iter(self.results.values())).ratios, self.results[name].ratios
        return None if first is None or other is None else float(np.abs(first - other).max())


def compare(
    models: Mapping[str, nn.Module | Network],
    inputs: ArrayLike,
    labels: ArrayLike,
    settings: Preset,
    *,
    batch_size: int = 250,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Measure several networks alike: before and after compression, for example.

    Parameters
    ----------
    models : mapping from str to nn.Module or Network
        By name, the original first.
    inputs, labels, settings, batch_size, device
        As for `evaluate`.
    progress : callable, optional
        Called with (name, samples done, samples).

    Raises
    ------
    SettingsError, DomainError
        If there is no network; or see `evaluate`.
    """
    if not models:
        raise SettingsError("there is no network to measure")
    results = {}
    for name, model in models.items():
        tell: Any = None if progress is None else _named(progress, name)
        results[name] = evaluate(model, inputs, labels, settings, batch_size=batch_size, device=device, progress=tell)
    return Comparison(results)


def _named(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, of: progress(name, done, of)
