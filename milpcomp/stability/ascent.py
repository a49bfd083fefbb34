"""Gradient search for witnesses, batched over all open questions.

A question (layer, unit, sign) is answered by an input with ``sign * pre-activation > 0``. Two searches:

    jump    x <- the corner that the gradient's signs point to. One jump is exact where the pre-activation is affine
            in x (the first layer); a few more follow the pieces of deeper layers.
    climb   Adam on t in [0, 1]^n with x = lower + t (upper - lower), from many starts, each row's gradient scaled to
            maximum 1 so that neurons with ranges of 1e-6 climb like the others.

What is found is offered to the ledger, which replays it; nothing here is trusted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from milpcomp.domain import FloatArray
from milpcomp.network.layers import size
from milpcomp.network.to_torch import pre_activation_module
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.sampling import corners, uniform

Pair = tuple[str, int, int]

BATCH_ELEMENTS = 2_000_000
"""About how many pre-activations and inputs one batch of rows may hold."""

OFFER_EVERY = 10
"""Steps of a climb between two offers to the ledger."""

LEARNING_RATE = 0.1
"""First step size of a climb, in units of the box; it falls linearly to a tenth."""

DECAYS = (0.9, 0.999)
"""How slowly Adam forgets gradients, and their squares."""


@dataclass(frozen=True)
class Search:
    """A gradient search over the domain of one ledger, on one torch device, until a deadline (``time.monotonic()``)."""

    ledger: Ledger
    rng: np.random.Generator
    device: str = "cpu"
    deadline: float = float("inf")

    def jump(self, steps: int = 6) -> int:
        """Search by corner jumps from one start per open question; return how many questions are settled by it."""
        return self._run(restarts=1, steps=steps, climb=False)

    def climb(self, restarts: int, steps: int) -> int:
        """Search by Adam from `restarts` starts per open question, `steps` steps each; return what `jump` does."""
        return self._run(restarts, steps, climb=True)

    def _run(self, restarts: int, steps: int, *, climb: bool) -> int:
        network = self.ledger.network
        row_size = size(network.input_shape) + sum(network.width(layer) for layer in self.ledger.layers)
        restarts = max(1, min(restarts, BATCH_ELEMENTS // row_size))
        per_batch = max(1, BATCH_ELEMENTS // (row_size * restarts))
        waiting = self.ledger.open_pairs()
        if not waiting:
            return 0
        asked = len(waiting)
        module = pre_activation_module(network, torch.float64, self.device)
        while waiting and time.monotonic() < self.deadline:
            rows = _Rows(self, module, waiting[:per_batch], restarts)
            for step in self._steps(steps):
                rows.climb(LEARNING_RATE * (1 - 0.9 * step / steps)) if climb else rows.jump()
                due = not climb or step % OFFER_EVERY == OFFER_EVERY - 1 or step == steps - 1
                if due and self.ledger.offer(rows.winners()):
                    rows.keep(self.ledger.open_pairs())
                if not rows.pairs:
                    break
            still_open = set(self.ledger.open_pairs())
            waiting = [pair for pair in waiting[per_batch:] if pair in still_open]
        return asked - len(self.ledger.open_pairs())

    def _steps(self, steps: int) -> Iterator[int]:
        for step in range(steps):
            if time.monotonic() > self.deadline:
                return
            yield step


class _Rows:
    """One batch: `restarts` rows for each pair, kept as t in [0, 1] on the device."""

    def __init__(self, search: Search, module: torch.nn.Module, pairs: Sequence[Pair], restarts: int) -> None:
        self.search, self.module, self.restarts, self.pairs = search, module, restarts, list(pairs)
        domain = search.ledger.domain
        count = len(self.pairs) * restarts
        starts = np.concatenate(
            [uniform(domain, search.rng, count - count // 2), corners(domain, search.rng, count // 2)]
        )[search.rng.permutation(count)]
        with np.errstate(over="ignore"):
            width = np.minimum(domain.upper - domain.lower, np.finfo(np.float64).max)
        share = (starts - domain.lower) / np.where(width > 0, width, 1.0)
        self.lower, self.width, self.t = (
            torch.tensor(array, dtype=torch.float64, device=search.device) for array in (domain.lower, width, share)
        )
        # Adam is spelled out because making a torch.optim optimiser imports torch's compiler, which takes seconds.
        self._mean, self._square, self._steps = torch.zeros_like(self.t), torch.zeros_like(self.t), 0

    def jump(self) -> None:
        gradient = self._gradient()
        self.t = torch.where(gradient == 0, self.t, (gradient > 0).to(self.t.dtype))

    def climb(self, rate: float) -> None:
        """Take one step of Adam upwards (Kingma and Ba, arXiv 1412.6980), projected onto [0, 1]."""
        gradient, (slow, slower) = self._gradient(), DECAYS
        self._steps += 1
        self._mean.lerp_(gradient, 1 - slow)
        self._square.lerp_(gradient**2, 1 - slower)
        mean, square = self._mean / (1 - slow**self._steps), self._square / (1 - slower**self._steps)
        self.t.addcdiv_(mean, square.sqrt_().add_(1e-8), value=rate).clamp_(0.0, 1.0)

    def winners(self) -> FloatArray:
        """Return, as inputs inside the domain, the best row of each pair that this row seems to settle."""
        with torch.no_grad():
            best = self._objective(self.t).reshape(len(self.pairs), self.restarts).max(dim=1)
            pairs = torch.nonzero(best.values > 0)[:, 0]
            rows = pairs * self.restarts + best.indices[pairs]
            x = (self.lower + self.t[rows] * self.width).cpu().numpy()
        return self.search.ledger.domain.clip(x)

    def keep(self, pairs: Sequence[Pair]) -> None:
        """Drop the rows of pairs that are not among `pairs` any more."""
        wanted = set(pairs)
        mask = [pair in wanted for pair in self.pairs]
        if all(mask):
            return
        self.pairs = [pair for pair in self.pairs if pair in wanted]
        rows = torch.as_tensor(np.repeat(mask, self.restarts), device=self.t.device)
        self.t, self._mean, self._square = self.t[rows], self._mean[rows], self._square[rows]

    def _gradient(self) -> torch.Tensor:
        t = self.t.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self._objective(t).sum(), t)
        gradient = torch.nan_to_num(gradient)
        largest = gradient.reshape(len(t), -1).abs().amax(dim=1)
        return gradient / torch.where(largest > 0, largest, 1.0).reshape(-1, *(1 for _ in t.shape[1:]))

    def _objective(self, t: torch.Tensor) -> torch.Tensor:
        """Return sign * pre-activation of each row's own question."""
        values = self.module(self.lower + t * self.width)
        result = torch.zeros(len(t), dtype=t.dtype, device=t.device)
        for layer, value in values.items():
            chosen = [(i, unit, sign) for i, (name, unit, sign) in enumerate(self.pairs) if name == layer]
            if chosen:
                index, unit, sign = (np.repeat(np.array(part), self.restarts) for part in zip(*chosen, strict=True))
                offsets = np.tile(np.arange(self.restarts), len(chosen))
                rows = torch.as_tensor(index * self.restarts + offsets, device=t.device)
                picked = value[rows, torch.as_tensor(unit, device=t.device)]
                result = result.index_put((rows,), picked * torch.as_tensor(sign, dtype=t.dtype, device=t.device))
        return result
