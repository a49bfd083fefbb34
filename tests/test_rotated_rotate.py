"""Rotated copies of other people's modules: every call its own slopes, the same function, weights that still load."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import milpcomp as mc
from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network import Rectifier
from milpcomp.rotated import RotatedGELU, RotatedReLU, rotate, slopes
from models.resnet import resnet20
from models.vit import Mlp, vit_micro
from models.wide_resnet import wrn16_4

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Function(nn.Module):
    """A linear layer, and any function of its output."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


class Basic(nn.Module):
    """A basic block in the style of torchvision: one ReLU module, called twice, in place."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        result: Tensor = self.relu(out)
        return result


class Bottleneck(nn.Module):
    """A bottleneck block in the style of torchvision: one ReLU module, called three times, in place."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        out += identity
        result: Tensor = self.relu(out)
        return result


class ResNet(nn.Module):
    """Stem with pooling, four stages, mean, linear layer, in the style of torchvision."""

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, block: type[Basic] | type[Bottleneck], blocks: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.AvgPool2d(3, 2, 1)
        inputs = width
        for i, count in enumerate(blocks):
            stage = []
            for j in range(count):
                stride, outputs = (2 if i and not j else 1), width * 2**i * block.expansion
                change = stride > 1 or inputs != outputs
                down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
                stage.append(block(inputs, width * 2**i, stride, down if change else None))
                inputs = outputs
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        result: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return result


def shaken(model: nn.Module) -> nn.Module:
    """Return `model` in evaluation mode with batch norms that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (*part.parameters(), part.running_mean, part.running_var):
                assert isinstance(tensor, Tensor)
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


def relu_twice_by_hand(x: Tensor, model: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Return what a basic block computes with slopes `first` and `second`."""
    assert isinstance(model, Basic)
    out = first[:, None, None] * F.relu(model.bn1(model.conv1(x)))
    result: Tensor = second[:, None, None] * F.relu(model.bn2(model.conv2(out)) + x)
    return result


@pytest.mark.parametrize(
    ("block", "blocks", "expected"),
    [
        (Basic, (2, 2, 2, 2), 2 * 2 * (8 + 16 + 32 + 64)),  # ResNet-18
        (Bottleneck, (3, 4, 6, 3), 6 * (3 * 8 + 4 * 16 + 6 * 32 + 3 * 64)),  # ResNet-50
    ],
)
def test_torchvision_style_resnets(block: Any, blocks: tuple[int, ...], expected: int) -> None:
    """Each call of a shared ReLU has slopes, the stem has none; the function is the same, bit for bit; weights load."""
    model = shaken(ResNet(block, blocks, 8))
    rotated = rotate(model, IMAGES)
    found = slopes(rotated)
    assert len(found) == sum(blocks) * (2 if block is Basic else 3)
    assert list(found)[:2] == ["layer1.0.relu1", "layer1.0.relu2"]
    assert sum(slope.numel() for slope in found.values()) == expected
    assert torch.equal(rotated(IMAGES), model(IMAGES))
    new = {f"{name}.slope" for name in found}
    assert rotated.state_dict().keys() - model.state_dict().keys() == new
    missing, unexpected = rotated.load_state_dict(model.state_dict(), strict=False)
    assert set(missing) == new
    assert not unexpected


def test_slopes_of_a_block_act_where_the_calls_are() -> None:
    """A basic block with slopes set by hand is slope 1 after the first batch norm, slope 2 after the addition."""
    model = shaken(Basic(3, 3, 1, None))
    rotated = rotate(model, IMAGES, skip=None)
    generator = torch.Generator().manual_seed(1)
    for slope in slopes(rotated).values():
        slope.data.copy_(torch.randn(3, generator=generator))
    expected = relu_twice_by_hand(IMAGES, model, *slopes(rotated).values())
    torch.testing.assert_close(rotated(IMAGES), expected)


def test_resnet20_has_672_slopes_and_is_read_back() -> None:
    """A ResNet-20 written with F.relu gets the paper's 672 slopes, and the reader gives each block's to a rectifier."""
    model = resnet20().eval()
    rotated = rotate(model, IMAGES)
    found = slopes(rotated)
    assert sum(slope.numel() for slope in found.values()) == 672
    for slope in found.values():
        slope.data.copy_(torch.linspace(-1, 1, len(slope)))
    rectifiers = mc.load(rotated, input_shape=(3, 32, 32)).rectifiers
    assert len(rectifiers) == 19
    for node, slope in zip(rectifiers[1:], found.values(), strict=True):
        assert isinstance(node.layer, Rectifier)
        assert node.layer.positive_slope.reshape(-1).tolist() == slope.tolist()
        assert (node.layer.negative_slope == 0).all()


CALLS = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu in place, positional": lambda x: F.relu(x, True),
    "F.relu by keyword": lambda x: F.relu(input=x),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "F.gelu": F.gelu,
    "F.gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "nn.GELU": nn.GELU(),
    "nn.GELU tanh": nn.GELU("tanh"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_way_to_call_an_activation(call: Callable[[Tensor], Tensor]) -> None:
    """Modules, functions and methods, in place or not, are rotated, and give slope * activation."""
    model = Function(call)
    rotated = rotate(model, X, skip=None)
    (slope,) = slopes(rotated).values()
    slope.data.copy_(torch.tensor([2.0, -1.0, 0.0, 0.5, 1.0]))
    assert torch.equal(rotated(X), slope * model(X))
    assert rotated.training


def overwritten(x: Tensor) -> Tensor:
    """Return what reads its input after ReLU has overwritten it."""
    F.relu_(x)
    return x + 1


def test_what_is_overwritten_in_place_is_read_rotated() -> None:
    """Code that goes on with the tensor that an in-place ReLU changed gets the rotated values."""
    model = Function(overwritten)
    rotated = rotate(model, X, skip=None)
    (slope,) = slopes(rotated).values()
    slope.data.fill_(3.0)
    assert torch.equal(rotated(X), 3 * torch.relu(model.linear(X)) + 1)


def aliased(x: Tensor) -> Tensor:
    """Return a view of a tensor that is overwritten under its first name."""
    view = x.view(-1)
    x.relu_()
    return view


def test_what_is_overwritten_under_another_name_is_refused() -> None:
    """A view of an overwritten tensor would silently lose its ReLU: refused, with the reason."""
    with pytest.raises(NetworkError, match=r"does not reproduce Function on the example: .* overwrites a tensor"):
        rotate(Function(aliased), X, skip=None)


def test_the_function_of_linear_functions_has_channels_last() -> None:
    """The MLP of a transformer on (N, T, C) has one slope per feature; so has one on images with channels last."""
    mlp = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 7), nn.GELU(), nn.Dropout(0.1), nn.Linear(7, 4))
    for shape in ((2, 5, 4), (2, 3, 3, 4)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        rotated = rotate(mlp, x, skip=None).eval()
        (gelu,) = (part for part in rotated.modules() if isinstance(part, RotatedGELU))
        assert gelu.slope.shape == (7,)
        assert torch.equal(rotated(x), mlp.eval()(x))
        gelu.slope.data.copy_(torch.linspace(-1, 1, 7))
        torch.testing.assert_close(rotated(x), mlp[4](gelu.slope * F.gelu(mlp[1](mlp[0](x)))))


def test_vision_transformer() -> None:
    """The GELUs of a ViT have a slope for each hidden unit; attention, which is unpacked by sizes, is not touched."""
    model = vit_micro().eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rotated = rotate(model, images, skip=None)
    hidden = [block.fc1.out_features for block in model.modules() if isinstance(block, Mlp)]
    assert {name: len(slope) for name, slope in slopes(rotated).items()} == {
        f"blocks.{i}.mlp.act": width for i, width in enumerate(hidden)
    }
    assert torch.equal(rotated(images), model(images))


def test_pre_activation_networks() -> None:
    """Without a stem activation it is the final one that the paper leaves alone: 1552 slopes in a WRN-16-4."""
    model = wrn16_4()
    *_, last = slopes(rotate(model, IMAGES, skip=None))
    rotated = rotate(model, IMAGES, skip=[last])
    assert sum(slope.numel() for slope in slopes(rotated).values()) == 1552


def test_one_dimensional_convolutions_have_channels_first() -> None:
    """Behind a Conv1d, (N, C, L) has C slopes, not L, also past a batch norm, dropout, and an addition."""
    model = nn.Sequential(nn.Conv1d(2, 6, 3, padding=1), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU())
    assert slopes(rotate(model, torch.ones(2, 2, 9), skip=None))["3"].shape == (6,)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x + self.conv(x))

    assert slopes(rotate(Residual(), torch.ones(2, 2, 9), skip=None))["relu1"].shape == (2,)


def test_skip() -> None:
    """The first call, calls by name, or no call keep their activation; names stay the same whatever is skipped."""
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 5), nn.GELU())
    assert list(slopes(rotate(model, X))) == ["3", "5"]
    assert list(slopes(rotate(model, X, skip=None))) == ["1", "3", "5"]
    assert list(slopes(rotate(model, X, skip=["5", "3"]))) == ["1"]
    assert isinstance(rotate(model, X, skip=["3"]).get_submodule("3"), nn.ReLU)
    with pytest.raises(SettingsError, match=r"names \['4'\], but the activations of Sequential are \['1', '3', '5'\]"):
        rotate(model, X, skip=["4"])
    with pytest.raises(SettingsError, match="must be"):
        rotate(model, X, skip="3")


def test_one_module_in_many_places_is_rotated_in_each() -> None:
    """A ReLU that stands three times in a chain has slopes of three widths."""
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 2), shared, nn.Linear(2, 3), shared, nn.Linear(3, 5), shared)
    rotated = rotate(model, X, skip=None)
    assert [len(slope) for slope in slopes(rotated).values()] == [2, 3, 5]
    assert torch.equal(rotated(X), model(X))
    assert list(slopes(rotate(model, X))) == list(slopes(rotated))[1:]


def test_a_block_called_twice_has_two_sets_of_slopes() -> None:
    """Weights that are shared stay shared; the calls of their activation do not share slopes."""
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.block(self.block(x))
            return result

    rotated = rotate(Twice(), X, skip=None)
    assert len(slopes(rotated)) == 2
    assert sum(p.numel() for p in rotated.parameters()) == 4 * 4 + 4 + 2 * 4


def test_the_original_is_untouched() -> None:
    """Parameters, modes, modules and running statistics of the model are as before, and the copy shares no memory."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    x = IMAGES.clone()
    rotated = rotate(model, x, skip=None)
    assert torch.equal(x, IMAGES)
    assert isinstance(model[2], nn.ReLU)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for parameter in rotated.parameters():
        parameter.data.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [rotated.get_submodule(str(i)).training for i in range(4)] == [True, False, True, True]


def test_rotating_again_changes_nothing() -> None:
    """A rotated model keeps its slopes, their names and values, and its stem."""
    once = rotate(shaken(ResNet(Basic, (1, 1, 1, 1), 4)), IMAGES)
    slopes(once)["layer1.0.relu2"].data.fill_(-0.5)
    twice = rotate(once, IMAGES)
    assert twice.state_dict().keys() == once.state_dict().keys()
    assert torch.equal(twice(IMAGES), once(IMAGES))
    assert isinstance(twice.get_submodule("relu"), nn.ReLU)


def test_number_type_and_frozen_parameters_are_kept() -> None:
    """Slopes have the number type of what they scale; parameters that were frozen stay frozen."""
    model = Function(F.relu).double()
    model.linear.weight.requires_grad_(False)
    rotated = rotate(model, X.double(), skip=None)
    assert {p.dtype for p in rotated.parameters()} == {torch.float64}
    assert [name for name, p in rotated.named_parameters() if not p.requires_grad] == ["linear.weight"]


class Odd(nn.Module):
    """A model with what tracing tends to lose: entries that nothing reads, and constants that are not in the state."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)
        self.head = nn.Sequential(nn.Linear(5, 2))
        self.unused = nn.Parameter(torch.ones(3))
        self.relu1 = "taken"
        self.mask: Tensor
        self.register_buffer("mask", torch.ones(5), persistent=False)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor, heads: bool = False, scale: Tensor | None = None) -> Tensor:
        out: Tensor = F.relu(self.linear(x)) * self.mask + torch.arange(5)
        if scale is not None:
            out = out * scale
        return self.head(out) if heads else out


def test_the_state_dict_is_complete() -> None:
    """Unused entries stay, constants stay out, other arguments are at their defaults, and names are never taken."""
    model = Odd()
    rotated = rotate(model, X, skip=None)
    assert rotated.state_dict().keys() - model.state_dict().keys() == {"relu2.slope"}
    assert model.state_dict().keys() <= rotated.state_dict().keys()
    assert {name for name, _ in model.named_parameters()} <= {name for name, _ in rotated.named_parameters()}
    assert torch.equal(rotated(X), model(X))


def test_the_copy_survives_a_file(tmp_path: Any) -> None:
    """A rotated model is saved and loaded by torch, slopes and all."""
    rotated = rotate(Function(F.gelu), X, skip=None)
    slopes(rotated)["gelu1"].data.fill_(0.25)
    torch.save(rotated, tmp_path / "rotated.pt")
    loaded = torch.load(tmp_path / "rotated.pt", weights_only=False)
    assert torch.equal(loaded(X), rotated(X))


def test_the_copy_can_be_trained() -> None:
    """Gradients reach weights and slopes, and dropout and batch norms follow train() and eval()."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    rotated = rotate(model, X, skip=None).train()
    rotated(X).square().sum().backward()
    assert all(parameter.grad is not None for parameter in rotated.parameters())
    assert not torch.equal(rotated(X), rotated(X))
    rotated.eval()
    assert torch.equal(rotated(X), rotated(X))


class Sized(nn.Module):
    """Decides by sizes, and unpacks, compares and multiplies them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, 4, 3), nn.MultiheadAttention(4, 2, batch_first=True)
        self.bias = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        n, c, h, w = x.shape
        if x.size(1) != 3 and x.dim() == 4 and len(x.shape) == x.ndim:
            x = F.pad(x, (0, 4 - w % 4)) + torch.zeros(1)
        tokens = x.flatten(2).transpose(1, 2) if h > 2 else x
        attended = self.attention(tokens, tokens, tokens)[0] + self.bias[: tokens.shape[-1]]
        return F.gelu(attended.reshape(n * tokens.size(1), c)).view(n, -1)


def test_code_that_decides_by_sizes() -> None:
    """Sizes of the example decide, but any number of samples goes through the copy; the model stays as it was."""
    model = Sized().eval()
    rotated = rotate(model, IMAGES, skip=None)
    assert {name: len(slope) for name, slope in slopes(rotated).items()} == {"relu1": 4, "gelu1": 4}
    for images in (IMAGES, IMAGES[:1], IMAGES.repeat(3, 1, 1, 1)):
        assert torch.equal(rotated(images), model(images))
    assert rotated.state_dict().keys() - model.state_dict().keys() == {"relu1.slope", "gelu1.slope"}
    assert not any(node.target == "size" and not node.users for node in rotated.graph.nodes)


def deciding(x: Tensor) -> Tensor:
    """Return something that depends on values."""
    return F.relu(x) if x.sum() > 0 else x


def one_by_one(x: Tensor) -> Tensor:
    """Return what treats samples one by one, as many as there are."""
    return torch.stack([F.relu(sample) for sample in x.unbind(0)])


def counting(x: Tensor) -> Tensor:
    """Return something that depends on the number of samples."""
    return F.relu(x) if x.shape[0] > 1 else x


class Switching(nn.Module):
    """Does something else in training, outside of its modules."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(F.relu(x), 0.5, self.training)


REFUSED = {
    "decides by values": (
        Function(deciding),
        r"cannot be traced by torch.fx .*: TraceError.*decide nothing by the numbers",
    ),
    "decides by the number of samples": (Function(counting), "or by how many samples there are"),
    "samples one by one": (Function(one_by_one), r"1 acts on a tensor of shape \(5,\), which has no axis of channels"),
    "samples by threes": (
        Function(lambda x: torch.cat([F.relu(part) for part in x.split(3)])),
        "for another number of",
    ),
    "no activation": (nn.Linear(4, 2), "calls no ReLU and no GELU"),
    "other activations": (Function(torch.tanh), "calls no ReLU and no GELU"),
    "functional dropout": (Switching(), "makes other calls in training than in evaluation"),
    "hidden": (nn.Sequential(nn.TransformerEncoderLayer(4, 2)), "0 is a TransformerEncoderLayer, whose activation"),
    "recurrent": (nn.RNN(4, 4, nonlinearity="relu"), "RNN is a RNN, whose activation cannot be reached"),
    "two arguments": (nn.Bilinear(4, 4, 2), r"cannot be traced by torch.fx .*: TypeError"),
    "wrong example": (nn.Sequential(nn.Linear(5, 5), nn.ReLU()), r"does not run on an example of shape \(3, 4\)"),
    "no channels": (nn.Sequential(nn.Flatten(0), nn.ReLU()), r"1 acts on a tensor of shape \(12,\), which has no axis"),
}


@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_rotated_is_refused(model: nn.Module, message: str) -> None:
    """One message says what was found and what to do, whatever stands in the way."""
    with pytest.raises(NetworkError, match=message):
        rotate(model, X, skip=None)


@pytest.mark.parametrize("example", [(3, 4), torch.zeros(0, 4), torch.tensor(1.0)])
def test_examples_are_batches(example: Any) -> None:
    """A shape, an empty batch and a single number are no example."""
    with pytest.raises(SettingsError, match="must be a tensor with a batch"):
        rotate(Function(F.relu), example, skip=None)


def test_skipping_everything_is_refused() -> None:
    """With one activation, skip="first" leaves nothing to rotate, and the message says how to."""
    with pytest.raises(NetworkError, match=r"keeps all activations of Sequential, \['1'\]; skip=None rotates them"):
        rotate(nn.Sequential(nn.Linear(4, 500), nn.ReLU(), nn.Linear(500, 10)), X)


def test_random_numbers_in_evaluation_are_refused() -> None:
    """A model that draws random numbers in evaluation cannot be compared with its copy."""
    with pytest.raises(NetworkError, match="draws random numbers in evaluation"):
        rotate(Function(lambda x: F.relu(x) + torch.rand_like(x)), X, skip=None)


def test_rotated_relus_can_stand_in_the_model_already() -> None:
    """A model that has rotated activations of its own gets the others rotated, and keeps the signs of its own."""
    model = nn.Sequential(nn.Linear(4, 3), RotatedReLU(3, a=-1), nn.Linear(3, 2), nn.ReLU())
    rotated = rotate(model, X)
    assert list(slopes(rotated)) == ["1", "3"]
    assert torch.equal(rotated(X), model(X))
