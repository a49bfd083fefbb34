"""models/grid: the fast training step, resumable runs with cards, the choice of lbar, and the shipped networks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

import milpcomp as mc
from models import grid, grid_runs
from models.data import load_images
from models.grid import SHAPES, SHIPPED, Shape, choose_lbar, find, main, table, train_shape
from models.grid_runs import Data, digest, run
from models.grid_training import PUBLISHED, RAMP, SHORT, Recipe, Schedule, train, views
from models.mlp import mlp
from models.train_mlp import accuracy, shrink, zero_share

TINY = Schedule(epochs=3, learning_rate=0.05, drop_every=2)


@pytest.fixture
def data() -> Data:
    """64 images of 2 x 2 pixels whose class says whether the lower half is the brighter one."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 4)).astype(np.float32) / 255
    labels = (images[:, 2:].sum(axis=1) > images[:, :2].sum(axis=1)).astype(np.int64)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    return Data(x, y, x[:40], y[:40])


def _never(*arguments: object) -> nn.Sequential:
    raise AssertionError("trained again")


def _reference(recipe: Recipe, images: Tensor, labels: Tensor) -> nn.Sequential:
    """Train by autograd and torch's optimizer, with the norm as a term of the loss."""
    torch.manual_seed(recipe.seed)
    model = mlp(recipe.sizes)
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.schedule.learning_rate, momentum=recipe.momentum)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, recipe.schedule.drop_every, gamma=0.1)
    for _ in range(recipe.schedule.epochs):
        for chosen in torch.randperm(len(images)).split(recipe.batch_size):
            outputs = model(images[chosen])
            if recipe.task == "classify":
                loss = F.cross_entropy(outputs, labels[chosen])
            else:
                loss = F.mse_loss(outputs, images[chosen])
            if not recipe.proximal:
                loss = loss + recipe.l1 * sum(p.abs().sum() for p in model.parameters())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if recipe.proximal:
                shrink(model, optimizer.param_groups[0]["lr"] / (1 - recipe.momentum) * recipe.l1)
        scheduler.step()
    return model


@pytest.mark.parametrize("proximal", [False, True])
@pytest.mark.parametrize("recipe", [Recipe((4, 6, 5, 2)), Recipe((4, 5, 3, 5, 4), task="reconstruct")])
def test_the_fast_step_is_momentum_sgd_on_loss_plus_norm(recipe: Recipe, proximal: bool, data: Data) -> None:
    """Training ends where autograd, torch's SGD and its step schedule end, also with a last batch that is not full."""
    recipe = Recipe(recipe.sizes, recipe.task, l1=0.002, proximal=proximal, schedule=TINY, batch_size=24, seed=5)
    ours = parameters_to_vector(train(recipe, data.images, data.labels).parameters())
    theirs = parameters_to_vector(_reference(recipe, data.images, data.labels).parameters())
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    torch.manual_seed(5)
    assert not torch.allclose(ours, parameters_to_vector(mlp(recipe.sizes).parameters()), atol=1e-2)


def test_a_ramp_climbs_by_equal_factors_and_then_drops() -> None:
    """Six epochs from 0.01 to 1, each a sixth of two decades above the last; then 1 eight times, 0.1 six times."""
    rates = [RAMP.rate(epoch) for epoch in range(RAMP.epochs)]
    assert rates[:7] == pytest.approx([0.01 * 100 ** (epoch / 6) for epoch in range(7)])
    assert rates[6:] == pytest.approx([1.0] * 8 + [0.1] * 6)


def test_the_schedule_drops_by_ten() -> None:
    """The published learning rates are 0.01, 0.001, 0.0001; the short schedule sums to the same within 3 %."""
    assert [PUBLISHED.rate(e) for e in (0, 49, 50, 99, 100, 120)] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])
    sums = [sum(s.rate(e) for e in range(s.epochs)) for s in (PUBLISHED, SHORT)]
    assert sums[1] == pytest.approx(sums[0], rel=0.03)


def test_views_cut_a_vector_as_the_model_does() -> None:
    """Weights and biases come in the order of the state dict and share the memory of the vector."""
    model = mlp([3, 4, 2])
    flat = parameters_to_vector(model.parameters()).detach().clone()
    cut = views(flat, (3, 4, 2))
    for ours, theirs in zip([part for layer in cut for part in layer], model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    cut[1][1].fill_(7.0)
    assert flat[-2:].tolist() == [7.0, 7.0]


def test_training_leaves_the_global_generator_alone(data: Data) -> None:
    """Whoever draws random numbers around a training run draws the same ones."""
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    train(Recipe((4, 3, 2), schedule=TINY), data.images, data.labels)
    assert torch.equal(torch.rand(2), expected)


def test_divergence_is_an_error(data: Data) -> None:
    """Parameters that are not finite are never handed out."""
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(Recipe((4, 3, 4), task="reconstruct", schedule=Schedule(30, 1e6, 99)), data.images, data.labels)


def test_a_run_is_deterministic_and_its_card_is_true(tmp_path: Path, data: Data) -> None:
    """Two runs of a recipe give the same bytes; the card states digest, recipe, zeros, accuracy and loss of it."""
    recipe = Recipe((4, 8, 2), l1=0.01, proximal=True, seed=3)
    card, again = run("tiny", recipe, data, tmp_path / "a"), run("tiny", recipe, data, tmp_path / "b")
    assert card["file"] == "tiny_l1-0.01_proximal_seed-3.safetensors"
    content = (tmp_path / "a" / card["file"]).read_bytes()
    assert card["sha256"] == again["sha256"] == digest(content)
    assert json.loads((tmp_path / "a" / card["file"]).with_suffix(".json").read_text()) == card
    model = mlp(card["architecture"]["sizes"])
    model.load_state_dict(load_file(tmp_path / "a" / card["file"]))
    assert card["parameters"] == 4 * 8 + 8 + 8 * 2 + 2
    assert card["zero_share"] == pytest.approx(zero_share(model), abs=1e-6)
    assert card["zero_share"] > 0
    assert card["test_accuracy"] == pytest.approx(accuracy(model, data.test_images, data.test_labels), abs=1e-4)
    assert card["loss"] == pytest.approx(float(F.cross_entropy(model(data.images), data.labels).detach()), abs=1e-5)
    assert card["recipe"]["l1"] == 0.01
    assert card["recipe"]["schedule"] == {"epochs": 41, "learning_rate": 0.03, "drop_every": 17}
    assert card["seconds"] >= 0


def test_the_loss_of_an_autoencoder_is_per_pixel(tmp_path: Path, data: Data) -> None:
    """The card of an autoencoder states the mean squared error over samples and pixels, and no accuracy."""
    card = run("tiny", Recipe((4, 3, 4), task="reconstruct", schedule=TINY), data, tmp_path)
    model = mlp([4, 3, 4])
    model.load_state_dict(load_file(tmp_path / card["file"]))
    errors = (model(data.test_images) - data.test_images).detach() ** 2
    assert card["test_loss"] == pytest.approx(float(errors.mean()), abs=1e-6)
    assert "test_accuracy" not in card


def test_finished_runs_are_skipped(tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is there is not trained again; another recipe or damaged weights are."""
    recipe = Recipe((4, 3, 2), schedule=TINY)
    card = run("tiny", recipe, data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(grid_runs, "train", _never)
        assert run("tiny", recipe, data, tmp_path) == card
        with pytest.raises(AssertionError, match="trained again"):
            run("tiny", Recipe((4, 5, 2), schedule=TINY), data, tmp_path)
    weights = tmp_path / card["file"]
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert run("tiny", recipe, data, tmp_path)["sha256"] == card["sha256"] == digest(weights.read_bytes())


def test_an_interrupted_shape_goes_on_where_it_stopped(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained before the interruption is kept, nothing is left half-written, and the result is the same."""
    monkeypatch.setitem(SHAPES, "tiny", Shape((3,), candidates=(0.001,)))
    uninterrupted = train_shape("tiny", data, tmp_path / "other", tmp_path / "other", TINY)
    calls: list[Recipe] = []

    def interrupted(recipe: Recipe, *rest: object) -> nn.Sequential:
        calls.append(recipe)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(recipe, data.images, data.labels)

    with monkeypatch.context() as patch:
        patch.setattr(grid_runs, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_shape("tiny", data, tmp_path / "runs", tmp_path, TINY)
        assert len(list((tmp_path / "runs").glob("*.safetensors"))) == 2
        cards = train_shape("tiny", data, tmp_path / "runs", tmp_path, TINY)
    assert len(calls) == 5  # four networks, one of them begun twice
    assert not list(tmp_path.rglob("*.partial"))
    assert {v: c["sha256"] for v, c in cards.items()} == {v: c["sha256"] for v, c in uninterrupted.items()}


def test_a_finished_shape_needs_no_runs(tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all variants in place nothing is trained, also where the single runs are gone; more seeds are trained."""
    monkeypatch.setitem(SHAPES, "tiny", Shape((3,), candidates=(0.001,)))
    cards = train_shape("tiny", data, tmp_path / "runs", tmp_path, TINY)
    monkeypatch.setattr(grid_runs, "train", _never)
    assert train_shape("tiny", data, tmp_path / "gone", tmp_path, TINY) == cards
    for schedule, seeds in ((SHORT, 1), (TINY, 2)):
        with pytest.raises(AssertionError, match="trained again"):
            train_shape("tiny", data, tmp_path / "gone", tmp_path, schedule, seeds)
    monkeypatch.setitem(SHAPES, "tiny", Shape((3,), candidates=(0.002,)))
    with pytest.raises(AssertionError, match="trained again"):
        train_shape("tiny", data, tmp_path / "gone", tmp_path, TINY)


def test_lbar_is_the_largest_l1_that_keeps_the_accuracy() -> None:
    """0.05 points less accuracy than l1 = 0 pass, 0.06 do not; if all cost more, the smallest l1 is taken."""
    assert choose_lbar(0.98, {1e-4: 0.983, 2e-4: 0.9795, 3e-4: 0.9794}) == 2e-4
    assert choose_lbar(0.98, {1e-4: 0.97, 2e-4: 0.975}) == 1e-4


def test_a_classifier_has_four_variants(tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accuracy of 0 lets lbar be the largest candidate; cards list sweep and averages; proximal gives zeros."""
    monkeypatch.setitem(SHAPES, "tiny", Shape((6,), published=0.0, candidates=(0.2, 0.4)))
    cards = train_shape("tiny", data, tmp_path / "runs", tmp_path, TINY, seeds=2)
    assert [cards[v]["recipe"]["l1"] for v in ("0", "half", "full", "proximal")] == [0.0, 0.2, 0.4, 0.4]
    assert cards["full"]["accuracy_to_keep"] == 0.0
    assert [row["l1"] for row in cards["0"]["sweep"]] == [0.0, 0.2, 0.4]
    assert cards["full"]["mean_over_seeds"]["seeds"] == 2
    runs = [json.loads((tmp_path / "runs" / f"tiny_l1-0.4_seed-{seed}.json").read_text()) for seed in range(2)]
    accuracy, zeros = (50 * sum(card[key] for card in runs) for key in ("test_accuracy", "zero_share"))
    assert f"| {accuracy:.2f} %, {zeros:.1f} %, " in table(tmp_path)
    assert train_shape("tiny", data, tmp_path / "gone", tmp_path, TINY) == cards, "fewer seeds need nothing new"
    assert cards["proximal"]["zero_share"] > cards["full"]["zero_share"]
    for variant, card in cards.items():
        file = tmp_path / f"tiny_{variant}.safetensors"
        assert digest(file.read_bytes()) == card["sha256"]
        assert json.loads(file.with_suffix(".json").read_text()) == card
        assert mc.load(file).input_shape == (4,)


def test_an_autoencoder_has_four_variants(tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autoencoders reconstruct their input at the published l1, without a sweep."""
    monkeypatch.setitem(SHAPES, "tiny", Shape((3, 2, 3), candidates=()))
    cards = train_shape("tiny", data, tmp_path / "runs", tmp_path, TINY)
    assert {v: c["recipe"]["l1"] for v, c in cards.items()} == {"0": 0, "weak": 2e-5, "strong": 2e-4, "proximal": 2e-5}
    assert all(card["architecture"]["sizes"] == [4, 3, 2, 3, 4] for card in cards.values())
    assert "| tiny_weak | 0.00002 | loss 0." in table(tmp_path)


def test_find_looks_among_the_shipped_and_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is found in either folder; a missing one is an error that says what to run, or what there is."""
    monkeypatch.setattr(grid, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("MILPCOMP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"--only 100-10-100$"):
        find("100-10-100_weak")
    with pytest.raises(FileNotFoundError, match="the shapes are 2x100"):
        find("7x7_full")
    for folder, name in (("shipped", "2x100_0"), ("cache/grid", "2x800_0")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{name}.safetensors").write_bytes(b"")
        assert find(name) == tmp_path / folder / f"{name}.safetensors"


def test_the_command_trains_the_named_shapes_and_prints_a_table(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command reads the four files, writes the variants of the named shape only, and says what came out."""
    for split in ("train", "t10k"):
        for kind, values in (("images-idx3", data.images.reshape(-1, 2, 2) * 255), ("labels-idx1", data.labels)):
            raw = values.numpy().astype(np.uint8)
            header = bytes([0, 0, 8, raw.ndim]) + np.array(raw.shape, dtype=">u4").tobytes()
            (tmp_path / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + raw.tobytes()))
    monkeypatch.setitem(SHAPES, "tiny", Shape((2,), candidates=(0.001,)))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: True)
    main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "tiny"])
    names = sorted(file.stem for file in (tmp_path / "out").glob("*.safetensors"))
    assert names == ["tiny_0", "tiny_full", "tiny_half", "tiny_proximal"]
    written = (tmp_path / "out" / "table.md").read_text()
    assert "| tiny_half | 0.0005 |" in written
    assert written in capsys.readouterr().out


def test_the_shapes_are_the_published_ones() -> None:
    """Nine classifiers and six autoencoders, named after their widths."""
    for name, shape in SHAPES.items():
        depth, _, width = name.partition("x")
        expected = (int(width),) * int(depth) if width else tuple(map(int, name.split("-")))
        assert shape.hidden == expected
    assert sum(bool(shape.candidates) for shape in SHAPES.values()) == 9
    assert len(SHAPES) == 15


def _shipped_cards() -> list[Path]:
    return sorted(SHIPPED.glob("*.json"))


def test_shipped_networks_match_their_cards() -> None:
    """Shapes ship with all variants or none; digest, size and zeros are those on the card; the table has them all."""
    names = {file.stem for file in _shipped_cards()}
    for shape, spec in SHAPES.items():
        assert [f"{shape}_{v}" in names for v in spec.variants] in ([spec.shipped] * 4, [False] * 4)
    for file in _shipped_cards():
        card, weights = json.loads(file.read_text()), file.with_suffix(".safetensors")
        assert card["file"] == weights.name
        assert digest(weights.read_bytes()) == card["sha256"]
        model = mlp(card["architecture"]["sizes"])
        model.load_state_dict(load_file(weights))
        assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in model.parameters())
        assert zero_share(model) == pytest.approx(card["zero_share"], abs=1e-6)
        assert sum(a * b + b for a, b in pairwise(card["architecture"]["sizes"])) == card["parameters"]
    assert (SHIPPED / "table.md").read_text() == table(SHIPPED)
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 16e6


def test_shipped_networks_reach_the_numbers_on_their_cards(shared_file: Callable[[str], Path]) -> None:
    """Accuracy or loss on the card is what the shipped weights reach on the MNIST test set."""
    folder = shared_file("mnist/t10k-images-idx3-ubyte.gz").parent
    images, labels = map(torch.from_numpy, load_images(folder, "t10k"))
    for file in _shipped_cards():
        card = json.loads(file.read_text())
        model = mlp(card["architecture"]["sizes"])
        model.load_state_dict(load_file(file.with_suffix(".safetensors")))
        with torch.no_grad():
            if card["recipe"]["task"] == "classify":
                assert accuracy(model, images, labels) == pytest.approx(card["test_accuracy"], abs=1e-9)
            else:
                assert float(F.mse_loss(model(images), images)) == pytest.approx(card["test_loss"], abs=1e-5)
