"""Figure: accuracy against FLOPs, as filters with small slopes or scales go. 2024, the figure between Figs 5 and 7."""

from __future__ import annotations

from dataclasses import astuple, fields
from functools import partial

from matplotlib.axes import Axes

from analyses import style
from analyses.accuracy_flops import IMAGES, KEPT_SHIFTS, Point, curve, cut_slopes, read_points, test_images
from analyses.book.entry import Context, Made
from analyses.book.networks import AUTHORS, TYPE2, resnet20
from analyses.book.printed import published
from analyses.tables import Table

KEPT = "accuracy_flops.csv"
COMMAND = (
    "python -m analyses.accuracy_flops L1BN RUN/model.safetensors --data ../shared/data "
    "--out analyses/results/accuracy_flops.csv (and the other curves)"
)
NAMES = {
    "RReLU, authors": "RReLU (authors, epoch 1103)",
    "type II": "RReLU, proximal l1 (shipped)",
    "L1RReLU": "L1RReLU",
    "L1BN": "L1BN, scales and shifts to 0",
    KEPT_SHIFTS: "L1BN, scales to 0",
}
FULL_FLOPS = 81_102_080
"""Of ResNet-20."""


def accuracy_flops(context: Context) -> Made:
    """Draw our curves of ResNet-20 beside the printed points of ResNet-164."""
    kept = read_points(context.earlier(KEPT, COMMAND))
    count = max(point.images for point in kept) if context.full else IMAGES
    images, labels = test_images(context.shared("cifar10/test.npz"))
    networks = {"RReLU, authors": context.shared(AUTHORS), "type II": TYPE2}
    points = [
        point
        for name, path in networks.items()
        for point in curve(
            name, partial(cut_slopes, resnet20(path, rotated=True)), images, labels, [count], context.log
        )
    ]
    points += [point for point in kept if point.images == count]
    figure = style.figure(height=4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _printed(left)
    for i, (name, label) in enumerate(NAMES.items()):
        own = [point for point in points if point.network == name]
        x = [100 * (1 - point.flops / FULL_FLOPS) for point in own]
        right.plot(x, [point.accuracy for point in own], color=style.CYCLE[i], marker=style.MARKERS[i], label=label)
    right.set(xlabel="FLOPs saved, %", ylabel="accuracy, %", title="here: ResNet-20", ylim=(40, 96))
    figure.legend(loc="outside lower center", ncols=2)
    names = tuple(field.name for field in fields(Point))
    rows = tuple(tuple(str(value) for value in astuple(point)) for point in points)
    note = (
        f"Accuracies on the first {count:,} test images, nothing retrained. The networks of L1RReLU and L1BN were "
        "trained for 0.75 epochs under their penalties and begin lower for that. Below 40 % curves are cut off."
    )
    return Made(Table("", names, rows), figure, (note,))


def _printed(axes: Axes) -> None:
    """Draw what Table 3 prints of ResNet-164."""
    table = published("2024")["3"]
    whole = table["rows"]["FLOPs"][0]
    for i, name in enumerate(table["columns"]):
        saved = 100 * (1 - table["rows"]["FLOPs"][i] / whole)
        axes.plot(saved, table["rows"]["accuracy"][i], style.MARKERS[i], color=style.GREY, markersize=7)
        axes.annotate(
            name,
            (saved, table["rows"]["accuracy"][i]),
            (0, (-14, -14, 8, -14)[i]),
            textcoords="offset points",
            ha=("left", "center", "center", "center")[i],
            fontsize=8,
        )
    axes.set(
        xlabel="FLOPs saved, %", ylabel="accuracy, %", title="printed: ResNet-164", xlim=(-3, 55), ylim=(94.4, 95.6)
    )
