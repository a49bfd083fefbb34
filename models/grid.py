"""The grid of networks on MNIST that exact compression is measured on, trained by one resumable command.

    python -m models.grid --data FOLDER_WITH_THE_FOUR_MNIST_FILES [--only 2x100 ...] [--out FOLDER] [--seeds 3]

Classifiers ``DEPTHxWIDTH`` (2x100: 784-100-100-10), each in four variants:

    0           no regularisation
    half        l1 = lbar / 2, by the subgradient
    full        l1 = lbar, by the subgradient
    proximal    l1 = lbar, by the proximal map: exact zeros

lbar is the l1 with the accuracy of l1 = 0: the largest of `Shape.candidates` whose test accuracy is at most `TOLERANCE`
below it (the smallest candidate, if there is none). The sweep is capped to these candidates; the card of every network
lists what they gave. "The accuracy of l1 = 0" is the published mean where there is one: the short schedule, with its
larger steps, reaches a little more (2x100: 98.1 %; published 97.9 %), and to ask for that would choose a smaller lbar
than the published one. Autoencoders ``A-B-A`` (784-A-B-A-784) have no sweep: ``weak`` is l1 = 0.00002, ``strong``
l1 = 0.0002, ``proximal`` the proximal map at 0.00002.

A network is a ``.safetensors`` file of float32 weights and a ``.json`` card. Every training run is kept in a folder
``runs`` of the cache and skipped when it is there already, and so is a shape all of whose networks are. Finished
networks of the small shapes go to ``models/grid``, those of the large ones to the cache: the folder ``grid`` of
$MILPCOMP_CACHE, or of ~/.cache/milpcomp. `find` looks in both. ``--out`` with an empty folder trains all anew.

Source: the grid of Serra, Yu, Kumar, Ramalingam (NeurIPS 2021); the recipe is in grid_training.py.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from models.data import load_images
from models.grid_runs import Card, Data, as_json, result, run, stored, write
from models.grid_training import PUBLISHED, RAMP, SHORT, Recipe, Schedule

SHIPPED = Path(__file__).resolve().parent / "grid"
TOLERANCE = 0.0005  # of accuracy; the published accuracies of lbar and of 0 are as close as this
WEAK, STRONG = 0.00002, 0.0002  # l1 of the autoencoders


@dataclass(frozen=True)
class Shape:
    """A row of the grid.

    Parameters
    ----------
    hidden : tuple of int
        Hidden widths.
    published : float, optional
        Published test accuracy at l1 = 0; without it the accuracy of the network trained here counts.
    candidates : tuple of float
        Values of l1 among which lbar is chosen; none for an autoencoder.
    shipped : bool
        Whether the weights lie in this repository.
    """

    hidden: tuple[int, ...]
    published: float | None = None
    candidates: tuple[float, ...] = (0.0001, 0.00015, 0.0002)
    shipped: bool = True

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of its variants."""
        return ("0", "half", "full", "proximal") if self.candidates else ("0", "weak", "strong", "proximal")


def _autoencoder(outer: int, inner: int, shipped: bool = False) -> Shape:
    return Shape((outer, inner, outer), candidates=(), shipped=shipped)


SHAPES = {  # in the order in which they are trained
    "2x100": Shape((100,) * 2, published=0.9793, candidates=(0.0001, 0.00015, 0.0002, 0.0003)),
    "3x100": Shape((100,) * 3, published=0.9805),
    "2x200": Shape((200,) * 2, published=0.9817),
    "4x100": Shape((100,) * 4, published=0.9812),
    "5x100": Shape((100,) * 5, published=0.9813),
    "2x50": Shape((50,) * 2),
    "2x25": Shape((25,) * 2),
    "50-10-50": _autoencoder(50, 10, shipped=True),
    "100-10-100": _autoencoder(100, 10, shipped=True),
    "100-25-100": _autoencoder(100, 25),
    "100-50-100": _autoencoder(100, 50),
    "2x400": Shape((400,) * 2, published=0.9825, candidates=(0.0001,), shipped=False),  # lbar of 2x200, no sweep
    "200-10-200": _autoencoder(200, 10),
    "400-10-400": _autoencoder(400, 10),
    "2x800": Shape((800,) * 2, published=0.9828, candidates=(0.0001,), shipped=False),
}


def cache() -> Path:
    """Return the folder of the networks that do not ship."""
    return Path(os.environ.get("MILPCOMP_CACHE") or Path.home() / ".cache" / "milpcomp") / "grid"


def find(name: str) -> Path:
    """Return the weights file of a network of the grid.

    Parameters
    ----------
    name : str
        Shape and variant: ``"2x100_half"``, ``"50-10-50_weak"``.

    Raises
    ------
    FileNotFoundError
        If it is neither shipped nor in the cache; the message says which command trains it.
    """
    for folder in (SHIPPED, cache()):
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    shape = name.rpartition("_")[0]
    if shape not in SHAPES:
        raise FileNotFoundError(f"no network {name!r} in the grid; the shapes are {', '.join(SHAPES)}")
    raise FileNotFoundError(
        f"{name} is neither in {SHIPPED} nor in {cache()}; train it: python -m models.grid --data FOLDER --only {shape}"
    )


def choose_lbar(without: float, accuracies: dict[float, float]) -> float:
    """Return the largest l1 that costs at most `TOLERANCE` of accuracy, or the smallest if each costs more.

    Parameters
    ----------
    without : float
        Test accuracy at l1 = 0, published or reached here.
    accuracies : dict
        Test accuracy of every candidate l1.
    """
    good = [l1 for l1, reached in accuracies.items() if reached >= without - TOLERANCE]
    return max(good) if good else min(accuracies)


def train_shape(name: str, data: Data, runs: Path, out: Path, schedule: Schedule, seeds: int = 1) -> dict[str, Card]:
    """Train all variants of one shape.

    Parameters
    ----------
    name : str
        A key of `SHAPES`.
    data : Data
    runs, out : Path
        Folders of the single runs (also those of the sweep) and of the variants.
    schedule : Schedule
    seeds : int
        Seed 0 gives the networks, and chooses lbar; further seeds are only averaged, on the card.

    Returns
    -------
    dict
        The card of every variant.
    """
    cards = {variant: stored(out / f"{name}_{variant}.safetensors") for variant in SHAPES[name].variants}
    known = {
        variant: card for variant, card in cards.items() if card and _as_asked(card, SHAPES[name], schedule, seeds)
    }
    if len(known) == len(cards):
        return known
    recipes, extra = plan(name, data, runs, schedule)
    made = {}
    for variant, recipe in recipes.items():
        over_seeds = [run(name, replace(recipe, seed=seed), data, runs) for seed in range(seeds)]
        card = over_seeds[0] | {"file": f"{name}_{variant}.safetensors"} | extra
        if seeds > 1:
            keys = [key for key in ("test_accuracy", "test_loss", "zero_share", "share_within_1e-5") if key in card]
            means = {key: round(sum(one[key] for one in over_seeds) / seeds, 6) for key in keys}
            card["mean_over_seeds"] = {"seeds": seeds} | means
        write(out / card["file"], (runs / over_seeds[0]["file"]).read_bytes())
        write(out / f"{name}_{variant}.json", as_json(card))
        made[variant] = card
    return made


def plan(name: str, data: Data, runs: Path, schedule: Schedule) -> tuple[dict[str, Recipe], Card]:
    """Return the recipe of every variant of a shape, and what the cards say of the choice.

    The choice of lbar trains the candidates, unless they are in `runs` already.
    """
    shape = SHAPES[name]
    inputs = data.images.shape[1]
    if not shape.candidates:
        base = Recipe((inputs, *shape.hidden, inputs), task="reconstruct", schedule=schedule)
        amounts, extra = (0.0, WEAK, STRONG, WEAK), {}
    else:
        base = Recipe((inputs, *shape.hidden, int(data.labels.max()) + 1), schedule=schedule)
        swept = {l1: run(name, replace(base, l1=l1), data, runs)["test_accuracy"] for l1 in (0.0, *shape.candidates)}
        without = swept[0.0] if shape.published is None else shape.published
        lbar = choose_lbar(without, {l1: swept[l1] for l1 in shape.candidates})
        amounts = (0.0, lbar / 2, lbar, lbar)
        sweep = [{"l1": l1, "test_accuracy": reached} for l1, reached in swept.items()]
        extra = {"accuracy_to_keep": without, "sweep": sweep}
    recipes = {
        variant: replace(base, l1=l1, proximal=variant == "proximal")
        for variant, l1 in zip(shape.variants, amounts, strict=True)
    }
    return recipes, extra


def _as_asked(card: Card, shape: Shape, schedule: Schedule, seeds: int) -> bool:
    """Say whether a card comes from this shape, schedule and sweep, and from as many seeds, or more."""
    candidates = [row["l1"] for row in card.get("sweep", [])][1:]
    return bool(
        card["recipe"]["sizes"][1:-1] == list(shape.hidden)
        and card["recipe"]["schedule"] == asdict(schedule)
        and _seeds(card) >= seeds
        and candidates == list(shape.candidates)
    )


def _seeds(card: Card) -> int:
    return int(card.get("mean_over_seeds", {"seeds": 1})["seeds"])


def table(folder: Path) -> str:
    """Return a Markdown table with a row for every network of the grid in `folder`, from the cards."""
    names = [f"{name}_{variant}" for name, shape in SHAPES.items() for variant in shape.variants]
    cards = {name: stored(folder / f"{name}.safetensors") for name in names}
    lines = [
        "| network | l1 | test accuracy or loss | zeros | within 1e-5 | CPU seconds | means over seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, card in cards.items():
        if card is None:
            continue
        means = card.get("mean_over_seeds")
        over_seeds = f"{result(means)}, {_shares(means, ', ')} ({_seeds(card)})" if means else "–"
        l1 = f"{card['recipe']['l1']:.7f}".rstrip("0").rstrip(".")
        cells = (name, l1, result(card), _shares(card, " | "), f"{card['cpu_seconds']:.0f}", over_seeds)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shares(card: Card, between: str) -> str:
    """Return the shares of zeros, and of weights near zero."""
    return f"{100 * card['zero_share']:.1f} %{between}{100 * card['share_within_1e-5']:.1f} %"


def main(arguments: list[str] | None = None) -> None:
    """Train the shapes named on the command line (default: all); write and print a table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument(
        "--only", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE", help="shapes to train"
    )
    parser.add_argument("--out", type=Path, help="write everything here (default: models/grid and the cache)")
    parser.add_argument("--seeds", type=int, default=1, help="average over this many seeds; seed 0 gives the weights")
    parser.add_argument("--published", action="store_true", help="the published 121 epochs")
    chosen = parser.parse_args(arguments)

    torch.set_num_threads(1)  # sums are then taken in one order, whatever the machine
    torch.set_flush_denormal(True)  # velocities of dead neurons decay into denormals, which are slow
    data = Data(*(torch.from_numpy(a) for split in ("train", "t10k") for a in load_images(chosen.data, split)))
    runs = (chosen.out or cache()) / "runs"
    folders = {name: chosen.out or (SHIPPED if SHAPES[name].shipped else cache()) for name in chosen.only}
    for name, out in folders.items():
        short = SHORT if SHAPES[name].candidates else RAMP
        train_shape(name, data, runs, out, PUBLISHED if chosen.published else short, chosen.seeds)
        write(out / "table.md", table(out).encode())
    for out in dict.fromkeys(folders.values()):
        print(f"{out}:\n\n{table(out)}")


if __name__ == "__main__":
    main()
