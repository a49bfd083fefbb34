"""Channels go by their slopes: exactly where those are 0, and measured where they are small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import milpcomp as mc
from milpcomp.channels import (
    Removal,
    channel_slopes,
    dead_channels,
    masked_accounting,
    remove_channels,
    silenced,
    speed,
)
from milpcomp.channels.storage import load_removal, save_removal
from milpcomp.compression import rewrite
from milpcomp.compression.shrink import shrink
from milpcomp.cost import cost
from milpcomp.errors import MilpcompError, ResultError, SettingsError
from milpcomp.network import INPUT, Add, Conv2d, Dense, Gelu, Network, Node, Rectifier, Scale
from milpcomp.report.channels import check_line
from tests.channel_nets import chain_cnn, planted, random_residual
from tests.nets import chain

CHAIN = chain_cnn(np.random.default_rng(0))


def gap(a: Network, b: Network, seed: int = 0) -> float:
    """Return the greatest relative difference of two networks on random images."""
    x = np.random.default_rng(seed).normal(size=(6, *a.input_shape))
    first, second = a.forward(x), b.forward(x)
    return float(np.abs(first - second).max() / (1 + np.abs(first).max()))


def test_slopes_are_those_stored_one_by_one() -> None:
    """A plain ReLU has none; of two sides the steeper one counts, with its sign."""
    network = chain((2,), Dense(np.eye(2)), Rectifier(), Rectifier([0.5, -3.0]), Rectifier([1.0, 1.0], [-2.0, 0.0]))
    found = channel_slopes(network)
    assert {name: own.tolist() for name, own in found.items()} == {"2": [0.5, -3.0], "3": [-2.0, 1.0]}


def test_only_small_slopes_are_silenced() -> None:
    """|b| <= gamma becomes exactly 0, all else is the same object; with nothing to do the network itself comes back."""
    network = chain((3,), Dense(np.eye(3)), Rectifier([0.1, -0.1, 0.2]), Dense(np.eye(3)))
    masked = silenced(network, 0.1)
    assert dead_channels(masked)["1"].tolist() == [True, True, False]
    assert masked["0"].layer is network["0"].layer
    assert silenced(network, 0.05) is network
    assert silenced(network, 0.0) is network


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf"), "0.1", None])
def test_thresholds_that_are_none_are_refused(gamma: float) -> None:
    """A threshold is a finite number >= 0, or auto."""
    with pytest.raises(SettingsError, match='"auto" or a number >= 0'):
        remove_channels(CHAIN, gamma)


def test_accounting_by_hand() -> None:
    """Filter i in front and sub-filter i behind: 3x3 convolutions 2 -> 3 -> 4 on 4 x 4 pixels, one slope of 3 zero."""
    rng = np.random.default_rng(0)
    layers = [
        Conv2d(rng.normal(size=(3, 2, 3, 3)), padding=(1, 1, 1, 1)),
        Scale(rng.normal(size=(3, 1, 1))),
        Rectifier(np.array([1.0, 0.0, 2.0]).reshape(3, 1, 1)),
        Conv2d(rng.normal(size=(4, 3, 3, 3)), padding=(1, 1, 1, 1)),
    ]
    found = masked_accounting(chain((2, 4, 4), *layers))
    assert (found.weights, found.weights_left) == (9 * (6 + 12), 9 * (4 + 8))
    assert (found.flops, found.flops_left) == (2 * 16 * found.weights, 2 * 16 * found.weights_left)


def test_accounting_and_cost_agree_on_a_chain() -> None:
    """Where nothing else becomes superfluous, the papers' accounting is what the smaller network really has."""
    network = planted(CHAIN, {"act1": [0, 3], "act2": [1], "act3": [2], "act4": [4, 5]})
    removal = remove_channels(network)
    weights = sum(node.layer.weight.size for node in removal.network.nodes if isinstance(node.layer, Conv2d | Dense))
    assert removal.accounting.weights_left == weights
    assert removal.accounting.flops_left == removal.compression.after.flops < removal.compression.before.flops


@pytest.mark.parametrize("name", ["act1", "act2", "act3", "act4"])
@pytest.mark.parametrize("which", ["first", "all but one", "all"])
def test_zero_slopes_of_a_chain_go_exactly(name: str, which: str) -> None:
    """Equal outputs, a deviation of exactly 0 unless the network is a constant, and the checker agrees."""
    count = CHAIN.shape(name)[0]
    channels = {"first": [0], "all but one": list(range(1, count)), "all": list(range(count))}[which]
    network = planted(CHAIN, {name: channels})
    removal = remove_channels(network, domain=mc.Box(0.0, 1.0))
    assert removal.exact
    assert removal.dead == len(channels)
    assert gap(network, removal.network) < 1e-14
    assert removal.compression.deviation_bound <= (1e-10 if which == "all" else 0)
    assert removal.compression.after.parameters < removal.compression.before.parameters
    assert removal.check().accepted
    assert rewrite(network, removal.compression.edits).digest == removal.network.digest


def test_zero_scales_fold_share_or_stay() -> None:
    """A scale of 0 is folded into an unpadded reader, shared in front of a padded one, and filters go in any case."""
    folded = remove_channels(planted(CHAIN, {"bn2": [0, 2]}))
    assert folded.network.shape("act2")[0] == 3
    shared = planted(CHAIN, {"bn1": [0, 1, 2, 3]})
    positive = Scale(shared["bn1"].layer.scale, np.abs(shared["bn1"].layer.shift))  # type: ignore[attr-defined]
    nodes = [replace(node, layer=positive) if node.name == "bn1" else node for node in shared.nodes]
    shared = Network(shared.input_shape, nodes)
    found = remove_channels(shared)
    assert found.network.shape("conv1")[0] == 2
    assert found.network.shape("act1")[0] == 3
    for before, after in ((planted(CHAIN, {"bn2": [0, 2]}), folded), (shared, found)):
        assert gap(before, after.network) < 1e-13
        assert 0 < after.compression.deviation_bound < 1e-9
        assert after.check().accepted
    kept = remove_channels(shared, tolerance=0.0)
    assert kept.compression.deviation_bound == 0
    assert (kept.network.shape("conv1")[0], kept.network.shape("act1")[0]) == (2, 6)
    assert gap(shared, kept.network) < 1e-14


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.8, 1.0]))
@settings(max_examples=60)
def test_removal_never_changes_random_residual_networks(seed: int, share: float) -> None:
    """Zero slopes and zero scales anywhere: the same function, in every feature map that is kept, borders included."""
    rng = np.random.default_rng(seed)
    network = random_residual(rng)
    plants = {
        node.name: np.flatnonzero(rng.random(network.shape(node.name)[0]) < share * rng.integers(2)).tolist()
        for node in network.nodes
        if isinstance(node.layer, Scale | Rectifier) and node.name != "stem.act"
    }
    network = planted(network, plants)
    small = shrink(network)
    x = rng.normal(size=(4, *network.input_shape))
    values, after = network.values(x), small.network.values(x)
    for name, (node, channels) in small.origin.items():
        whole = values[node] if channels is None else values[node][:, list(channels)]
        np.testing.assert_allclose(after[name], whole, rtol=1e-10, atol=1e-10)
    assert gap(network, small.network) < 1e-10
    assert cost(small.network).parameters <= cost(network).parameters
    assert cost(small.network).flops <= cost(network).flops


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_whole_removals_of_random_networks_are_accepted(seed: int) -> None:
    """With folding and sharing, too, the outputs agree and the checker accepts the deviation."""
    rng = np.random.default_rng(seed)
    network = random_residual(rng)
    plants = {
        node.name: np.flatnonzero(rng.random(network.shape(node.name)[0]) < 0.4).tolist()
        for node in network.nodes
        if isinstance(node.layer, Scale | Rectifier) and node.name != "stem.act"
    }
    network = planted(network, plants)
    removal = remove_channels(network)
    assert gap(network, removal.network) < 1e-10
    assert removal.check().accepted


def test_an_empty_block_becomes_a_skip() -> None:
    """With all slopes of its branch at zero nothing of a block is left but the identity."""
    rng = np.random.default_rng(0)
    nodes = [
        Node("stem", Conv2d(rng.normal(size=(3, 2, 3, 3)), padding=(1, 1, 1, 1)), (INPUT,)),
        Node("relu", Rectifier(), ("stem",)),
        Node("bn", Scale(rng.normal(size=(3, 1, 1)), rng.normal(size=(3, 1, 1))), ("relu",)),
        Node("act", Rectifier(np.zeros((3, 1, 1)), 0.0), ("bn",)),
        Node("conv", Conv2d(rng.normal(size=(3, 3, 3, 3)), padding=(1, 1, 1, 1)), ("act",)),
        Node("add", Add(), ("conv", "relu")),
        Node("out", Conv2d(rng.normal(size=(1, 3, 4, 4))), ("add",)),
    ]
    network = Network((2, 4, 4), nodes)
    small = remove_channels(network).network
    assert [node.name for node in small.nodes] == ["stem", "relu", "out"]
    assert gap(network, small) == 0


def test_thresholded_removal_is_measured_and_not_called_exact() -> None:
    """Half the slopes go; the change of the outputs and of the predictions is what two forward passes show."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(50, 3, 8, 8))
    labels = CHAIN.forward(images).argmax(axis=1)
    gamma = float(np.median(np.abs(np.concatenate(list(channel_slopes(CHAIN).values())))))
    removal = remove_channels(CHAIN, gamma, images, labels)
    assert not removal.exact
    assert removal.dead == removal.silenced == 11
    assert removal.measured is not None
    assert removal.measured.accuracy_before == 1.0
    change = np.abs(removal.masked.forward(images) - CHAIN.forward(images))
    assert removal.measured.largest_change == pytest.approx(change.max(), rel=1e-9)
    assert removal.measured.mean_change == pytest.approx(change.mean(), rel=1e-9)
    after = removal.network.forward(images).argmax(axis=1)
    assert removal.measured.changed == int((after != labels).sum()) > 0
    assert removal.measured.accuracy_after == pytest.approx(1 - removal.measured.changed / 50)
    assert removal.measured.rounding < 1e-4
    assert removal.measured.rounding_changed == 0
    assert gap(removal.masked, removal.network) < 1e-14


def test_auto_selects_the_largest_threshold_without_loss() -> None:
    """Slopes of 1e-9 can go, the others cannot: labels are the network's own predictions."""
    last = Dense([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0]], [0.1, 0.0])
    network = chain((4,), Dense(np.eye(4)), Rectifier([1.0, 1e-9, -2.0, 1e-9]), last)
    images = np.random.default_rng(0).normal(size=(400, 4))
    labels = network.forward(images).argmax(axis=1)
    removal = remove_channels(network, "auto", images, labels)
    assert removal.selection is not None
    assert (removal.gamma, removal.selection.accuracy_after, removal.dead) == (1e-9, 1.0, 2)
    assert removal.network.shape("1") == (2,)


@pytest.mark.parametrize(("images", "labels"), [(None, None), (np.zeros((3, 3, 8, 8)), None), (None, np.zeros(3, int))])
def test_auto_needs_images_and_labels(images: np.ndarray | None, labels: np.ndarray | None) -> None:
    """Without either there is no accuracy to select by."""
    with pytest.raises(SettingsError, match="labels"):
        remove_channels(CHAIN, "auto", images, labels)


@pytest.mark.parametrize(
    ("images", "labels"),
    [(np.zeros((3, 2)), None), (np.full((3, 3, 8, 8), np.nan), None), (np.zeros((2, 3, 8, 8)), [1])],
)
def test_images_that_do_not_fit_are_refused(images: np.ndarray, labels: list[int] | None) -> None:
    """Of another shape, not finite, or with another number of labels."""
    with pytest.raises(SettingsError, match=r"images|labels"):
        remove_channels(CHAIN, 0.0, images, labels)


def test_slopes_of_gelus_go_like_those_of_rectifiers() -> None:
    """Through opaque layers nothing is proved by bounds, but zero slopes are zero: rows and columns go verbatim."""
    rng = np.random.default_rng(0)
    network = chain(
        (3,), Dense(rng.normal(size=(5, 3)), rng.normal(size=5)), Gelu([0.0, 1.0, -2.0, 1e-3, 0.0]),
        Dense(rng.normal(size=(2, 5)), rng.normal(size=2)),
    )  # fmt: skip
    removal = remove_channels(network)
    assert removal.network.shape("0") == (3,)
    assert gap(network, removal.network) < 1e-15
    assert (removal.accounting.weights, removal.accounting.weights_left) == (25, 15)
    assert not removal.checkable
    assert check_line(removal, None).startswith("not checkable")
    small = remove_channels(network, 0.01, rng.normal(size=(9, 3)))
    assert (small.silenced, small.network.shape("0")) == (1, (2,))


def test_the_papers_accounting_counts_filters_that_a_skip_still_needs() -> None:
    """Pre-activation: a zero slope behind an addition silences one reader, but the papers count the filter too."""
    rng = np.random.default_rng(0)
    nodes = [
        Node("stem", Conv2d(rng.normal(size=(3, 2, 1, 1))), (INPUT,)),
        Node("act", Rectifier(np.array([0.0, 1.0, 2.0]).reshape(3, 1, 1), 0.0), ("stem",)),
        Node("conv", Conv2d(rng.normal(size=(3, 3, 1, 1))), ("act",)),
        Node("add", Add(), ("conv", "stem")),
        Node("out", Conv2d(rng.normal(size=(1, 3, 2, 2))), ("add",)),
    ]
    network = Network((2, 2, 2), nodes)
    removal = remove_channels(network)
    assert removal.accounting.weights_left == 2 * 2 + 3 * 2 + 12
    assert removal.compression.after.parameters == 3 * 2 + 3 * 2 + 12
    assert gap(network, removal.network) < 1e-15


def test_the_module_itself_has_the_parameters_and_flops_reported() -> None:
    """Counted by torch on the smaller module: weights, all numbers that are not zero biases, and FLOPs."""
    removal = remove_channels(planted(CHAIN, {"act1": [0], "act2": [1, 2], "act3": [3], "act4": [0]}))
    module = removal.network.to_torch().eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, 8, 8))
    after = removal.compression.after
    assert counter.get_total_flops() == after.flops
    numbers = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point() and tensor.any()]
    assert sum(tensor.numel() for tensor in numbers) == after.parameters + after.slopes
    assert sum(t.numel() for t in numbers if t.ndim > 1 and t.shape[1:] != (1, 1)) == removal.accounting.weights_left


def test_speed_compares_two_networks_in_turns() -> None:
    """Both are timed as often, and the ratio is that of the two."""
    timed = speed(CHAIN, CHAIN, batch=4, rounds=3)
    assert (timed.batch, timed.rounds) == (4, 3)
    assert timed.ratio == timed.after / timed.before > 0


def test_a_removal_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field; and the folder is one that a certificate and a compression can be read from."""
    images = np.random.default_rng(1).normal(size=(20, 3, 8, 8))
    removal = remove_channels(CHAIN, "auto", images, CHAIN.forward(images).argmax(axis=1))
    removal = replace(removal, speed=speed(CHAIN, removal.network, batch=2, rounds=1))
    save_removal(removal, tmp_path / "out")
    again = load_removal(tmp_path / "out")
    plain = ("original_digest", "gamma", "selection", "measured", "speed", "accounting", "exact", "alive", "silenced")
    assert all(getattr(again, name) == getattr(removal, name) for name in plain)
    assert again.masked.digest == removal.masked.digest
    assert again.network.digest == removal.network.digest
    assert all((again.slopes[name] == own).all() for name, own in removal.slopes.items())
    assert again.check().accepted
    assert mc.load_report(tmp_path / "out").network_digest == removal.masked.digest


def test_a_removal_of_another_network_is_noticed(tmp_path: Path) -> None:
    """masked.npz of another removal is refused."""
    save_removal(remove_channels(CHAIN), tmp_path)
    planted(CHAIN, {"act1": [0]}).save(tmp_path / "masked.npz")
    with pytest.raises(ResultError, match="another removal"):
        load_removal(tmp_path)


def test_printed_form() -> None:
    """It says how many channels go, by which threshold, and what that gains."""
    removal = remove_channels(planted(CHAIN, {"act1": [0, 1]}))
    assert isinstance(removal, Removal)
    assert repr(removal).startswith("Removal(2 of 22 channels, gamma 0; Compression(neurons 487 -> ")
    assert issubclass(SettingsError, MilpcompError)
