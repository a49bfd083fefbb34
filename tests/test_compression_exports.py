"""Compressed networks leave the house: torch and ONNX exports agree with them, whatever compression made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from milpcomp.compression import compress
from milpcomp.domain import Box
from milpcomp.network import Conv2d, Network, Node, Rectifier
from milpcomp.network.storage import load_network, save_network
from milpcomp.network.to_onnx import to_onnx
from milpcomp.network.to_torch import to_torch
from tests.handmade import interval_report, points, true_report
from tests.nets import planted, residual_cnn
from tests.oracle import exact_ranges


def assert_exports_agree(network: Network, x: np.ndarray, folder: Path) -> None:
    """Assert that the network, reloaded, as torch and as ONNX, computes what forward computes.

    In double, except for ONNX convolutions, which onnxruntime has in float32 only.
    """
    expected = network.forward(x)
    close = 1e-9 * (1.0 + np.abs(expected).max(initial=0.0))
    save_network(network, folder / "network.npz")
    assert np.array_equal(load_network(folder / "network.npz").forward(x), expected)
    module = to_torch(network, torch.float64)
    with torch.no_grad():
        assert np.abs(module(torch.from_numpy(x)).numpy() - expected).max(initial=0.0) <= close
    convolutions = any(isinstance(node.layer, Conv2d) for node in network.nodes)
    dtype, close = (np.float32, 1e5 * close) if convolutions else (np.float64, close)
    to_onnx(network, folder / "network.onnx", dtype)
    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.astype(dtype)})
    assert np.abs(found - expected).max(initial=0.0) <= close


@pytest.mark.parametrize("part", range(4))
def test_exports_of_compressed_dense_networks(part: int, tmp_path: Path) -> None:
    """Removed, fixed, joined, merged, folded and collapsed: reloaded, torch and ONNX agree."""
    for seed in range(part, 40, 4):
        network, domain = planted(np.random.default_rng(seed), 2)
        result = compress(network, true_report(network, domain, exact_ranges(network, domain)))
        assert_exports_agree(result.network, points(domain, (2,), count=20), tmp_path)


@pytest.mark.parametrize("dead", [("stem", 1), ("conv2", 2), ("conv2", 5), ("stem", 3)])
def test_exports_of_compressed_image_networks(dead: tuple[str, int], tmp_path: Path) -> None:
    """The same after channels, or all channels, of a residual image network died."""
    network = residual_cnn(np.random.default_rng(0))
    name, count = dead
    nodes = []
    for node in network.nodes:
        if node.name == "relu3":
            node = Node(node.name, Rectifier(), node.inputs)
        if node.name == name and isinstance(node.layer, Conv2d):
            bias = np.where(np.arange(len(node.layer.bias)) < count, -1e6, node.layer.bias)
            node = Node(name, Conv2d(node.layer.weight, bias, padding=node.layer.padding), node.inputs)
        nodes.append(node)
    network, domain = Network(network.input_shape, nodes), Box(0.0, 1.0)
    result = compress(network, interval_report(network, domain))
    assert result.after.neurons < result.before.neurons
    assert_exports_agree(result.network, points(domain, network.input_shape, count=10), tmp_path)
