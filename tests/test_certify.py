"""The funnel end to end: every neuron decided, nothing claimed without evidence, nothing lost when a run ends early."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.errors import DomainError, SettingsError
from milpcomp.network import Dense, Rectifier
from milpcomp.progress import Snapshot
from milpcomp.stability import funnel as module
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.nets import chain, diamond, mlp, residual_cnn


def replayed(network: mc.Network, report: Report) -> bool:
    """Tell whether every unstable verdict's witnesses lie in the domain and show both signs."""
    inside = report.domain.contains(report.witnesses).all()
    values = network.pre_activations(report.witnesses)
    return bool(inside) and all(
        values[v.layer][v.active_witness, v.unit] > 0 > values[v.layer][v.inactive_witness, v.unit]
        for v in report.verdicts
        if v.phase is Phase.UNSTABLE
    )


def test_diamond() -> None:
    """By hand: g1 in [-1, 1] is unstable, g2 in [-3, -1] stably inactive; a scalar box fits itself to the input."""
    report = mc.certify(diamond(), mc.Box(0.0, 1.0))
    first, second = report.verdicts
    assert (first.phase, first.proof) == (Phase.UNSTABLE, Proof.WITNESSED)
    assert (second.phase, second.proof, second.stage) == (
        Phase.STABLY_INACTIVE,
        Proof.CERTIFIED,
        Stage.CLOSED_FORM,
    )
    assert report.counts() == {"stably_inactive": 1, "stably_active": 0, "unstable": 1, "undecided": 0}
    assert report.ended == "complete"
    assert replayed(diamond(), report)


def test_reference_network_is_wholly_unstable(shared_data: Path) -> None:
    """All 200 neurons of the published 784-100-100-10 network are unstable on [0, 1]^784, each with two witnesses."""
    network = mc.load(shared_data / "nets/serra2021/mnist_100-100_l1_0.tar")
    report = mc.certify(network, mc.Box(0.0, 1.0))
    assert report.counts() == {"stably_inactive": 0, "stably_active": 0, "unstable": 200, "undecided": 0}
    assert replayed(network, report)
    assert set(report.stage_seconds) >= {"closed-form", "refute"}


def test_image_networks() -> None:
    """A residual image network runs the same way; every verdict of stability survives 20,000 random inputs."""
    network = residual_cnn(np.random.default_rng(1))
    report = mc.certify(network, mc.Box(0.0, 1.0), neuron_time_limit_s=0.05)
    x = np.random.default_rng(2).random((20_000, 2, 6, 6))
    values = network.pre_activations(x)
    assert report.counts()["unstable"] > 100
    assert replayed(network, report)
    for v in report.verdicts:
        column = values[v.layer][:, v.unit]
        assert v.lower <= column.min() + 1e-9
        assert column.max() - 1e-9 <= v.upper
        assert v.phase is not Phase.STABLY_INACTIVE or column.max() <= 0
        assert v.phase is not Phase.STABLY_ACTIVE or column.min() >= 0


def test_same_seed_same_verdicts() -> None:
    """A run is a function of network, domain and settings."""
    network = mlp([4, 8, 8, 2], np.random.default_rng(0))
    first, second = (mc.certify(network, mc.Box(-1.0, 1.0), seed=3) for _ in range(2))
    assert [v.phase for v in first.verdicts] == [v.phase for v in second.verdicts]
    assert (first.witnesses == second.witnesses).all()


def test_no_hidden_neurons() -> None:
    """A network without rectifiers has an empty, complete report."""
    report = mc.certify(chain((2,), Dense([[1.0, 2.0]])), mc.Box(0.0, 1.0))
    assert report.verdicts == ()
    assert report.ended == "complete"


def test_zero_width_layer() -> None:
    """A layer without neurons is no obstacle."""
    network = chain((2,), Dense(np.zeros((0, 2))), Rectifier(), Dense(np.zeros((3, 0)), [1.0, 2.0, 3.0]))
    assert mc.certify(network, mc.Box(0.0, 1.0)).verdicts == ()


def test_data_are_tried_as_witnesses() -> None:
    """A needle that random search cannot find is found when the data hold it, also when it lies just outside."""
    network = chain((6,), Dense(np.eye(6), -np.full(6, 0.5)), Rectifier())
    needle = np.full((1, 6), 2.0)
    report = mc.certify(network, mc.Box(0.0, 1.0), data=needle)
    assert report.counts()["unstable"] == 6
    with pytest.raises(DomainError, match=r"shape \(N, \*\(6,\)\)"):
        mc.certify(network, mc.Box(0.0, 1.0), data=np.zeros((3, 5)))


def test_time_limit_keeps_what_was_decided() -> None:
    """With hardly any time the run ends soon, says so, and what is not decided is undecided."""
    network = mlp([20, 60, 60, 60, 60, 2], np.random.default_rng(0))
    start = time.monotonic()
    report = mc.certify(network, mc.Box(-0.02, 0.02), time_limit_s=0.3)
    assert time.monotonic() - start < 15
    assert len(report.verdicts) == 240
    assert all((v.phase is Phase.UNDECIDED) == (v.proof is Proof.NONE) for v in report.verdicts)


def test_interrupt_keeps_what_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a stage ends the run with a report of everything decided before."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "tighten", interrupted)
    network = mlp([3, 10, 10, 2], np.random.default_rng(5))
    report = mc.certify(network, mc.Box(-1.0, 1.0))
    assert report.ended == "interrupted"
    assert report.counts()["unstable"] > 0
    assert replayed(network, report)


def test_progress_is_told() -> None:
    """A callable receives snapshots whose counts end as the report's."""
    seen: list[Snapshot] = []
    report = mc.certify(diamond(), mc.Box(0.0, 1.0), progress=seen.append)
    assert [seen[-1].total().unstable, seen[-1].total().undecided] == [report.counts()["unstable"], 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "unknown method 'magic'; choose one of funnel"),
        ({"time_limit_s": -1.0}, "time limit must be a positive"),
        ({"time_limit_s": float("nan")}, "time limit must be a positive"),
        ({"time_limit_s": "5"}, "number of seconds, got '5'"),
        ({"neuron_time_limit_s": 0.0}, "limit per neuron"),
        ({"backend": "abacus"}, "abacus"),
    ],
)
def test_unusable_settings(options: dict[str, object], message: str) -> None:
    """Options that mean nothing are refused before any work."""
    with pytest.raises(SettingsError, match=message):
        mc.certify(diamond(), mc.Box(0.0, 1.0), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "domain", "message"),
    [
        (diamond(), (mc.Box(0.0, 1.0), mc.Box(1.0, 2.0)), "take one of the boxes"),
        (diamond(), (0.0, 1.0), r"write milpcomp.Box\(lower, upper\)"),
        (diamond(), 1.0, r"write milpcomp.Box\(lower, upper\)"),
        ("net.onnx", mc.Box(0.0, 1.0), "read it with milpcomp.load first"),
    ],
)
def test_wrong_kinds_of_arguments(network: object, domain: object, message: str) -> None:
    """Something that is no network or no box is refused with what to give instead."""
    with pytest.raises(mc.MilpcompError, match=message):
        mc.certify(network, domain)  # type: ignore[arg-type]


def test_reports_fit_a_line() -> None:
    """A report shows its counts, not every verdict."""
    assert repr(mc.certify(diamond(), mc.Box(0.0, 1.0))) == (
        "Report(1 stably_inactive, 1 unstable; complete; Box(0, 1, shape=(2,)))"
    )


def test_settings_are_in_the_report() -> None:
    """Every option and every library version is written into the report."""
    report = mc.certify(diamond(), mc.Box(0.0, 1.0), seed=7, time_limit_s=60.0)
    assert report.settings["seed"] == 7
    assert report.settings["time_limit_s"] == 60.0
    assert report.settings["method"] == "funnel"
    assert {"milpcomp", "numpy", "torch", "solver highs"} <= set(report.versions)


def test_chosen_layers_only() -> None:
    """With `layers`, neurons of other layers are not asked about, and those asked about get the same verdicts."""
    network = mlp([3, 8, 8, 4, 2], np.random.default_rng(5))
    whole, part = (mc.certify(network, mc.Box(-1.0, 1.0), layers=layers) for layers in (None, ["5"]))
    assert [v.phase for v in part.layers()["5"]] == [v.phase for v in whole.layers()["5"]]
    assert part.ended == "complete"
    assert any(v.phase is Phase.UNDECIDED for v in part.verdicts)
    assert part.settings["layers"] == ("5",)
    assert mc.check(network, part.domain, part).counts()["rejected"] == 0
    with pytest.raises(SettingsError, match="no rectifiers"):
        mc.certify(network, mc.Box(-1.0, 1.0), layers=["5", "6"])
    with pytest.raises(SettingsError, match="leave out"):
        mc.certify(network, mc.Box(-1.0, 1.0), layers="5", method="per-layer")
