r"""The local Lipschitz constant of a classifier, from above: proved.

Let z = f(x) and z' = f(x') be logits, d = z' - z, p = softmax(z), q = softmax(z'). Then

    KL(p || q) = log sum_i p_i e^(d_i) - sum_i p_i d_i

which is the cumulant generating function of d under p at 1, less its mean. With R = max d - min d it is at most R^2 / 8
(Hoeffding's lemma) and at most R (log-mean-exp <= max, mean >= min). A network f is piecewise linear and a box convex,
so along the segment from x to x'

    R <= Lambda |x' - x|_inf,     Lambda = max over pairs i, j of the greatest |grad (f_i - f_j)|_1 in the box

and for |x' - x|_inf <= epsilon

    KL(p || q) / |x' - x|_inf  <=  min(Lambda, Lambda^2 epsilon / 8)

For norms of the logits the same argument gives max_i G_i (linf), sum_i G_i (l1) and sqrt(sum_i G_i^2) (l2), with G_i
the greatest |grad f_i|_1 in the box.

Gradients are enclosed in balls ``center +- radius``, element by element, from the output back to the input: a rectifier
multiplies by an interval of slopes, which is a single number where proved bounds show the neuron to be stable in the
box; an affine layer by its transposed matrix. Radii take up every rounding (`milpcomp.bounds.rounding`).

The recursion over slope intervals is the one of Weng et al., arXiv 1804.09699 (Fast-Lip); the KL bound is our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.rounding import SLACK, UNDERFLOW, UNIT, gamma
from milpcomp.bounds.tighten import interval_bounds, tighten
from milpcomp.domain import Box
from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Affine, Concat, FloatArray, Rectifier
from milpcomp.robustness.lipschitz import ORDERS, Measure

Ball = tuple[FloatArray, FloatArray]
"""Centers and radii, (rows, *shape)."""


def local_lipschitz_bound(network: Network, domain: Box, epsilon: float, measure: Measure = "kl") -> float:
    """Return a proved upper bound of the ratio ``D(f(x), f(x')) / |x - x'|_inf`` for all x, x' of a box.

    Parameters
    ----------
    network : Network
        Its output is a vector of logits.
    domain : Box
        Holds x and x'; ``Box.around(x, epsilon)`` for one sample.
    epsilon : float
        Greatest distance of x and x'.
    measure : {"kl", "l1", "l2", "linf"}

    Raises
    ------
    SettingsError, NetworkError, DomainError
        If the measure is unknown, epsilon is not positive, the output is no vector, or the box does not fit.

    Notes
    -----
    **Trusts** IEEE float64 arithmetic, and the proved bounds of `milpcomp.bounds`. The bound is about real arithmetic.
    """
    if measure not in ("kl", *ORDERS):
        raise SettingsError(f"unknown measure {measure!r}; choose kl, l1, l2 or linf")
    if not 0 < epsilon < math.inf:
        raise SettingsError(f"epsilon must be a finite number > 0, got {epsilon!r}")
    if len(network.output_shape) != 1:
        raise NetworkError(f"the output must be a vector of logits, its shape is {network.output_shape}")
    classes = network.output_shape[0]
    rows = np.eye(classes)
    if measure == "kl":
        pairs = list(combinations(range(classes), 2))
        rows = np.array([rows[i] - rows[j] for i, j in pairs]).reshape(len(pairs), classes)
    steepest = gradient_norms(network, domain, rows)
    if measure == "kl":
        steep = float(steepest.max(initial=0.0))
        return min(steep, _up(_up(steep * steep) * epsilon / 8))
    if measure == "linf":
        return float(steepest.max(initial=0.0))
    return _up(float(steepest.sum())) if measure == "l1" else _up(math.sqrt(_up(float((steepest**2).sum()))))


def gradient_norms(network: Network, domain: Box, rows: FloatArray) -> FloatArray:
    """Return upper bounds of ``|grad (row @ f)|_1`` over a box, one for each row (K, outputs)."""
    if not len(rows):
        return np.zeros(0)
    bounds = tighten(network, domain, interval_bounds(network, domain), steps=0).values
    held: dict[str, Ball] = {network.output: (rows.astype(np.float64), np.zeros(rows.shape))}
    with np.errstate(all="ignore"):
        for node in reversed(network.nodes):
            if node.name in held:
                _back(network, node, held.pop(node.name), bounds, held)
        center, radius = held.get(INPUT, (np.zeros((len(rows), 1)), np.zeros((len(rows), 1))))
        size = (np.abs(center) + radius).reshape(len(rows), -1)
        total = size.sum(axis=1) * (1 + gamma(size.shape[1] + 2)) * SLACK
    return np.where(np.isnan(total), np.inf, total)


def _back(network: Network, node: Node, ball: Ball, bounds: Mapping[str, Interval], held: dict[str, Ball]) -> None:
    """Pass the balls of a node's value on to its inputs."""
    layer = node.layer
    if isinstance(layer, Concat):
        cuts = np.cumsum([network.shape(name)[layer.axis] for name in node.inputs])[:-1]
        center, radius = (np.split(part, cuts, axis=layer.axis + 1) for part in ball)
        parts = list(zip(center, radius, strict=True))
    elif isinstance(layer, Rectifier):
        parts = [_through_rectifier(layer, bounds[node.inputs[0]], ball)]
    elif isinstance(layer, Affine):
        parts = [_through_affine(layer, network.shape(node.inputs[0]), ball)]
    else:
        parts = [ball] * len(node.inputs)
    for name, part in zip(node.inputs, parts, strict=True):
        held[name] = _sum(held[name], part) if name in held else part


def _through_affine(layer: Affine, shape: tuple[int, ...], ball: Ball) -> Ball:
    center, radius = ball
    size = layer.absolute()
    terms = layer.terms(shape)
    moved = size.transposed(radius, shape) * (1 + gamma(terms + 2))
    rounded = gamma(terms) * size.transposed(np.abs(center), shape) * (1 + gamma(terms + 2)) + UNDERFLOW
    return layer.transposed(center, shape), (moved + rounded) * SLACK


def _through_rectifier(layer: Rectifier, x: Interval, ball: Ball) -> Ball:
    center, radius = ball
    p, n = layer.positive_slope, layer.negative_slope
    low = np.where(x.lower >= 0, p, np.where(x.upper <= 0, n, np.minimum(p, n)))
    high = np.where(x.lower >= 0, p, np.where(x.upper <= 0, n, np.maximum(p, n)))
    middle = low + (high - low) / 2
    half = np.where(low == high, 0.0, np.maximum(high - middle, middle - low) * SLACK)
    value = center * middle
    spread = np.abs(center) * half + radius * (np.abs(middle) + half) + UNIT * np.abs(value) + UNDERFLOW
    return value, spread * SLACK


def _sum(a: Ball, b: Ball) -> Ball:
    center = a[0] + b[0]
    return center, (a[1] + b[1] + UNIT * np.abs(center)) * SLACK


def _up(value: float) -> float:
    """Return a float that is not below what `value` was before a few roundings."""
    return value * SLACK if math.isfinite(value) else math.inf
