"""Figures of the activations themselves, and of what goes when a slope is zero.

    rotated_relu    b * max(0, a x), and the weights that tiny networks lose    2022 Fig. 1
    rotated_gelu    b * x * Phi(x)                                              2024 Fig. 8

The curves are what the torch modules of `milpcomp.rotated` return. The weights are those of two tiny networks with the
shapes of the published drawing; what is grey is what `milpcomp.remove_channels` does not keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from analyses import style
from analyses.book.entry import Context, Made
from analyses.tables import Table
from milpcomp.channels import remove_channels
from milpcomp.cost import cost
from milpcomp.network import INPUT, Conv2d, Dense, Network, Node, Rectifier
from milpcomp.rotated import RotatedGELU, RotatedReLU
from milpcomp.rotated.activation import RotatedActivation

X = torch.linspace(-3.0, 3.0, 121, dtype=torch.float64)
FCNN_SLOPES, CNN_SLOPES = (1.2, 0.0, 0.7), (1.2, -0.8, 0.0)
"""Of the published drawing: the second of three neurons, and the third of three filters, have slope 0."""

Curves = dict[str, np.ndarray]


def curves(kind: type[RotatedActivation], slopes: Sequence[float], before: str = "", sign: int = 1) -> Curves:
    """Return one curve for each slope, b, of an activation at a x."""
    found = {}
    for b in slopes:
        module = kind(1).double()
        module.slope.data.fill_(b)
        with torch.no_grad():
            found[f"{before}b = {b:g}".replace("-", "−")] = module(sign * X[:, None])[:, 0].numpy()
    return found


def _plot(axes: Axes, found: Curves, title: str) -> None:
    axes.axhline(0, color=style.PALE, linewidth=0.8)
    axes.axvline(0, color=style.PALE, linewidth=0.8)
    for i, (name, y) in enumerate(found.items()):
        axes.plot(X.numpy(), y, linestyle=("-", "--", "-.", ":", "-")[i], label=name)
    axes.set(xlabel="x", title=title)
    axes.legend(fontsize=8, handlelength=2.4, loc="upper left")


def _curve_table(panel: str, found: Curves) -> list[tuple[str, ...]]:
    return [
        (panel, name, f"{x:.3g}", f"{y:.6g}")
        for name, own in found.items()
        for x, y in zip(X.tolist(), own, strict=True)
    ]


def rotated_relu(context: Context) -> Made:
    """Draw the activation with both signs, without them, and what two tiny networks lose."""
    both = {**_signed(1), **_signed(-1)}
    rotated = curves(RotatedReLU, (1.43, 1.0, 0.7, -0.7, -1.43))
    figure = style.figure(height=8.0)
    panels = figure.subplot_mosaic([[*"aaabbb"], [*"ccdddd"], [*"eeffff"]], height_ratios=(1.3, 1, 1.2))
    _plot(panels["a"], both, "(a) b max(0, a x)")
    _plot(panels["b"], rotated, "(b) b max(0, x)")
    for name in "ab":
        panels[name].set_ylim(-4.6, 7.5)
    notes = []
    for letters, tiny in zip(("ce", "df"), _tiny(), strict=True):
        dead = np.array(tiny.slopes) == 0
        for letter, layer, axis, title in zip(
            letters, tiny.layers, (0, 1), (tiny.title, "the next layer"), strict=True
        ):
            _weights(panels[letter], layer, dead, axis, title)
        notes.append(
            f"{tiny.title[4:].capitalize()}: with slopes {tiny.slopes} remove_channels keeps {tiny.kept} of "
            f"{sum(layer.size for layer in tiny.layers)} weights."
        )
    rows = _curve_table("a", both) + _curve_table("b", rotated)
    return Made(Table("", ("panel", "curve", "x", "y"), tuple(rows)), figure, tuple(notes))


def _signed(sign: int) -> Curves:
    return curves(RotatedReLU, (1.0, -1.0), f"a = {sign:g}, ", sign)


@dataclass(frozen=True)
class Tiny:
    """A network of two layers around one rotated ReLU, and how many of its weights are left without zero slopes."""

    title: str
    slopes: tuple[float, ...]
    layers: tuple[np.ndarray, ...]
    kept: int


def _tiny() -> list[Tiny]:
    """Return the two networks of the drawing: dense 4-3-4, and convolutions 4-3-4."""
    rng = np.random.default_rng(0)
    dense = Dense(rng.normal(size=(3, 4)), np.zeros(3)), Dense(rng.normal(size=(4, 3)), np.zeros(4))
    first, second = (Conv2d(rng.normal(size=(*size, 3, 3)), padding=(1, 1, 1, 1)) for size in ((3, 4), (4, 3)))
    return [
        _without_zeros("(c) dense", dense, FCNN_SLOPES, (4,)),
        _without_zeros("(d) convolutions", (first, second), CNN_SLOPES, (4, 8, 8)),
    ]


def _without_zeros(
    title: str, layers: Sequence[Dense | Conv2d], slopes: tuple[float, ...], shape: tuple[int, ...]
) -> Tiny:
    rotated = Rectifier(np.reshape(slopes, (-1, *(1 for _ in shape[1:]))))
    nodes = [Node("l", layers[0], (INPUT,)), Node("b", rotated, ("l",)), Node("l + 1", layers[1], ("b",))]
    left = cost(remove_channels(Network(shape, nodes)).network).parameters
    return Tiny(title, slopes, tuple(layer.weight for layer in layers), left)


def _weights(axes: Axes, weight: np.ndarray, dead: np.ndarray, axis: int, title: str) -> None:
    """Draw weights as squares, those of dead filters (axis 0) or of what reads them (axis 1) grey."""
    rows, columns = weight.shape[:2]
    size = weight.shape[2] if weight.ndim == 4 else 1
    step = size + (1 if size > 1 else 0)
    image = np.ones((rows * step, columns * step, 3))
    top = np.abs(weight).max()
    for i in range(rows):
        for j in range(columns):
            tile = np.abs(weight[i, j]).reshape(size, size, 1) / top
            gone = dead[(i, j)[axis]]
            colour = np.array(to_rgb(style.GREY if gone else style.BLUE))
            tile = np.full_like(tile, 0.35) if gone else 0.25 + 0.75 * tile
            image[i * step : i * step + size, j * step : j * step + size] = 1 - tile * (1 - colour)
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks(step * np.arange(columns) + (size - 1) / 2, [str(j + 1) for j in range(columns)])
    axes.set_yticks(step * np.arange(rows) + (size - 1) / 2, [str(i + 1) for i in range(rows)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="reads", ylabel="filter", title=title)


def rotated_gelu(context: Context) -> Made:
    """Draw the rotated GELU for several slopes."""
    found = curves(RotatedGELU, (1.43, 1.0, 0.7, -0.7, -1.43))
    figure = style.figure(height=3.4)
    _plot(figure.add_subplot(), found, "")
    exact = X * 0.5 * (1 + torch.erf(X / 2**0.5))
    gap = np.abs(found["b = 1"] - exact.numpy()).max()
    note = f"With b = 1 it is the GELU: the greatest difference from x (1 + erf(x / √2)) / 2 on the curve is {gap:.1g}."
    return Made(Table("", ("panel", "curve", "x", "y"), tuple(_curve_table("", found))), figure, (note,))
