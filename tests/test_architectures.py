"""The architectures of models/: published counts by three ways of counting, the functions, and the published files."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import milpcomp as mc
from milpcomp.cost import cost
from milpcomp.errors import CheckpointError
from milpcomp.network.checkpoint_architecture import fill_module, make_module
from milpcomp.network.checkpoint_file import read_tensors
from milpcomp.rotated import slopes
from models.mlp import autoencoder, mlp
from models.parts import Activation, activation, padded_shortcut, stir
from models.preact_resnet import PreActBlock, PreActBottleneck, PreActResNet
from models.resnet import Block, ResNet, resnet20
from models.wide_resnet import Bottleneck, WideBlock, WideResNet

CIFAR = (3, 32, 32)

GOLDEN = {
    # slopes, parameters, FLOPs, residual additions
    "models.mlp:fcnn": (500, 397_510, 794_000, 0),
    "models.resnet:resnet20": (672, 269_722, 81_102_080, 86_016),
    "models.resnet:resnet56": (2016, 853_018, 250_971_392, 258_048),
    "models.resnet:resnet110": (4032, 1_727_962, 505_775_360, 516_096),
    "models.preact_resnet:preact_resnet20": (624, 269_722, 81_102_080, 86_016),
    "models.preact_resnet:preact_resnet110": (3984, 1_727_962, 505_775_360, 516_096),
    "models.preact_resnet:resnet164": (11_856, 1_703_258, 495_293_440, 2_064_384),
    "models.wide_resnet:wrn16_4": (1552, 2_748_890, 785_224_704, 229_376),
    "models.wide_resnet:wrn40_4": (5136, 8_949_210, 2_597_164_032, 688_128),
    "models.wide_resnet:wrn50_2": (30_208, 68_883_240, 22_796_042_240, 5_519_360),
}
DEEP = {"resnet56", "resnet110", "preact_resnet20", "preact_resnet110", "resnet164", "wrn40_4", "wrn50_2"}
"""These take up to a minute to trace on a busy core."""


def make(address: str, kind: Activation) -> nn.Module:
    """Return the model at an address, in eval mode."""
    module, _, name = address.partition(":")
    model: nn.Module = getattr(importlib.import_module(module), name)(kind)
    return model.eval()


def shape_of(address: str) -> tuple[int, ...]:
    """Return the shape of the samples that the model at an address takes."""
    return {"models.mlp:fcnn": (784,), "models.wide_resnet:wrn50_2": (3, 224, 224)}.get(address, CIFAR)


def torch_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the FLOPs of one sample as torch counts them; the model loses its numbers."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta")(torch.zeros(1, *shape, device="meta"))
    return int(counter.get_total_flops())


def formula_flops(model: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Return 2 c_in k^2 h w c_out for every convolution and 2 m n for every dense layer, by name."""
    found: dict[str, int] = {}

    def listen(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kernel = getattr(part, "kernel_size", (1,))[0]
            found[name] = 2 * inputs[0].shape[1] * kernel**2 * output[0].numel()  # numel: c_out h w

        return note

    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    hooks = [part.register_forward_hook(listen(name)) for name, part in parts]
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return found


# -------------------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize("address", GOLDEN)
def test_modules_have_the_published_counts(address: str) -> None:
    """Parameters, slopes and torch's own FLOPs of the module are the published ones, with and without slopes."""
    expected_slopes, parameters, flops, _ = GOLDEN[address]
    plain = make(address, "relu")
    assert sum(p.numel() for p in plain.parameters()) == parameters
    assert not slopes(plain)
    assert torch_flops(plain, shape_of(address)) == flops
    rotated = make(address, "rotated")
    assert sum(slope.numel() for slope in slopes(rotated).values()) == expected_slopes
    assert sum(p.numel() for p in rotated.parameters()) == parameters + expected_slopes


@pytest.mark.parametrize(
    "address", [pytest.param(a, marks=pytest.mark.slow if a.partition(":")[2] in DEEP else ()) for a in GOLDEN]
)
def test_networks_have_the_published_counts(address: str) -> None:
    """`milpcomp.cost` of the network as read finds the same, and in each layer what the paper's formula says."""
    model, shape = make(address, "rotated"), shape_of(address)
    stir(model)
    found = cost(mc.load(model, input_shape=shape))
    assert (found.slopes, found.parameters, found.flops, found.additions) == GOLDEN[address]
    by_layer = {layer.name: layer.flops for layer in found.layers if layer.flops}
    assert by_layer == formula_flops(model, shape)


@pytest.mark.parametrize("address", GOLDEN)
def test_the_readme_states_these_counts(address: str) -> None:
    """The table in models/README.md has a row for each architecture, with these numbers."""
    rows = (Path(__file__).parents[1] / "models" / "README.md").read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(f"| `{address}`"))
    assert row.endswith("| {:,} | {:,} | {:,} |".format(*GOLDEN[address]))


@pytest.mark.parametrize("hidden", [(100, 10, 100), (50, 10, 50)])
def test_autoencoders(hidden: tuple[int, ...]) -> None:
    """784 pixels in and out; the counts by hand; the code layer too has an activation, the output has none."""
    model = autoencoder(hidden, "rotated")
    stir(model)
    found = cost(mc.load(model, input_shape=(784,)))
    outer, code, _ = hidden
    weights = 2 * (784 * outer + outer * code)
    assert found.parameters == weights + 2 * outer + code + 784
    assert (found.flops, found.neurons, found.slopes) == (2 * weights, 2 * outer + code, 2 * outer + code)
    assert isinstance(model[-1], nn.Linear)
    assert list(autoencoder(hidden).state_dict()) == [f"{2 * i}.{n}" for i in range(4) for n in ("weight", "bias")]


# ----------------------------------------------------------------------------------------------------------- functions


SMALL = {
    "post-activation": lambda: ResNet(1, "rotated", 10),
    "pre-activation": lambda: PreActResNet(PreActBlock, 1, "rotated", 10),
    "bottleneck": lambda: PreActResNet(PreActBottleneck, 1, "rotated", 10),
    "wide": lambda: WideResNet(10, 1, "rotated", 10),
    "wide bottleneck": lambda: nn.Sequential(Bottleneck(3, 4, 8, 2, "rotated"), Bottleneck(8, 4, 8, 1, "rotated")),
    "dense": lambda: nn.Sequential(nn.Flatten(), mlp([3072, 6, 5, 4], "rotated")),
}


@pytest.mark.parametrize("kind", SMALL)
def test_every_architecture_is_read_exactly(kind: str) -> None:
    """The network as read equals the module in double within 1e-12 relative, with slopes of either sign."""
    torch.manual_seed(0)
    model = SMALL[kind]().eval()
    stir(model)
    network = mc.load(model, input_shape=CIFAR)
    x = np.random.default_rng(0).normal(size=(3, *CIFAR))
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network.forward(x), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3
    assert cost(network).slopes == sum(slope.numel() for slope in slopes(model).values())


def test_option_a_shortcut() -> None:
    """Every second pixel of two channels comes through, between two channels of zeros; equal shapes are left alone."""
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    y = padded_shortcut(x, 6, 2)
    assert y[0, :, 0, 0].tolist() == [0, 0, 0, 16, 0, 0]
    assert y[0, 2].tolist() == [[0, 2], [8, 10]]
    assert padded_shortcut(x, 2, 1) is x


def silenced(block: nn.Module, *names: str) -> nn.Module:
    """Return the block, stirred, in eval mode, with zero slopes in the named activations."""
    stir(block)
    for name in names:
        slopes(block)[name].data.zero_()
    return block.eval()


def test_what_zero_slopes_do_to_blocks() -> None:
    """Post-activation blocks give zero, pre-activation blocks pass the stream on, wide ones may lose the shortcut."""
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert not silenced(Block(4, 8, 2, "rotated"), "rrelu2")(x).any()
        assert torch.equal(silenced(PreActBlock(4, 8, 2, "rotated"), "rrelu2")(x), padded_shortcut(x, 8, 2))
        assert torch.equal(silenced(PreActBlock(4, 4, 1, "rotated"), "rrelu2")(x), x)
        assert torch.equal(silenced(PreActBottleneck(4, 1, 1, "rotated"), "rrelu3")(x), x)
        projected = silenced(PreActBottleneck(4, 2, 2, "rotated"), "rrelu3")
        assert torch.equal(projected(x), projected.get_submodule("shortcut")(x))
        assert torch.equal(silenced(WideBlock(4, 4, 1, "rotated"), "relu2")(x), x)
        assert silenced(WideBlock(4, 8, 2, "rotated"), "relu2")(x).any()
        assert not silenced(WideBlock(4, 8, 2, "rotated"), "relu1", "relu2")(x).any()
        assert not silenced(Bottleneck(4, 2, 8, 1, "rotated"), "relu3")(x).any()


def test_new_models() -> None:
    """Weights have variance 2 / fan_in, are the same with and without slopes, and slopes of 1 change nothing."""
    torch.manual_seed(0)
    plain = resnet20().eval()
    torch.manual_seed(0)
    rotated = resnet20("rotated").eval()
    weight = plain.get_parameter("layer3.1.conv1.weight")
    assert weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)
    assert not plain.linear.bias.any()
    x = torch.randn(2, *CIFAR)
    with torch.no_grad():
        assert torch.equal(plain(x), rotated(x))
        assert plain(x).abs().max() > 0.1
    assert resnet20("rotated", classes=100).linear.out_features == 100


def test_unknown_activations_are_refused() -> None:
    """An activation of another name is an error that lists the two."""
    with pytest.raises(ValueError, match='activation=\'gelu\' is not known; choose "relu" or "rotated"'):
        activation("gelu", 3)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------- files


def test_names_of_state_dicts() -> None:
    """The state dicts have the names of published checkpoints, and the slopes names of their own."""
    wide = make("models.wide_resnet:wrn16_4", "rotated").state_dict()
    assert {"block1.layer.0.convShortcut.weight", "block3.layer.1.relu2.slope", "bn1.weight", "fc.bias"} <= wide.keys()
    imagenet = nn.Sequential(Bottleneck(4, 2, 8, 1, "relu")).state_dict()
    assert {"0.downsample.0.weight", "0.downsample.1.running_var", "0.bn3.weight"} <= imagenet.keys()
    assert "layer1.0.rrelu1.slope" in make("models.resnet:resnet20", "rotated").state_dict()
    assert not any("relu" in name for name in resnet20().state_dict())


def published(path: Path, address: str) -> nn.Module:
    """Return the model at an address with the numbers of a checkpoint."""
    return fill_module(make_module(address), read_tensors(path), path)


def test_the_authors_checkpoint(shared_file: Callable[[str], Path]) -> None:
    """672 slopes in [-2.292, 2.033], 333 negative, none zero; 14, 20, 26, 28 within 0.001, 0.01, 0.1, 0.2."""
    path = shared_file("nets/rrelu2024/resnet20_rrelu_cifar10.th")
    model = published(path, "models.resnet:rotated_resnet20")
    values = torch.cat([slope.detach() for slope in slopes(model).values()])
    assert len(values) == 672
    assert values.min().item() == pytest.approx(-2.292, abs=5e-4)
    assert values.max().item() == pytest.approx(2.033, abs=5e-4)
    assert (int((values < 0).sum()), int((values == 0).sum())) == (333, 0)
    assert [int((values.abs() <= gamma).sum()) for gamma in (0.001, 0.01, 0.1, 0.2)] == [14, 20, 26, 28]
    alive = {name: int((slope.abs() > 0.1).sum()) for name, slope in slopes(model).items()}
    assert list(alive.values()) == [16] * 5 + [15] + [32, 31] + [32] * 4 + [64] * 5 + [40]
    assert [name for name, slope in slopes(model).items() if alive[name] < len(slope)] == [
        "layer1.2.rrelu2", "layer2.0.rrelu2", "layer3.2.rrelu2"
    ]  # fmt: skip


def test_the_authors_checkpoint_as_a_network(shared_file: Callable[[str], Path]) -> None:
    """Loaded by its address it costs what the paper says: 81,102,080 FLOPs, 268,336 weights, 269,722 parameters."""
    path = shared_file("nets/rrelu2024/resnet20_rrelu_cifar10.th")
    network = mc.load(path, architecture="models.resnet:rotated_resnet20", input_shape=CIFAR)
    found = cost(network)
    assert (found.slopes, found.parameters, found.flops, found.additions) == GOLDEN["models.resnet:resnet20"]
    assert sum(
        np.asarray(node.layer.arrays()["weight"]).size for node in network if "weight" in node.layer.arrays()
    ) == (268_336)


@pytest.mark.parametrize(
    ("file", "address"),
    [("resnet20-12fca82f.th", "models.resnet:resnet20"), ("resnet56-4bfd9763.th", "models.resnet:resnet56")],
)
def test_published_relu_checkpoints(shared_file: Callable[[str], Path], file: str, address: str) -> None:
    """The ReLU networks load by their address; their weights also start a rotated one, which computes the same."""
    path = shared_file(f"nets/akamaster/{file}")
    model = published(path, address)
    rotated = make(address, "rotated")
    missing, surplus = rotated.load_state_dict(model.state_dict(), strict=False)
    assert (set(missing), surplus) == ({f"{name}.slope" for name in slopes(rotated)}, [])
    x = torch.randn(1, *CIFAR, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(rotated(x), model(x))
        assert F.softmax(model(x), dim=1).max() > 0.2


def test_slopes_load_under_the_authors_name_or_not_at_all() -> None:
    """`rrelu1.a` fills the slopes of `rrelu1`; of another length, or beside a surplus name, it is an error."""
    tensors = nn.Sequential(Block(3, 4, 1, "rotated")).state_dict()
    values = torch.tensor([1.0, -2.0, 0.0, 3.0])
    renamed = {name.replace("rrelu1.slope", "rrelu1.a"): tensor for name, tensor in tensors.items()}
    renamed["0.rrelu1.a"] = values
    filled = fill_module(nn.Sequential(Block(3, 4, 1, "rotated")), renamed, "net.pt")
    assert torch.equal(slopes(filled)["0.rrelu1"], values)
    with pytest.raises(
        CheckpointError, match=r"net\.pt does not belong to the architecture Sequential: .*size mismatch"
    ):
        fill_module(nn.Sequential(Block(3, 4, 1, "rotated")), renamed | {"0.rrelu1.a": values[:3]}, "net.pt")
    with pytest.raises(CheckpointError, match=r"the module does not have 0\.rrelu3\.a"):
        fill_module(nn.Sequential(Block(3, 4, 1, "rotated")), renamed | {"0.rrelu3.a": values}, "net.pt")
