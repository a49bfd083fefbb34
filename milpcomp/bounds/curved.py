r"""A whole layer bounded at once: parabolas over convex units, paid for by the box that the layer reads.

The triangle relaxation bounds every unit alone. Where many small units add up, as in rows that l1 has all but emptied,
their sum is far smaller than the sum of their bounds, and the semidefinite relaxation knows (Shor's relaxation;
Raghunathan, Steinhardt, Liang, NeurIPS 2018). Its dual is used here as one more way to pass a rectifier backwards.

A rectifier with coefficients c on its outputs, slopes p, n, reads g = A v + b, with v in the box [lo, hi]. For units
with a = c (p - n) > 0 and a curvature kappa > 0, any diagonal d >= 0 and any point ("center") z, with y = A z + b:

    c r(g)  <=  c n g + kappa (g + tau)^2                 tau >= a / (4 kappa)
    0       <=  sum d (v - lo) (hi - v)

    kappa (g + tau)^2    =  kappa (tau^2 - y^2) + 2 kappa (y + tau) g        + kappa (g - y)^2
    d (v - lo) (hi - v)  =  d (z^2 - lo hi)     + d (lo + hi - 2 z) v        - d (v - z)^2

    sum kappa (g - y)^2  <=  sum d (v - z)^2              if diag(d) >= A^T diag(kappa) A     (over the curved units)

So all curved units together are replaced by lines on g, one row on v, and a constant: all that the optimum of the
semidefinite relaxation needs, for the right numbers, and a sound bound for any. Other units are passed as in
`milpcomp.bounds.multipliers`.

The matrix condition is proved on diag(1 / kappa) - A diag(1 / d) A^T (Schur complement): its Cholesky factor is
computed after a small shift, and the residual, with all rounding, must be smaller than the shift. Nothing of the factor
is trusted. Rounding: y is within eps of A z + b, and (x + eps)^2 <= (1 + DELTA) x^2 + (1 + 1 / DELTA) eps^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.multipliers import CaseRun, Cases, Multipliers
from milpcomp.bounds.rounding import UNDERFLOW, gamma
from milpcomp.network import INPUT, Dense, Network, Node, Rectifier
from milpcomp.network.layers import FloatArray

DELTA = 2.0**-20
"""What the quadratic forms may differ by, relatively, so that `eps` has room."""

SHIFT = 1e-9
"""What is taken off the diagonal (about 1) of a matrix before it is factored: more than rounding, less than matters."""

TINY = 1e-90
"""Curvatures and coefficients below it, or above its inverse, are not used, nor is a diagonal with such numbers.

A checker that stops at 2^-300 and 2^300 then stops nowhere else.
"""


@dataclass(frozen=True, eq=False)
class Reading:
    """The affine layer ``g = matrix @ v + offset`` that a rectifier reads, and the box of v over the whole domain.

    Parameters
    ----------
    source : str
        The node v.
    matrix : ndarray, shape (K, n)
    offset : ndarray, shape (K,)
    lower, upper : ndarray, shape (n,)
    """

    source: str
    matrix: FloatArray
    offset: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True, eq=False)
class Curve:
    """How one layer is bounded.

    Parameters
    ----------
    curvature : ndarray, shape (K,)
        kappa, 0 for units that are not curved.
    diagonal, center : ndarray, shape (n,)
    """

    curvature: FloatArray
    diagonal: FloatArray
    center: FloatArray

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self.curvature.nbytes + self.diagonal.nbytes + self.center.nbytes


def reading(network: Network, values: Mapping[str, Interval], rectifier: str) -> Reading | None:
    """Return what a rectifier reads, where that is a dense layer on bounded values; else None."""
    source = network[rectifier].inputs[0]
    node = None if source == INPUT else network[source]
    if node is None or not isinstance(node.layer, Dense):
        return None
    weight = node.layer.weight
    box = values[node.inputs[0]]
    lower, upper = box.lower.reshape(-1), box.upper.reshape(-1)
    if weight.shape[1] != len(lower) or not (np.isfinite(lower) & np.isfinite(upper)).all():
        return None
    return Reading(node.inputs[0], weight, np.broadcast_to(node.layer.offset(), len(weight)), lower, upper)


def upper_bound(
    substitution: Substitution,
    row: FloatArray,
    case: Cases,
    rectifier: str,
    curve: Curve,
    multipliers: Multipliers | None = None,
) -> float:
    """Return a proved upper bound of ``row @ value of the source`` over one case; inf where nothing is proved.

    Parameters
    ----------
    substitution : Substitution
        From the node that is bounded, over the whole domain.
    row : ndarray, shape (width of the source,)
    case : Cases
        Of one case.
    rectifier : str
        The one that `curve` is about.
    curve : Curve
    multipliers : mapping, optional
        Of one row, for units that are not curved.

    Notes
    -----
    **Trusts** the given bounds and what `milpcomp.bounds.rounding` trusts; nothing about curve and multipliers.
    """
    with np.errstate(all="ignore"):
        run = _CurvedRun(substitution, case, multipliers or {}, rectifier, curve)
        run.send(substitution.source, -row[None])
        for node in reversed(substitution.nodes):
            run.through(node)
        return float(-run.finish()[0])


class _CurvedRun(CaseRun):
    """One substitution of one row that passes one rectifier by parabolas."""

    def __init__(
        self, substitution: Substitution, case: Cases, multipliers: Multipliers, rectifier: str, curve: Curve
    ) -> None:
        super().__init__(substitution, case, np.zeros(1, dtype=np.int64), multipliers)
        self.rectifier, self.curve = rectifier, curve

    def _rectifier(self, node: Node, row: FloatArray) -> FloatArray:
        if node.name != self.rectifier:
            return super()._rectifier(node, row)
        layer = reading(self.shared.network, self.shared.values, node.name)
        assert layer is not None
        assert isinstance(node.layer, Rectifier)
        positive, negative = node.layer.slopes(self.shared.network.shape(node.name))
        rise = -row[0] * (positive - negative)
        curved = np.flatnonzero(_ordinary(self.curve.curvature) & _ordinary(rise))
        plain = row.copy()
        plain[0, curved] = 0.0
        if node.name in self.multipliers:  # a line of a curved unit would be a second one
            given = np.array(self.multipliers[node.name], dtype=np.float64)
            given[..., curved] = 0.0
            self.multipliers = {**self.multipliers, node.name: given}
        kept = super()._rectifier(node, plain)
        kept[0, curved] = self._curved(node.inputs[0], layer, -row[0, curved] * negative[curved], rise[curved], curved)
        return kept

    def _curved(
        self, source: str, layer: Reading, flat: FloatArray, rise: FloatArray, units: NDArray[np.intp]
    ) -> FloatArray:
        """Book constants and errors of the curved units, send the row on v, and return the rows on g (lower-sense)."""
        kappa, d, z = self.curve.curvature[units], self.curve.diagonal, self.curve.center
        matrix, size = layer.matrix[units], gamma(len(z) + len(units) + 12)
        usable = (self.curve.curvature < 1 / TINY).all() and ((d == 0) | _ordinary(d)).all()
        if not usable or not dominates(matrix, kappa, d):
            self.error += np.inf
        tau = np.nextafter(rise / (4 * kappa) * (1 + 2.0**-50), np.inf)
        y = matrix @ z + layer.offset[units]
        eps = size * (np.abs(matrix) @ np.abs(z) + np.abs(layer.offset[units])) + UNDERFLOW
        slope = flat + 2 * kappa * (y + tau)
        theta = d * (layer.lower + layer.upper - 2 * z)
        height = (kappa * (tau * tau - y * y)).sum() + (d * (z * z - layer.lower * layer.upper)).sum()
        height += (kappa * (1 + 2 / DELTA) * eps * eps).sum()
        sizes = (kappa * (tau * tau + y * y)).sum() + (d * (z * z + np.abs(layer.lower * layer.upper))).sum()
        self.error += size * (sizes + abs(height)) + UNDERFLOW * (1 + len(z) + len(units) + kappa.sum() + d.sum())
        on_g, on_v = self.shared.magnitudes[source][units], self.shared.magnitudes[layer.source]
        self.error += gamma(8) * ((np.abs(flat) + 2 * kappa * (np.abs(y) + tau)) @ on_g) + UNDERFLOW * on_g.sum()
        spread = np.abs(layer.lower) + np.abs(layer.upper) + 2 * np.abs(z)
        self.error += gamma(8) * ((d * spread) @ on_v) + UNDERFLOW * on_v.sum()
        self._add(np.array([-height]))
        self.send(layer.source, -theta[None])
        return -slope


def _ordinary(values: FloatArray) -> NDArray[np.bool_]:
    """Tell which numbers are positive, and far from where relative rounding errors end."""
    return (values > TINY) & (values < 1 / TINY)


def dominates(matrix: FloatArray, kappa: FloatArray, d: FloatArray) -> bool:
    """Prove that ``diag(d) - (1 + DELTA) matrix.T @ diag(kappa) @ matrix`` is positive semidefinite."""
    used = (matrix != 0).any(axis=0)
    if not len(kappa):
        return True
    if not (d[used] > 0).all():
        return False
    return proved_semidefinite(*schur_complement(matrix[:, used], kappa, d[used]))


def schur_complement(matrix: FloatArray, kappa: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ``diag(1 / ((1 + DELTA) kappa)) - matrix @ diag(1 / d) @ matrix.T``, scaled to a diagonal of about 1.

    Scaled by powers of two from both sides, which keeps its sign; with a bound of the rounding of every entry.
    """
    scale = 2.0 ** np.round(np.log2(kappa) / 2)
    rows = scale[:, None] * matrix
    shares = rows / d
    first = scale / kappa * scale / (1 + DELTA)
    sizes = np.abs(shares) @ np.abs(rows).T + np.diag(first)
    return np.diag(first) - shares @ rows.T, gamma(matrix.shape[1] + 12) * sizes + UNDERFLOW * matrix.shape[1]


def proved_semidefinite(matrix: FloatArray, error: FloatArray) -> bool:
    """Prove that every symmetric matrix within `error` of `matrix`, entry by entry, is positive semidefinite."""
    if not (np.isfinite(matrix).all() and np.isfinite(error).all()):
        return False
    shift = SHIFT * float(np.abs(np.diag(matrix)).max(initial=0.0))
    shifted = matrix - shift * np.eye(len(matrix))
    try:
        factor = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    size = np.abs(factor) @ np.abs(factor).T + np.abs(matrix) + shift
    off = np.abs(shifted - factor @ factor.T) + gamma(len(matrix) + 12) * size + error + UNDERFLOW * len(matrix)
    return bool((off.sum(axis=1) * (1 + gamma(len(matrix) + 12)) <= shift).all())
