"""Penalties on slopes: the l1 norm and its gradient by hand, and the step that gives the exact zeros l1 does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from milpcomp.errors import SettingsError
from milpcomp.rotated import RotatedReLU, batch_norm_gammas, l1_penalty, proximal_l1_, slopes


def test_l1_by_hand() -> None:
    """|2| + |-3| + |0| + |0.5| = 5.5, and the gradient is the sign."""
    first, second = nn.Parameter(torch.tensor([2.0, -3.0])), nn.Parameter(torch.tensor([0.0, 0.5]))
    penalty = l1_penalty([first, second])
    penalty.backward()
    assert penalty.item() == 5.5
    assert first.grad is not None
    assert first.grad.tolist() == [1.0, -1.0]
    assert second.grad is not None
    assert second.grad.tolist() == [0.0, 1.0]


def test_both_kinds_of_parameters_are_penalised_by_name() -> None:
    """What `slopes` and `batch_norm_gammas` return can be given as it is."""
    model = nn.Sequential(nn.BatchNorm1d(3), RotatedReLU(3))
    assert l1_penalty(slopes(model)).item() == 3.0
    proximal_l1_(batch_norm_gammas(model), 2.0)
    assert model.get_parameter("0.weight").tolist() == [0.0, 0.0, 0.0]
    assert model.get_parameter("1.slope").tolist() == [1.0, 1.0, 1.0]


def test_proximal_by_hand() -> None:
    """An amount of 1/4 turns (1, -1, 1/4, -1/8, 0) into (3/4, -3/4, 0, 0, 0): zeros are exact."""
    parameter = nn.Parameter(torch.tensor([1.0, -1.0, 0.25, -0.125, 0.0]))
    proximal_l1_([parameter], 0.25)
    assert parameter.tolist() == [0.75, -0.75, 0.0, 0.0, 0.0]
    assert parameter.requires_grad


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), st.floats(0, 4, width=32))
def test_proximal_minimises_its_objective(values: list[float], amount: float) -> None:
    """No number on a fine grid has a smaller amount * |q| + (q - p)^2 / 2 than the result."""
    parameter = torch.tensor(values, dtype=torch.float64)
    proximal_l1_([parameter], amount)
    grid = np.linspace(-10, 10, 801)
    for before, after in zip(values, parameter.tolist(), strict=True):
        assert (amount * np.abs(grid) + (grid - before) ** 2 / 2).min() >= (
            amount * abs(after) + (after - before) ** 2 / 2 - 1e-9
        )
        assert (after == 0) == (abs(before) <= amount)


def train(proximal: bool) -> RotatedReLU:
    """Fit y = relu(x1) with two slopes, the second of which is not needed, under an l1 penalty of weight 0.05."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 2, generator=generator)
    model = RotatedReLU(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (model(x).sum(1) - x[:, 0].relu()).square().mean()
        (loss if proximal else loss + 0.05 * l1_penalty(slopes(model))).backward()
        optimizer.step()
        if proximal:
            proximal_l1_(slopes(model), 0.1 * 0.05)
    return model


def test_exact_zeros_come_from_the_proximal_step() -> None:
    """The slope that is not needed ends at exactly zero by the proximal step, and only close to it by subgradients."""
    kept, dropped = train(proximal=True).slope.tolist()
    assert dropped == 0
    assert kept > 0.8
    subgradient = train(proximal=False).slope[1].item()
    assert subgradient != 0
    assert abs(subgradient) < 0.05


@pytest.mark.parametrize("amount", [-1e-3, float("nan"), float("inf")])
def test_amounts_are_checked(amount: float) -> None:
    """A negative or infinite amount is refused before anything changes."""
    parameter = torch.ones(2)
    with pytest.raises(SettingsError, match="must be a finite number"):
        proximal_l1_([parameter], amount)
    assert parameter.tolist() == [1.0, 1.0]


def test_a_penalty_on_nothing_is_refused() -> None:
    """A model without slopes has no penalty, which would otherwise go unnoticed."""
    plain = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(SettingsError, match="no parameters to penalise"):
        l1_penalty(slopes(plain))
    with pytest.raises(SettingsError, match="no parameters to penalise"):
        proximal_l1_(batch_norm_gammas(plain), 0.1)
