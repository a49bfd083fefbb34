"""A network on the plane through three images, before and after compression: regions, creases, decision boundary.

Both panels are computed, not sampled (`analyses.slices`). Then the first network is sliced once more, on the regions of
the smaller one. If that gives the regions of the first again, every line of the smaller network is a line of the first;
and as both are affine on each of these regions, the largest difference at their corners is the largest of the whole
slice. What is proved of all inputs (`deviation_bound`) is seen here on a plane, up to the rounding of float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from analyses import certified, slices, style
from analyses.book.entry import Context, Made
from analyses.slices import Plane, Slice
from analyses.tables import Table
from milpcomp.network.layers import FloatArray
from models.data import load_images

NETWORK = "mnist-mlp"
IMAGES = (0, 1, 2)
"""Of the MNIST test set: a seven, a two and a one."""

DEPTHS = ("#9ECAE1", "#6BAED6", "#4292C6", "#2171B5", "#08306B")
"""Creases of the hidden layers, the first one palest."""

CLASSES = (
    style.BLACK, style.PURPLE, style.ORANGE, style.BLUE, style.SKY, style.GREY, style.BLUE, style.GREEN, style.YELLOW,
    style.VERMILLION,
)  # fmt: skip
"""By digit; drawn pale."""

ZOOM = 0.12
"""Width of the detail, as a part of the whole."""

SPACE = 1.6
"""Around the triangle, for the images; distances are those of the inputs."""


@dataclass(frozen=True, eq=False)
class Decided:
    """A slice, the polygons in which each class wins, and the segments between them."""

    own: Slice
    wins: tuple[tuple[int, FloatArray], ...]
    borders: FloatArray

    @classmethod
    def of(cls, own: Slice) -> Decided:
        """Return the decisions of a slice."""
        pieces = [slices.decisions(cell) for cell in own.cells]
        borders = [s for cell, part in zip(own.cells, pieces, strict=True) for *_, s in slices.boundaries(cell, part)]
        return cls(own, tuple(win for part in pieces for win in part.items()), np.array(borders).reshape(-1, 2, 2))


@dataclass(frozen=True, eq=False)
class Pair:
    """A slice before and after compression, and the first network on the regions of the second."""

    window: FloatArray
    before: Decided
    after: Decided
    joint: Slice
    difference: float

    @property
    def nested(self) -> bool:
        """Whether every line of the smaller network is one of the first: the common cells are those of the first."""
        return len(self.joint.cells) == len(self.before.own.cells)


def pair(own: certified.Certified, plane: Plane) -> Pair:
    """Return the slices of a network and of its compression."""
    window = plane.window(own.report.domain)
    before, after = (
        Decided.of(slices.slice_through(net, plane, [window])) for net in (own.network, own.smaller.network)
    )
    joint = slices.slice_through(own.network, plane, [cell.polygon for cell in after.own.cells])
    return Pair(window, before, after, joint, slices.greatest_difference(own.network, own.smaller.network, joint))


def plane_through_images(context: Context) -> Made:
    """Return the pictures of the shipped network on the plane through three test images."""
    images = load_images(context.shared("mnist"), "t10k")[0]
    chosen = images[list(IMAGES)].astype(np.float64)
    own = certified.certified(NETWORK)
    found = pair(own, Plane.through(*chosen))
    figure = style.figure(height=6.3)
    panels = figure.subplots(2, 2)
    corners = found.before.own.plane.locate(chosen)
    detail = _detail(found)
    for column, part in enumerate((found.before, found.after)):
        top, bottom = panels[:, column]
        for axes, width in ((top, 0.25), (bottom, 0.7)):
            _panel(axes, part, found.joint if part is found.before else None, width)
        title, neurons = (("before", own.neurons), ("after", own.neurons_after))[column]
        top.set_title(f"{title}: {neurons} neurons, {len(part.own.cells):,} regions")
        _thumbnails(top, corners, chosen)
        _name_classes(top, part)
        _frame(top, np.array([corners.min(axis=0) - SPACE, corners.max(axis=0) + SPACE]))
        top.add_patch(Rectangle(detail[0], *(detail[1] - detail[0]), fill=False, edgecolor=style.BLACK, linewidth=0.8))
        bottom.set_title(f"{title}: the small rectangle")
        _frame(bottom, detail)
    _legend(figure, found)
    return Made(_table(own, found), figure, _notes(own, found))


def _panel(axes: Axes, part: Decided, extra: Slice | None, width: float) -> None:
    """Draw one slice: classes as areas, creases by layer, creases that `extra` adds, the decision boundary."""
    colours = [_pale(CLASSES[i]) for i, _ in part.wins]
    areas = [polygon for _, polygon in part.wins]
    axes.add_collection(PolyCollection(areas, facecolors=colours, edgecolors=colours, linewidths=0.2))
    last = max(crease.layer for crease in part.own.creases)
    for layer in range(last + 1):
        lines = [crease.segment for crease in part.own.creases if crease.layer == layer]
        shade = DEPTHS[round(layer / max(last, 1) * (len(DEPTHS) - 1))]
        axes.add_collection(LineCollection(lines, colors=shade, linewidths=width))
    if extra is not None:
        lost = [crease.segment for crease in extra.creases]
        axes.add_collection(LineCollection(lost, colors=style.VERMILLION, linewidths=max(0.8, 2 * width)))
    axes.add_collection(LineCollection(list(part.borders), colors=style.BLACK, linewidths=max(1.2, 2.4 * width)))


def _frame(axes: Axes, corners: FloatArray) -> None:
    """Show what is between two corners, without axes."""
    axes.set_xlim(*corners[:, 0])
    axes.set_ylim(*corners[:, 1])
    axes.set_aspect("equal")
    axes.set_axis_off()


def _detail(found: Pair) -> FloatArray:
    """Return two corners of a window on the decision boundary, where it is closest to a line that goes, if one does."""
    corners = np.concatenate([cell.polygon for cell in found.before.own.cells])
    goals = np.array([crease.segment.mean(axis=0) for crease in found.joint.creases] or [corners.mean(axis=0)])
    half = 0.5 * ZOOM * (np.ptp(corners, axis=0) + 2 * SPACE)
    middles = found.before.borders.mean(axis=1)
    within = [m for m in middles if all(_inside(found.window, m + half * (i, j)) for i in (-1, 1) for j in (-1, 1))]
    middles = np.array(within) if within else middles
    away = np.linalg.norm(middles[:, None] - goals[None], axis=2).min(axis=1)
    middle = middles[away.argmin()]
    return np.array([middle - half, middle + half])


def _inside(polygon: FloatArray, p: FloatArray) -> bool:
    """Tell whether a point lies in a convex polygon."""
    (x, y), (a, b) = (np.roll(polygon, -1, axis=0) - polygon).T, (p - polygon).T
    turn = x * b - y * a
    return bool((turn >= 0).all() or (turn <= 0).all())


def _thumbnails(axes: Axes, corners: FloatArray, images: FloatArray) -> None:
    """Show each image at its corner."""
    middle = corners.mean(axis=0)
    side = int(np.sqrt(images.shape[1]))
    for at, image in zip(corners, images, strict=True):
        x, y = at + 1.1 * (at - middle) / np.linalg.norm(at - middle)
        inset = axes.inset_axes((x - 0.7, y - 0.7, 1.4, 1.4), transform=axes.transData)
        inset.imshow(image.reshape(side, side), cmap="gray_r", vmin=0.0, vmax=1.0)
        inset.set_axis_off()


def _name_classes(axes: Axes, part: Decided) -> None:
    """Write each class into its area, at the middle of its pieces."""
    pieces: dict[int, list[FloatArray]] = {}
    for i, polygon in part.wins:
        pieces.setdefault(i, []).append(polygon)
    halo = [withStroke(linewidth=3, foreground="white")]
    for i, own in pieces.items():
        weights = np.array([slices.area(polygon) for polygon in own])
        x, y = weights @ np.array([polygon.mean(axis=0) for polygon in own]) / weights.sum()
        axes.text(x, y, str(i), ha="center", va="center", weight="bold", path_effects=halo)


def _legend(figure: Figure, found: Pair) -> None:
    """Say what the colours are."""
    last = max(crease.layer for crease in found.before.own.creases) + 1
    handles = [
        Line2D([], [], color=style.BLACK, linewidth=1.5, label="decision boundary"),
        Line2D([], [], color=DEPTHS[0], label="neurons: layer 1"),
        Line2D([], [], color=DEPTHS[-1], label=f"to layer {last}"),
    ]
    if found.joint.creases:
        handles.append(Line2D([], [], color=style.VERMILLION, label="no output needs"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def _table(own: certified.Certified, found: Pair) -> Table:
    """Return what was counted."""
    rows = [
        ("neurons", f"{own.neurons}", f"{own.neurons_after}"),
        ("linear regions on the slice", f"{len(found.before.own.cells)}", f"{len(found.after.own.cells)}"),
        ("creases of neurons", f"{len(found.before.own.creases)}", f"{len(found.after.own.creases)}"),
        ("regions of both together", f"{len(found.joint.cells)}", f"{len(found.joint.cells)}"),
        ("greatest difference on the slice", "", f"{found.difference:.2g}"),
        ("proved bound on the whole domain, real arithmetic", "", f"{own.smaller.deviation_bound:.2g}"),
    ]
    return Table("", ("", "before", "after"), tuple(rows))


def _notes(own: certified.Certified, found: Pair) -> tuple[str, ...]:
    lines = "is also a line of the first" if found.nested else "is NOT in all cases a line of the first"
    area = sum(slices.area(cell.polygon) for cell in found.before.own.cells)
    return (
        f"Every line of the smaller network {lines}; the first has {len(found.joint.creases)} more segments, all of "
        "neurons that switch within the domain but that no output depends on.",
        f"The largest difference of the outputs on the whole slice (area {area:.1f}) is {found.difference:.2g}, that "
        f"at the corners of its {len(found.joint.cells):,} regions, in float64. Proved on all of [0, 1]^784, in real "
        f"arithmetic: at most {own.smaller.deviation_bound:.2g}.",
    )


def _pale(colour: str) -> tuple[float, ...]:
    return tuple(0.78 + 0.22 * part for part in to_rgb(colour))
