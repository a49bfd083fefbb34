"""Better tangent slopes for linear bounds, by ascent with the analytic gradient.

The bound of a row is the least value of a function that is linear in the input x and in each tangent slope a_i:

    bound(a) = min over x of  ( ... + c_i a_i z_i(x) + ... )

c_i is the row's coefficient at neuron i where the tangent was taken, z_i(x) the value that the chosen lines give to its
pre-activation. By the envelope theorem the derivative holds the minimising corner x* fixed:

    d bound / d alpha_i = c_i (positive_i - negative_i) z_i(x*)

so one backward pass (c) and one forward pass through the chosen lines (z) make a gradient for all rows and neurons.
The ascent is Adam on alphas in [0, 1] (Kingma and Ba, arXiv 1412.6980; for this purpose: Xu et al., arXiv 2011.13824),
each row's gradient scaled to 1 first, as ranges differ by many powers of ten. Every backward pass is evaluated at
alphas rounded to 1/255 and is error-bounded, so that the best one seen *is* the proof.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.linear import Substitution, Trace
from milpcomp.bounds.slopes import ALPHA_STEPS
from milpcomp.network import INPUT, Rectifier
from milpcomp.network.graph import evaluate
from milpcomp.network.layers import FloatArray, IntArray

RATE = 0.3
"""First step size of the ascent."""

DECAY = 0.95
"""What the step size is multiplied by after each step."""

MOMENTUM = (0.9, 0.999)


@dataclass(frozen=True, eq=False)
class Optimised:
    """The best bounds found for T rows.

    Parameters
    ----------
    lower : ndarray, shape (T,)
        Proved lower bounds, rounding included.
    alphas : dict from rectifier name to ndarray of uint8, shape (T, neurons)
        The alphas that prove them.
    """

    lower: FloatArray
    alphas: dict[str, NDArray[np.uint8]]


def optimise(
    substitution: Substitution, units: IntArray, signs: FloatArray, steps: int, deadline: float = float("inf")
) -> Optimised:
    """Return lower bounds of ``signs[k] * (element units[k])`` of the substitution's source, with optimised alphas.

    Parameters
    ----------
    substitution : Substitution
    units : ndarray of int, shape (T,)
    signs : ndarray, shape (T,)
        +1 or -1.
    steps : int
        A row stops earlier once its bound is >= 0: then its sign is decided.
    deadline : float
        ``time.monotonic()`` value after which no further step is begun (the default alphas are always evaluated).
    """
    steps = steps if any(lines.open.any() for lines in substitution.relaxations.values()) else 0
    rows, active = substitution.rows(units, signs), np.arange(len(units))
    ascents = {
        name: _Ascent(np.repeat(alphas / ALPHA_STEPS, len(units), axis=0))
        for name, alphas in substitution.default_alphas().items()
    }
    best = Optimised(
        np.full(len(units), -np.inf),
        {name: np.rint(ascent.alphas * ALPHA_STEPS).astype(np.uint8) for name, ascent in ascents.items()},
    )
    for step in range(steps + 1):
        rounded = {name: np.rint(ascent.alphas * ALPHA_STEPS) for name, ascent in ascents.items()}
        trace = Trace() if step < steps else None
        lower = substitution.lower(rows[active], rounded, trace)
        better = lower > best.lower[active]
        best.lower[active[better]] = lower[better]
        for name, alphas in rounded.items():
            best.alphas[name][active[better]] = alphas[better]
        undecided = lower < 0
        if trace is None or not undecided.any() or time.monotonic() > deadline:
            break
        with np.errstate(all="ignore"):
            for name, gradient in _gradient(substitution, trace).items():
                ascents[name].climb(gradient, step)
        if not undecided.all():
            active = active[undecided]
            for ascent in ascents.values():
                ascent.keep(undecided)
    return best


class _Ascent:
    """Adam on the alphas (T, neurons) of one rectifier."""

    def __init__(self, alphas: FloatArray) -> None:
        self.alphas = alphas
        self.mean, self.square = np.zeros_like(alphas), np.zeros_like(alphas)

    def climb(self, gradient: FloatArray, step: int) -> None:
        first, second = MOMENTUM
        self.mean += (1 - first) * (gradient - self.mean)
        self.square += (1 - second) * (gradient * gradient - self.square)
        mean, square = self.mean / (1 - first ** (step + 1)), self.square / (1 - second ** (step + 1))
        self.alphas = np.clip(self.alphas + RATE * DECAY**step * mean / (np.sqrt(square) + 1e-8), 0.0, 1.0)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        self.alphas, self.mean, self.square = self.alphas[rows], self.mean[rows], self.square[rows]


def _gradient(substitution: Substitution, trace: Trace) -> dict[str, FloatArray]:
    """Return d bound / d alpha by rectifier, (T, neurons), each row divided by its largest absolute entry."""
    gradient = slope_gradient(substitution, trace)
    largest = np.max([np.abs(g).max(axis=1, initial=0.0) for g in gradient.values()], axis=0)
    scale = 1.0 / np.where(largest > 0, largest, 1.0)
    return {name: np.nan_to_num(g * scale[:, None], posinf=0.0, neginf=0.0) for name, g in gradient.items()}


def slope_gradient(substitution: Substitution, trace: Trace) -> dict[str, FloatArray]:
    """Return d bound / d alpha by rectifier, (T, neurons), at the lines and corners of `trace`."""
    network, values = substitution.network, {INPUT: trace.corner}
    gradient: dict[str, FloatArray] = {}
    for node in substitution.nodes:
        inputs = [values[name] for name in node.inputs]
        if not isinstance(node.layer, Rectifier):
            values[node.name] = evaluate(node.layer, inputs)
            continue
        z, lines = inputs[0].reshape(len(trace.corner), -1), substitution.relaxations[node.name]
        slope, intercept = trace.lines[node.name]
        gradient[node.name] = trace.sensitivity[node.name] * (lines.positive - lines.negative) * z
        values[node.name] = (slope * z + intercept).reshape(-1, *network.shape(node.name))
    return gradient
