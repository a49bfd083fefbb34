"""Proofs by cases: the checker accepts those that hold, by hand and by brute force, and says why others do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.checker import Finding, check, check_compression
from milpcomp.checker.backward import frame_of, substitute, unit_rows
from milpcomp.checker.branch import prove_trees
from milpcomp.checker.branch_tree import read_tree
from milpcomp.checker.claims import Unreadable
from milpcomp.checker.document import INPUT, read_network
from milpcomp.checker.exact_leaf import exact_bound
from milpcomp.checker.intervals import Interval
from milpcomp.checker.linear import linear_bounds
from milpcomp.checker.multipliers import Multipliers
from milpcomp.checker.rebound import rebound
from milpcomp.checker.records import Slopes, earlier_rectifiers
from milpcomp.checker.sweep import prove_bounds
from milpcomp.compression import compress
from milpcomp.domain import Box
from milpcomp.network import Add, Dense, Network, Node, Rectifier
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.brute import prove
from tests.exact import cases, concat_network, exact_values
from tests.nets import chain, mlp, planted, residual_cnn
from tests.oracle import exact_ranges

LINE = Box(np.array([-1.0]), np.array([1.0]))

SPLIT: dict[str, Any] = {
    "parent": [-1, 0, 0],
    "layer_of": [-2, 0, 0],
    "unit_of": [0, 0, 0],
    "point": [0.0, 0.0, 0.0],
    "above": [False, False, True],
    "rebound": [False, False, False],
    "leaf": [1, 2],
    "objective": [True, True],
    "columns": [[0, 0], [0, 1]],
    "multipliers": [[0.0, 0.0], [1.0, -1.0]],
}
"""The proof of `twins`: h1 = 0 where g1 <= 0, and h1 = g1 = g2 <= h2 where g1 >= 0."""

WHOLE: dict[str, Any] = {
    "parent": [-1],
    "layer_of": [-2],
    "unit_of": [0],
    "point": [0.0],
    "above": [False],
    "rebound": [False],
    "leaf": [0],
    "objective": [True],
    "columns": np.zeros((0, 2)),
    "multipliers": np.zeros((1, 0)),
}
"""A tree of one case, closed by the standard lines."""

KINDS: dict[str, Any] = {
    "point": np.float64,
    "above": np.bool_,
    "rebound": np.bool_,
    "objective": np.bool_,
    "multipliers": np.float32,
}


def record(layer: str = "3", unit: int = 0, side: str = "upper", bound: float = 0.0, **fields: Any) -> BranchProof:
    """Return a proof by cases made of lists."""
    arrays: dict[str, Any] = {
        name: np.array(value, dtype=KINDS.get(name, np.int32)) for name, value in (SPLIT | fields).items()
    }
    return BranchProof(layer, unit, side, bound, **arrays)


def forged(proof: Any, **fields: Any) -> Any:
    """Return the proof with fields replaced by anything at all."""
    return replace(proof, **fields)


def twins(bias: float = -0.125, weight: float = 1.0) -> Network:
    r"""A target that is at most `bias`, where the triangle relaxation gives bias + weight / 2.

         w                1
    x ─────> h1 = relu(w x) ─────> g = h1 - h2 + bias,  relu
    x ─────> h2 = relu(w x) ─────>
         w               -1
    """
    first, last = Dense([[weight], [weight]]), Dense([[1.0, -1.0]], [bias])
    return chain((1,), first, Rectifier(), last, Rectifier())


def problems(network: Network, box: Box, *proofs: Any) -> tuple[str, ...]:
    """Return what the checker has against proofs."""
    model = read_network(network)
    bounds = prove_bounds(model, (box.lower.reshape(-1), box.upper.reshape(-1)))
    return prove_trees(model, bounds, [read_tree(proof, model) for proof in proofs]).problems


def proved(network: Network, box: Box, layer: str, *proofs: Any) -> tuple[float, float]:
    """Return the bounds of unit 0 of a layer that proofs leave."""
    model = read_network(network)
    bounds = prove_bounds(model, (box.lower.reshape(-1), box.upper.reshape(-1)))
    found = prove_trees(model, bounds, [read_tree(proof, model) for proof in proofs])
    assert not found.problems, found.problems
    interval = found.bounds[next(step.source for step in model.rectifiers if step.name == layer)]
    return float(interval.lower[0]), float(interval.upper[0])


# proofs by hand -------------------------------------------------------------------------------------------------------


def twins_report(proofs: tuple[Any, ...]) -> Report:
    """Return the report that the target of `twins` is stably inactive."""
    network = twins()
    unstable = (Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, -1.0, 1.0, 1, 0)
    verdicts = (
        Verdict("1", 0, *unstable),
        Verdict("1", 1, *unstable),
        Verdict("3", 0, Phase.STABLY_INACTIVE, Stage.BRANCH, Proof.CERTIFIED, -1.25, 0.0),
    )
    return Report(network.digest, LINE, verdicts, np.array([[-1.0], [1.0]]), proofs)


def test_a_split_proves_what_no_relaxation_does() -> None:
    """By hand: h1 - h2 - 1/8 <= 0 by two cases, and the verdict says so; without the proof it is rejected."""
    checked = check(twins(), LINE, twins_report((record(),)))
    assert checked.accepted, checked.summary()
    assert checked.entries[-1].reason == "proved bounds [-1.125, 0], by 2 cases"
    without = check(twins(), LINE, twins_report(()))
    assert [entry.layer for entry in without.rejections] == ["3"]


def test_a_proof_that_fails_is_a_problem_and_rejects_its_verdict() -> None:
    """Multipliers that prove nothing leave the bounds as they were, and the report is told why."""
    checked = check(twins(), LINE, twins_report((record(multipliers=[[0, 0], [0, 0]]),)))
    assert [entry.layer for entry in checked.rejections] == ["3"]
    assert checked.problems == (
        "the upper bound of 3[0] by cases is not proved: what is recorded for leaf 1 bounds it by 0.875 only",
    )


def test_compressions_rest_on_proofs_by_cases() -> None:
    """What was removed because of a tree is accepted with the tree, and not without it."""
    network, report = twins(), twins_report((record(),))
    smaller = compress(network, report)
    assert len(smaller.network.rectifiers) < 2
    assert check_compression(network, smaller, LINE, report).accepted
    assert not check_compression(network, smaller, LINE, replace(report, proofs=())).accepted


def test_proofs_that_were_not_kept_are_not_checkable() -> None:
    """A verdict whose tree was too large to keep is listed as such, and refuted where a witness does."""
    report = twins_report(())
    kept = replace(report.verdicts[2], proof=Proof.UNCERTIFIED, lower=-1.25, upper=1.0)
    checked = check(twins(), LINE, replace(report, verdicts=(*report.verdicts[:2], kept)))
    assert (checked.entries[2].finding, checked.accepted) == (Finding.NOT_CHECKABLE, True)
    assert "too large to keep" in checked.entries[2].reason
    elsewhere = replace(kept, stage=Stage.SOLVER)
    assert not check(twins(), LINE, replace(report, verdicts=(*report.verdicts[:2], elsewhere))).accepted
    false = replace(report.verdicts[0], phase=Phase.STABLY_ACTIVE, stage=Stage.BRANCH, proof=Proof.UNCERTIFIED)
    checked = check(twins(), LINE, replace(report, verdicts=(false, *report.verdicts[1:2], kept)))
    assert checked.entries[0].finding is Finding.REJECTED


@pytest.mark.parametrize(("bound", "holds"), [(-0.125 + 1e-12, True), (-0.125, True), (-0.125 - 1e-12, False)])
def test_the_claimed_bound_counts(bound: float, holds: bool) -> None:
    """The maximum is -1/8: that is proved, in exact arithmetic where rounding leaves it open, and nothing below it."""
    assert (not problems(twins(), LINE, record(bound=bound))) == holds


def test_exact_maxima_of_zero_are_decided_in_exact_arithmetic() -> None:
    """With weights that round, h1 - h2 is at most 0 exactly: floats cannot tell, fractions can."""
    network = twins(0.0, 0.1)
    assert proved(network, LINE, "3", record())[1] == 0.0
    assert "is not proved" in problems(network, LINE, record(bound=-5e-324))[0]


def test_lower_bounds() -> None:
    """The same for h1 - h2 + 1/8 >= 0: minus it has the coefficients -1 and 1."""
    lower = record(side="lower", multipliers=[[0.0, 0.0], [-1.0, 1.0]])
    mirrored = record(side="lower", unit_of=[0, 1, 1], multipliers=[[0.0, 0.0], [-1.0, 1.0]])
    assert "bounds it by" in problems(twins(0.125), LINE, lower)[0]  # here h2 is the one to split
    assert proved(twins(0.125), LINE, "3", mirrored)[0] == 0.0


def test_input_splits_with_bounds_derived_anew_need_no_multipliers() -> None:
    """Over x <= 0 and x >= 0 both units are stable, and the standard lines are exact."""
    halves: dict[str, Any] = {"layer_of": [-2, -1, -1], "columns": np.zeros((0, 2)), "multipliers": np.zeros((2, 0))}
    assert proved(twins(), LINE, "3", record(rebound=[False, True, True], **halves))[1] == 0.0
    assert "leaf" in problems(twins(), LINE, record(**halves))[0]
    assert proved(twins(), LINE, "3", record(rebound=[True, True, True], **halves))[1] == 0.0


def stairs() -> Network:
    """Return g = h1 + h2 - h3 - 5/16 of h1 = relu(x), h2 = relu(x - 1/2), h3 = relu(2 x - 1/2): at most -1/16."""
    first = Dense([[1.0], [1.0], [2.0]], [0.0, -0.5, -0.5])
    return chain((1,), first, Rectifier(), Dense([[1.0, 1.0, -1.0]], [-0.3125]), Rectifier())


def test_an_empty_case_is_refuted_by_multipliers() -> None:
    """Not both x <= 0 and x - 1/2 >= 0: -g1 + g2 = -1/2, with -g1 >= 0 and g2 >= 0; scaled, its flag matters."""
    tree: dict[str, Any] = {
        "parent": [-1, 0, 0, 1, 1, 2, 2],
        "layer_of": [-2, 0, 0, 0, 0, 0, 0],
        "unit_of": [0, 0, 0, 1, 1, 1, 1],
        "point": [0.0] * 7,
        "above": [False, False, True, False, True, False, True],
        "rebound": [False] * 7,
        "leaf": [3, 4, 5, 6],
        "columns": [[0, 0], [0, 1], [0, 2]],
        # 0; refuted; x - (2 x - 1/2) / 2 = 1/4, with height 1/4; x + x - 1/2 - (2 x - 1/2) = 0
        "multipliers": [[0, 0, 0], [-0.125, 0.125, 0], [1, 0, -0.5], [1, 1, -1]],
    }
    objective = [True, False, True, True]
    assert proved(stairs(), LINE, "3", record(**tree, objective=objective))[1] == 0.0
    for flags in ([True] * 4, [False] * 4, [True, False, False, True]):
        assert "leaf" in problems(stairs(), LINE, record(**tree, objective=flags))[0]
    assert "does not refute" in problems(stairs(), LINE, record(**tree, objective=[False] * 4))[0]


def test_empty_intervals_close_a_case() -> None:
    """A split outside the domain leaves one side empty, and the other as it was."""
    tree: dict[str, Any] = {
        "parent": [-1, 0, 0, 1, 1],
        "layer_of": [-2, -1, -1, 0, 0],
        "unit_of": [0] * 5,
        "point": [0, 2.0, 2.0, 0, 0],
        "above": [False, False, True, False, True],
        "rebound": [False] * 5,
        "leaf": [2, 3, 4],
    }
    rows: dict[str, Any] = {"objective": [True] * 3, "multipliers": [[9.0, 9.0], [0.0, 0.0], [1.0, -1.0]]}
    assert proved(twins(), LINE, "3", record(**tree, **rows))[1] == 0.0
    anew: dict[str, Any] = {**tree, "rebound": [False, True, True, False, False]}
    assert proved(twins(), LINE, "3", record(**anew, **rows))[1] == 0.0


def test_a_target_may_split_itself() -> None:
    """Assume g >= 0: refuted; and where g <= 0, its own interval suffices."""
    tree: dict[str, Any] = {
        "layer_of": [-2, 1, 1],
        "unit_of": [0, 0, 0],
        "objective": [True, False],
        "columns": [[1, 0]],
    }
    network = chain((1,), Dense([[1.0]]), Rectifier(), Dense([[1.0]], [-1.25]), Rectifier())
    leaf: dict[str, Any] = {"multipliers": [[0.0], [1.0]]}  # 0 <= g + max over g >= 0 of -g = (x + 1) / 2 - 1.25 < 0
    assert proved(network, LINE, "3", record(**tree, **leaf))[1] <= 0.0


def test_proofs_build_on_earlier_ones_in_their_order() -> None:
    """Once h1 - h2 <= 1/8 is proved, so is relu of it - 1/8 by intervals; the other way round nothing is."""
    network = Network(
        (1,), [*twins(0.0).nodes, Node("last", Dense([[1.0]], [-0.125]), ("3",)), Node("end", Rectifier(), ("last",))]
    )
    first = record(bound=0.125)
    second = record(layer="end", **WHOLE)
    assert proved(network, LINE, "end", first, second)[1] <= 0.0
    assert "end[0]" in problems(network, LINE, second, first)[0]


# proofs by brute force ------------------------------------------------------------------------------------------------


def with_end(network: Network) -> Network:
    """Return `network` with a rectifier on its output, so that its outputs are targets."""
    return Network(network.input_shape, [*network.nodes, Node("end", Rectifier(), (network.output,))])


@cache
def hard_case(seed: int) -> tuple[Network, Box, tuple[BranchProof, ...]]:
    """Return a random network with two inputs, and proofs that its outputs are within 0.01 of their true ranges."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        network, box = planted(rng, 2)
        network = with_end(network)
    else:
        slopes: tuple[float | None, float | None] = [(1.0, 0.0), (None, None), (1.0, 0.25)][seed % 3]
        network, box = with_end(mlp([2, 3, 3, 2], rng, *slopes)), Box(-np.ones(2), np.ones(2))
    least, most = (float(value) for value in exact_ranges(network, box)["end"][0])
    claims = [("upper", most + 0.01), ("lower", least - 0.01)]
    found = [prove(network, box, "end", 0, *claim, rng=rng) for claim in claims]
    return network, box, tuple(proof for proof in found if proof is not None)


@pytest.mark.parametrize("seed", range(12))
def test_proofs_by_brute_force_are_accepted(seed: int) -> None:
    """Trees of random splits of pre-activations and inputs, closed by the duals of triangle LPs, are accepted."""
    network, box, proofs = hard_case(seed)
    assert proofs
    for proof in proofs:
        assert not problems(network, box, proof)


@pytest.mark.parametrize("seed", range(12))
def test_no_proof_of_more_than_the_truth_is_accepted(seed: int) -> None:
    """The same trees do not prove bounds beyond the true range."""
    network, box, proofs = hard_case(seed)
    least, most = (float(value) for value in exact_ranges(network, box)["end"][0])
    for proof in proofs:
        false = most - 1e-9 if proof.side == "upper" else least + 1e-9
        assert problems(network, box, replace(proof, bound=false))


@given(st.integers(0, 11), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e6, 1e30]))
def test_any_multipliers_are_sound(seed: int, noise: int, size: float) -> None:
    """Whatever the multipliers, and with bounds derived anew anywhere, what is accepted holds."""
    network, box, proofs = hard_case(seed)
    least, most = exact_ranges_of(seed)
    rng = np.random.default_rng(noise)
    for proof in proofs:
        multipliers = proof.multipliers * (1.0 + size * rng.normal(size=proof.multipliers.shape))
        slack = rng.choice([-1e-9, 0.0, 0.01, 1.0])
        bound = most + slack if proof.side == "upper" else least - slack
        rebound = rng.random(len(proof.rebound)) < rng.choice([0.0, 0.3, 1.0])
        fields: dict[str, Any] = {
            "multipliers": multipliers.astype(np.float32),
            "rebound": rebound,
            "bound": float(bound),
        }
        if not problems(network, box, replace(proof, **fields)):
            assert slack >= 0


@cache
def exact_ranges_of(seed: int) -> tuple[float, float]:
    """Return the true range of the target of `hard_case`."""
    network, box, _ = hard_case(seed)
    least, most = exact_ranges(network, box)["end"][0]
    return float(least), float(most)


def test_residual_networks_and_columns_of_later_layers() -> None:
    """Multipliers of the target's own layer and of later ones are as good as any: they change nothing if zero."""
    nodes = [*twins().nodes, Node("sum", Add(), ("3", "input")), Node("late", Rectifier(), ("sum",))]
    network = Network((1,), nodes)
    columns, zeros = [[0, 0], [0, 1], [1, 0], [2, 0]], [[0, 0, 0, 0], [1, -1, 0, 0]]
    assert not problems(network, LINE, record(columns=columns, multipliers=zeros))
    wild = [[0, 0, 0, 5.0], [1, -1, -3.0, 0]]
    assert problems(network, LINE, record(columns=columns, multipliers=wild))


# error bounds ---------------------------------------------------------------------------------------------------------


@given(cases(), st.sampled_from([1.0, 1e-30, 1e20, 3e38]))
def test_float_bounds_of_leaves_enclose_the_exact_ones(
    case: tuple[Network, np.ndarray, np.ndarray, np.random.Generator], size: float
) -> None:
    """For any multipliers, numbers and boxes, the exact bound lies between what floats say at least and at most."""
    network, lower, upper, rng = case
    require_enclosure(network, lower, upper, rng, lambda shape: _multipliers(rng, shape, size))


@pytest.mark.parametrize("widths", [[1, 60, 2], [60, 2, 1], [3, 30, 30, 1]])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0])
def test_rounding_is_accounted_for_where_it_happens(widths: list[int], scale: float) -> None:
    """Sums of many heights, of many coefficients, over many inputs: each rounds by more than the last bit."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        network = with_end(mlp(widths, rng, None, None))
        lower = rng.normal(size=widths[0])
        require_enclosure(
            network,
            lower,
            lower + rng.random(widths[0]),
            rng,
            lambda shape, rng=rng: (scale * rng.normal(size=shape)).astype(np.float32),  # type: ignore[misc]
        )


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_coefficients_that_cancel(order: tuple[int, ...]) -> None:
    """The coefficient of x is 2^60 + 1 - 2^60, whatever floats make of it, though all pre-activations are small."""
    big = 2.0**60
    rows = np.array([[big, -big, 0.0, 0.0], [1.0, big, -big, -1.0], [-big, 0.0, big, 0.0]])[list(order)]
    network = chain((4,), Dense(rows), Rectifier(1.0, 1.0), Dense([[1.0, 1.0, 1.0]]), Rectifier())
    for sign in (1.0, -1.0):
        require_enclosure(
            network,
            np.ones(4),
            np.array([1.0 + 2.0**-50] * 3 + [1.0]),
            np.random.default_rng(0),
            lambda shape, sign=sign: np.full(shape, sign, dtype=np.float32),  # type: ignore[misc]
        )


def require_enclosure(
    network: Network,
    lower: np.ndarray,
    upper: np.ndarray,
    rng: np.random.Generator,
    draw: Callable[[tuple[int, ...]], np.ndarray],
) -> None:
    """Assert that float bounds with drawn multipliers, with and without an objective, enclose the exact ones."""
    model, name = read_network(network), network.rectifiers[-1].name
    source = network[name].inputs[0]
    with np.errstate(all="ignore"):
        bounds = prove_bounds(model, (lower.reshape(-1), upper.reshape(-1)))
        recorded = {
            step.name: (rng.permutation(len(step.positive)), draw((2, len(step.positive))))
            for step in model.rectifiers[:-1]
        }
        boxes = {key: Interval(bounds[key].lower[None], bounds[key].upper[None]) for key in bounds}
        frame, unit = frame_of(model, bounds), int(rng.integers(model.size(source)))
        rows, result = unit_rows(frame, source, np.full(2, unit), np.array([-1.0, 0.0]))
        relax = Multipliers(frame, boxes, recorded, 2).relax
        result = substitute(frame, rows, boxes[INPUT], relax, result)
        least, most = result.least(), result.upper()
    for row, start in enumerate(({source: {unit: Fraction(-1)}}, {})):
        own = {key: dict(zip(u.tolist(), v[row].tolist(), strict=True)) for key, (u, v) in recorded.items()}
        exact = exact_bound(model, start, bounds, own)
        assert exact is None or least[row] <= exact <= most[row]


def _multipliers(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> np.ndarray:
    values = np.where(rng.random(shape) < 0.3, 0.0, np.clip(rng.normal(size=shape) * size, -3e38, 3e38))
    return np.where(rng.random(shape) < 0.5, rng.choice([0.0, 1.0, -1.0, 1e-45], size=shape), values).astype(np.float32)


@settings(max_examples=25)
@given(cases(), st.booleans())
def test_bounds_derived_anew_hold(
    case: tuple[Network, np.ndarray, np.ndarray, np.random.Generator], in_pieces: bool
) -> None:
    """In sub-boxes of awkward networks, exact values at points of a sub-box lie in its new bounds."""
    network, lower, upper, rng = case
    model, name = read_network(network), network.rectifiers[-1].name
    low, high = lower.reshape(-1), upper.reshape(-1)
    middle = [np.clip(low + share * (high - low), low, high) for share in rng.random((3, len(low)))]
    ends = [np.sort([low if rng.random() < 0.5 else high, point], axis=0) for point in middle]
    tree = read_tree(record(layer=name, **WHOLE), model)
    with np.errstate(all="ignore"), replace_chunk(4 if in_pieces else 10**6):
        bounds = prove_bounds(model, (low, high))
        boxes = {key: Interval(bounds[key].lower[None], bounds[key].upper[None]) for key in bounds}
        inherited = {step.source: boxes[step.source] for step in model.rectifiers}
        inherited[INPUT] = Interval(np.array([e[0] for e in ends]), np.array([e[1] for e in ends]))
        found, empty = rebound(frame_of(model, bounds), bounds, inherited, tree)
    assert not empty.any()
    for k, (inner_low, inner_high) in enumerate(ends):
        for x in (inner_low, inner_high, np.where(rng.random(len(low)) < 0.5, inner_low, inner_high)):
            values = exact_values(network, x)
            for step in model.rectifiers:
                box = found[step.source]
                ends_of = (end[k % len(end)] for end in (box.lower, box.upper))
                assert all(a <= v <= b for a, b, v in zip(*ends_of, values[step.source], strict=True))


@contextmanager
def replace_chunk(elements: int) -> Iterator[None]:
    """Let one pass hold another number of coefficients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("milpcomp.checker.backward.CHUNK_ELEMENTS", elements)
        yield


@pytest.mark.parametrize("build", [residual_cnn, concat_network])
def test_one_case_without_multipliers_is_the_linear_bound(build: Callable[[np.random.Generator], Network]) -> None:
    """On images, sums and joins, standard lines prove what the replay of linear bounds proves, and no less."""
    network = build(np.random.default_rng(3))
    network = network if isinstance(network.nodes[-1].layer, Rectifier) else with_end(network)
    model = read_network(network)
    box = Box(np.full(network.input_shape, 0.48), np.full(network.input_shape, 0.52))
    bounds = prove_bounds(model, (box.lower.reshape(-1), box.upper.reshape(-1)))
    target = model.rectifiers[-1]
    alphas = {}
    for name in earlier_rectifiers(model, target):
        x = bounds[network[name].inputs[0]]
        alphas[name] = np.where(x.upper > -x.lower, 255, 0).astype(np.uint8)[None]
    found = linear_bounds(model, bounds, Slopes(target.name, True, np.arange(len(target.positive)), alphas, 0))
    unit = int((bounds[target.source].upper - found).argmax())  # where intervals are the worst
    linear = found[unit]
    assert linear < bounds[target.source].upper[unit] - 1e-6
    one: dict[str, Any] = {"layer": target.name, "unit": unit, **WHOLE}
    assert not problems(network, box, record(**one, bound=float(linear + 1e-9)))
    assert problems(network, box, record(**one, bound=float(linear - 1e-6)))
    points = np.random.default_rng(0).uniform(0.48, 0.52, size=(50, *network.input_shape))
    most = network.pre_activations(points)[target.name].reshape(50, -1)[:, unit].max()
    assert most <= linear
    anew = {**one, "rebound": [True]}
    assert problems(network, box, record(**anew, bound=float(most - 1e-6)))
    assert not problems(network, box, record(**anew, bound=float(linear + 1e-9)))


@pytest.mark.parametrize("elements", [1, 20])
def test_leaves_are_checked_in_pieces(elements: int) -> None:
    """However few rows a pass holds, the same proofs are accepted and the same ones are not."""
    for seed in range(6):
        network, box, proofs = hard_case(seed)
        least, most = exact_ranges_of(seed)
        with replace_chunk(elements):
            for proof in proofs:
                assert not problems(network, box, proof)
                false = most - 1e-9 if proof.side == "upper" else least + 1e-9
                assert problems(network, box, replace(proof, bound=false))


# malformed records ----------------------------------------------------------------------------------------------------

MALFORMED: dict[str, Callable[[BranchProof], Any]] = {
    "unknown layer": lambda p: forged(p, layer="9"),
    "layer None": lambda p: forged(p, layer=None),
    "unit out of range": lambda p: forged(p, unit=1),
    "unit a truth value": lambda p: forged(p, unit=False),
    "side unknown": lambda p: forged(p, side="both"),
    "bound NaN": lambda p: forged(p, bound=float("nan")),
    "bound infinite": lambda p: forged(p, bound=float("-inf")),
    "bound an integer": lambda p: forged(p, bound=0),
    "no nodes": lambda p: forged(p, parent=p.parent[:0]),
    "a node too many": lambda p: forged(p, parent=np.array([-1, 0, 0, 0], dtype=np.int32)),
    "one child": lambda p: record(parent=[-1, 0], layer_of=[-2, 0], unit_of=[0, 0], point=[0, 0], above=[False, False],
                                  rebound=[False, False], leaf=[1], objective=[True], multipliers=[[0, 0]]),
    "three children": lambda p: record(parent=[-1, 0, 0, 0], layer_of=[-2, 0, 0, 0], unit_of=[0] * 4, point=[0] * 4,
                                       above=[False, False, True, True], rebound=[False] * 4, leaf=[1, 2, 3],
                                       objective=[True] * 3, multipliers=[[0, 0], [1, -1], [1, -1]]),
    "its own parent": lambda p: forged(p, parent=np.array([-1, 1, 1], dtype=np.int32)),
    "parents in a circle": lambda p: forged(p, parent=np.array([-1, 2, 1], dtype=np.int32)),
    "two roots": lambda p: forged(p, parent=np.array([-1, -1, 0], dtype=np.int32)),
    "root with a parent": lambda p: forged(p, parent=np.array([0, 0, 0], dtype=np.int32)),
    "root that is a split": lambda p: forged(p, layer_of=np.array([0, 0, 0], dtype=np.int32)),
    "child that is a root": lambda p: forged(p, layer_of=np.array([-2, -2, -2], dtype=np.int32)),
    "split of no layer": lambda p: forged(p, layer_of=np.array([-2, 2, 2], dtype=np.int32)),
    "split of no unit": lambda p: forged(p, unit_of=np.array([0, 2, 2], dtype=np.int32)),
    "split of a negative unit": lambda p: forged(p, unit_of=np.array([0, -1, -1], dtype=np.int32)),
    "split of no input": lambda p: forged(p, layer_of=np.array([-2, -1, -1], dtype=np.int32),
                                           unit_of=np.array([0, 1, 1], dtype=np.int32)),
    "children of different units": lambda p: forged(p, unit_of=np.array([0, 0, 1], dtype=np.int32)),
    "children of different layers": lambda p: forged(p, layer_of=np.array([-2, 0, -1], dtype=np.int32)),
    "a gap between the children": lambda p: forged(p, point=np.array([0.0, -0.1, 0.0])),
    "an overlap of the children": lambda p: forged(p, point=np.array([0.0, 0.1, 0.0])),
    "the same side twice": lambda p: forged(p, above=np.array([False, True, True])),
    "point NaN": lambda p: forged(p, point=np.array([0.0, np.nan, np.nan])),
    "point infinite": lambda p: forged(p, point=np.array([0.0, np.inf, np.inf])),
    "leaf dropped": lambda p: forged(p, leaf=p.leaf[:1], objective=p.objective[:1], multipliers=p.multipliers[:1]),
    "leaf twice": lambda p: forged(p, leaf=p.leaf[[0, 0]]),
    "root as a leaf": lambda p: forged(p, leaf=np.array([0, 2], dtype=np.int32)),
    "leaves out of order": lambda p: forged(p, leaf=p.leaf[::-1]),
    "leaf out of range": lambda p: forged(p, leaf=np.array([1, 3], dtype=np.int32)),
    "objective too short": lambda p: forged(p, objective=p.objective[:1]),
    "objective as integers": lambda p: forged(p, objective=p.objective.astype(np.int32)),
    "multipliers truncated": lambda p: forged(p, multipliers=p.multipliers[:, :1]),
    "multipliers of one axis": lambda p: forged(p, multipliers=p.multipliers.reshape(-1)),
    "multipliers as integers": lambda p: forged(p, multipliers=p.multipliers.astype(np.int32)),
    "multipliers complex": lambda p: forged(p, multipliers=p.multipliers.astype(np.complex64)),
    "multipliers as objects": lambda p: forged(p, multipliers=p.multipliers.astype(object)),
    "multipliers as long doubles": lambda p: forged(p, multipliers=p.multipliers.astype(np.longdouble)),
    "multipliers as lists": lambda p: forged(p, multipliers=p.multipliers.tolist()),
    "multipliers NaN": lambda p: forged(p, multipliers=p.multipliers * np.float32(np.nan)),
    "multiplier infinite": lambda p: forged(p, multipliers=p.multipliers + np.float32(-np.inf)),
    "multipliers None": lambda p: forged(p, multipliers=None),
    "columns twice": lambda p: forged(p, columns=p.columns[[0, 0]]),
    "columns of no layer": lambda p: forged(p, columns=p.columns + 2),
    "columns of no unit": lambda p: forged(p, columns=p.columns + np.array([0, 1], dtype=np.int32)),
    "columns negative": lambda p: forged(p, columns=p.columns - 1),
    "columns of the input": lambda p: forged(p, columns=np.array([[0, 0], [-1, 0]], dtype=np.int32)),
    "columns as floats": lambda p: forged(p, columns=p.columns.astype(float)),
    "columns of three": lambda p: forged(p, columns=np.zeros((2, 3), dtype=np.int32)),
    "parents as floats": lambda p: forged(p, parent=p.parent.astype(float)),
    "parents unsigned": lambda p: forged(p, parent=p.parent.astype(np.uint32)),
    "above as integers": lambda p: forged(p, above=p.above.astype(np.int8)),
    "rebound None": lambda p: forged(p, rebound=None),
    "points as integers": lambda p: forged(p, point=p.point.astype(np.int64)),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_proofs_are_problems(name: str) -> None:
    """What is no proof by cases is unreadable, the report has a problem, and the verdict is rejected."""
    false = MALFORMED[name](record())
    with pytest.raises(Unreadable):
        read_tree(false, read_network(twins()))
    checked = check(twins(), LINE, twins_report((false,)))
    assert checked.problems[0].startswith("proof 0: ")
    assert [entry.layer for entry in checked.rejections] == ["3"]


HOLLOW: dict[str, Callable[[BranchProof], Any]] = {
    "swapped leaves": lambda p: forged(p, multipliers=p.multipliers[::-1]),
    "swapped columns": lambda p: forged(p, columns=p.columns[::-1]),
    "flags flipped": lambda p: forged(p, objective=~p.objective),
    "sides flipped": lambda p: forged(p, above=~p.above),
    "other side": lambda p: forged(p, side="lower"),
    "other layer": lambda p: forged(p, layer="1"),
    "another unit split": lambda p: forged(p, unit_of=np.array([0, 1, 1], dtype=np.int32)),
    "another point": lambda p: forged(p, point=np.array([0.0, 0.5, 0.5])),
    "no split": lambda p: record(parent=[-1], layer_of=[-2], unit_of=[0], point=[0.0], above=[False], rebound=[True],
                                 leaf=[0], objective=[True], multipliers=[[0.0, 0.0]]),
    "bound below the truth": lambda p: forged(p, bound=-0.2),
    "huge multipliers": lambda p: forged(p, multipliers=np.full((2, 2), 3e38, dtype=np.float32)),
    "huge doubles": lambda p: forged(p, multipliers=np.full((2, 2), -1e308)),
    "zeros": lambda p: forged(p, multipliers=0 * p.multipliers),
    "denormals": lambda p: forged(p, multipliers=np.full((2, 2), 1e-45, dtype=np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLLOW)
def test_hollow_proofs_are_problems(name: str) -> None:
    """A well-formed tree that proves something else, or nothing, is a problem that names the leaf or its bound."""
    checked = check(twins(), LINE, twins_report((HOLLOW[name](record()),)))
    assert "is not proved" in checked.problems[0]
    assert [entry.layer for entry in checked.rejections] == ["3"]


def test_harmless_changes_pass() -> None:
    """Doubles instead of floats, wider integers, small changes of multipliers, and bounds derived anew."""
    proof = record()
    for same in (
        forged(proof, multipliers=proof.multipliers.astype(np.float64)),
        forged(proof, parent=proof.parent.astype(np.int64), columns=proof.columns.astype(np.int64)),
        forged(proof, multipliers=proof.multipliers * np.float32(1.01)),
        forged(proof, rebound=np.ones(3, dtype=np.bool_)),
        forged(proof, multipliers=np.where(proof.multipliers == 0, np.float32(1e-45), proof.multipliers)),
    ):
        assert check(twins(), LINE, twins_report((same,))).accepted
