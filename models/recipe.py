"""A recipe: everything that determines a training run, apart from the data and the file it starts from.

A recipe is a small JSON file in ``models/recipes``. It has one or more stages, one after the other, each with its own
optimiser, learning rates, and penalty:

    loss of a stage = cross-entropy + weight * |parameters|_1      parameters: slopes, or batch-norm gammas
    subgradient     the norm is a term of the loss
    proximal        after each step  theta <- sign(theta) max(0, |theta| - rate / (1 - momentum) * weight)

``rate / (1 - momentum)`` is the long-run step length of momentum SGD, so the weight means the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from milpcomp.errors import SettingsError
from milpcomp.files import read_json

FOLDER = Path(__file__).resolve().parent / "recipes"

STARTS = ("kaiming", "type1", "type2", "continue")
"""Kaiming-He weights; the same with random slopes; weights of a ReLU network and slopes 1; all numbers of a network."""


@dataclass(frozen=True)
class Penalty:
    """An l1 norm in the objective.

    Parameters
    ----------
    on : {"slopes", "batch_norm"}
    method : {"subgradient", "proximal"}
    weight : float
    """

    on: str
    method: str
    weight: float

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _one_of("penalty.on", self.on, ("slopes", "batch_norm"))
        _one_of("penalty.method", self.method, ("subgradient", "proximal"))
        _require(0 < self.weight < math.inf, f"penalty.weight={self.weight} must be positive")


@dataclass(frozen=True)
class Stage:
    """One part of a training run.

    Parameters
    ----------
    epochs : float
        Passes over the training set; a fraction ends within one.
    learning_rate : float
        The first one.
    optimizer : {"sgd", "adam"}
    momentum : float
        Of SGD; Adam has its usual 0.9 and 0.999.
    weight_decay : float
        On all parameters.
    schedule : {"constant", "multistep", "cosine"}
        See `models.schedule`.
    milestones : tuple of float
        Shares of the stage after which "multistep" divides the learning rate by 10.
    train : {"all", "slopes"}
        What is trained; "slopes" leaves everything else as it is.
    drop : float, optional
        Slopes of at most this absolute value are set to zero before the stage and stay zero.
    penalty : Penalty, optional
    """

    epochs: float
    learning_rate: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    train: str = "all"
    drop: float | None = None
    penalty: Penalty | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _require(0 < self.epochs < math.inf, f"epochs={self.epochs} must be positive")
        _require(0 < self.learning_rate < math.inf, f"learning_rate={self.learning_rate} must be positive")
        _require(0 <= self.momentum < 1, f"momentum={self.momentum} must be in [0, 1)")
        _require(0 <= self.weight_decay < math.inf, f"weight_decay={self.weight_decay} must not be negative")
        _one_of("optimizer", self.optimizer, ("sgd", "adam"))
        _one_of("schedule", self.schedule, ("constant", "multistep", "cosine"))
        _one_of("train", self.train, ("all", "slopes"))
        _require(bool(self.milestones) == (self.schedule == "multistep"), 'milestones belong to schedule "multistep"')
        ordered = all(0 < a < 1 for a in self.milestones) and list(self.milestones) == sorted(set(self.milestones))
        _require(ordered, f"milestones={self.milestones} must rise between 0 and 1")
        _require(self.drop is None or 0 <= self.drop < math.inf, f"drop={self.drop} must not be negative")

    def step_length(self, rate: float) -> float:
        """Return how far a constant gradient of 1 moves a parameter in a step, in the long run, at a learning rate."""
        return rate / (1 - self.momentum) if self.optimizer == "sgd" else rate


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run, apart from the data and the file it starts from.

    Parameters
    ----------
    about : str
        What the recipe is for, and which of its settings are published.
    dataset : str
        One of `models.datasets.CLASSES`.
    architecture : str
        Address "package.module:factory" of what returns the module.
    arguments : mapping
        Of the factory.
    start : str
        One of `STARTS`; "type2" and "continue" need a checkpoint.
    batch_size : int
    seed : int
        Of the initial weights, the order of the samples, and their random changes.
    stages : tuple of Stage
    """

    about: str
    dataset: str
    architecture: str
    start: str
    stages: tuple[Stage, ...]
    arguments: Mapping[str, Any]
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _one_of("start", self.start, STARTS)
        _require(self.batch_size >= 1, f"batch_size={self.batch_size} must be at least 1")
        _require(bool(self.stages), "a recipe needs at least one stage")
        _require(":" in self.architecture, f'architecture={self.architecture!r} must be "package.module:factory"')

    def with_epochs(self, epochs: float) -> Recipe:
        """Return the recipe with `epochs` in every stage."""
        return replace(self, stages=tuple(replace(stage, epochs=epochs) for stage in self.stages))


def read_recipe(name: str) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str
        A JSON file, or the name of one in ``models/recipes`` without its suffix.

    Returns
    -------
    Recipe

    Raises
    ------
    SettingsError
        If there is no such file, it is no JSON, has a field that no recipe has, lacks one, or a value is out of range.
    """
    known = FOLDER / f"{name}.json"
    path = known if known.is_file() else Path(name)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise SettingsError(f"there is no recipe {name!r}; give a JSON file or one of: {names}")
    try:
        return recipe_from(read_json(path, SettingsError))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def recipe_from(data: object) -> Recipe:
    """Return the recipe that JSON data describe.

    Raises
    ------
    SettingsError
        If a field is unknown, missing, of another type, or out of range.
    """
    content = _checked(Recipe, data)
    stages = content["stages"]
    _require(isinstance(stages, list), "stages must be a list")
    return Recipe(**{**content, "stages": tuple(_stage(stage) for stage in stages)})


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Return the data that `recipe_from` reads back."""
    content = asdict(recipe)
    return {**content, "stages": [{**stage, "milestones": list(stage["milestones"])} for stage in content["stages"]]}


def _stage(data: object) -> Stage:
    content = _checked(Stage, data)
    penalty = content.get("penalty")
    return Stage(
        **{
            **content,
            "milestones": tuple(content.get("milestones", ())),
            "penalty": None if penalty is None else Penalty(**_checked(Penalty, penalty)),
        }
    )


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "Mapping[str, Any]": (dict,),
    "tuple[float, ...]": (list,),
}


def _checked(kind: type, data: object) -> dict[str, Any]:
    """Return `data` as arguments of the dataclass `kind`, all of them known and of the right type."""
    title = kind.__name__.lower()
    if not isinstance(data, dict):
        raise SettingsError(f"a {title} must be a JSON object, got {type(data).__name__}")
    known = {field.name: str(field.type) for field in fields(kind)}
    unknown = sorted(set(data) - set(known))
    _require(not unknown, f"a {title} has no field {', '.join(unknown)}; it has {', '.join(known)}")
    for name, value in data.items():
        kinds = _KINDS.get(known[name])
        right = kinds is None or (isinstance(value, kinds) and not isinstance(value, bool))
        _require(right, f"{title}.{name}={value!r} has the wrong type, it must be {known[name]}")
    lacking = [field.name for field in fields(kind) if field.default is MISSING and field.name not in data]
    _require(not lacking, f"a {title} lacks {', '.join(lacking)}")
    return dict(data)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, f"{name}={value!r} is not known; choose one of {', '.join(known)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)
