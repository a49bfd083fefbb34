"""`milpcomp.bounds.rational`: exact evaluation, against a second implementation in Fractions."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.rational import (
    dyadic,
    exact_pre_activation,
    exact_pre_activations,
    round_down,
    round_up,
    row_minimum,
)
from milpcomp.network import Dense, Network, Rectifier
from tests.exact import HUGE, awkward_array, awkward_box, cases, exact_values, points
from tests.nets import chain, diamond, mlp


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_dyadic_numbers_are_the_floats(values: list[float]) -> None:
    """Every float64, denormal or huge, is represented exactly, by odd numbers where possible."""
    exact = dyadic(np.array(values))
    assert [exact.fraction(i) for i in range(len(values))] == [Fraction(v) for v in values]
    assert any(int(n) % 2 for n in exact.numbers) or not any(values)


@given(st.fractions(), st.sampled_from([1, 2**1100, Fraction(1, 2**1100)]))
def test_rounding_of_fractions_encloses(value: Fraction, scale: Fraction) -> None:
    """round_down and round_up are the neighbouring floats of a fraction, or infinite beyond the largest."""
    exact = value * scale
    low, high = round_down(exact), round_up(exact)
    assert low == -np.inf or Fraction(low) <= exact
    assert high == np.inf or Fraction(high) >= exact
    assert high == low or math.nextafter(low, math.inf) == high


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_row_minimum_is_the_least_corner(seed: int, width: int) -> None:
    """The exact minimum of a row over a box is the least of its exact values at all corners."""
    rng = np.random.default_rng(seed)
    weights = awkward_array(rng, (width,), HUGE)
    lower, upper = awkward_box(rng, (width,))
    corners = product(*zip(lower.tolist(), upper.tolist(), strict=True))
    rows = [Fraction(w) for w in weights.tolist()]
    least = min(sum((w * Fraction(v) for w, v in zip(rows, c, strict=True)), Fraction(1, 8)) for c in corners)
    assert row_minimum(weights, 0.125, lower, upper) == least


@given(cases())
@settings(max_examples=20)
def test_pre_activations_are_exact(case: tuple[Network, np.ndarray, np.ndarray, np.random.Generator]) -> None:
    """Integer arithmetic over the graph gives the very fractions that naive evaluation gives."""
    network, lower, upper, rng = case
    x = points(rng, lower, upper, 1)[0]
    values = exact_values(network, x)
    for node in network.rectifiers:
        units = rng.choice(network.width(node.name), size=min(3, network.width(node.name)), replace=False).tolist()
        expected = [values[node.inputs[0]][unit] for unit in units]
        assert exact_pre_activations(network, x, node.name, units) == expected


def test_diamond_by_hand() -> None:
    """At (1/2, 1/4) the diamond has g1 = 1/4 and g2 = -9/4."""
    x = np.array([0.5, 0.25])
    assert exact_pre_activation(diamond(), x, "1", 0) == Fraction(1, 4)
    assert exact_pre_activation(diamond(), x, "1", 1) == Fraction(-9, 4)


def test_sign_below_the_last_bit_is_seen() -> None:
    """A pre-activation of 2^-54 that float64 evaluates to 0 is positive, exactly."""
    network = chain((1,), Dense([[1.0], [1.0]], [2.0**-54, 0.0]), Rectifier(), Dense([[1.0, -1.0]]), Rectifier())
    x = np.array([1.0])
    assert network.pre_activations(x[None])["3"][0, 0] == 0.0
    assert exact_pre_activation(network, x, "3", 0) == Fraction(1, 2**54)


@pytest.mark.slow
def test_mnist_size_takes_a_fraction_of_a_second() -> None:
    """One neuron of the second layer of 784-100-100 is exact in well under a second."""
    network = mlp([784, 100, 100, 10], np.random.default_rng(0))
    start = time.perf_counter()
    value = exact_pre_activation(network, np.random.default_rng(1).random(784), "3", 7)
    assert time.perf_counter() - start < 1.0
    assert float(value) == pytest.approx(network.pre_activations(np.random.default_rng(1).random((1, 784)))["3"][0, 7])
