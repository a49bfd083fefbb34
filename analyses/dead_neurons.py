"""Neurons that images never switch on, against neurons that no input can switch on.

    dead on N images    pre-activation <= 0 on each of the first N: can only fall as N grows
    stably inactive     pre-activation <= 0 for every input of the domain, by proof: a line below that curve

Removing what is dead on data changes the function on some input that was not looked at; removing what is stably
inactive changes nothing. Between the curve and the line are neurons that images leave dead and that some input of the
domain is known to switch on.

The dynamic dead neuron rate (DNR) of Liu, Ghosh, Tan and Motani, AP (TMLR 2023), is about what data leave at zero. Two
readings are shown: the curve, and the share of zeros that one image leaves, averaged over images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import milpcomp as mc
from analyses import certified, style
from analyses.book.entry import Context, Made
from analyses.tables import Table
from milpcomp.stability.verdict import Phase
from models.data import load_images

NETWORKS = ("2x100_full", "2x100_proximal", "3x100_proximal", "mnist-mlp")
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)
CHUNK = 2_000


@dataclass(frozen=True, eq=False)
class Dead:
    """What images and proofs say of the neurons of a network.

    Parameters
    ----------
    first_active : ndarray of int, shape (neurons,)
        Index of the first image that switches the neuron on; the number of images if none does.
    zero_share : float
        Share of zero outputs, averaged over all images and neurons.
    """

    first_active: NDArray[np.int64]
    zero_share: float
    images: int

    def share(self, count: int) -> float:
        """Return the share of neurons that are off on each of the first `count` images."""
        return float((self.first_active >= count).mean())


def on_images(network: mc.Network, images: NDArray[np.float32]) -> Dead:
    """Return which neurons images (N, *input_shape) switch on, and when."""
    neurons = sum(network.width(node.name) for node in network.rectifiers)
    first, zeros = np.full(neurons, len(images)), 0
    for start in range(0, len(images), CHUNK):
        values = network.pre_activations(images[start : start + CHUNK].astype(np.float64))
        active = np.concatenate(list(values.values()), axis=1) > 0
        zeros += int((~active).sum())
        when = np.where(active.any(axis=0), start + active.argmax(axis=0), len(images))
        first = np.minimum(first, when)
    return Dead(first, zeros / (neurons * len(images)), len(images))


def dead_neurons(context: Context) -> Made:
    """Return the curves over training images of MNIST, and the proved lines."""
    images = load_images(context.shared("mnist"), "train")[0]
    curves = {}
    rows: list[tuple[str, ...]] = []
    for name in NETWORKS:
        own = certified.certified(name)
        dead = on_images(own.network, images)
        phases = [verdict.phase for verdict in own.report.verdicts]
        inactive = np.array([phase is Phase.STABLY_INACTIVE for phase in phases])
        if (dead.first_active[inactive] < dead.images).any():
            raise AssertionError(f"an image switches on a neuron of {name} that is proved stably inactive")
        proved = float(inactive.mean())
        curves[name] = (dead, proved)
        rest = (f"{100 * proved:.2f}", str(phases.count(Phase.UNDECIDED)), f"{100 * dead.zero_share:.2f}")
        rows += [(name, str(own.neurons), str(n), f"{100 * dead.share(n):.2f}", *rest) for n in counts(dead)]
    columns = ("network", "neurons", "images", "off on them %", "proved stably inactive %", "undecided", "zeros %")
    return Made(Table("", columns, tuple(rows)), _draw(curves), _notes(curves))


def counts(dead: Dead) -> list[int]:
    """Return the numbers of images at which the curve is drawn."""
    return [count for count in COUNTS if count <= dead.images]


def _draw(curves: dict[str, tuple[Dead, float]]) -> Figure:
    """Return a panel per network: the falling curve, the line, and what lies between them."""
    figure = style.figure(height=4.8)
    panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for axes, (name, (dead, proved)) in zip(panels, curves.items(), strict=True):
        shares = [100 * dead.share(count) for count in counts(dead)]
        axes.fill_between(counts(dead), shares, 100 * proved, color=style.PALE, linewidth=0)
        axes.plot(counts(dead), shares, color=style.BLUE, marker="o", markersize=3.5, label="off on the first N images")
        axes.axhline(100 * proved, color=style.VERMILLION, linestyle="--", label="proved: off on every input")
        axes.axhline(100 * dead.zero_share, color=style.GREY, linestyle=":", label="zeros per image, on average")
        axes.set_title(name)
        axes.set_xscale("log")
        axes.set_ylim(-3, 103)
    for axes in panels[2:]:
        axes.set_xlabel("training images N")
    for axes in panels[::2]:
        axes.set_ylabel("share of neurons, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _notes(curves: dict[str, tuple[Dead, float]]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {100 * dead.share(dead.images):.1f} % of the neurons are off on all {dead.images:,} training images, "
        f"{100 * proved:.1f} % are proved stably inactive on [0, 1]^784. One image leaves "
        f"{100 * dead.zero_share:.1f} % at zero, on average."
        for name, (dead, proved) in curves.items()
    )
