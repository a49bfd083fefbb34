"""What compression does to robustness: nothing where it is exact, and every image that changes where it is not."""

from __future__ import annotations

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.channels import silenced
from milpcomp.errors import SettingsError
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.robustness import compare, evaluate, preset
from tests.nets import chain


def classifier() -> Network:
    """Return a classifier of two inputs whose third neuron is dead on [0, 1], and whose second has a small slope.

    ::

        x_0, x_1 -> h = (x_0, 0.01 x_1, max(0, -1 - x_0)) -> logits (h_0 + h_1, 0.5)
    """
    first = Dense([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [0.0, 0.0, -1.0])
    slopes = Rectifier(np.array([1.0, 0.01, 1.0]), np.zeros(3))
    return chain((2,), first, slopes, Dense([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], [0.0, 0.5]))


X, Y = np.array([[0.9, 0.5], [0.495, 0.9], [0.45, 0.5], [0.55, 0.9]]), np.array([0, 0, 1, 0])
"""x_0 + 0.01 x_1 - 0.5 is 0.405, 0.004, -0.045 and 0.059."""


def test_exact_compression_changes_nothing() -> None:
    """A network without its dead neuron predicts, breaks and moves alike, up to rounding."""
    network = classifier()
    smaller = mc.compress(network, mc.certify(network, mc.Box(0.0, 1.0).fit((2,)))).network
    found = compare({"before": network, "after": smaller}, X, Y, preset("raw", 0.01))
    assert found.changed("after") == {"prediction": (), "FGSM": (), "PGD": ()}
    change = found.largest_ratio_change("after")
    assert change is not None
    assert change < 1e-5
    assert [r.clean.value for r in found.results.values()] == [1.0, 1.0]


def test_removed_channels_change_images() -> None:
    """Without the small slope, the second image is misclassified, and the fourth is broken in a smaller ball."""
    network = classifier()
    models = {"before": network, "after": silenced(network, 0.05)}
    found = compare(models, X, Y, preset("raw", 0.055), batch_size=2)
    assert found.results["before"].held["PGD"].tolist() == [True, False, False, True]
    assert found.changed("after") == {"prediction": (1,), "FGSM": (3,), "PGD": (3,)}
    assert found.results["after"].predicted.tolist() == [0, 1, 1, 0]
    assert found.changed("before") == {"prediction": (), "FGSM": (), "PGD": ()}


def test_each_network_is_measured_like_alone() -> None:
    """A network's numbers do not depend on what it is compared with; progress is told by name."""
    seen: list[tuple[str, int, int]] = []
    network = classifier()
    alone = evaluate(network, X, Y, preset("raw", 0.02))
    found = compare({"a": network, "b": network}, X, Y, preset("raw", 0.02), progress=lambda *told: seen.append(told))
    assert found.results["b"].ratios is not None
    assert alone.ratios is not None
    assert found.results["b"].ratios.tolist() == alone.ratios.tolist()
    assert seen == [("a", 4, 4), ("b", 4, 4)]


def test_no_network_is_refused() -> None:
    """There has to be something to measure."""
    with pytest.raises(SettingsError, match="no network"):
        compare({}, X, Y, preset("raw"))
