"""Expressions of one network's values in another's: what they leave out is never more than they say."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from milpcomp.checker.expressions import (
    Expression,
    Variable,
    bound,
    constants,
    difference,
    image,
    scatter,
    substitute,
    variable,
)
from milpcomp.checker.intervals import Interval
from milpcomp.checker.rounding import Long, rounded_products, rounded_up, sum_error
from milpcomp.checker.vocabulary import Meaning, Vocabulary

NUMBER = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 0.1, -0.3, 1e-300, 5e-324, 1e12, -1e12, 1.0 + 2.0**-52]),
    st.floats(-4, 4, allow_subnormal=True),
)
SIZES = {"a": 2, "b": 3}
REACH: dict[Variable, Interval] = {
    "a": Interval(np.array([-1.0, 0.0]), np.array([1.0, 2.0])),
    "b": Interval(np.full(3, -0.1), np.full(3, 5.0)),
}


def numbers(draw: st.DrawFn, *shape: int) -> np.ndarray:
    """Draw an array."""
    count = int(np.prod(shape))
    return np.array(draw(st.lists(NUMBER, min_size=count, max_size=count))).reshape(shape)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Draw matrices on "a" and "b", constants, a matrix and an offset to apply, and values of "a" and "b"."""
    points = [np.array([draw(st.floats(low, high)) for low, high in zip(r.lower, r.upper, strict=True)])
              for r in REACH.values()]  # fmt: skip
    return (*(numbers(draw, 3, size) for size in SIZES.values()), numbers(draw, 3), numbers(draw, 3, 3),
            numbers(draw, 3), *points)  # fmt: skip


def fraction(value: Any) -> Fraction:
    """Return a long double exactly."""
    first = np.float64(value)
    return Fraction(float(first)) + Fraction(float(value - Long(first)))


def expression(on_a: np.ndarray, on_b: np.ndarray, constant: np.ndarray) -> Expression:
    """Return ``on_a @ a + on_b @ b + constant``."""
    parts: dict[Variable, sp.csr_array] = {
        name: sp.csr_array(part.astype(Long)) for name, part in (("a", on_a), ("b", on_b))
    }
    return Expression(parts, constant.astype(Long), np.zeros(len(constant), dtype=Long))


def exactly(matrix: np.ndarray, values: list[Fraction], offset: np.ndarray) -> list[Fraction]:
    """Return ``matrix @ values + offset`` in fractions."""
    return [
        sum((Fraction(float(w)) * v for w, v in zip(row, values, strict=True)), Fraction(float(shift)))
        for row, shift in zip(matrix, offset, strict=True)
    ]


def holds(found: Expression, truth: list[Fraction], points: Mapping[Variable, np.ndarray]) -> None:
    """Assert that the true numbers are what an expression says, up to its error, and its bound bounds them."""
    limit = bound(found, REACH)
    for i, number in enumerate(truth):
        said = fraction(found.constant[i])
        for name, part in found.parts.items():
            row = part[[i]].tocoo()
            said += sum(
                (fraction(v) * Fraction(float(points[name][j])) for v, j in zip(row.data, row.coords[1], strict=True)),
                Fraction(0),
            )
        assert abs(said - number) <= fraction(found.error[i])
        assert abs(number) <= fraction(limit[i])


@given(cases())
def test_images_and_differences(case: tuple[np.ndarray, ...]) -> None:
    """Applying a matrix, and subtracting, lose no more than the error says; so does writing a variable out."""
    on_a, on_b, constant, matrix, offset, a, b = case
    points: dict[Variable, np.ndarray] = {"a": a, "b": b}
    values = [Fraction(float(v)) for v in (*a, *b)]
    x = expression(on_a, on_b, constant)
    truth = exactly(np.hstack([on_a, on_b]), values, constant)
    holds(x, truth, points)
    applied, exact = image(sp.csr_array(matrix), x, offset, REACH), exactly(matrix, truth, offset)
    holds(applied, exact, points)
    holds(difference(applied, x, REACH), [p - q for p, q in zip(exact, truth, strict=True)], points)
    again = image(sp.csr_array(matrix), applied, offset, REACH)
    holds(again, exactly(matrix, exact, offset), points)


@given(cases())
def test_substitution(case: tuple[np.ndarray, ...]) -> None:
    """Writing a variable out in terms of another is true of the values that are so related."""
    on_a, on_b, constant, _, offset, a, _ = case
    definition = expression(on_a, np.zeros((3, 3)), offset)
    b = exactly(on_a, [Fraction(float(v)) for v in a], offset)
    x = expression(on_a, on_b, constant)
    truth = exactly(np.hstack([on_a, on_b]), [*(Fraction(float(v)) for v in a), *b], constant)
    wide = Interval(np.full(3, -1e13), np.full(3, 1e13))
    found = substitute(x, "b", definition, {"a": REACH["a"], "b": wide})
    assert "b" not in found.parts or not found.parts["b"].nnz
    holds(Expression({"a": found.parts["a"]}, found.constant, found.error), truth, {"a": a})


def test_copies_and_whole_numbers_are_exact() -> None:
    """Copies, powers of two and sums of whole numbers leave no error; products of long mantissas do."""
    x = expression(np.array([[1.0, 3.0], [0.0, 7.0], [0.0, 0.0]]), np.zeros((3, 3)), np.array([5.0, -1.0, 0.0]))
    assert not image(sp.csr_array(np.array([[3.0, 5.0, 0.0]])), x, np.array([2.0]), REACH).error.any()
    assert not image(sp.csr_array(np.array([[0.1, 0.0, 0.0]])), variable("b", 3), np.zeros(1), REACH).error.any()
    assert not image(
        sp.csr_array(np.array([[0.0, 1.0, 0.0]])), expression(*case_of(0.1)), np.zeros(1), REACH
    ).error.any()
    assert image(sp.csr_array(np.array([[0.3, 0.7, 0.1]])), expression(*case_of(0.1)), np.zeros(1), REACH).error.all()


def case_of(number: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an expression's numbers, all equal."""
    return np.full((3, 2), number), np.full((3, 3), number), np.zeros(3)


def test_scatter_and_rounding() -> None:
    """Later pieces replace earlier ones; rounding up and the error of a sum are exact."""
    found = scatter(3, [(np.arange(3), constants(np.arange(3.0))), (np.array([1]), variable("b", 3, np.array([2])))])
    assert found.constant.tolist() == [0, 0, 2]
    assert found.parts["b"].toarray().tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    tiny = Long(2.0) ** -60
    assert rounded_up(np.array([1.0, 1.0 + tiny], dtype=Long)).tolist() in ([1.0, np.nextafter(1, 2)], [1.0, 1.0])
    assert sum_error(np.array([1.0], dtype=Long), np.array([2.0**-100], dtype=Long))[0] == 2.0**-100
    assert not rounded_products(sp.csr_array(np.eye(2).astype(Long)), sp.csr_array(np.full((2, 2), Long(0.1)))).nnz


def test_a_difference_is_bounded_the_best_way() -> None:
    """The difference b - 2 a is large as it stands, and 0 for those elements of b that are known to mean 2 a."""
    words = Vocabulary({"a": REACH["a"], "b": Interval(np.full(2, -9.0), np.full(2, 9.0))})
    double = image(sp.csr_array(2.0 * np.eye(2)), variable("a", 2), np.zeros(2), words.reach)
    gap = difference(variable("b", 2), double, words.reach)
    assert words.size(gap) == pytest.approx([11.0, 13.0])
    words.define("b", Meaning(1.0, double, np.array([True, False])))
    assert words.size(gap).tolist() == [0.0, pytest.approx(13.0)]
    words.define("b", Meaning(1.0, double, np.array([False, True])))
    words.narrow("b", Interval(np.full(2, -1.0), np.full(2, 20.0)))
    assert words.size(gap).tolist() == [0.0, 0.0]
    assert words.reach["b"].upper.tolist() == [9.0, 9.0]
