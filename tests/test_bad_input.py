"""Bad input: in Python an error of `milpcomp.errors` that says what was found, on the command line the same line.

Every case is run through the function that meets it and through the command that leads there. The command exits with
code 2, writes nothing to standard output, one line to standard error, and leaves no file behind.
"""

from __future__ import annotations

import errno
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from torch import nn

import milpcomp as mc
from milpcomp import files
from milpcomp.cli import main
from milpcomp.errors import (
    CheckpointError,
    DomainError,
    MilpcompError,
    NetworkError,
    OutputError,
    SettingsError,
    SolverError,
    UnsupportedOperatorError,
)
from milpcomp.network.storage import save_network
from tests.nets import diamond

State = dict[str, torch.Tensor]


def refused_by_command(capsys: pytest.CaptureFixture[str], folder: Path, message: str, *arguments: str) -> None:
    """Assert that a command ends with code 2 and `message` on one line, and leaves no new file below `folder`."""
    before = sorted(folder.rglob("*"))
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("milpcomp: error: ")
    assert re.search(message, captured.err), captured.err
    assert sorted(folder.rglob("*")) == before


def state(**changes: torch.Tensor) -> State:
    """Return the state dict of a chain of linear layers 2 -> 3 -> 1, with `changes` ("_" for ".")."""
    layers = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    return {**layers.state_dict(), **{name.replace("_", "."): tensor for name, tensor in changes.items()}}


class RunsCode:
    """An object whose pickle creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


# -------------------------------------------------------------------------------------------------------------- files


def _truncated(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def _text(folder: Path, name: str) -> Path:
    (folder / name).write_text("this is no network\n" * 10)
    return folder / name


def _truncated_checkpoint(folder: Path) -> Path:
    torch.save(state(), folder / "net.pt")
    _truncated(folder / "net.pt", 0.7)
    return folder / "net.pt"


def _code_checkpoint(folder: Path) -> Path:
    torch.save({"state_dict": state(), "optimizer": RunsCode(folder / "owned")}, folder / "net.pth")
    return folder / "net.pth"


def _code_pickle(folder: Path) -> Path:
    (folder / "net.tar").write_bytes(pickle.dumps(RunsCode(folder / "owned")))
    return folder / "net.tar"


def _module_checkpoint(folder: Path) -> Path:
    torch.save(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), folder / "net.pt")
    return folder / "net.pt"


def _code_npz(folder: Path) -> Path:
    np.savez(folder / "net.npz", header=np.array([RunsCode(folder / "owned")], dtype=object))
    return folder / "net.npz"


def _truncated_npz(folder: Path) -> Path:
    save_network(diamond(), folder / "net.npz")
    _truncated(folder / "net.npz", 0.8)
    return folder / "net.npz"


def _nan_checkpoint(folder: Path) -> Path:
    torch.save(state(**{"2_bias": torch.tensor([float("nan")])}), folder / "net.pt")
    return folder / "net.pt"


def _nan_safetensors(folder: Path) -> Path:
    arrays = {name: tensor.numpy().copy() for name, tensor in state().items()}
    arrays["0.weight"][0, 0] = np.inf
    save_file(arrays, folder / "net.safetensors")
    return folder / "net.safetensors"


def _misfit_checkpoint(folder: Path) -> Path:
    torch.save(state(**{"2_weight": torch.zeros(1, 4)}), folder / "net.pt")
    return folder / "net.pt"


def _convolution_checkpoint(folder: Path) -> Path:
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).state_dict(), folder / "net.pt")
    return folder / "net.pt"


def _onnx(folder: Path, nodes: list[onnx.NodeProto], weight: np.ndarray) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    return folder / "net.onnx"


def _unsupported_onnx(folder: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Sigmoid", ["a"], ["b"], name="smooth"),
        helper.make_node("Relu", ["b"], ["c"], name="fine"),
        helper.make_node("Softmax", ["c"], ["y"], name="last"),
    ]
    return _onnx(folder, nodes, np.eye(2, dtype=np.float32))


def _nan_onnx(folder: Path) -> Path:
    weight = np.array([[1, np.nan], [0, 1]], dtype=np.float32)
    return _onnx(folder, [helper.make_node("MatMul", ["x", "w"], ["y"], name="first")], weight)


def _truncated_onnx(folder: Path) -> Path:
    _truncated(_nan_onnx(folder), 0.6)
    return folder / "net.onnx"


Case = tuple[Callable[[Path], Path], type[MilpcompError], str]

FILES: dict[str, Case] = {
    "missing": (lambda folder: folder / "net.pt", CheckpointError, "net.pt"),
    "folder": (lambda folder: folder, CheckpointError, ""),
    "unknown suffix": (lambda folder: _text(folder, "net.txt"), CheckpointError, r"net\.txt"),
    "text as .pt": (lambda folder: _text(folder, "net.pt"), CheckpointError, r"net\.pt"),
    "text as .onnx": (lambda folder: _text(folder, "net.onnx"), CheckpointError, r"net\.onnx is not an ONNX file"),
    "text as .npz": (lambda folder: _text(folder, "net.npz"), CheckpointError, r"net\.npz"),
    "text as .safetensors": (lambda folder: _text(folder, "net.safetensors"), CheckpointError, r"net\.safetensors"),
    "truncated .pt": (_truncated_checkpoint, CheckpointError, r"net\.pt"),
    "truncated .npz": (_truncated_npz, CheckpointError, r"net\.npz .*truncated"),
    "truncated .onnx": (_truncated_onnx, CheckpointError, r"net\.onnx .*truncated"),
    "code in .pth": (_code_checkpoint, CheckpointError, r"net\.pth"),
    "code in .tar": (_code_pickle, CheckpointError, r"net\.tar"),
    "code in .npz": (_code_npz, CheckpointError, r"net\.npz"),
    "whole module in .pt": (_module_checkpoint, CheckpointError, "state_dict"),
    "NaN in .pt": (_nan_checkpoint, NetworkError, "NaN or infinity"),
    "infinity in .safetensors": (_nan_safetensors, NetworkError, "NaN or infinity"),
    "NaN in .onnx": (_nan_onnx, NetworkError, "NaN"),
    "shapes that do not fit": (_misfit_checkpoint, MilpcompError, r"2\.weight"),
    "no chain of dense layers": (_convolution_checkpoint, CheckpointError, "architecture"),
    "unsupported operators": (_unsupported_onnx, UnsupportedOperatorError, r"Sigmoid.*Softmax"),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no network that could be analysed is refused with the file or the culprits named; its code is not run."""
    make, error, message = FILES[name]
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in")
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        mc.load(path)
    refused_by_command(
        capsys, tmp_path, message, "analyze", str(path), "--domain", "0", "1", "--out", str(tmp_path / "out"), "--quiet"
    )
    assert not (tmp_path / "in" / "owned").exists()


# ------------------------------------------------------------------------------------------------------------ modules


class Smooth(nn.Module):
    """A module with two operators that no rectifier network has."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x)) + torch.sigmoid(x)


def test_module_with_unsupported_operators() -> None:
    """All operators without counterpart are named at once."""
    with pytest.raises(UnsupportedOperatorError) as refused:
        mc.load(Smooth().eval(), input_shape=(2,))
    assert "tanh" in str(refused.value)
    assert "sigmoid" in str(refused.value)


def test_module_in_training_mode() -> None:
    """A module that computes something else in training mode must be in eval mode, and the error says how."""
    with pytest.raises(NetworkError, match=r"call module\.eval\(\) first"):
        mc.load(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU()), input_shape=(2,))


def test_module_without_input_shape() -> None:
    """A module does not tell its input shape, and the error says how to give it."""
    with pytest.raises(MilpcompError, match="example_input"):
        mc.load(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_module_with_other_input_shape() -> None:
    """An input shape that the module cannot take is refused."""
    with pytest.raises(MilpcompError, match=r"\(3,\)|3"):
        mc.load(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), input_shape=(3,))


def test_architecture_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A factory that cannot be found, and one whose module has other parameters, are refused."""
    torch.save(state(), tmp_path / "net.pt")
    for architecture in ("nowhere:factory", "models.mlp:nothing", "models.mlp"):
        with pytest.raises(MilpcompError, match=architecture.split(":")[0]):
            mc.load(tmp_path / "net.pt", architecture=architecture, input_shape=(2,))
        refused_by_command(
            capsys, tmp_path, architecture.split(":")[0], "certify", str(tmp_path / "net.pt"), "--domain", "0", "1",
            "--architecture", architecture, "--input-shape", "2", "--out", str(tmp_path / "out"), "--quiet",
        )  # fmt: skip
    other = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(MilpcompError, match=r"0\.weight"):
        mc.load(tmp_path / "net.pt", architecture=other, input_shape=(2,))


# ------------------------------------------------------------------------------------------------------------ domains


@pytest.fixture
def network(tmp_path: Path) -> str:
    """Return the path of a network with two inputs, the only file there is."""
    save_network(diamond(), tmp_path / "net.npz")
    return str(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (1.0, 0.0, "the box is empty: lower .*1.0.* exceeds upper .*0.0.*swap the bounds"),
        (float("nan"), 1.0, "the lower bound of a box holds NaN or infinity"),
        (0.0, float("inf"), "the upper bound of a box holds NaN or infinity"),
        (-1e400, 1.0, "the lower bound of a box holds NaN or infinity"),
    ],
)
def test_boxes(
    lower: float, upper: float, message: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reversed, NaN and infinite boxes are refused."""
    with pytest.raises(DomainError, match=message):
        mc.Box(lower, upper)
    if not np.isinf(lower):  # argparse takes "-inf" for an option
        refused_by_command(
            capsys,
            tmp_path,
            message,
            "analyze",
            network,
            "--domain",
            str(lower),
            str(upper),
            "--out",
            str(tmp_path / "o"),
        )


def test_box_of_another_shape(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A box with three inputs is none of a network with two; from a file too."""
    message = r"the box has shape \(3,\) but the network's input has shape \(2,\)"
    with pytest.raises(DomainError, match=message):
        mc.certify(diamond(), mc.Box(np.zeros(3), np.ones(3)))
    np.save(tmp_path / "x.npy", np.zeros(3))
    refused_by_command(
        capsys, tmp_path, message, "analyze", network, "--around", str(tmp_path / "x.npy"), "0.1", "--out",
        str(tmp_path / "out"), "--quiet",
    )  # fmt: skip


def test_negative_radius(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ball of negative radius is refused."""
    np.save(tmp_path / "x.npy", np.zeros(2))
    with pytest.raises(DomainError, match="radius of a box must be >= 0"):
        mc.Box.around(np.zeros(2), -0.1)
    refused_by_command(
        capsys,
        tmp_path,
        "radius of a box must be >= 0",
        "certify",
        network,
        "--around",
        str(tmp_path / "x.npy"),
        "-0.1",
    )


def test_vnnlib_files(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A property file that is missing or no property is refused by name."""
    _text(tmp_path, "text.vnnlib")
    for name in ("text.vnnlib", "missing.vnnlib"):
        with pytest.raises(DomainError, match=name):
            mc.read_vnnlib(tmp_path / name)
        refused_by_command(capsys, tmp_path, name, "certify", network, "--vnnlib", str(tmp_path / name))


# ----------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "arguments", "error", "message"),
    [
        ({"method": "magic"}, ["--method", "magic"], SettingsError, "unknown method 'magic'; choose one of funnel"),
        (
            {"backend": "cp-sat"},
            ["--backend", "cp-sat"],
            SettingsError,
            "unknown backend 'cp-sat'; choose one of highs",
        ),
        ({"backend": "pyomo:none"}, ["--backend", "pyomo:none"], SolverError, "none"),
        ({"time_limit_s": -1.0}, ["--time-limit", "-1"], SettingsError, "time limit must be a positive number"),
        (
            {"time_limit_s": float("nan")},
            ["--time-limit", "nan"],
            SettingsError,
            "time limit must be a positive number",
        ),
        ({"seed": -1}, ["--seed", "-1"], SettingsError, "seed"),
        ({"device": "meta"}, ["--device", "meta"], SettingsError, "'meta' cannot be used"),
        ({"device": "abacus"}, ["--device", "abacus"], SettingsError, "abacus"),
    ],
)
def test_settings(
    options: dict[str, Any], arguments: list[str], error: type[MilpcompError], message: str,
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Unknown methods, backends and devices, and impossible limits and seeds, are refused before any work is done."""
    with pytest.raises(error, match=message):
        mc.certify(diamond(), mc.Box(0.0, 1.0), **options)
    refused_by_command(
        capsys, tmp_path, message, "analyze", network, "--domain", "0", "1", "--out", str(tmp_path / "out"), "--quiet",
        *arguments,
    )  # fmt: skip


@pytest.mark.parametrize(("tolerance", "text"), [(-1.0, "-1"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_tolerances(
    tolerance: float, text: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tolerance is a finite number that is not negative."""
    report = mc.certify(diamond(), mc.Box(0.0, 1.0))
    with pytest.raises(SettingsError, match="tolerance"):
        mc.compress(diamond(), report, tolerance=tolerance)
    mc.save_report(report, tmp_path / "certificate.json")
    refused_by_command(
        capsys, tmp_path, "tolerance", "analyze", network, "--domain", "0", "1", "--out", str(tmp_path / "out"),
        "--tolerance", text,
    )  # fmt: skip
    refused_by_command(
        capsys, tmp_path, "tolerance", "compress", network, str(tmp_path / "certificate.json"), "--out",
        str(tmp_path / "out"), "--tolerance", text,
    )  # fmt: skip


def test_data_of_another_shape(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Witness candidates must be finite inputs of the network."""
    for content in (np.zeros((4, 3)), np.full((1, 2), np.nan)):
        np.save(tmp_path / "data.npy", content)
        with pytest.raises(DomainError, match="data must be finite inputs"):
            mc.certify(diamond(), mc.Box(0.0, 1.0), data=content)
        refused_by_command(
            capsys, tmp_path, "data must be finite inputs", "certify", network, "--domain", "0", "1", "--data",
            str(tmp_path / "data.npy"), "--out", str(tmp_path / "out"), "--quiet",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("place", ["net.npz", "net.npz/out", "/proc/milpcomp"])
@pytest.mark.parametrize("command", ["analyze", "certify"])
def test_output_folder_that_cannot_be(
    command: str, place: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A folder that cannot be written to is refused before anything is computed."""

    def computed(*_: object, **__: object) -> NoReturn:
        raise AssertionError("certify was called")

    monkeypatch.setattr("milpcomp.stability.certify.certify", computed)
    monkeypatch.setattr("milpcomp.pipeline.certify", computed)
    out = str(tmp_path / place)
    if command == "analyze":
        with pytest.raises(OutputError, match="cannot write into the folder"):
            mc.analyze(network, mc.Box(0.0, 1.0), out)
    refused_by_command(
        capsys,
        tmp_path,
        "cannot write into the folder",
        command,
        network,
        "--domain",
        "0",
        "1",
        "--out",
        out,
        "--quiet",
    )


@pytest.mark.parametrize("command", ["analyze", "compress"])
def test_results_that_would_replace_the_network(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network is not overwritten by what it was compressed to."""
    save_network(diamond(), tmp_path / "network.npz")
    arguments = ["--domain", "0", "1"] if command == "analyze" else [str(tmp_path)]
    refused_by_command(
        capsys, tmp_path, "would replace the network", command, str(tmp_path / "network.npz"), *arguments, "--out",
        str(tmp_path),
    )  # fmt: skip
    assert mc.load(tmp_path / "network.npz").digest == diamond().digest


@pytest.mark.parametrize("command", ["analyze", "certify", "compress"])
def test_full_disk(
    command: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full, the folder holds what it held before, and no hidden file either."""
    mc.save_report(mc.certify(diamond(), mc.Box(0.0, 1.0)), tmp_path / "old.json")
    arguments = [str(tmp_path / "old.json")] if command == "compress" else ["--domain", "0", "1", "--quiet"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.md").write_text("of an earlier run")

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    refused_by_command(
        capsys, tmp_path, "No space left on device", command, network, *arguments, "--out", str(tmp_path / "out")
    )
    assert (tmp_path / "out" / "report.md").read_text() == "of an earlier run"


def test_certificates(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compressing and checking with something that is no certificate is refused by name."""
    _text(tmp_path, "text.json")
    for command in ("compress", "check"):
        for name in ("text.json", "missing.json"):
            refused_by_command(capsys, tmp_path, re.escape(name), command, network, str(tmp_path / name))
