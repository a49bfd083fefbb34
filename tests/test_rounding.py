"""`milpcomp.bounds.rounding`: a-priori error bounds and outward rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from milpcomp.bounds.rounding import MAX_TERMS, UNDERFLOW, UNIT, above, below, gamma
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box
from milpcomp.errors import MilpcompError
from tests.exact import HUGE, awkward_array
from tests.nets import diamond


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from(["pairwise", "blas", "backward"]))
def test_error_of_any_order_of_summation_is_covered(seed: int, terms: int, order: str) -> None:
    """gamma_n |a|.|b| + UNDERFLOW encloses the error of a dot product, however it is summed."""
    rng = np.random.default_rng(seed)
    a, b = awkward_array(rng, (2, terms), HUGE)
    with np.errstate(all="ignore"):
        value = {"pairwise": (a * b).sum(), "blas": a @ b, "backward": sum((a * b)[::-1].tolist())}[order]
        magnitude = np.abs(a) @ np.abs(b)
        error = gamma(terms) * magnitude + UNDERFLOW
    exact = sum((Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)), Fraction(0))
    low, high = float(below(np.array(value), np.array(error))), float(above(np.array(value), np.array(error)))
    assert low == -np.inf or Fraction(low) <= exact
    assert high == np.inf or Fraction(high) >= exact


@given(st.integers(1, MAX_TERMS))
def test_gamma_covers_its_own_rounding(terms: int) -> None:
    """Gamma (n) is at least n u / (1 - n u), enlarged for three further sums of n terms and three roundings."""
    nu = terms * Fraction(UNIT)
    exact = nu / (1 - nu)
    assert Fraction(gamma(terms)) >= exact / (1 - exact) ** 3 * (1 + Fraction(UNIT)) ** 3


def test_too_many_terms_are_refused() -> None:
    """A sum so long that the slack is no longer proved is an error, not a wrong bound."""
    with pytest.raises(ValueError, match="beyond the rounding analysis"):
        gamma(MAX_TERMS + 1)


def test_no_error_changes_nothing() -> None:
    """Where the error is zero, the value is its own bound; elsewhere the bound moves outward."""
    value, error = np.array([0.0, 1.0, -2.0]), np.array([0.0, 0.0, 0.5])
    assert below(value, error)[:2].tolist() == [0.0, 1.0]
    assert below(value, error)[2] == np.nextafter(-2.5, -np.inf)
    assert above(value, error).tolist() == [0.0, 1.0, np.nextafter(-1.5, np.inf)]


def test_flushing_tiny_numbers_is_refused() -> None:
    """Where a library made the thread flush tiny numbers to zero, nothing is proved: an error says what to do."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no flush-to-zero mode")
    try:
        with pytest.raises(MilpcompError, match="flush-to-zero"):
            interval_bounds(diamond(), Box(0.0, 1.0))
    finally:
        torch.set_flush_denormal(False)
    assert interval_bounds(diamond(), Box(0.0, 1.0)).values["0"].upper[1] < 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_means_nothing_known(value: float) -> None:
    """NaN and infinity, in value or error, give infinite bounds on the safe side, never NaN."""
    finite, bad = np.array([1.0]), np.array([value])
    for a, b in ((bad, np.array([0.0])), (finite, bad), (bad, bad)):
        if not (a is finite and value == -np.inf):  # a negative error does not occur
            assert below(a, b).tolist() == [-np.inf]
            assert above(a, b).tolist() == [np.inf]
