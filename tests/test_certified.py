"""Robustness proved: margins by hand, adversarial inputs that are ones, proofs that hold, and the sandwich."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import milpcomp as mc
from milpcomp.errors import DomainError, NetworkError, SettingsError
from milpcomp.network import INPUT, Dense, Network, Node, Rectifier
from milpcomp.robustness import Outcome, certified_robustness, sandwich
from milpcomp.robustness.certified import margin_network
from tests.nets import chain, mlp


def classifier() -> Network:
    """Return two logits of one input: f_0 = max(0, x), f_1 = 1 - x; class 0 wins for x > 1/2."""
    return chain((1,), Dense([[1.0], [1.0]], [0.0, 10.0]), Rectifier(), Dense([[1.0, 0.0], [0.0, -1.0]], [0.0, 11.0]))


def test_margins_by_hand() -> None:
    """At x = 0.8 the margins are f_0 - f_1 = 0.8 - 0.2, and the reverse for the other label."""
    network = classifier()
    assert network.forward([0.8]) == pytest.approx([0.8, 0.2])
    for label, value in ((0, 0.6), (1, -0.6)):
        margins = margin_network(network, label)
        assert margins.pre_activations(np.array([[0.8]]))[margins.output] == pytest.approx(value)


def test_margins_find_a_name() -> None:
    """A network that has a node called "margins" gets its margins under another name."""
    network = Network((2,), [Node("margins", Dense(np.eye(2), [0.0, 0.0]), (INPUT,))])
    assert margin_network(network, 0).output == "margins_"


@pytest.mark.parametrize(
    ("x", "radius", "outcome"),
    [(0.8, 0.25, Outcome.ROBUST), (0.8, 0.35, Outcome.ADVERSARIAL), (0.2, 0.25, Outcome.ROBUST)],
)
def test_outcomes_by_hand(x: float, radius: float, outcome: Outcome) -> None:
    """The boundary is at 1/2: closer boxes are robust, and in wider ones an input beyond it is found."""
    found = certified_robustness(classifier(), [x], radius)
    assert found.outcome is outcome
    if outcome is Outcome.ADVERSARIAL:
        assert found.adversarial is not None
        assert found.adversarial[0] < 0.5
        assert abs(found.adversarial[0] - x) <= radius
    else:
        assert found.least_margin >= 0
        assert found.report is not None
        assert mc.check(found.margins, found.domain, found.report).counts()["rejected"] == 0


def test_a_tie_is_held() -> None:
    """On a box whose edge lies exactly on the boundary no class has a greater logit: nothing adversarial is found."""
    found = certified_robustness(classifier(), [0.75], 0.25, time_limit_s=2.0)
    assert found.outcome is not Outcome.ADVERSARIAL
    assert found.least_margin == pytest.approx(0.0, abs=1e-12)


def test_a_misclassified_input_is_adversarial_itself() -> None:
    """With a label that the network does not give, the input itself breaks it, at radius 0 too."""
    found = certified_robustness(classifier(), [0.8], 0.0, label=1)
    assert found.outcome is Outcome.ADVERSARIAL
    assert found.adversarial == pytest.approx([0.8])


@given(st.integers(0, 100_000), st.floats(0.02, 0.6))
@settings(max_examples=30, deadline=None)
def test_no_wrong_outcome(seed: int, radius: float) -> None:
    """Where robustness is proved, no sample is misclassified; what is called adversarial is, and lies in the box."""
    rng = np.random.default_rng(seed)
    network = mlp([2, 6, 6, 3], rng)
    x = rng.random(2)
    found = certified_robustness(network, x, radius, time_limit_s=20)
    box = found.domain
    samples = box.clip(box.lower + rng.random((3_000, 2)) * (box.upper - box.lower))
    logits = network.forward(samples)
    wrong = (logits > logits[:, [found.label]] + 1e-12).any(axis=1)
    if found.outcome is Outcome.ADVERSARIAL:
        assert found.adversarial is not None
        assert box.contains(found.adversarial[None]).all()
        values = network.forward(found.adversarial)
        assert values.max() > values[found.label]
    else:
        assert found.outcome is Outcome.ROBUST
        assert not wrong.any()
        assert mc.check(found.margins, found.domain, found.report).counts()["rejected"] == 0


def test_time_limit_leaves_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither proved nor broken in time is undecided, and counts on neither side of the sandwich's proof."""
    rng = np.random.default_rng(4)
    network = mlp([20, 60, 60, 60, 4], rng)
    found = sandwich(network, rng.random((1, 20)), [int(network.forward(rng.random(20)).argmax())], 0.0, time_limit_s=1)
    assert found.radius == 0.0
    monkeypatch.setattr("milpcomp.robustness.certified._attacked", lambda *a: a[2])
    hard = certified_robustness(network, np.full(20, 0.5), 0.5, time_limit_s=1e-3)
    assert hard.outcome in (Outcome.UNDECIDED, Outcome.ADVERSARIAL)


def test_all_the_time_may_go_to_one_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of an image is also that of each margin, as often a single one is open; what is asked for prevails."""
    seen = []

    def told(*arguments: object, **options: float) -> mc.Report:
        seen.append((options["neuron_time_limit_s"], options["time_limit_s"]))
        return mc.certify(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("milpcomp.robustness.certified.certify", told)
    certified_robustness(classifier(), [0.8], 0.25, time_limit_s=50.0)
    certified_robustness(classifier(), [0.8], 0.25, time_limit_s=50.0, neuron_time_limit_s=3.0)
    assert 40 < seen[0][0] == seen[0][1] <= 50
    assert seen[1][0] == 3


def test_unusable_arguments_are_refused() -> None:
    """Inputs, labels and networks that do not fit are refused."""
    with pytest.raises(DomainError, match="one finite input"):
        certified_robustness(classifier(), [0.1, 0.2], 0.1)
    with pytest.raises(DomainError, match="outside the valid range"):
        certified_robustness(classifier(), [1.2], 0.3, label=0)
    with pytest.raises(SettingsError, match="no class"):
        certified_robustness(classifier(), [0.1], 0.1, label=2)
    with pytest.raises(DomainError, match="radius"):
        certified_robustness(classifier(), [0.1], -0.1)
    with pytest.raises(NetworkError, match="two or more"):
        certified_robustness(chain((1,), Dense([[1.0]], [0.0])), [0.1], 0.1)
    with pytest.raises(DomainError, match="labels"):
        sandwich(classifier(), [[0.1]], [0, 1], 0.1)


@pytest.mark.slow
def test_sandwich_on_mnist(shared_data: Path) -> None:
    """On the published 100-100 network, verified <= under attack at every radius, and all proofs are accepted."""
    from models.data import load_images

    network = mc.load(shared_data / "nets/serra2021/mnist_100-100_l1_0.tar")
    images, labels = load_images(shared_data / "mnist", "t10k")
    seen = []
    for radius in (0.01, 0.05):
        found = sandwich(network, images[:3], labels[:3], radius, time_limit_s=20, progress=lambda i, _: seen.append(i))
        assert found.verified.value <= found.under_attack.value
        for one in found.outcomes:
            if one.report is not None:
                assert mc.check(one.margins, one.domain, one.report).counts()["rejected"] == 0
        if radius == 0.01:
            assert found.verified.value == 1.0
            assert found.undecided == ()
    assert seen == [0, 1, 2, 0, 1, 2]
