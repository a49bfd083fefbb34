"""`analyze`: everything in one call, and a folder in which every file agrees with every other."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import milpcomp as mc
from milpcomp import pipeline
from milpcomp.compression.result import Skipped
from milpcomp.network import INPUT, Dense, Network, Node, Rectifier
from milpcomp.progress import Snapshot
from milpcomp.report.analysis import checked_compression_document, compression_document
from milpcomp.report.folder import RESULTS
from milpcomp.report.page import page
from milpcomp.report.words import checked_compression_line, deviation_line
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.nets import chain, diamond, residual_cnn

ROOT = Path(__file__).resolve().parents[1]


def planted() -> Network:
    """Return a chain that has everything: on [0, 1]^2 a dead, two dependent active, and an unstable neuron.

    Layer 1: g1 = -x1 - 1 (inactive), g2 = x1 + x2 (active), g3 = 2 x1 + 2 x2 + 1 = 2 g2 + 1 (active), g4 = x1 - x2.
    """
    first = Dense([[-1.0, 0.0], [1.0, 1.0], [2.0, 2.0], [1.0, -1.0]], [-1.0, 0.0, 1.0, 0.0])
    return chain((2,), first, Rectifier(), Dense([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, -1.0, 0.5]], [0.0, 1.0]))


def forward_onnx(path: Path, x: np.ndarray) -> np.ndarray:
    """Return what onnxruntime computes."""
    session = onnxruntime.InferenceSession(str(path))
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0])


def test_everything_of_a_planted_network(tmp_path: Path) -> None:
    """By hand: one neuron removed, one merged, two left; the folder's files all hold the same function and verdicts."""
    analysis = mc.analyze(planted(), mc.Box(0.0, 1.0), tmp_path / "out")
    phases = [verdict.phase for verdict in analysis.report.verdicts]
    assert phases == [Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE, Phase.STABLY_ACTIVE, Phase.UNSTABLE]
    assert analysis.compression.after.neurons == 2
    assert analysis.accepted
    assert (analysis.source, analysis.out) == ("Network", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(RESULTS)

    x = np.random.default_rng(0).uniform(size=(1000, 2))
    expected = planted().forward(x)
    assert mc.load(tmp_path / "out" / "original.npz").digest == planted().digest
    smaller = mc.load(tmp_path / "out" / "network.npz")
    assert smaller.digest == analysis.compression.network.digest
    assert np.abs(smaller.forward(x) - expected).max() <= analysis.compression.deviation_bound + 1e-14
    assert forward_onnx(tmp_path / "out" / "network.onnx", x) == pytest.approx(expected, abs=1e-5)
    for name in ("network.onnx", "network.pt"):
        assert mc.load(tmp_path / "out" / name).forward(x) == pytest.approx(expected, abs=1e-5)

    report = mc.load_report(tmp_path / "out")
    assert report.verdicts == analysis.report.verdicts
    compression = mc.load_compression(tmp_path / "out")
    assert mc.check_compression(planted(), compression, report.domain, report).accepted


def test_names_make_no_headings() -> None:
    """A layer's name with line breaks in it stays within its line of the Markdown page, left-out edits among them."""
    nodes = [Node(f"{n.name}\n\n# all proved\n\n", n.layer, n.inputs) for n in planted().nodes]
    nodes = [replace(n, inputs=(INPUT if not i else nodes[i - 1].name,)) for i, n in enumerate(nodes)]
    analysis = mc.analyze(Network((2,), nodes), mc.Box(0.0, 1.0))
    skipped = (Skipped(nodes[1].name, "fold", (0,), f"of {nodes[0].name}"),)
    text = page(replace(analysis, compression=replace(analysis.compression, skipped=skipped)))
    assert text.count(r"\n\n# all proved\n\n") > 2
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# Network"]


def test_summary_and_page_agree(tmp_path: Path) -> None:
    """What the page says is what the JSON says, the figure is there, and the commands it shows name the folder."""
    analysis = mc.analyze(planted(), mc.Box(0.0, 1.0), tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == json.loads(json.dumps(analysis.document()))
    assert summary["certificate"]["counts"] == {
        "stably_inactive": 1, "stably_active": 2, "unstable": 1, "undecided": 0,
    }  # fmt: skip
    assert (summary["network"]["neurons"], summary["compression"]["network"]["neurons"]) == (4, 2)
    assert summary["compression"]["edits"] == {"Remove": 1, "Merge": 1}
    assert summary["check"]["accepted"]
    assert summary["check_compression"]["accepted"]
    page = (tmp_path / "out" / "report.md").read_text()
    for text in (
        "| **all** |   **4** |           **1** |         **2** |    **1** |     **0** | **2** |",
        "| neurons       |      4 |     2 | -50.0 % |",
        "| removed: zero on the domain             |        1 |",
        "| merged: linear, and dependent on others |        1 |",
        "all inputs in [0, 1]^2",
        "4 verdicts accepted",
        "![share of the neurons of each layer by phase](verdicts.png)",
        f"milpcomp check {tmp_path}/out/original.npz {tmp_path}/out {tmp_path}/out",
        planted().digest,
        summary["compression"]["network"]["digest"],
        '| method | "funnel" |',
        "| solver highs |",
    ):
        assert text in page, text
    assert "REJECTED" not in page
    assert "undecided:" not in page


def test_page_commands_work(tmp_path: Path) -> None:
    """The Python that a report shows reproduces the smaller network, bit by bit."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    out = tmp_path / "a folder"
    analysis = mc.analyze(module, mc.Box(0.0, 1.0), out, input_shape=(3,), tolerance=1e-6, seed=3)
    page = (out / "report.md").read_text()
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    command, *python = lines
    found: dict[str, Any] = {}
    exec("\n".join(python), found)
    assert found["smaller"].network.digest == analysis.compression.network.digest
    arguments = shlex.split(command)
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_graph_network(tmp_path: Path) -> None:
    """A residual convolutional network goes through too; it has no state dict that stands for itself."""
    network = residual_cnn(np.random.default_rng(3))
    analysis = mc.analyze(network, mc.Box(0.0, 1.0), tmp_path, time_limit_s=1.0)
    assert analysis.accepted
    assert not (tmp_path / "network.pt").exists()
    x = np.random.default_rng(0).uniform(size=(100, 2, 6, 6))
    expected = network.forward(x)
    scale = np.abs(expected).max()
    assert forward_onnx(tmp_path / "network.onnx", x) == pytest.approx(expected, abs=1e-5 * scale)
    assert mc.load(tmp_path / "network.npz").forward(x) == pytest.approx(expected, abs=1e-9 * scale)


@pytest.mark.parametrize("width", [1, 3])
def test_network_without_hidden_neurons(tmp_path: Path, width: int) -> None:
    """A network that is affine already has an empty certificate and stays what it is."""
    network = chain((2,), Dense(np.ones((width, 2))))
    analysis = mc.analyze(network, mc.Box(0.0, 1.0), tmp_path)
    assert analysis.report.verdicts == ()
    assert analysis.accepted
    assert mc.load(tmp_path / "network.npz").digest == network.digest


def test_network_that_collapses(tmp_path: Path) -> None:
    """Where every neuron is dead the output is a constant; the exports say so too."""
    network = chain((2,), Dense([[-1.0, -1.0], [-2.0, 0.0]], [-1.0, -1.0]), Rectifier(), Dense([[1.0, 1.0]], [5.0]))
    analysis = mc.analyze(network, mc.Box(0.0, 1.0), tmp_path)
    x = np.random.default_rng(0).uniform(size=(7, 2))
    assert analysis.compression.after.neurons == 0
    assert analysis.accepted
    assert mc.load(tmp_path / "network.npz").forward(x).tolist() == [[5.0]] * 7
    assert forward_onnx(tmp_path / "network.onnx", x).tolist() == [[5.0]] * 7


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `out` the results are returned only."""
    monkeypatch.chdir(tmp_path)
    assert mc.analyze(diamond(), mc.Box(0.0, 1.0)).out is None
    assert list(tmp_path.iterdir()) == []


def test_folder_is_reused(tmp_path: Path) -> None:
    """A second analysis leaves nothing of the first, and files of other names alone."""
    mc.analyze(planted(), mc.Box(0.0, 1.0), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert (tmp_path / "network.pt").exists()
    second = mc.analyze(residual_cnn(np.random.default_rng(3)), mc.Box(0.0, 0.1), tmp_path, time_limit_s=1.0)
    assert {path.name for path in tmp_path.iterdir()} == {*RESULTS, "notes.txt"} - {"network.pt"}
    assert mc.load_report(tmp_path).network_digest == second.network.digest
    assert mc.load(tmp_path / "network.npz").digest == second.compression.network.digest


@pytest.mark.parametrize("step", ["compress", "check_compression"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_certificate_survives_what_comes_after(
    step: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a later step fails, the folder holds the certificate of this run, and nothing of an earlier one."""
    mc.analyze(planted(), mc.Box(0.0, 1.0), tmp_path)

    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(pipeline, step, fails)
    with pytest.raises(error):
        mc.analyze(diamond(), mc.Box(0.0, 1.0), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"certificate.json", "certificate.npz"}
    assert mc.load_report(tmp_path).network_digest == diamond().digest


def test_interrupted_search_is_finished(tmp_path: Path) -> None:
    """Ctrl-C while certifying ends the search: what was decided is compressed, checked and written."""

    def interrupt(snapshot: Snapshot) -> None:
        if snapshot.stage == "refute":
            raise KeyboardInterrupt

    analysis = mc.analyze(planted(), mc.Box(0.0, 1.0), tmp_path, progress=interrupt)
    assert analysis.report.ended == "interrupted"
    assert analysis.report.counts()["undecided"] == 1  # the unstable neuron; the others have closed forms
    assert analysis.compression.after.neurons == 2
    assert analysis.accepted
    assert "the run was interrupted; 1 neuron undecided" in (tmp_path / "report.md").read_text()


def test_progress_names_the_steps(tmp_path: Path) -> None:
    """The steps are told in order, with time running on through all of them."""
    seen: list[Snapshot] = []
    mc.analyze(planted(), mc.Box(0.0, 1.0), tmp_path, progress=seen.append)
    stages = list(dict.fromkeys(snapshot.stage for snapshot in seen))
    assert [stage for stage in stages if stage in {"load", "certify", "compress", "check", "write"}] == [
        "load", "certify", "compress", "check", "write",
    ]  # fmt: skip
    seconds = [snapshot.seconds for snapshot in seen]
    assert seconds == sorted(seconds)


def test_public_names() -> None:
    """Every public name is what it says, also after every module has been imported."""
    assert not any(isinstance(getattr(mc, name), type(mc)) for name in mc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mc.nonsense


@pytest.mark.slow
def test_reference_network(shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    """The published 2x100 MNIST network trained without l1: all 200 neurons unstable on [0, 1]^784, nothing removed."""
    source = shared_file("nets/serra2021/mnist_100-100_l1_0.tar")
    analysis = mc.analyze(source, mc.Box(0.0, 1.0), tmp_path)
    assert analysis.report.counts() == {"stably_inactive": 0, "stably_active": 0, "unstable": 200, "undecided": 0}
    assert analysis.accepted
    assert analysis.compression.network.digest == analysis.network.digest


def test_conclusions_on_trust(tmp_path: Path) -> None:
    """Where an edit rests on a solver's word, every conclusion is conditional; without trust nothing is acted upon."""
    report = mc.certify(planted(), mc.Box(0.0, 1.0))
    dead = replace(report.verdicts[0], stage=Stage.SOLVER, proof=Proof.SOLVER, lower=-2.0, upper=0.5)
    report = replace(report, verdicts=(dead, *report.verdicts[1:]))
    for trust in (True, False):
        compression = mc.compress(planted(), report, trust_solver=trust)
        checked = mc.check_compression(planted(), compression, report.domain, report)
        lines = deviation_line(compression), checked_compression_line(checked)
        assert ["if the solver is right" in line and "not proved" in line for line in lines] == [trust, trust]
        assert compression_document(compression)["on_trust"] is trust
        assert checked_compression_document(checked)["on_trust"] is trust
        assert checked.accepted
