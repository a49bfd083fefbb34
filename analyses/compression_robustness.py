"""What compression does to robustness: before and after exact compression, and after small slopes were removed.

    python -m analyses.compression_robustness ../shared/data --out analyses/results/compression_robustness.csv

    mnist-mlp            the network of models/checkpoints, and what `compress` makes of it on [0, 1]^784: the same
                         function, so that every number must agree up to rounding
    ResNet-20, RReLU     the authors' network, without channels whose slopes are at most 0.1, and at most 0.2: other
                         functions, measured

All by `milpcomp.robustness.compare`: the same images, the same random numbers; images on which a network differs from
the first of its group are counted and named.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import milpcomp as mc
from analyses.book.entry import Context, Made
from analyses.tables import Table, as_csv, as_markdown
from milpcomp.channels import remove_channels
from milpcomp.channels.images import read_images
from milpcomp.network import Network
from milpcomp.robustness import Comparison, compare, normalised, preset
from models.data import load_images
from models.resnet import MEAN, STD

CHECKPOINT = Path(__file__).parents[1] / "models" / "checkpoints" / "mnist-mlp.safetensors"
THRESHOLDS = (0.1, 0.2)
RADII = {"mnist": 0.05, "cifar10": 0.007}
IMAGES = {"mnist": 1000, "cifar10": 200}
COMMAND = "python -m analyses.compression_robustness ../shared/data --out analyses/results/compression_robustness.csv"

NAMED = 8
"""So many changed images are named."""


def mnist(data: Path, count: int, log: Callable[[str], None]) -> Comparison:
    """Compare the shipped MNIST network with what exact compression makes of it."""
    network = mc.load(CHECKPOINT)
    smaller = mc.compress(network, mc.certify(network, mc.Box(0.0, 1.0).fit(network.input_shape))).network
    images, labels = load_images(data / "mnist", "t10k")
    models = {"mnist-mlp": network, "mnist-mlp, compressed exactly": smaller}
    return _compared(models, images[:count], labels[:count], RADII["mnist"], log)


def cifar10(data: Path, count: int, log: Callable[[str], None]) -> Comparison:
    """Compare the authors' network with itself without its small slopes."""
    network = mc.load(
        data / "nets/rrelu2024/resnet20_rrelu_cifar10.th",
        architecture="models.resnet:rotated_resnet20",
        input_shape=(3, 32, 32),
    )
    models = {"ResNet-20, RReLU": network}
    for threshold in THRESHOLDS:
        models[f"ResNet-20, RReLU, without |b| <= {threshold}"] = remove_channels(network, threshold).network
    images, labels = read_images(data / "cifar10" / "test.npz", network.input_shape)
    assert labels is not None
    scaled = {name: normalised(own, MEAN, STD) for name, own in models.items()}
    return _compared(scaled, images[:count], labels[:count], RADII["cifar10"], log)


def _compared(
    models: Mapping[str, Network], images: object, labels: object, radius: float, log: Callable[[str], None]
) -> Comparison:
    def tell(name: str, done: int, of: int) -> None:
        log(f"{name}: {done} of {of}")

    return compare(models, images, labels, preset("raw", radius), batch_size=50, progress=tell)  # type: ignore[arg-type]


def table(comparisons: Mapping[float, Comparison]) -> Table:
    """Return one row for each network, given the comparisons by radius."""
    rows = []
    for radius, comparison in comparisons.items():
        for i, (name, own) in enumerate(comparison.results.items()):
            changed = comparison.changed(name)
            gap = comparison.largest_ratio_change(name)
            assert own.lipschitz is not None
            rows.append(
                (
                    name,
                    f"{radius:g}",
                    str(own.samples),
                    *(f"{100 * share.value:.2f}" for share in (own.clean, own.attacked["FGSM"], own.attacked["PGD"])),
                    f"{own.lipschitz.value:.4g}",
                    *(_named(changed[what]) if i else "" for what in ("prediction", "FGSM", "PGD")),
                    f"{gap:.2g}" if i and gap is not None else "",
                )
            )
    columns = (
        "network", "epsilon", "images", "accuracy", "FGSM", "PGD", "LLC", "predictions changed", "FGSM changed",
        "PGD changed", "largest change of a ratio",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def compared(data: Path, mnist_images: int, cifar10_images: int, log: Callable[[str], None]) -> Table:
    """Return the table, measured now."""
    found = {RADII["mnist"]: mnist(data, mnist_images, log), RADII["cifar10"]: cifar10(data, cifar10_images, log)}
    return table(found)


def compression_robustness(context: Context) -> Made:
    """Return what was measured earlier; with `full`, on ten times as many images, now."""
    if context.full:
        return Made(compared(context.data, 10 * IMAGES["mnist"], 10 * IMAGES["cifar10"], context.log))
    with context.earlier("compression_robustness.csv", COMMAND).open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return Made(Table("", tuple(head), tuple(tuple(row) for row in rows)))


def _named(images: tuple[int, ...]) -> str:
    if not images:
        return "none"
    return f"{len(images)}: {' '.join(map(str, images[:NAMED]))}{' ...' if len(images) > NAMED else ''}"


def main(arguments: list[str] | None = None) -> None:
    """Compare, print the table, write its files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with mnist/, cifar10/ and nets/")
    parser.add_argument("--mnist-images", type=int, default=IMAGES["mnist"])
    parser.add_argument("--cifar10-images", type=int, default=IMAGES["cifar10"])
    parser.add_argument("--out", type=Path, required=True, help="the file, .csv")
    chosen = parser.parse_args(arguments)
    result = compared(chosen.data, chosen.mnist_images, chosen.cifar10_images, print)
    print(as_markdown(result))
    chosen.out.write_text(as_csv(result), encoding="utf-8")


if __name__ == "__main__":
    main()
