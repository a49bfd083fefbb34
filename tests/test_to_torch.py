"""Writing networks as torch modules: the same function in double, nothing but torch in the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from milpcomp.errors import NetworkError
from milpcomp.network import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv2d,
    Dense,
    Network,
    Node,
    Permute,
    Rectifier,
    Reshape,
    Scale,
    Take,
)
from milpcomp.network.to_torch import pre_activation_module, to_torch
from tests.nets import chain, diamond, mlp, residual_cnn

IMAGE = (2, 5, 6)


def assert_equal(network: Network, seed: int = 0) -> nn.Module:
    """Check that torch in double computes `Network.forward` within 1e-9 relative, and return the module."""
    x = np.random.default_rng(seed).normal(size=(9, *network.input_shape))
    module = to_torch(network, torch.float64)
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    expected = network.forward(x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(initial=1e-300))
    return module


def conv(outputs: int, inputs: int, kernel: tuple[int, int] = (3, 3), **options: object) -> Conv2d:
    """Return a convolution with drawn numbers."""
    rng = np.random.default_rng(1)
    return Conv2d(rng.normal(size=(outputs, inputs, *kernel)), rng.normal(size=outputs), **options)  # type: ignore[arg-type]


LAYERS = {
    "dense": ((4,), Dense(np.arange(12.0).reshape(3, 4), [1.0, -1.0, 2.0])),
    "dense without inputs": ((0,), Dense(np.zeros((3, 0)), [1.0, -1.0, 2.0])),
    "dense without outputs": ((3,), Dense(np.zeros((0, 3)))),
    "convolution": (IMAGE, conv(3, 2, padding=(1, 1, 1, 1))),
    "convolution with groups": (IMAGE, conv(4, 1, groups=2, stride=(2, 1), dilation=(1, 2))),
    "asymmetric padding": (IMAGE, conv(3, 2, (2, 3), padding=(0, 1, 2, 3))),
    "convolution without inputs": ((0, 5, 6), conv(3, 0, padding=(1, 1, 1, 1))),
    "convolution without filters": (IMAGE, conv(0, 2, padding=(1, 2, 0, 0), stride=(2, 2))),
    "convolution without anything": ((0, 5, 6), conv(0, 0)),
    "pooling": (IMAGE, AveragePool((2, 3), (2, 2))),
    "padded pooling": (IMAGE, AveragePool((3, 3), (2, 2), (1, 1, 1, 1))),
    "pooling with much padding": (IMAGE, AveragePool((2, 2), (2, 2), (2, 2, 2, 2))),
    "pooling that counts pixels": (IMAGE, AveragePool((3, 3), (2, 3), (0, 0, 1, 1), [[0.1, 0.2], [0.3, 0.4]])),
    "pooling without channels": ((0, 5, 6), AveragePool((2, 2), (2, 2))),
    "scale": (IMAGE, Scale([[[2.0]], [[-3.0]]], [[[1.0]], [[0.5]]])),
    "scale by a number": ((3,), Scale(0.5)),
    "shift": ((3,), Scale(1.0, [1.0, 2.0, 3.0])),
    "flatten": (IMAGE, Reshape((60,))),
    "unflatten": ((60,), Reshape(IMAGE)),
    "reshape": (IMAGE, Reshape((5, 12))),
    "reshape to numbers": ((1,), Reshape(())),
    "reshape from numbers": ((), Reshape((1, 1))),
    "permute": (IMAGE, Permute((1, 2, 0))),
    "take": (IMAGE, Take([[-1, 1, 0, 1], None, [0, 2, 4]])),
    "take nothing": (IMAGE, Take([[], None, None])),
    "pad nothing": ((0, 2, 2), Take([[-1, -1], None, None])),
    "relu": (IMAGE, Rectifier()),
    "leaky": (IMAGE, Rectifier(1.0, 0.1)),
    "absolute": (IMAGE, Rectifier(1.0, -1.0)),
    "channel slopes": (IMAGE, Rectifier(1.0, [[[0.1]], [[-2.0]]])),
    "unit slopes": ((3,), Rectifier(1.0, [0.1, 0.2, 0.3])),
    "pixel slopes": ((3, 2), Rectifier(1.0, np.arange(6.0).reshape(3, 2))),
    "rotated": (IMAGE, Rectifier([[[1.5]], [[-0.5]]], 0.0)),
    "any slopes": (IMAGE, Rectifier([[[1.5]], [[-0.5]]], [[[0.0]], [[2.0]]])),
    "one slope": ((3,), Rectifier(-2.0, 3.0)),
    "dead": ((3,), Rectifier(0.0, 0.0)),
    "no neurons": ((0,), Rectifier(np.zeros(0), np.zeros(0))),
    "identity": ((3,), Scale()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_the_same_in_torch(name: str) -> None:
    """Each kind of layer, at its edges too, computes in torch what it computes here."""
    shape, layer = LAYERS[name]
    assert_equal(chain(shape, layer))


def test_chains_are_plain_sequentials() -> None:
    """A dense chain is an nn.Sequential of nn.Linear and nn.ReLU whose state dict has the familiar keys."""
    module = assert_equal(diamond())
    assert isinstance(module, nn.Sequential)
    assert [type(part) for part in module] == [nn.Linear, nn.ReLU, nn.Linear]
    assert list(module.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_image_chains_are_plain_sequentials() -> None:
    """A convolutional chain with padding, pooling and PReLU slopes needs no graph either."""
    network = chain(
        IMAGE,
        conv(3, 2, padding=(0, 0, 1, 1)),
        Rectifier(1.0, [[[0.1]], [[0.2]], [[0.3]]]),
        AveragePool((2, 2), (2, 2)),
        Rectifier(1.0, 0.25),
        Reshape((12,)),
        Dense(np.ones((2, 12))),
    )
    kinds = [type(part).__name__ for part in assert_equal(network).children()]
    assert kinds == ["ZeroPad2d", "Conv2d", "PReLU", "AvgPool2d", "LeakyReLU", "Flatten", "Linear"]


def test_state_dict_outlives_the_package(tmp_path: Path) -> None:
    """The saved numbers of a chain load, safely, into a module written by hand."""
    torch.save(to_torch(diamond()).state_dict(), tmp_path / "diamond.pt")
    twin = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    twin.load_state_dict(torch.load(tmp_path / "diamond.pt", weights_only=True))
    assert twin(torch.tensor([[1.0, 0.0]])).item() == 0.0  # h = (1, 0), y = 1 - 1


def test_graphs_are_plain_torch(tmp_path: Path) -> None:
    """A residual network becomes generated Python over torch alone, and torch.export reads it with any batch size."""
    network = residual_cnn(np.random.default_rng(0))
    module = assert_equal(network)
    assert isinstance(module, torch.fx.GraphModule)
    assert all(type(part).__module__.startswith("torch.nn") for part in module.children())
    assert "milpcomp" not in module.code
    exported = torch.export.export(
        module, (torch.zeros(2, 2, 6, 6, dtype=torch.float64),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    assert exported.module()(torch.zeros(5, 2, 6, 6, dtype=torch.float64)).shape == (5, 4)


def test_joins_of_several_inputs() -> None:
    """Add and Concat take any number of inputs, the network's own input among them."""
    nodes = [
        Node("a", Dense([[1.0, 2.0], [3.0, 4.0]]), (INPUT,)),
        Node("sum", Add(), ("a", INPUT, INPUT)),
        Node("joined", Concat(0), (INPUT, "sum", "a")),
    ]
    assert_equal(Network((2,), nodes))
    assert_equal(Network((2,), nodes, output="sum"))


def test_an_empty_network_is_the_identity() -> None:
    """A network without nodes maps its input to itself, in torch too."""
    assert_equal(Network((3,), []))


def test_names_that_torch_reserves() -> None:
    """Node names that are no torch attribute names are changed, and stay distinct."""
    names = ["forward", "layer1.relu", "layer1_relu", "x", "training", "append", ""]
    nodes = [Node(name, Rectifier(1.0, 0.5), (names[i - 1] if i else INPUT,)) for i, name in enumerate(names)]
    module = assert_equal(Network((2,), nodes))
    assert len(list(module.children())) == len(names)


def test_random_generator_is_left_alone() -> None:
    """Writing a network draws no random numbers, so a user's seed means what it meant."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    to_torch(mlp([4, 3, 2], np.random.default_rng(0)))
    assert torch.equal(before, torch.get_rng_state())


def test_numbers_too_large_for_the_type() -> None:
    """A weight that single precision cannot hold is an error, not an infinity."""
    network = chain((1,), Dense([[1e300]]))
    with pytest.raises(NetworkError, match=r"0\.weight holds numbers too large for torch\.float32; use dtype="):
        to_torch(network)
    assert to_torch(network, torch.float64)(torch.ones(1, 1, dtype=torch.float64)).item() == 1e300


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pre_activations(dtype: torch.dtype) -> None:
    """All pre-activations come by rectifier name, as (N, neurons), equal to those of the network."""
    network = residual_cnn(np.random.default_rng(3))
    x = np.random.default_rng(4).normal(size=(5, *network.input_shape))
    found = pre_activation_module(network, dtype)(torch.tensor(x, dtype=dtype))
    expected = network.pre_activations(x)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-3)


def test_pre_activations_of_numbers() -> None:
    """A rectifier on samples that are single numbers has one neuron."""
    found = pre_activation_module(chain((), Rectifier()))(torch.tensor([1.0, -2.0], dtype=torch.float64))
    assert found["0"].tolist() == [[1.0], [-2.0]]


def test_pre_activations_are_differentiable() -> None:
    """The gradient of the diamond's h1 pre-activation x1 - x2 is (1, -1), and no parameter takes one."""
    module = pre_activation_module(diamond())
    x = torch.tensor([[0.5, 0.25]], dtype=torch.float64, requires_grad=True)
    module(x)["1"][:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, -1.0]]
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_everything_moves_to_the_device() -> None:
    """No number stays behind on the CPU: on torch's device without storage, everything is computed there."""
    network = residual_cnn(np.random.default_rng(0))
    found = pre_activation_module(network, device="meta")(torch.empty(3, 2, 6, 6, dtype=torch.float64, device="meta"))
    assert {name: (value.device.type, *value.shape) for name, value in found.items()} == {
        node.name: ("meta", 3, network.width(node.name)) for node in network.rectifiers
    }
