"""Reading torch modules: every operator equals torch in double, names are paths, errors name the culprits."""

from __future__ import annotations

import copy
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milpcomp.errors import NetworkError, UnsupportedOperatorError
from milpcomp.network import Dense, Network, Rectifier, Scale
from milpcomp.network.checkpoint import read_checkpoint
from milpcomp.network.checkpoint_architecture import fill_module, make_module
from milpcomp.network.checkpoint_file import read_tensors
from milpcomp.network.from_torch import network_from_module
from milpcomp.network.to_torch import to_torch
from milpcomp.network.torch_export import sample_shape
from milpcomp.rotated import RotatedReLU, slopes
from models.resnet import MEAN, STD, Block, resnet20, resnet56, rotated_resnet20
from tests.nets import mlp, residual_cnn

Function = Callable[[Tensor], Tensor]


class Lambda(nn.Module):
    """A module in double that applies a function."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def in_double(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return what a copy of `module` in double makes of the batch x."""
    with torch.no_grad():
        result: np.ndarray = copy.deepcopy(module).double()(torch.from_numpy(x)).numpy()
    return result


def assert_same(network: Network, module: nn.Module, seed: int = 0) -> None:
    """Check that the network equals the module in double within 1e-9 relative."""
    x = np.random.default_rng(seed).normal(size=(6, *network.input_shape))
    expected = in_double(module, x)
    np.testing.assert_allclose(network.forward(x), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def read(function: Function, *shape: int) -> Network:
    """Read a function of a batch of samples."""
    return network_from_module(Lambda(function), input_shape=shape)


# ---------------------------------------------------------------------------------------------------------- operators


def _in_place(x: Tensor) -> Tensor:
    y = x + 1
    F.relu_(y)
    y += x
    return y.mul_(2)


def _without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return F.relu(x)


W = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 6)  # 4 outputs, 6 inputs
B = torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=torch.float64)
V = torch.tensor([1.0, -2.0, 0.0, 3.0, 0.1, 4.0], dtype=torch.float64)

VECTORS: dict[str, Function] = {
    "linear": lambda x: F.linear(x, W, B),
    "linear without bias": lambda x: F.linear(x, W),
    "addmm": lambda x: torch.addmm(B, x, W.t(), beta=2, alpha=0.5),
    "matmul": lambda x: x @ W.t() + (x.mm(W.t()) - B),
    "linear on rows": lambda x: F.linear(x[:, None], W, B),
    "add": lambda x: x + 0.1 + V + torch.add(V, x, alpha=3) + torch.add(x, x, alpha=-2),
    "subtract": lambda x: (x - V) - (1 - x) - torch.sub(x, V, alpha=0.3),
    "rsub": lambda x: torch.rsub(x, V, alpha=2),
    "multiply": lambda x: 0.1 * x * V * 3,
    "divide": lambda x: x / (V.abs() + 1) / 255,
    "negate": lambda x: -x,
    "relu": F.relu,
    "relu in place": _in_place,
    "leaky": lambda x: F.leaky_relu(x, 0.1) + F.leaky_relu(x, -2.0),
    "prelu": lambda x: F.prelu(x, V) + F.prelu(x, V[4:5]),
    "randomised leaky": lambda x: F.rrelu(x, 0.1, 0.5),
    "absolute": lambda x: x.abs(),
    "clamp": lambda x: x.clamp(min=0) + x.clamp(max=0) * 2 + x.clamp_min(0) + x.clamp_max(0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(6).double()) + torch.max(torch.tensor(0.0).double(), x),
    "minimum": lambda x: torch.minimum(x, torch.zeros(6).double()) - torch.min(x, torch.tensor(0.0).double()),
    "rotated": lambda x: V * F.relu(x),
    "slices": lambda x: x[:, 1:5:2] + x[:, -2:] + x[..., :2],
    "select": lambda x: (x[:, 2] + x.select(1, -2))[:, None],
    "index": lambda x: x[:, [5, 0, -1]],
    "index select": lambda x: torch.index_select(x, 1, torch.tensor([5, 0, 5])),
    "flip": lambda x: torch.flip(x, [1]),
    "split": lambda x: torch.cat([*x.split(4, 1)[::-1], x.chunk(3, 1)[1], x.split([1, 2, 3], dim=1)[2]], 1),
    "pad": lambda x: F.pad(x, (1, 2)) + F.pad(x, (-1, 4)),
    "concatenate": lambda x: torch.cat([x, x * 2], 1),
    "zeros between": lambda x: torch.cat([torch.zeros_like(x), x, x.new_zeros(x.shape[0], 2), -x], 1),
    "ones behind": lambda x: torch.cat([x, torch.ones(x.shape[0], 1).double(), torch.full_like(x, 0.1)], dim=-1),
    "mean": lambda x: x.mean(1, keepdim=True) + x.sum(1)[:, None],
    "reshapes": lambda x: x.view(-1, 2, 3).transpose(1, 2).flatten(1) + x.reshape(x.shape[0], 3, 2).flatten(1),
    "permute": lambda x: x.view(-1, 1, 2, 3).permute(0, 3, 1, 2).squeeze(2).unsqueeze(1).flatten(1),
    "expand": lambda x: x[:, None].expand(-1, 3, -1) + x[:, None],
    "expanded constant": lambda x: x + V.expand(x.shape[0], 6),
    "broadcast": lambda x: x[:, :1] + V + (x[:, 1:2] + x),
    "copies": lambda x: x.clone().detach().contiguous().double(),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "constants": lambda x: x * torch.softmax(V, 0) + torch.arange(6).double().exp()[None],
    "no gradient": _without_gradient,
}  # fmt: skip


K = torch.linspace(-1, 1, 96, dtype=torch.float64).reshape(4, 4, 2, 3)
C = torch.tensor([0.5, -1.5, 2.0, 0.1], dtype=torch.float64)

IMAGES: dict[str, Function] = {
    "convolution": lambda x: F.conv2d(x, K, B, stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "groups": lambda x: F.conv2d(x, K[:, :2], groups=2) + F.conv2d(x, K[:, :1], groups=4),
    "same": lambda x: F.conv2d(x, K, padding="same") + F.conv2d(x, K[..., :1], padding="same", dilation=(3, 1)),
    "valid": lambda x: F.conv2d(x, K, padding="valid"),
    "batch norm": lambda x: F.batch_norm(x, C, C.abs() + 1, C, -C, eps=1e-3),
    "batch norm without weights": lambda x: F.batch_norm(x, C, C.abs()),
    "prelu": lambda x: F.prelu(x, C),
    "rotated": lambda x: C[None, :, None, None] * F.relu(x),
    "normalise": lambda x: (x - C.view(1, 4, 1, 1)) / C.view(4, 1, 1).abs(),
    "average pool": lambda x: F.avg_pool2d(x, 2) + F.avg_pool2d(x, (2, 3), stride=(2, 1), padding=(0, 1))[..., ::2],
    "padded pool": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
    "pool without padding": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "pool rounding up": lambda x: F.avg_pool2d(x, 3, stride=2, ceil_mode=True),
    "padded pool rounding up": lambda x: F.avg_pool2d(x, 2, stride=3, padding=1, ceil_mode=True),
    "sum pool": lambda x: F.avg_pool2d(x, 2, divisor_override=1),
    "adaptive pool": lambda x: F.adaptive_avg_pool2d(x, 1) + F.adaptive_avg_pool2d(x, (3, 4))[..., :1],
    "pixel mean": lambda x: x.mean((2, 3)) + x.mean([-1, -2], keepdim=True).flatten(1) + x.flatten(2).sum(-1),
    "channel mean": lambda x: x.mean(1) + x.sum((1, 2), keepdim=True)[:, 0],
    "shortcut": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 1), "constant", 0),
    "zero padding": lambda x: F.pad(x, (1, 2, 0, -1)),
    "concatenate": lambda x: torch.cat([x[..., :1], x, x[..., 1:3]], -1),
    "select": lambda x: x[:, 1] + x[:, :, 0].sum(1, keepdim=True),
    "broadcast": lambda x: x + x.mean((2, 3), keepdim=True),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("group", "shape"), [(VECTORS, (6,)), (IMAGES, (4, 6, 8))], ids=["vectors", "images"])
def test_operators(group: dict[str, Function], shape: tuple[int, ...]) -> None:
    """Every operator, side by side in one module, equals torch in double within 1e-9 relative."""
    network = read(lambda x: torch.cat([function(x).flatten(1) for function in group.values()], 1), *shape)
    x = np.random.default_rng(0).normal(size=(5, *shape))
    found = network.forward(x)
    start = 0
    for name, function in group.items():
        expected = function(torch.from_numpy(x)).flatten(1).numpy()
        part = found[:, start : start + expected.shape[1]]
        np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-12, err_msg=name)
        start += expected.shape[1]
    assert start == found.shape[1]


def test_hand_arithmetic() -> None:
    """2 |x1 - x2| + 1, written as torch functions, is 3 at (1, 2), and is two layers between input and output."""
    network = read(lambda x: 2 * (x[:, 0] - x[:, 1]).abs() + 1, 2)
    assert network.forward([1.0, 2.0]) == 3.0
    assert network.output_shape == ()
    assert [node.name for node in network.rectifiers] == ["absolute"]


def test_numbers_are_kept_exactly() -> None:
    """float32 parameters become the equal float64, and Python's numbers keep all their digits."""
    module = nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.1), nn.PReLU(init=0.3))
    network = network_from_module(module, input_shape=(2,))
    dense, leaky, prelu = (node.layer for node in network)
    assert isinstance(dense, Dense)
    assert isinstance(leaky, Rectifier)
    assert isinstance(prelu, Rectifier)
    assert dense.weight.tolist() == next(module.parameters()).tolist()
    assert leaky.negative_slope == 0.1
    assert prelu.negative_slope == np.float32(0.3)


def test_half_precision() -> None:
    """A module in bfloat16 is read without loss too."""
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).to(torch.bfloat16)
    assert_same(network_from_module(module, input_shape=(3,)), module)


def test_batch_norm_is_one_scale() -> None:
    """The scale is gamma / sqrt(var + eps) = 3 / sqrt(3.99 + 0.01) = 1.5, the shift 1 - 2 * 1.5 = -2."""
    norm = nn.BatchNorm1d(1, eps=0.01).double().eval()
    for name, value in {"weight": 3.0, "bias": 1.0, "running_mean": 2.0, "running_var": 3.99}.items():
        getattr(norm, name).data.fill_(value)
    layer = network_from_module(norm, input_shape=(1,)).nodes[0].layer
    assert isinstance(layer, Scale)
    np.testing.assert_allclose([layer.scale[0], layer.shift[0]], [1.5, -2.0], rtol=1e-15)


# -------------------------------------------------------------------------------------------------- modules and names


class Net(nn.Module):
    """A residual block with batch norm, rotated slopes, a slice-and-pad shortcut, normalisation and average pooling."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.std = nn.Parameter(torch.tensor([0.2, 0.3, 0.4]))
        self.block = Block(3, 7, 2, "rotated")
        self.drop = nn.Dropout(0.5)
        self.inner = nn.Sequential(nn.ReLU(inplace=True), nn.Identity(), nn.Conv2d(7, 4, 3, padding="same"))
        self.relu = nn.ReLU()
        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = torch.randn(7)
                part.running_var = torch.rand(7) + 0.5
        for slope in slopes(self).values():
            slope.data = torch.linspace(-1.0, 1.0, len(slope))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std[None, :, None, None]
        x = self.relu(self.inner(self.drop(self.block(x))))
        result: Tensor = self.fc(self.relu(F.avg_pool2d(x, x.shape[2:]).view(x.size(0), -1) - 0.1))
        return result


def test_residual_block() -> None:
    """A whole small network equals torch in double; nodes are called like modules; reading changes no number."""
    module = Net().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    network = network_from_module(module, input_shape=(3, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert_same(network, module)
    assert [node.name for node in network.rectifiers] == ["block.rrelu1", "block.rrelu2", "inner.0", "relu", "relu_2"]
    assert [node.name for node in network][:6] == [
        "sub", "div", "block.conv1", "block.bn1", "block.rrelu1", "block.conv2"
    ]  # fmt: skip
    assert network["block.add"].inputs[0] == "block.bn2"
    assert network["block.rrelu1"].layer.arrays()["positive_slope"].shape == (7, 1, 1)


def test_example_input_gives_the_shape() -> None:
    """An example batch, array or tensor, of whatever length and type, is as good as an input shape."""
    for example in (torch.zeros(1, 3), np.zeros((7, 3)), torch.zeros(2, 3, dtype=torch.int64), np.zeros((0, 3))):
        assert sample_shape(example, None) == sample_shape(None, [3]) == sample_shape(example, (3,)) == (3,)
    assert network_from_module(nn.Linear(3, 2), torch.zeros(1, 3)).input_shape == (3,)


def test_mode_matters_only_where_it_matters() -> None:
    """A module in training mode is read if none of its parts depends on the mode."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).train()
    assert_same(network_from_module(module, input_shape=(2,)), module)


def test_unused_parts_vanish() -> None:
    """Copies, casts between floating-point types, and what the output does not need leave no node."""
    network = read(lambda x: (x.float().double().clone() * 2, (x + 1).abs())[0], 2)
    assert [node.name for node in network] == ["mul"]


def test_names_stay_distinct() -> None:
    """A module called "input" and one used twice get names of their own."""
    module = nn.Module()
    relu = module.input = nn.ReLU()
    module.forward = lambda x: relu(relu(x) - 1)
    assert [node.name for node in network_from_module(module, input_shape=(2,))] == ["input_2", "sub", "input_3"]


@pytest.mark.parametrize("kind", ["dense", "images"])
def test_round_trip(kind: str) -> None:
    """Written as torch and read again, a network with slopes of every kind keeps its function."""
    rng = np.random.default_rng(1)
    network = residual_cnn(rng) if kind == "images" else mlp([5, 4, 0, 3, 2], rng, None, None)
    back = network_from_module(to_torch(network, torch.float64), input_shape=network.input_shape)
    x = rng.normal(size=(6, *network.input_shape))
    np.testing.assert_allclose(back.forward(x), network.forward(x), rtol=1e-9, atol=1e-9)


# --------------------------------------------------------------------------------------------------------- real files


def images(shared_file: Callable[[str], Path]) -> np.ndarray:
    """Return the first four CIFAR-10 test images, normalised, as (4, 3, 32, 32)."""
    with np.load(shared_file("cifar10/test.npz")) as archive:
        pixels = archive["x"][:4].transpose(0, 3, 1, 2) / 255
    normalised: np.ndarray = (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    return normalised


def check_published(
    shared_file: Callable[[str], Path], file: str, factory: Callable[[], nn.Module], neurons: int
) -> Network:
    """Check a published ResNet against torch in double on real images, written back to torch as well; return it."""
    path, x = shared_file(file), images(shared_file)
    network = read_checkpoint(path, factory, input_shape=(3, 32, 32))
    expected = in_double(fill_module(make_module(factory), read_tensors(path), path), x)
    assert expected.argmax(axis=1).tolist() == [3, 8, 8, 0]  # cat, ship, ship, airplane
    np.testing.assert_allclose(network.forward(x), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(in_double(to_torch(network, torch.float64), x), expected, rtol=1e-9, atol=1e-9)
    assert sum(network.width(node.name) for node in network.rectifiers) == neurons
    return network


def test_rotated_resnet20(shared_file: Callable[[str], Path]) -> None:
    """The published rotated ResNet-20 has 672 slopes, 333 of them negative, in 18 layers behind a plain stem."""
    network = check_published(shared_file, "nets/rrelu2024/resnet20_rrelu_cifar10.th", rotated_resnet20, neurons=188416)
    slopes = [node.layer.arrays()["positive_slope"] for node in network.rectifiers]
    assert [slope.size for slope in slopes] == [1] + [16] * 6 + [32] * 6 + [64] * 6
    assert sum(slope.size for slope in slopes[1:]) == 672
    assert sum((slope < 0).sum() for slope in slopes) == 333
    assert not any(isinstance(node.layer, Scale) and "rrelu" in node.name for node in network)


@pytest.mark.slow
def test_resnets(shared_file: Callable[[str], Path]) -> None:
    """The published ResNet-20 and ResNet-56 equal torch in double within 1e-9 relative on real images."""
    check_published(shared_file, "nets/akamaster/resnet20-12fca82f.th", resnet20, neurons=188416)
    network = check_published(shared_file, "nets/akamaster/resnet56-4bfd9763.th", resnet56, neurons=532480)
    assert len(network.rectifiers) == 55


# ------------------------------------------------------------------------------------------------------------- errors


class Odd(nn.Module):
    """A module with many operators that no rectifier network has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")
        self.norm = nn.GroupNorm(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(self.conv(x), 2, ceil_mode=True).relu()
        z = self.norm(torch.sigmoid(y) * y + F.relu6(y))
        w = torch.where(z > 0, z, x[:, :1, ::2, ::2] / (1 + x.abs()).mean((2, 3), keepdim=True))
        return torch.softmax(F.silu(w).long().flatten(1).float() + F.pad(w, (1, 0), value=3.0).flatten(1)[:, :32], 1)


def test_all_unsupported_operators_are_listed() -> None:
    """One error names all operators at fault with node, module, sample shape and cure; supported ones are not named."""
    with pytest.raises(UnsupportedOperatorError) as caught:
        network_from_module(Odd().eval(), input_shape=(1, 8, 8))
    lines = str(caught.value).split("\n")
    expected = [
        "pad (pad in conv, shape (N, 1, 10, 10)): pads by mode 'reflect'; only zero padding can be read",
        "max_pool2d (max_pool2d, shape (N, 2, 4, 4)): rounds the output size up",
        "sigmoid (sigmoid, shape (N, 2, 4, 4)): train with relu",
        "mul.Tensor (mul",
        "relu6 (relu6, shape (N, 2, 4, 4)): write it as relu(x) - relu(x - 6)",
        "group_norm (group_norm in norm, shape (N, 2, 4, 4)): it divides by a statistic of its own input",
        "gt.Scalar (gt, shape (N, 2, 4, 4)): train with relu",
        "div.Tensor (div, shape (N, 1, 4, 4)): divides by a value that depends on the input",
        "where.self (where, shape (N, 2, 4, 4)): write it with relu",
        "silu (silu, shape (N, 2, 4, 4)): train with relu",
        "_to_copy (_to_copy, shape (N, 2, 4, 4)): turns numbers into torch.int64",
        "pad (pad_1, shape (N, 2, 4, 5)): pads with 3.0; only zero padding",
        "softmax.int (softmax, shape (N, 32)): a final softmax does not change the order of the outputs",
    ]
    assert lines[0] == f"the module Odd has {len(expected)} unsupported operator(s):"
    for line, start in zip(lines[1:], expected, strict=True):
        assert line.strip().startswith(start)


def test_products_behind_unsupported_operators_are_listed() -> None:
    """What is wrong by itself is listed behind other operators too; only the last softmax is called final."""

    def gated(x: Tensor) -> Tensor:
        y = F.silu(torch.sigmoid(x))
        return torch.softmax(F.linear(y, W, B) * y.mean(1, keepdim=True) + torch.max(y, 1, keepdim=True)[0], 1).float()

    with pytest.raises(UnsupportedOperatorError) as caught:
        read(gated, 6)
    lines = [line.strip() for line in str(caught.value).split("\n")[1:]]
    assert [line.partition(" ")[0] for line in lines] == ["sigmoid", "silu", "mul.Tensor", "max.dim", "softmax.int"]
    assert ["final" in line for line in lines] == [False] * 4 + [True]


def test_random_numbers_are_no_product_of_values() -> None:
    """A refused constant is listed once: what is multiplied by it is not called a product of two values."""
    with pytest.raises(UnsupportedOperatorError, match=r"has 1 unsupported operator.*\n  randn"):
        read(lambda x: x * torch.randn(6), 6)


REFUSED: dict[str, Function] = {
    r"mul.Tensor .*multiplies two values that depend on the input": lambda x: x * F.relu(x),
    r"reciprocal .*divide by constants only": lambda x: 1 / x,
    r"div.Tensor .*divides by a value that depends on the input": lambda x: V / x,
    r"div.Tensor_mode .*rounds to whole numbers": lambda x: torch.div(x, 2, rounding_mode="floor"),
    r"matmul .*the matrix on the right depends on the input": lambda x: torch.ones(3, 6).double() @ x[:, :, None],
    r"div.Tensor .*an operand depends on the batch size": lambda x: x / x.shape[0],
    r"mean.dim .*mixes the samples of a batch: .* shape \(6\)": lambda x: x - x.mean(0),
    r"sum \(sum.*, shape \(\)\): train with": lambda x: x + x.sum(),
    r"t \(t.*, shape \(6, N\)\): train with": lambda x: (x.t() * 2).t(),
    r"permute .*mixes the samples of a batch: .* shape \(6, N\)": lambda x: x.permute(1, 0).permute(1, 0),
    r"flip .*works along the batch axis": lambda x: x.flip(0),
    r"view .*mixes the samples of a batch": lambda x: (x.reshape(-1) * 2).reshape(-1, 6),
    r"_to_copy .*turns numbers into torch.int64": lambda x: x.long().double(),
    r"randn .*draws random numbers": lambda x: x + torch.randn(6),
    r"clamp .*cuts at other bounds than one 0": lambda x: x.clamp(-1, 1),
    r"maximum .*cuts at other bounds than one 0": lambda x: torch.maximum(x, V),
    r"adaptive_avg_pool2d .*has windows of several sizes": lambda x: F.adaptive_avg_pool2d(x.view(-1, 1, 2, 3), 2),
    r"pad .*pads with 1.0; only zero padding": lambda x: F.pad(x, (1, 1), value=1.0),
    r".*batch_norm.* normalises by statistics of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    r"conv_transpose2d.*train with": lambda x: F.conv_transpose2d(x.view(-1, 1, 2, 3), torch.ones(1, 1, 2, 2).double()),
    r"index.Tensor .*several axes at once": lambda x: x.view(-1, 2, 3)[:, [0, 1], [1, 2]],
    r"slice_scatter .*torch.cat or F.pad": lambda x: torch.slice_scatter(torch.zeros_like(x), x[:, :2], 1, 0, 2),
}


def test_refusals() -> None:
    """What is not piecewise linear, mixes samples, or is beyond the layers there are, is refused with its reason."""

    def all_of_them(x: Tensor) -> Tensor:
        return x[:, :1] + torch.cat([function(x).reshape(-1)[:1] for function in REFUSED.values()])

    with pytest.raises(UnsupportedOperatorError) as caught:
        read(all_of_them, 6)
    lines = str(caught.value).split("\n")
    for message in REFUSED:
        assert any(re.match(message, line.strip()) for line in lines), message


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)),
        nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.1)),
        nn.Sequential(nn.Linear(6, 6), nn.RReLU()),
        Lambda(lambda x: F.dropout(x, 0.5)),
        Lambda(lambda x: F.rrelu(x, training=True)),
    ],
)
def test_training_mode(module: nn.Module) -> None:
    """Parts that are random or depend on the batch in training mode are refused, and the error says what to call."""
    with pytest.raises(NetworkError, match=r"the module is in training mode, in which .*; call module\.eval\(\) first"):
        network_from_module(module.train(), input_shape=(6,))


def _branch(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def test_failed_exports_leave_no_dumps(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """A data-dependent branch is one error, without the graphs and log lines of torch, and logging stays on."""
    with pytest.raises(NetworkError, match="choose by values of tensors"):
        read(_branch, 6)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    print("still on", file=sys.stderr)
    assert logging.root.manager.disable == 0
    assert "still on" in capfd.readouterr().err


class Counting(nn.Module):
    """A module that changes its own buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


NOT_NETWORKS: dict[str, tuple[nn.Module, str]] = {
    "fixed batch": (Lambda(lambda x: x.reshape(2, 6) * 2), "fixes its batch size"),
    "batch of one": (Lambda(lambda x: x.view(1, 6) * 2), "runs on one sample but not on a batch of 2"),
    "branch": (Lambda(_branch), "torch.export cannot turn the module Lambda into a graph"),
    "two outputs": (Lambda(lambda x: (x, x)), "returns a tuple, but a network has one output tensor"),  # type: ignore[arg-type, return-value]
    "two inputs": (nn.Bilinear(6, 6, 2), "does not run on a batch of shape .* missing .*takes one argument"),
    "other width": (nn.Linear(5, 2), r"does not run on a batch of shape \(2, 6\).*cannot be multiplied"),
    "no batch in the output": (Lambda(lambda x: x.sum(0)), "axis 0 of inputs and outputs must count samples"),
    "constant": (Lambda(lambda x: torch.ones(x.shape[0], 3)), "output does not depend on its input"),
    "division by zero": (Lambda(lambda x: x / V), "div: division by zero"),
    "state": (Counting(), "changes its own buffers"),
}


@pytest.mark.parametrize("name", NOT_NETWORKS)
def test_modules_that_are_no_network(name: str) -> None:
    """Modules that are no function of one batch, sample by sample, are refused with what to change."""
    module, message = NOT_NETWORKS[name]
    with pytest.raises(NetworkError, match=message):
        network_from_module(module, input_shape=(6,))


def test_bad_numbers() -> None:
    """NaN, infinity and negative variances are refused with the name of the layer."""
    linear = nn.Linear(2, 2)
    linear.weight.data[0, 1] = float("nan")
    with pytest.raises(NetworkError, match="a dense layer's weight holds NaN or infinity"):
        network_from_module(nn.Sequential(linear), input_shape=(2,))
    norm = nn.BatchNorm1d(2).eval()
    norm.running_var = torch.tensor([1.0, -2.0])
    with pytest.raises(NetworkError, match="0: a running variance is negative"):
        network_from_module(nn.Sequential(norm), input_shape=(2,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"give input_shape=.*\(784,\).*or example_input="),
        ({"example_input": 3.0}, "example_input is a single number; give a batch"),
        ({"example_input": (torch.zeros(2, 3),)}, "example_input must be one array or tensor, got a tuple"),
        ({"example_input": np.zeros((2, 3)), "input_shape": (2, 3)}, r"holds samples of shape \(3,\), but input_shape"),
    ],
)
def test_bad_examples(options: dict[str, object], message: str) -> None:
    """A missing or contradictory input shape is an error that says how to give it."""
    with pytest.raises(NetworkError, match=message):
        network_from_module(nn.Linear(3, 2), **options)  # type: ignore[arg-type]


def test_rotated_module_by_hand() -> None:
    """Slopes a * relu(x) with a = (-1, 0, 1) are one rectifier named like its module."""
    rotated = RotatedReLU(3)
    rotated.load_state_dict({"slope": torch.tensor([-1.0, 0.0, 1.0])})
    network = network_from_module(nn.Sequential(rotated), input_shape=(3, 1, 1))
    assert [(node.name, node.inputs) for node in network] == [("0", ("input",))]
    assert network.forward(np.full((3, 1, 1), 2.0)).ravel().tolist() == [-2.0, 0.0, 2.0]


def test_whole_numbers_are_filled_as_torch_does() -> None:
    """A tensor like whole numbers, filled with 2.7, holds 2; two truth values add up to one."""

    def forward(x: Tensor) -> Tensor:
        true = torch.ones_like(torch.arange(3) > 0)
        return x + torch.full_like(torch.arange(3), 2.7) + (true + true)

    assert (read(forward, 3).forward(np.zeros(3)) == 3.0).all()


@pytest.mark.parametrize(
    "constant",
    [
        lambda x: torch.ones(x.shape[0], 3).sum(),
        lambda x: torch.ones_like(x).sum(0),
        lambda x: x.new_ones(x.shape[0]).mean(),
    ],
)
def test_constants_reduced_over_the_batch_are_refused(constant: Function) -> None:
    """What is reduced along the batch axis depends on the batch size, although no sample enters it."""
    with pytest.raises(UnsupportedOperatorError, match="along the batch axis"):
        read(lambda x: x * constant(x), 3)
