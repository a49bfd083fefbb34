"""The command line: what it accepts, what it writes where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from milpcomp.cli import inputs, main
from milpcomp.cli.parser import parser
from milpcomp.domain import Box
from milpcomp.errors import DomainError, SettingsError
from milpcomp.milp.backends import NAMES
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.network.storage import load_network, save_network
from milpcomp.stability.settings import METHODS
from milpcomp.stability.storage import load_report, save_report
from milpcomp.stability.verdict import Phase, Proof, Stage
from tests.nets import chain, diamond, mlp, residual_cnn

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ["analyze", "certify", "compress", "check", "batch", "channels", "paths", "attack", "export"]


def options(*arguments: str) -> Any:
    """Return the parsed options of a certify command."""
    return parser().parse_args(["certify", "net.npz", *arguments])


@pytest.fixture
def network(tmp_path: Path) -> str:
    """Return the path of the diamond network: on [0, 1]^2 one neuron is unstable, one stably inactive."""
    save_network(diamond(), tmp_path / "net.npz")
    return str(tmp_path / "net.npz")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code and what it wrote to standard output and error."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's help has an example of itself and says what the exit codes mean."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"example:\n  milpcomp {command} " in text
    assert all(f"  {code} " in text for code in (0, 1, 2, 70, 130))
    assert max(len(line) for line in text.splitlines()) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_accepted(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every example in a help text is a command that the parser takes."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    examples = re.findall(r"^  milpcomp (.*)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert examples
    assert [parser().parse_args(shlex.split(example)).command for example in examples] == [command] * len(examples)


def test_help_names_every_method_and_backend(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of --method and --backend keeps in step with what there is."""
    with pytest.raises(SystemExit):
        main(["certify", "--help"])
    text = capsys.readouterr().out
    assert all(method in text for method in METHODS)
    assert all(name in text for name in NAMES if ":" not in name)


def test_help_and_version_load_nothing_heavy() -> None:
    """Help, version and refused options answer at once: no numerics, no framework, no solver is imported for them."""
    script = (
        "import sys\nfrom milpcomp.cli import main\n"
        "for arguments in (['--help'], ['analyze', '--help'], ['--version'], ['certify', '--nonsense']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'torch', 'matplotlib', 'rich', 'highspy', 'ortools', 'onnx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_module_and_version() -> None:
    """``python -m milpcomp --version`` prints the version of the package."""
    done = subprocess.run(
        [sys.executable, "-m", "milpcomp", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"milpcomp \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND; see milpcomp --help"),
        (["certify"], "the following arguments are required: NETWORK; see milpcomp certify --help"),
        (["destroy", "x"], "invalid choice: 'destroy'"),
        (["certify", "x", "--domain", "0"], "argument --domain: expected 2 arguments"),
        (["certify", "x", "--domain", "0", "one"], "argument --domain: invalid float value: 'one'"),
        (["certify", "x", "--input-shape", "3x2"], "'3x2' is no shape; write positive whole numbers, as in 3,32,32"),
        (["certify", "x", "--input-shape", "0,2"], "'0,2' is no shape"),
        (["compress", "x", "y", "--tolerance", "much"], "'much' is no tolerance; write rounding, 0, or a number"),
        (["analyze", "x", "--time-limt", "3"], "unrecognized arguments: --time-limt 3; see milpcomp analyze --help"),
        (["certify", "x", "--time", "3"], "unrecognized arguments: --time 3"),  # no abbreviations: they would not last
    ],
)
def test_refused_options_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the parser refuses is one line on standard error and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("milpcomp: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


# ------------------------------------------------------------------------------------------------------------- domain


def test_domain_of_two_numbers() -> None:
    """--domain takes any two numbers, negative ones in every notation."""
    box = inputs.domain(options("--domain", "-1e-3", "-.5e-4"))
    assert (float(box.lower), float(box.upper)) == (-1e-3, -0.5e-4)


def test_domain_around_an_input(tmp_path: Path) -> None:
    """--around is the ball around the input in a file, cut to --domain where that is given."""
    np.save(tmp_path / "x.npy", np.array([0.0, 0.5], dtype=np.float32))
    around = ["--around", str(tmp_path / "x.npy"), "0.25"]
    ball, cut = inputs.domain(options(*around)), inputs.domain(options(*around, "--domain", "0", "0.6"))
    assert (ball.lower.tolist(), ball.upper.tolist()) == ([-0.25, 0.25], [0.25, 0.75])
    assert (cut.lower.tolist(), cut.upper.tolist()) == ([0.0, 0.25], [0.25, 0.6])


def _property(folder: Path, boxes: list[tuple[float, float]]) -> str:
    """Write a VNN-LIB file with one input in any of the given intervals."""
    cases = " ".join(f"(and (>= X_0 {low}) (<= X_0 {high}))" for low, high in boxes)
    path = folder / "property.vnnlib"
    path.write_text(f"(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (or {cases}))\n(assert (>= Y_0 0))\n")
    return str(path)


def test_domain_from_vnnlib(tmp_path: Path) -> None:
    """--vnnlib takes the only box of a file, or the one that --box names, counted from 1."""
    only = inputs.domain(options("--vnnlib", _property(tmp_path, [(0, 1)])))
    assert (only.lower.tolist(), only.upper.tolist()) == ([0.0], [1.0])
    second = inputs.domain(options("--vnnlib", _property(tmp_path, [(0, 1), (2, 3)]), "--box", "2"))
    assert (second.lower.tolist(), second.upper.tolist()) == ([2.0], [3.0])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([], "describes 2 boxes; choose one with --box N, N from 1 to 2"),
        (["--box", "3"], "none is number 3"),
        (["--box", "0"], "none is number 0"),
    ],
)
def test_choosing_among_several_boxes(tmp_path: Path, box: list[str], message: str) -> None:
    """A file with several boxes says how many, and a number that is none of them is refused."""
    with pytest.raises(DomainError, match=message):
        inputs.domain(options("--vnnlib", _property(tmp_path, [(0, 1), (2, 3)]), *box))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no domain: give --domain"),
        (["--box", "1"], "--box chooses among the boxes of a --vnnlib file"),
        (["--vnnlib", "f", "--domain", "0", "1"], "not two of them"),
        (["--vnnlib", "f", "--around", "f", "1"], "not two of them"),
        (["--around", "f.npy", "far"], "the radius must be a number, got 'far'"),
        (["--around", "missing.npy", "1"], "--around: cannot read missing.npy"),
    ],
)
def test_unclear_domains(arguments: list[str], message: str) -> None:
    """No domain, or two, or one that cannot be read, is refused with what to give."""
    with pytest.raises(SettingsError, match=re.escape(message)):
        inputs.domain(options(*arguments))


def test_arrays_are_numbers_in_npy_files(tmp_path: Path) -> None:
    """An .npy file of numbers is read as float64; text, archives, pickles and broken files are refused."""
    np.save(tmp_path / "good.npy", np.arange(3, dtype=np.uint8))
    assert inputs.array(str(tmp_path / "good.npy"), "--data").tolist() == [0.0, 1.0, 2.0]
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", x=np.zeros(1))
    (tmp_path / "broken.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:70])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("text.npy", "pickle.npy", "archive.npz", "broken.npy", "empty.npy"):
        with pytest.raises(SettingsError, match=f"--data: .*{name} is no .npy file of numbers"):
            inputs.array(str(tmp_path / name), "--data")


# ----------------------------------------------------------------------------------------------------------- commands


def test_certify(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Certify prints the verdicts to standard output, progress to standard error, and writes a certificate."""
    code, out, err = run(capsys, "certify", network, "--domain", "0", "1", "--out", str(tmp_path / "out"))
    assert code == 0
    assert re.search(r"^all +2 +1 +0 +1 +0 *$", out, flags=re.MULTILINE)
    assert "all inputs in [0, 1]^2" in out
    assert "neurons open" in err
    assert "\x1b" not in out + err
    report = load_report(tmp_path / "out")
    assert report.counts() == {"stably_inactive": 1, "stably_active": 0, "unstable": 1, "undecided": 0}
    assert report.domain.digest == Box(0.0, 1.0).fit((2,)).digest


def test_options_reach_the_run(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Method, backend, limit, seed and device are those of the certificate."""
    np.save(tmp_path / "data.npy", np.array([[1.0, 0.0]]))
    code, _, err = run(
        capsys, "certify", network, "--domain", "0", "1", "--out", str(tmp_path / "run.json"), "--method", "per-neuron",
        "--backend", "highs", "--time-limit", "30", "--seed", "5", "--data", str(tmp_path / "data.npy"), "--quiet",
    )  # fmt: skip
    settings = load_report(tmp_path / "run.json").settings
    assert (code, err) == (0, "")
    assert (settings["method"], settings["backend"], settings["time_limit_s"]) == ("per-neuron", "highs", 30.0)
    assert (settings["seed"], settings["device"]) == (5, "cpu")


def test_compress_and_check(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A saved certificate is enough to compress by, and both are enough to check by."""
    out = str(tmp_path / "out")
    run(capsys, "certify", network, "--domain", "0", "1", "--out", out)
    code, text, err = run(capsys, "compress", network, out, "--out", out)
    assert (code, err) == (0, "")
    assert re.search(r"^neurons +2 +1 +-50\.0 %$", text, flags=re.MULTILINE)
    assert "proved: equal outputs on the whole domain, in real arithmetic" in text
    smaller = load_network(Path(out) / "network.npz")
    x = np.random.default_rng(0).uniform(size=(100, 2))
    assert np.array_equal(smaller.forward(x), diamond().forward(x))
    code, text, err = run(capsys, "check", network, out, out)
    assert (code, err) == (0, "")
    assert "2 verdicts accepted" in text
    assert "equal outputs, by the checker's own proof" in text
    assert "REJECTED" not in text


def test_json(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, standard output is one JSON document, whatever the command."""
    out = str(tmp_path / "out")
    domain = ["--domain", "0", "1"]
    documents = {}
    for command, arguments in {
        "certify": [network, *domain, "--out", out],
        "compress": [network, out, "--out", out],
        "check": [network, out, out],
        "analyze": [network, *domain, "--out", str(tmp_path / "all")],
        "export": [network, str(tmp_path / "small.onnx")],
    }.items():
        code, text, _ = run(capsys, command, *arguments, "--json")
        assert code == 0, command
        documents[command] = json.loads(text)
    counts = {"stably_inactive": 1, "stably_active": 0, "unstable": 1, "undecided": 0}
    assert documents["certify"]["counts"] == counts
    assert documents["compress"]["network"]["neurons"] == 1
    assert documents["compress"]["deviation_bound"] == 0
    assert documents["check"]["check"]["accepted"] is True
    assert documents["check"]["check_compression"]["accepted"] is True
    assert documents["analyze"]["certificate"]["counts"] == counts
    assert documents["analyze"]["network"]["digest"] == documents["export"]["network"] == diamond().digest
    assert json.loads((tmp_path / "all" / "summary.json").read_text()) == documents["analyze"]


def test_check_of_a_lie_exits_with_1(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate that claims what is not so is rejected, with the neuron named, and the exit code tells."""
    out = tmp_path / "out"
    run(capsys, "certify", network, "--domain", "0", "1", "--out", str(out))
    report = load_report(out)
    lie = replace(report.verdicts[0], phase=Phase.STABLY_INACTIVE, stage=Stage.BOUND, proof=Proof.CERTIFIED, upper=0.0)
    save_report(replace(report, verdicts=(lie, *report.verdicts[1:])), out)
    code, text, _ = run(capsys, "check", network, str(out))
    assert code == 1
    assert "REJECTED: 1 0 stably inactive" in text
    code, text, _ = run(capsys, "check", network, str(out), "--json")
    assert (code, json.loads(text)["check"]["rejections"][0]["unit"]) == (1, 0)


@pytest.mark.parametrize("command", ["certify", "compress"])
def test_folder_of_an_earlier_analysis(
    command: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new certificate or compression leaves nothing in the folder that was about an earlier one."""
    out = tmp_path / "out"
    run(capsys, "analyze", network, "--domain", "0", "0.5", "--out", str(out))
    arguments = ["--domain", "0", "1"] if command == "certify" else [str(out)]
    assert run(capsys, command, network, *arguments, "--out", str(out))[0] == 0
    left = {path.name for path in out.iterdir()}
    assert {"certificate.json", "certificate.npz"} <= left
    assert not left & {"report.md", "summary.json"}
    assert ("network.npz" in left) is (command == "compress")


def test_certificate_beside_a_network(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Certifying into a folder that holds no earlier compression removes nothing, whatever files are called."""
    (tmp_path / "network.npz").write_bytes(b"mine")
    assert run(capsys, "certify", network, "--domain", "0", "1", "--out", str(tmp_path))[0] == 0
    assert (tmp_path / "network.npz").read_bytes() == b"mine"


def test_certifying_the_smaller_network_in_place(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network to certify is not removed as a result of an earlier analysis; the command is refused."""
    out = tmp_path / "out"
    run(capsys, "analyze", network, "--domain", "0", "1", "--out", str(out))
    code, _, err = run(capsys, "certify", str(out / "network.npz"), "--domain", "0", "1", "--out", str(out))
    assert (code, (out / "network.npz").exists()) == (2, True)
    assert "write them into another folder" in err


def test_check_of_files_that_are_no_results(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network in place of a certificate or a compression is refused with what to give."""
    out = str(tmp_path / "out")
    run(capsys, "analyze", network, "--domain", "0", "1", "--out", out)
    smaller = f"{out}/network.npz"
    for arguments, what in (([out, smaller], "compression"), ([smaller], "certificate")):
        code, _, err = run(capsys, "check", network, *arguments)
        assert code == 2
        assert f"{smaller} is no {what}; give the folder" in err
        assert f"such as {out}\n" in err


def test_errors_are_in_words_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options are called what they are called here, not what they are called in Python."""
    save_network(diamond(), tmp_path / "net.npz")
    torch.save({"conv.weight": torch.zeros(2, 1, 3, 3)}, tmp_path / "net.pt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "slope.pt")
    for name, arguments, words in (
        ("net.npz", ["--architecture", "a:b"], "--architecture is for checkpoint files"),
        ("net.npz", ["--input-shape", "3"], "--input-shape is (3,)"),
        ("net.pt", ["--architecture", "nowhere", "--input-shape", "3"], "--architecture 'nowhere' is no address"),
        ("net.pt", [], "--architecture MODULE:FACTORY and --input-shape."),
        (
            "slope.pt",
            ["--architecture", "torch.nn:PReLU"],
            "--input-shape, the shape of one sample, such as 784 or 3,32,32",
        ),
    ):
        code, _, err = run(capsys, "export", str(tmp_path / name), str(tmp_path / "net.onnx"), *arguments)
        assert code == 2
        assert words in err
        assert "architecture=" not in err
        assert "input_shape" not in err


@pytest.mark.parametrize("command", ["analyze", "certify"])
@pytest.mark.parametrize("option", ["method", "backend", "device", "time-limit"])
def test_options_are_checked_before_the_network_is_read(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that cannot be used is refused although the network, which is not there, was not looked at."""
    value = "-1" if option == "time-limit" else "nonsense"
    arguments = ["--domain", "0", "1", "--out", str(tmp_path / "out"), f"--{option}", value]
    code, _, err = run(capsys, command, "missing.onnx", *arguments)
    assert code == 2
    assert option.replace("-", " ") in err
    assert "missing.onnx" not in err


def test_check_says_what_was_proved(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check names the network, the domain, and how many neurons it proved to be in which phase, also as JSON."""
    out, domain = str(tmp_path / "out"), Box(0.0, 1.0).fit((2,))
    run(capsys, "certify", network, "--domain", "0", "1", "--out", out)
    code, text, _ = run(capsys, "check", network, out, "--domain", "0", "1")
    assert code == 0
    assert "all inputs in [0, 1]^2" in text
    assert f"shape 2, digest {domain.digest[:12]}" in text
    assert f"digest {diamond().digest[:12]}" in text
    assert "1 stably inactive, 1 unstable" in text
    document = json.loads(run(capsys, "check", network, out, "--json")[1])
    assert document["check"]["proved"] == {"stably_inactive": 1, "stably_active": 0, "unstable": 1}
    assert document["domain"] == {"digest": domain.digest, "shape": [2], "least": 0.0, "greatest": 1.0}
    assert document["network"]["digest"] == diamond().digest


def test_check_of_another_domain(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate about another domain than the one stated is rejected, and so is all that rests on it."""
    out = str(tmp_path / "out")
    run(capsys, "analyze", network, "--domain", "0", "0.5", "--out", out)
    code, text, _ = run(capsys, "check", network, out, out, "--domain", "0", "1")
    assert code == 1
    assert text.count("REJECTED: it is about another domain") == 1
    code, text, _ = run(capsys, "check", network, out, out, "--domain", "0", "1", "--json")
    document = json.loads(text)
    assert (code, document["check"]["accepted"], document["check_compression"]["accepted"]) == (1, False, False)


def test_check_of_a_compression_for_another_domain(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compression that was made for another domain does not pass with a certificate it does not rest on."""
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    run(capsys, "analyze", network, "--domain", "0", "0.5", "--out", small)
    run(capsys, "analyze", network, "--domain", "0", "1", "--out", large)
    code, text, _ = run(capsys, "check", network, small, large)
    assert code == 1
    assert "REJECTED: the compression was made for another domain" in text


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".npz", ".mps", ".lp"])
def test_export(suffix: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network is written in the format that the ending names, and computes the same where it can be run."""
    target = tmp_path / f"copy{suffix}"
    domain = ["--domain", "0", "1"] if suffix in {".mps", ".lp"} else []
    code, text, err = run(capsys, "export", network, str(target), *domain)
    assert (code, text, err) == (0, f"written  {target}\n", "")
    x = np.random.default_rng(0).uniform(size=(10, 2)).astype(np.float32)
    if suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(target))
        assert session.run(None, {session.get_inputs()[0].name: x})[0] == pytest.approx(diamond().forward(x), abs=1e-5)
    elif suffix == ".pt":
        state = torch.load(target, weights_only=True)
        assert [tuple(tensor.shape) for tensor in state.values()] == [(2, 2), (2,), (1, 2), (1,)]
    elif suffix == ".npz":
        assert load_network(target).digest == diamond().digest
    else:
        assert "ROWS" in target.read_text() or "st" in target.read_text().lower()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("copy.txt", [], "cannot tell a format from 'copy.txt'"),
        ("model.mps", [], "no domain: give --domain"),
        ("no/copy.onnx", [], "cannot write"),
    ],
)
def test_export_refuses(
    name: str, arguments: list[str], message: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown endings, models without a domain, and folders that are not there are refused; nothing is written."""
    code, out, err = run(capsys, "export", network, str(tmp_path / name), *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["net.npz"]


def test_export_of_a_graph_as_state_dict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that is no chain has no state dict that stands for itself; the error says what to export."""
    save_network(residual_cnn(np.random.default_rng(0)), tmp_path / "net.npz")
    code, _, err = run(capsys, "export", str(tmp_path / "net.npz"), str(tmp_path / "net.pt"))
    assert code == 2
    assert "export it as .onnx or .npz" in err


def test_certificate_of_another_network(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compressing or checking with the certificate of another network is refused with both digests."""
    run(capsys, "certify", network, "--domain", "0", "1", "--out", str(tmp_path / "out"))
    other = chain((2,), Dense([[1.0, 1.0]]), Rectifier())
    save_network(other, tmp_path / "other.npz")
    for command in ("compress", "check"):
        code, out, err = run(capsys, command, str(tmp_path / "other.npz"), str(tmp_path / "out"))
        assert (code, out) == (2, "")
        assert diamond().digest[:12] in err
        assert other.digest[:12] in err


# ---------------------------------------------------------------------------------------------------------- interrupt


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start a command that Ctrl-C reaches, even if these tests run in the background, where shells switch it off."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from milpcomp.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _hard() -> Network:
    """Return a network whose last layers keep a solver busy for minutes."""
    return mlp([12, 40, 40, 40, 2], np.random.default_rng(1))


@pytest.mark.parametrize("command", ["certify", "analyze"])
def test_interrupt_keeps_what_was_decided(command: str, tmp_path: Path) -> None:
    """Ctrl-C in mid-run exits with 130; the certificate of what was decided reads back."""
    save_network(_hard(), tmp_path / "net.npz")
    process = _start(
        [
            command,
            str(tmp_path / "net.npz"),
            "--domain",
            "0",
            "1",
            "--method",
            "one-solve",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " solver " in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert command == "certify" or "interrupted; finishing with what was decided" in err
    report = load_report(tmp_path / "out")
    assert report.ended == "interrupted"
    assert report.counts()["undecided"] > 0
    assert report.network_digest == _hard().digest


def test_interrupt_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C while loading ends with one line and exit code 130."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inputs, "network", interrupted)
    code, out, err = run(capsys, "export", "net.npz", "net.onnx")
    assert (code, out, err) == (130, "", "milpcomp: interrupted\n")


def test_defects_look_like_nothing_else(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that is no error of the user is shown with its traceback and has an exit code of its own."""

    def broken(_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(inputs, "network", broken)
    code, out, err = run(capsys, "export", "net.npz", "net.onnx")
    assert (code, out) == (70, "")
    assert "KeyError: 'oops'" in err
    assert "defect of milpcomp" in err


def test_reader_that_leaves_early(network: str, tmp_path: Path) -> None:
    """Output into a pipe that nobody reads any more is no error."""
    out = str(tmp_path / "out")
    command = f"{sys.executable} -m milpcomp certify {network} --domain 0 1 --out {out} --quiet | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert load_report(out).counts()["undecided"] == 0
