"""Slopes at exactly zero: what a threshold drops, what comes back, and what training in two steps keeps at zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from milpcomp.errors import NetworkError, SettingsError
from milpcomp.rotated import (
    RotatedReLU,
    apply_threshold_,
    hold_at_zero_,
    slopes,
    small_slopes,
    thresholded,
    train_everything,
    train_slopes_only,
)


def model() -> nn.Sequential:
    """Return a network with slopes (0.1, -0.2, 0.5) and (-0.3, 0)."""
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(2, 3), RotatedReLU(3), nn.Linear(3, 2), RotatedReLU(2))
    built.get_parameter("1.slope").data.copy_(torch.tensor([0.1, -0.2, 0.5]))
    built.get_parameter("3.slope").data.copy_(torch.tensor([-0.3, 0.0]))
    return built


def masks(found: dict[str, Tensor]) -> dict[str, list[bool]]:
    """Return tensors as lists."""
    return {name: mask.tolist() for name, mask in found.items()}


def test_small_slopes_by_hand() -> None:
    """|slope| <= gamma, the value itself included; at gamma = 0 these are the exact zeros."""
    built = model()
    assert masks(small_slopes(built, 0.3)) == {"1": [True, True, False], "3": [False, True]}  # float32 0.3 > 0.3
    assert masks(small_slopes(built, abs(built.get_parameter("3.slope")[0].item()))) == {
        "1": [True, True, False],
        "3": [True, True],
    }
    assert masks(small_slopes(built, 0.0)) == {"1": [False, False, False], "3": [False, True]}


def test_the_threshold_is_applied_in_place() -> None:
    """The small slopes become exactly zero, the others keep their bits, and the masks say which; again: no change."""
    built = model()
    dropped = apply_threshold_(built, 0.25)
    assert masks(dropped) == {"1": [True, True, False], "3": [False, True]}
    assert slopes(built)["1"].tolist() == [0.0, 0.0, 0.5]
    before = slopes(built)["3"].tolist()
    assert masks(apply_threshold_(built, 0.25)) == masks(dropped)
    assert slopes(built)["3"].tolist() == before


def test_the_masked_model_is_temporary() -> None:
    """Inside the with-block the slopes are at zero, after it they are as before, also when the block raises."""
    built = model()
    before = {name: slope.tolist() for name, slope in slopes(built).items()}
    with thresholded(built, 0.25) as masked:
        assert masked is built
        assert slopes(built)["1"].tolist() == [0.0, 0.0, 0.5]
    assert {name: slope.tolist() for name, slope in slopes(built).items()} == before
    with pytest.raises(RuntimeError, match="inside"), thresholded(built, 0.25):
        raise RuntimeError("inside")
    assert {name: slope.tolist() for name, slope in slopes(built).items()} == before


def step(built: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Take one training step on a fixed batch."""
    optimizer.zero_grad()
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    (built(x) - 1).square().mean().backward()
    optimizer.step()


def test_training_in_two_steps() -> None:
    """First only slopes move; then everything does but the slopes that were dropped, which stay at exactly zero."""
    built = model()
    weights = built.get_parameter("0.weight").clone()
    train_slopes_only(built)
    optimizer = torch.optim.SGD(built.parameters(), lr=0.1, momentum=0.9)
    moved = built.get_parameter("1.slope").clone()
    step(built, optimizer)
    assert torch.equal(built.get_parameter("0.weight"), weights)
    assert not torch.equal(built.get_parameter("1.slope"), moved)

    dropped = apply_threshold_(built, 0.25)
    train_everything(built)
    for _ in range(5):
        step(built, optimizer)  # with momentum of the first step, which would bring them back
        hold_at_zero_(built, dropped)
    assert not torch.equal(built.get_parameter("0.weight"), weights)
    for name, mask in dropped.items():
        assert (slopes(built)[name][mask] == 0).all()
        assert (slopes(built)[name][~mask] != 0).all()


def test_without_holding_dropped_slopes_come_back() -> None:
    """A slope at zero has a gradient: the next step moves it, which is what `hold_at_zero_` is for."""
    built = model()
    dropped = apply_threshold_(built, 0.25)
    step(built, torch.optim.SGD(built.parameters(), lr=0.1))
    assert any((slopes(built)[name][mask] != 0).any() for name, mask in dropped.items())


def test_frozen_and_free_parameters() -> None:
    """`train_slopes_only` leaves gradients to slopes alone, `train_everything` to all."""
    built = model()
    train_slopes_only(built)
    assert [name for name, p in built.named_parameters() if p.requires_grad] == ["1.slope", "3.slope"]
    train_everything(built)
    assert all(p.requires_grad for p in built.parameters())


def test_what_cannot_be_meant_is_refused() -> None:
    """Negative thresholds, masks of another model, and models without slopes are refused."""
    with pytest.raises(SettingsError, match="must not be negative"):
        apply_threshold_(model(), -0.1)
    with pytest.raises(SettingsError, match="must not be negative"):
        small_slopes(model(), float("nan"))
    with pytest.raises(SettingsError, match=r"no rotated activations \['7'\]"):
        hold_at_zero_(model(), {"7": torch.ones(2, dtype=torch.bool)})
    for refuse in (train_slopes_only, lambda plain: apply_threshold_(plain, 0.1)):
        with pytest.raises(NetworkError, match="no rotated activation"):
            refuse(nn.Linear(2, 2))
