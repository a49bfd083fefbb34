"""Thresholds for slopes: selected by hand on a model whose accuracy rises and falls, and on the published network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from milpcomp.errors import NetworkError, SettingsError
from milpcomp.rotated import RotatedReLU, random_half, select_threshold, slopes, small_slopes, thresholded
from models.resnet import MEAN, STD, rotated_resnet20

STEPS = (0.125, -0.25, 0.5, 4.0)


def seesaw() -> nn.Sequential:
    r"""Four channels with slopes (1/8, -1/4, 1/2, 4), and the margin of class 1 over class 0.

    margin = 16 h1 + 8 h2 + 2 h3 + h4 - 1/2     h = slopes * relu(x)
    """
    model = nn.Sequential(RotatedReLU(4), nn.Linear(4, 2))
    model.get_parameter("0.slope").data.copy_(torch.tensor(STEPS))
    model.get_parameter("1.weight").data.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [16.0, 8.0, 2.0, 1.0]]))
    model.get_parameter("1.bias").data.copy_(torch.tensor([0.5, 0.0]))
    return model


# Margins of each sample with no slope dropped, with |b| <= 1/8 dropped, <= 1/4, <= 1/2, <= 4:
LEFT = torch.tensor(
    [
        [1.0, 0.5, 0.0, 0.25],  # 1.5, -0.5, 0.5, 0.5, -0.5: lost at 1/8, won back at 1/4
        [0.0, 0.0, 1.0, 0.0],  # 0.5, 0.5, 0.5, -0.5, -0.5: lost at 1/2
        [0.0, 0.0, 0.0, 1.0],  # 3.5, ..., -0.5: lost at 4
        [0.0, 0.0, 0.0, 0.0],  # -0.5 throughout, and its class is 0
    ]
)
LEFT_CLASSES = torch.tensor([1, 1, 1, 0])
RIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])  # the first needs channel 1, which goes at 1/8
RIGHT_CLASSES = torch.tensor([1, 1])
INPUTS, CLASSES = torch.cat([LEFT, RIGHT]), torch.cat([LEFT_CLASSES, RIGHT_CLASSES])
FIRST = [0, 1, 2, 3]


def test_the_largest_threshold_without_loss() -> None:
    """1/4 loses nothing on the first half, though 1/8 does; the second half pays for it, and the model is as before."""
    model = seesaw().train()
    before = copy.deepcopy(model.state_dict())
    found = select_threshold(model, INPUTS, CLASSES, first_half=FIRST)
    assert found.gamma == 0.25
    assert (found.selection_before, found.selection_after) == (1.0, 1.0)
    assert (found.accuracy_before, found.accuracy_after) == (1.0, 0.5)
    assert (found.ignored, found.total) == (2, 4)
    assert found.ignored_per_activation == (("0", 2),)
    assert (found.tried, found.candidates) == (4, 5)  # 0, and from the top 4, 1/2, 1/4
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training


def test_every_threshold_by_hand() -> None:
    """Right answers on the first half at each threshold are 4, 3, 4, 3, 1, as the margins above say."""
    model = seesaw()
    right = []
    for gamma in (0.0, 0.125, 0.25, 0.5, 4.0):
        with thresholded(model, gamma):
            right.append(int((model(LEFT).argmax(1) == LEFT_CLASSES).sum()))
    assert right == [4, 3, 4, 3, 1]


def test_a_mask_and_indices_are_the_same_half() -> None:
    """The first half may be a mask or indices, data may be arrays, and batches of any size give the same answer."""
    mask = np.array([True] * 4 + [False] * 2)
    expected = select_threshold(seesaw(), INPUTS, CLASSES, first_half=FIRST)
    for batch_size in (1, 3, 100):
        assert (
            select_threshold(seesaw(), INPUTS.double().numpy(), CLASSES.numpy(), first_half=mask, batch_size=batch_size)
            == expected
        )


def test_candidates_can_be_given() -> None:
    """Of the thresholds 0.3 and 1/8 only 0.3 loses nothing; of 1/8 alone none does, and 0 is left."""
    assert select_threshold(seesaw(), INPUTS, CLASSES, FIRST, candidates=[0.3, 0.125]).gamma == 0.3
    nothing = select_threshold(seesaw(), INPUTS, CLASSES, FIRST, candidates=[0.125])
    assert (nothing.gamma, nothing.ignored) == (0.0, 0)
    assert nothing.accuracy_after == nothing.accuracy_before


class Counted(nn.Module):
    """A model that counts the samples it has seen, in all its copies."""

    seen: list[int]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        type(self).seen.append(len(x))
        result: Tensor = self.model(x)
        return result


def wide(count: int) -> nn.Module:
    """Return a classifier with `count` slopes 1, 2, ..., of which the upper half is needed, one by each sample."""
    model = nn.Sequential(RotatedReLU(count), nn.Linear(count, 2))
    model.get_parameter("0.slope").data.copy_(torch.arange(1.0, count + 1))
    model.get_parameter("1.weight").data.copy_(torch.stack([torch.zeros(count), torch.ones(count)]))
    model.get_parameter("1.bias").data.copy_(torch.tensor([0.5, 0.0]))
    return Counted(model)


@pytest.mark.parametrize("max_steps", [1, 2, 7, 64, 1000])
def test_the_number_of_steps_is_bounded(max_steps: int) -> None:
    """Whatever the bound, a monotone accuracy leads to the same threshold, within max_steps + log2 + 2 tries."""
    count = 200
    Counted.seen = []
    inputs = torch.eye(count)[count // 2 :].repeat(2, 1)
    found = select_threshold(
        wide(count), inputs, torch.ones(count, dtype=torch.long), np.arange(count // 2), max_steps=max_steps
    )
    assert found.gamma == count // 2
    assert found.accuracy_after == 1.0
    assert found.candidates == count + 1
    assert found.tried <= max_steps + 10


def test_a_lost_candidate_ends_early() -> None:
    """With batches of one, a candidate is given up at its first wrong answer: few samples are seen in all."""
    count = 40
    Counted.seen = []
    inputs = torch.eye(count)[count // 2 :].flip(0).repeat(2, 1)
    found = select_threshold(
        wide(count), inputs, torch.ones(count, dtype=torch.long), np.arange(count // 2), batch_size=1, max_steps=1000
    )
    assert found.gamma == count // 2
    assert found.tried == count // 2 + 2
    lost = sum(range(1, count // 2 + 1))  # the threshold count - k loses the (k + 1)-th sample
    assert len(Counted.seen) <= 2 * 20 + 2 * 20 + lost


def test_exact_zeros_are_ignored_at_zero() -> None:
    """A slope of zero counts as ignored, even where no other may go."""
    model = seesaw()
    model.get_parameter("0.slope").data[2] = 0.0
    found = select_threshold(model, INPUTS, CLASSES, FIRST, candidates=[])
    assert (found.gamma, found.ignored, found.tried) == (0.0, 1, 1)


def test_the_random_half_is_set_by_its_seed() -> None:
    """Half of the samples, rounded down, the same for the same seed, another for another."""
    assert random_half(7).sum() == 3
    assert np.array_equal(random_half(1000), random_half(1000, seed=0))
    assert not np.array_equal(random_half(1000), random_half(1000, seed=1))
    assert 150 < random_half(1000)[:400].sum() < 250
    halves = select_threshold(seesaw(), LEFT.repeat(50, 1), LEFT_CLASSES.repeat(50))
    assert halves.gamma == 0.25
    assert halves.accuracy_after == 1.0


class Pair(nn.Module):
    """Returns something that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.rotated = RotatedReLU(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.rotated(x), x


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({"labels": CLASSES[:5]}, r"inputs of shape \(6, 4\) and labels of shape \(5,\)"),
    "one-hot labels": ({"labels": torch.eye(6)}, "whole numbers as labels"),
    "indices": ({"first_half": [7]}, "mask of shape"),
    "mask": ({"first_half": [True, False]}, "mask of shape"),
    "nothing": ({"first_half": np.zeros(6, dtype=bool)}, "holds 0 of 6"),
    "everything": ({"first_half": list(range(6))}, "holds 6 of 6"),
    "candidates": ({"candidates": [-1.0]}, "must not be negative"),
    "infinite": ({"candidates": [float("inf")]}, "finite"),
    "batches": ({"batch_size": 0}, "batch_size=0"),
    "steps": ({"max_steps": 0}, "max_steps=0"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    """Data, halves and candidates that do not fit are refused with what was found."""
    with pytest.raises(SettingsError, match=message):
        select_threshold(seesaw(), **{"inputs": INPUTS, "labels": CLASSES, "first_half": FIRST, **options})


def test_wrong_models_are_refused() -> None:
    """Models without slopes, without logits, or with slopes that are not finite have no threshold."""
    with pytest.raises(NetworkError, match="no rotated activation"):
        select_threshold(nn.Linear(4, 2), INPUTS, CLASSES, FIRST)
    with pytest.raises(NetworkError, match="does not return logits"):
        select_threshold(Pair(), INPUTS, CLASSES, FIRST)
    broken = seesaw()
    broken.get_parameter("0.slope").data[0] = float("nan")
    with pytest.raises(SettingsError, match="finite"):
        select_threshold(broken, INPUTS, CLASSES, FIRST)


@pytest.fixture(scope="module")
def published(shared_file: Callable[[str], Path]) -> nn.Module:
    """Return the authors' rotated ResNet-20."""
    path = shared_file("nets/rrelu2024/resnet20_rrelu_cifar10.th")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    model = rotated_resnet20()
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return model.eval()


def test_slopes_of_the_published_network(published: nn.Module) -> None:
    """672 slopes from -2.292 to 2.033, 333 negative, none zero; so many are small, and those are left alive at 0.1."""
    found = torch.cat(list(slopes(published).values()))
    assert (len(found), int((found < 0).sum()), int((found == 0).sum())) == (672, 333, 0)
    assert (round(found.min().item(), 3), round(found.max().item(), 3)) == (-2.292, 2.033)
    counts = [sum(int(mask.sum()) for mask in small_slopes(published, g).values()) for g in (1e-3, 0.01, 0.1, 0.2)]
    assert counts == [14, 20, 26, 28]
    alive = [int((~mask).sum()) for mask in small_slopes(published, 0.1).values()]
    assert alive == [16] * 5 + [15, 32, 31, 32, 32, 32, 32, 64, 64, 64, 64, 64, 40]


def test_threshold_of_the_published_network(published: nn.Module, shared_file: Callable[[str], Path]) -> None:
    """Of 0.1 and 0.3, which ruins the network, 0.1 is selected, and it changes no prediction."""
    with np.load(shared_file("cifar10/test.npz")) as archive:
        pixels, labels = archive["x"][:200], archive["y"][:200].astype(np.int64)
    images = ((pixels / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    found = select_threshold(published, images, labels, candidates=[0.1, 0.3], batch_size=100)
    assert (found.gamma, found.ignored, found.total) == (0.1, 26, 672)
    assert found.accuracy_after == found.accuracy_before > 0.85
    assert found.selection_after == found.selection_before > 0.85
