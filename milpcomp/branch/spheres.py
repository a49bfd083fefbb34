r"""The semidefinite relaxation of a sum of rectifiers over a box, by vectors in place of numbers.

    maximise    constant + linear . s + sum over convex units  w max(0, g)  -  sum over concave units  w max(0, g)
    over        s in [-1, 1]^n,      g = A s + b,  w > 0

Every s_i becomes a unit vector S_i of R^RANK, and a number is the product with a fixed unit vector e (Burer, Monteiro,
Math. Programming 95, 2003). With G = A S + b e, a convex unit contributes w (|G| + G . e) / 2, which is what is left of
it in Shor's relaxation; concave units see only g = G . e. Good ranks have no bad local maxima, and a bad one costs
strength, not soundness. At a maximum the multipliers are at hand:

    curvature   w / (4 |G|)                            of the parabola w (g + |G|)^2 / (4 |G|) >= w max(0, g)
    diagonal    |gradient by S_i| / 2                  of 1 - s_i^2 >= 0
    slopes      of concave units, below
    center      S . e

Concave units are smoothed around slopes x that are known already, as in the method of multipliers:

    w max(0, g)  ~  x' g - (x' - x)^2 / (2 rho),     x' = x + rho g, cut to [0, w],     rho = STIFFNESS / (range of g)^2

and x' is the next stage's x. (A mere small softness fails on weights that are 1e5 times what the sum is about.)
L-BFGS does the climbing, spelled out because two BLAS libraries with threads of their own (numpy's and scipy's) get in
each other's way: measured ten times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from milpcomp.domain import FloatArray

RANK = 16
STIFFNESS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5)
"""How hard concave units are, stage by stage."""

STEPS = 150
"""Steps of a stage, at most."""

MEMORY = 12
"""Pairs of steps and changes of the gradient that L-BFGS keeps."""

STALL = 1e-7
"""A stage ends when ten steps gain less than this share."""

Function = Callable[[FloatArray], tuple[float, FloatArray]]


@dataclass(frozen=True, eq=False)
class Units:
    """Units of one kind: ``rows`` (K, n), ``offset`` (K,), ``weight`` (K,) > 0."""

    rows: FloatArray
    offset: FloatArray
    weight: FloatArray


@dataclass(frozen=True, eq=False)
class Sum:
    """What is maximised; see the module's text. `linear` has shape (n,)."""

    constant: float
    linear: FloatArray
    convex: Units
    concave: Units


@dataclass(frozen=True, eq=False)
class Maximum:
    """The vectors (n, RANK), and what they make of it.

    Parameters
    ----------
    value : float
        About what the relaxation's maximum is, or less.
    lengths : ndarray
        |G| of the convex units.
    numbers : ndarray
        G . e of the convex units.
    slopes : ndarray
        Of the concave units, in [0, w].
    diagonal : ndarray, shape (n,)
    """

    vectors: FloatArray
    value: float
    lengths: FloatArray
    numbers: FloatArray
    slopes: FloatArray
    diagonal: FloatArray

    @property
    def center(self) -> FloatArray:
        """The numbers s that the vectors stand for, shape (n,)."""
        return self.vectors[:, 0]


def start(inputs: int, seed: int = 0) -> FloatArray:
    """Return random unit vectors, shape (inputs, RANK)."""
    return _normed(np.random.default_rng(seed).standard_normal((inputs, RANK)))[0]


def first_slopes(units: Units) -> FloatArray:
    """Return slopes of concave units to begin with."""
    return np.minimum(units.weight / 2, 1.0 / _ranges(units))


def maximise(total: Sum, vectors: FloatArray, slopes: FloatArray, stiffness: float) -> Maximum:
    """Climb from `vectors` to a maximum of the sum, with concave units smoothed around `slopes`."""
    shape = vectors.shape
    pull = slopes, stiffness / _ranges(total.concave) ** 2

    def negative(flat: FloatArray) -> tuple[float, FloatArray]:
        unit, length = _normed(flat.reshape(shape))
        value, gradient = _value(total, unit, *pull)[:2]
        inward = np.einsum("ij,ij->i", gradient, unit)[:, None]
        return -value, ((inward * unit - gradient) / length).ravel()

    unit = _normed(_descend(negative, vectors.ravel(), STEPS).reshape(shape))[0]
    value, gradient, lengths, numbers, slopes = _value(total, unit, *pull)
    return Maximum(unit, value, lengths, numbers, slopes, np.linalg.norm(gradient, axis=1) / 2)


def _ranges(units: Units) -> FloatArray:
    return np.maximum(np.abs(units.rows).sum(axis=1), 1e-150)  # whose square is a number to divide by


def _value(
    total: Sum, unit: FloatArray, known: FloatArray, rho: FloatArray
) -> tuple[float, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the value, its gradient by the vectors, |G| and G . e of convex units, and the slopes of concave ones."""
    convex, concave, s = total.convex, total.concave, unit[:, 0]
    g = convex.rows @ unit
    g[:, 0] += convex.offset
    lengths = np.linalg.norm(g, axis=1) + np.finfo(float).tiny
    low = concave.rows @ s + concave.offset
    slopes = np.clip(known + rho * low, 0.0, concave.weight)
    soft = slopes * low - (slopes - known) ** 2 / (2 * rho)
    value = total.constant + total.linear @ s + convex.weight @ (lengths + g[:, 0]) / 2 - soft.sum()
    pull = (convex.weight / (2 * lengths))[:, None] * g
    pull[:, 0] += convex.weight / 2
    gradient = convex.rows.T @ pull
    gradient[:, 0] += total.linear - concave.rows.T @ slopes
    return float(value), gradient, lengths, g[:, 0], slopes


def _normed(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True) + np.finfo(float).tiny
    return vectors / length, length


def _descend(function: Function, x: FloatArray, steps: int) -> FloatArray:
    """Return where L-BFGS with halved steps (Nocedal, Wright, Numerical Optimization, algorithm 7.4) gets."""
    value, gradient = function(x)
    pairs: list[tuple[FloatArray, FloatArray, float]] = []
    values = [value]
    for _ in range(steps):
        direction = -_two_loops(gradient, pairs)
        slope = float(direction @ gradient)
        if not slope < 0:
            break
        length = 1.0 if pairs else min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-300))
        for _ in range(25):
            trial = x + length * direction
            new_value, new_gradient = function(trial)
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        step, change = trial - x, new_gradient - gradient
        product = float(step @ change)
        if product > max(1e-14 * float(np.linalg.norm(step) * np.linalg.norm(change)), 1e-300):
            pairs = [*pairs[-MEMORY + 1 :], (step, change, 1.0 / product)]
        x, value, gradient = trial, new_value, new_gradient
        values.append(value)
        if len(values) > 10 and values[-11] - value < STALL * max(1.0, abs(value)):
            break
    return x


def _two_loops(gradient: FloatArray, pairs: list[tuple[FloatArray, FloatArray, float]]) -> FloatArray:
    """Return the inverse Hessian, as the pairs know it, times the gradient."""
    result, shares = gradient.copy(), []
    for step, change, inverse in reversed(pairs):
        share = inverse * float(step @ result)
        result -= share * change
        shares.append(share)
    if pairs:
        step, change, inverse = pairs[-1]
        result /= inverse * float(change @ change)
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        result += (share - inverse * float(change @ result)) * step
    return result
