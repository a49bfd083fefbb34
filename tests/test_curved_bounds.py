"""Bounds of a whole layer by parabolas: as by hand, never below an exact value, and what the checker finds as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milpcomp.bounds import curved
from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.curved import DELTA, Curve, dominates, proved_semidefinite, reading, schur_complement, upper_bound
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.multipliers import Cases, upper_bounds
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.branch.tree import Tree
from milpcomp.checker.branch import prove_trees
from milpcomp.checker.branch_tree import read_tree
from milpcomp.checker.document import read_network
from milpcomp.checker.sweep import prove_bounds
from milpcomp.domain import Box
from milpcomp.network import INPUT, Add, Conv2d, Dense, Network, Node, Rectifier, Reshape
from tests.exact import exact_values
from tests.nets import chain, mlp

Array = NDArray[np.float64]

CROSS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
KAPPA = 0.177
ROOM = 1.0 + 1e-5


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let numbers overflow without a warning, as all searches do."""
    with np.errstate(all="ignore"):
        yield


class Ground:
    """A network over a box, and bounds of unit 0 of its last rectifier."""

    def __init__(self, network: Network, lower: Array, upper: Array) -> None:
        self.network, self.lower, self.upper = network, lower, upper
        self.values = interval_bounds(network, Box(lower, upper)).values
        self.source = network.rectifiers[-1].inputs[0]
        self.substitution = Substitution(network, self.values, self.source)
        names = (INPUT, *(network[name].inputs[0] for name in self.substitution.relaxations))
        flat = {
            name: (self.values[name].lower.reshape(1, -1), self.values[name].upper.reshape(1, -1)) for name in names
        }
        self.case = Cases({name: Interval(*ends) for name, ends in flat.items()})
        self.row = np.eye(1, network.width(network.rectifiers[-1].name))[0]

    def bound(self, curve: Curve, rectifier: str = "1", sign: float = 1.0, multipliers: Array | None = None) -> float:
        """Return the bound of ``sign * value``."""
        given = None if multipliers is None else {rectifier: multipliers[None]}
        return upper_bound(self.substitution, sign * self.row, self.case, rectifier, curve, given)

    def lines(self) -> float:
        """Return the bound by standard lines."""
        return float(upper_bounds(self.substitution, self.row[None], self.case, np.zeros(1, dtype=np.int64))[0])

    def exact(self, x: Array) -> Fraction:
        """Return the exact value at an input."""
        return exact_values(self.network, x)[self.source][0]


def curve(kappa: Any, diagonal: Any, center: Any) -> Curve:
    """Return a curve of plain lists."""
    return Curve(*(np.array(numbers, dtype=np.float64) for numbers in (kappa, diagonal, center)))


def cross(bias: float = 0.0, weight: float = 1.0) -> Ground:
    """Return a target ``|x1 + x2| + |x1 - x2| + bias`` on the square, which is at most ``2 + bias``; lines give 4."""
    network = chain((2,), Dense(weight * CROSS), Rectifier(), Dense([[1.0] * 4], [bias]), Rectifier())
    return Ground(network, np.full(2, -1.0), np.full(2, 1.0))


# by hand --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.1, KAPPA, 0.25, 1.0])
def test_a_sum_of_absolute_values(kappa: float) -> None:
    """By hand: |g| <= kappa g^2 + 1 / (4 kappa) gives 4 kappa |x|^2 + 1 / (4 kappa) <= 8 kappa + 1 / (4 kappa)."""
    ground = cross()
    assert ground.lines() == pytest.approx(4.0)
    found = ground.bound(curve([kappa] * 4, [4 * kappa * ROOM] * 2, [0.0, 0.0]))
    expected = 8 * kappa * ROOM + 1 / (4 * kappa)
    assert expected <= found < expected * (1 + 1e-12)


@pytest.mark.parametrize(("slopes", "sign"), [((1.0, -1.0), 1.0), ((-1.0, 1.0), -1.0), ((-0.25, -0.75), 1.0)])
def test_one_unit_of_any_slopes(slopes: tuple[float, float], sign: float) -> None:
    """By hand on [-1, 1], for a = c (p - n) > 0: c n g + kappa (g + tau)^2 with kappa = a / 4, tau = 1, d = kappa.

    With the centre at 0 that is a / 4 (d) + a / 4 (tau) + (c n + a / 2) g, which is c p or -c n at the ends.
    """
    ground = Ground(
        chain((1,), Dense([[1.0]]), Rectifier(*slopes), Dense([[1.0]]), Rectifier()), np.array([-1.0]), np.array([1.0])
    )
    rise = sign * (slopes[0] - slopes[1])
    assert rise > 0
    found = ground.bound(curve([rise / 4], [rise / 4 * ROOM], [0.0]), sign=sign)
    expected = max(sign * slopes[0], -sign * slopes[1])
    assert expected <= found < expected + 1.01e-5 * rise
    assert ground.bound(curve([rise / 4], [rise / 4 * ROOM], [0.0]), sign=-sign) >= max(
        -sign * slopes[0], sign * slopes[1]
    )


@pytest.mark.parametrize("center", [[0.5, -0.25], [1.0, 1.0], [-3.0, 7.0], [100.0, 1e3]])
def test_the_center_costs_what_the_diagonal_has_to_spare(center: list[float]) -> None:
    """With z as the centre the bound is, at v, larger by the spare diagonal times (v - z)^2."""
    spare = 2e-6
    found = cross().bound(curve([KAPPA] * 4, [4 * KAPPA * (1 + spare)] * 2, center))
    least = 8 * KAPPA + 1 / (4 * KAPPA)
    assert least <= found <= least + 8 * KAPPA * spare * (np.abs(center).max() + 1) ** 2 + 1e-6


@pytest.mark.parametrize(
    ("field", "numbers"),
    [
        ("diagonal", [4 * KAPPA * (1 - 1e-9)] * 2),
        ("diagonal", [4 * KAPPA] * 2),
        ("diagonal", [4 * KAPPA * (1 + 0.9 * DELTA)] * 2),
        ("diagonal", [0.0, 4 * KAPPA * ROOM]),
        ("diagonal", [-1.0, 4 * KAPPA * ROOM]),
        ("diagonal", [np.nan, 4 * KAPPA * ROOM]),
        ("diagonal", [np.inf, 4 * KAPPA * ROOM]),
        ("diagonal", [1e300, 4 * KAPPA * ROOM]),
        ("diagonal", [5e-324, 4 * KAPPA * ROOM]),
        ("curvature", [KAPPA * 1.001] * 4),
        ("curvature", [KAPPA, KAPPA, KAPPA, 1e89]),
        ("curvature", [KAPPA, KAPPA, KAPPA, 1e300]),
        ("curvature", [KAPPA, KAPPA, KAPPA, np.inf]),
        ("curvature", [KAPPA, KAPPA, KAPPA, np.nan]),
        ("center", [np.nan, 0.0]),
        ("center", [np.inf, 0.0]),
        ("center", [1e308, -1e308]),
        ("center", [1e160, -1e160]),
    ],
)
def test_numbers_that_prove_nothing(field: str, numbers: list[float]) -> None:
    """A diagonal that does not dominate, numbers that are none, and those that are out of this world: no bound."""
    good = curve([KAPPA] * 4, [4 * KAPPA * ROOM] * 2, [0.0, 0.0])
    assert cross().bound(good) < 2.83
    assert cross().bound(replace(good, **{field: np.array(numbers)})) == np.inf


@pytest.mark.parametrize("kappa", [[KAPPA, KAPPA, KAPPA, 0.0], [KAPPA, KAPPA, KAPPA, -1.0], [1e-300] * 4, [0.0] * 4])
def test_units_without_curvature_take_lines(kappa: list[float]) -> None:
    """What is 0, negative, or next to 0 is no curvature; the diagonal costs all the same."""
    diagonal = [4 * KAPPA * ROOM] * 2
    found, curves = cross().bound(curve(kappa, diagonal, [0.0, 0.0])), sum(k == KAPPA for k in kappa)
    parts = curves * (1 / (16 * KAPPA)) + (4 - curves) * 1.0 + 8 * KAPPA * ROOM
    assert parts - 1e-9 <= found <= parts + 2.0  # slopes of 1/2 that have no counterpart cost up to 2 * 1/2


@pytest.mark.parametrize("number", [0.5, 10.0, -10.0, 1e300])
def test_multipliers_of_curved_units_are_ignored(number: float) -> None:
    """On [1, 2], a line of its own would shift the bound by the multiplier times 1 to 2: a curved unit has none."""
    network = chain((1,), Dense([[1.0]]), Rectifier(), Dense([[1.0]]), Rectifier())
    ground = Ground(network, np.array([1.0]), np.array([2.0]))
    own = curve([0.25], [0.25 * ROOM], [1.5])
    assert ground.bound(own, multipliers=np.array([number])) == ground.bound(own) >= 2.0


def test_what_underflows_under_a_large_diagonal_is_charged() -> None:
    """With weights of 1e153 and a box of 1e-170, d (z^2 - lo hi) is what counts, and lo hi alone is no float."""
    network = chain((1,), Dense([[1e153]]), Rectifier(), Dense([[1e-20]]), Rectifier())
    ground = Ground(network, np.array([-1e-170]), np.array([1e-170]))
    for kappa in 10.0 ** np.arange(-8, 8):
        assert ground.exact(ground.upper) <= ground.bound(curve([kappa], [kappa * 1e306 * ROOM], [0.0]))
    network = chain((1,), Dense([[1e-75]]), Rectifier(), Dense([[1e-80]]), Rectifier())
    ground = Ground(network, np.array([-1e-90]), np.array([1e-90]))  # tau^2 is no float
    for kappa in 10.0 ** np.arange(60, 90):
        assert ground.exact(ground.upper) <= ground.bound(curve([kappa], [kappa * 1e-150 * ROOM], [0.0]))


def test_only_dense_layers_on_finite_values_are_read() -> None:
    """Convolutions, sums and values without bounds are not read; a dense layer is, with its box."""
    ground = cross()
    read = reading(ground.network, ground.values, "1")
    assert read is not None
    assert (read.source, read.offset.tolist()) == (INPUT, [0.0] * 4)
    assert np.array_equal(read.matrix, CROSS)
    assert (read.lower.tolist(), read.upper.tolist()) == ([-1.0, -1.0], [1.0, 1.0])
    open_ended = {**ground.values, INPUT: Interval(np.array([-np.inf, 0.0]), np.ones(2))}
    assert reading(ground.network, open_ended, "1") is None
    nodes = [
        Node("image", Reshape((1, 2, 2)), (INPUT,)),
        Node("conv", Conv2d(np.ones((1, 1, 1, 1))), ("image",)),
        Node("relu", Rectifier(), ("conv",)),
        Node("sum", Add(), ("image", "relu")),
        Node("last", Rectifier(), ("sum",)),
    ]
    network = Network((4,), nodes)
    values = interval_bounds(network, Box(-np.ones(4), np.ones(4))).values
    assert reading(network, values, "relu") is None
    assert reading(network, values, "last") is None
    assert reading(chain((2,), Rectifier()), ground.values, "0") is None


# soundness ------------------------------------------------------------------------------------------------------------


def enough(weight: Array, kappa: Array) -> Array:
    """Return a diagonal that just dominates: rows of A' kappa A have it as their absolute sums."""
    return np.asarray(np.abs(weight.T @ (kappa[:, None] * weight)).sum(axis=1))


ODD = np.array([0.0, 1e-320, 1e-170, 1e-92, 1e-80, 1e80, 1e92, 1e170, 1e308, np.inf, np.nan, -1.0])


def odd_curve(weight: Array, lower: Array, upper: Array, rng: np.random.Generator) -> Curve:
    """Return parabolas for a layer with these weights: honest ones, near misses, and out of this world."""
    kappa = np.where(rng.random(len(weight)) < 0.2, 0.0, 2.0 ** rng.uniform(-6, 4, len(weight)))
    diagonal = enough(weight, kappa) * rng.choice([0.7, 0.999, 1.0, ROOM, ROOM, 1.5])
    center = rng.uniform(lower, upper) + rng.choice([0.0, 0.0, 1.0, 1e4]) * rng.normal(size=len(lower))
    for numbers in (kappa, diagonal, center):
        if rng.random() < 0.1:
            numbers[rng.integers(len(numbers))] = rng.choice(ODD)
    return Curve(kappa, diagonal, center)


def odd_multipliers(width: int, rng: np.random.Generator) -> Array | None:
    """Return multipliers of any kind, or none."""
    if rng.random() < 0.3:
        return None
    return np.where(rng.random(width) < 0.3, np.nan, rng.normal(size=width) * rng.choice([0.1, 1.0, 30.0], size=width))


def one_layer(rng: np.random.Generator) -> tuple[Ground, Array]:
    """Return a network of one hidden layer of any slopes over a box, and its weights; scaled, some of them wildly."""
    n, width = rng.integers(1, 6, 2).tolist()
    scale, last = 10.0 ** rng.choice([0, 0, 0, -3, 6, -40, 40, -150, 150], size=2)
    weight = scale * rng.normal(size=(width, n))
    weight[rng.random((width, n)) < 0.2] = 0.0
    low = rng.normal(size=n) * rng.choice([1.0, 1.0, 1e-3, 1e-160])
    up = low + rng.uniform(0.0, 2.0, n) * rng.choice([1.0, 1.0, 0.0, 1e-9])
    relu = Rectifier() if rng.random() < 0.5 else Rectifier(rng.normal(size=width), rng.normal(size=width))
    first = Dense(weight, scale * rng.normal(size=width) * rng.choice([0.0, 1.0, 5.0]))
    network = chain(
        (n,), first, relu, Dense(last * rng.normal(size=(1, width)), last * rng.normal(size=1)), Rectifier()
    )
    return Ground(network, low, up), weight


def chosen_points(ground: Ground, rng: np.random.Generator, sign: float) -> Array:
    """Return where a target is highest, as floats say, and two more points."""
    lower, upper = ground.lower, ground.upper
    x = np.concatenate(
        [np.array(list(product(*zip(lower, upper, strict=True)))), rng.uniform(lower, upper, (8, len(lower)))]
    )
    x = np.clip(x, lower, upper)
    value = sign * ground.network.pre_activations(x)[ground.network.rectifiers[-1].name][:, 0]
    return x[[int(value.argmax()), 0, -1]]


def test_no_bound_is_below_an_exact_value() -> None:
    """One layer: any curvature, diagonal, centre, multipliers and slopes; and many bounds are finite."""
    rng, finite, count = np.random.default_rng(0), 0, 0
    for _ in range(250):
        ground, weight = one_layer(rng)
        sign = rng.choice([-1.0, 1.0])
        highest = max(sign * ground.exact(x) for x in chosen_points(ground, rng, sign))
        for _ in range(10):
            own = odd_curve(weight, ground.lower, ground.upper, rng)
            bound = ground.bound(own, sign=sign, multipliers=odd_multipliers(len(weight), rng))
            count, finite = count + 1, finite + np.isfinite(bound)
            assert bound == np.inf or highest <= Fraction(bound)
    assert count / 4 < finite < count


def test_where_parabolas_touch_bounds_are_values_but_for_rounding() -> None:
    """With kappa = a / (4 |g|) at a corner, and the centre there: exact at that corner, where any error would show."""
    rng, center_error = np.random.default_rng(9), [0.0]
    for case in range(150):
        n, width = rng.integers(1, 4, 2).tolist()
        weight, offset, last = rng.normal(size=(width, n)), rng.normal(size=width), rng.uniform(0.1, 1.0, (1, width))
        slopes = (1.0, rng.uniform(-1.0, 0.5, width)) if case % 2 else (1.0, 0.0)
        shift = rng.choice([0.0, 1e3], size=n)  # far from 0, where sums cancel
        low, up = shift - 1.0, shift + rng.uniform(0.5, 1.0, n)
        offset -= weight @ shift
        ground = Ground(chain((n,), Dense(weight, offset), Rectifier(*slopes), Dense(last), Rectifier()), low, up)
        corner = np.where(rng.random(n) < 0.5, low, up)
        kappa = last[0] * (slopes[0] - np.asarray(slopes[1])) / np.abs(4 * (weight @ corner + offset))
        at = Interval(corner[None], corner[None])
        here = Cases({**ground.case.values, INPUT: at})
        own = Curve(kappa, enough(weight, kappa) * ROOM + 1e-9, corner)
        bound = upper_bound(ground.substitution, ground.row, here, "1", own)
        over = Fraction(bound) - ground.exact(corner)
        assert over >= 0
        center_error.append(float(over) / (1 + np.abs(kappa).max()))
    assert max(center_error) < 1e-6


@pytest.mark.parametrize("kind", ["far", "edge", "steep"])
def test_rounding_of_parabolas_is_charged(kind: str) -> None:
    """Constants and rows, with the error, are not below the exact ones, which they are often below without it.

    Far centres make the rounding of constants large, boxes [0, 1] around a centre at 0 that of the row on v, and steep
    slopes that of the row on g.
    """
    rng, below = np.random.default_rng(10), 0
    for _ in range(150):
        n, width = rng.integers(1, 4, 2).tolist()
        weight = rng.uniform(0.1, 1.0, (width, n))
        negative = -1e6 * rng.uniform(1.0, 2.0, width) if kind == "steep" else rng.normal(size=width)
        relu = Rectifier(negative + rng.uniform(0.5, 1.0, width), negative)
        network = chain((n,), Dense(weight), relu, Dense(np.ones((1, width))), Rectifier())
        ground = Ground(network, np.zeros(n), rng.uniform(0.5, 1.0, n))
        kappa, center = rng.uniform(0.1, 1.0, width), 1e6 * rng.normal(size=n) * (kind == "far")
        own = Curve(kappa, enough(weight, kappa) * (1e6 if kind == "edge" else ROOM), center)
        run = curved._CurvedRun(ground.substitution, ground.case, {}, "1", own)
        read = reading(network, ground.values, "1")
        assert read is not None
        last = rng.uniform(0.1, 1.0, width)
        flat, rise = last * relu.negative_slope, last * (relu.positive_slope - relu.negative_slope)
        flat, rise = np.asarray(flat), np.asarray(rise)
        on_g = -run._curved("0", read, flat, rise, np.arange(width))
        tau, y = np.nextafter(rise / (4 * kappa) * (1 + 2.0**-50), np.inf), weight @ center + read.offset
        assert all(4 * Fraction(k) * Fraction(t) >= Fraction(a) for k, t, a in zip(kappa, tau, rise, strict=True))
        v = ground.upper
        g = weight @ v
        exact, found = Fraction(0), -Fraction(run.constant[0])
        for k, t, z, c, x, s in zip(kappa, tau, y, flat, g, on_g, strict=True):
            k, t, z, c, x = (Fraction(number) for number in (k, t, z, c, x))
            exact, found = exact + k * (t * t - z * z) + (c + 2 * k * (z + t)) * x, found + Fraction(s) * x
        for d, z, low, up, x, s in zip(own.diagonal, center, ground.lower, v, v, -run.waiting[INPUT][0], strict=True):
            d, z, low, up, x = (Fraction(number) for number in (d, z, low, up, x))
            exact, found = exact + d * (z * z - low * up) + d * (low + up - 2 * z) * x, found + Fraction(s) * x
        assert found + Fraction(run.error[0]) >= exact
        below += found < exact
    assert below > 10


@pytest.mark.parametrize("rectifier", ["1", "3", "5"])
def test_no_bound_is_below_an_exact_value_of_a_deep_network(rectifier: str) -> None:
    """Three layers of any slopes, of which one is curved, the others are not: above the exact values of both signs."""
    rng, finite = np.random.default_rng(1), 0
    for _ in range(25):
        network = mlp([2, 3, 4, 3, 1], rng, None, None)
        low = rng.normal(size=2)
        ground = Ground(
            Network(network.input_shape, [*network.nodes, Node("end", Rectifier(), ("6",))]), low, low + 0.5
        )
        read = reading(ground.network, ground.values, rectifier)
        assert read is not None
        for sign in (-1.0, 1.0):
            highest = max(sign * ground.exact(x) for x in chosen_points(ground, rng, sign))
            for _ in range(4):
                own = odd_curve(read.matrix, read.lower, read.upper, rng)
                bound = ground.bound(own, rectifier, sign, odd_multipliers(len(read.matrix), rng))
                finite += np.isfinite(bound)
                assert bound == np.inf or highest <= Fraction(bound)
    assert finite > 60


def test_a_larger_diagonal_and_a_wider_box_bound_less() -> None:
    """With the same centre, bounds do not fall where the diagonal grows, or the box does."""
    rng, less = np.random.default_rng(2), 0
    for _ in range(60):
        weight, offset, last = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=(1, 5))
        network = chain((3,), Dense(weight, offset), Rectifier(), Dense(last), Rectifier())
        kappa = 2.0 ** rng.uniform(-4, 2, 5)
        own = Curve(kappa, enough(weight, kappa) * ROOM, rng.uniform(-1.0, 1.0, 3))
        small, large = (Ground(network, np.full(3, -r), np.full(3, r)) for r in (1.0, 1.1))
        bound = small.bound(own)
        assert bound <= large.bound(own)
        worse = small.bound(replace(own, diagonal=own.diagonal * [1.0, 1.0, 1.2]))
        assert bound <= worse + 1e-12
        less += worse > bound + 1e-6
    assert less > 50


# the checker ----------------------------------------------------------------------------------------------------------


def recorded(ground: Ground, own: Curve, multipliers: Array, bound: float) -> BranchProof:
    """Return a proof by one curved leaf that the target is at most `bound`."""
    tree, units = Tree(), np.arange(len(multipliers))
    tree.close(0, True, multipliers, own)
    return replace(tree.proof("3", 0, 1, np.stack([0 * units, units], axis=1)), bound=bound)


def refusal(ground: Ground, proof: BranchProof) -> str:
    """Return what the checker has against a proof, "" where it has nothing."""
    model = read_network(ground.network)
    bounds = prove_bounds(model, (ground.lower, ground.upper))
    return "".join(prove_trees(model, bounds, [read_tree(proof, model)]).problems)


@pytest.mark.parametrize("kind", ["relu", "slopes"])
def test_the_checker_bounds_by_the_same(kind: str) -> None:
    """Of the same numbers, the checker accepts the bound plus a billionth, and refuses it minus a billionth."""
    rng, seen = np.random.default_rng(3), 0
    for _ in range(30):
        slopes = (1.0, 0.0) if kind == "relu" else (1.0, rng.uniform(-2.0, 0.5, 4))
        last = rng.uniform(0.5, 1.0, (1, 4)) * [1.0, 1.0, 1.0, rng.choice([-0.01, 1.0])]
        first = Dense(CROSS + 0.05 * rng.normal(size=CROSS.shape), 0.05 * rng.normal(size=4))
        ground = Ground(
            chain((2,), first, Rectifier(*slopes), Dense(last), Rectifier()), np.full(2, -1.0), np.full(2, 1.0)
        )
        kappa = last[0] * (slopes[0] - np.asarray(slopes[1])) * KAPPA * rng.uniform(0.9, 1.1, 4)
        kappa = np.maximum(kappa, 1e-3)
        own = Curve(kappa, least_diagonal(first.weight, kappa, np.ones(2)) * ROOM, 0.1 * rng.normal(size=2))
        multipliers = 0.1 * rng.normal(size=4)
        bound = ground.bound(own, multipliers=multipliers)
        if bound > ground.values["2"].upper[0] - 1e-3:
            continue  # which needs no parabolas
        seen += 1
        assert refusal(ground, recorded(ground, own, multipliers, bound + 1e-9)) == ""
        assert " only" in refusal(ground, recorded(ground, own, multipliers, bound - 1e-9))
    assert seen > 10


def least_diagonal(weight: Array, kappa: Array, shape: Array) -> Array:
    """Return the least multiple of `shape` that dominates."""
    root = np.sqrt(kappa)[:, None] * weight / np.sqrt(shape)
    return np.asarray(shape * float(np.linalg.eigvalsh(root @ root.T)[-1]) * (1 + DELTA))


def test_the_checker_believes_the_same_diagonals() -> None:
    """Of diagonals around the least that dominates, the two agree but for a relative room of 1e-7, never below it."""
    rng, found = np.random.default_rng(4), set()
    for _ in range(10):
        ground, kappa, shape = cross(), 2.0 ** rng.uniform(-4, 2, 4), rng.uniform(0.5, 2.0, 2)
        least = least_diagonal(CROSS, kappa, shape)
        for room in (0.5, 1 - 1e-7, 1 - 1e-12, 1.0, 1 + 1e-12, 1 + 1e-7, 1.5):
            own = Curve(kappa, least * room, np.zeros(2))
            proved = np.isfinite(ground.bound(own))
            said = "dominate" not in refusal(ground, recorded(ground, own, np.zeros(4), 1.0))
            assert not proved or room > 1
            assert proved == said or abs(room - 1) < 1e-7
            found.add((room, bool(proved)))
    assert {(1 + 1e-7, True), (1.5, True), (1 - 1e-7, False), (1.0, False)} <= found


# semidefinite matrices ------------------------------------------------------------------------------------------------


def exactly_semidefinite(matrix: list[list[Fraction]]) -> bool:
    """Tell by symmetric elimination of fractions; a pivot of 0 needs a row of 0."""
    m = [list(row) for row in matrix]
    for i in range(len(m)):
        if m[i][i] < 0 or (m[i][i] == 0 and any(m[i][i + 1 :])):
            return False
        for j in range(i + 1, len(m)) if m[i][i] else ():
            factor = m[j][i] / m[i][i]
            m[j] = [a - factor * b for a, b in zip(m[j], m[i], strict=True)]
    return True


def fractions(matrix: Array) -> list[list[Fraction]]:
    """Return the numbers of a matrix exactly."""
    return [[Fraction(value) for value in row] for row in matrix.tolist()]


def symmetric(rng: np.random.Generator) -> Array:
    """Return a small symmetric matrix of whole numbers; every second one is a Gram matrix, which may be singular."""
    n = int(rng.integers(1, 5))
    if rng.random() < 0.5:
        factor = rng.integers(-2, 3, (n, int(rng.integers(1, 5)))).astype(float)
        return np.asarray(factor @ factor.T)
    half = rng.integers(-3, 4, (n, n)) + 3.0 * np.eye(n)
    return np.asarray(half + half.T)


def test_no_indefinite_matrix_is_accepted() -> None:
    """Matrices of whole numbers: those accepted are semidefinite, and those with 1e-6 to spare are accepted."""
    rng, accepted, refused = np.random.default_rng(5), 0, 0
    for _ in range(1500):
        matrix = symmetric(rng)
        size = float(np.abs(np.diag(matrix)).max())
        found = proved_semidefinite(matrix, np.zeros_like(matrix))
        exact, eye = fractions(matrix), np.eye(len(matrix))
        less = fractions(matrix - 1e-6 * size * eye)
        assert not found or exactly_semidefinite(exact)
        assert found or size == 0 or not exactly_semidefinite(less)
        accepted, refused = accepted + found, refused + (not found)
    assert min(accepted, refused) > 300


def test_errors_of_entries_count() -> None:
    """By hand: (2, -1; -1, 2) is accepted with errors up to about SHIFT, and refused with larger ones, or NaN."""
    matrix = np.array([[2.0, -1.0], [-1.0, 2.0]])
    for error, holds in ((0.0, True), (0.9e-9, True), (1.1e-9, False), (1.5, False), (np.nan, False), (np.inf, False)):
        assert proved_semidefinite(matrix, np.full((2, 2), error)) is holds
    for odd in (np.nan, np.inf, -np.inf):
        assert not proved_semidefinite(np.array([[odd, 0.0], [0.0, 1.0]]), np.zeros((2, 2)))
    assert not proved_semidefinite(np.zeros((2, 2)), np.zeros((2, 2)))
    assert proved_semidefinite(np.zeros((0, 0)), np.zeros((0, 0)))


@pytest.mark.parametrize(
    "factor",
    [np.zeros_like, np.ones_like, lambda m: np.eye(len(m)), lambda m: np.full_like(m, np.nan), lambda m: 1e200 + 0 * m],
)
def test_the_factorisation_is_not_believed(factor: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is returned for the Cholesky factor, nothing indefinite is accepted."""
    monkeypatch.setattr(curved.np.linalg, "cholesky", factor)
    rng = np.random.default_rng(6)
    for _ in range(100):
        matrix = symmetric(rng)
        assert not proved_semidefinite(matrix, np.zeros_like(matrix)) or exactly_semidefinite(fractions(matrix))


def test_the_complement_is_the_one_by_fractions() -> None:
    """Computed directly in fractions, scaled alike: within its own error, which is tiny; the diagonal is about 1."""
    rng = np.random.default_rng(7)
    for _ in range(60):
        count, n = rng.integers(1, 5, 2).tolist()
        kappa, d = 10.0 ** rng.uniform(-60, 60, count), 10.0 ** rng.uniform(-60, 60, n)
        matrix = rng.normal(size=(count, n)) * np.sqrt(d) / np.sqrt(kappa)[:, None] / 3
        found, error = schur_complement(matrix, kappa, d)
        rows = fractions(matrix)
        for i, j in product(range(count), repeat=2):
            scale = Fraction(2) ** (round(np.log2(kappa[i]) / 2) + round(np.log2(kappa[j]) / 2))
            entry = -sum(
                (a * b / Fraction(x) for a, b, x in zip(rows[i], rows[j], d.tolist(), strict=True)), Fraction(0)
            )
            entry += 1 / (Fraction(kappa[i]) * (1 + Fraction(DELTA))) if i == j else 0
            assert abs(Fraction(found[i, j]) - scale * entry) <= Fraction(error[i, j]) <= Fraction(1, 10**13)


def exactly_dominates(matrix: Array, kappa: Array, d: Array) -> bool:
    """Tell in fractions whether diag(d) - matrix' diag(kappa) matrix is positive semidefinite."""
    rows, n = fractions(matrix), len(d)
    factors = [Fraction(value) for value in kappa.tolist()]
    entries = [
        [-sum((f * row[i] * row[j] for f, row in zip(factors, rows, strict=True)), Fraction(0)) for j in range(n)]
        for i in range(n)
    ]
    for i in range(n):
        entries[i][i] += Fraction(float(d[i]))
    return exactly_semidefinite(entries)


def test_dominance_agrees_with_fractions() -> None:
    """Matrices of whole numbers, scaled: never accepted where it is false, always where it holds with some room."""
    rng, accepted, refused = np.random.default_rng(8), 0, 0
    for _ in range(1200):
        count, n = rng.integers(1, 5, 2).tolist()
        matrix = rng.integers(-2, 3, (count, n)).astype(float)
        kappa, d = rng.integers(1, 9, count) / 4.0, rng.integers(0, 30, n).astype(float)
        columns, shift = 2.0 ** rng.integers(-40, 40, n), 2.0 ** (2 * rng.integers(-60, 60))
        found = dominates(matrix * columns, shift * kappa, shift * d * columns**2)
        accepted, refused = accepted + found, refused + (not found)
        unpaid = bool((d[(matrix != 0).any(axis=0)] == 0).any())
        assert not found or exactly_dominates(matrix, kappa, d)
        assert found or unpaid or not exactly_dominates(matrix, kappa, d * (1 - 1e-5))
    assert min(accepted, refused) > 200


def test_where_there_is_nothing_to_dominate() -> None:
    """No units, or columns of zeros, ask for nothing."""
    assert dominates(np.zeros((0, 3)), np.ones(0), np.zeros(3))
    assert dominates(np.zeros((2, 3)), np.ones(2), np.zeros(3))
    assert dominates(np.array([[0.0, 1.0], [0.0, 1.0]]), np.ones(2), np.array([0.0, 3.0]))
    assert not dominates(np.array([[0.0, 1.0], [0.0, 1.0]]), np.ones(2), np.array([3.0, 0.0]))
