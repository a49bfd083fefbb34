"""`milpcomp paths` and `milpcomp attack`: from files to a folder, honest figures, mistakes in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from milpcomp.cli import main
from milpcomp.paths import Distribution, block_graph, path_lengths, seed_graph
from milpcomp.report.path_figures import graph_figure, path_figure
from milpcomp.report.paths import paths_text
from tests.channel_nets import rotated_block
from tests.test_compare import X, Y, classifier

ARCHITECTURE = ["--architecture", "tests.channel_nets:rotated_block", "--input-shape", "2,4,4"]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Return a classifier of two inputs."""
    classifier().save(tmp_path / "net.npz")
    return tmp_path / "net.npz"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return four samples with labels."""
    np.savez(tmp_path / "data.npz", images=X, labels=Y)
    return tmp_path / "data.npz"


@pytest.mark.slow
def test_paths_of_networks_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint and a list of counts make one table, the distribution as CSV, figures, and JSON."""
    torch.save({"state_dict": rotated_block().state_dict()}, tmp_path / "block.pt")
    (tmp_path / "lists.json").write_text(json.dumps({"plain": [3, 4, 5, 6], "thin": [1, 0, 2, 2]}))
    out = tmp_path / "out"
    arguments = [str(tmp_path / "block.pt"), *ARCHITECTURE, "--counts", str(tmp_path / "lists.json")]
    assert main(["paths", *arguments, "--out", str(out)]) == 0
    assert "slopes of exactly 0 are silent; trunk and shortcuts are not charged" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["paths.json", "paths.md", "lengths.csv", "lengths.png", "lengths.pdf"]
        + [f"graph-{i}.{kind}" for i in (1, 2, 3) for kind in ("png", "pdf")]
    )
    with (out / "lengths.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["network"] == "plain"]
    assert [(line["length"], line["paths"], line["share"]) for line in lines] == [
        ("0", "1", "0.25"), ("7", "1", "0.25"), ("11", "1", "0.25"), ("18", "1", "0.25"),
    ]  # fmt: skip
    found = json.loads((out / "paths.json").read_text())["networks"]
    assert list(found) == ["block", "plain", "thin"]
    assert (found["thin"]["paths"], found["thin"]["mean"], found["thin"]["longest"]) == (4, 2.5, 5)
    assert found["block"]["paths"] == 2
    assert main(["paths", *arguments, "--threshold", "0.01", "--json", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("}\n"), "the shell's prompt starts a line of its own"
    cut = json.loads(printed)["networks"]["block"]
    assert cut["longest"] < found["block"]["longest"]


def test_published_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The slip with which counts were published is a preset, and the output says so."""
    (tmp_path / "wide.csv").write_text("64,64,64,64\n128,128,128,128\n")
    out = str(tmp_path / "out")
    arguments = ["paths", "--counts", str(tmp_path / "wide.csv"), "--out", out]
    assert main([*arguments, "--preset", "rrelu-2022"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "preset rrelu-2022" in text
    assert "256" in text
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"]["wide"]["longest"] == 768


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("[1, 2.5]", "json", "whole numbers"),
        ("[]", "json", "whole numbers"),
        ("{}", "json", "whole numbers"),
        ("a,1\nb,x\n", "csv", "whole numbers"),
        ("1 2", "txt", ".json and .csv"),
        ("[1, 2, 3]", "json", "do not fill blocks"),
    ],
)
def test_unusable_lists_are_one_line(
    tmp_path: Path, text: str, suffix: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that is none is one line on standard error and exit code 2."""
    (tmp_path / f"counts.{suffix}").write_text(text)
    assert main(["paths", "--counts", str(tmp_path / f"counts.{suffix}"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_paths_need_something_to_count(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network, a preset without lists, or architectures that fit no checkpoint, are refused."""
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        ([], "nothing to count"),
        ([str(network), "--preset", "rrelu-2022"], "--counts"),
        ([str(network), *ARCHITECTURE], "0 of the networks are checkpoints"),
        ([str(network), "--threshold", "-1"], "threshold"),
    ):
        assert main(["paths", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_attack_measures_and_proves(network: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracy under attack, ratios and proofs, in a table and, image by image, in JSON."""
    out = data.parent / "out"
    arguments = ["attack", str(network), "--data", str(data), "--quiet", "--out", str(out)]
    assert main([*arguments, "--epsilon", "0.01", "0.055", "--certify", "0.055"]) == 0
    text = capsys.readouterr().out
    for row in (
        "PGD 0.01: not broken",
        "PGD 0.055: not broken",
        "radius 0.055: proved robust",
        "labels of the attacks",
    ):
        assert row in text
    found = json.loads((out / "robustness.json").read_text())
    assert [part["net"]["held"]["PGD"] for part in found["measured"]] == [[1, 0, 1, 1], [1, 0, 0, 1]]
    assert found["proved"]["net"]["outcomes"] == ["robust", "adversarial", "adversarial", "robust"]
    assert found["proved"]["net"]["rejected"] == 0
    assert {path.name for path in out.iterdir()} == {"robustness.json", "robustness.csv", "robustness.md"}
    with (out / "robustness.csv").open() as stream:
        lines = {line["what"]: line["value"] for line in csv.DictReader(stream)}
    assert float(lines["radius 0.055: proved robust"]) == 0.5
    assert float(lines["PGD 0.055: not broken"]) == 0.5


def test_attack_compares_networks(network: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several networks, images that differ from the first one's are named."""
    from milpcomp.channels import silenced

    silenced(classifier(), 0.05).save(network.parent / "cut.npz")
    networks = [str(network), str(network.parent / "cut.npz")]
    options = ["--data", str(data), "--epsilon", "0.055", "--out", str(data.parent / "out"), "--limit", "4"]
    assert main(["attack", *networks, *options]) == 0
    printed = capsys.readouterr()
    rows = {
        line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[1] for line in printed.out.splitlines() if "  " in line
    }
    assert rows["other predictions than the first"] == "1: 1"
    assert rows["PGD 0.055: broken in one only"] == "1: 3"
    assert "cut: 4 of 4 images attacked" in printed.err


def test_published_preset_takes_normalised_images(
    network: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the preset of the seeds, images are normalised before the attack; proofs stay in raw units."""
    options = ["--mean", "0.5", "--std", "0.25", "--preset", "rrelu-2024", "--certify", "0.001", "--quiet", "--json"]
    arguments = ["attack", str(network), "--data", str(data), "--out", str(data.parent / "out")]
    assert main([*arguments, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    settings = found["measured"][0]["net"]["settings"]
    assert settings["labels"] == "the model's own predictions"
    assert settings["attacks"][1]["clip"] is None
    assert found["settings"]["space"].startswith("normalised images")
    assert found["proved"]["net"]["radius"] == 0.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "0.5"], "both --mean and --std"),
        (["--limit", "0"], "at least 1"),
        (["--preset", "other"], "unknown preset"),
        (["--preset", "rrelu-2024", "--epsilon", "0.1"], "has epsilon 0.031"),
        (["--mean", "0.5,0.5,0.5", "--std", "1,1,1"], "channels"),
        (["--certify", "-1"], "radius"),
        (["--workers", "2"], "give --certify too"),
        (["--time-limit", "0"], "positive"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_unusable_attack_options_are_one_line(
    network: Path, data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is one line on standard error and exit code 2."""
    arguments = ["attack", str(network), "--data", str(data), "--out", str(data.parent / "out"), *options]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_data_without_labels_are_refused(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracy needs labels, and networks that are compared need samples of one shape."""
    np.save(tmp_path / "x.npy", X)
    assert main(["attack", str(network), "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "out")]) == 2
    assert "no labels" in capsys.readouterr().err


def test_figures_show_what_they_say() -> None:
    """The histogram has one bin for each point of the coarsest grid, and names each mean."""
    plain, thin = path_lengths(block_graph([64] * 8)), path_lengths(block_graph([3, 4, 5, 6, 7, 8, 9, 10]))
    axes = path_figure({"plain": plain, "thin": thin}).axes[0]
    stairs = axes.patches[0].get_data()  # type: ignore[attr-defined]
    assert stairs.edges[1] - stairs.edges[0] == 128
    assert stairs.values == pytest.approx(100 * np.array([1, 4, 6, 4, 1]) / 16)
    legend = path_figure({"a$b": plain}).legends[0]
    assert legend.get_texts()[0].get_text() == "a$b: mean 256.0, sd 128.0"
    single = path_figure({"one": Distribution({7: 1})}).axes[0].patches[0].get_data()  # type: ignore[attr-defined]
    assert single.values.sum() == pytest.approx(100)


def test_graphs_are_drawn_with_their_counts() -> None:
    """Every node has a label with its active filters, and parallel ways are written beside their edge."""
    labels = [text.get_text() for text in graph_figure(seed_graph([3, 4])).axes[0].texts]
    assert labels == ["input", "block 1 convolution 1  3", "block 1 convolution 2  4", "block 1  (Add)"]
    graph = nx.DiGraph(source="a", sink="b")
    graph.add_node("a", filters=0, all=0, length=0, kind="input")
    graph.add_node("b", filters=2, all=5, length=2, kind="Dense")
    graph.add_edge("a", "b", ways=2, rectified=False)
    assert [t.get_text() for t in graph_figure(graph).axes[0].texts] == ["input", "b  2 of 5", "× 2"]


def test_numbers_of_paths_in_words() -> None:
    """Small numbers are written in full, powers of two as such, others with three digits."""
    assert [paths_text(n) for n in (512, 2**54, 3**40)] == ["512", "2^54", "1.21e19"]
