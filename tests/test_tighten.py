"""`milpcomp.bounds.tighten` and `sweep`: bounds of whole networks, tightened layer by layer, with replayable proofs."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.interval import Interval, step
from milpcomp.bounds.linear import linear_bounds
from milpcomp.bounds.sweep import Targets
from milpcomp.bounds.tighten import Bounds, interval_bounds, tighten
from milpcomp.domain import Box
from milpcomp.errors import DomainError
from milpcomp.network import INPUT, Dense, Network, Rectifier
from tests.exact import cases, concat_network, exact_values, points
from tests.nets import chain, diamond, mlp, planted, residual_cnn

Case = tuple[Network, np.ndarray, np.ndarray, np.random.Generator]


def replay(network: Network, domain: Box, bounds: Bounds) -> dict[str, Interval]:
    """Replay all proofs as `milpcomp.bounds.slopes` says, and return the bounds that they give."""
    values = dict(interval_bounds(network, domain).values)
    for number in sorted({proof.round for proof in bounds.proofs}):
        for node in network.nodes:
            result = step(node.layer, [Interval(values[i].lower[None], values[i].upper[None]) for i in node.inputs])
            values[node.name] = Interval(result.lower[0], result.upper[0]).meet(values[node.name])
            for proof in bounds.proofs:
                if proof.round == number and network[proof.layer].inputs[0] == node.name:
                    line = linear_bounds(network, values, proof.layer, proof.side, proof.units, proof.alphas)
                    lower, upper = values[node.name].lower.copy(), values[node.name].upper.copy()
                    if proof.side == "lower":
                        np.maximum.at(lower.reshape(-1), proof.units, line)
                    else:
                        np.minimum.at(upper.reshape(-1), proof.units, line)
                    values[node.name] = Interval(lower, upper)
    return values


def stable(network: Network, bounds: Bounds) -> int:
    """Return how many neurons the bounds prove stable."""
    values = [bounds.values[node.inputs[0]] for node in network.rectifiers]
    return sum(int(((value.lower >= 0) | (value.upper <= 0)).sum()) for value in values)


@given(cases())
@settings(max_examples=20)
def test_tightened_bounds_enclose_exact_values(case: Case) -> None:
    """At points of the box every exact value of every node lies within the tightened bounds."""
    network, low, high, rng = case
    domain = Box(low, high)
    before = interval_bounds(network, domain)
    after = tighten(network, domain, before, steps=2)
    assert list(after.values) == [INPUT, *(node.name for node in network.nodes)]
    for x in points(rng, low, high, 3):
        for name, exact in exact_values(network, x).items():
            lower, upper = after.values[name].lower.reshape(-1), after.values[name].upper.reshape(-1)
            for lo, hi, value in zip(lower.tolist(), upper.tolist(), exact, strict=True):
                assert lo == -np.inf or Fraction(lo) <= value
                assert hi == np.inf or value <= Fraction(hi)
    for name, bounds in after.values.items():
        assert bounds.lower.shape == network.shape(name)
        assert (bounds.lower >= before.values[name].lower).all()
        assert (bounds.upper <= before.values[name].upper).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=30)
def test_each_stage_only_tightens(seed: int, inputs: int) -> None:
    """Sweeps with default slopes, with optimised ones, and a further sweep never loosen a bound or lose a verdict."""
    network, domain = planted(np.random.default_rng(seed), inputs)
    stages = [interval_bounds(network, domain)]
    stages.append(tighten(network, domain, stages[-1], steps=0))
    stages.append(tighten(network, domain, stages[-1], steps=5))
    stages.append(tighten(network, domain, stages[-1], steps=5))
    for before, after in pairwise(stages):
        assert stable(network, after) >= stable(network, before)
        assert after.proofs[: len(before.proofs)] == before.proofs
        for name, value in after.values.items():
            assert (value.lower >= before.values[name].lower).all()
            assert (value.upper <= before.values[name].upper).all()


@pytest.mark.parametrize(
    "build",
    [
        residual_cnn,
        concat_network,
        lambda rng: mlp([4, 8, 8, 6, 3], rng, None, None),
        lambda rng: mlp([6, 9, 9, 9], rng),
    ],
)
def test_proofs_replay(build: object) -> None:
    """Following the proofs in order, with nothing else, gives the same bounds, over several sweeps."""
    rng = np.random.default_rng(6)
    network: Network = build(rng)  # type: ignore[operator]
    domain = Box(-0.25, 0.5).fit(network.input_shape)
    bounds = tighten(network, domain, interval_bounds(network, domain), steps=0)
    bounds = tighten(network, domain, bounds, steps=4)
    assert {proof.round for proof in bounds.proofs} == {0, 1}
    for name, value in replay(network, domain, bounds).items():
        np.testing.assert_allclose(value.lower, bounds.values[name].lower, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(value.upper, bounds.values[name].upper, rtol=1e-9, atol=1e-12)


def test_proofs_are_minimal() -> None:
    """In one sweep a unit has at most one proof a side, and alphas for exactly the rectifiers below it."""
    network = mlp([6, 9, 9, 9], np.random.default_rng(1))
    ends = chain((6,), *(node.layer for node in network.nodes), Rectifier())
    domain = Box(-1.0, 1.0)
    bounds = tighten(ends, domain, interval_bounds(ends, domain))
    seen = [(proof.layer, proof.side, int(unit)) for proof in bounds.proofs for unit in proof.units]
    assert len(seen) == len(set(seen)) > 0
    below = {"3": ["1"], "5": ["1", "3"]}
    for proof in bounds.proofs:
        assert list(proof.alphas) == below[proof.layer]
        assert all(alpha.shape in {(len(proof.units), 9), (1, 9)} for alpha in proof.alphas.values())


def test_linear_bounds_decide_what_intervals_cannot() -> None:
    r"""The third neuron sees h1 - h2 - 1 where h1 <= h2 + 1 always: intervals say 1, lines say 0.

    x ── g1 = x + 1 ── h1 ─┐
    x ── g2 = x     ── h2 ─┴─ g3 = h1 - h2 - 1 - 1/8       x in [-1, 1]: g1 >= 0, so h1 = x + 1; h2 >= x
    """
    network = chain((1,), Dense([[1.0], [1.0]], [1.0, 0.0]), Rectifier(), Dense([[1.0, -1.0]], [-1.125]), Rectifier())
    domain = Box(-1.0, 1.0)
    before = interval_bounds(network, domain)
    assert before.values["2"].upper[0] == pytest.approx(0.875)
    after = tighten(network, domain, before)
    assert after.values["2"].upper[0] == pytest.approx(-0.125)
    assert (after.values["3"].lower[0], after.values["3"].upper[0]) == (0.0, 0.0)
    assert ("3", "upper", [0]) in [(proof.layer, proof.side, proof.units.tolist()) for proof in after.proofs]


def test_targets_come_alone_where_nothing_depends_on_them() -> None:
    """Only layers with targets, and what they depend on, are tightened; only the sides asked for in the last one."""
    network = chain((4,), *(node.layer for node in mlp([4, 8, 8, 8], np.random.default_rng(0)).nodes), Rectifier())
    domain = Box(-1.0, 1.0)
    before = interval_bounds(network, domain)
    asked, nothing = np.zeros(8, dtype=bool), np.zeros(8, dtype=bool)
    asked[2] = True
    assert before.values["2"].lower[2] < 0 < before.values["2"].upper[2]
    targets: Targets = {"3": (nothing, asked), "5": (nothing, nothing)}
    after = tighten(network, domain, before, targets)
    assert [(proof.layer, proof.side, proof.units.tolist()) for proof in after.proofs] == [("3", "upper", [2])]
    deeper = tighten(network, domain, before, {"5": (nothing, asked)})
    assert {(proof.layer, proof.side) for proof in deeper.proofs} == {("3", "lower"), ("3", "upper"), ("5", "upper")}
    assert tighten(network, domain, before, {}).proofs == ()


def test_targets_come_first_when_work_is_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the work allows few neurons, these are targets, nearest to a decision first."""
    network = chain((4,), *(node.layer for node in mlp([4, 8, 8], np.random.default_rng(2)).nodes), Rectifier())
    domain = Box(-0.5, 0.5)
    before = interval_bounds(network, domain)
    value = before.values["2"]
    unstable = np.flatnonzero((value.lower < 0) & (value.upper > 0))
    order = unstable[(value.upper / (value.upper - value.lower))[unstable].argsort()]
    monkeypatch.setattr("milpcomp.bounds.sweep.WORK", 0.0)
    monkeypatch.setattr("milpcomp.bounds.sweep.TARGET_WORK", 1200.0)  # one row takes 336
    mask = np.ones(8, dtype=bool)
    (proof,) = tighten(network, domain, before, {"3": (~mask, mask)}, steps=0).proofs
    assert proof.side == "upper"
    assert sorted(proof.units) == sorted(order[:3])
    monkeypatch.setattr("milpcomp.bounds.sweep.TARGET_WORK", 0.0)
    assert tighten(network, domain, before).proofs == ()


def test_after_the_deadline_only_intervals() -> None:
    """A deadline in the past leaves the interval bounds, and the callback still hears of every layer."""
    network, domain = residual_cnn(np.random.default_rng(0)), Box(0.0, 1.0)
    before, heard = interval_bounds(network, domain), []
    after = tighten(
        network, domain, before, deadline=time.monotonic() - 1.0, on_layer=lambda *layer: heard.append(layer)
    )
    assert after.proofs == ()
    assert [name for name, _, _ in heard] == ["relu1", "relu2", "relu3"]
    for name, lower, upper in heard:
        source = network[name].inputs[0]
        np.testing.assert_array_equal(lower, after.values[source].lower.reshape(-1))
        np.testing.assert_array_equal(upper, after.values[source].upper.reshape(-1))
        np.testing.assert_array_equal(after.values[source].lower, before.values[source].lower)


def test_rectified_input_is_its_own_bound() -> None:
    """A rectifier right behind the input has the box as its bounds, and is reported."""
    network, heard = chain((2,), Rectifier(), Dense([[1.0, 1.0]]), Rectifier()), []
    domain = Box([-1.0, 0.5], [1.0, 2.0])
    after = tighten(network, domain, interval_bounds(network, domain), on_layer=lambda *layer: heard.append(layer))
    name, lower, upper = heard[0]
    assert (name, lower.tolist(), upper.tolist()) == ("0", [-1.0, 0.5], [1.0, 2.0])
    assert after.values["0"].lower.tolist() == [0.0, 0.5]


def test_layers_without_neurons_are_bounded() -> None:
    """A layer of width zero has empty bounds, and what follows it is its bias."""
    network = chain((3,), Dense(np.zeros((0, 3))), Rectifier(), Dense(np.zeros((2, 0)), [0.5, -0.5]), Rectifier())
    domain = Box(-1.0, 1.0)
    bounds = tighten(network, domain, interval_bounds(network, domain))
    assert bounds.values["1"].lower.shape == (0,)
    assert bounds.values["2"].lower.tolist() == bounds.values["2"].upper.tolist() == [0.5, -0.5]
    np.testing.assert_allclose(
        linear_bounds(network, bounds.values, "3", "lower", [0, 1], {"1": np.zeros((1, 0), dtype=np.uint8)}),
        [0.5, -0.5],
        rtol=1e-12,
    )


def test_bounds_of_another_domain_are_refused() -> None:
    """Bounds proved over a smaller box must not be taken over for a larger one."""
    with pytest.raises(DomainError, match="another domain"):
        tighten(diamond(), Box(0.0, 2.0), interval_bounds(diamond(), Box(0.0, 1.0)))


def test_a_point_decides_everything() -> None:
    """Over a single input every neuron that is not zero there is stable, and bounds are as wide as rounding."""
    network = mlp([5, 7, 7, 3], np.random.default_rng(3), None, None)
    bounds = tighten(network, Box(0.3, 0.3), interval_bounds(network, Box(0.3, 0.3)))
    assert stable(network, bounds) == 14
    assert all((value.upper - value.lower).max() < 1e-12 for value in bounds.values.values())


def test_planted_stable_neurons_are_found() -> None:
    """Neurons made stable by construction are proved: a dead one, and one of each sign."""
    rng = np.random.default_rng(9)
    weight, bias = rng.normal(size=(8, 6)), rng.normal(size=8)
    second = rng.normal(size=(4, 8))
    second[0], second[1], second[2] = 0.0, -np.abs(second[1]), np.abs(second[2])
    network = chain((6,), Dense(weight, bias), Rectifier(), Dense(second), Rectifier())
    domain = Box(-1.0, 1.0)
    value = tighten(network, domain, interval_bounds(network, domain)).values["2"]
    assert (value.lower[0], value.upper[0]) == (0.0, 0.0)
    assert value.upper[1] == 0.0
    assert value.lower[2] == 0.0
    assert value.lower[3] < 0 < value.upper[3]


def test_mnist_reference_is_fast_and_tight(shared_file: Callable[[str], Path]) -> None:
    """On the reference 784-100-100-10 over [0, 1] all is unstable; lines take 40 % off the interval widths."""
    state = torch.load(shared_file("nets/serra2021/mnist_100-100_l1_0.tar"), map_location="cpu", weights_only=True)
    state = {name: value.double().numpy() for name, value in state.get("state_dict", state).items()}
    first, second, last = (name[: -len("weight")] for name in state if name.endswith("weight"))
    layers = [Dense(state[name + "weight"], state[name + "bias"]) for name in (first, second, last)]
    network = chain((784,), layers[0], Rectifier(), layers[1], Rectifier(), layers[2])
    domain = Box(0.0, 1.0)
    before = interval_bounds(network, domain)
    start = time.perf_counter()
    after = tighten(network, domain, before)
    assert time.perf_counter() - start < 5.0  # 0.1 s on an idle core
    assert stable(network, after) == 0
    widths = [(b.values["2"].upper - b.values["2"].lower).mean() for b in (before, after)]
    assert widths[1] < 0.6 * widths[0]
