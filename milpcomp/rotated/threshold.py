"""The threshold below which slopes are ignored, selected on one half of a test set and reported on the other.

    correct(gamma)   right answers on the first half with every |slope| <= gamma at zero
    gamma            the largest candidate with correct(gamma) >= correct of the model as it is

Candidates are the values |slope| themselves (correct only changes there) and 0. The accuracy is not monotone in gamma:
a threshold can lose an image that a larger one wins back. So the candidates are tried from the largest down, and the
first one without loss is the largest there is. Where there are more than `max_steps` candidates, every k-th is tried
from the top, evenly by rank, and then the gap between the first one without loss and the one tried before it is halved
until it is closed, as if the accuracy were monotone there. At most ``max_steps + log2(candidates) + 1`` candidates are
tried, in an order that depends on nothing but the numbers; a try ends as soon as it has lost.

Nayak and Kalyani (arXiv 2206.00488), appendix C.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from milpcomp.errors import NetworkError, SettingsError
from milpcomp.rotated.activation import slopes
from milpcomp.rotated.masking import small_slopes, thresholded


@dataclass(frozen=True)
class Threshold:
    """A threshold for slopes and what it costs; the slopes themselves are left as they are.

    Parameters
    ----------
    gamma : float
        Slopes with ``|slope| <= gamma`` are ignored; 0 ignores exact zeros only.
    accuracy_before, accuracy_after : float
        Share of right answers on the second half, without and with the threshold.
    selection_before, selection_after : float
        The same on the first half, on which `gamma` was selected.
    ignored, total : int
        Slopes ignored, and all slopes.
    ignored_per_activation : tuple of (str, int)
        Slopes ignored of each rotated activation, in order of the modules.
    tried, candidates : int
        Candidates whose accuracy was found, and all candidates; `gamma` is the largest of all candidates for certain
        if every one above it was tried, as it is when there are at most `max_steps`.
    """

    gamma: float
    accuracy_before: float
    accuracy_after: float
    selection_before: float
    selection_after: float
    ignored: int
    total: int
    ignored_per_activation: tuple[tuple[str, int], ...]
    tried: int
    candidates: int


def random_half(count: int, seed: int = 0) -> np.ndarray:
    """Return a mask of shape (count,) with ``count // 2`` samples drawn at random, the same for the same seed."""
    mask = np.zeros(count, dtype=bool)
    mask[torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()[: count // 2]] = True
    return mask


def select_threshold(
    model: nn.Module,
    inputs: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    first_half: ArrayLike | None = None,
    candidates: Sequence[float] | None = None,
    batch_size: int = 500,
    max_steps: int = 64,
) -> Threshold:
    """Return the largest threshold that loses no accuracy on one half of a test set, and the accuracy on the other.

    Parameters
    ----------
    model : nn.Module
        A classifier with rotated activations: (N, ...) to logits (N, K). It is not changed, and is evaluated in
        evaluation mode.
    inputs : Tensor or array_like, shape (N, ...)
        The test set, as the model takes it.
    labels : Tensor or array_like, shape (N,)
        Class of each sample.
    first_half : array_like, optional
        The samples to select on: a mask of shape (N,) or indices; all others are reported on. By default
        ``random_half(N)``, a random half with seed 0.
    candidates : sequence of float, optional
        Thresholds to choose from; 0 is always one. By default all values ``|slope|``.
    batch_size : int
        Samples per evaluation of the model.
    max_steps : int
        Candidates tried from the top, at least 1; see the module's docstring.

    Returns
    -------
    Threshold

    Raises
    ------
    NetworkError
        If the model has no rotated activation, or does not return logits.
    SettingsError
        If data, halves or candidates cannot be used.
    """
    if batch_size < 1 or max_steps < 1:
        raise SettingsError(f"batch_size={batch_size} and max_steps={max_steps} must be at least 1")
    ladder = _ladder(model, candidates)
    worker = copy.deepcopy(model).eval()
    first, second = _halves(worker, inputs, labels, first_half, batch_size)
    before = first.correct(worker)
    tried = {0: before}  # right answers by rung; rung 0 is gamma = 0, which changes nothing

    def keeps(rung: int) -> bool:
        with thresholded(worker, ladder[rung]):
            tried[rung] = first.correct(worker, at_least=before)
        return tried[rung] >= before

    best = largest_rung(len(ladder), max_steps, keeps)
    small = small_slopes(worker, ladder[best])
    accuracy_before = second.share(second.correct(worker))
    with thresholded(worker, ladder[best]):
        accuracy_after = second.share(second.correct(worker))
    return Threshold(
        gamma=ladder[best],
        accuracy_before=accuracy_before,
        accuracy_after=accuracy_after,
        selection_before=first.share(before),
        selection_after=first.share(tried[best]),
        ignored=sum(int(mask.sum()) for mask in small.values()),
        total=sum(mask.numel() for mask in small.values()),
        ignored_per_activation=tuple((name, int(mask.sum())) for name, mask in small.items()),
        tried=len(tried),
        candidates=len(ladder),
    )


def _ladder(model: nn.Module, candidates: Sequence[float] | None) -> list[float]:
    """Return the candidates in ascending order, without repetition, the first of them 0."""
    if candidates is None:
        candidates = [size for slope in slopes(model).values() for size in slope.detach().double().abs().tolist()]
    try:
        ladder = sorted({0.0, *map(float, candidates)})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"candidates must be numbers: {error}") from error
    if not all(math.isfinite(gamma) and gamma >= 0 for gamma in ladder):
        raise SettingsError("candidates, and slopes, must be finite numbers; candidates must not be negative")
    return ladder


def largest_rung(rungs: int, max_steps: int, keeps: Callable[[int], bool]) -> int:
    """Return the largest rung that keeps the accuracy, as the module's docstring says; rung 0 always does."""
    above, best = rungs, 0
    for rung in range(rungs - 1, 0, -max(1, math.ceil((rungs - 1) / max_steps))):
        if keeps(rung):
            best = rung
            break
        above = rung
    while above - best > 1:
        middle = (above + best) // 2
        if keeps(middle):
            best = middle
        else:
            above = middle
    return best


@dataclass(frozen=True, eq=False)
class _Half:
    """Samples on the device and in the number type of the model."""

    inputs: Tensor
    labels: Tensor
    batch_size: int

    @torch.no_grad()
    def correct(self, model: nn.Module, at_least: int = 0) -> int:
        """Return the number of right answers; some number below `at_least` once it is certain to be below."""
        right, left = 0, len(self.labels)
        for inputs, labels in zip(self.inputs.split(self.batch_size), self.labels.split(self.batch_size), strict=True):
            logits = model(inputs)
            if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
                raise NetworkError(f"{type(model).__name__} does not return logits of shape (N, K), one row per sample")
            right += int((logits.argmax(1) == labels).sum())
            left -= len(labels)
            if right + left < at_least:
                break
        return right

    def share(self, right: int) -> float:
        return right / len(self.labels)


def _halves(
    model: nn.Module, inputs: Tensor | ArrayLike, labels: Tensor | ArrayLike, first: ArrayLike | None, batch_size: int
) -> tuple[_Half, _Half]:
    """Return the samples to select on, and the others."""
    like = next(model.parameters())
    images, classes = torch.as_tensor(inputs), torch.as_tensor(labels)
    images = images.to(like) if images.is_floating_point() else images.to(like.device)
    if classes.ndim != 1 or len(images) != len(classes) or classes.is_floating_point():
        raise SettingsError(
            f"inputs of shape {tuple(images.shape)} and labels of shape {tuple(classes.shape)} ({classes.dtype}) must "
            "be (N, ...) and (N,), with whole numbers as labels"
        )
    mask, classes = _mask(first, len(classes)).to(like.device), classes.to(like.device)
    return _Half(images[mask], classes[mask], batch_size), _Half(images[~mask], classes[~mask], batch_size)


def _mask(first: ArrayLike | None, count: int) -> Tensor:
    """Return which of `count` samples belong to the first half."""
    if count < 2:
        raise SettingsError(f"a threshold is selected on one half of a test set and reported on the other; got {count}")
    if first is None:
        return torch.from_numpy(random_half(count))
    chosen = np.asarray(first)
    mask = np.zeros(count, dtype=bool)
    try:
        mask[chosen] = True
    except IndexError as error:
        raise SettingsError(
            f"first_half must be a mask of shape ({count},) or indices below {count}: {error}"
        ) from error
    if mask.all() or not mask.any():
        raise SettingsError(f"first_half holds {mask.sum()} of {count} samples; both halves need some")
    return torch.from_numpy(mask)
