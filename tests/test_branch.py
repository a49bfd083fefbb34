"""`milpcomp.branch`: the relaxation is the triangle relaxation, proofs replay, verdicts are true."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.branch_proof import ROOT, BranchProof
from milpcomp.bounds.interval import Interval
from milpcomp.bounds.linear import Substitution
from milpcomp.bounds.multipliers import Cases, upper_bounds
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.branch.phases import Search
from milpcomp.branch.question import Limits, Outcome, Question
from milpcomp.branch.relaxation import relax
from milpcomp.branch.simplex import Simplex
from milpcomp.domain import Box
from milpcomp.errors import SolverError
from milpcomp.network import INPUT, Dense, Network, Rectifier
from tests.exact import concat_network
from tests.nets import chain, mlp, planted, residual_cnn
from tests.oracle import exact_ranges

Values = dict[str, Interval]

NETWORKS: dict[str, Callable[[np.random.Generator], Network]] = {
    "relu": lambda rng: mlp([4, 7, 6, 5], rng),
    "slopes": lambda rng: mlp([4, 7, 6, 5], rng, None, None),
    "concat": concat_network,
    "cnn": residual_cnn,
}


def bounded(network: Network, radius: float = 0.4) -> Values:
    """Return interval bounds over a cube around 0."""
    cube = np.full(network.input_shape, radius)
    return dict(interval_bounds(network, Box(-cube, cube)).values)


def tried(network: Network, values: Values, question: Question, seconds: float = 5.0) -> tuple[Outcome, float]:
    """Return the outcome of a search and the largest value that any offered input gave."""
    best = [-np.inf]

    def offer(x: np.ndarray) -> None:
        seen = question.sign * network.pre_activations(x)[question.layer][:, question.unit]
        best[0] = max(best[0], float(seen.max()))

    limits = Limits(time.monotonic() + seconds, lambda: best[0] > 0, 2**20)
    return Search(network, values, question, offer).run(limits), best[0]


def replayed(network: Network, values: Values, proof: BranchProof) -> bool:
    """Tell whether a proof without `rebound` closes every leaf and covers the domain: by its arrays alone."""
    layers = [node.name for node in network.rectifiers]
    children: dict[int, list[int]] = {}
    for node in range(1, len(proof.parent)):
        children.setdefault(int(proof.parent[node]), []).append(node)
    inner = set(range(len(proof.parent))) - set(proof.leaf.tolist())
    assert set(children) == inner
    for pair in children.values():
        assert [bool(proof.above[node]) for node in pair] == [False, True]
        assert len({(int(proof.layer_of[n]), int(proof.unit_of[n]), float(proof.point[n])) for n in pair}) == 1
    substitution = Substitution(network, values, network[proof.layer].inputs[0])
    sign = 1.0 if proof.side == "upper" else -1.0
    for leaf, objective, numbers in zip(proof.leaf.tolist(), proof.objective, proof.multipliers, strict=True):
        case = {
            name: Interval(v.lower.reshape(1, -1).copy(), v.upper.reshape(1, -1).copy()) for name, v in values.items()
        }
        node = leaf
        while proof.layer_of[node] != ROOT:
            side = case[network[layers[proof.layer_of[node]]].inputs[0]]
            if proof.above[node]:
                side.lower[0, proof.unit_of[node]] = max(proof.point[node], side.lower[0, proof.unit_of[node]])
            else:
                side.upper[0, proof.unit_of[node]] = min(proof.point[node], side.upper[0, proof.unit_of[node]])
            node = int(proof.parent[node])
        multipliers = {name: np.full((1, network.width(name)), np.nan) for name in layers}
        for (index, unit), number in zip(proof.columns.tolist(), numbers, strict=True):
            multipliers[layers[index]][0, unit] = number
        row = np.zeros((1, network.width(proof.layer)))
        row[0, proof.unit] = sign * objective
        bound = upper_bounds(substitution, row, Cases(case), np.zeros(1, dtype=np.int64), multipliers)[0]
        if not (bound <= 0 if objective else bound < 0):
            return False
    return True


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_duals_of_the_program_reach_its_optimum(kind: str, seed: int) -> None:
    """The optimum of the program is the bound that its duals prove, with splits and without: two code paths agree."""
    rng = np.random.default_rng(seed)
    network = NETWORKS[kind](rng)
    values, layer = bounded(network), network.rectifiers[-1].name
    relaxation = relax(network, values, layer)
    substitution = Substitution(network, values, network[layer].inputs[0])
    chosen = rng.permutation(len(relaxation.open))[:2].tolist()
    for splits in ({}, {index: bool(rng.integers(2)) for index in chosen}):
        unit, scale = int(rng.integers(network.width(layer))), 2.0
        simplex = Simplex(relaxation, *relaxation.objective(unit, 1, scale))
        answer = simplex.solve(splits, time.monotonic() + 10.0, to_optimality=True)
        assert answer is not None
        if answer.infeasible:
            continue
        assert answer.columns is not None
        cost, offset = relaxation.objective(unit, 1, scale)
        case = {
            name: Interval(v.lower.reshape(1, -1).copy(), v.upper.reshape(1, -1).copy()) for name, v in values.items()
        }
        names = [node.name for node in network.rectifiers]
        for index, active in splits.items():
            k = relaxation.open[index]
            side = case[network[names[relaxation.live.rectifier[k]]].inputs[0]]
            (side.lower if active else side.upper)[0, relaxation.live.unit[k]] = 0.0
        multipliers = {name: np.full((1, network.width(name)), np.nan) for name in names}
        duals = answer.duals[: len(relaxation.live.scale)] / relaxation.live.scale * scale
        for index, k, dual in zip(relaxation.live.rectifier, relaxation.live.unit, duals, strict=True):
            multipliers[names[index]][0, k] = dual
        row = np.zeros((1, network.width(layer)))
        row[0, unit] = 1.0
        bound = upper_bounds(substitution, row, Cases(case), np.zeros(1, dtype=np.int64), multipliers)[0]
        assert bound == pytest.approx(-(cost @ answer.columns + offset) * scale, rel=1e-6, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_searches_say_the_truth(seed: int) -> None:
    """On planted networks with two inputs: proved means a maximum <= 0, a maximum > 0 is found, and proofs replay."""
    rng = np.random.default_rng(seed)
    network, box = planted(rng, 2)
    if (box.lower == box.upper).any():
        return  # the exact oracle needs an area
    values, ranges = dict(interval_bounds(network, box).values), exact_ranges(network, box)
    for node in network.rectifiers:
        for unit, (low, high) in enumerate(ranges[node.name]):
            for sign, maximum in ((1, high), (-1, -low)):
                outcome, best = tried(network, values, Question(node.name, unit, sign))
                if outcome.proved:
                    assert maximum <= 0
                    assert outcome.proof is not None
                    assert replayed(network, values, outcome.proof)
                elif maximum < -1e-9:
                    pytest.fail(f"{node.name} {unit} {sign}: not proved although its maximum is {float(maximum)}")
                elif maximum > 1e-9:
                    assert best > 0


def hard_network() -> tuple[Network, Question]:
    """Return the difference of two equal tents, lowered: g = |x| - |x| - 1/4, which no single relaxation sees."""
    first = Dense([[1.0], [-1.0], [1.0], [-1.0]])
    second = Dense([[1.0, 1.0, -1.0, -1.0]], [-0.25])
    return chain((1,), first, Rectifier(), second, Rectifier()), Question("3", 0, 1)


def test_a_proof_by_cases_by_hand() -> None:
    """The relaxation allows g = 3/4 on [-1, 1]; a split on x closes it, by two leaves or a few more."""
    network, question = hard_network()
    values = bounded(network, 1.0)
    outcome, _ = tried(network, values, question)
    assert outcome.proved
    assert outcome.proof is not None
    assert len(outcome.proof.leaf) >= 2
    assert replayed(network, values, outcome.proof)
    assert outcome.proof.nbytes == sum(array.nbytes for array in outcome.proof.arrays().values())


def test_a_witness_ends_a_search() -> None:
    """With bias +1/4 the neuron is active everywhere, and the first input offered shows it."""
    network, question = hard_network()
    layers = [node.layer for node in network.nodes]
    layers[2] = Dense([[1.0, 1.0, -1.0, -1.0]], [0.25])
    network = chain((1,), *layers)
    outcome, best = tried(network, bounded(network, 1.0), question)
    assert not outcome.proved
    assert best > 0
    assert outcome.nodes == 1


def test_too_large_a_proof_is_not_kept() -> None:
    """Beyond the limit the verdict stays and the proof does not."""
    network, question = hard_network()
    limits = Limits(time.monotonic() + 5.0, lambda: False, 8)
    outcome = Search(network, bounded(network, 1.0), question, lambda x: None).run(limits)
    assert outcome.proved
    assert outcome.proof is None


def test_limits_end_a_search() -> None:
    """No time, or a settled question: nothing is proved, and nothing is solved."""
    network, question = hard_network()
    for limits in (Limits(time.monotonic() - 1.0, lambda: False, 0), Limits(time.monotonic() + 9.0, lambda: True, 0)):
        outcome = Search(network, bounded(network, 1.0), question, lambda x: None).run(limits)
        assert (outcome.proved, outcome.nodes) == (False, 0)


def test_a_maximum_of_exactly_zero_is_left_open() -> None:
    """The maximum of |x| - |x| is 0: neither a witness nor a proof by rounded arithmetic exists."""
    network, question = hard_network()
    layers = [node.layer for node in network.nodes]
    layers[2] = Dense([[1.0, 1.0, -1.0, -1.0]], [0.0])
    network = chain((1,), *layers)
    outcome, best = tried(network, bounded(network, 1.0), question)
    assert best <= 0
    assert not outcome.proved


def test_infinite_bounds_are_refused() -> None:
    """Without finite bounds there is no relaxation."""
    network, question = hard_network()
    values = bounded(network, 1.0)
    values["0"] = Interval(np.full(4, -np.inf), np.full(4, np.inf))
    with pytest.raises(SolverError, match="finite"):
        tried(network, values, question)


def test_inputs_offered_lie_in_the_domain() -> None:
    """Whatever the simplex returns, what is offered is an input of the box, of its shape."""
    network = residual_cnn(np.random.default_rng(1))
    values = bounded(network)
    seen: list[np.ndarray] = []
    question = Question(network.rectifiers[-1].name, 0, 1)
    limits = Limits(time.monotonic() + 0.5, lambda: False, 2**20)
    Search(network, values, question, seen.append).run(limits)
    assert seen
    for x in seen:
        assert x.shape[1:] == network.input_shape
        assert ((x >= values[INPUT].lower) & (x <= values[INPUT].upper)).all()
