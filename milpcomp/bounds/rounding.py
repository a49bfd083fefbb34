r"""How far a float64 result can be from the real number it stands for, and how to round away from it.

Every rounded operation returns ``(a op b)(1 + d) + t`` with |d| <= u, and t != 0 only where a product underflows. A sum
of n products, in whatever order and with or without fused multiply-add, passes each product through at most n roundings
(a binary tree with n leaves has depth <= n - 1, and adding an exact zero rounds nothing), so

    | computed - exact |  <=  gamma_n * (|a_1 b_1| + ... + |a_n b_n|)  +  underflow,     gamma_n = n u / (1 - n u)

That is Higham, *Accuracy and Stability of Numerical Algorithms* (2nd ed.), lemma 3.1 and equation (3.5). The bound on
the right is computed in float64 too. It is a sum of non-negative numbers, hence itself too small by a relative gamma at
most, and `SLACK` makes up for that: for n u <= 2^-23,

    n u (1 + 2^-20)  >=  n u / (1 - n u) * 1 / (1 - gamma_n)^3 * (1 + u)^3

Underflow. With gradual underflow a product loses at most 2^-1075 absolutely, and a sum nothing. `UNDERFLOW` = 2^-1000
is more than 2^70 such losses, and is itself a normal number, so that no allowance underflows.

Overflow and NaN mean that nothing is known: a lower bound becomes -inf, an upper bound +inf. Never NaN.

**Trusts**: float64 arithmetic that follows IEEE 754 in rounding to nearest, and a BLAS that sums products (no
Strassen-like recombination). That underflow is gradual is looked at (`require_gradual_underflow`), as some libraries
switch it off for the whole thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milpcomp.errors import MilpcompError

FloatArray = NDArray[np.float64]

UNIT = 2.0**-53
"""The unit roundoff u of float64."""

SLACK = 1.0 + 2.0**-20
"""What an error bound is multiplied by, to cover the rounding of its own computation."""

UNDERFLOW = 2.0**-1000
"""More than all underflowing products of one sum can lose."""

MAX_TERMS = 2**30


def require_gradual_underflow() -> None:
    """Raise `MilpcompError` where tiny numbers are replaced by zero: then no error bound holds."""
    tiny = np.full(8, 2.0**-1074)
    if not ((tiny + tiny > tiny).all() and (tiny * 1.0 > 0).all() and np.ones(8) @ tiny > 0):
        raise MilpcompError(
            "this thread replaces tiny numbers by zero (flush-to-zero mode), so no bound can be proved; "
            "switch it off, for example with torch.set_flush_denormal(False)"
        )


def gamma(terms: int) -> float:
    """Return a bound on gamma_n for sums of `terms` products, slack for its own use included.

    Raises
    ------
    ValueError
        If there are so many terms that the slack does not cover them (more than 2^30).
    """
    if terms > MAX_TERMS:
        raise ValueError(f"sums of {terms} terms are beyond the rounding analysis (at most {MAX_TERMS})")
    return terms * UNIT * SLACK


def below(value: FloatArray, error: FloatArray) -> FloatArray:
    """Return floats <= value - error: `value` itself where error is 0, and -inf where anything is not finite."""
    with np.errstate(all="ignore"):
        lower = np.where(error > 0, np.nextafter(value - error, -np.inf), value)
        return np.where(np.isfinite(lower) & np.isfinite(error), lower, -np.inf)


def above(value: FloatArray, error: FloatArray) -> FloatArray:
    """Return floats >= value + error: `value` itself where error is 0, and +inf where anything is not finite."""
    return -below(-value, error)
