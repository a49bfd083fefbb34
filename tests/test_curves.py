"""Searches with semidefinite bounds: what they prove is true and accepted by the checker, and no witness is ignored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import milpcomp as mc
from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.branch import curves, layer_sum, spheres
from milpcomp.branch.curves import MARGIN, start
from milpcomp.branch.layer_sum import Case, Layer, layer_below
from milpcomp.branch.question import NOTHING, Limits, Outcome, Question
from milpcomp.branch.spheres import Maximum
from milpcomp.checker import check
from milpcomp.checker.result import Finding
from milpcomp.domain import Box
from milpcomp.network import INPUT, Add, Conv2d, Dense, Network, Node, Rectifier, Reshape
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.merge import merge
from milpcomp.stability.report import Report
from milpcomp.stability.storage import load_report, save_report
from milpcomp.stability.verdict import Phase, Stage
from tests.exact import HUGE, awkward_box, awkward_mlp, exact_values
from tests.nets import chain, mlp

Array = NDArray[np.float64]
Values = dict[str, Interval]

CROSS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
SQUARE = Box(np.full(2, -1.0), np.full(2, 1.0))
ABOVE = Question("3", 0, 1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let numbers overflow without a warning, as all searches do."""
    with np.errstate(all="ignore"):
        yield


def cross(bias: float) -> Network:
    """Return ``|x1 + x2| + |x1 - x2| + bias``: on the square at most 2, relaxed 2 sqrt 2, by lines 4, plus the bias."""
    return chain((2,), Dense(CROSS), Rectifier(), Dense([[1.0] * 4], [bias]), Rectifier())


@dataclass
class Asked:
    """The outcome of a search, and all that it offered."""

    outcome: Outcome
    offered: list[Array]


def bounds_of(network: Network, box: Box) -> Values:
    """Return interval bounds."""
    return dict(interval_bounds(network, box).values)


def asked(
    network: Network,
    values: Values,
    question: Question = ABOVE,
    seconds: float = 3.0,
    settled: Callable[[], bool] = lambda: False,
    room: int = 2**24,
) -> Asked:
    """Search."""
    offered: list[Array] = []
    limits = Limits(time.monotonic() + seconds, settled, room)
    search = start(network, values, question, offered.append)
    return Asked(NOTHING if search is None else search.run(limits), offered)


def refusals(network: Network, box: Box, *proofs: BranchProof) -> list[str]:
    """Return what the checker has against a report with these proofs on interval bounds."""
    ledger = Ledger(network, box, interval_bounds(network, box))
    with ledger.clock(Stage.BRANCH):
        for proof in proofs:
            ledger.prove_by_cases(proof)
    checked = check(network, box, ledger.report({}, {}, "complete"))
    decided = [entry for entry in checked.entries if entry.phase in ("stably_inactive", "stably_active")]
    assert len({(entry.layer, entry.unit) for entry in decided} & {(p.layer, p.unit) for p in proofs}) == len(proofs)
    return [*checked.problems, *(entry.reason for entry in checked.entries if entry.finding is Finding.REJECTED)]


def grid(box: Box, rng: np.random.Generator, count: int = 400) -> Array:
    """Return corners of a box, all where they are few, and points within."""
    n = len(box.lower)
    sides = np.array(list(product((False, True), repeat=n))) if n <= 9 else rng.random((count, n)) < 0.5
    inside = np.clip(rng.uniform(box.lower, box.upper, (count, n)), box.lower, box.upper)
    return np.concatenate([np.where(sides, box.upper, box.lower), inside])


SLOPES: dict[str, tuple[float, float] | None] = {
    "relu": (1.0, 0.0),
    "leaky": (1.0, 0.2),
    "absolute": (1.0, -1.0),
    "turned": (-0.5, 1.0),
    "mixed": None,
}


def dust(
    rng: np.random.Generator, inputs: int, width: int, spare: float, slopes: str = "relu", scale: float = 1.0
) -> tuple[Network, Box]:
    """Return random small terms over a box, and a target below 0, by `spare` of its range, at all tried points."""
    given = SLOPES[slopes]
    p, n = given if given is not None else rng.normal(size=(2, width))
    first = Dense(scale * rng.normal(size=(width, inputs)), scale * 0.3 * rng.normal(size=width))
    last = rng.normal(size=(1, width))
    box = Box(-rng.choice([1.0, 0.5], size=inputs), rng.choice([1.0, 0.2], size=inputs))
    network = chain((inputs,), first, Rectifier(p, n), Dense(last), Rectifier())
    seen = network.pre_activations(grid(box, rng, 4000))["3"]
    bias = -float(seen.max()) - spare * float(np.ptp(seen))
    return chain((inputs,), first, Rectifier(p, n), Dense(last, [bias]), Rectifier()), box


# by hand --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "nodes"), [(-3.9, 1), (-2.9, 1), (-2.83, 1), (-2.6, 3), (-2.05, 3)])
def test_the_cross_is_proved(bias: float, nodes: int) -> None:
    """Relaxed it is 2.829: proved at once below that, by cases above it, down to its true maximum 2; and accepted."""
    network = cross(bias)
    values = bounds_of(network, SQUARE)
    assert values["2"].upper[0] > 0
    outcome = asked(network, values).outcome
    assert outcome.proved
    assert outcome.proof is not None
    assert (outcome.nodes > 1) == (nodes > 1)
    assert outcome.nodes == len(outcome.proof.parent) < 40
    assert len(outcome.proof.curved) > 0
    assert refusals(network, SQUARE, outcome.proof) == []


@pytest.mark.parametrize("bias", [-1.999999, -1.9, -1.0, 0.5])
def test_a_cross_that_reaches_zero_is_not_proved(bias: float) -> None:
    """Where 2 + bias > 0, however little, nothing is proved, and a corner that shows it is offered."""
    found = asked(cross(bias), bounds_of(cross(bias), SQUARE), seconds=0.3)
    assert not found.outcome.proved
    assert found.outcome.proof is None
    assert cross(bias).pre_activations(np.concatenate(found.offered))["3"].max() > 0


def test_the_lower_side() -> None:
    """Of the negated sum the lower side is asked: at least 0 by the same numbers."""
    network = chain((2,), Dense(CROSS), Rectifier(), Dense([[-1.0] * 4], [2.9]), Rectifier())
    outcome = asked(network, bounds_of(network, SQUARE), Question("3", 0, -1)).outcome
    assert outcome.proof is not None
    assert (outcome.nodes, outcome.proof.side) == (1, "lower")
    assert refusals(network, SQUARE, outcome.proof) == []


# dust -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6, 1e-40, 1e40])
def test_dust_is_proved_and_accepted(slopes: str, scale: float) -> None:
    """Targets that interval bounds leave open are proved, at any scale, mostly in one node; the checker agrees."""
    rng, nodes = np.random.default_rng(len(slopes)), []
    for _ in range(3):
        network, box = dust(rng, 12, 14, 0.6, slopes, scale)
        values = bounds_of(network, box)
        outcome = asked(network, values).outcome
        if values["2"].upper[0] > 0:
            assert outcome.proved
            assert outcome.proof is not None
            assert refusals(network, box, outcome.proof) == []
            nodes.append(outcome.nodes)
    assert min(nodes) == 1


def test_narrow_margins_take_cases() -> None:
    """With less to spare, trees grow; every one that closes is accepted, and most are."""
    rng, nodes = np.random.default_rng(0), []
    for _ in range(6):
        network, box = dust(rng, 6, 10, 0.02)
        outcome = asked(network, bounds_of(network, box), seconds=2.0).outcome
        if outcome.proof is not None:
            assert refusals(network, box, outcome.proof) == []
            nodes.append(outcome.nodes)
    assert len(nodes) >= 3
    assert max(nodes) > 1


def test_no_question_is_proved_that_has_a_witness() -> None:
    """Where the best point that is tried is above 0 in exact arithmetic, by up to a 1e-12th, no proof is found."""
    rng, kinds, count = np.random.default_rng(1), list(SLOPES), 0
    for case in range(75):
        room = 10.0 ** rng.uniform(-12, -1)
        network, box = dust(rng, int(rng.integers(1, 7)), int(rng.integers(1, 9)), -room, kinds[case % len(kinds)])
        x = grid(box, rng)
        best = x[int(network.pre_activations(x)["3"].argmax())]
        if exact_values(network, best)["2"][0] > 0:
            count += 1
            assert not asked(network, bounds_of(network, box), seconds=0.05).outcome.proved
    assert count > 50


def test_deep_questions_with_a_witness_are_not_proved() -> None:
    """Of networks of two and three layers with all slopes, what is proved of any neuron holds at every point tried."""
    rng, proved = np.random.default_rng(2), 0
    for case in range(26):
        network = mlp([3, 5, 5, 3, 1], rng, *((1.0, 0.0) if case % 2 else (None, None)))
        center, radius = rng.normal(size=3), rng.choice([0.02, 0.1, 0.3])
        box = Box(center - radius, center + radius)
        values, seen = bounds_of(network, box), network.pre_activations(grid(box, rng, 100))
        for layer, unit, sign in product(("3", "5"), range(3), (1, -1)):
            outcome = asked(network, values, Question(layer, unit, sign), seconds=0.1).outcome
            if outcome.proved:
                proved += 1
                assert (sign * seen[layer][:, unit]).max() <= 1e-12
    assert proved > 10


def test_proofs_above_hidden_layers_are_accepted() -> None:
    """Curved over the box of a hidden value, with lines below it: both signs, both accepted in one report."""
    rng, curved, proofs = np.random.default_rng(3), 0, 0
    for _ in range(30):
        network = mlp([3, 6, 8, 2, 1], rng)
        box = Box(np.full(3, -0.2), np.full(3, 0.2))
        values = bounds_of(network, box)
        questions = [Question("5", unit, sign) for unit in range(2) for sign in (1, -1)]
        found = [asked(network, values, question, seconds=0.2).outcome.proof for question in questions]
        own = [proof for proof in found if proof is not None]
        proofs, curved = proofs + len(own), curved + sum(len(proof.curved) for proof in own)
        assert not own or refusals(network, box, *own) == []
    assert min(proofs, curved) >= 3


# the sum --------------------------------------------------------------------------------------------------------------


def layer_of(network: Network, box: Box, question: Question = ABOVE) -> Layer:
    """Return the question as a sum."""
    layer = layer_below(network, bounds_of(network, box), question)
    assert layer is not None
    return layer


def values_of(case: Case, s: Array) -> Array:
    """Return the scaled sum of a case at points (N, n) of the cube."""
    total = case.total
    convex, concave = (np.maximum(s @ u.rows.T + u.offset, 0.0) @ u.weight for u in (total.convex, total.concave))
    return np.asarray(total.constant + s @ total.linear + convex - concave)


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_sum_is_the_question(slopes: str, sign: int) -> None:
    """Times the reach, at any point, it is sign * g; with units split, so it is at all points of the case."""
    rng = np.random.default_rng(4)
    network, box = dust(rng, 5, 9, 0.1, slopes)
    network = chain(
        (5,), *(node.layer for node in network.nodes[:2]), Dense(sign * rng.normal(size=(1, 9))), Rectifier()
    )
    layer, s = layer_of(network, box, Question("3", 0, sign)), rng.uniform(-1.0, 1.0, (4000, 5))
    whole = Case(layer, {})
    seen = network.pre_activations(whole.middle + whole.radius * s)
    assert layer.reach * values_of(whole, s) == pytest.approx(sign * seen["3"][:, 0], abs=1e-9)
    assert len(whole.convex) + len(whole.concave) == len(layer.crossing)
    for side in (True, False):
        splits = {int(unit): side for unit in whole.convex[:2]}
        case = Case(layer, splits)
        inside = np.all([(seen["1"][:, unit] > 0) == above for unit, above in splits.items()], axis=0)
        assert inside.any()
        assert layer.reach * values_of(case, s[inside]) == pytest.approx(sign * seen["3"][inside, 0], abs=1e-9)
        assert (values_of(case, s[~inside]) <= values_of(whole, s[~inside]) + 1e-9).all()  # which kept units pay for
        lower, upper = case.bounds()
        held = list(splits)
        assert np.array_equal(lower, np.where(np.isin(np.arange(9), held) & side, 0.0, layer.units.lower))
        assert np.array_equal(upper, np.where(np.isin(np.arange(9), held) & (not side), 0.0, layer.units.upper))


def climbed(case: Case) -> Maximum:
    """Climb through all stages."""
    slopes = case.first_slopes(np.full(len(case.layer.coefficient), np.nan))
    vectors = spheres.start(len(case.radius))
    for stiffness in spheres.STIFFNESS:
        found = spheres.maximise(case.total, vectors, slopes, stiffness)
        vectors, slopes = found.vectors, found.slopes
    return found


def bound(
    network: Network, values: Values, question: Question, case: Case, found: Maximum, noise: Array | float = 0.0
) -> float:
    """Return what a maximum proves of a case, with something added to its multipliers."""
    own = curves.Search(network, values, question, case.layer, lambda x: None)
    curve = case.curve(found)
    return own._bound(case, curve, case.multipliers(found, curve) + noise)


@pytest.mark.parametrize("slopes", SLOPES)
def test_bounds_of_cases_hold_and_are_near_the_maximum(slopes: str) -> None:
    """At all points of a case the target is at most the bound, which is about what the climb found."""
    rng = np.random.default_rng(5)
    for _ in range(5):
        network, box = dust(rng, 5, 9, 0.1, slopes)
        values, x = bounds_of(network, box), grid(box, rng, 1000)
        layer, seen = layer_of(network, box), network.pre_activations(x)
        units = rng.permutation(Case(layer, {}).convex)[: int(rng.integers(0, 4))].tolist()
        splits = {unit: bool(rng.integers(2)) for unit in units}
        case = Case(layer, splits)
        found = climbed(case)
        proved = bound(network, values, ABOVE, case, found)
        inside = np.ones(len(x), dtype=bool)
        for unit, above in splits.items():
            inside &= (seen["1"][:, unit] >= 0) == above
        assert seen["3"][inside, 0].max(initial=-np.inf) <= proved + 1e-12
        for noise in rng.normal(size=(8, len(layer.coefficient))):
            other = bound(network, values, ABOVE, case, found, noise)
            assert seen["3"][inside, 0].max(initial=-np.inf) <= other + 1e-12
        assert proved >= layer.reach * (found.value - 1e-4)
        assert splits or proved <= layer.reach * (found.value + 0.05)


def test_what_a_child_begins_with() -> None:
    """Slopes of concave units are handed on by unit; those of new splits begin anew."""
    rng = np.random.default_rng(6)
    network, box = dust(rng, 5, 12, 0.1)
    layer = layer_of(network, box)
    case = Case(layer, {})
    slopes = case.slopes(climbed(case))
    assert np.array_equal(np.flatnonzero(~np.isnan(slopes)), case.concave)
    child = Case(layer, {int(case.convex[0]): True})
    first = child.first_slopes(slopes)
    assert np.array_equal(first[:-1], slopes[case.concave])
    assert 0 < first[-1] <= child.total.concave.weight[-1]
    assert case.convex[0] not in child.convex
    assert case.costliest(climbed(case)) in case.convex


def test_diagonals_are_enough_and_hardly_more() -> None:
    """Random ones are raised until they dominate; those that do, by hardly anything."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        rows, kappa = rng.normal(size=(6, 4)), rng.uniform(0.1, 3.0, 6)
        given = rng.uniform(0.0, 9.0, 4) * rng.choice([0.1, 1.0, 9.0])
        found = layer_sum._enough(rows, kappa, given)
        gram = rows.T @ (kappa[:, None] * rows)
        assert np.linalg.eigvalsh(np.diag(found) - gram)[0] > 0
        enough = np.abs(gram).sum(axis=1)
        assert layer_sum._enough(rows, kappa, enough) == pytest.approx(enough, rel=2 * layer_sum.SLACK)
    assert np.isnan(layer_sum._enough(rows, np.full(6, np.inf), given)).all()


# limits ---------------------------------------------------------------------------------------------------------------


def test_limits_end_a_search() -> None:
    """In the past, or once nothing is asked, one node is tried; without room a proof is found, and not kept."""
    network, nobody = cross(-2.1), lambda: False
    values = bounds_of(network, SQUARE)
    for found in (asked(network, values, seconds=-1.0), asked(network, values, settled=lambda: True)):
        assert (found.outcome.proved, found.outcome.proof, found.outcome.nodes) == (False, None, 1)
    whole = asked(network, values, settled=nobody).outcome
    assert whole.proof is not None
    for room in (0, 500):
        little = asked(network, values, room=room).outcome
        assert (little.proved, little.proof, little.nodes) == (True, None, whole.nodes)


def test_a_hopeless_root_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above that share of the bound at the start, the root is all that is looked at."""
    monkeypatch.setattr(curves, "HOPELESS", 0.1)
    outcome = asked(cross(-2.1), bounds_of(cross(-2.1), SQUARE)).outcome
    assert (outcome.proved, outcome.nodes) == (False, 1)


def test_leaves_are_closed_with_room_for_the_checker() -> None:
    """A bound that is below 0 by less than the margin closes nothing."""
    network = cross(-2.9)
    values = bounds_of(network, SQUARE)
    layer = layer_below(network, values, ABOVE)
    assert layer is not None
    own = curves.Search(network, values, ABOVE, layer, lambda x: None)
    case = Case(layer, {})
    found = climbed(case)
    for numbers, closed in ((0.0, False), (-0.9, False), (-1.1, True), (np.nan, False), (-np.inf, True)):
        own._bound = lambda *_, at=numbers: at * MARGIN * layer.reach  # type: ignore[method-assign]
        assert own._closed(0, case, found) is closed


def refused(network: Network, box: Box, question: Question) -> bool:
    """Tell whether a search says at once that the question is none for it."""
    outcome = asked(network, bounds_of(network, box), question).outcome
    return (outcome.proved, outcome.proof, outcome.nodes) == (False, None, 0)


def test_layers_that_are_not_relaxed(monkeypatch: pytest.MonkeyPatch) -> None:
    """First layers, convolutions, shortcuts, rectifiers of the input, and what is too wide or decided: no node."""
    four = Box(-np.ones(4), np.ones(4))
    ones = Dense(np.ones((1, 4)))
    conv = [Reshape((1, 2, 2)), Conv2d(np.ones((1, 1, 1, 1))), Rectifier(), Reshape((4,)), ones, Rectifier()]
    assert refused(chain((4,), *conv), four, Question("5", 0, 1))
    nodes = [
        Node("0", Dense(np.eye(4)), (INPUT,)),
        Node("1", Rectifier(), ("0",)),
        Node("2", Add(), ("0", "1")),
        Node("relu", Rectifier(), ("2",)),
        Node("last", ones, ("relu",)),
        Node("3", Rectifier(), ("last",)),
        Node("sum", Add(), ("1", "relu")),
        Node("other", ones, ("sum",)),
        Node("4", Rectifier(), ("other",)),
    ]
    for layer in ("1", "relu", "3", "4"):
        assert refused(Network((4,), nodes), four, Question(layer, 0, 1))
    bare = chain((4,), Rectifier(), Dense(-np.ones((1, 4)), [1.0]), Rectifier())
    assert refused(bare, four, Question("0", 0, 1))
    assert refused(bare, four, Question("2", 0, 1))
    assert mc.check(bare, four, mc.certify(bare, four)).accepted
    network = cross(-2.9)
    assert refused(network, SQUARE, Question("1", 0, 1))
    assert refused(cross(-8.5), SQUARE, ABOVE)
    monkeypatch.setattr(layer_sum, "WIDEST", (3, 3))
    assert refused(network, SQUARE, ABOVE)


# odd numbers ----------------------------------------------------------------------------------------------------------


def test_constant_inputs_and_decided_units() -> None:
    """Coordinates without width, units that are always or never active, and one that is always 0: proved, accepted."""
    rng = np.random.default_rng(8)
    lower, upper = np.array([0.7, -1.0, -1.0, -0.3]), np.array([0.7, 1.0, 1.0, -0.3])
    box = Box(lower, upper)
    weight = np.zeros((8, 4))
    weight[:4, 1:3] = CROSS
    weight[:, 0], weight[:, 3] = rng.normal(size=8), rng.normal(size=8)
    weight[6:] = 0.0
    offset = np.array([0.0, 0.0, 0.0, 0.0, 5.0, -5.0, 0.0, 0.0])
    offset[:4] = -(weight[:4, [0, 3]] @ lower[[0, 3]])
    first = Dense(weight, offset)
    bias = -2.9 - float(weight[4] @ lower + 5.0)
    network = chain((4,), first, Rectifier(), Dense([[1.0] * 8], [bias]), Rectifier())
    values = bounds_of(network, box)
    outcome = asked(network, values).outcome
    assert outcome.proof is not None
    assert outcome.nodes == 1
    assert refusals(network, box, outcome.proof) == []
    wide = Interval(values["0"].lower - 1e-9, values["0"].upper + 1e-9)  # the last two now seem to cross 0
    found = asked(network, {**values, "0": wide}).outcome
    assert found.proof is not None
    assert all(np.isfinite(array).all() for array in (found.proof.curvature, found.proof.diagonal, found.proof.center))
    assert refusals(network, box, found.proof) == []
    still = Box(upper, upper)
    assert not asked(network, bounds_of(network, still)).outcome.proof


def test_a_layer_of_zeros_takes_no_parabolas() -> None:
    """Units that are always 0, of which bounds know too little, are passed by lines: the leaf is not curved."""
    network = chain((2,), Dense(np.zeros((3, 2))), Rectifier(), Dense([[1.0, 1.0, -1.0]], [-1.0]), Rectifier())
    values = bounds_of(network, SQUARE)
    values["0"] = Interval(np.full(3, -0.1), np.full(3, 0.1))
    values["2"] = Interval(np.full(1, -2.0), np.full(1, 2.0))
    outcome = asked(network, values).outcome
    assert outcome.proof is not None
    assert (outcome.nodes, len(outcome.proof.curved)) == (1, 0)


def test_numbers_out_of_this_world_end_no_run() -> None:
    """Weights up to 1e308 and boxes of any size: no exception, and nothing proved that has a witness."""
    rng, searched = np.random.default_rng(9), 0
    for _ in range(120):
        network = awkward_mlp(rng, HUGE)
        low, high = awkward_box(rng, network.input_shape)
        if not np.isfinite(high - low).all():
            continue
        box = Box(low, high)
        values = bounds_of(network, box)
        seen = [exact_values(network, x) for x in grid(box, rng, 2)[:3]]
        for node in network.rectifiers[1:]:
            for sign in (1, -1):
                outcome = asked(network, values, Question(node.name, 0, sign), seconds=0.05).outcome
                searched += outcome.nodes > 0
                assert not outcome.proved or all(sign * at[node.inputs[0]][0] <= 0 for at in seen)
    assert searched > 20


@pytest.mark.parametrize("weight", [np.inf, np.nan, 1e308])
def test_matrices_that_are_not_finite_close_nothing(weight: float) -> None:
    """Above a hidden layer, where the last maximum is tried whatever it is, numbers that are none prove nothing."""
    network = mlp([2, 3, 3, 1, 1], np.random.default_rng(10))
    values, question = bounds_of(network, SQUARE), Question("5", 0, -1)
    layer = layer_below(network, values, question)
    assert layer is not None
    own = curves.Search(network, values, question, layer, lambda x: None)
    case = Case(layer, {int(Case(layer, {}).convex[0]): True})
    found = climbed(case)
    assert not own._closed(0, case, replace(found, lengths=0 * found.lengths, diagonal=weight + 0 * found.diagonal))
    own._bound = lambda *_: -np.inf  # type: ignore[method-assign]
    assert len(found.slopes) > 0
    assert not own._closed(0, case, replace(found, slopes=np.full_like(found.slopes, np.nan)))
    assert not own.tree.closed


# witnesses ------------------------------------------------------------------------------------------------------------


def test_corners_are_offered_and_mostly_good() -> None:
    """Where a target is above 0 at some corner, the offered ones lie in the box, and often one of them shows it."""
    rng, shown = np.random.default_rng(11), 0
    for _ in range(20):
        network, box = dust(rng, 8, 12, -0.05)
        found = asked(network, bounds_of(network, box), seconds=0.05)
        (x,) = found.offered
        assert x.shape == (curves.CORNERS + 1, 8)
        assert ((x == box.lower) | (x == box.upper)).all()
        shown += network.pre_activations(x)["3"].max() > 0
    assert shown > 10


def test_nothing_is_offered_above_hidden_values() -> None:
    """Corners of the box of a hidden value are no inputs."""
    network = mlp([2, 4, 4, 2, 1], np.random.default_rng(12))
    found = asked(network, bounds_of(network, SQUARE), Question("5", 0, 1), seconds=0.1)
    assert found.outcome.nodes > 0
    assert found.offered == []


# the funnel -----------------------------------------------------------------------------------------------------------

CUBE = Box(-1.0, 1.0)


@cache
def dusty() -> Network:
    """Return a network whose second layer takes semidefinite bounds to decide: small terms below two of its neurons."""
    rng = np.random.default_rng(0)
    first = Dense(1e-2 * rng.normal(size=(24, 30)), 1e-2 * rng.normal(size=24))
    last = 1e-3 * rng.normal(size=(3, 24))
    x = np.sign(rng.normal(size=(4000, 30)))
    seen = chain((30,), first, Rectifier(), Dense(last), Rectifier()).pre_activations(x)["3"]
    spare = 0.7 * np.ptp(seen, axis=0)
    bias = [-seen[:, 0].max() - spare[0], spare[1] - seen[:, 1].min(), 0.0]
    return chain((30,), first, Rectifier(), Dense(last, bias), Rectifier(), Dense([[1.0, 1.0, 1.0]]))


def curved(report: Report) -> list[BranchProof]:
    """Return the proofs of a report that have curved leaves."""
    return [proof for proof in report.proofs if isinstance(proof, BranchProof) and len(proof.curved)]


@cache
def whole() -> Report:
    """Return the report on all neurons."""
    return mc.certify(dusty(), CUBE)


def test_the_funnel_certifies_dust() -> None:
    """Both neurons are decided by one curved leaf each, which the checker accepts; without them it rejects."""
    verdicts = whole().layers()["3"]
    assert [v.phase for v in verdicts] == [Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE, Phase.UNSTABLE]
    assert [v.stage for v in verdicts[:2]] == [Stage.BRANCH] * 2
    assert [len(proof.leaf) for proof in curved(whole())] == [1, 1]
    assert mc.check(dusty(), CUBE, whole()).accepted
    for name in ("curvature", "diagonal", "center"):
        spoiled = [
            replace(p, **{name: getattr(p, name) * 3 + 1}) if isinstance(p, BranchProof) else p for p in whole().proofs
        ]
        assert not mc.check(dusty(), CUBE, replace(whole(), proofs=tuple(spoiled))).accepted


def test_curved_leaves_come_back_bit_by_bit(tmp_path: Path) -> None:
    """What is saved and loaded has the same arrays, of the same kinds, and is accepted."""
    save_report(whole(), tmp_path)
    back = load_report(tmp_path)
    assert len(curved(back)) == len(curved(whole())) == 2
    for one, two in zip(curved(whole()), curved(back), strict=True):
        assert one.arrays().keys() == two.arrays().keys()
        for name, array in one.arrays().items():
            other = two.arrays()[name]
            assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert mc.check(dusty(), CUBE, back).accepted


def test_runs_with_curved_leaves_are_merged_and_gone_on_from() -> None:
    """Two runs on a neuron each, merged: both proofs, accepted; and a run that starts from one keeps its proof."""
    parts = [mc.certify(dusty(), CUBE, neurons={"3": [unit]}) for unit in (0, 1)]
    both = merge(parts)
    assert {(proof.layer, proof.unit) for proof in curved(both)} == {("3", 0), ("3", 1)}
    assert mc.check(dusty(), CUBE, both).accepted
    later = mc.certify(dusty(), CUBE, start=parts[0])
    assert {(proof.layer, proof.unit) for proof in curved(later)} == {("3", 0), ("3", 1)}
    assert later.proofs[: len(parts[0].proofs)] == parts[0].proofs
    assert mc.check(dusty(), CUBE, later).accepted
    for report in (both, later):
        assert report.layers()["3"][0].phase is Phase.STABLY_INACTIVE
        assert report.layers()["3"][1].phase is Phase.STABLY_ACTIVE
