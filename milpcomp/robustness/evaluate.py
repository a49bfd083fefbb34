"""How robust a classifier is on a data set: accuracy under attack and local Lipschitz constant, with their spread.

    accuracy        share of samples classified as labelled, with Wilson's score interval (95 %)
    Lipschitz       mean over samples of the largest ratio found, with the normal interval (95 %) of a mean

Everything that determines a number is in the result: attacks, search, seed, batch size, preset. Accuracies under
attack are upper bounds of the true robust accuracy, Lipschitz constants lower bounds of the true ones.

Presets say how inputs, labels and limits are treated:

    "raw"           raw inputs in [0, 1], true labels, clipped to [0, 1]
    "rrelu-2024"    as the authors of rotated ReLU ran it: inputs already normalised, the model's own predictions as
                    labels, no clipping, epsilon 0.031 in normalised units, PGD with 60 steps of epsilon / 5, Lipschitz
                    with 60 steps of 0.001. (Their script divides the sum over all samples by batches times the size of
                    the last batch; the mean over samples is given here.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from milpcomp.errors import DomainError, SettingsError
from milpcomp.network.graph import Network
from milpcomp.robustness.attacks import Attack, attack, fgsm, pgd, wins
from milpcomp.robustness.lipschitz import LipschitzSearch, local_lipschitz
from milpcomp.stability.settings import check_device

LEVEL = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Preset:
    """A complete set of settings with a name."""

    name: str
    attacks: tuple[Attack, ...]
    lipschitz: LipschitzSearch | None
    own_labels: bool = False


def preset(name: str, epsilon: float = 0.031) -> Preset:
    """Return the preset ``"raw"`` (at `epsilon`) or ``"rrelu-2024"`` (whose epsilon is fixed).

    Raises
    ------
    SettingsError
        If there is no such preset, or another epsilon is asked of a published one.
    """
    if name == "raw":
        return Preset(name, (fgsm(epsilon), pgd(epsilon)), LipschitzSearch(epsilon))
    if name != "rrelu-2024":
        raise SettingsError(f"unknown preset {name!r}; choose raw or rrelu-2024")
    if epsilon != 0.031:
        raise SettingsError("the preset rrelu-2024 has epsilon 0.031; use the preset raw for another one")
    attacks = (fgsm(0.031, clip=None), pgd(0.031, steps=60, step_size=0.031 / 5, clip=None))
    return Preset(name, attacks, LipschitzSearch(0.031, steps=60, step_size=0.001, clip=None), own_labels=True)


@dataclass(frozen=True)
class Estimate:
    """A mean over samples and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True, eq=False)
class Robustness:
    """What was measured on N samples.

    Parameters
    ----------
    samples : int
    clean : Estimate
        Accuracy without attack, on the labels given.
    attacked : mapping from str to Estimate
        Accuracy under each attack by name, on the labels attacked (the model's own predictions in some presets).
    lipschitz : Estimate or None
    predicted : ndarray of int, shape (N,)
        Classes predicted without attack.
    correct : ndarray of bool, shape (N,)
    held : mapping from str to ndarray of bool, shape (N,)
        Samples that an attack did not break.
    ratios : ndarray, shape (N,), or None
        Largest ratio found for each sample.
    settings : mapping
        Every setting, JSON-ready.
    """

    samples: int
    clean: Estimate
    attacked: dict[str, Estimate]
    lipschitz: Estimate | None
    predicted: NDArray[np.int64]
    correct: NDArray[np.bool_]
    held: dict[str, NDArray[np.bool_]]
    ratios: NDArray[np.float64] | None
    settings: dict[str, Any] = field(default_factory=dict)


def evaluate(
    model: nn.Module | Network,
    inputs: ArrayLike,
    labels: ArrayLike,
    attacks: Sequence[Attack] | Preset = (),
    lipschitz: LipschitzSearch | None = None,
    *,
    batch_size: int = 250,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Measure accuracy, accuracy under attack and the local Lipschitz constant on a data set.

    Parameters
    ----------
    model : nn.Module or Network
        Returns logits; a module is put into eval mode for the time being. A Network is run in float32.
    inputs : array_like, shape (N, *input_shape)
    labels : array_like of int, shape (N,)
    attacks : sequence of Attack, or Preset
        A preset brings its Lipschitz search along.
    lipschitz : LipschitzSearch, optional
    batch_size : int
        Samples at a time. Each batch draws its own random numbers, from the seed and the index of its first sample.
    device : str
    progress : callable, optional
        Called with (samples done, samples) after each batch.

    Returns
    -------
    Robustness

    Raises
    ------
    DomainError, SettingsError
        If data and labels do not fit each other or the model, attacks share a name, or there is no such device.
    """
    chosen = attacks if isinstance(attacks, Preset) else Preset("custom", tuple(attacks), lipschitz)
    names = [settings.name for settings in chosen.attacks]
    if len(set(names)) != len(names):
        raise SettingsError(f"attacks need names of their own, got {names}")
    if batch_size < 1:
        raise SettingsError(f"the batch size must be at least 1, got {batch_size}")
    check_device(device)
    x, y = _data(inputs, labels)
    module = (model.to_torch() if isinstance(model, Network) else model).to(device)
    before = module.training
    module.eval()
    try:
        parts = []
        for start in range(0, len(x), batch_size):
            stop = min(start + batch_size, len(x))
            parts.append(_batch(module, x[start:stop].to(device), y[start:stop].to(device), chosen, start))
            if progress is not None:
                progress(stop, len(x))
    finally:
        module.train(before)
    correct = np.concatenate([part[0] for part in parts])
    held = {name: np.concatenate([part[1][name] for part in parts]) for name in names}
    ratios = None if chosen.lipschitz is None else np.concatenate([part[2] for part in parts])
    return Robustness(
        samples=len(x),
        clean=proportion(correct),
        attacked={name: proportion(mask) for name, mask in held.items()},
        lipschitz=None if ratios is None else mean(ratios),
        predicted=np.concatenate([part[3] for part in parts]),
        correct=correct,
        held=held,
        ratios=ratios,
        settings={
            "preset": chosen.name,
            "labels": "the model's own predictions" if chosen.own_labels else "true",
            "attacks": [asdict(settings) for settings in chosen.attacks],
            "lipschitz": None if chosen.lipschitz is None else asdict(chosen.lipschitz),
            "batch_size": batch_size,
            "device": device,
        },
    )


def proportion(mask: NDArray[np.bool_]) -> Estimate:
    """Return a share with Wilson's score interval."""
    n, share = len(mask), float(mask.mean()) if len(mask) else math.nan
    if not n:
        return Estimate(share, 0.0, 1.0)
    center = (share + LEVEL**2 / (2 * n)) / (1 + LEVEL**2 / n)
    half = LEVEL * math.sqrt(share * (1 - share) / n + LEVEL**2 / (4 * n * n)) / (1 + LEVEL**2 / n)
    low, high = max(0.0, center - half), min(1.0, center + half)
    return Estimate(share, low if share > 0 else 0.0, high if share < 1 else 1.0)  # there, rounding shows


def mean(values: NDArray[np.float64]) -> Estimate:
    """Return a mean with its normal interval."""
    n, value = len(values), float(values.mean()) if len(values) else math.nan
    half = LEVEL * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Estimate(value, value - half, value + half)


def _data(inputs: ArrayLike, labels: ArrayLike) -> tuple[Tensor, Tensor]:
    x, y = np.asarray(inputs, dtype=np.float32), np.asarray(labels)
    if y.shape != x.shape[:1] or not len(y) or y.dtype.kind not in "iu":
        raise DomainError(f"{len(x)} inputs need as many whole-number labels, got shape {y.shape} of {y.dtype}")
    return torch.from_numpy(x.copy()), torch.from_numpy(y.astype(np.int64))


def _batch(
    model: nn.Module, x: Tensor, y: Tensor, chosen: Preset, start: int
) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]], NDArray[np.float64], NDArray[np.int64]]:
    with torch.no_grad():
        logits = model(x)
    if logits.ndim != 2 or len(logits) != len(x) or int(y.max()) >= logits.shape[1] or int(y.min()) < 0:
        raise DomainError(f"the model returns {tuple(logits.shape)} for {len(x)} inputs; labels must be its classes")
    labels = logits.argmax(1) if chosen.own_labels else y
    held = {}
    for settings in chosen.attacks:
        found = attack(model, x, labels, _seeded(settings, start))
        held[settings.name] = (~found.broken).cpu().numpy()
    ratios = np.zeros(0)
    if chosen.lipschitz is not None:
        ratios = local_lipschitz(model, x, _seeded(chosen.lipschitz, start)).double().cpu().numpy()
    return (~wins(logits, y, False)).cpu().numpy(), held, ratios, logits.argmax(1).cpu().numpy()


def _seeded(settings: Any, start: int) -> Any:
    """Return the settings with a seed of their own for the batch that begins with sample `start`."""
    return type(settings)(**(asdict(settings) | {"seed": (settings.seed << 32) + start}))
