"""Replay establishes signs rigorously, and only those that are true."""

from __future__ import annotations

import numpy as np
import pytest

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.rational import exact_pre_activation
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.stability import replay
from milpcomp.stability.replay import Question, Replay
from tests.nets import chain, diamond, planted


def questions(network: Network) -> list[Question]:
    """Ask for both signs of every neuron."""
    return [
        Question(node.name, sign, np.arange(network.width(node.name)))
        for node in network.rectifiers
        for sign in (1, -1)
    ]


def test_hand_case() -> None:
    """On the diamond, (1, 0) and (0, 1) show both signs of g1 and the negative sign of g2, and nothing else."""
    answers = Replay(diamond()).answers(np.array([[1.0, 0.0], [0.0, 1.0]]), questions(diamond()))
    signs = {(a.unit, a.sign, a.row) for a in answers}
    assert {(unit, sign) for unit, sign, _ in signs} == {(0, 1), (0, -1), (1, -1)}
    assert (0, 1, 0) in signs
    assert (0, -1, 1) in signs


def test_one_row_settles_many() -> None:
    """A row that shows every sign wanted is the only one used."""
    network = chain((1,), Dense([[1.0], [2.0], [3.0]]), Rectifier())
    x = np.array([[0.0], [0.5], [1.0]])
    answers = Replay(network).answers(x, [Question("1", 1, np.arange(3))])
    assert len(answers) == 3
    assert len({a.row for a in answers}) == 1


def test_float_noise_is_no_witness() -> None:
    """0.1 + 0.2 - 0.3 is 5.6e-17 in floats and 2.8e-17 exactly; its negated twin is exactly zero and gives no sign."""
    network = chain((3,), Dense([[1.0, 1.0, -1.0], [1.0, -1.0, 0.0]]), Rectifier())
    x = np.array([[0.1, 0.2, 0.3]])
    (answer,) = Replay(network).answers(x, [Question("1", 1, np.array([0]))])
    assert answer.sign * exact_pre_activation(network, x[0], "1", 0) > 0
    assert Replay(network).answers(np.array([[0.1, 0.1, 0.0]]), [Question("1", 1, np.array([1]))]) == []


def test_exact_arithmetic_is_tried_once_per_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that rational arithmetic has refuted is not tried again."""
    network = chain((3,), Dense([[1.0, 1.0, -1.0]]), Rectifier())
    calls = []

    def refuse(*arguments: object) -> int:
        calls.append(arguments)
        return 0

    def unbounded(*arguments: object) -> dict[str, Interval]:
        return {"0": Interval(np.full((1, 1), -np.inf), np.full((1, 1), np.inf))}

    monkeypatch.setattr(replay, "exact_pre_activation", refuse)
    monkeypatch.setattr(replay, "propagate", unbounded)
    again = Replay(network)
    x = np.array([[0.1, 0.2, 0.3]])  # 5.6e-17 in floats, within their error
    for _ in range(3):
        assert again.answers(x, [Question("1", 1, np.array([0]))]) == []
    assert len(calls) == 1


def test_every_answer_is_true_in_rational_arithmetic() -> None:
    """On random networks with exact ties, each answer's sign is the exact one, and no positive sign is missed."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        network, domain = planted(rng, 2)
        x = domain.clip(rng.integers(-8, 9, size=(20, 2)) / 4.0)
        answers = Replay(network).answers(x, questions(network))
        for a in answers:
            assert a.sign * exact_pre_activation(network, x[a.row], a.layer, a.unit) > 0
        found = {(a.layer, a.unit, a.sign) for a in answers}
        for layer, values in network.pre_activations(x).items():
            for unit in range(values.shape[1]):
                assert ((layer, unit, 1) in found) == bool((values[:, unit] > 0).any())
                assert ((layer, unit, -1) in found) == bool((values[:, unit] < 0).any())
