"""models/: the reader of image files, the training recipe, and the shipped network."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import milpcomp as mc
from milpcomp.compression import Merge, Remove
from models.data import load_images, read_idx
from models.mlp import mlp
from models.train_mlp import SHIPPED, Recipe, accuracy, main, shrink, train, zero_share


def _idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes() + values.tobytes()


def _write_data(folder: Path, count: int = 64) -> None:
    """Write a learnable data set: the class is the brighter half of a 2 x 2 image."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 2, 2), dtype=np.uint8)
    labels = (images[:, 1].sum(axis=1) > images[:, 0].sum(axis=1)).astype(np.uint8)
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(images)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _shipped() -> nn.Sequential:
    model = mlp(json.loads(SHIPPED.with_suffix(".json").read_text())["architecture"]["sizes"])
    model.load_state_dict(load_file(SHIPPED))
    return model


def test_idx_files_are_read_compressed_or_not(tmp_path: Path) -> None:
    """A file comes back with its shape and values; images are scaled to [0, 1] and flattened."""
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    (tmp_path / "plain").write_bytes(_idx(values))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(_idx(values)))
    assert np.array_equal(read_idx(tmp_path / "plain"), values)
    assert np.array_equal(read_idx(tmp_path / "packed.gz"), values)
    _write_data(tmp_path, count=5)
    images, labels = load_images(tmp_path, "t10k")
    assert images.shape == (5, 4)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    assert labels.dtype == np.int64


def test_unusable_data_is_refused(tmp_path: Path) -> None:
    """A missing file, another format and a truncated file are each named with what to do."""
    with pytest.raises(FileNotFoundError, match="put the four MNIST files"):
        load_images(tmp_path, "train")
    (tmp_path / "text").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="not an IDX file"):
        read_idx(tmp_path / "text")
    (tmp_path / "short").write_bytes(_idx(np.zeros((3, 4), dtype=np.uint8))[:-1])
    with pytest.raises(ValueError, match="holds 11 values"):
        read_idx(tmp_path / "short")


def test_mlp_is_a_plain_chain() -> None:
    """Linear and ReLU alternate and end with Linear; weights are random, biases zero."""
    model = mlp([3, 5, 2])
    assert [type(layer) for layer in model] == [nn.Linear, nn.ReLU, nn.Linear]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [layer.weight.shape for layer in model if isinstance(layer, nn.Linear)] == [(5, 3), (2, 5)]
    assert not model.state_dict()["0.bias"].any()


def test_shrink_is_the_proximal_map() -> None:
    """S(v, 1/4) moves 1, -1/2, 1/8 to 3/4, -1/4 and exactly 0, in weights and biases alike."""
    model = nn.Linear(2, 1)
    model.load_state_dict({"weight": torch.tensor([[1.0, -0.5]]), "bias": torch.tensor([0.125])})
    shrink(model, 0.25)
    assert model.weight.tolist() == [[0.75, -0.25]]
    assert model.bias.tolist() == [0.0]


def test_training_is_deterministic_learns_and_leaves_exact_zeros(tmp_path: Path) -> None:
    """The same recipe gives the same bits; l1 gives exact zeros, without it only biases of dead neurons are zero."""
    _write_data(tmp_path, count=256)
    images, labels = map(torch.from_numpy, load_images(tmp_path, "train"))
    recipe = Recipe(hidden=(16, 16), l1=3e-3, epochs=20, batch_size=32, seed=1)
    first, second = train(recipe, images, labels), train(recipe, images, labels)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert accuracy(first, images, labels) > 0.9
    assert zero_share(first) > 0.2
    assert zero_share(train(Recipe(hidden=(16,), l1=0.0, epochs=1), images, labels)) < 0.02


def test_command_writes_weights_and_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes a state dict that fits the architecture on its card, and the card records the recipe."""
    _write_data(tmp_path)
    out = tmp_path / "nets" / "tiny.safetensors"
    main(["--data", str(tmp_path), "--out", str(out), "--hidden", "4", "3", "--epochs", "1", "--seed", "7"])
    card = json.loads(out.with_suffix(".json").read_text())
    assert json.loads(capsys.readouterr().out) == card
    assert card["architecture"]["sizes"] == [4, 4, 3, 2]
    assert card["recipe"]["seed"] == 7
    mlp(card["architecture"]["sizes"]).load_state_dict(load_file(out))


def test_shipped_network_matches_its_card() -> None:
    """The shipped weights are finite float32, small enough for git, and have the zeros that the card states."""
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    model = _shipped()
    assert SHIPPED.stat().st_size < 1_000_000
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == card["parameters"]
    assert zero_share(model) == pytest.approx(card["zero_share"], abs=1e-6)
    default = json.loads(json.dumps(Recipe().__dict__))
    assert card["recipe"] == default


def test_shipped_network_has_the_accuracy_on_its_card(shared_file: Callable[[str], Path]) -> None:
    """The accuracy on the card is what the shipped weights reach on the MNIST test set."""
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    folder = shared_file("mnist/t10k-images-idx3-ubyte.gz").parent
    images, labels = map(torch.from_numpy, load_images(folder, "t10k"))
    assert accuracy(_shipped(), images, labels) == pytest.approx(card["test_accuracy"], abs=1e-9)


@pytest.mark.slow
def test_shipped_network_has_neurons_of_every_kind() -> None:
    """Over [0, 1]^784 it has stably inactive, stably active and unstable neurons, and some that merge; none is open."""
    network = mc.load(SHIPPED)
    report = mc.certify(network, mc.Box(0.0, 1.0))
    assert report.counts() == {"stably_inactive": 155, "stably_active": 74, "unstable": 271, "undecided": 0}
    edits = mc.compress(network, report).edits
    assert sum(len(edit.channels) for edit in edits if isinstance(edit, Remove)) == 155
    assert any(isinstance(edit, Merge) and edit.channels and edit.base for edit in edits)
