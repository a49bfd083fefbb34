r"""One layer as a sum of rectifiers, with some of its units split: what goes into a climb, and what comes out.

    question    constant + sum of coefficient . r(g) <= 0 ?           g = A v + b, v in a box
    climb       the sum `milpcomp.branch.spheres` takes, scaled: s in [-1, 1]^n for v, the bound at the start as 1
    proof       parabolas, a diagonal, a center (`milpcomp.bounds.curved`), and lines for all other units

A unit is convex where the sum gains when it crosses 0, else concave. In a case, a split unit is linear, and a concave
unit of weight `PRICE` keeps its pre-activation on its side; the slope of that one is the multiplier of the split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.bounds.curved import Curve, Reading, reading
from milpcomp.bounds.interval import Interval
from milpcomp.branch import spheres
from milpcomp.branch.question import Question
from milpcomp.branch.spheres import Maximum, Sum, Units
from milpcomp.domain import FloatArray
from milpcomp.network import INPUT, Network, Rectifier
from milpcomp.network.layers import IntArray

WIDEST = (2_000, 4_000)
"""Layers that have more units, or read more, are not relaxed: square matrices of the units are factored, in seconds."""

PRICE = 4.0
"""What keeps a split unit on its side, in terms of its weight."""

SLACK = 1e-5
"""How much larger the diagonal is made than it has to be, relatively."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Slopes and bounds of pre-activations of the units of one rectifier, each of shape (K,)."""

    positive: FloatArray
    negative: FloatArray
    lower: FloatArray
    upper: FloatArray

    def lines(self, row: FloatArray) -> FloatArray:
        """Return multipliers for coefficients `row` of the units: chords where these bound it, else the slope below 0.

        That slope, and not a tangent's, as the box of the units is what a climb reckoned with.
        """
        share = np.where(self.lower >= 0, 1.0, np.where(self.upper <= 0, 0.0, self.upper / (self.upper - self.lower)))
        bent = (self.lower < 0) & (self.upper > 0) & (row * (self.positive - self.negative) < 0)
        return row * (self.negative + np.where(bent, 0.0, share) * (self.positive - self.negative))


@dataclass(frozen=True, eq=False)
class Layer:
    """The question as a sum over the units of one rectifier: ``constant + coefficient . r(g)``, g as `read` says.

    Parameters
    ----------
    rectifier : str
    read : Reading
    constant : float
    coefficient : ndarray, shape (K,)
    units : Stretch
    below : Stretch or None
        Of what the layer reads, where that is a rectifier.
    reach : float
        The bound that the search starts from.
    """

    rectifier: str
    read: Reading
    constant: float
    coefficient: FloatArray
    units: Stretch
    below: Stretch | None
    reach: float

    @property
    def rise(self) -> FloatArray:
        """What the sum gains where a unit crosses 0, per unit of its pre-activation."""
        return self.coefficient * (self.units.positive - self.units.negative)

    @property
    def crossing(self) -> IntArray:
        """Which units cross 0 and matter there."""
        return np.flatnonzero((self.units.lower < 0) & (self.units.upper > 0) & (self.rise != 0))


def layer_below(network: Network, values: Mapping[str, Interval], question: Question) -> Layer | None:
    """Return the question as a sum over the layer below; None where this is no chain of dense layers, or too wide."""
    target = reading(network, values, question.layer)
    if target is None or not is_rectifier(network, target.source):
        return None
    node = network[target.source]
    read = reading(network, values, node.name)
    if (
        read is None
        or read.matrix.shape[0] > WIDEST[0]
        or read.matrix.shape[1] > WIDEST[1]
        or len(read.matrix) != target.matrix.shape[1]
    ):
        return None
    wanted = values[network[question.layer].inputs[0]]
    side = wanted.upper if question.sign > 0 else -wanted.lower
    reach = float(side.reshape(-1)[question.unit])
    if not (0 < reach < np.inf):
        return None
    return Layer(
        node.name,
        read,
        question.sign * float(target.offset[question.unit]),
        question.sign * target.matrix[question.unit],
        _stretch(network, values, node.name),
        _stretch(network, values, read.source) if is_rectifier(network, read.source) else None,
        reach,
    )


def is_rectifier(network: Network, name: str) -> bool:
    """Tell whether a value is the output of a rectifier."""
    return name != INPUT and isinstance(network[name].layer, Rectifier)


def _stretch(network: Network, values: Mapping[str, Interval], rectifier: str) -> Stretch:
    node = network[rectifier]
    assert isinstance(node.layer, Rectifier)
    bounds = values[node.inputs[0]]
    slopes = node.layer.slopes(network.shape(rectifier))
    return Stretch(*slopes, bounds.lower.reshape(-1), bounds.upper.reshape(-1))


class Case:
    """A layer with some of its convex units split: `splits` says for a unit whether it is active.

    `total` is the sum to maximise, scaled so that the bound the search starts from is 1, over [-1, 1]^n.
    """

    def __init__(self, layer: Layer, splits: Mapping[int, bool]) -> None:
        self.layer = layer
        read, reach = layer.read, layer.reach
        self.middle, self.radius = (read.lower + read.upper) / 2, (read.upper - read.lower) / 2
        rows, offset = read.matrix * self.radius, read.matrix @ self.middle + read.offset
        crossing, rise = layer.crossing, layer.rise / reach
        held = np.array(sorted(splits), dtype=np.int64)
        self.convex = np.setdiff1d(crossing[rise[crossing] > 0], held)
        self.concave = crossing[rise[crossing] < 0]
        self.held, self.side = held, np.array([1.0 if splits[k] else -1.0 for k in held.tolist()])
        linear = self._linear() / reach
        kept = -self.side[:, None] * rows[held], -self.side * offset[held], PRICE * rise[held]
        low = rows[self.concave], offset[self.concave], -rise[self.concave]
        self.total = Sum(
            layer.constant / reach + float(linear @ offset),
            linear @ rows,
            Units(rows[self.convex], offset[self.convex], rise[self.convex]),
            Units(*(np.concatenate(pair) for pair in zip(low, kept, strict=True))),
        )

    def _linear(self) -> FloatArray:
        """Return the coefficients of pre-activations: of stable and split units all, of others what is below 0."""
        layer = self.layer
        slope = np.where(layer.units.lower >= 0, layer.units.positive, layer.units.negative)
        slope[self.held] = np.where(self.side > 0, layer.units.positive[self.held], layer.units.negative[self.held])
        return layer.coefficient * slope

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Return bounds of the pre-activations."""
        lower, upper = self.layer.units.lower.copy(), self.layer.units.upper.copy()
        lower[self.held] = np.where(self.side > 0, np.maximum(lower[self.held], 0), lower[self.held])
        upper[self.held] = np.where(self.side < 0, np.minimum(upper[self.held], 0), upper[self.held])
        return lower, upper

    def first_slopes(self, known: FloatArray) -> FloatArray:
        """Return slopes of concave units to begin with: those of a parent (K,), NaN where it has none."""
        slopes = known[np.concatenate([self.concave, self.held])]
        return np.where(np.isnan(slopes), spheres.first_slopes(self.total.concave), slopes)

    def slopes(self, found: Maximum) -> FloatArray:
        """Return what a child begins with, (K,)."""
        slopes = np.full(len(self.layer.units.lower), np.nan)
        slopes[np.concatenate([self.concave, self.held])] = found.slopes
        return slopes

    def multipliers(self, found: Maximum, curve: Curve | None) -> FloatArray:
        """Return lines of the units (0 for curved ones), and, where a rectifier is read, of its units."""
        slopes = self._linear()
        low, kept = np.split(found.slopes * self.layer.reach, [len(self.concave)])
        slopes[self.concave] -= low
        slopes[self.held] += self.side * kept
        whole, row = slopes.copy(), np.zeros(len(self.middle))
        if curve is not None:
            kappa, rise, slopes[self.convex] = curve.curvature[self.convex], self.layer.rise[self.convex], 0.0
            y = self.layer.read.matrix[self.convex] @ curve.center + self.layer.read.offset[self.convex]
            whole[self.convex] += 2 * kappa * y + rise / 2
            row = 2 * curve.diagonal * (self.middle - curve.center)
        below = self.layer.below
        return slopes if below is None else np.append(slopes, below.lines(whole @ self.layer.read.matrix + row))

    def curve(self, found: Maximum) -> Curve | None:
        """Return parabolas, and a diagonal that is large enough for them; None where no unit takes one."""
        layer, units = self.layer, self.total.convex
        scale = np.abs(units.rows).sum(axis=1) + np.abs(units.offset)
        curvature = np.where(scale > 0, units.weight / (4 * np.maximum(found.lengths, 1e-9 * scale)), 0.0)
        if not curvature.any():
            return None
        diagonal = _enough(units.rows, curvature, found.diagonal)
        whole = np.zeros(len(layer.units.lower))
        whole[self.convex] = curvature * layer.reach
        # what cannot vary costs nothing
        fixed = 1e9 * (layer.read.matrix[self.convex] ** 2 * whole[self.convex, None]).sum(axis=0)
        spread = np.where(self.radius > 0, self.radius, 1.0)
        diagonal = np.where(self.radius > 0, diagonal * layer.reach / spread**2, fixed)
        return Curve(whole, diagonal, self.middle + self.radius * found.center)

    def costliest(self, found: Maximum) -> int | None:
        """Return the convex unit with the largest gap; None if there is none."""
        gap = self.total.convex.weight * (found.lengths - np.abs(found.numbers))
        return int(self.convex[gap.argmax()]) if len(gap) and gap.max() > 0 else None


def _enough(rows: FloatArray, curvature: FloatArray, diagonal: FloatArray) -> FloatArray:
    """Return a diagonal that is at least rows.T @ diag(curvature) @ rows, as little above the given one as possible.

    What is missing is a matrix of low rank, from the eigenvectors beyond 1 of the scaled product; a diagonal of its row
    sums is more than it (Gershgorin).
    """
    floor = 1e-9 * float(diagonal.mean()) if len(diagonal) else 0.0
    diagonal = np.maximum(diagonal, floor) + np.finfo(float).tiny
    root = np.sqrt(diagonal)
    scaled = np.sqrt(curvature)[:, None] * rows / root
    product = scaled @ scaled.T
    if not np.isfinite(product).all():
        return np.full(len(diagonal), np.nan)
    sizes, vectors = np.linalg.eigh(product)
    beyond = sizes > 1
    missing = root[:, None] * (scaled.T @ vectors[:, beyond]) * np.sqrt((sizes[beyond] - 1) / sizes[beyond])
    return (diagonal + np.abs(missing @ missing.T).sum(axis=1)) * (1 + SLACK)
