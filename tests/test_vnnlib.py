"""VNN-LIB 1.0 files give exactly the input boxes that they state, or an error that names the line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milpcomp.domain import Box
from milpcomp.errors import DomainError
from milpcomp.vnnlib import read_vnnlib

DECLARED = """; two inputs, two outputs
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-fun Y_0 () Real)
(declare-const Y_1 Real)
"""
UNIT = "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1)))\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], tuple[Box, ...]]:
    """Return a function that reads assertions about X_0, X_1, Y_0, Y_1."""

    def from_text(assertions: str, declared: str = DECLARED) -> tuple[Box, ...]:
        (tmp_path / "property.vnnlib").write_text(declared + assertions)
        return read_vnnlib(tmp_path / "property.vnnlib")

    return from_text


Read = Callable[..., tuple[Box, ...]]


def bounds(box: Box) -> list[list[float]]:
    """Return a box as [lower, upper] per input."""
    return np.stack([box.lower, box.upper], axis=-1).tolist()


def test_bounds_in_either_order_and_any_notation(read: Read) -> None:
    """X <= c, c >= X, several bounds on one input, exponents and (- c) mean what they say."""
    (box,) = read("""
        (assert (<= X_0 1.5e0)) (assert (>= 2 X_0)) ; the smaller one counts
        (assert (<= -.25 X_0)) (assert (and (<= X_1 (- 3)) (>= X_1 (- 4.5))))
        (assert (>= |X_1| -1e3))
    """)
    assert bounds(box) == [[-0.25, 1.5], [-4.5, -3.0]]


def test_outputs_do_not_restrict_the_domain(read: Read) -> None:
    """Comparisons of outputs, alone or joined by or, with arithmetic or not, leave one domain."""
    (box,) = read(
        UNIT
        + """
        (assert (<= Y_0 3)) (assert (or (and (<= Y_0 Y_1)) (and (>= Y_1 0.5) (<= Y_1 Y_0))))
        (assert (<= (+ Y_0 (* 2 Y_1)) (- 1)))
    """
    )
    assert bounds(box) == [[0, 1], [0, 1]]


def test_a_disjunct_of_inputs_and_outputs_gives_its_inputs(read: Read) -> None:
    """Of (or (and X Y) (and X' Y')) the boxes X and X' remain; the same box twice is one domain."""
    boxes = read(UNIT + "(assert (or (and (<= X_0 0.25) (>= Y_0 1)) (and (>= X_0 0.5) (<= Y_0 Y_1))))")
    assert [bounds(box) for box in boxes] == [[[0, 0.25], [0, 1]], [[0.5, 1], [0, 1]]]
    assert len(read(UNIT + "(assert (or (and (<= X_0 0.25) (>= Y_0 1)) (and (<= X_0 0.25) (>= Y_1 1))))")) == 1


def test_a_disjunct_without_inputs_frees_them_all(read: Read) -> None:
    """(or X Y) holds for every input, because the output may do it alone."""
    (box,) = read(UNIT + "(assert (or (<= X_0 0.25) (>= Y_0 1)))")
    assert bounds(box) == [[0, 1], [0, 1]]


def test_several_disjunctions_multiply(read: Read) -> None:
    """Two or-assertions give their combinations, without those that contradict each other."""
    boxes = read(UNIT + "(assert (or (<= X_0 0.25) (>= X_0 0.75))) (assert (or (<= X_0 0.5) (<= X_1 0.5)))")
    assert [bounds(box) for box in boxes] == [
        [[0, 0.25], [0, 1]],
        [[0, 0.25], [0, 0.5]],
        [[0.75, 1], [0, 0.5]],
    ]


def test_a_point_is_a_box(read: Read) -> None:
    """Equal bounds are legal."""
    assert bounds(read("(assert (and (<= X_0 1)(>= X_0 1)(<= X_1 2)(>= X_1 2)))")[0]) == [[1, 1], [2, 2]]


def test_inputs_with_several_indices_give_an_array(read: Read) -> None:
    """X_0_0 .. X_1_2 is a domain of shape (2, 3), whatever the order of declaration."""
    names = [f"X_{i}_{j}" for j in range(3) for i in range(2)]
    (box,) = read(
        "".join(f"(assert (<= {n} {i})) (assert (>= {n} -{i}))" for i, n in enumerate(names)),
        "".join(f"(declare-const {n} Real)" for n in names),
    )
    assert box.upper.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert box.shape == (2, 3)


def test_numbers_are_the_nearest_floats(read: Read) -> None:
    """0.1 is the float64 nearest to it, which lies above the decimal."""
    (box,) = read("(assert (and (>= X_0 0.1) (<= X_0 0.1) (>= X_1 0) (<= X_1 1.7976931348623157e308)))")
    assert box.lower[0] == 0.1
    assert box.upper[1] == np.finfo(float).max


@pytest.mark.parametrize(
    ("assertions", "message"),
    [
        ("(assert (<= X_0 X_1))", r"line 6: an input may only be compared with a number.*\(<= X_0 X_1\)"),
        ("(assert (<= X_0 Y_0))", r"line 6: an input may only be compared with a number"),
        ("\n(assert (<= (+ X_0 X_1) 1))", r"line 7: an input may only be compared"),
        ("(assert (<= (* 2 X_0) 1))", r"an input may only be compared"),
        ("(assert (<= 1 2))", r"an input may only be compared"),
        ("(assert (<= X_0 (+ 1 1)))", r"an input may only be compared"),
        ("(assert (< X_0 1))", r"line 6: only and, or, and <=, >= .*: \(< X_0 1\)"),
        ("(assert (= X_0 1))", r"only and, or, and <=, >="),
        ("(assert (not (<= X_0 1)))", r"only and, or, and <=, >="),
        ("(assert (=> (<= X_0 1) (<= Y_0 1)))", r"only and, or, and <=, >="),
        ("(assert (and))", r"only and, or, and <=, >="),
        ("(assert true)", r"only and, or, and <=, >="),
        ("(assert (<= X_0 1 2))", r"only and, or, and <=, >="),
        ("(assert)", r"line 6: unknown command"),
        ("(assert (<= X_0 1) (<= X_1 1))", r"unknown command"),
        ("()", r"unknown command"),
        ("(define-fun f () Real 1.0)", r"line 6: unknown command"),
        ("(vnnlib-version <2.0>)", r"this is VNN-LIB 2\.0, and only 1\.0 is read"),
        ("(declare-const X_1 Real)", r"line 6: declared twice"),
        ("(declare-const X_01 Real)", r"declared twice"),
        ("(declare-const Z_0 Real)", r"line 6: only real inputs X_0, X_1, \.\.\. and outputs"),
        ("(declare-const X_2 Int)", r"only real inputs"),
        ("(declare-const)", r"only real inputs"),
        ("(declare-const X_3 Real)", r"property\.vnnlib: the declared inputs do not form an array: 3 names"),
        ("(declare-const X_0_1 Real)", r"do not form an array"),
        ("(assert (<= X_7 1))", r"line 6: neither a number nor a declared variable: X_7"),
        ("(assert (<= Y_7 1))", r"neither a number nor a declared variable: Y_7"),
        ("(assert (<= X_0 nan))", r"neither a number nor a declared variable: nan"),
        ("(assert (<= X_0 inf))", r"neither a number"),
        ("(assert (<= X_0 1_0))", r"neither a number"),
        ("(assert (<= X_0 1)", r"line 6: a parenthesis is never closed"),
        ("assert (<= X_0 1)", r"line 6: not VNN-LIB"),
        (")", r"line 6: not VNN-LIB"),
        (UNIT + "(assert (<= X_0 -1))", r"line 7: the box is empty, because this contradicts .*: \(<= X_0 -1\)"),
        (UNIT + "(assert (or (and (<= X_0 0.2) (>= X_0 0.3)) (<= X_0 0.5)))", r"the box is empty"),
        (UNIT + "(assert (or (<= X_0 -1) (>= X_0 2)))", r"the box is empty, because every choice"),
        ("(assert (<= X_0 1))", r"input X_0 has no finite lower bound; every input needs both"),
        ("(assert (and (<= X_0 1) (>= X_0 0) (>= X_1 0)))", r"input X_1 has no finite upper bound"),
        (UNIT.replace("X_1 1", "X_1 1e999"), r"input X_1 has no finite upper bound"),
        (UNIT + "(assert (or (<= X_0 0.1) (<= X_0 0.2)))" * 14, r"more than 10000 combinations"),
        ("(assert " + "(and " * 100_000 + "(<= X_0 1)" + ")" * 100_001, r"nested too deeply"),
    ],
)
def test_what_is_no_box_is_refused_with_its_line(read: Read, assertions: str, message: str) -> None:
    """Whatever could be misread is a `DomainError` that says where."""
    with pytest.raises(DomainError, match=message) as caught:
        read(assertions)
    assert "property.vnnlib" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_inputs_are_refused(read: Read) -> None:
    """A file that declares no input, or nothing at all, is no domain."""
    for declared in ("", "(declare-const Y_0 Real)", "; only a comment"):
        with pytest.raises(DomainError, match="no input is declared"):
            read("", declared)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """Missing, binary, and truncated or broken gzip files are each one clear error."""
    path = tmp_path / "property.vnnlib.gz"
    with pytest.raises(DomainError, match=r"cannot read .*No such file"):
        read_vnnlib(path)
    with pytest.raises(DomainError, match=r"cannot read .*directory"):
        read_vnnlib(tmp_path)
    whole = gzip.compress((DECLARED + UNIT).encode())
    for broken in (whole[:-12], whole[:12] + b"\0\0\0" + whole[15:]):
        path.write_bytes(broken)
        with pytest.raises(DomainError, match="cannot read"):
            read_vnnlib(path)
    path.write_bytes(b"\x80\xff\x00")
    with pytest.raises(DomainError, match="it is not text"):
        read_vnnlib(path)
    path.write_bytes(whole)
    assert bounds(read_vnnlib(path)[0]) == [[0, 1], [0, 1]]


Formula = tuple[Any, ...]
ATOMS = st.tuples(st.sampled_from(["<=", ">="]), st.sampled_from(["X_0", "X_1", "Y_0"]), st.integers(-4, 4))
FORMULAS = st.recursive(
    ATOMS,
    lambda below: st.tuples(st.sampled_from(["and", "or"]), st.lists(below, min_size=1, max_size=3)),
    max_leaves=8,
)


def written(formula: Formula) -> str:
    """Return a formula as VNN-LIB."""
    if formula[0] in {"and", "or"}:
        return f"({formula[0]} {' '.join(map(written, formula[1]))})"
    return f"({formula[0]} {formula[1]} {formula[2] / 4})"


def holds(formula: Formula, x: np.ndarray) -> np.ndarray:
    """Tell for each row of x whether some output makes the formula true."""
    if formula[0] in {"and", "or"}:
        combine = np.logical_and if formula[0] == "and" else np.logical_or
        return combine.reduce([holds(part, x) for part in formula[1]])
    if formula[1] == "Y_0":
        return np.ones(len(x), dtype=bool)
    value = x[:, int(formula[1][-1])]
    return value <= formula[2] / 4 if formula[0] == "<=" else value >= formula[2] / 4


@given(st.lists(FORMULAS, max_size=3))
def test_boxes_are_the_points_that_satisfy_the_formula(
    tmp_path_factory: pytest.TempPathFactory, formulas: list[Formula]
) -> None:
    """On a grid, a point lies in one of the boxes exactly when it satisfies every assertion."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1.25, 1.25, 21)] * 2), axis=-1).reshape(-1, 2)
    base: Formula = ("and", [(op, name, end) for name in ("X_0", "X_1") for op, end in ((">=", -4), ("<=", 4))])
    path = tmp_path_factory.mktemp("vnnlib") / "p.vnnlib"
    path.write_text(DECLARED + "".join(f"(assert {written(formula)})\n" for formula in [base, *formulas]))
    expected = holds(("and", [base, *formulas]), grid)
    try:
        boxes = read_vnnlib(path)
    except DomainError as error:
        assert "the box is empty" in str(error)  # noqa: PT017
        return
    assert np.array_equal(np.logical_or.reduce([box.contains(grid) for box in boxes]), expected)
    assert len({box.digest for box in boxes}) == len(boxes)


TOKENS = [
    *"()()();|",
    "assert",
    "and",
    "or",
    "<=",
    ">=",
    "X_0",
    "X_1",
    "Y_0",
    "-",
    "0.5",
    "Real",
    "declare-const",
    "\n",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=30))
def test_no_text_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, tokens: list[str]) -> None:
    """Whatever is written after the declarations, it is read or refused with a `DomainError`."""
    path = tmp_path_factory.mktemp("vnnlib") / "p.vnnlib"
    path.write_text(DECLARED + UNIT + " ".join(tokens))
    try:
        assert all(box.shape == (2,) for box in read_vnnlib(path))
    except DomainError as error:
        assert str(path) in str(error)  # noqa: PT017


SHARED = {
    "acasxu/prop_1.vnnlib": (1, (5,), [0.6, 0.679857769]),
    "acasxu/prop_6.vnnlib": (2, (5,), [-0.129289109, 0.700434925]),
    "acasxu/prop_7.vnnlib": (1, (5,), [-0.328422877, 0.679857769]),
    "mnistfc/prop_0_0.03.vnnlib.gz": (1, (784,), [0.0, 0.029999999329447746]),
    "vnncomp_test/test_nano.vnnlib": (1, (1,), [-1.0, 1.0]),
    "vnncomp_test/test_tiny.vnnlib": (1, (1,), [-1.0, 1.0]),
}


@pytest.mark.parametrize("name", SHARED)
def test_real_properties(shared_file: Callable[[str], Path], name: str) -> None:
    """Real properties give the number of domains, the shape and the first bounds that the files show."""
    count, shape, first = SHARED[name]
    boxes = read_vnnlib(shared_file(f"nets/{name}"))
    assert len(boxes) == count
    assert {box.shape for box in boxes} == {shape}
    assert bounds(boxes[0])[0] == first


def test_every_shared_property_is_read(shared_data: Path) -> None:
    """Each property among the shared data has at least one box; only prop_6 of ACAS Xu has two."""
    found = {path.name: len(read_vnnlib(path)) for path in sorted((shared_data / "nets").rglob("*.vnnlib*"))}
    assert len(found) == 16
    assert {name for name, count in found.items() if count != 1} == {"prop_6.vnnlib"}
