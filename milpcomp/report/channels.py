"""Removals for people and programs: sentences, tables, JSON, and the files of a folder.

What is exact is said to be exact, and of which network: of the one that was read where no slope had to be set to zero,
and else of the one with its small slopes set to zero, which is another function, whose distance is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milpcomp.channels.measure import Measured, Speed
from milpcomp.channels.removal import Removal
from milpcomp.channels.storage import save_removal
from milpcomp.network.layers import FloatArray
from milpcomp.network.storage import save_network
from milpcomp.network.to_onnx import to_onnx
from milpcomp.report.analysis import checked_compression_document, compression_document, network_document
from milpcomp.report.outputs import write_program, write_state
from milpcomp.report.slope_figures import norm_histogram, slope_histogram, slopes_against_scales, slopes_by_layer
from milpcomp.report.tables import Table, change, count
from milpcomp.report.words import checked_compression_line, deviation_line, network_line

if TYPE_CHECKING:
    from milpcomp.checker import CheckedCompression
    from milpcomp.rotated.threshold import Threshold

RESULTS = (
    "channels.json", "channels.npz", "masked.npz", "certificate.json", "certificate.npz", "compression.json",
    "compression.npz", "network.npz", "network.onnx", "network.pt", "network.pt2", "summary.json",
    *(f"{stem}.{kind}" for stem in ("slopes", "layers", "scales", "slopes-scales") for kind in ("png", "pdf")),
)  # fmt: skip
"""Every name that a removal may write; files of other names are not touched."""

Pairs = Mapping[str, tuple[FloatArray, FloatArray]]


def threshold_line(removal: Removal) -> str:
    """Return the threshold and how many channels it leaves."""
    total = sum(len(own) for own in removal.slopes.values())
    if not total:
        return "no activation of the network has slopes"
    which = "slopes that are exactly 0" if removal.gamma == 0 else f"slopes |b| <= {removal.gamma:.6g}"
    return f"{which}: {count(removal.dead)} of {count(total)}"


def silencing_line(removal: Removal) -> str:
    """Return what setting slopes to zero did to the function."""
    if removal.exact:
        return "no slope had to be set to 0: what follows is about the network as read"
    return (
        f"{count(removal.silenced)} slopes that are not 0 were set to 0: NOT exact, another function than the one read"
    )


def removal_line(removal: Removal) -> str:
    """Return what was cut off, and of what."""
    of = "the network as read" if removal.exact else "the network with these slopes at 0"
    return f"what is zero or unread in {of} was cut off; left: {network_line(removal.network)}"


def selection_line(found: Threshold | None) -> str:
    """Return how the threshold was selected; empty where it was given."""
    if found is None:
        return ""
    return (
        f"selected as the largest without loss on one half of the images ({found.selection_before:.2%} -> "
        f"{found.selection_after:.2%}); on the other half {found.accuracy_before:.2%} -> {found.accuracy_after:.2%}"
    )


def measured_lines(seen: Measured | None) -> list[str]:
    """Return what was seen on images; nothing where there were none."""
    if seen is None:
        return []
    changed = f"{count(seen.changed)} of {count(seen.images)} predictions changed"
    known = seen.accuracy_before is not None and seen.accuracy_after is not None
    return [
        f"accuracy {seen.accuracy_before:.2%} -> {seen.accuracy_after:.2%}, {changed}" if known else changed,
        f"outputs changed by at most {seen.largest_change:.2g}, on average {seen.mean_change:.2g} (float64, "
        f"{count(seen.change_images)} images); with slopes at 0 and channels removed, float32 outputs differ by "
        f"{seen.rounding:.2g}, and {count(seen.rounding_changed)} predictions",
    ]


def check_line(removal: Removal, checked: CheckedCompression | None) -> str:
    """Return what the independent checker says, or why it says nothing."""
    if checked is not None:
        return checked_compression_line(checked)
    return "not checked" if removal.checkable else "not checkable: the checker knows affine layers and rectifiers only"


def speed_line(timed: Speed | None) -> str:
    """Return images per second before and after; empty where nothing was timed."""
    if timed is None:
        return ""
    return (
        f"{timed.before:,.0f} images/s before, {timed.after:,.0f} after: x {timed.ratio:.2f} (CPU, "
        f"{timed.threads} thread(s), batch {timed.batch}, medians of {timed.rounds} runs in turns)"
    )


def activation_table(removal: Removal, all_rows: bool = False) -> Table:
    """Return alive and all channels of the activations that lose some (or of all), and the totals."""
    rows = [
        (name, count(alive), count(total), change(total, alive))
        for name, (alive, total) in removal.alive.items()
        if all_rows or alive < total
    ]
    alive, total = (sum(pair[side] for pair in removal.alive.values()) for side in (0, 1))
    rows.append(("all", count(alive), count(total), change(total, alive)))
    return Table(("activation", "alive", "channels", "change"), tuple(rows), total=True)


def accounting_table(removal: Removal) -> Table:
    """Return weights and FLOPs of convolutions and dense layers, counted in the papers' way and on the network itself.

    The first counts what ignored filters and sub-filters save; the second what the smaller network really holds.
    """
    ours, before, after = removal.accounting, removal.compression.before, removal.compression.after
    rows = [
        ("weights, as the papers count", ours.weights, ours.weights_left),
        ("FLOPs, as the papers count", ours.flops, ours.flops_left),
        ("parameters of the networks", before.parameters, after.parameters),
        ("FLOPs of the networks", before.flops, after.flops),
    ]
    return Table(
        ("counted", "before", "after", "change"), tuple((n, count(a), count(b), change(a, b)) for n, a, b in rows)
    )


def channels_document(removal: Removal, checked: CheckedCompression | None = None) -> dict[str, Any]:
    """Return a removal, JSON-ready."""
    optional = {name: getattr(removal, name) for name in ("selection", "measured", "speed")}
    return {
        "original": removal.original_digest,
        "masked": network_document(removal.masked),
        "gamma": removal.gamma,
        "exact": removal.exact,
        "silenced": removal.silenced,
        "dead": removal.dead,
        "alive": {name: {"alive": alive, "channels": total} for name, (alive, total) in removal.alive.items()},
        "accounting": {
            name: getattr(removal.accounting, name) for name in ("weights", "weights_left", "flops", "flops_left")
        },
        "compression": compression_document(removal.compression),
        "check_compression": None if checked is None else checked_compression_document(checked),
    } | {name: None if value is None else asdict(value) for name, value in optional.items()}


def show_channels(source: str, removal: Removal, checked: CheckedCompression | None, written: str) -> None:
    """Print a removal on one screen."""
    from milpcomp.report.terminal import Screen

    screen = Screen()
    screen.facts([("network", source), ("threshold", threshold_line(removal)), ("", selection_line(removal.selection))])
    screen.table(activation_table(removal))
    screen.facts(
        [
            ("slopes", silencing_line(removal)),
            *zip(("measured", ""), measured_lines(removal.measured), strict=False),
            ("channels", removal_line(removal)),
            ("same function" if removal.exact else "", deviation_line(removal.compression)),
            ("checked", check_line(removal, checked)),
        ]
    )
    screen.table(accounting_table(removal))
    screen.facts([("speed", speed_line(removal.speed)), ("written", written)])


def write_removal(removal: Removal, folder: Path, scales: Mapping[str, FloatArray], pairs: Pairs) -> None:
    """Write a removal, its network in all formats, and its figures.

    Parameters
    ----------
    removal : Removal
    folder : Path
    scales : mapping from batch norm to ndarray
        Batch-norm scales, where the checkpoint tells them.
    pairs : mapping from activation to (scales, slopes)

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    from milpcomp.report.figure import save_figure

    save_removal(removal, folder)
    save_network(removal.network, folder / "network.npz")
    to_onnx(removal.network, folder / "network.onnx")
    write_state(removal.network, folder / "network.pt")
    write_program(removal.network, folder / "network.pt2")
    if removal.slopes:
        save_figure(slope_histogram(removal.slopes, removal.gamma), folder / "slopes")
        save_figure(slopes_by_layer(removal.slopes, removal.gamma), folder / "layers")
    if scales:
        save_figure(norm_histogram(scales), folder / "scales")
    if pairs:
        save_figure(slopes_against_scales(pairs, removal.gamma), folder / "slopes-scales")
