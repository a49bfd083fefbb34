"""How rotated networks start: the mixture's moments against quadrature, and weights of a trained network."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import nn

from milpcomp.errors import CheckpointError, NetworkError
from milpcomp.rotated import RotatedReLU, draw_slopes, initialise_type1, initialise_type2

LEAST, GREATEST = 0.7002075382097097, 1.4281480067421144  # tan 35 deg, tan 55 deg


def moment(power: int) -> float:
    """Return the mean of |slope|^power by quadrature over the Gaussian's density, mean 1, variance 3."""

    def density(t: float) -> float:
        return math.exp(-((t - 1) ** 2) / 6)

    return float(quad(lambda t: t**power * density(t), LEAST, GREATEST)[0] / quad(density, LEAST, GREATEST)[0])


def network(activation: nn.Module) -> nn.Sequential:
    """Return a small convolutional network with a batch norm."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), activation, nn.Flatten(), nn.Linear(8 * 36, 10))


def test_moments_of_the_mixture() -> None:
    """Mean 0, and mean and second moment of |slope| as quadrature has them, within 5 standard errors."""
    count = 200_000
    drawn = draw_slopes(count, torch.Generator().manual_seed(1))
    for values, expected, second in (
        (drawn, 0.0, moment(2)),
        (drawn.abs(), moment(1), moment(2)),
        (drawn**2, moment(2), moment(4)),
    ):
        error = math.sqrt((second - expected**2) / count)
        assert abs(values.mean().item() - expected) < 5 * error


def test_the_mixture_is_truncated_and_fills_its_range() -> None:
    """All |slope| lie in [tan 35 deg, tan 55 deg], come close to both ends, and each sign has half of them."""
    drawn = draw_slopes(100_000, torch.Generator().manual_seed(2))
    assert drawn.abs().min() >= LEAST
    assert drawn.abs().max() <= GREATEST
    assert drawn.abs().min() < LEAST + 1e-4
    assert drawn.abs().max() > GREATEST - 1e-4
    assert abs((drawn > 0).double().mean().item() - 0.5) < 0.01


def test_draws_invert_the_distribution_function() -> None:
    """The distribution function of |slope|, by quadrature, gives back the uniform numbers that were drawn."""
    uniform, coin = torch.rand(2, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    drawn = draw_slopes(25, torch.Generator().manual_seed(3))
    for t, u in zip(drawn.abs().tolist(), uniform.tolist(), strict=True):
        below, all_of_it = (quad(lambda x: math.exp(-((x - 1) ** 2) / 6), LEAST, end)[0] for end in (t, GREATEST))
        assert below / all_of_it == pytest.approx(u, abs=1e-12)
    assert torch.equal(drawn < 0, coin < 0.5)


def test_type1_is_kaiming_he() -> None:
    """Weights have variance 2 / fan-in, biases are zero, the batch norm is the identity, slopes are in range."""
    model = nn.Sequential(nn.Linear(400, 300), nn.BatchNorm1d(300), RotatedReLU(300))
    model.get_parameter("1.weight").data.fill_(7.0)
    initialise_type1(model, seed=5)
    assert model.get_parameter("0.weight").std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert (model.get_parameter("0.bias") == 0).all()
    assert (model.get_parameter("1.weight") == 1).all()
    assert (model.get_parameter("2.slope").abs() >= LEAST - 1e-6).all()
    assert (model.get_parameter("2.slope") < 0).any()


def test_type1_is_set_by_its_seed_alone() -> None:
    """The same seed gives the same network, another seed another; torch's own generator is not touched."""
    first, second, other = (network(RotatedReLU(8)) for _ in range(3))
    state = torch.get_rng_state()
    initialise_type1(first, seed=3)
    initialise_type1(second, seed=3)
    initialise_type1(other, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    assert not torch.equal(first.get_parameter("2.slope"), other.get_parameter("2.slope"))
    assert not torch.equal(first.get_parameter("0.weight"), other.get_parameter("0.weight"))


def test_type2_takes_the_trained_weights() -> None:
    """With slopes one and the weights of the trained network, the rotated network computes its function."""
    trained, model = network(nn.ReLU()).eval(), network(RotatedReLU(8)).eval()
    initialise_type1(model)
    initialise_type2(model, trained.state_dict())
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), trained(x))
    assert (model.get_parameter("2.slope") == 1).all()


def test_type2_without_weights_keeps_them() -> None:
    """Only the slopes go to one."""
    model = network(RotatedReLU(8))
    model.get_parameter("2.slope").data.fill_(0.5)
    before = model.get_parameter("0.weight").clone()
    initialise_type2(model)
    assert torch.equal(model.get_parameter("0.weight"), before)
    assert (model.get_parameter("2.slope") == 1).all()


@pytest.mark.parametrize("fault", ["missing", "unknown", "of another shape"])
def test_type2_refuses_other_networks(fault: str) -> None:
    """An entry too few, one too many, or of another shape is named, and the model stays as it was."""
    state = dict(network(nn.ReLU()).state_dict())
    if fault == "missing":
        del state["4.bias"]
    elif fault == "unknown":
        state["5.bias"] = torch.ones(1)
    else:
        state["4.bias"] = torch.ones(11)
    model = network(RotatedReLU(8))
    model.get_parameter("2.slope").data.fill_(0.5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"\(1 entries\): \d.bias: {fault}"):
        initialise_type2(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_models_without_slopes_are_refused() -> None:
    """Both initialisers say what to do with a plain model."""
    for initialise in (initialise_type1, initialise_type2):
        with pytest.raises(NetworkError, match="no rotated activation; make a copy that has with rotate"):
            initialise(network(nn.ReLU()))
