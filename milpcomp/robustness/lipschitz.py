r"""The local Lipschitz constant of a classifier, from below: by ascent.

    L(x) = max over x' with |x - x'|_inf <= epsilon of  D(f(x), f(x')) / |x - x'|_inf

    kl     D = KL(softmax f(x) || softmax f(x'))        Yang et al., arXiv 2003.02460; Nayak and Kalyani, seminar 2024
    l1, l2, linf   D = the norm of f(x) - f(x')         of the logits

The ascent follows the sign of the gradient of D from a random point of the ball and keeps the largest ratio seen, so
what it returns is a lower bound of the true maximum, up to the rounding of the tensors' type: an estimate, and not a
certificate. A divergence of nearly equal logits is mostly rounding, so radii below some 0.003 need float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from milpcomp.errors import SettingsError

Measure = Literal["kl", "l1", "l2", "linf"]
ORDERS = {"l1": 1.0, "l2": 2.0, "linf": float("inf")}


@dataclass(frozen=True)
class LipschitzSearch:
    """Every setting of the search.

    Parameters
    ----------
    epsilon : float
        Radius of the L-infinity ball, > 0, in units of the model's input.
    measure : {"kl", "l1", "l2", "linf"}
    steps, step_size : int, float
    restarts : int
    clip : (float, float) or None
        Valid range of inputs.
    seed : int
    """

    epsilon: float
    measure: Measure = "kl"
    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    clip: tuple[float, float] | None = (0.0, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.measure not in ("kl", *ORDERS):
            raise SettingsError(f"unknown measure {self.measure!r}; choose kl, l1, l2 or linf")
        if not 0 < self.epsilon < float("inf") or self.steps < 1 or self.restarts < 1:
            raise SettingsError("the search needs a finite epsilon > 0 and at least one step and one run")
        if not 0 <= self.step < float("inf") or (self.clip is not None and not self.clip[0] < self.clip[1]):
            raise SettingsError(f"step size {self.step_size!r} or valid range {self.clip!r} cannot be used")

    @property
    def step(self) -> float:
        """The step size, ``2.5 * epsilon / steps`` unless set."""
        return 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size


def local_lipschitz(model: nn.Module, x: Tensor, settings: LipschitzSearch) -> Tensor:
    """Return for each sample the largest ratio found, shape (N,): a lower bound of its local Lipschitz constant.

    Parameters
    ----------
    model : nn.Module
        In eval mode; returns logits (N, classes).
    x : Tensor, shape (N, *input_shape)
    settings : LipschitzSearch

    Raises
    ------
    SettingsError
        If the model is in training mode, or inputs are not finite.
    """
    if model.training:
        raise SettingsError(
            "the model is in training mode, where batch norm and dropout are not themselves: model.eval()"
        )
    if not x.is_floating_point() or not x.isfinite().all():
        raise SettingsError("inputs must be finite floating-point numbers")
    if settings.clip is not None and len(x) and (x.min() < settings.clip[0] or x.max() > settings.clip[1]):
        raise SettingsError(f"inputs lie outside the valid range {settings.clip}; give raw inputs, or clip=None")
    generator = torch.Generator(device=x.device).manual_seed(settings.seed)
    with torch.no_grad():
        center = model(x)
    best = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for _ in range(settings.restarts):
        offset = 2 * torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator) - 1
        point = _inside(x + settings.epsilon * offset, x, settings)
        for step in range(settings.steps + 1):
            point = point.detach().requires_grad_(step < settings.steps)
            change = distance(center, model(point), settings.measure)
            reach = (point.detach() - x).flatten(1).abs().amax(1)
            ratio = torch.where(reach > 0, change.detach() / reach.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
            best = torch.maximum(best, ratio)
            if step < settings.steps:
                (gradient,) = torch.autograd.grad(change.sum(), point)
                point = _inside(point.detach() + settings.step * gradient.sign(), x, settings)
    return best


def distance(center: Tensor, logits: Tensor, measure: Measure) -> Tensor:
    """Return D of each pair of rows, shape (N,)."""
    if measure == "kl":
        here, there = F.log_softmax(center, 1), F.log_softmax(logits, 1)
        return (here.exp() * (here - there)).sum(1)
    return torch.linalg.vector_norm(logits - center, ORDERS[measure], dim=1)


def _inside(point: Tensor, x: Tensor, settings: LipschitzSearch) -> Tensor:
    point = torch.clamp(point, x - settings.epsilon, x + settings.epsilon)
    return point if settings.clip is None else point.clamp(*settings.clip)
