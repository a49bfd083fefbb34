"""Vision transformers: counting, and removing channels of their perceptrons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from milpcomp import Box, certify, load
from milpcomp.compression.shrink import shrink
from milpcomp.cost import Cost, cost
from milpcomp.errors import UnsupportedOperatorError
from milpcomp.network import Conv2d, Gelu, Network, Node
from milpcomp.rotated import RotatedGELU
from models.vit import Mlp, VisionTransformer, vit_micro, vit_small_16

SHAPE = (3, 8, 8)


def trained(activation: str, seed: int = 0) -> VisionTransformer:
    """Return a small transformer in double, with numbers as large as those of trained ones."""
    torch.manual_seed(seed)
    module = vit_micro(activation).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.4)
    return module


def perceptrons(module: VisionTransformer) -> list[Mlp]:
    """Return the perceptrons of the blocks."""
    return [part for part in module.modules() if isinstance(part, Mlp)]


def slopes(module: VisionTransformer) -> list[nn.Parameter]:
    """Return the slopes of the blocks."""
    return [part.slope for part in module.modules() if isinstance(part, RotatedGELU)]


@dataclass(frozen=True)
class Case:
    """A transformer with zero slopes, what it computes, and its network without them."""

    module: VisionTransformer
    expected: np.ndarray
    network: Network
    smaller: Network


@pytest.fixture(scope="module")
def case() -> Case:
    """Return a transformer without every third channel in its first block, and with only channel 1 in its second."""
    module = trained("rotated")
    first, second = slopes(module)
    with torch.no_grad():
        first[::3] = 0.0
        second[2:] = second[0] = 0.0
    network = load(module, input_shape=SHAPE)
    return Case(module, module(images()).detach().numpy(), network, shrink(network).network)


def images(count: int = 4) -> torch.Tensor:
    """Return random images."""
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def mlp_cost(found: Cost, blocks: str = "blocks.") -> tuple[int, int]:
    """Return parameters and FLOPs of the perceptrons."""
    own = [layer for layer in found.layers if layer.name.startswith(blocks) and ".mlp." in layer.name]
    return sum(layer.parameters for layer in own), sum(layer.flops for layer in own)


def torch_flops(module: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """Return the FLOPs that torch counts, those of products without weights, of which attention is made, apart."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        module(x)
    counts = {str(operator): flops for operator, flops in counter.get_flop_counts()["Global"].items()}
    attention = counts.pop("aten.bmm")
    return sum(counts.values()), attention


def test_forward_equals_torch(case: Case) -> None:
    """The network read from a small transformer computes what the module computes."""
    assert np.abs(case.network.forward(images().numpy()) - case.expected).max() <= 1e-10
    assert np.ptp(case.expected) > 0.1


def test_silent_channels_are_removed_without_a_change(case: Case) -> None:
    """Rows of fc1 and columns of fc2 of zero slopes go, everything left is verbatim, and outputs stay equal."""
    assert np.abs(case.smaller.forward(images().numpy()) - case.expected).max() <= 1e-10
    for i, (mlp, slope) in enumerate(zip(perceptrons(case.module), slopes(case.module), strict=True)):
        kept = np.flatnonzero(slope.detach().numpy())
        fc1, act, fc2 = (case.smaller[f"blocks.{i}.mlp.{name}"].layer for name in ("fc1.product", "act", "fc2.product"))
        assert isinstance(fc1, Conv2d)
        assert isinstance(act, Gelu)
        assert isinstance(fc2, Conv2d)
        assert np.array_equal(fc1.weight[:, :, 0, 0], mlp.fc1.weight.detach().numpy()[kept])
        assert np.array_equal(fc1.bias, mlp.fc1.bias.detach().numpy()[kept])
        assert np.array_equal(act.slope.reshape(-1), slope.detach().numpy()[kept])
        assert np.array_equal(fc2.weight[:, :, 0, 0], mlp.fc2.weight.detach().numpy()[:, kept])
        assert np.array_equal(fc2.bias, mlp.fc2.bias.detach().numpy())
        assert len(kept) == (13, 1)[i]


def test_a_wholly_silent_perceptron_leaves_its_bias(case: Case) -> None:
    """With all slopes of a block zero, its fc1 and GELU disappear; the bias of fc2 stays on the stream."""
    nodes = [
        Node(node.name, Gelu(0.0) if node.name == "blocks.0.mlp.act" else node.layer, node.inputs)
        for node in case.network
    ]
    silent = Network(SHAPE, nodes, case.network.output)
    smaller = shrink(silent).network
    x = images().numpy()
    assert np.abs(smaller.forward(x) - silent.forward(x)).max() <= 1e-10
    assert np.abs(smaller.forward(x) - case.expected).max() > 1e-3
    assert not any(node.name.startswith(("blocks.0.mlp.fc1", "blocks.0.mlp.act")) for node in smaller.nodes)


def test_the_reduced_network_is_written_and_read(case: Case, tmp_path: Path) -> None:
    """The file comes back bit by bit; the module needs torch alone, survives its state dict, and can be read again."""
    case.smaller.save(tmp_path / "vit.npz")
    assert load(tmp_path / "vit.npz").digest == case.smaller.digest
    reduced, empty = case.smaller.to_torch(torch.float64), case.smaller.to_torch(torch.float64)
    for tensor in empty.state_dict().values():
        tensor.zero_()
    torch.save(reduced.state_dict(), tmp_path / "state.pt")
    empty.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for again in (reduced, empty):
        assert np.abs(again(images()).detach().numpy() - case.expected).max() <= 1e-10
    assert np.abs(load(reduced, input_shape=SHAPE).forward(images().numpy()) - case.expected).max() <= 1e-10
    assert np.abs(case.smaller.to_torch()(images().float()).detach().numpy() - case.expected).max() <= 1e-3


def test_flops_are_those_that_torch_counts(case: Case) -> None:
    """Convolutions and linear layers together are all that torch's counter finds besides attention."""
    plain, attention = torch_flops(case.module, images(1))
    assert cost(case.network).flops == plain
    assert attention == 2 * 3 * 2 * (
        2 * 5 * 5 * 4
    )  # blocks, heads, products of 5 x 4 and 4 x 5 matrices, or 5 x 5 and 5 x 4


def test_analysis_refuses_transformers(case: Case) -> None:
    """Bounds do not exist for attention: the error lists both norms, the GELU and the attention of each block."""
    with pytest.raises(UnsupportedOperatorError, match=r"certify cannot handle 13 layer\(s\)") as caught:
        certify(case.network, Box(0.0, 1.0))
    for part in ("norm1", "attn.attention.softmax", "norm2", "mlp.act"):
        assert f"blocks.1.{part}" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"activation": "relu"}, {"patch": 3}, {"heads": 5}])
def test_impossible_transformers_are_refused(wrong: dict[str, object]) -> None:
    """Unknown activations, patches that do not tile the image and heads that do not divide the width are errors."""
    options = {"image": 8, "patch": 4, "dim": 12, "depth": 1, "heads": 3, "hidden": 5, "classes": 2} | wrong
    with pytest.raises(ValueError, match="must"):
        VisionTransformer(**options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_vit_small_has_the_published_counts() -> None:
    """Perceptrons of ViT-S/16: 14,178,816 parameters (biases included), 28,311,552 FLOPs a token, 18,432 slopes."""
    module = vit_small_16("rotated").eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:  # a bias of zeros or a scale of ones is no parameter of the network
                parameter.uniform_(0.5, 0.9)
    network = load(module, input_shape=(3, 224, 224))
    found = cost(network)
    assert mlp_cost(found) == (14_178_816, 197 * 28_311_552)
    assert found.slopes == 18_432 == sum(slope.numel() for slope in slopes(module))
    numbers = sum(parameter.numel() for parameter in module.parameters()) - found.slopes
    assert numbers == 22_050_664
    assert found.parameters == numbers + 196 * 384 + 12  # class token stored with zeros for patches; 12 times 1/sqrt(d)
    with torch.no_grad():
        plain, attention = torch_flops(module, torch.zeros(1, 3, 224, 224))
    assert found.flops == plain
    assert attention == 12 * 6 * 2 * (2 * 197 * 197 * 64)


@pytest.mark.slow
def test_half_of_vit_small_is_removed() -> None:
    """With every second slope at zero, the perceptrons lose half of their weights and FLOPs, in every block."""
    module = vit_small_16("rotated").eval()
    with torch.no_grad():
        for mlp, slope in zip(perceptrons(module), slopes(module), strict=True):
            slope[::2] = 0.0
            mlp.fc1.bias.fill_(0.1)
            mlp.fc2.bias.fill_(0.1)
    smaller = shrink(load(module, input_shape=(3, 224, 224))).network
    assert mlp_cost(cost(smaller)) == (12 * (768 * (2 * 384 + 1) + 384), 197 * 28_311_552 // 2)
    reduced, x = smaller.to_torch(), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert (reduced(x) - module(x)).abs().max() <= 1e-4
