"""The rotated activations: values and gradients by hand, shapes, what loads into them, and how they are read back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import milpcomp as mc
from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network import Rectifier, Scale
from milpcomp.rotated import RotatedGELU, RotatedReLU, batch_norm_gammas, slopes


def rotated(*slope: float, a: Any = 1.0, axis: int | None = None) -> RotatedReLU:
    """Return a rotated ReLU with these slopes."""
    module = RotatedReLU(len(slope), a, axis)
    module.slope.data.copy_(torch.tensor(slope))
    return module


def test_values_by_hand() -> None:
    """Slopes 2 and -3 turn (4, 5) into (8, -15) and negative inputs into zero."""
    found = rotated(2.0, -3.0)(torch.tensor([[4.0, 5.0], [-4.0, -5.0], [0.0, 1.0]]))
    assert found.tolist() == [[8.0, -15.0], [0.0, 0.0], [0.0, -3.0]]


def test_a_mirrors_the_input() -> None:
    """With a = -1 the negative half passes: 2 * max(0, 4) for the input -4; a may differ from channel to channel."""
    x = torch.tensor([[-4.0, -4.0], [4.0, 4.0]])
    assert rotated(2.0, 2.0, a=-1)(x).tolist() == [[8.0, 8.0], [0.0, 0.0]]
    assert rotated(2.0, 3.0, a=[1.0, -1.0])(x).tolist() == [[0.0, 12.0], [8.0, 0.0]]


def test_gradients_by_hand() -> None:
    """The slope's gradient is the sum of max(0, x) over its channel; the input's is the slope where x > 0."""
    module = rotated(2.0, -3.0)
    x = torch.tensor([[1.0, -1.0], [4.0, 2.0]], requires_grad=True)
    module(x).sum().backward()
    assert module.slope.grad is not None
    assert module.slope.grad.tolist() == [5.0, 2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [[2.0, 0.0], [2.0, -3.0]]


def test_gelu_is_the_slope_times_x_times_the_normal_distribution() -> None:
    """At x = 1 and slope -2 the value is -2 * (1 + erf(1 / sqrt(2))) / 2, and the gradient of the slope is Phi(1)."""
    module = RotatedGELU(1).double()
    module.slope.data.fill_(-2.0)
    value = module(torch.tensor([[1.0]], dtype=torch.float64))
    value.backward()
    phi = (1 + math.erf(1 / math.sqrt(2))) / 2
    assert value.item() == pytest.approx(-2 * phi, abs=1e-15)
    assert module.slope.grad is not None
    assert module.slope.grad.item() == pytest.approx(phi, abs=1e-15)


@pytest.mark.parametrize("make", [RotatedReLU, RotatedGELU])
@pytest.mark.parametrize(("shape", "axis"), [((4, 3), 1), ((4, 3, 5, 6), 1), ((4, 5, 3), 2), ((4, 3, 2, 2, 2), 1)])
def test_channels_are_where_frameworks_have_them(make: Any, shape: tuple[int, ...], axis: int) -> None:
    """Each slice along the channel axis is scaled by its slope: axis 1 of images, the last one of tokens."""
    module = make(3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    plain = module(x)
    module.slope.data.copy_(torch.tensor([2.0, -1.0, 0.0]))
    for channel, slope in enumerate((2.0, -1.0, 0.0)):
        assert torch.equal(module(x).select(axis, channel), slope * plain.select(axis, channel))


def test_the_axis_can_be_given() -> None:
    """Images with channels last, and sequences with channels first, have them where `axis` says."""
    x = torch.ones(1, 2, 2)
    assert rotated(2.0, 3.0)(x).tolist() == [[[2.0, 3.0], [2.0, 3.0]]]
    assert rotated(2.0, 3.0, axis=1)(x).tolist() == [[[2.0, 2.0], [3.0, 3.0]]]
    assert rotated(2.0, 3.0, axis=-1)(torch.ones(1, 5, 5, 2)).shape == (1, 5, 5, 2)


def test_slopes_of_one_change_nothing() -> None:
    """A fresh rotated activation is the plain one, bit for bit."""
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RotatedReLU(7)(x), torch.relu(x))
    assert torch.equal(RotatedGELU(7)(x), nn.functional.gelu(x))
    assert torch.equal(RotatedGELU(7, "tanh")(x), nn.functional.gelu(x, approximate="tanh"))


def test_the_wrong_number_of_channels_is_refused() -> None:
    """One slope does not spread over three channels, as broadcasting would have it."""
    with pytest.raises(NetworkError, match=r"axis 1 .*\(2, 3\) has no 1 channels"):
        RotatedReLU(1)(torch.ones(2, 3))


@pytest.mark.parametrize("a", [0.0, 2.0, [1.0, 1.0, 1.0], [[1.0, 1.0]], float("nan"), [1.0, 0.5]])
def test_a_is_a_sign(a: Any) -> None:
    """Anything but +1 and -1, for all or one per channel, is refused."""
    with pytest.raises(SettingsError, match=r"must be \+1 or -1"):
        RotatedReLU(2, a)


def test_other_options_are_checked() -> None:
    """A negative width and an unknown approximation are refused; a width of zero works."""
    with pytest.raises(SettingsError, match="-1 is no number"):
        RotatedReLU(-1)
    with pytest.raises(SettingsError, match="must be"):
        RotatedGELU(1, "erf")
    assert RotatedReLU(0)(torch.ones(2, 0)).shape == (2, 0)


def test_state_dict_has_one_entry() -> None:
    """With a = +1 the state dict is the slope, and nothing else."""
    assert list(RotatedReLU(2).state_dict()) == ["slope"]
    assert [name for name, _ in RotatedReLU(2, -1).named_parameters()] == ["slope"]


def test_slopes_load_under_the_name_that_the_authors_gave_them() -> None:
    """Checkpoints name the slopes `a`; they load strictly, also inside other modules, and the caller's dict stays."""
    model = nn.Sequential(nn.Linear(2, 2), RotatedReLU(2))
    state = {"0.weight": torch.eye(2), "0.bias": torch.zeros(2), "1.a": torch.tensor([0.5, -2.0])}
    model.load_state_dict(state)
    assert slopes(model)["1"].tolist() == [0.5, -2.0]
    assert list(state) == ["0.weight", "0.bias", "1.a"]


def test_both_names_at_once_are_refused() -> None:
    """A state dict with `slope` and `a` is ambiguous, and torch's strict loading says so."""
    with pytest.raises(RuntimeError, match="Unexpected key"):
        RotatedReLU(1).load_state_dict({"slope": torch.ones(1), "a": torch.ones(1)})


def test_slopes_do_not_load_into_another_sign() -> None:
    """A state dict from a = -1 does not load into a = +1, nor the other way round."""
    with pytest.raises(RuntimeError, match="sign"):
        RotatedReLU(1, -1).load_state_dict(RotatedReLU(1).state_dict())
    with pytest.raises(RuntimeError, match="sign"):
        RotatedReLU(1).load_state_dict(RotatedReLU(1, -1).state_dict())
    RotatedReLU(1, -1).load_state_dict(RotatedReLU(1, [-1.0]).state_dict())


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)])
def test_read_back_as_one_rectifier(shape: tuple[int, ...]) -> None:
    """The reader makes of it one rectifier with slopes (b, 0)."""
    network = mc.load(rotated(2.0, -0.5, 0.0).eval(), input_shape=shape)
    (node,) = network.nodes
    assert isinstance(node.layer, Rectifier)
    assert node.layer.positive_slope.reshape(-1).tolist() == [2.0, -0.5, 0.0]
    assert (node.layer.negative_slope == 0).all()


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)])
def test_read_back_with_the_sign_in_front(shape: tuple[int, ...]) -> None:
    """With a = -1 a scaling by -1 stands in front of the rectifier with slopes (b, 0); the function is the same."""
    module = rotated(2.0, -0.5, 0.0, a=-1).double().eval()
    network = mc.load(module, input_shape=shape)
    mirror, rectifier = (node.layer for node in network.nodes)
    assert isinstance(mirror, Scale)
    assert (mirror.scale == -1).all()
    assert isinstance(rectifier, Rectifier)
    assert rectifier.positive_slope.reshape(-1).tolist() == [2.0, -0.5, 0.0]
    x = np.random.default_rng(0).normal(size=(4, *shape))
    assert np.array_equal(network.forward(x), module(torch.tensor(x)).detach().numpy())


def test_slopes_and_gammas_by_name() -> None:
    """`slopes` and `batch_norm_gammas` give the parameters themselves, in order, of those that have them."""
    model = nn.Sequential(nn.BatchNorm1d(2), RotatedReLU(2), nn.BatchNorm1d(2, affine=False), RotatedGELU(2))
    assert list(slopes(model)) == ["1", "3"]
    assert slopes(model)["3"] is model.get_parameter("3.slope")
    assert list(batch_norm_gammas(model)) == ["0"]
    assert batch_norm_gammas(model)["0"] is model.get_parameter("0.weight")


def test_names_are_at_the_top() -> None:
    """The package offers the activations, `rotate` and `select_threshold` by their names."""
    assert mc.RotatedReLU is RotatedReLU
    assert mc.RotatedGELU is RotatedGELU
    assert callable(mc.rotate)
    assert callable(mc.select_threshold)
