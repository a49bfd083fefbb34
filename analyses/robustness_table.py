"""Table 6 of the 2024 seminar, for the two networks at hand: local Lipschitz constant, FGSM and PGD, ReLU and rotated.

    python -m analyses.robustness_table ../shared/data --out analyses/results/robustness_table.json

ResNet-20 with ReLU (akamaster's) and with rotated ReLU (the authors'), on the first images of the CIFAR-10 test set:

    raw            raw pixels in [0, 1], true labels, clipped; epsilon 0.031
    raw, smaller   the same with epsilon 0.007, which is 0.031 in normalised units
    rrelu-2024     as the authors ran it: normalised units, the model's own predictions for labels, no clipping

The printed numbers stand beside them. Under own labels, "unchanged" is the share of images whose prediction no iterate
changed, and "right" the share that are right besides. Every setting and every image is in the file; settings that are
there already are not measured again.

The public code for the constant (Yang et al., arXiv 2003.02460) negates the ratio, and then steps along the sign of its
gradient: it seeks the least ratio. What such a search finds, from its start to its end, is measured too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import milpcomp as mc
from analyses.book.entry import Context, Made
from analyses.tables import Table, as_markdown
from milpcomp.channels.images import read_images
from milpcomp.files import read_json, write_json
from milpcomp.network import Network
from milpcomp.robustness import evaluate, normalised, preset
from milpcomp.robustness.lipschitz import distance
from models.resnet import MEAN, STD

SHAPE = (3, 32, 32)
NETWORKS = {
    "ReLU": ("akamaster/resnet20-12fca82f.th", "models.resnet:resnet20"),
    "RReLU": ("rrelu2024/resnet20_rrelu_cifar10.th", "models.resnet:rotated_resnet20"),
}
SETTINGS = {"raw": ("raw", 0.031), "rrelu-2024": ("rrelu-2024", 0.031), "raw, smaller": ("raw", 0.007)}

SCRIPT_FACTOR = 5000 / (40 * 8)
"""The authors' script divides the sum over 5,000 images, in batches of 128, not by 5,000 but by the number of batches
(40) times the size of the last one (8)."""

AGAINST = "against the gradient"
AGAINST_IMAGES = 200

ALL_IMAGES = 10_000

COMMAND = "python -m analyses.robustness_table ../shared/data --out analyses/results/robustness_table.json"

PUBLISHED = Path(__file__).with_name("published") / "rrelu2024.json"


def measure(network: Network, data: Path, which: str, count: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Return what is measured with one of `SETTINGS`, JSON-ready; images as strings of 0 and 1."""
    name, epsilon = SETTINGS[which]
    chosen = preset(name, epsilon)
    numbers = (MEAN, STD) if chosen.own_labels else (None, None)
    images, labels = read_images(data / "cifar10" / "test.npz", SHAPE, *numbers)
    assert labels is not None
    model = network if chosen.own_labels else normalised(network, MEAN, STD)
    start = time.monotonic()

    def tell(done: int, of: int) -> None:
        log(f"{which}: {done} of {of} after {time.monotonic() - start:.0f} s")

    found = evaluate(model, images[:count], labels[:count], chosen, batch_size=50, progress=tell)
    assert found.lipschitz is not None
    assert found.ratios is not None
    return {
        "images": found.samples,
        "correct": _bits(found.correct),
        "held": {key: _bits(mask) for key, mask in found.held.items()},
        "clean": str(found.clean),
        "attacked": {key: str(value) for key, value in found.attacked.items()},
        "lipschitz": [found.lipschitz.value, found.lipschitz.low, found.lipschitz.high],
        "settings": found.settings,
        "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - start, 1),
    }


def against(network: Network, data: Path, count: int) -> dict[str, Any]:
    """Return the mean ratio at the start and at the end of a search that steps against the gradient of the ratio."""
    images, _ = read_images(data / "cifar10" / "test.npz", SHAPE, MEAN, STD)
    model = network.to_torch().eval()
    means: list[list[float]] = []
    for start in range(0, count, 50):
        x = torch.from_numpy(images[start : min(start + 50, count)])
        with torch.no_grad():
            center = model(x)
        generator = torch.Generator().manual_seed(start)
        point = x + 0.001 * torch.randn(x.shape, generator=generator)
        seen = []
        for _ in range(61):
            point = point.detach().requires_grad_(True)
            ratio = distance(center, model(point), "kl") / (point - x).flatten(1).abs().amax(1)
            seen.append(ratio.detach())
            (gradient,) = torch.autograd.grad(ratio.sum(), point)
            point = x + (point - 0.001 * gradient.sign() - x).clamp(-0.031, 0.031)
        means += torch.stack([seen[0], seen[-1]], 1).tolist()
    first, last = np.mean(means, axis=0).tolist()
    return {"images": len(means), "first": first, "last": last}


def table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table: a row for each network and setting, and one for each network as printed."""
    printed = json.loads(PUBLISHED.read_text(), parse_float=str)["tables"]["6"]
    rows: list[tuple[str, ...]] = []
    for name in NETWORKS:
        column = printed["columns"].index(f"ResNet-20, {name}")
        numbers = [printed["rows"][row][column] for row in ("LLC", "accuracy under FGSM", "accuracy under PGD")]
        rows.append((name, "printed", "", "", numbers[0], "", numbers[1], "", numbers[2], ""))
        for which in SETTINGS:
            if which not in results.get(name, {}):
                continue
            found = results[name][which]
            correct = _mask(found["correct"])
            cells = [name, which, str(found["images"]), f"{100 * correct.mean():.2f}"]
            value, low, high = found["lipschitz"]
            cells += [f"{value:.4g} [{low:.4g}, {high:.4g}]", f"{value * SCRIPT_FACTOR:.4g}"]
            for attack in ("FGSM", "PGD"):
                held = _mask(found["held"][attack])
                cells += [f"{100 * (held & correct).mean():.2f}"]
                cells += [f"{100 * held.mean():.2f}" if which == "rrelu-2024" else ""]
            rows.append(tuple(cells))
    columns = (
        "activation", "setting", "images", "clean", "LLC", "LLC as their script divides", "FGSM: right", "unchanged",
        "PGD: right", "unchanged",
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def why(results: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the sentences that say why our numbers are not the printed ones."""
    text = (
        "LLC is the mean over images of the greatest KL(p || p') / |x - x'|_inf found, with its 95 % interval.",
        "Raw pixels, true labels and clipping are the default here; there a radius of 0.031 is more than four times as "
        "wide as in normalised units (0.007 is about as wide).",
        "An image counts as broken as soon as any iterate breaks it, and 60 steps leave at most 1 %, whereas the "
        "printed PGD leaves more than the single step of FGSM.",
        f"The authors' script divides the LLC by a number that is {SCRIPT_FACTOR:.1f} times too small. The ReLU "
        "network is not the one that the authors trained.",
    )
    found = {name: own[AGAINST] for name, own in results.items() if AGAINST in own}
    if not found:
        return text
    ends = ", ".join(f"from {one['first']:.2g} to {one['last']:.2g} ({name})" for name, one in found.items())
    images = next(iter(found.values()))["images"]
    return (
        *text,
        "A search against the gradient of the ratio, like that of the public code for it, takes the mean over "
        f"{images} images {ends}; the printed numbers lie between these and the maxima, and are not reproduced.",
    )


def robustness(context: Context) -> Made:
    """Return the table of what was measured earlier on 1,000 images; with `full`, of all images of the test set."""
    if context.full:
        path = context.measured / "robustness_table.json"
        results = measured(context.data, path, ALL_IMAGES, tuple(NETWORKS), tuple(SETTINGS), context.log)
    else:
        results = read_json(context.earlier("robustness_table.json", COMMAND))
    return Made(table(results), notes=why(results))


def measured(
    data: Path, path: Path, images: int, names: Sequence[str], settings: Sequence[str], log: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Measure what is not in the file yet, write it there, and return everything in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    for which in (AGAINST, *settings):
        for name in names:
            if which in results.setdefault(name, {}):
                continue
            file, architecture = NETWORKS[name]
            network = mc.load(data / "nets" / file, architecture=architecture, input_shape=SHAPE)
            if which == AGAINST:
                results[name][which] = against(network, data, min(images, AGAINST_IMAGES))
            else:
                results[name][which] = measure(network, data, which, images, log)
            write_json(path, results)
    return results


def _bits(mask: np.ndarray) -> str:
    return "".join("01"[int(value)] for value in mask)


def _mask(bits: str) -> np.ndarray:
    return np.array([bit == "1" for bit in bits])


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with cifar10/ and nets/")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--only", choices=NETWORKS, help="one network instead of both")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--out", type=Path, required=True, help="the file, .json")
    chosen = parser.parse_args(arguments)
    names = tuple(NETWORKS) if chosen.only is None else (chosen.only,)
    print(as_markdown(table(measured(chosen.data, chosen.out, chosen.images, names, chosen.settings, print))))


if __name__ == "__main__":
    main()
