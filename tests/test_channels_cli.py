"""`milpcomp channels`: from files to a folder that can be checked, and the images it measures on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import milpcomp as mc
from milpcomp.channels.images import read_images
from milpcomp.channels.norms import norm_scales, slopes_beside_scales
from milpcomp.channels.storage import load_removal
from milpcomp.cli import main
from milpcomp.errors import SettingsError
from milpcomp.report.slope_figures import slope_histogram, slopes_by_layer
from tests.channel_nets import chain_cnn, rotated_block

ARCHITECTURE = ["--architecture", "tests.channel_nets:rotated_block", "--input-shape", "2,4,4"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return the state dict of a residual block with slopes 0, 0.001, 1 and -1."""
    torch.save({"state_dict": rotated_block().state_dict()}, tmp_path / "block.pt")
    return tmp_path / "block.pt"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return pixels, channels last, and labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(40, 4, 4, 2), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=rng.integers(0, 3, size=40, dtype=np.uint8))
    return tmp_path / "images.npz"


@pytest.mark.slow
def test_exact_removal_from_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Threshold 0 is exact, accepted, and leaves a folder that `milpcomp check` accepts again."""
    out = checkpoint.parent / "out"
    assert main(["channels", str(checkpoint), *ARCHITECTURE, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "slopes that are exactly 0: 1 of 8" in text
    assert "proved: equal outputs" in text
    assert "NOT exact" not in text
    assert {path.name for path in out.iterdir()} >= {
        "network.onnx", "network.pt2", "network.npz", "slopes.png", "layers.pdf", "scales.png", "slopes-scales.png",
    }  # fmt: skip
    assert main(["check", str(out / "masked.npz"), str(out), str(out)]) == 0
    removal = load_removal(out)
    assert removal.exact
    x = np.random.default_rng(0).normal(size=(5, 2, 4, 4))
    module = torch.export.load(out / "network.pt2").module()
    expected = removal.masked.forward(x)
    assert np.abs(module(torch.tensor(x, dtype=torch.float32)).detach().numpy() - expected).max() < 1e-5
    assert np.abs(mc.load(out / "network.onnx").forward(x) - expected).max() < 1e-5


@pytest.mark.slow
def test_thresholds_are_measured_on_data(checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold above 0 says that it is not exact, and how much predictions and outputs change."""
    options = ["--threshold", "0.01", "--data", str(images), "--mean", "0.5", "--std", "0.25,0.5", "--json"]
    out = str(checkpoint.parent / "out")
    assert main(["channels", str(checkpoint), *ARCHITECTURE, *options, "--no-check", "--out", out]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["exact"], found["silenced"], found["dead"]) == (False, 1, 2)
    assert found["measured"]["images"] == 40
    assert 0 < found["measured"]["largest_change"] < 0.1
    assert found["check_compression"] is None
    assert main(["channels", str(checkpoint), *ARCHITECTURE, *options[2:-1], "--threshold", "auto", "--out", out]) == 0
    assert "selected as the largest without loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "some"], "is no threshold"),
        (["--threshold", "-1"], "auto"),
        (["--threshold", "auto"], "need images"),
        (["--mean", "a,b"], "are no numbers"),
    ],
)
def test_unusable_options_are_one_line(
    checkpoint: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is one line on standard error and exit code 2."""
    arguments = ["channels", str(checkpoint), *ARCHITECTURE, *options, "--out", str(checkpoint.parent / "out")]
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code  # type: ignore[assignment]
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_images_are_arranged_scaled_and_normalised(images: Path, tmp_path: Path) -> None:
    """Pixels are divided by 255, channels come first, and each gets its mean and standard deviation."""
    found, labels = read_images(images, (2, 4, 4), (0.5, 0.0), (0.5, 2.0))
    pixels = np.load(images)["x"]
    assert labels is not None
    for unusable in (np.array(["a", "b"]), np.array([0.5, 1.0]), np.array([0.0, np.nan])):
        np.savez(tmp_path / "odd.npz", images=np.zeros((2, 2, 4, 4)), labels=unusable)
        with pytest.raises(SettingsError, match="whole numbers"):
            read_images(tmp_path / "odd.npz", (2, 4, 4))
    assert found.shape == (40, 2, 4, 4)
    np.testing.assert_allclose(found[:, 0], (pixels[..., 0] / 255 - 0.5) / 0.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], pixels[..., 1] / 255 / 2, rtol=1e-5)
    np.save(tmp_path / "rows.npy", np.arange(12.0).reshape(3, 2, 2))
    rows, none = read_images(tmp_path / "rows.npy", (4,))
    assert none is None
    assert rows.tolist() == np.arange(12.0).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    ("shape", "mean", "std"), [((3, 4, 4), None, None), ((2, 4, 4), (0.1,) * 3, None), ((2, 4, 4), None, (0.0,))]
)
def test_images_that_do_not_fit_are_refused(
    images: Path, shape: tuple[int, ...], mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> None:
    """Of another shape, or normalised by numbers that cannot be used."""
    with pytest.raises(SettingsError, match=r"takes|mean|std"):
        read_images(images, shape, mean, std)


def test_archives_without_images_are_refused(tmp_path: Path) -> None:
    """The names that the images may have are listed."""
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(SettingsError, match="images must be called one of images, x"):
        read_images(tmp_path / "other.npz", (2,))
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(SettingsError, match=r"no \.npy file"):
        read_images(tmp_path / "bad.npy", (2,))


def test_batch_norms_are_found_behind_additions(checkpoint: Path) -> None:
    """The activation behind an addition belongs to the batch norm of the branch that is added."""
    network = mc.load(checkpoint, architecture=rotated_block, input_shape=(2, 4, 4))
    scales = norm_scales(rotated_block().state_dict())
    assert sorted(scales) == ["bn1", "bn2"]
    pairs = slopes_beside_scales(network, scales)
    assert {name: pair[0].tolist() for name, pair in pairs.items()} == {
        "act1": scales["bn1"].tolist(), "act2": scales["bn2"].tolist(),
    }  # fmt: skip


def test_figures_count_what_they_show() -> None:
    """Titles and labels say how many channels are on which side of the threshold, of no slopes too."""
    slopes = {"first": np.array([0.0, 0.05, -1.0]), "second": np.array([2.0])}
    assert slope_histogram(slopes, 0.1).axes[0].get_title() == "4 slopes, 2 with |b| ≤ 0.1"
    labels = [label.get_text() for label in slopes_by_layer(slopes, 0.1).axes[0].get_yticklabels()]
    assert labels == ["first  (1 of 3)", "second  (1 of 1)"]
    assert slope_histogram({}, 0.0).axes[0].get_title() == "0 slopes, 0 with |b| ≤ 0"


def test_networks_that_are_a_constant_are_written_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold above every slope leaves a constant; every format holds it."""
    chain_cnn(np.random.default_rng(0)).save(tmp_path / "net.npz")
    out = tmp_path / "out"
    assert main(["channels", str(tmp_path / "net.npz"), "--threshold", "100", "--out", str(out)]) == 0
    assert "22 of 22" in capsys.readouterr().out
    expected = load_removal(out).masked.forward(np.ones((2, 3, 8, 8)))
    module = torch.export.load(out / "network.pt2").module()
    assert np.abs(module(torch.ones(2, 3, 8, 8)).detach().numpy() - expected).max() < 1e-5
