r"""FGSM and PGD: inputs near a given one that the classifier gets wrong, searched by gradient.

    FGSM   x' = clip(x + epsilon * sign(grad J(x)))                               Goodfellow et al., arXiv 1412.6572
    PGD    x' <- clip(project(x' + step_size * direction(grad J(x'))))            Madry et al., arXiv 1706.06083

with J the loss of the true label (ascended) or of a wanted one (descended), ``project`` onto the ball of radius
epsilon around x, ``clip`` into the valid range of inputs, and ``direction(g) = sign(g)`` in the L-infinity norm,
``g / |g|_2`` in L2. FGSM is PGD with one step of length epsilon from x itself.

An attack can only win by searching longer: a sample counts as broken as soon as the input itself or any iterate of any
restart is misclassified. That one is returned, and the sample is not attacked any further; of samples that hold out,
the iterate with the highest loss.

Inputs are raw ones, usually in [0, 1]; normalisation is part of the model (`Normalised`), so radii are in raw units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from milpcomp.errors import SettingsError

Norm = Literal["linf", "l2"]
Loss = Literal["cross-entropy", "margin"]


@dataclass(frozen=True)
class Attack:
    """Every setting of an attack.

    Parameters
    ----------
    name : str
        What tables call it.
    epsilon : float
        Radius of the ball, in units of the model's input.
    norm : {"linf", "l2"}
    steps : int
    step_size : float
    random_start : bool
        Start from a random point of the ball; otherwise the first run starts at the input itself.
    restarts : int
        Runs for each sample; those after the first one start at random points.
    loss : {"cross-entropy", "margin"}
        ``"margin"`` is the largest other logit minus the label's.
    targeted : bool
        The labels given are wanted ones, and the attack wins when the model returns them.
    clip : (float, float) or None
        Valid range of inputs.
    seed : int
    """

    name: str
    epsilon: float
    norm: Norm = "linf"
    steps: int = 40
    step_size: float = 0.01
    random_start: bool = True
    restarts: int = 1
    loss: Loss = "cross-entropy"
    targeted: bool = False
    clip: tuple[float, float] | None = (0.0, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2") or self.loss not in ("cross-entropy", "margin"):
            raise SettingsError(f"unknown norm or loss: {self.norm!r}, {self.loss!r}; see milpcomp.robustness.Attack")
        if not (0 <= self.epsilon < float("inf") and 0 <= self.step_size < float("inf")):
            raise SettingsError(f"epsilon {self.epsilon!r} and step_size {self.step_size!r} must be finite, and >= 0")
        if self.steps < 1 or self.restarts < 1:
            raise SettingsError("an attack needs at least one step and one run")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise SettingsError(f"the valid range {self.clip!r} is empty; write (0.0, 1.0), or None for no limits")


def fgsm(epsilon: float, **settings: object) -> Attack:
    """Return the settings of the fast gradient sign method: one step of length `epsilon` from the input itself."""
    fixed: dict[str, object] = {"steps": 1, "step_size": epsilon, "random_start": False, "restarts": 1}
    return Attack("FGSM", epsilon, **(fixed | settings))  # type: ignore[arg-type]


def pgd(epsilon: float, steps: int = 40, step_size: float | None = None, **settings: object) -> Attack:
    """Return the settings of projected gradient descent; the step size defaults to ``2.5 * epsilon / steps``."""
    size = 2.5 * epsilon / max(1, steps) if step_size is None else step_size
    return Attack("PGD", epsilon, steps=steps, step_size=size, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack found.

    Parameters
    ----------
    inputs : Tensor, shape (N, *input_shape)
        For broken samples an input that does it, else the one of highest loss seen.
    broken : Tensor of bool, shape (N,)
        Misclassified (or, targeted, classified as wanted) at `inputs`. Samples that are so without any attack count.
    """

    inputs: Tensor
    broken: Tensor


def attack(model: nn.Module, x: Tensor, labels: Tensor, settings: Attack) -> Attacked:
    """Attack one batch.

    Parameters
    ----------
    model : nn.Module
        In eval mode; returns logits (N, classes).
    x : Tensor, shape (N, *input_shape)
        Raw inputs, within the valid range.
    labels : Tensor of int, shape (N,)
        True labels; wanted ones if targeted.
    settings : Attack

    Returns
    -------
    Attacked
        Every input lies in the ball and in the valid range, up to the rounding of the tensor's type.

    Raises
    ------
    SettingsError
        If shapes do not fit, or inputs lie outside the valid range.
    """
    _check(model, x, labels, settings)
    generator = torch.Generator(device=x.device).manual_seed(settings.seed)
    best, top = x.clone(), torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        broken = wins(model(x), labels, settings.targeted)
    for run in range(settings.restarts):
        start = x
        if run or settings.random_start:
            start = _inside(x + _random(x, settings, generator), x, settings)  # drawn for all, whichever are left
        left = (~broken).nonzero()[:, 0]
        point = start[left]
        for step in range(settings.steps + 1):
            if not len(left):
                break
            point = point.detach().requires_grad_(step < settings.steps)
            logits = model(point)
            _check_classes(labels, logits)
            gain = objective(logits, labels[left], settings)
            won = wins(logits, labels[left], settings.targeted)
            better = won | (gain.detach() > top[left])
            best[left[better]], top[left[better]] = point.detach()[better], gain.detach()[better]
            broken[left[won]] = True
            if step < settings.steps:
                (gradient,) = torch.autograd.grad(gain.sum(), point)
                ahead = point.detach() + settings.step_size * _direction(gradient, settings.norm)
                point, left = _inside(ahead, x[left], settings)[~won], left[~won]
    return Attacked(best, broken)


def objective(logits: Tensor, labels: Tensor, settings: Attack) -> Tensor:
    """Return what an attack maximises, sample by sample, shape (N,)."""
    if settings.loss == "cross-entropy":
        loss = F.cross_entropy(logits, labels, reduction="none")
    else:
        own = logits.gather(1, labels[:, None])[:, 0]
        loss = logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own
    return -loss if settings.targeted else loss


def wins(logits: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """Tell for each sample whether its class is not the label, or, targeted, is the wanted one. NaN is a failure."""
    predicted = logits.argmax(1)
    return predicted == labels if targeted else (predicted != labels) | logits.isnan().any(1)


def _check(model: nn.Module, x: Tensor, labels: Tensor, settings: Attack) -> None:
    if model.training:
        raise SettingsError(
            "the model is in training mode, where batch norm and dropout are not themselves: model.eval()"
        )
    if labels.shape != x.shape[:1] or labels.is_floating_point():
        raise SettingsError(f"labels must be {len(x)} whole numbers, got shape {tuple(labels.shape)} of {labels.dtype}")
    if not x.is_floating_point() or not x.isfinite().all():
        raise SettingsError("inputs must be finite floating-point numbers")
    if settings.clip is not None and len(x) and (x.min() < settings.clip[0] or x.max() > settings.clip[1]):
        raise SettingsError(
            f"inputs reach [{float(x.min()):.4g}, {float(x.max()):.4g}], outside the valid range {settings.clip}; give "
            "raw inputs and make normalisation part of the model (milpcomp.robustness.Normalised), or clip=None"
        )


def _check_classes(labels: Tensor, logits: Tensor) -> None:
    if logits.ndim != 2 or int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise SettingsError(f"the model returns {tuple(logits.shape)} logits; labels must be numbers of its classes")


def _random(x: Tensor, settings: Attack, generator: torch.Generator) -> Tensor:
    """Return random offsets, uniform in the ball."""
    if settings.norm == "linf":
        return settings.epsilon * (2 * torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator) - 1)
    normal = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    radius = torch.rand(len(x), dtype=x.dtype, device=x.device, generator=generator)
    radius = radius ** (1.0 / max(1, x[0].numel() if len(x) else 1))
    return settings.epsilon * _column(radius, x) * _unit(normal)


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    return gradient.sign() if norm == "linf" else _unit(gradient)


def _inside(point: Tensor, x: Tensor, settings: Attack) -> Tensor:
    """Return the points moved into the ball around x and into the valid range (a box around x: no ball is left)."""
    if settings.norm == "linf":
        point = torch.clamp(point, x - settings.epsilon, x + settings.epsilon)
    else:
        length = (point - x).flatten(1).norm(dim=1)
        point = x + (point - x) * _column(
            torch.clamp(settings.epsilon / length.clamp_min(torch.finfo(x.dtype).tiny), max=1.0), x
        )
    return point if settings.clip is None else point.clamp(*settings.clip)


def _unit(v: Tensor) -> Tensor:
    return v / _column(v.flatten(1).norm(dim=1).clamp_min(torch.finfo(v.dtype).tiny), v)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))
