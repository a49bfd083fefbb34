"""Channel removal on the architectures it is for, and on the published rotated ResNet-20."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

import milpcomp as mc
from milpcomp.channels import Removal, masked_accounting, remove_channels, silenced
from milpcomp.channels.images import read_images
from milpcomp.channels.measure import outputs, predictions
from milpcomp.compression.shrink import shrink
from milpcomp.cost import cost
from milpcomp.network import Conv2d, Dense, Network, Rectifier, Scale
from models.preact_resnet import PreActBottleneck, PreActResNet, rotated_preact_resnet20
from models.resnet import MEAN, STD, rotated_resnet20
from tests.channel_nets import Plants, planted, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

AUTHORS = "nets/rrelu2024/resnet20_rrelu_cifar10.th"
ALIVE = [16, 16, 16, 16, 16, 15, 32, 31, 32, 32, 32, 32, 64, 64, 64, 64, 64, 40]
"""Channels of each activation with |b| > 0.1."""

ARCHITECTURES: dict[str, Callable[[], torch.nn.Module]] = {
    "ResNet-20": rotated_resnet20,
    "pre-activation ResNet-20": rotated_preact_resnet20,
    "bottleneck": lambda: PreActResNet(PreActBottleneck, 2, "rotated", 10),
}


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def network(request: pytest.FixtureRequest) -> Network:
    """Return each architecture with random numbers, for images of 8 x 8 pixels."""
    return read(ARCHITECTURES[request.param]())


@pytest.fixture(scope="module")
def authors(shared_data: Path) -> Network:
    """Return the published rotated ResNet-20."""
    return mc.load(shared_data / AUTHORS, architecture=rotated_resnet20, input_shape=(3, 32, 32))


@pytest.fixture(scope="module")
def thresholded(authors: Network) -> Removal:
    """Return it without the channels whose slopes are at most 0.1."""
    return remove_channels(authors, 0.1)


def same_everywhere(network: Network, seed: int = 0) -> Network:
    """Return the shrunk network, after asserting that all feature maps it keeps are equal, borders included."""
    x = np.random.default_rng(seed).normal(size=(2, *network.input_shape))
    small = shrink(network)
    values, after = network.values(x), small.network.values(x)
    for name, (node, channels) in small.origin.items():
        whole = values[node] if channels is None else values[node][:, list(channels)]
        assert np.abs(after[name] - whole).max(initial=0.0) < 1e-10, name
    assert np.abs(values[network.output] - after[small.network.output]).max() < 1e-10
    return small.network


def positions(network: Network) -> Iterator[tuple[str, Plants]]:
    """Yield plants: one channel, and all but one, at every activation and batch norm; blocks and stages but one."""
    sites = [node.name for node in network.nodes if isinstance(node.layer, Rectifier | Scale)]
    for name in sites:
        count = network.shape(name)[0]
        yield f"{name}: one", {name: [count // 2]}
        yield f"{name}: all but one", {name: range(1, count)}
    for prefix in ("layer1.1.", "layer2.0.", "layer3.", "layer1."):
        inside = [name for name in sites if name.startswith(prefix)]
        yield f"{prefix} slopes", {n: range(1, network.shape(n)[0]) for n in inside if _is_rectifier(network, n)}
        yield f"{prefix} scales", {n: range(1, network.shape(n)[0]) for n in inside if not _is_rectifier(network, n)}
        yield f"{prefix} all slopes", {n: range(network.shape(n)[0]) for n in inside if _is_rectifier(network, n)}


def _is_rectifier(network: Network, name: str) -> bool:
    return isinstance(network[name].layer, Rectifier)


def test_zeros_planted_at_every_position_are_removed_exactly(network: Network) -> None:
    """Outputs, and all feature maps that stay, equal to 1e-10; every zero slope saves FLOPs."""
    before = cost(network)
    found = list(positions(network))
    for what, plants in found:
        after = cost(same_everywhere(planted(network, plants)))
        silent = any(_is_rectifier(network, name) for name in plants)  # a constant reader of a stream saves nothing yet
        assert (after.flops < before.flops) if silent else (after.flops <= before.flops), what
        assert after.parameters <= before.parameters, what
    assert len(found) >= 2 * len(network.rectifiers)


def test_removals_with_folding_are_accepted(network: Network) -> None:
    """Slopes and scales planted together: outputs agree, and the checker accepts; zero slopes alone deviate by 0."""
    rng = np.random.default_rng(0)
    sites = [node for node in network.nodes if isinstance(node.layer, Rectifier | Scale) and "." in node.name]
    x = rng.normal(size=(2, *network.input_shape))
    wide = max(network.shape(node.name)[0] for node in sites) > 64  # there folding takes minutes
    for kinds, limit in ((Rectifier, 0.0),) if wide else ((Rectifier, 0.0), (Rectifier | Scale, 1e-7)):
        plants = {
            n.name: np.flatnonzero(rng.random(network.shape(n.name)[0]) < 0.3).tolist()
            for n in sites
            if isinstance(n.layer, kinds)
        }
        whole = planted(network, plants)
        removal = remove_channels(whole)
        assert removal.compression.deviation_bound <= limit
        assert np.abs(removal.network.forward(x) - whole.forward(x)).max() < 1e-10
    assert removal.check().accepted


def test_golden_numbers_of_the_published_network(authors: Network, thresholded: Removal) -> None:
    """Alive channels, 26 ignored, and the papers' accounting of weights and FLOPs."""
    assert [alive for alive, _ in thresholded.alive.values()] == ALIVE
    assert thresholded.dead == thresholded.silenced == 26
    assert not thresholded.exact
    counted = thresholded.accounting
    assert (counted.weights, counted.weights_left) == (268_336, 253_264)
    assert (counted.flops, counted.flops_left) == (81_102_080, 78_594_848)
    for gamma, count in ((0.001, 14), (0.01, 20), (0.2, 28)):
        masked = silenced(authors, gamma)
        zeros = sum(
            int((np.abs(node.layer.positive_slope) == 0).sum())
            for node in masked.rectifiers
            if isinstance(node.layer, Rectifier)
        )
        assert zeros == count
    assert masked_accounting(authors).weights_left == 268_336


def test_the_published_network_is_reduced_exactly(thresholded: Removal) -> None:
    """What is removed at 0.1 is proved to be nothing, and what is left is what the papers count."""
    after = thresholded.compression.after
    assert thresholded.compression.deviation_bound == 0
    assert after.flops == thresholded.accounting.flops_left
    weights = sum(n.layer.weight.size for n in thresholded.network.nodes if isinstance(n.layer, Conv2d | Dense))
    assert weights == thresholded.accounting.weights_left
    assert after.parameters == 269_722 - (268_336 - 253_264) - 2 * 26


def test_the_reduced_module_is_what_was_reported(thresholded: Removal, tmp_path: Path) -> None:
    """FLOPs and parameters counted by torch on the module, and on the one that torch reads back without any class."""
    from milpcomp.report.outputs import write_program

    write_program(thresholded.network, tmp_path / "small.pt2")
    modules = [thresholded.network.to_torch().eval(), torch.export.load(tmp_path / "small.pt2").module()]
    after, images = thresholded.compression.after, torch.randn(2, 3, 32, 32)
    for module in modules:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(images)
        assert counter.get_total_flops() == 2 * after.flops
        numbers = [t for t in module.state_dict().values() if t.is_floating_point() and t.any()]
        assert sum(t.numel() for t in numbers) == after.parameters + after.slopes
    with torch.no_grad():
        assert torch.equal(modules[0](images), modules[1](images))


def test_no_prediction_of_the_published_network_changes(
    authors: Network, thresholded: Removal, shared_data: Path
) -> None:
    """92.86 % of 10,000 before and after; masked and reduced agree within 1e-4 in float32, read back as ONNX too."""
    images, labels = read_images(shared_data / "cifar10" / "test.npz", (3, 32, 32), MEAN, STD)
    assert labels is not None
    before, masked, small = (outputs(each, images) for each in (authors, thresholded.masked, thresholded.network))
    found: list[NDArray[np.int64]] = [predictions(each) for each in (before, masked, small)]
    assert [int((own == labels).sum()) for own in found] == [9286, 9286, 9286]
    assert not (found[0] != found[1]).any()
    assert not (found[1] != found[2]).any()
    assert np.abs(masked - before).max() == pytest.approx(6.2e-4, rel=0.02)
    assert np.abs(small - masked).max() < 1e-4


def test_the_reduced_network_runs_as_onnx(thresholded: Removal, tmp_path: Path) -> None:
    """ONNX Runtime gives the outputs of the masked network, up to float32 rounding."""
    runtime = pytest.importorskip("onnxruntime")
    thresholded.network.to_onnx(tmp_path / "small.onnx")
    session = runtime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    (found,) = session.run(None, {"input": x})
    assert np.abs(found - outputs(thresholded.masked, x)).max() < 1e-4
