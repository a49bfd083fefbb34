"""Curved leaves: the checker accepts parabolas that hold, by hand and pointwise, and nothing that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.checker import check, semidefinite
from milpcomp.checker.arithmetic import Ball, linear_ball
from milpcomp.checker.backward import frame_of, substitute, unit_rows
from milpcomp.checker.branch import prove_trees
from milpcomp.checker.branch_tree import read_tree
from milpcomp.checker.claims import Unreadable
from milpcomp.checker.curvature import FIELDS, Curvature, read_curvature
from milpcomp.checker.document import INPUT, Linear, read_network
from milpcomp.checker.intervals import Interval
from milpcomp.checker.linear import Sum
from milpcomp.checker.multipliers import Multipliers
from milpcomp.checker.parabolas import DELTA, Parabolas, Unproved
from milpcomp.checker.semidefinite import dominates
from milpcomp.checker.sweep import prove_bounds
from milpcomp.domain import Box
from milpcomp.network import Add, Dense, Network, Node, Rectifier
from milpcomp.stability.report import Report
from milpcomp.stability.storage import _decode, _encode, load_report, save_report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.exact import exact_values
from tests.nets import chain

Array = NDArray[np.float64]

SQUARE = Box(np.full(2, -1.0), np.full(2, 1.0))
CROSS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
KAPPA = 0.177
ROOM = 1.0 + 1e-5


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Calculate as the checker does: what overflows or is no number is noticed, not warned about."""
    with np.errstate(all="ignore"):
        yield


def cross(bias: float = -2.9, weight: float = 1.0) -> Network:
    """Return a target ``|x1 + x2| + |x1 - x2| + bias``, which is at most ``2 + bias`` on the square.

    Lines give 4: each unit is at most (g + 2) / 2. Parabolas with kappa each, and d = 4 kappa, give
    4 kappa |x|^2 + 1 / (4 kappa) <= 8 kappa + 1 / (4 kappa), which is 2.829 for kappa = 0.177.
    """
    return chain((2,), Dense(weight * CROSS), Rectifier(), Dense([[1.0] * 4], [bias]), Rectifier())


def record(**fields: Any) -> BranchProof:
    """Return the proof by one curved leaf that the target of `cross` is at most 0, with fields replaced."""
    numbers: dict[str, Any] = {
        "curved": np.array([0], dtype=np.int32),
        "curvature": np.full((1, 4), KAPPA),
        "diagonal": np.full((1, 2), 4 * KAPPA * ROOM),
        "center": np.zeros((1, 2)),
    }
    numbers |= {name: np.array(value) for name, value in fields.items() if name != "bound"}
    one = np.zeros(1, dtype=np.int32)
    columns = np.array([[0, unit] for unit in range(4)], dtype=np.int32)
    false, true = np.zeros(1, dtype=np.bool_), np.ones(1, dtype=np.bool_)
    own: dict[str, Any] = {"objective": true, "columns": columns, "multipliers": np.zeros((1, 4), np.float32)} | numbers
    return BranchProof(
        "3", 0, "upper", fields.get("bound", 0.0), one - 1, one - 2, one, np.zeros(1), false, false, one, **own
    )


def problems(network: Network, box: Box, *proofs: Any) -> tuple[str, ...]:
    """Return what the checker has against proofs."""
    model = read_network(network)
    bounds = prove_bounds(model, (box.lower.reshape(-1), box.upper.reshape(-1)))
    return prove_trees(model, bounds, [read_tree(proof, model) for proof in proofs]).problems


# by hand --------------------------------------------------------------------------------------------------------------


def test_parabolas_prove_what_lines_do_not() -> None:
    """By hand: 8 kappa + 1 / (4 kappa) = 2.8284 <= 2.9, where the standard lines give 4, so 1.1 with the bias."""
    assert problems(cross(), SQUARE, record()) == ()
    flat = replace(record(), curved=np.zeros(0, np.int32), curvature=np.zeros((0, 4)), diagonal=np.zeros((0, 0)))
    flat = replace(flat, center=np.zeros((0, 0)), columns=np.zeros((0, 2), np.int32), multipliers=np.zeros((1, 0)))
    assert "bounds it by 1.1 only" in problems(cross(), SQUARE, flat)[0]


@pytest.mark.parametrize(("bias", "holds"), [(-2.8286, True), (-2.828, False), (-2.0, False), (-1.9, False)])
def test_the_bound_is_the_one_by_hand(bias: float, holds: bool) -> None:
    """What is proved is 8 kappa + 1 / (4 kappa) = 2.82843 for kappa = 0.177, and nothing below."""
    assert (problems(cross(bias), SQUARE, record()) == ()) is holds


@pytest.mark.parametrize(("bound", "holds"), [(1.0 + 1e-12, True), (1.0 - 1e-12, False)])
def test_a_touching_parabola_is_exact(bound: float, holds: bool) -> None:
    """By hand: relu(x) <= (x + 1)^2 / 4 <= (x + 1) / 2 on [-1, 1], which is 1 at 1: proved up to rounding, no more."""
    network = chain((1,), Dense([[1.0]]), Rectifier(), Dense([[1.0]], [-bound]), Rectifier())
    ground = Ground(network, Interval(np.array([-1.0]), np.array([1.0])))
    quarter = np.array([0.25])
    assert (ground.bound(ground.curvature(0, quarter, quarter * ROOM, np.ones(1))) <= 0) is holds


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"diagonal": [[4 * KAPPA * (1 - 1e-9)] * 2]}, "not proved to dominate"),
        ({"diagonal": [[4 * KAPPA] * 2]}, "not proved to dominate"),
        ({"diagonal": [[0.0, 4 * KAPPA * ROOM]]}, "not proved to dominate"),
        ({"diagonal": [[5e-324] * 2]}, "not proved to dominate"),
        ({"diagonal": [[8 * KAPPA] * 2]}, "only"),
        ({"diagonal": [[1e300] * 2]}, "too large"),
        ({"diagonal": [[1e80] * 2]}, "only"),
        ({"curvature": [[KAPPA * 1.001] * 4]}, "not proved to dominate"),
        ({"curvature": [[KAPPA, KAPPA, KAPPA, 1e300]]}, "too large"),
        ({"curvature": [[1e-3] * 4]}, "only"),
        ({"curvature": [[1e-80] * 4]}, "only"),
        ({"curvature": [[5e-324] * 4]}, "only"),
        ({"curvature": [[KAPPA, KAPPA, KAPPA, 0.0]]}, "only"),
        ({"center": [[1e308, -1e308]]}, "too large"),
        ({"center": [[1e160, -1e160]]}, "too large"),
        ({"center": [[1e100, -1e100]]}, "only"),
        ({"bound": -0.1}, "only"),
    ],
)
def test_numbers_that_prove_too_little(fields: dict[str, Any], reason: str) -> None:
    """A diagonal too small or far too large, other curvatures, a centre out of this world: refused, with a reason."""
    (found,) = problems(cross(), SQUARE, record(**fields))
    assert reason in found
    assert "curved leaf 0" in found


@pytest.mark.parametrize("center", [[0.5, -0.25], [1.0, 1.0], [-3.0, 7.0], [100.0, 1e3]])
def test_the_center_may_be_anywhere(center: list[float]) -> None:
    """With a diagonal that is hardly too large, the bound hardly depends on the centre; it is proved all the same."""
    tight = record(center=[center], diagonal=[[4 * KAPPA * (1 + 2e-6)] * 2])
    room = 1e-6 * float(np.square(center).sum())
    assert problems(cross(-2.83 - 4 * room), SQUARE, tight) == ()
    assert problems(cross(-2.8), SQUARE, tight)


def test_another_network_is_not_proved() -> None:
    """The same numbers say nothing of steeper weights, or of a wider box."""
    assert "dominate" in problems(cross(-2.9, 1.01), SQUARE, record())[0]
    wide = Box(np.full(2, -1.1), np.full(2, 1.1))
    assert "only" in problems(cross(), wide, record())[0]


def test_recorded_multipliers_of_curved_units_are_ignored() -> None:
    """Multipliers of 1000 spoil nothing; of a unit without curvature they count."""
    spoiled = np.full((1, 4), 1e3, np.float32)
    assert problems(cross(), SQUARE, record(multipliers=spoiled)) == ()
    kappa = [[KAPPA, KAPPA, KAPPA, 0.0]]
    lines = problems(cross(-3.5), SQUARE, record(curvature=kappa, multipliers=[[0.0, 0.0, 0.0, 0.5]]))
    assert lines == ()
    assert problems(cross(-3.5), SQUARE, record(curvature=kappa, multipliers=spoiled))


def test_falling_units_are_not_curved() -> None:
    """Where c (p - n) <= 0 a curvature is unused; where both signs are turned round, it is used again."""
    down = chain((2,), Dense(CROSS), Rectifier(), Dense([[-1.0] * 4], [1.0]), Rectifier())
    lines = 1.0 + 8 * KAPPA * ROOM  # the bias, as multipliers of 0 bound -relu by 0, and d (v + 1)(1 - v) of the box
    assert f"bounds it by {lines:.6g} only" in problems(down, SQUARE, record())[0]
    lower = replace(record(bound=-1.9), side="lower")
    assert problems(down, SQUARE, lower) == ()
    turned = chain((2,), Dense(CROSS), Rectifier(-1.0, 0.0), Dense([[-1.0] * 4], [-2.9]), Rectifier())
    assert problems(turned, SQUARE, record()) == ()


# the record -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"curvature": [[KAPPA, KAPPA, KAPPA, np.nan]]},
        {"curvature": [[KAPPA, KAPPA, KAPPA, np.inf]]},
        {"curvature": [[KAPPA, KAPPA, KAPPA, -KAPPA]]},
        {"curvature": [[0.0] * 4]},
        {"curvature": [[KAPPA] * 3]},
        {"curvature": [KAPPA] * 4},
        {"curvature": [[1, 1, 1, 1]]},
        {"curvature": np.full((1, 4), KAPPA, dtype=np.longdouble)},
        {"diagonal": [[np.nan, 1.0]]},
        {"diagonal": [[np.inf, 1.0]]},
        {"diagonal": [[-1.0, 1.0]]},
        {"diagonal": [[1.0]]},
        {"diagonal": [[1.0] * 3], "center": [[1.0] * 3]},
        {"diagonal": [[1.0] * 2] * 2},
        {"center": [[np.nan, 0.0]]},
        {"center": [[np.inf, 0.0]]},
        {"center": [[0.0]]},
        {"center": np.zeros((1, 2), dtype=complex)},
        {"curved": [1]},
        {"curved": [-1]},
        {"curved": [2**40]},
        {"curved": [0, 0]},
        {"curved": [0, 0], "curvature": np.ones((2, 4)), "diagonal": np.ones((2, 2)), "center": np.ones((2, 2))},
        {"curved": [0.0]},
        {"curved": [True]},
        {"curved": np.zeros(0, np.int32)},
        {"objective": [False]},
    ],
)
def test_odd_records_are_unreadable(fields: dict[str, Any]) -> None:
    """Numbers that are none, or negative, shapes and positions that fit nowhere."""
    with pytest.raises(Unreadable):
        problems(cross(), SQUARE, record(**fields))


def test_old_records_have_no_curved_leaves() -> None:
    """Without the attributes, or with empty ones, a record reads as before; with some of them it does not."""
    model, proof = read_network(cross()), record()
    old = {name: value for name, value in vars(proof).items() if name not in FIELDS}
    assert read_tree(SimpleNamespace(**old), model).curvature is None
    assert read_tree(BranchProof(**old), model).curvature is None
    for missing in FIELDS:
        some = {name: value for name, value in vars(proof).items() if name != missing}
        with pytest.raises(Unreadable):
            read_tree(SimpleNamespace(**some), model)


def test_curvature_belongs_to_one_rectifier_that_reads_a_linear_step_of_one_source() -> None:
    """Curvature on two rectifiers, above a sum of two values, on the input or on a rectifier is unreadable."""
    two = np.array([[0, 0], [0, 1], [0, 2], [1, 0]], np.int32)
    with pytest.raises(Unreadable, match="2 rectifiers"):
        problems(cross(), SQUARE, record(columns=two))
    ones = np.ones((1, 4))
    summed = Network(
        (2,),
        [
            Node("0", Dense(CROSS), (INPUT,)),
            Node("1", Dense(-CROSS), (INPUT,)),
            Node("2", Add(), ("0", "1")),
            Node("relu", Rectifier(), ("2",)),
            Node("last", Dense(ones), ("relu",)),
            Node("3", Rectifier(), ("last",)),
        ],
    )
    bare = chain((4,), Rectifier(), Dense(ones), Dense([[1.0]]), Rectifier())
    twice = chain((4,), Dense(np.eye(4)), Rectifier(), Rectifier(), Rectifier())
    second = np.array([[1, unit] for unit in range(4)], np.int32)
    for network, table in ((summed, record().columns), (bare, record().columns), (twice, second)):
        with pytest.raises(Unreadable, match="no linear step of a single source"):
            read_tree(record(columns=table, diagonal=np.ones((1, 4)), center=np.ones((1, 4))), read_network(network))


def cross_report(*proofs: Any) -> Report:
    """Return the report that the target of `cross` is stably inactive."""
    witnesses = np.array([[1.0, 0.5], [-1.0, -0.5]])
    seen = (Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, -2.0, 2.0)
    verdicts = [Verdict("1", unit, *seen, *((0, 1) if unit < 2 else (1, 0))) for unit in range(4)]
    verdicts.append(Verdict("3", 0, Phase.STABLY_INACTIVE, Stage.BRANCH, Proof.CERTIFIED, -2.9, 0.0))
    return Report(cross().digest, SQUARE, tuple(verdicts), witnesses, proofs)


def test_verdicts_rest_on_curved_leaves_of_files(tmp_path: Path) -> None:
    """A report with a curved leaf is accepted as it comes back from files, and rejected with another diagonal."""
    save_report(cross_report(record()), tmp_path)
    back = load_report(tmp_path)
    checked = check(cross(), SQUARE, back)
    assert checked.accepted, checked.summary()
    assert checked.entries[-1].reason == "proved bounds [-2.9, 0], by 1 case"
    forged = replace(cast(BranchProof, back.proofs[0]), diagonal=np.ones((1, 2)) / 2)
    assert [entry.layer for entry in check(cross(), SQUARE, replace(back, proofs=(forged,))).rejections] == ["3"]


def test_files_from_before_curved_leaves_are_read() -> None:
    """Where the arrays of curved leaves are missing, there are none; where others are missing, it is no report."""
    structure, arrays = _encode(cross_report(record()))
    old = {name: array for name, array in arrays.items() if name.rpartition("/")[2] not in FIELDS}
    assert len(old) == len(arrays) - 4
    (proof,) = _decode(structure, old).proofs
    assert isinstance(proof, BranchProof)
    assert [proof.arrays()[name].size for name in FIELDS] == [0] * 4
    assert check(cross(), SQUARE, _decode(structure, old)).rejections
    with pytest.raises(TypeError):
        _decode(structure, {name: array for name, array in old.items() if not name.endswith("leaf")})


# the affine bound, point by point -------------------------------------------------------------------------------------


class Ground:
    """A network over a box, and what the checker knows of it."""

    def __init__(self, network: Network, box: Interval) -> None:
        self.network, self.box, self.model = network, box, read_network(network)
        self.bounds = prove_bounds(self.model, (box.lower, box.upper))
        self.frame = frame_of(self.model, self.bounds)

    def curvature(self, rectifier: int, kappa: Array, d: Array, center: Array) -> Curvature:
        """Return the numbers of one curved leaf."""
        own = self.model.rectifiers[rectifier]
        step = self.model.step(own.source)
        assert isinstance(step, Linear)
        leaf, source = np.zeros(1, np.int64), next(iter(step.matrices))
        return Curvature(own, step, source, leaf, kappa[None], d[None], center[None])

    def bound(self, curvature: Curvature, at: Array | None = None, sign: float = 1.0) -> float:
        """Return the bound of ``sign * unit 0`` of the last rectifier's source, over the box or at one of its points.

        Parabolas rest on the whole box in either case, so at every point their affine bound is tested by itself.
        """
        names = {step.source for step in self.model.rectifiers}
        boxes = {name: Interval(self.bounds[name].lower[None], self.bounds[name].upper[None]) for name in names}
        lower, upper = (self.box.lower, self.box.upper) if at is None else (at, at)
        target = self.model.rectifiers[-1].source
        rows, result = unit_rows(self.frame, target, np.zeros(1, np.int64), np.array([sign]))
        width = len(curvature.rectifier.positive)
        recorded = {curvature.rectifier.name: (np.arange(width), np.zeros((1, width)))}
        lines = Multipliers(self.frame, boxes, recorded, 1)
        parabolas = Parabolas(self.frame, curvature, 0, self.bounds[curvature.source], lines)
        try:
            parabolas.begin(rows, result)
            inputs = Interval(lower[None], upper[None])
            return float(substitute(self.frame, rows, inputs, parabolas.relax, result).upper()[0])
        except Unproved:
            return np.inf


def points(box: Interval, rng: np.random.Generator) -> Array:
    """Return all corners of a box and some points inside."""
    corners = np.array(list(product(*zip(box.lower, box.upper, strict=True))))
    return np.concatenate([corners, rng.uniform(box.lower, box.upper, (8, len(box.lower)))])


def one_layer(rng: np.random.Generator) -> tuple[Ground, Array, Array]:
    """Return a network of one hidden layer and a target over a box; and its weights and last coefficients."""
    n, width = rng.integers(1, 7, 2).tolist()
    weight = 2.0 ** rng.integers(-3, 4) * rng.normal(size=(width, n))
    weight[rng.random((width, n)) < 0.2] = 0.0
    last, low = rng.normal(size=(1, width)), rng.normal(size=n)
    relu = Rectifier() if rng.random() < 0.5 else Rectifier(rng.normal(size=width), rng.normal(size=width))
    network = chain((n,), Dense(weight, rng.normal(size=width)), relu, Dense(last, rng.normal(size=1)), Rectifier())
    return Ground(network, Interval(low, low + rng.uniform(0.0, 2.0, n))), weight, last[0]


def enough(weight: Array, kappa: Array, room: float) -> Array:
    """Return a diagonal that dominates if `room` is at least 1: each row of A' kappa A has its absolute sum."""
    return np.asarray(room * np.abs(weight.T @ (kappa[:, None] * weight)).sum(axis=1))


class Exact:
    """Exact values of the target of a network of one hidden layer."""

    def __init__(self, ground: Ground) -> None:
        first, relu, last = ground.model.steps[:3]
        assert isinstance(first, Linear)
        assert isinstance(last, Linear)
        assert not isinstance(relu, Linear)
        self.layers = [(next(iter(a.matrices.values())).toarray(), a.offset) for a in (first, last)]
        self.slopes = relu.positive, relu.negative

    def highest(self, x: Array) -> Array:
        """Return the point where the target is highest, as floats say."""
        (a, b), (c, _) = self.layers
        g = x @ a.T + b
        return np.asarray(x[int(np.argmax(np.where(g > 0, *self.slopes) * g @ c[0]))])

    def __call__(self, x: Array) -> Fraction:
        (a, b), (c, d) = self.layers
        point = [Fraction(v) for v in x.tolist()]
        total = Fraction(d[0])
        units = zip(a.tolist(), b.tolist(), *(side.tolist() for side in self.slopes), c[0].tolist(), strict=True)
        for row, offset, p, n, factor in units:
            g = sum((Fraction(w) * v for w, v in zip(row, point, strict=True)), Fraction(offset))
            total += Fraction(factor) * Fraction(p if g > 0 else n) * g
        return total


def test_whatever_is_accepted_holds_at_every_point() -> None:
    """Random curvatures, diagonals and centres: finite bounds are above exact values, and many bounds are finite."""
    rng, finite, cases = np.random.default_rng(0), 0, 0
    for _ in range(150):
        ground, weight, _ = one_layer(rng)
        width, n = weight.shape
        exact, box = Exact(ground), ground.box
        tested = points(box, rng)
        best, other = exact.highest(tested), tested[-1]
        highest, value = exact(best), exact(other)
        for _ in range(12):
            kappa = np.where(rng.random(width) < 0.2, 0.0, 2.0 ** rng.uniform(-6, 4, width))
            d = enough(weight, kappa, rng.choice([0.7, 0.999, 1.0, 1.0 + 1e-5, 1.5]))
            center = rng.uniform(box.lower, box.upper) + rng.choice([0.0, 0.0, 1.0, 1e4]) * rng.normal(size=n)
            curvature = ground.curvature(0, kappa, d, center)
            bound = ground.bound(curvature)
            finite, cases = finite + np.isfinite(bound), cases + 1
            if np.isfinite(bound):
                assert highest <= Fraction(bound)
                assert highest <= Fraction(ground.bound(curvature, best))
                assert value <= Fraction(ground.bound(curvature, other))
    assert cases / 3 < finite < cases


def test_bounds_are_tight_where_parabolas_touch() -> None:
    """With kappa = a / (4 |g|) at a corner and the centre there, the bound there is the value, up to rounding."""
    rng, tight, cases = np.random.default_rng(1), 0, 400
    for _ in range(cases):
        ground, weight, last = one_layer(rng)
        box, relu = ground.box, ground.model.rectifiers[0]
        corner = np.where(rng.random(len(box.lower)) < 0.5, box.lower, box.upper)
        bend = last * (relu.positive - relu.negative)
        first = ground.model.steps[0]
        assert isinstance(first, Linear)
        kappa = np.abs(bend / (4 * (weight @ corner + first.offset)))
        bound = ground.bound(ground.curvature(0, kappa, enough(weight, kappa, 1.5), corner), corner)
        value = Exact(ground)(corner)
        assert value <= Fraction(bound)
        tight += bool((bend > 0).all() and bound - float(value) < 1e-11 * (1 + kappa.max()))
    assert tight > cases / 10


def parabolas_of(ground: Ground, kappa: Array, d: Array, center: Array) -> Parabolas:
    """Return the parabolas of a layer, without any lines."""
    return Parabolas(
        ground.frame, ground.curvature(0, kappa, d, center), 0, ground.box, Multipliers(ground.frame, {}, {}, 1)
    )


def test_rounding_of_the_box_is_charged() -> None:
    """What is added for the box is, with its error, not below the exact numbers, which are sometimes above it."""
    rng, above = np.random.default_rng(6), 0
    for _ in range(150):
        ground, weight, _ = one_layer(rng)
        n = weight.shape[1]
        center, d, box = 100.0 * rng.normal(size=(n,)), rng.uniform(0.0, 9.0, (n,)), ground.box
        rows, result = dict[str, Array](), Sum(np.zeros(1), np.zeros(1))
        parabolas_of(ground, np.ones(len(weight)), d, center).begin(rows, result)
        exact = Fraction(0)
        for f, m, low, high in fractions(d, center, box.lower, box.upper):
            exact += f * (m * m - low * high) + f * (low + high - 2 * m) * high
        above += is_charged(exact, result, rows[INPUT][0], box.upper)
    assert above > 20


def test_rounding_of_parabolas_is_charged() -> None:
    """What parabolas become is, with its error, not below the exact numbers, which are sometimes above it."""
    rng, above = np.random.default_rng(7), 0
    for _ in range(150):
        ground, weight, last = one_layer(rng)
        width, n = weight.shape
        kappa, center = rng.uniform(0.1, 9.0, (width,)), 9.0 * rng.normal(size=(n,))
        step, relu = ground.model.steps[:2]
        assert isinstance(step, Linear)
        assert not isinstance(relu, Linear)
        parabolas, result = parabolas_of(ground, kappa, np.ones(n), center), Sum(np.zeros(1), np.zeros(1))
        slopes = parabolas._through(np.arange(width), last, result)
        values = linear_ball(step, {INPUT: Ball(center[:, None], np.zeros((n, 1)))}).centre[:, 0]
        inside = weight @ ground.box.upper + step.offset
        exact = Fraction(0)
        for k, c, p, m, v, g in fractions(kappa, last, relu.positive, relu.negative, values, inside):
            tau = abs(c * (p - m)) / (4 * k)
            exact += c * m * g + k * (tau * tau - v * v) + 2 * k * (v + tau) * g
        above += is_charged(exact, result, slopes, inside)
    assert above > 20


def fractions(*arrays: Array) -> Iterator[tuple[Fraction, ...]]:
    """Return floats as fractions, of several arrays side by side."""
    return zip(*([Fraction(number) for number in array.tolist()] for array in arrays), strict=True)


def is_charged(exact: Fraction, result: Sum, row: Array, x: Array) -> bool:
    """Require that ``total + row @ x`` is within the error of the exact number; tell whether it is below that."""
    products = (a * b for a, b in fractions(row, x))
    found = Fraction(result.total[0]) + sum(products, Fraction(0))
    assert found + Fraction(result.error[0]) >= exact
    assert result.error[0] < 1e-11 * (1 + abs(result.total[0]) + np.abs(row) @ (1 + np.abs(x)))
    return bool(found < exact)


def deep(rng: np.random.Generator) -> tuple[Network, Array]:
    """Return a network where a value is read by a curved layer, and once more beside it; with that layer's weights."""
    weight = rng.normal(size=(5, 4))
    nodes = [
        Node("0", Dense(rng.normal(size=(4, 2)), rng.normal(size=4)), (INPUT,)),
        Node("1", Rectifier(), ("0",)),
        Node("2", Dense(weight, rng.normal(size=5)), ("1",)),
        Node("3", Rectifier(), ("2",)),
        Node("4", Dense(rng.normal(size=(4, 5)), rng.normal(size=4)), ("3",)),
        Node("5", Add(), ("4", *["1"] * 20)),
        Node("6", Rectifier(), ("5",)),
    ]
    return Network((2,), nodes), weight


def test_the_source_may_be_a_hidden_value_that_is_read_twice() -> None:
    """Above a hidden layer and around a shortcut, finite bounds of both signs are above exact values at many points."""
    rng, finite = np.random.default_rng(2), 0
    for case in range(30):
        network, weight = deep(rng)
        sign = 1 if case % 2 else -1
        ground = Ground(network, Interval(np.full(2, -0.5), np.full(2, 0.5)))
        kappa = 2.0 ** rng.uniform(-3, 1, 5)
        curvature = ground.curvature(1, kappa, enough(weight, kappa, 1.001), rng.uniform(0, 1, 4))
        assert curvature.source == "1"
        bound = ground.bound(curvature, sign=sign)
        finite += np.isfinite(bound)
        for x in points(ground.box, rng)[::2]:
            value = sign * exact_values(network, x)["5"][0]
            assert value <= Fraction(bound)
            assert value <= Fraction(ground.bound(curvature, x, sign))
    assert finite == 30


def test_curved_and_flat_leaves_make_one_proof() -> None:
    """A split of x1 at 0, one leaf curved and one by multipliers, each of which needs its own numbers."""
    proof = record()
    split: dict[str, Any] = {
        "parent": np.array([-1, 0, 0], np.int32),
        "layer_of": np.array([-2, -1, -1], np.int32),
        "unit_of": np.zeros(3, np.int32),
        "point": np.full(3, 0.75),
        "above": np.array([False, False, True]),
        "rebound": np.zeros(3, np.bool_),
        "leaf": np.array([1, 2], np.int32),
        "objective": np.ones(2, np.bool_),
        "multipliers": np.zeros((2, 4)),
    }
    mixed = replace(proof, **split)
    (found,) = problems(cross(), SQUARE, mixed)
    assert "leaf 1 bounds it by" in found
    assert "curved" not in found
    both = replace(
        proof,
        **split,
        curved=np.array([0, 1], np.int32),
        curvature=np.repeat(proof.curvature, 2, axis=0),
        diagonal=np.repeat(proof.diagonal, 2, axis=0),
        center=np.repeat(proof.center, 2, axis=0),
    )
    assert problems(cross(), SQUARE, both) == ()
    worse = both.diagonal * [[1.0], [0.5]]
    assert "the curved leaf 1" in problems(cross(), SQUARE, replace(both, diagonal=worse))[0]


# semidefinite matrices ------------------------------------------------------------------------------------------------


def exactly_dominates(diagonal: list[Fraction], factors: Array, matrix: Array) -> bool:
    """Tell in rational arithmetic whether diag(diagonal) - matrix' diag(factors) matrix is positive semidefinite."""
    n = len(diagonal)
    rows = [[Fraction(float(v)) for v in row] for row in matrix]
    k = [Fraction(float(f)) for f in factors]
    m = [
        [-sum((f * r[i] * r[j] for f, r in zip(k, rows, strict=True)), Fraction(0)) for j in range(n)] for i in range(n)
    ]
    for i in range(n):
        m[i][i] += diagonal[i]
    for i in range(n):  # symmetric elimination: a pivot of 0 needs a row of 0
        if m[i][i] < 0 or (m[i][i] == 0 and any(m[i][j] != 0 for j in range(i + 1, n))):
            return False
        for j in range(i + 1, n) if m[i][i] else ():
            factor = m[j][i] / m[i][i]
            m[j] = [a - factor * b for a, b in zip(m[j], m[i], strict=True)]
    return True


def test_dominance_agrees_with_rational_arithmetic() -> None:
    """Tiny integer matrices, scaled: never accepted where it is false, always where it holds with some room."""
    rng, accepted, refused, cases = np.random.default_rng(3), 0, 0, 2500
    for _ in range(cases):
        n, count = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        matrix = rng.integers(-2, 3, (count, n)).astype(float)
        factors, d = rng.integers(1, 9, count) / 4.0, rng.integers(0, 30, n).astype(float)
        columns, shift = 2.0 ** rng.integers(-40, 40, n), 2.0 ** (2 * rng.integers(-60, 60))
        found = dominates(shift * d * columns**2, shift * factors, matrix * columns)
        accepted, refused = accepted + found, refused + (not found)
        less = [Fraction(float(v)) * (1 - Fraction(1, 10**6)) for v in d]
        assert not found or exactly_dominates([Fraction(float(v)) for v in d], factors, matrix)
        assert found or not exactly_dominates(less, factors, matrix) or exactly_dominates_barely(d, factors, matrix)
    assert accepted > cases / 5
    assert refused > cases / 5


def exactly_dominates_barely(diagonal: Array, factors: Array, matrix: Array) -> bool:
    """Tell whether a column that is used has nothing on the diagonal."""
    return bool((diagonal[(matrix != 0).any(axis=0)] == 0).any())


@pytest.mark.parametrize("scale", [1.0, 2.0**-501, 2.0**301, 1e-150])
def test_dominance_at_the_boundary(scale: float) -> None:
    """One element: d >= kappa a^2 is accepted with a relative room of 1e-7, refused at equality and an ulp below."""
    for kappa, a in ((1.0, 1.0), (0.3, 1.7), (1e20, 3e-9), (7.0, 1e30)):
        d = scale * (kappa * a * a)
        assert dominates(np.array([d * (1 + 1e-7)]), np.array([scale * kappa]), np.array([[a]]))
        for less in (d, np.nextafter(d, 0), d * (1 - 1e-12), d / 2, 5e-324, 0.0):
            assert not dominates(np.array([less]), np.array([scale * kappa]), np.array([[a]]))


def test_singular_matrices_are_refused_by_one_ulp() -> None:
    """Of A = (1 1; 1 -1), d must be above 2; of three equal rows, the columns share: 1 / d1 + 1 / d2 < 1 / 3."""
    a = np.array([[1.0, 1.0], [1.0, -1.0]])
    ones = np.ones((3, 2))
    assert dominates(np.full(2, 2 + 1e-6), np.ones(2), a)
    assert dominates(np.full(2, 6 + 1e-6), np.ones(3), ones)
    for step in (0, 1, 5):
        below = 1 - step * 2.0**-53
        assert not dominates(np.full(2, 2.0) * below, np.ones(2), a)
        assert not dominates(np.array([2.0, 2.0 * below]), np.ones(2), a)
        assert not dominates(np.full(2, 6.0) * below, np.ones(3), ones)
        assert not dominates(np.array([4.0, 12.0 * below]), np.ones(3), ones)


@pytest.mark.parametrize(
    ("diagonal", "factors", "matrix"),
    [
        ([np.nan], [1.0], [[1.0]]),
        ([np.inf], [1.0], [[1.0]]),
        ([9.0], [np.nan], [[1.0]]),
        ([9.0], [np.inf], [[0.0]]),
        ([9.0], [0.0], [[1.0]]),
        ([9.0], [-1.0], [[1.0]]),
        ([-9.0], [1.0], [[0.0]]),
        ([9.0], [1.0], [[np.nan]]),
        ([9.0], [1.0], [[np.inf]]),
        ([5e-324], [1e308], [[1e308]]),
        ([1e308], [1e308], [[1e308]]),
        ([0.0, 9.0], [1.0], [[5e-324, 1.0]]),
    ],
)
def test_numbers_that_dominate_nothing(diagonal: list[float], factors: list[float], matrix: list[list[float]]) -> None:
    """What is no number, not positive, or overflows is refused."""
    assert not dominates(np.array(diagonal), np.array(factors), np.array(matrix))


def test_where_there_is_nothing_to_dominate() -> None:
    """Columns of zeros ask for nothing, and tiny numbers are scaled to ordinary ones."""
    assert dominates(np.zeros(3), np.ones(2), np.zeros((2, 3)))
    assert dominates(np.zeros(3), np.ones(0), np.zeros((0, 3)))
    assert dominates(np.array([0.0, 3.0]), np.ones(2), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert dominates(np.array([3e-310]), np.array([1e-310]), np.ones((1, 1)))


@pytest.mark.parametrize(
    "factor",
    [np.zeros_like, np.ones_like, np.eye, lambda m: np.full_like(m, np.nan), lambda m: 1e200 * np.ones_like(m)],
)
def test_the_factorisation_is_not_believed(factor: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is returned for the Cholesky factor, no indefinite matrix is accepted."""
    monkeypatch.setattr(
        semidefinite.np.linalg, "cholesky", lambda m: factor(m) if factor is not np.eye else np.eye(len(m))
    )
    rng = np.random.default_rng(4)
    for _ in range(50):
        matrix, factors = rng.integers(-2, 3, (3, 3)).astype(float), rng.integers(1, 5, 3).astype(float)
        d = rng.integers(1, 30, 3).astype(float)
        assert not dominates(d, factors, matrix) or exactly_dominates(
            [Fraction(v) for v in d.tolist()], factors, matrix
        )
    for element in np.linspace(1.0, 1.9, 10):
        assert not dominates(np.ones(1), np.ones(1), np.full((1, 1), element))


def test_large_matrices_have_room_for_rounding() -> None:
    """300 units over 700 elements: the rounding that is charged fits below a relative room of 1e-6, not below 1e-9."""
    rng = np.random.default_rng(5)
    matrix, factors = rng.normal(size=(300, 700)), rng.uniform(0.5, 2, 300)
    gram = np.sqrt(factors)[:, None] * matrix
    least = float(np.linalg.eigvalsh(gram @ gram.T)[-1])
    assert dominates(np.full(700, least * (1 + 1e-6)), factors, matrix)
    assert not dominates(np.full(700, least * (1 + 1e-9)), factors, matrix)
    assert not dominates(np.full(700, least * (1 - 1e-9)), factors, matrix)


def test_the_room_for_the_center_is_small() -> None:
    """The Young constant is what the module says: a diagonal with less room than it needs is refused."""
    assert problems(cross(), SQUARE, record(diagonal=[[4 * KAPPA * (1 + 0.9 * DELTA)] * 2]))
    assert problems(cross(), SQUARE, record(diagonal=[[4 * KAPPA * (1 + 1.2 * DELTA)] * 2])) == ()


def test_reading_copies_the_numbers() -> None:
    """Numbers by columns in any order arrive at their units, as float64."""
    model = read_network(cross())
    kappa = np.array([[0.5, 0.25, 0.125, 1.0]], dtype=np.float32)
    table = np.array([[0, 3], [0, 1], [0, 0], [0, 2]], np.int32)
    proof = record(columns=table, curvature=kappa)
    found = read_curvature(proof, model, proof.objective, read_tree(proof, model).columns)
    assert found is not None
    assert found.source == INPUT
    assert found.curvature.tolist() == [[0.125, 0.25, 1.0, 0.5]]
    assert found.curvature.dtype == np.float64
