"""Robustness for people and programs: one table for several networks, JSON with every image, and CSV.

Rows are what was measured or proved, columns are networks. A row says what it is: accuracies under attack bound the
true robust accuracy from above, what is proved bounds it from below, and a Lipschitz ratio that was found bounds the
true constant from below. The first network is the one that the others are compared with.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from milpcomp.files import replacing, write_json
from milpcomp.network import Network
from milpcomp.report.tables import Table, count
from milpcomp.robustness.certified import Outcome, Sandwich
from milpcomp.robustness.compare import Comparison
from milpcomp.robustness.evaluate import Estimate

RESULTS = ("robustness.json", "robustness.csv", "robustness.md")
"""Every name that `write_attacks` may write; files of other names are not touched."""

SHOWN_IMAGES = 10
"""How many changed images a table names; all of them are in the JSON."""


@dataclass(frozen=True, eq=False)
class Attacks:
    """What is known of several networks on one data set.

    Parameters
    ----------
    networks : mapping from str to Network
        By name, with their normalisation where that is part of them; the first one is the original.
    comparisons : tuple of Comparison
        One for each epsilon.
    proofs : mapping from str to Sandwich
        By network; empty if nothing was to be proved.
    rejected : mapping from str to int
        By network: verdicts that the independent checker rejects.
    settings : mapping
        Where the data come from, and how they were read, JSON-ready.
    """

    networks: Mapping[str, Network]
    comparisons: tuple[Comparison, ...]
    proofs: Mapping[str, Sandwich]
    rejected: Mapping[str, int]
    settings: Mapping[str, Any]


class _Row(NamedTuple):
    """One line of the table: what it is, the number of each network, and, where it has one, an interval."""

    what: str
    values: tuple[Estimate | str, ...]
    share: bool = True

    def cells(self) -> tuple[str, ...]:
        """Return the line as text."""
        return (self.what, *(v if isinstance(v, str) else _estimate(v, self.share) for v in self.values))


def attack_table(found: Attacks) -> Table:
    """Return the table."""
    return Table(("", *found.networks), tuple(row.cells() for row in _rows(found)))


def _rows(found: Attacks) -> Iterator[_Row]:
    names = list(found.networks)
    yield _Row("images", tuple(count(found.comparisons[0].results[name].samples) for name in names))
    yield _Row("accuracy", tuple(found.comparisons[0].results[name].clean for name in names))
    for comparison in found.comparisons:
        results = [comparison.results[name] for name in names]
        own = " (own labels)" if results[0].settings["labels"] != "true" else ""
        for settings in results[0].settings["attacks"]:
            what = f"{settings['name']} {settings['epsilon']:g}: not broken{own}"
            yield _Row(what, tuple(result.attacked[settings["name"]] for result in results))
        search = results[0].settings["lipschitz"]
        if search is not None:
            ratios = tuple(result.lipschitz or "" for result in results)
            yield _Row(f"Lipschitz ({search['measure']}, {search['epsilon']:g}): mean found", ratios, share=False)
    yield from _proof_rows(found, names)
    if len(names) > 1:
        yield from _change_rows(found, names)


def _proof_rows(found: Attacks, names: Sequence[str]) -> Iterator[_Row]:
    if not found.proofs:
        return
    proofs = [found.proofs[name] for name in names]
    radius = f"radius {proofs[0].radius:g}"
    yield _Row(f"{radius}: proved robust", tuple(proof.verified for proof in proofs))
    yield _Row(f"{radius}: not broken", tuple(proof.under_attack for proof in proofs))
    yield _Row(f"{radius}: undecided", tuple(count(len(proof.undecided)) for proof in proofs))
    yield _Row(f"{radius}: proofs the checker rejects", tuple(count(found.rejected[name]) for name in names))


def _change_rows(found: Attacks, names: Sequence[str]) -> Iterator[_Row]:
    first = found.comparisons[0]
    changed = {name: first.changed(name)["prediction"] for name in names[1:]}
    yield _Row("other predictions than the first", ("", *(_images(changed[name]) for name in names[1:])))
    for comparison in found.comparisons:
        settings = comparison.results[names[0]].settings
        for attack in settings["attacks"]:
            moved = [comparison.changed(name)[attack["name"]] for name in names[1:]]
            yield _Row(f"{attack['name']} {attack['epsilon']:g}: broken in one only", ("", *map(_images, moved)))
        if settings["lipschitz"] is not None:
            gaps = [comparison.largest_ratio_change(name) for name in names[1:]]
            yield _Row(
                f"Lipschitz {settings['lipschitz']['epsilon']:g}: largest change of an image",
                ("", *("" if gap is None else f"{gap:.2g}" for gap in gaps)),
            )
    if found.proofs:
        outcomes = {name: [one.outcome for one in proof.outcomes] for name, proof in found.proofs.items()}
        pairs = [enumerate(zip(outcomes[names[0]], outcomes[name], strict=True)) for name in names[1:]]
        moved = [tuple(image for image, (before, after) in pair if before is not after) for pair in pairs]
        yield _Row("other outcomes of the proof", ("", *map(_images, moved)))


def settings_lines(found: Attacks) -> list[str]:
    """Return every setting in words: data, labels, attacks, search."""
    given, first = found.settings, found.comparisons[0].results[next(iter(found.networks))].settings
    lines = [
        f"{given['data']}: {given['space']}; labels of the attacks: {first['labels']}; preset {first['preset']}; "
        f"batches of {first['batch_size']}, {first['device']}"
    ]
    for attack in first["attacks"]:
        start = "a random point of the ball" if attack["random_start"] else "the image"
        lines.append(
            f"{attack['name']}: {_steps(attack['steps'], attack['step_size'])} from {start}, {attack['norm']} ball, "
            f"{attack['loss']} loss, runs {attack['restarts']}, valid range {_range(attack['clip'])}, "
            f"seed {attack['seed']}"
        )
    search = first["lipschitz"]
    if search is not None:
        size = 2.5 * search["epsilon"] / search["steps"] if search["step_size"] is None else search["step_size"]
        lines.append(
            f"Lipschitz: {_steps(search['steps'], size)} from a random point of the ball, measure {search['measure']}, "
            f"runs {search['restarts']}, valid range {_range(search['clip'])}, seed {search['seed']}"
        )
    if len(found.comparisons) > 1:
        lines.append("step sizes are those of the first epsilon, and grow with it")
    if found.proofs:
        lines.append(f"proofs: {given['limit_s']:g} s for an image, raw pixels in [0, 1], L-infinity")
    return lines


def attack_document(found: Attacks) -> dict[str, Any]:
    """Return everything, JSON-ready: settings, estimates, and what became of every image."""
    names = list(found.networks)
    return {
        "settings": dict(found.settings),
        "networks": {name: network.digest for name, network in found.networks.items()},
        "measured": [_measured(comparison, names) for comparison in found.comparisons],
        "proved": {name: _proved(proof, found.rejected[name]) for name, proof in found.proofs.items()},
    }


def show_attacks(found: Attacks, written: str) -> None:
    """Print the table on one screen."""
    from milpcomp.report.terminal import Screen

    screen = Screen()
    lines = settings_lines(found)
    screen.facts(zip(("settings", *("",) * (len(lines) - 1)), lines, strict=True))
    screen.table(attack_table(found))
    screen.facts([("note", NOTE), ("written", written)])


NOTE = (
    "shares in % with 95 % intervals; the true robust accuracy lies between what is proved and what is not broken; "
    "a Lipschitz ratio that was found is a lower bound of the true constant"
)


def write_attacks(found: Attacks, folder: Path) -> None:
    """Write the table as Markdown and CSV, and everything as JSON.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    write_json(folder / "robustness.json", attack_document(found))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("what", "network", "value", "low", "high"))
    for row in _rows(found):
        for name, value in zip(found.networks, row.values, strict=True):
            cells = (value, "", "") if isinstance(value, str) else (value.value, value.low, value.high)
            lines.writerow((row.what, name, *cells))
    page = ["# Robustness", "", attack_table(found).markdown(), f"{NOTE[0].upper()}{NOTE[1:]}.", ""]
    page += [f"- {line}" for line in settings_lines(found)]
    for name, content in (("robustness.csv", text.getvalue()), ("robustness.md", "\n".join(page) + "\n")):
        with replacing(folder / name) as stream:
            stream.write(content.encode())


def _measured(comparison: Comparison, names: Sequence[str]) -> dict[str, Any]:
    return {
        name: {
            "settings": result.settings,
            "samples": result.samples,
            "clean": _numbers(result.clean),
            "attacked": {attack: _numbers(value) for attack, value in result.attacked.items()},
            "lipschitz": None if result.lipschitz is None else _numbers(result.lipschitz),
            "predicted": result.predicted.tolist(),
            "correct": result.correct.astype(int).tolist(),
            "held": {attack: mask.astype(int).tolist() for attack, mask in result.held.items()},
            "ratios": None if result.ratios is None else [float(f"{ratio:.6g}") for ratio in result.ratios],
            "changed": {what: list(images) for what, images in comparison.changed(name).items()},
        }
        for name, result in ((name, comparison.results[name]) for name in names)
    }


def _proved(proof: Sandwich, rejected: int) -> dict[str, Any]:
    return {
        "radius": proof.radius,
        "verified": _numbers(proof.verified),
        "under_attack": _numbers(proof.under_attack),
        "undecided": list(proof.undecided),
        "adversarial": [i for i, own in enumerate(proof.outcomes) if own.outcome is Outcome.ADVERSARIAL],
        "outcomes": [own.outcome.value for own in proof.outcomes],
        "least_margins": [_finite(own.least_margin) for own in proof.outcomes],
        "seconds": [round(own.seconds, 3) for own in proof.outcomes],
        "rejected": rejected,
    }


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    return {name: _finite(getattr(estimate, name)) for name in ("value", "low", "high")}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _estimate(value: Estimate, share: bool) -> str:
    if share:
        return f"{100 * value.value:.2f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    return str(value)


def _images(images: tuple[int, ...]) -> str:
    if not images:
        return "none"
    shown = " ".join(map(str, images[:SHOWN_IMAGES]))
    return f"{count(len(images))}: {shown}{' ...' if len(images) > SHOWN_IMAGES else ''}"


def _steps(steps: int, size: float) -> str:
    return f"{steps} step{'s' if steps > 1 else ''} of {size:.4g}"


def _range(clip: Sequence[float] | None) -> str:
    return "none" if clip is None else f"[{clip[0]:g}, {clip[1]:g}]"
