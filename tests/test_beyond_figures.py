"""ReLU counts, neurons that are off on data, and the plane before and after compression, on small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from analyses import certified, dead_neurons, relu_counts, slice_figures, style
from analyses.book.entry import Context
from analyses.certified import Certified
from analyses.slices import Plane
from milpcomp.network import Dense, Rectifier
from tests.nets import chain, diamond, residual_cnn


def own(network: mc.Network) -> Certified:
    """Return a network certified and compressed over the unit box."""
    report = mc.certify(network, mc.Box(0.0, 1.0))
    return Certified("small", network, report, mc.compress(network, report))


def test_relus_are_channels_times_pixels() -> None:
    """Of the small residual network: 3 x 6 x 6, 5 x 3 x 3 and 5 x 3 x 3 ReLUs, 108 of them on 6 x 6 pixels."""
    network = residual_cnn(np.random.default_rng(0))
    assert relu_counts.relus(network) == {"relu1": 108, "relu2": 45, "relu3": 45}
    assert relu_counts.by_resolution(network) == {"6×6": 108, "3×3": 90}


def test_relus_left_and_proved_linear_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an unstable, a stably active and a stably inactive ReLU two are left, one of them linear, so one is needed."""
    rows = [[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]
    network = chain((2,), Dense(rows, [0.0, 1.0, -1.0]), Rectifier(), Dense([[1.0, 2.0, 3.0], [0.5, -1.0, 1.0]]))
    monkeypatch.setattr(certified, "certified", lambda _: own(network))
    monkeypatch.setattr(certified, "card", lambda _: {"test_accuracy": 0.5})
    assert relu_counts.dense_row("small") == ("small", "50.00", "3", "2", "1", "1", "66.7")


def test_the_curve_of_dead_neurons_is_that_of_hand_arithmetic() -> None:
    """x1 > x2 at the third image switches g1 on; g2 = x1 + x2 - 3 stays off; 5 of 6 outputs are zero."""
    images = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
    dead = dead_neurons.on_images(diamond(), images)
    assert dead.first_active.tolist() == [2, 3]
    assert [dead.share(count) for count in (1, 2, 3)] == [1.0, 1.0, 0.5]
    assert dead.zero_share == pytest.approx(5 / 6)


def test_images_are_counted_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found does not depend on how many images are looked at together."""
    images = np.random.default_rng(0).random((50, 2, 6, 6)).astype(np.float32)
    network = residual_cnn(np.random.default_rng(3))
    whole = dead_neurons.on_images(network, images)
    monkeypatch.setattr(dead_neurons, "CHUNK", 7)
    parts = dead_neurons.on_images(network, images)
    assert parts.first_active.tolist() == whole.first_active.tolist()
    assert parts.zero_share == pytest.approx(whole.zero_share)
    g = np.concatenate(list(network.pre_activations(images.astype(np.float64)).values()), axis=1)
    assert whole.share(50) == pytest.approx(float((g <= 0).all(axis=0).mean()))


def test_shipped_networks_have_cards() -> None:
    """Weights and cards are found by name, from the checkpoints and from the grid."""
    assert certified.card("mnist-mlp")["test_accuracy"] == pytest.approx(0.9809)
    assert certified.card("2x50_proximal")["recipe"]["l1"] == pytest.approx(0.0002)


def test_a_line_that_no_output_needs_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of x1 - x2 and x1 + x2 - 1, the second unread: four regions before, two after, and their line is the diagonal."""
    network = chain((2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -1.0]), Rectifier(), Dense([[1.0, 0.0], [2.0, 0.0]]))
    plane = Plane.through(np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    found = slice_figures.pair(own(network), plane)
    assert (len(found.before.own.cells), len(found.after.own.cells), found.nested) == (4, 2, True)
    assert {crease.unit for crease in found.joint.creases} == {1}
    assert found.difference == 0.0


def test_the_plane_of_a_shipped_network_is_drawn(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the grid's small network every line after compression is one from before, and the outputs agree."""
    monkeypatch.setattr(slice_figures, "NETWORK", "2x50_proximal")
    with style.look():
        made = slice_figures.plane_through_images(Context(shared_data, shared_data))
        assert made.figure is not None
        made.figure.draw_without_rendering()
    counts = {row[0]: row[1:] for row in made.table.rows}
    before, after = (int(text) for text in counts["linear regions on the slice"])
    assert before >= after > 500
    assert counts["regions of both together"][0] == str(before)
    assert float(counts["greatest difference on the slice"][1]) < 1e-12
    assert "is also a line of the first" in made.notes[0]
