"""The authors' rotated ResNet-20 taken apart: what its small slopes cost, saved as the papers count it and for real.

    python -m analyses.authors_resnet20 ../shared/data --out analyses/results/authors_resnet20.json

Accuracy on the 10,000 CIFAR-10 test images at several thresholds; at 0.1, the network without the ignored channels:
parameters and FLOPs as the papers count (masked), as counted on the smaller network and as torch counts on its module,
its difference from the masked network, predictions that change, images per second of both in turns. The accuracies of
the two ReLU ResNets at hand stand beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import milpcomp as mc
from analyses.book.entry import Context, Made
from analyses.tables import Table
from milpcomp.channels import channel_slopes, measure, remove_channels, silenced, speed
from milpcomp.channels.images import read_images
from milpcomp.channels.measure import accuracy
from milpcomp.cost import cost
from milpcomp.files import read_json
from models.resnet import MEAN, STD

SHAPE = (3, 32, 32)
THRESHOLD = 0.1


def study(data: Path, count: int | None) -> dict[str, Any]:
    """Return everything that is measured, JSON-ready."""
    images, labels = read_images(data / "cifar10" / "test.npz", SHAPE, MEAN, STD)
    assert labels is not None
    images, labels = images[:count], labels[:count]
    network = mc.load(
        data / "nets/rrelu2024/resnet20_rrelu_cifar10.th",
        architecture="models.resnet:rotated_resnet20",
        input_shape=SHAPE,
    )
    slopes = np.abs(np.concatenate(list(channel_slopes(network).values())))
    removal = remove_channels(network, THRESHOLD)
    checked = removal.check()
    seen = measure(network, removal.masked, removal.network, images, labels)
    timed = speed(network, removal.network)
    counted, module = cost(removal.network), removal.network.to_torch().eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros(1, *SHAPE))
    return {
        "images": len(images),
        "slopes": len(slopes),
        "within": {f"{bound:g}": int((slopes <= bound).sum()) for bound in (0.0, 0.001, 0.01, 0.1, 0.2)},
        "accuracy": {
            f"{bound:g}": round(100 * accuracy(silenced(network, bound), images, labels), 2)
            for bound in (0.1, 0.2, 0.3)
        },
        "threshold": THRESHOLD,
        "ignored": removal.dead,
        "alive": [alive for alive, _ in removal.alive.values()],
        "accuracy_before": round(100 * (seen.accuracy_before or 0.0), 2),
        "accuracy_after": round(100 * (seen.accuracy_after or 0.0), 2),
        "predictions_changed": seen.changed,
        "largest_logit_change": seen.largest_change,
        "masked_parameters": removal.accounting.weights_left,
        "masked_flops": removal.accounting.flops_left,
        "all_parameters": removal.accounting.weights,
        "all_flops": removal.accounting.flops,
        "reduced_parameters": counted.parameters,
        "reduced_flops": counted.flops,
        "reduced_flops_by_torch": counter.get_total_flops(),
        "reduced_against_masked": {"largest": seen.rounding, "predictions_changed": seen.rounding_changed},
        "checker": {"accepted": checked.accepted, "deviation": checked.deviation_bound},
        "images_per_second": {"before": round(timed.before, 1), "after": round(timed.after, 1), "ratio": timed.ratio},
        "relu_accuracy": {
            name: round(100 * accuracy(relu(data, name, file), images, labels), 2)
            for name, file in (("ResNet-20", "resnet20-12fca82f.th"), ("ResNet-56", "resnet56-4bfd9763.th"))
        },
    }


COMMAND = "python -m analyses.authors_resnet20 ../shared/data --out analyses/results/authors_resnet20.json"


def authors_resnet20(context: Context) -> Made:
    """Return the study as a table of two columns; with `full` it is run now, on all images."""
    file = "authors_resnet20.json"
    found = study(context.data, None) if context.full else read_json(context.earlier(file, COMMAND))
    rows = [(name.replace("_", " "), _text(value)) for name, value in found.items()]
    return Made(Table("", ("quantity", "value"), tuple(rows)))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')}: {_text(own)}" for name, own in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int else str(value)


def relu(data: Path, name: str, file: str) -> mc.Network:
    """Return a published ReLU network."""
    factory = name.lower().replace("-", "")
    return mc.load(data / "nets/akamaster" / file, architecture=f"models.resnet:{factory}", input_shape=SHAPE)


def main() -> None:
    """Run the study and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with cifar10/ and nets/")
    parser.add_argument("--out", type=Path, default=Path("analyses/results/authors_resnet20.json"))
    parser.add_argument("--images", type=int, help="the first so many test images only")
    options = parser.parse_args()
    text = json.dumps(study(options.data, options.images), indent=2)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
