"""Attacks and local Lipschitz constants: closed forms on linear models, balls and ranges, seeds, statistics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from milpcomp import load
from milpcomp.errors import DomainError, SettingsError
from milpcomp.network import INPUT, Network, Node, Scale
from milpcomp.robustness import (
    Attack,
    LipschitzSearch,
    Normalised,
    attack,
    evaluate,
    fgsm,
    local_lipschitz,
    normalised,
    pgd,
    preset,
)
from milpcomp.robustness.evaluate import mean, proportion

DOUBLE = torch.float64


def linear(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    """Return a linear classifier in float64, in eval mode."""
    layer = nn.Linear(len(weight[0]), len(weight)).to(DOUBLE).eval()
    layer.weight.data = torch.tensor(weight, dtype=DOUBLE)
    layer.bias.data = torch.tensor(bias, dtype=DOUBLE)
    return layer


def mlp(seed: int = 0, inputs: int = 4, classes: int = 3) -> nn.Module:
    """Return a small random rectifier classifier in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, classes)).to(DOUBLE).eval()


def test_fgsm_by_hand() -> None:
    """On a linear model the fast gradient sign step goes against the sign of the weight difference, clipped."""
    model = linear([[1.0, -2.0], [0.0, 0.0]], [0.0, 0.0])
    x = torch.tensor([[0.5, 0.05], [0.9, 0.1]], dtype=DOUBLE)
    found = attack(model, x, torch.tensor([0, 0]), fgsm(0.1))
    assert torch.allclose(found.inputs, torch.tensor([[0.4, 0.15], [0.8, 0.2]], dtype=DOUBLE))
    assert found.broken.tolist() == [False, False]  # 0.4 - 0.3 > 0
    assert attack(model, x, torch.tensor([0, 0]), fgsm(0.2)).broken.tolist() == [True, False]


@given(st.integers(0, 2**31), st.floats(0.01, 0.3))
@settings(max_examples=40, deadline=None)
def test_linear_optimum_linf(seed: int, epsilon: float) -> None:
    """In L-infinity, PGD reaches the margin ``m - epsilon |w|_1`` of a linear model exactly."""
    rng = np.random.default_rng(seed)
    w, x = rng.standard_normal(5), torch.from_numpy(rng.random((1, 5)))
    model = linear([w.tolist(), [0.0] * 5], [3.0, 0.0])
    found = attack(model, x, torch.tensor([0]), pgd(epsilon, loss="margin", clip=None))
    reached = model(found.inputs)[0, 0].item()
    clean, least = model(x)[0, 0].item(), model(x)[0, 0].item() - epsilon * np.abs(w).sum()
    if clean > 0:
        assert (reached < 0) == (least < 0)
        assert reached == pytest.approx(least, abs=1e-9) or (least < 0 and reached < 0)


def test_linear_optimum_l2() -> None:
    """In L2, PGD moves a linear model's point by epsilon along its weight."""
    w = np.array([3.0, -4.0])
    model, x = linear([w.tolist(), [0.0, 0.0]], [20.0, 0.0]), torch.tensor([[0.5, 0.5]], dtype=DOUBLE)
    found = attack(model, x, torch.tensor([0]), pgd(0.25, norm="l2", loss="margin", random_start=False))
    assert torch.allclose(found.inputs, x - 0.25 * torch.tensor(w / 5.0), atol=1e-9)


def test_targeted_attacks_win_when_the_model_obeys() -> None:
    """A targeted attack descends the loss of the wanted class, and is said to win only if that class comes out."""
    model = linear([[1.0, 0.0], [0.0, 1.0], [-9.0, -9.0]], [0.0, 0.0, 0.0])
    x = torch.tensor([[0.6, 0.5], [0.6, 0.5]], dtype=DOUBLE)
    found = attack(model, x, torch.tensor([1, 2]), pgd(0.1, targeted=True))
    assert found.broken.tolist() == [True, False]
    assert model(found.inputs).argmax(1).tolist() == [1, 0]


@given(st.integers(0, 1000), st.sampled_from(["linf", "l2"]), st.floats(0.0, 0.5), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_inputs_stay_in_ball_and_range(seed: int, norm: str, epsilon: float, restarts: int) -> None:
    """What an attack returns lies in the ball and in the valid range, and is broken exactly where it says so."""
    model = mlp(seed)
    x = torch.rand(6, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    y = model(x).argmax(1)
    found = attack(model, x, y, Attack("a", epsilon, norm, 5, 0.2, restarts=restarts))  # type: ignore[arg-type]
    offset = found.inputs - x
    size = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert (size <= epsilon + 1e-15).all()
    assert found.inputs.min() >= 0
    assert found.inputs.max() <= 1
    assert ((model(found.inputs).argmax(1) != y) == found.broken).all()


@given(st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_searching_longer_never_helps_the_model(seed: int) -> None:
    """With more restarts, the samples broken before stay broken (the first runs are the same)."""
    model = mlp(seed)
    x = torch.rand(20, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    y = model(x).argmax(1)
    few, many = (attack(model, x, y, pgd(0.1, steps=3, restarts=runs)).broken for runs in (1, 4))
    assert (few <= many).all()
    short, long = (attack(model, x, y, pgd(0.1, steps=n, step_size=0.05)).broken for n in (2, 12))
    assert (short <= long).all()


def test_seeds_repeat() -> None:
    """The same seed gives the same inputs, another one others."""
    model, x = mlp(), torch.full((3, 4), 0.5, dtype=DOUBLE)
    y = model(x).argmax(1)
    a, b, c = (attack(model, x, y, pgd(0.01, steps=1, step_size=1e-6, seed=seed)).inputs for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_epsilon_zero_changes_nothing() -> None:
    """In a ball of radius 0 only what is misclassified anyway counts as broken."""
    model, x = mlp(), torch.rand(10, 4, dtype=DOUBLE)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    found = attack(model, x, y, pgd(0.0))
    assert torch.equal(found.inputs, x)
    assert found.broken.tolist() == [True] + [False] * 9


def test_misclassified_inputs_stay_broken() -> None:
    """An input that is misclassified without any attack is broken by every attack, also by one that starts elsewhere.

    Class 0 wins in all of the ball but at its center, a narrow peak of class 1.
    """
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).to(DOUBLE).eval()
    model[0].weight.data = torch.tensor([[1.0], [-1.0]], dtype=DOUBLE)
    model[0].bias.data = torch.tensor([-0.5, 0.5], dtype=DOUBLE)
    model[2].weight.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=DOUBLE)
    model[2].bias.data = torch.tensor([-1e-9, 0.0], dtype=DOUBLE)
    x = torch.tensor([[0.5]], dtype=DOUBLE)
    found = attack(model, x, torch.tensor([0]), pgd(0.1, steps=1, step_size=1e-3))
    assert found.broken.tolist() == [True]
    assert torch.equal(found.inputs, x)


def test_a_model_of_nan_is_broken() -> None:
    """A model that returns NaN has not classified anything."""

    class Nan(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :2] * torch.nan

    found = attack(Nan().eval(), torch.ones(2, 3), torch.tensor([0, 1]), fgsm(0.1))
    assert found.broken.all()


def test_kl_by_hand() -> None:
    """For two logits that differ by x, the best ratio is the KL divergence at an end of the ball over epsilon."""
    model = linear([[1.0], [0.0]], [0.0, 0.0])
    x = torch.tensor([[0.5]], dtype=DOUBLE)
    found = local_lipschitz(model, x, LipschitzSearch(0.25, restarts=4)).item()
    ratios = []
    for step in (-0.25, 0.25):
        p, q = (1 / (1 + math.exp(-v)) for v in (0.5, 0.5 + step))
        ratios.append((p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / 0.25)
    assert found == pytest.approx(max(ratios), rel=1e-9)


@pytest.mark.parametrize(("measure", "value"), [("l1", 7.0), ("l2", 5.0), ("linf", 4.0)])
def test_norms_of_a_linear_model(measure: str, value: float) -> None:
    """For one input, the constant of a linear model is the norm of its weight, at any distance."""
    model = linear([[3.0], [-4.0]], [0.0, 1.0])
    search = LipschitzSearch(0.1, measure=measure)  # type: ignore[arg-type]
    assert local_lipschitz(model, torch.tensor([[0.5]], dtype=DOUBLE), search).item() == pytest.approx(value)


def test_normalisation_is_part_of_the_model() -> None:
    """`Normalised` shifts and scales per channel before the model, so the radius stays in raw units."""
    inner = nn.Flatten()
    model = Normalised(inner, [0.5, 0.0], [0.5, 2.0]).eval()
    x = torch.tensor([[[[1.0]], [[1.0]]]])
    assert model(x).tolist() == [[1.0, 0.5]]
    with pytest.raises(SettingsError, match="std"):
        Normalised(inner, [0.5], [0.0])


def test_normalisation_of_a_network() -> None:
    """As the first layer of a network, normalisation is the same function, and the name of the layer is free."""
    inner = Network((2, 1, 1), [Node("normalised", Scale(3.0, 1.0), (INPUT,))])
    network = normalised(inner, [0.5, 0.0], [0.5, 2.0])
    x = np.array([[[[1.0]], [[1.0]]]])
    assert network.forward(x).ravel().tolist() == [3 * 1.0 + 1, 3 * 0.5 + 1]
    assert [node.name for node in network.nodes] == ["normalised_", "normalised"]
    assert normalised(inner, [1.0], [1.0]).forward(x).ravel().tolist() == [1.0, 1.0]
    for mean_, std in (([0.5], [0.0]), ([0.1] * 3, [1.0] * 3), ([math.nan], [1.0])):
        with pytest.raises(SettingsError, match="std"):
            normalised(inner, mean_, std)


def test_evaluate_counts_and_settings() -> None:
    """Accuracies are shares of samples, every setting is in the result, and the training mode comes back."""
    model = linear([[1.0], [0.0]], [-0.5, 0.0]).float().train()
    x, y = np.array([[0.9], [0.6], [0.52], [0.1]]), np.array([0, 0, 0, 0])
    seen = []
    found = evaluate(
        model, x, y, [fgsm(0.05), pgd(0.2)], LipschitzSearch(0.05), batch_size=3, progress=lambda *a: seen.append(a)
    )
    assert found.correct.tolist() == [True, True, True, False]
    assert found.clean.value == 0.75
    assert found.held["FGSM"].tolist() == [True, True, False, False]
    assert found.held["PGD"].tolist() == [True, False, False, False]
    assert found.attacked["PGD"].value == 0.25
    assert found.lipschitz is not None
    assert found.lipschitz.low < found.lipschitz.value < found.lipschitz.high
    assert seen == [(3, 4), (4, 4)]
    assert found.settings["attacks"][1]["epsilon"] == 0.2
    assert found.settings["labels"] == "true"
    assert model.training


def test_preset_of_the_seeds() -> None:
    """The published settings: own predictions as labels, no clipping, 60 steps; so clean accuracy plays no part."""
    chosen = preset("rrelu-2024")
    assert [a.name for a in chosen.attacks] == ["FGSM", "PGD"]
    assert (chosen.attacks[1].steps, chosen.attacks[1].step_size, chosen.attacks[1].clip) == (60, 0.031 / 5, None)
    assert chosen.lipschitz is not None
    assert (chosen.lipschitz.steps, chosen.lipschitz.step) == (60, 0.001)
    model = linear([[1.0], [0.0]], [0.0, 0.0]).float()
    found = evaluate(model, [[5.0], [-5.0]], [1, 1], chosen)
    assert found.clean.value == 0.5
    assert found.attacked["PGD"].value == 1.0
    with pytest.raises(SettingsError, match="has epsilon"):
        preset("rrelu-2024", 0.1)
    with pytest.raises(SettingsError, match="unknown preset"):
        preset("other")


def test_intervals() -> None:
    """Wilson's interval of 5 in 10 and the normal interval of a mean have their textbook values."""
    half = proportion(np.array([True] * 5 + [False] * 5))
    assert (half.value, round(half.low, 4), round(half.high, 4)) == (0.5, 0.2366, 0.7634)
    none = proportion(np.zeros(10, dtype=bool))
    assert (none.low, round(none.high, 4)) == (0.0, 0.2775)
    for n in (1, 50, 1000):
        assert proportion(np.zeros(n, dtype=bool)).low == 0.0
        assert proportion(np.ones(n, dtype=bool)).high == 1.0
    values = mean(np.array([1.0, 2.0, 3.0]))
    assert (values.value, round(values.high, 4)) == (2.0, 3.1316)
    assert mean(np.array([1.0])).high == math.inf


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"epsilon": -1.0}, "epsilon"),
        ({"epsilon": math.nan}, "epsilon"),
        ({"epsilon": 0.1, "norm": "l7"}, "norm"),
        ({"epsilon": 0.1, "steps": 0}, "at least one"),
        ({"epsilon": 0.1, "clip": (1.0, 0.0)}, "empty"),
    ],
)
def test_unusable_attacks_are_refused(kwargs: dict[str, object], words: str) -> None:
    """Settings out of range are one clear error, before any work."""
    with pytest.raises(SettingsError, match=words):
        Attack("a", **kwargs)  # type: ignore[arg-type]


def test_unusable_data_are_refused() -> None:
    """Inputs out of range, NaN, labels that fit nothing, models in training mode: refused."""
    model, x, y = mlp(), torch.rand(2, 4, dtype=DOUBLE), torch.tensor([0, 1])
    with pytest.raises(SettingsError, match="normalisation"):
        attack(model, x + 1, y, fgsm(0.1))
    with pytest.raises(SettingsError, match="finite"):
        attack(model, x * torch.nan, y, fgsm(0.1))
    with pytest.raises(SettingsError, match="labels"):
        attack(model, x, torch.tensor([0]), fgsm(0.1))
    with pytest.raises(SettingsError, match="training mode"):
        attack(mlp().train(), x, y, fgsm(0.1))
    with pytest.raises(SettingsError, match="training mode"):
        local_lipschitz(mlp().train(), x, LipschitzSearch(0.1))
    with pytest.raises(SettingsError, match="epsilon"):
        LipschitzSearch(0.0)
    with pytest.raises(DomainError, match="labels"):
        evaluate(mlp().float(), x.numpy(), [0])
    with pytest.raises(DomainError, match="classes"):
        evaluate(mlp().float(), x.numpy(), [0, 9])
    with pytest.raises(SettingsError, match="names"):
        evaluate(mlp().float(), x.numpy(), [0, 1], [fgsm(0.1), fgsm(0.2)])


def test_half_precision_stays_in_the_ball() -> None:
    """In float16 a gradient of zero moves nothing, and nothing becomes NaN."""

    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :2] * 0 + torch.tensor([1.0, 0.0], dtype=x.dtype)

    x = torch.rand(3, 4).half()
    found = attack(Constant().eval(), x, torch.zeros(3, dtype=torch.long), pgd(0.1, 3, norm="l2", random_start=False))
    assert torch.equal(found.inputs, x)
    assert not found.broken.any()


def test_labels_and_ranges_that_fit_nothing_are_refused() -> None:
    """Labels beyond the classes, inputs outside the range of a Lipschitz search, a reversed range: refused."""
    model, x = mlp(), torch.rand(2, 4, dtype=DOUBLE)
    for labels in ([0, 3], [-100, 0]):
        with pytest.raises(SettingsError, match="classes"):
            attack(model, x, torch.tensor(labels), pgd(0.1, targeted=True))
    with pytest.raises(SettingsError, match="valid range"):
        local_lipschitz(model, x - 2, LipschitzSearch(0.1))
    with pytest.raises(SettingsError, match="valid range"):
        LipschitzSearch(0.1, clip=(1.0, 0.0))
    with pytest.raises(SettingsError, match="at least one step"):
        pgd(0.1, steps=0)


def test_real_network(shared_data: Path) -> None:
    """On MNIST, the published 100-100 network loses accuracy to FGSM, and no less to PGD."""
    from models.data import load_images

    network = load(shared_data / "nets/serra2021/mnist_100-100_l1_0.tar")
    images, labels = load_images(shared_data / "mnist", "t10k")
    found = evaluate(network, images[:200].reshape(200, 784), labels[:200], [fgsm(0.05), pgd(0.05, 20)])
    assert found.clean.value > 0.95
    assert found.attacked["PGD"].value <= found.attacked["FGSM"].value < found.clean.value
