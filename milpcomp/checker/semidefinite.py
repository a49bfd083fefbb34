"""Proof that a diagonal matrix dominates a Gram matrix, by a Cholesky factor that nobody has to believe.

Claim, in the order of positive semidefinite matrices, for d >= 0 and kappa > 0:

    diag(d)  >=  A' diag(kappa) A                             A = `matrix`, K x n

Where column i of A is 0, it asks for nothing; elsewhere it needs d_i > 0. Then by Schur complements it says the same as

    diag(1 / kappa) - A diag(1 / d) A'  >=  0

Powers of two scale both sides without rounding: kappa = rest 4^half, d likewise, rests in [1/2, 2), so that it says

    E = diag(top) - W diag(1 / d_rest) W'  >=  0              W = 2^kappa_half A 2^-d_half,   top = 1 / kappa_rest

where no |W| is above 2 if it is true. For any symmetric M, any L at all, and E - (M + shift I) = D, the smallest
eigenvalue of E is at least shift - ||M - L L'|| - ||D||. So M is E - shift I in floats, L its Cholesky factor in
floats, and it is enough that the norms are at most the shift together. ||M - L L'|| is at most the largest sum of
absolute values of a row; and the norm of an error is at most the sum of x_k^2 where none of its elements (k, l) is
above x_k x_l, as for sums of products (Cauchy-Schwarz). So this pays for the errors in both:

    W diag(1 / d_rest) W'      growth(n) sum lengths           lengths_k = sum over i of W_ki^2 / d_rest_i
    L L'                       growth(K) sum of L_kl^2
    the diagonal of M          growth(4) max (top + lengths + shift)
    what underflows            K (n + K) 2^-1000               of numbers below 8, each product loses at most 2^-1070

S. M. Rump, Verification of positive definiteness, BIT 46 (2006) 433-452, proves definiteness in this manner; the error
analysis is ours.
"""

from __future__ import annotations

import numpy as np

from milpcomp.checker.arithmetic import growth
from milpcomp.checker.linear import PADDING
from milpcomp.checker.matrices import FloatArray, IntArray

SHIFT = 2.0**-27
"""How far above 0 the smallest eigenvalue has to be, after scaling: about 7.5e-9, where errors are 1e-13 to 1e-9."""

LARGEST = 4.0
"""No element of the scaled matrix is above half of it where the claim is true."""

UNDERFLOW = 2.0**-1000


def dominates(diagonal: FloatArray, factors: FloatArray, matrix: FloatArray) -> bool:
    """Tell whether ``diag(diagonal) >= matrix.T @ diag(factors) @ matrix`` is proved.

    Parameters
    ----------
    diagonal : ndarray, shape (n,)
    factors : ndarray, shape (K,)
    matrix : ndarray, shape (K, n)

    Returns
    -------
    bool
        False where it does not hold, where it holds with too little room, and where some number is none, or negative.

    Notes
    -----
    **Trusts** IEEE float64 arithmetic. The factorisation that LAPACK returns is not trusted.
    """
    numbers = np.isfinite(diagonal).all() and np.isfinite(factors).all() and np.isfinite(matrix).all()
    used = (matrix != 0).any(axis=0)
    if not numbers or not (diagonal >= 0).all() or not (factors > 0).all() or not (diagonal[used] > 0).all():
        return False
    if not used.any():
        return True
    half, rest = _quartered(factors)
    column_half, column_rest = _quartered(diagonal[used])
    scaled = np.ldexp(matrix[:, used], half[:, None] - column_half)
    if not (np.abs(scaled) <= LARGEST).all():
        return False
    return _positive(1.0 / rest, scaled, scaled / column_rest)


def _quartered(numbers: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return ``half`` and ``rest`` in [1/2, 2) with ``rest * 4**half`` equal to positive numbers."""
    mantissa, exponent = np.frexp(numbers)
    half = exponent // 2
    return half, np.ldexp(mantissa, exponent - 2 * half)


def _positive(top: FloatArray, scaled: FloatArray, ratio: FloatArray) -> bool:
    """Tell whether ``diag(top) - ratio @ scaled.T`` is proved to be positive semidefinite, before all rounding."""
    count, terms = scaled.shape
    below = np.tril(ratio @ scaled.T)
    lengths = np.einsum("ij,ij->i", ratio, scaled)
    shifted = -(below + np.tril(below, -1).T)
    shifted[np.diag_indices(count)] = (top - np.diagonal(below)) - SHIFT
    try:
        root = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    rest = np.abs(shifted - root @ root.T).sum(axis=1).max() * (1.0 + growth(count + 2))
    rest += growth(terms + 4) * lengths.sum() + growth(count + 4) * np.square(root).sum()
    rest += growth(4) * (top + lengths + SHIFT).max() + UNDERFLOW * count * (terms + count)
    return bool(PADDING * rest <= SHIFT)
