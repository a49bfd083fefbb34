"""models/: recipes, learning rates, and that every recipe file is sound."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milpcomp.errors import SettingsError
from models.datasets import CLASSES
from models.recipe import FOLDER, Stage, as_json, read_recipe, recipe_from
from models.schedule import rate

NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))


def _data(**changes: Any) -> dict[str, Any]:
    stage = {"epochs": 2, "learning_rate": 0.1}
    base = {"about": "", "dataset": "mnist", "architecture": "models.mlp:fcnn", "start": "kaiming"}
    return {**base, "arguments": {}, "stages": [stage], **changes}


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_file_is_sound(name: str) -> None:
    """It is read, says what is published, names a data set and a factory that exist, and fits its start."""
    recipe = read_recipe(name)
    module, _, factory = recipe.architecture.partition(":")
    assert callable(getattr(importlib.import_module(module), factory))
    assert recipe.dataset in CLASSES
    assert recipe.arguments.get("classes", 10) == CLASSES[recipe.dataset]
    assert "ublished" in recipe.about or "ours" in recipe.about
    rotated = recipe.arguments["activation"] == "rotated"
    assert rotated or recipe.start in {"kaiming", "continue"}
    for stage in recipe.stages:
        assert rotated or (stage.train == "all" and stage.drop is None)
        assert rotated or stage.penalty is None or stage.penalty.on == "batch_norm"


def test_published_settings_are_in_the_recipes() -> None:
    """Epochs, l1 weight and drop thresholds are those of the tables of 2022 and 2024."""
    epochs = {name: [stage.epochs for stage in read_recipe(name).stages] for name in NAMES}
    assert epochs["mnist-fcnn-rotated"] == epochs["type2-300"] == [300]
    assert epochs["relu-200"] == [200]
    assert epochs["type1-1200"] == epochs["relu-1200"] == epochs["l1rrelu-1200"] == [1200]
    assert epochs["slopes-600"] == [600]
    penalty = read_recipe("l1rrelu-1200").stages[0].penalty
    assert penalty is not None
    assert (penalty.on, penalty.weight) == ("slopes", 1e-4)
    coarse = {name: read_recipe(name).stages for name in NAMES if name.startswith("coarse")}
    assert {name: stages[1].drop for name, stages in coarse.items()} == {
        "coarse-cifar10-resnet20": 0.04,
        "coarse-cifar10-resnet56": 0.1,
        "coarse-cifar100-resnet20": 0.03,
        "coarse-cifar100-resnet56": 0.11,
    }
    assert all((first.train, first.epochs) == ("slopes", 500) for first, _ in coarse.values())


def test_recipes_survive_json() -> None:
    """Writing a recipe as JSON and reading it back gives an equal recipe, also with other epochs."""
    for name in NAMES:
        recipe = replace(read_recipe(name), seed=7).with_epochs(0.5)
        again = recipe_from(json.loads(json.dumps(as_json(recipe))))
        assert again == recipe
        assert {stage.epochs for stage in again.stages} == {0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": "adam"}, "a recipe has no field optimiser"),
        ({"start": "type3"}, "choose one of kaiming, type1, type2, continue"),
        ({"seed": "0"}, "recipe.seed='0' has the wrong type"),
        ({"seed": True}, "wrong type"),
        ({"architecture": "resnet20"}, "package.module:factory"),
        ({"batch_size": 0}, "at least 1"),
        ({"stages": []}, "at least one stage"),
        ({"stages": {}}, "stages must be a list"),
        ({"stages": [3]}, "a stage must be a JSON object, got int"),
        ({"stages": [{"epochs": 1}]}, "a stage lacks learning_rate"),
        ({"stages": [{"epochs": 0, "learning_rate": 1}]}, "epochs=0 must be positive"),
        ({"stages": [{"epochs": 1, "learning_rate": 1, "momentum": 1}]}, "momentum=1"),
        ({"stages": [{"epochs": 1, "learning_rate": 1, "schedule": "multistep"}]}, "milestones belong"),
        ({"stages": [{"epochs": 1, "learning_rate": 1, "schedule": "multistep", "milestones": [0.5, 0.2]}]}, "rise"),
        ({"stages": [{"epochs": 1, "learning_rate": 1, "train": "some"}]}, "choose one of all, slopes"),
        ({"stages": [{"epochs": 1, "learning_rate": 1, "drop": -1}]}, "drop=-1"),
        (
            {"stages": [{"epochs": 1, "learning_rate": 1, "penalty": {"on": "slopes", "method": "l1", "weight": 1}}]},
            "choose one of subgradient, proximal",
        ),
        (
            {"stages": [{"epochs": 1, "learning_rate": 1, "penalty": {"on": "slopes", "method": "proximal"}}]},
            "a penalty lacks weight",
        ),
    ],
)
def test_unusable_recipes_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Unknown, missing, ill-typed and out-of-range fields are each named, with the file."""
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(_data(**change)))
    with pytest.raises(SettingsError, match=message) as caught:
        read_recipe(str(file))
    assert str(file) in str(caught.value)


def test_a_missing_recipe_lists_those_there_are(tmp_path: Path) -> None:
    """A name that is no file and no recipe gets the list of recipes."""
    with pytest.raises(SettingsError, match=r"one of: .*mnist-fcnn-rotated"):
        read_recipe(str(tmp_path / "none"))


def test_learning_rates_by_hand() -> None:
    """Constant stays, multistep divides by ten behind each milestone, cosine goes from all over half to nearly none."""
    constant = Stage(epochs=1, learning_rate=0.5, schedule="constant")
    assert [rate(constant, step, 4) for step in range(4)] == [0.5] * 4
    steps = Stage(epochs=1, learning_rate=1.0, schedule="multistep", milestones=(0.5, 0.75))
    assert [rate(steps, step, 4) for step in range(4)] == pytest.approx([1.0, 1.0, 0.1, 0.01])
    cosine = Stage(epochs=1, learning_rate=0.2, schedule="cosine")
    assert [rate(cosine, step, 4) for step in (0, 2)] == pytest.approx([0.2, 0.1])
    assert 0 < rate(cosine, 999, 1000) < 1e-6
