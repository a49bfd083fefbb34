"""models/: the training loop, its state on disk, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from milpcomp.errors import CheckpointError, ResultError, SettingsError
from milpcomp.rotated import RotatedReLU, slopes
from models.datasets import MemoryImages, Samples, load_samples
from models.mlp import mlp
from models.recipe import Penalty, Recipe, Stage, read_recipe, recipe_from
from models.train import build, main, run_recipe
from models.training import DivergedError, Run, accuracy, make_optimizer, stage_steps, train
from models.training_state import load_run, save_run

STAGE = Stage(epochs=2, learning_rate=0.05)
SIZES = [4, 12, 2]


def _samples(count: int = 96) -> Samples:
    """Return a learnable data set: the class is the brighter half of four pixels."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 4), dtype=np.uint8))
    labels = (pixels[:, 2:].int().sum(dim=1) > pixels[:, :2].int().sum(dim=1)).long()
    return Samples("x", MemoryImages(pixels, labels, 2), (0.5,), (0.25,))


def _recipe(*stages: Stage, start: str = "type1", **arguments: Any) -> Recipe:
    given = {"sizes": SIZES, "activation": "rotated", **arguments}
    return Recipe("", "mnist", "models.mlp:mlp", start, stages or (STAGE,), given, batch_size=16, seed=1)


def _begin(recipe: Recipe) -> Run:
    model = build(recipe, None)
    return Run(model, make_optimizer(model, recipe.stages[0]))


def _trained(recipe: Recipe) -> Run:
    run = _begin(recipe)
    train(recipe, run, _samples(), _samples(), lambda *_: None)
    return run


def _state(run: Run) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class _Stop(Exception):
    """Ends a run from its observer."""


def test_training_learns_and_is_deterministic() -> None:
    """The same recipe gives the same bits, another seed others, and the task is learnt by either optimiser."""
    for stage in (replace(STAGE, epochs=15), replace(STAGE, epochs=15, optimizer="adam", schedule="constant")):
        recipe = _recipe(stage)
        first, second = _trained(recipe), _trained(recipe)
        assert _equal(_state(first), _state(second))
        assert not _equal(_state(first), _state(_trained(replace(recipe, seed=2))))
        assert accuracy(first.model, _samples()) > 0.9
        assert [record["epochs"] for record in first.history] == list(range(1, 16))
        assert first.history[-1]["test_accuracy"] == accuracy(first.model, _samples())


@pytest.mark.parametrize("stop_after", [1, 5, 6, 9, 13])
def test_a_resumed_run_ends_in_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    """Stopped within an epoch, at its end, or in a later stage, a run goes on as if it had not been."""
    penalty = Penalty("slopes", "proximal", 0.05)
    recipe = _recipe(STAGE, replace(STAGE, optimizer="adam", epochs=1, drop=0.9, penalty=penalty))
    whole = _trained(recipe)
    run, taken = _begin(recipe), 0

    def stop(run: Run, steps: int, loss: float) -> None:
        nonlocal taken
        taken += 1
        if taken == stop_after:
            save_run(tmp_path / "state.pt", recipe, run)
            raise _Stop

    with pytest.raises(_Stop):
        train(recipe, run, _samples(), _samples(), stop)
    torch.manual_seed(99)
    again = load_run(tmp_path / "state.pt", recipe, build(recipe, None))
    train(recipe, again, _samples(), _samples(), lambda *_: None)
    assert _equal(_state(again), _state(whole))
    assert again.history == whole.history


def test_random_modules_go_on_with_their_generator(tmp_path: Path) -> None:
    """The state restores torch's own generator, from which dropout draws."""
    recipe = _recipe()
    run = _begin(recipe)
    torch.manual_seed(5)
    save_run(tmp_path / "state.pt", recipe, run)
    expected = torch.rand(3)
    load_run(tmp_path / "state.pt", recipe, build(recipe, None))  # `build` seeds the generator anew
    assert torch.equal(torch.rand(3), expected)


def test_a_state_is_read_without_running_code_and_only_by_its_recipe(tmp_path: Path) -> None:
    """The file loads with weights_only; another recipe, another version and a damaged file are refused."""
    recipe, path = _recipe(), tmp_path / "state.pt"
    save_run(path, recipe, _begin(recipe))
    content = torch.load(path, weights_only=True)
    assert content["step"] == 0
    with pytest.raises(SettingsError, match="a recipe with other seed, stages"):
        load_run(path, replace(recipe.with_epochs(3), seed=2), build(recipe, None))
    torch.save({**content, "version": 0}, path)
    with pytest.raises(ResultError, match="another version"):
        load_run(path, recipe, build(recipe, None))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ResultError, match="cannot be read"):
        load_run(path, recipe, build(recipe, None))


def test_one_step_by_hand() -> None:
    """SGD, then the proximal step with rate / (1 - momentum) * weight; the subgradient adds weight * sign instead."""
    pixels = torch.tensor([[255]], dtype=torch.uint8)
    samples = Samples("x", MemoryImages(pixels, torch.tensor([0]), 2), (0.0,), (1.0,))

    def slope_after(method: str | None) -> float:
        """Return the slope of h = b relu(x), logits (h, 0), after a step from b = 1 on x = 1 with label 0."""
        penalty = None if method is None else Penalty("slopes", method, 0.2)
        stage = Stage(epochs=1, learning_rate=0.1, momentum=0.5, schedule="constant", train="slopes", penalty=penalty)
        model = nn.Sequential(RotatedReLU(1), nn.Linear(1, 2))
        model.load_state_dict(
            {"0.slope": torch.ones(1), "1.weight": torch.tensor([[1.0], [0.0]]), "1.bias": torch.zeros(2)}
        )
        run = Run(model, make_optimizer(model, stage))
        train(_recipe(stage), run, samples, samples, lambda *_: None)
        return float(slopes(model)["0"].detach())

    pull = 0.1 / (1 + math.e)  # rate times minus the gradient: softmax probability of the other class
    assert slope_after(None) == pytest.approx(1 + pull, abs=1e-6)
    assert slope_after("proximal") == pytest.approx(1 + pull - 0.1 / (1 - 0.5) * 0.2, abs=1e-6)
    assert slope_after("subgradient") == pytest.approx(1 + pull - 0.1 * 0.2, abs=1e-6)


def test_only_the_proximal_step_gives_exact_zeros() -> None:
    """With the same weight the subgradient leaves small slopes, the proximal step zeros; the history counts them."""
    stage = replace(STAGE, epochs=20)
    by_method = {}
    for method in ("subgradient", "proximal"):
        run = _trained(_recipe(replace(stage, penalty=Penalty("slopes", method, 0.05))))
        by_method[method] = run.history[-1]["zero_slopes"]
        assert run.history[-1]["zero_gammas"] == 0
    assert by_method["subgradient"] == 0
    assert by_method["proximal"] >= 3


def test_two_steps_train_slopes_then_everything_but_what_was_dropped() -> None:
    """The first stage leaves the weights as drawn; dropped slopes are zero at once and stay zero, others move."""
    first, second = replace(STAGE, train="slopes"), replace(STAGE, drop=0.95)
    recipe = _recipe(first, second)
    drawn = {name: value.clone() for name, value in build(recipe, None).state_dict().items()}
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def observe(run: Run, steps: int, loss: float) -> None:
        if run.stage == 0 and run.step == steps:
            seen.append((_state(run), {name: s.detach().clone() for name, s in slopes(run.model).items()}))

    run = _begin(recipe)
    train(recipe, run, _samples(), _samples(), observe)
    between, sizes = seen[0]
    assert all(torch.equal(between[name], drawn[name]) != name.endswith("slope") for name in drawn)
    small = sizes["1"].abs() <= 0.95
    assert 0 < int(small.sum()) < small.numel()
    final = slopes(run.model)["1"].detach()
    assert torch.equal(final == 0, small)
    assert not torch.equal(_state(run)["0.weight"], drawn["0.weight"])


def test_fractions_of_an_epoch_are_steps() -> None:
    """Half an epoch of 7 batches is 4 steps (rounded), and never less than one."""
    assert stage_steps(replace(STAGE, epochs=0.5), 16, 7 * 16) == 4
    assert stage_steps(replace(STAGE, epochs=0.01), 16, 32) == 1
    assert stage_steps(replace(STAGE, epochs=3), 16, 17) == 6


def test_a_diverging_run_stops() -> None:
    """A loss that is no number ends the run with advice, before the step."""
    with pytest.raises(DivergedError, match="lower the learning rate"):
        _trained(_recipe(replace(STAGE, learning_rate=1e30, epochs=5)))


def test_starts(tmp_path: Path) -> None:
    """Type I draws slopes of both signs, type II takes a ReLU network's weights with slopes 1, continue takes all."""
    drawn = slopes(build(_recipe(), None))["1"].detach()
    assert (drawn.abs() >= 0.7).all()
    assert (drawn < 0).any()
    relu = mlp(SIZES)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in relu.state_dict().items()}}, tmp_path / "a.th"
    )
    second = build(_recipe(start="type2"), tmp_path / "a.th")
    assert torch.equal(second.state_dict()["0.weight"], relu.state_dict()["0.weight"])
    assert slopes(second)["1"].tolist() == [1.0] * 12
    torch.save(build(_recipe(), None).state_dict(), tmp_path / "b.pt")
    assert torch.equal(slopes(build(replace(_recipe(start="continue"), seed=9), tmp_path / "b.pt"))["1"], drawn)
    with pytest.raises(CheckpointError, match="does not belong"):
        build(_recipe(start="continue"), tmp_path / "a.th")
    with pytest.raises(SettingsError, match="with --start"):
        build(_recipe(start="type2"), None)
    with pytest.raises(SettingsError, match="leave out --start"):
        build(_recipe(), tmp_path / "a.th")


def test_architectures_that_cannot_be_made_are_refused() -> None:
    """A missing module, a missing name and arguments that do not fit are each one clear error."""
    with pytest.raises(SettingsError, match="cannot be imported"):
        build(replace(_recipe(), architecture="models.none:x"), None)
    with pytest.raises(SettingsError, match="cannot be imported"):
        build(replace(_recipe(), architecture="models.mlp:none"), None)
    with pytest.raises(SettingsError, match="no function"):
        build(replace(_recipe(), architecture="models.mlp:__name__"), None)
    with pytest.raises(SettingsError, match="cannot be made with"):
        build(_recipe(depth=3), None)


def _write_mnist(folder: Path) -> None:
    images, labels = _samples().source.pixels(torch.arange(96)).numpy(), _samples().source.labels.numpy()
    for split in ("train", "t10k"):
        for kind, values in (("images-idx3", images.reshape(-1, 2, 2)), ("labels-idx1", labels.astype(np.uint8))):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
            (folder / f"{split}-{kind}-ubyte").write_bytes(head + values.tobytes())


def _write_recipe(folder: Path, **changes: Any) -> Path:
    stage = {"epochs": 8, "learning_rate": 0.1, "penalty": {"on": "slopes", "method": "proximal", "weight": 0.04}}
    data = {"about": "a test", "dataset": "mnist", "architecture": "models.mlp:mlp", "start": "type1", "batch_size": 16,
            "arguments": {"sizes": SIZES, "activation": "rotated"}, "stages": [stage], **changes}  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(data))
    return folder / "recipe.json"


def test_command_writes_weights_card_and_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights belong to the architecture on the card, and the card's numbers are those of the weights."""
    _write_mnist(tmp_path)
    out = tmp_path / "runs" / "one"
    common = [str(_write_recipe(tmp_path)), "--data", str(tmp_path), "--out", str(out)]
    assert main([*common, "--seed", "3"]) == 0
    printed, card = json.loads(capsys.readouterr().out), json.loads((out / "card.json").read_text())
    assert printed == card["results"]
    recipe = recipe_from(card["recipe"])
    assert recipe.seed == 3
    model = mlp(**card["architecture"]["arguments"])
    model.load_state_dict(load_file(out / "model.safetensors"))
    results = card["results"]
    samples = replace(_samples(), mean=(0.0,), std=(1.0,))
    assert accuracy(model, samples) == results["test_accuracy"]
    zeros = int((slopes(model)["1"] == 0).sum())
    assert [(stage["epochs"], stage["zero_slopes"]) for stage in card["stages"]] == [(8, zeros)]
    assert results["slopes"]["zero"] == zeros > 0
    assert results["slopes"]["alive"] == {"1": 12 - zeros}
    assert results["threshold"]["ignored"] >= zeros
    costs = results["cost"]
    assert costs["as_trained"]["parameters"] == 4 * 12 + 12 + 12 * 2 + 2
    assert costs["dead_removed"]["parameters"] == (4 + 1 + 2) * (12 - zeros) + 2
    assert costs["dead_removed"]["flops"] == 2 * (4 + 2) * (12 - zeros)
    assert costs["ignored_removed"]["flops"] <= costs["dead_removed"]["flops"]
    assert len(json.loads((out / "history.json").read_text())) == 8


def test_command_refuses_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a run is not overwritten; --resume finishes it; mistakes are one line and exit code 2."""
    _write_mnist(tmp_path)
    recipe, out = str(_write_recipe(tmp_path)), tmp_path / "out"
    common = [recipe, "--data", str(tmp_path), "--out", str(out), "--epochs", "1"]
    assert main(common) == 0
    first = (out / "model.safetensors").read_bytes()
    assert main(common) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main([*common, "--resume"]) == 0
    assert (out / "model.safetensors").read_bytes() == first
    capsys.readouterr()
    for extra, message in (
        (["--dataset", "mnst"], "not known"),
        (["--device", "gpu"], "not known"),
        (["--device", "cuda:77"], "CUDA"),
        (["--data", str(out)], "put the four MNIST files"),
        (["--dataset", "svhn"], "SVHN (train) not found"),
    ):
        assert main([*common, "--out", str(tmp_path / "other"), *extra]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error


def test_a_run_is_saved_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt loses what came after the last save only; the next call goes on from there to the same weights."""
    _write_mnist(tmp_path)
    monkeypatch.setattr("models.train.SAVE_EVERY_S", 0.0)
    recipe = _recipe()
    run_recipe(recipe, tmp_path, tmp_path / "whole")
    calls = 0

    def interrupted(path: Path, recipe: Recipe, run: Run) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        save_run(path, recipe, run)

    monkeypatch.setattr("models.train.save_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path, tmp_path / "parts")
    monkeypatch.setattr("models.train.save_run", save_run)
    run_recipe(recipe, tmp_path, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert _equal(whole, parts)


@pytest.mark.parametrize(
    ("recipe", "file", "right"),
    [
        ("type2-300", "nets/akamaster/resnet20-12fca82f.th", 182),
        ("short-continue-proximal", "nets/rrelu2024/resnet20_rrelu_cifar10.th", 186),
        ("short-l1bn", "nets/akamaster/resnet20-12fca82f.th", 182),
    ],
)
def test_published_checkpoints_are_starts(
    recipe: str, file: str, right: int, shared_file: Callable[[str], Path]
) -> None:
    """Runs start from the published networks with their accuracy: the first 200 test images, up to a tie."""
    samples = load_samples("cifar10", shared_file("cifar10/test.npz").parent, "test")
    model = build(read_recipe(recipe), shared_file(file)).eval()
    images, labels = samples.batch(torch.arange(200))
    with torch.no_grad():
        found = int((model(images).argmax(dim=1) == labels).sum())
    assert abs(found - right) <= 1
