"""Proved upper bounds of local Lipschitz constants: closed forms, and never below what sampling or ascent finds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp import Box, load
from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network.affine import Dense
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Add, Concat, Rectifier
from milpcomp.robustness import LipschitzSearch, local_lipschitz, local_lipschitz_bound
from milpcomp.robustness.lipschitz_bound import gradient_norms


def residual(seed: int) -> Network:
    """Return a random network of 3 inputs and 4 logits with an addition, a concatenation and slopes of any sign."""
    rng = np.random.default_rng(seed)

    def dense(outputs: int, inputs: int) -> Dense:
        return Dense(rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs))

    nodes = [
        Node("a", dense(5, 3), (INPUT,)),
        Node("r", Rectifier(rng.standard_normal(5), rng.standard_normal(5)), ("a",)),
        Node("b", dense(5, 5), ("r",)),
        Node("s", Rectifier(), ("b",)),
        Node("add", Add(), ("s", "a")),
        Node("both", Concat(0), ("add", INPUT)),
        Node("out", dense(4, 8), ("both",)),
    ]
    return Network((3,), nodes)


def ratios(network: Network, box: Box, measure: str, seed: int) -> np.ndarray:
    """Return D(f(x), f(x')) / |x - x'|_inf for random pairs of a box."""
    rng = np.random.default_rng(seed)
    x, y = (box.lower + rng.random((2_000, 3)) * (box.upper - box.lower) for _ in range(2))
    y[:1000] = box.clip(x[:1000] + 1e-4 * rng.standard_normal((1000, 3)))
    z, t = network.forward(x), network.forward(y)
    reach = np.abs(x - y).max(axis=1)
    if measure != "kl":
        return np.linalg.norm(z - t, {"l1": 1, "l2": 2, "linf": np.inf}[measure], axis=1) / reach
    logp, logq = (v - np.log(np.exp(v - v.max(1, keepdims=True)).sum(1, keepdims=True)) for v in (z, t))
    logp, logq = logp - z.max(1, keepdims=True), logq - t.max(1, keepdims=True)
    return (np.exp(logp) * (logp - logq)).sum(axis=1) / reach


@given(st.integers(0, 10_000), st.sampled_from(["kl", "l1", "l2", "linf"]), st.floats(0.01, 2.0))
@settings(max_examples=40, deadline=None)
def test_never_below_what_samples_show(seed: int, measure: str, radius: float) -> None:
    """No pair of inputs of the box has a larger ratio than the bound."""
    network = residual(seed)
    box = Box.around(np.random.default_rng(seed + 1).standard_normal(3), radius)
    reach = float((box.upper - box.lower).max())
    bound = local_lipschitz_bound(network, box, reach, measure)  # type: ignore[arg-type]
    assert ratios(network, box, measure, seed).max() <= bound * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize(("measure", "value"), [("l1", 7.0), ("l2", 5.0), ("linf", 4.0)])
def test_linear_models_are_exact(measure: str, value: float) -> None:
    """For one input the bound of a linear model is the norm of its weight."""
    network = Network((1,), [Node("out", Dense([[3.0], [-4.0]], [0.0, 1.0]), (INPUT,))])
    found = local_lipschitz_bound(network, Box(0.0, 1.0).fit((1,)), 1.0, measure)  # type: ignore[arg-type]
    assert value <= found <= value * (1 + 1e-5)


def test_kl_by_hand() -> None:
    """Logits (3 x, -4 x): Lambda = 7, so the bound is min(7, 49 epsilon / 8)."""
    network = Network((1,), [Node("out", Dense([[3.0], [-4.0]], [0.0, 1.0]), (INPUT,))])
    box = Box(0.0, 1.0).fit((1,))
    assert local_lipschitz_bound(network, box, 0.1) == pytest.approx(4.9 / 8, rel=1e-5)
    assert local_lipschitz_bound(network, box, 10.0) == pytest.approx(7.0, rel=1e-5)


def test_stable_neurons_have_one_slope() -> None:
    """Where bounds show a neuron to be inactive, its gradient is zero; an unstable one has any slope."""
    nodes = [
        Node("a", Dense([[1.0], [1.0]], [-5.0, 0.0]), (INPUT,)),
        Node("r", Rectifier(), ("a",)),
        Node("out", Dense([[2.0, 0.0], [0.0, 3.0]], [0.0, 0.0]), ("r",)),
    ]
    norms = gradient_norms(Network((1,), nodes), Box(-1.0, 1.0).fit((1,)), np.eye(2))
    assert norms[0] < 1e-200
    assert 3.0 <= norms[1] < 3.0 * (1 + 1e-5)


def test_one_class_has_no_kl() -> None:
    """With a single logit all softmax outputs are 1 and the divergence is 0."""
    network = Network((1,), [Node("out", Dense([[3.0]], [0.0]), (INPUT,))])
    assert local_lipschitz_bound(network, Box(0.0, 1.0).fit((1,)), 0.1) == 0.0


def test_unusable_arguments_are_refused() -> None:
    """Unknown measures, radii that are none, outputs that are no vector: refused."""
    network, box = residual(0), Box(0.0, 1.0).fit((3,))
    with pytest.raises(SettingsError, match="measure"):
        local_lipschitz_bound(network, box, 0.1, "l7")  # type: ignore[arg-type]
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(SettingsError, match="epsilon"):
            local_lipschitz_bound(network, box, epsilon)
    images = Network((1, 2, 2), [Node("r", Rectifier(), (INPUT,))])
    with pytest.raises(NetworkError, match="vector"):
        local_lipschitz_bound(images, Box(0.0, 1.0).fit((1, 2, 2)), 0.1)


def test_sandwich_on_a_real_network(shared_data: Path) -> None:
    """On MNIST images, ascent stays below the proved bound of the published network."""
    from models.data import load_images

    network = load(shared_data / "nets/serra2021/mnist_100-100_l1_0.tar")
    images = load_images(shared_data / "mnist", "t10k")[0][:3].astype(np.float64).reshape(3, 784)
    search = LipschitzSearch(0.01, restarts=2)
    below = local_lipschitz(network.to_torch(torch.float64).eval(), torch.from_numpy(images), search)
    for image, found in zip(images, below.tolist(), strict=True):
        bound = local_lipschitz_bound(network, Box.around(image, 0.01), 0.01)
        assert 0 < found <= bound < math.inf
