"""Robust accuracy from both sides: what is proved, and what no attack breaks, image by image.

    python -m analyses.sandwich --networks ../shared/data/nets --mnist ../shared/data/mnist \
        --out analyses/results/sandwich_images.csv

For each network and radius (raw pixels in [0, 1], L-infinity norm), the first images of the MNIST test set are decided
by `milpcomp.robustness.certified_robustness`: robust (a proof, which `milpcomp.check` reads again), adversarial (an
input of the box that is misclassified), or undecided within the time limit. Then

    verified accuracy  <=  robust accuracy  <=  accuracy under PGD

where PGD is an attack of its own (`milpcomp.robustness.evaluate`), run apart from the proofs. Beside them stand the
mean local Lipschitz constants (KL divergence): the largest ratio found, and the bound that is proved. Every image is a
line of the file; lines that are there already are not computed again.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import milpcomp as mc
from analyses.book.entry import Context, Made
from analyses.tables import Table, as_markdown
from milpcomp.network import Network
from milpcomp.robustness import LipschitzSearch, certified_robustness, evaluate, local_lipschitz_bound, pgd
from models.data import load_images

NETWORKS = {"100-100": "serra2021/mnist_100-100_l1_0.tar", "256x2": "mnistfc/mnist-net_256x2.onnx"}
RADII = (0.01, 0.02, 0.05)

COMMAND = (
    "python -m analyses.sandwich --networks ../shared/data/nets --mnist ../shared/data/mnist "
    "--out analyses/results/sandwich_images.csv"
)

FIELDS = (
    "network", "radius", "image", "label", "correct", "outcome", "pgd", "least_margin", "lipschitz_found",
    "lipschitz_bound", "limit_s", "seconds", "check_seconds", "rejected",
)  # fmt: skip

Line = dict[str, str]


def decide(network: Network, image: np.ndarray, label: int, radius: float, limit_s: float) -> dict[str, object]:
    """Return what is known of one image."""
    found = certified_robustness(network, image, radius, label, time_limit_s=limit_s)
    start = time.monotonic()
    rejected = 0 if found.report is None else len(mc.check(found.margins, found.domain, found.report).rejections)
    seconds = time.monotonic() - start
    seen = evaluate(network, image[None], [label], [pgd(radius, 40, restarts=5)], LipschitzSearch(radius))
    assert seen.ratios is not None
    return {
        "label": label,
        "correct": int(seen.correct[0]),
        "outcome": found.outcome.value,
        "pgd": int(seen.held["PGD"][0]),
        "least_margin": f"{found.least_margin:.4g}",
        "lipschitz_found": f"{seen.ratios[0]:.4g}",
        "lipschitz_bound": f"{local_lipschitz_bound(network, found.domain, radius):.4g}",
        "limit_s": f"{limit_s:g}",
        "seconds": f"{found.seconds:.2f}",
        "check_seconds": f"{seconds:.2f}",
        "rejected": rejected,
    }


def summary(lines: Iterable[Line]) -> Table:
    """Return one row for each network and radius.

    Raises
    ------
    ValueError
        If an image is proved robust that an attack breaks: a defect.
    """
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line["outcome"] == "robust" and not (int(line["pgd"]) and int(line["correct"])):
            raise ValueError(
                f"image {line['image']} of {line['network']} is proved robust at {line['radius']}, and broken"
            )
        groups.setdefault((line["network"], line["radius"]), []).append(line)
    rows = []
    for (name, radius), own in sorted(groups.items()):
        outcomes = [line["outcome"] for line in own]
        seconds = [float(line["seconds"]) for line in own]
        robust, adversarial = outcomes.count("robust"), outcomes.count("adversarial")
        open_ = [line["image"] for line in own if line["outcome"] not in ("robust", "adversarial")]
        rows.append(
            (
                name,
                radius,
                str(len(own)),
                *(f"{100 * share / len(own):.4g}" for share in (sum(int(line["correct"]) for line in own), robust)),
                f"{100 * (len(own) - adversarial) / len(own):.4g}",
                f"{100 * sum(int(line['pgd']) for line in own) / len(own):.4g}",
                " ".join(open_) or "none",
                *(
                    f"{np.mean([float(line[key]) for line in own]):.3g}"
                    for key in ("lipschitz_found", "lipschitz_bound")
                ),
                f"{np.median(seconds):.2f} / {max(seconds):.1f}",
                str(sum(int(line["rejected"]) for line in own)),
            )
        )
    columns = (
        "network", "radius", "images", "accuracy", "verified", "unbroken", "PGD", "undecided", "LLC >=", "LLC <=",
        "seconds", "rejected",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def sandwich(context: Context) -> Made:
    """Return the table of the images that were decided earlier."""
    return Made(summary(read(context.earlier("sandwich_images.csv", COMMAND))))


def read(path: Path) -> list[Line]:
    """Return the lines that are there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _again(line: Line, radii: Sequence[float], only: str | None) -> bool:
    """Tell whether a line was left undecided, and is asked for now."""
    asked = float(line["radius"]) in radii and only in (None, line["network"])
    return asked and line["outcome"] not in ("robust", "adversarial")


def main(arguments: list[str] | None = None) -> None:
    """Decide the images, and write the table after each radius."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True, help="folder with serra2021/ and mnistfc/")
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the MNIST test set in IDX files")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--only", choices=NETWORKS, help="one network instead of both")
    parser.add_argument("--radii", type=float, nargs="+", default=RADII)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the proof of one image")
    parser.add_argument("--retry", action="store_true", help="compute undecided lines again")
    parser.add_argument("--out", type=Path, required=True, help="the file, .csv")
    chosen = parser.parse_args(arguments)
    images, labels = load_images(chosen.mnist, "t10k")
    path = chosen.out
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [line for line in read(path) if not (chosen.retry and _again(line, chosen.radii, chosen.only))]
    done = {(line["network"], float(line["radius"]), int(line["image"])) for line in lines}
    for radius in chosen.radii:
        for name in NETWORKS if chosen.only is None else (chosen.only,):
            network = mc.load(chosen.networks / NETWORKS[name])
            for i in range(chosen.images):
                if (name, radius, i) in done:
                    continue
                image = images[i].astype(np.float64).reshape(network.input_shape)
                found = decide(network, image, int(labels[i]), radius, chosen.limit)
                line = {"network": name, "radius": radius, "image": i, **found}
                print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)
                lines.append({key: str(value) for key, value in line.items()})
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    writer.writeheader()
                    writer.writerows(lines)
    print(as_markdown(summary(lines)))


if __name__ == "__main__":
    main()
