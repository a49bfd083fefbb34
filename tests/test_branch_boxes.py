"""`milpcomp.branch.boxes` and `milpcomp.bounds.rebound`: bounds hold in every box, trees cover, verdicts are true."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.branch_proof import INPUT_SPLIT, BranchProof
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.rebound import Rebound
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.branch import boxes
from milpcomp.branch.question import Limits, Outcome, Question
from milpcomp.domain import Box
from milpcomp.network import INPUT, Dense, Network, Rectifier
from tests.exact import cases, exact_values, points
from tests.nets import chain, mlp, planted
from tests.oracle import exact_ranges

Values = dict[str, Interval]
Case = tuple[Network, np.ndarray, np.ndarray, np.random.Generator]


def parts(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes inside a box; the first is the whole one, the last a point."""
    ends = points(rng, low, high, 2 * count)
    lower, upper = np.minimum(ends[::2], ends[1::2]), np.maximum(ends[::2], ends[1::2])
    lower[0], upper[0] = low, high
    upper[-1] = lower[-1]
    return lower, upper


@given(cases())
@settings(max_examples=25)
def test_bounds_hold_in_their_boxes(case: Case) -> None:
    """No exact pre-activation at an input of a box is above the bound over that box."""
    network, low, high, rng = case
    values = dict(interval_bounds(network, Box(low, high)).values)
    lower, upper = parts(rng, low, high, 3)
    inputs = [points(rng, lower[k], upper[k], 2) for k in range(3)]
    exact = [[exact_values(network, x) for x in two] for two in inputs]
    for node in network.rectifiers:
        unit, sign = int(rng.integers(network.width(node.name))), int(rng.choice([-1, 1]))
        found = Rebound(network, values, node.name, unit, sign).bounds(lower, upper)
        assert not np.isnan(found.upper).any()
        assert ((found.corner >= lower) & (found.corner <= upper)).all()
        for bound, two in zip(found.upper.tolist(), exact, strict=True):
            for sample in two:
                assert bound == np.inf or sign * sample[node.inputs[0]][unit] <= Fraction(bound)


@pytest.mark.parametrize("seed", range(5))
def test_the_rule_by_another_path(seed: int) -> None:
    """A box alone, layer after layer, with one `Substitution` per layer, has the bounds that the batch has."""
    rng = np.random.default_rng(seed)
    network = mlp([3, 6, 5, 4, 2], rng, *((None, None) if seed % 2 else (1.0, 0.0)))
    low, high = -np.ones(3), np.ones(3)
    values = dict(interval_bounds(network, Box(low, high)).values)
    lower, upper = parts(rng, low, high, 4)
    last = network.rectifiers[-1]
    found = Rebound(network, values, last.name, 1, -1).bounds(lower, upper)
    for k in range(4):
        known = {
            name: v.meet(values[name]) for name, v in interval_bounds(network, Box(lower[k], upper[k])).values.items()
        }
        for node in network.rectifiers:
            source = node.inputs[0]
            known = alone(network, known, source, everything=node is last)
        expected = -known[last.inputs[0]].lower[1]
        assert found.upper[k] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def alone(network: Network, known: Values, source: str, everything: bool) -> Values:
    """Return bounds of one box with one node derived anew (where it holds 0, or all), and interval steps behind it."""
    value, substitution = known[source], Substitution(network, known, source)
    width = len(value.lower)
    alphas = substitution.default_alphas()
    crossing = ((value.lower < 0) & (value.upper > 0)) | everything
    lower = substitution.lower(substitution.rows(np.arange(width), np.ones(width)), alphas)
    upper = -substitution.lower(substitution.rows(np.arange(width), -np.ones(width)), alphas)
    better = value.meet(Interval(lower, upper))
    tight = Interval(np.where(crossing, better.lower, value.lower), np.where(crossing, better.upper, value.upper))
    known = {**known, source: tight}
    for node in network.nodes[[n.name for n in network.nodes].index(source) + 1 :]:
        x = known[node.inputs[0]]
        if isinstance(node.layer, Dense):
            plus, minus = np.maximum(node.layer.weight, 0), np.minimum(node.layer.weight, 0)
            step = Interval(plus @ x.lower + minus @ x.upper, plus @ x.upper + minus @ x.lower)
            step = Interval(step.lower + node.layer.bias, step.upper + node.layer.bias)
        else:
            assert isinstance(node.layer, Rectifier)
            ends = [node.layer.apply(end[None])[0] for end in (x.lower, x.upper)]
            low, high = np.minimum(ends[0], ends[1]), np.maximum(ends[0], ends[1])
            inside = (x.lower < 0) & (x.upper > 0)
            step = Interval(np.where(inside, np.minimum(low, 0), low), np.where(inside, np.maximum(high, 0), high))
        known[node.name] = known[node.name].meet(step)
    return known


def tried(network: Network, values: Values, question: Question, seconds: float = 2.0) -> tuple[Outcome, float]:
    """Return the outcome of a search and the largest value that any offered input gave."""
    best = [-np.inf]

    def offer(x: np.ndarray) -> None:
        seen = question.sign * network.pre_activations(x)[question.layer][:, question.unit]
        best[0] = max(best[0], float(seen.max()))

    limits = Limits(time.monotonic() + seconds, lambda: best[0] > 0, 2**20)
    return boxes.Search(network, values, question, offer).run(limits), best[0]


def covers(network: Network, values: Values, proof: BranchProof) -> bool:
    """Tell whether the leaves of a proof tile the domain, and each is closed by the rule on its box alone."""
    box, volume = values[INPUT], 0.0
    assert (proof.layer_of[1:] == INPUT_SPLIT).all()
    assert proof.multipliers.shape == (len(proof.leaf), 0)
    assert sorted(proof.leaf.tolist()) == sorted(set(range(len(proof.parent))) - set(proof.parent.tolist()))
    rebound = Rebound(network, values, proof.layer, proof.unit, 1 if proof.side == "upper" else -1)
    for leaf in proof.leaf.tolist():
        assert proof.rebound[leaf]
        lower, upper, node = box.lower.copy(), box.upper.copy(), leaf
        while node > 0:
            side, other = (lower, np.maximum) if proof.above[node] else (upper, np.minimum)
            side[proof.unit_of[node]] = other(side[proof.unit_of[node]], proof.point[node])
            node = int(proof.parent[node])
        volume += float(np.prod(upper - lower))
        if rebound.bounds(lower[None], upper[None]).upper[0] > 0:
            return False
    assert volume == pytest.approx(float(np.prod(box.upper - box.lower)))
    return True


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_searches_say_the_truth(seed: int) -> None:
    """On planted networks with two inputs: proved means a maximum <= 0, and what is clearly so is proved."""
    rng = np.random.default_rng(seed)
    network, box = planted(rng, 2)
    if (box.lower == box.upper).any():
        return  # the exact oracle needs an area
    values, ranges = dict(interval_bounds(network, box).values), exact_ranges(network, box)
    node = network.rectifiers[-1]
    for unit, (low, high) in enumerate(ranges[node.name]):
        for sign, maximum in ((1, high), (-1, -low)):
            outcome, best = tried(network, values, Question(node.name, unit, sign), 1.0)
            if outcome.proved:
                assert maximum <= 0
                assert outcome.proof is not None
                assert covers(network, values, outcome.proof)
            elif maximum < -0.1:
                pytest.fail(f"{node.name} {unit} {sign}: not proved although its maximum is {float(maximum)}")
            elif maximum > 0.1:
                assert best > 0


def three_layers(lift: float) -> Network:
    """Return g = |x| - |x| + lift behind two layers: the first pair of tents is handed through once more."""
    first = Dense([[1.0], [-1.0], [1.0], [-1.0]])
    second = Dense([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], [-0.25, -0.25])
    return chain((1,), first, Rectifier(), second, Rectifier(), Dense([[1.0, -1.0]], [lift]), Rectifier())


def test_limits_end_a_search() -> None:
    """No time, a settled question: nothing is proved; no room: proved, and nothing is kept."""
    network = three_layers(-0.25)
    values, question = dict(interval_bounds(network, Box(-np.ones(1), np.ones(1))).values), Question("5", 0, 1)
    ends = (Limits(time.monotonic() - 1, lambda: False, 0), Limits(time.monotonic() + 9, lambda: True, 0))
    assert [boxes.Search(network, values, question, len).run(limits).nodes for limits in ends] == [0, 0]
    full = boxes.Search(network, values, question, len).run(Limits(time.monotonic() + 9, lambda: False, 0))
    assert (full.proved, full.proof) == (True, None)
    kept = boxes.Search(network, values, question, len).run(Limits(time.monotonic() + 9, lambda: False, 2**20))
    assert kept.proof is not None
    assert covers(network, values, kept.proof)


def test_a_point_that_reaches_zero_ends_a_search() -> None:
    """Where the maximum is exactly 0 boxes shrink until they cannot be halved; the search gives up by itself."""
    network = three_layers(0.0)
    values = dict(interval_bounds(network, Box(-np.ones(1), np.ones(1))).values)
    outcome, best = tried(network, values, Question("5", 0, 1), 20.0)
    assert not outcome.proved
    assert best <= 0
