"""The commands that study networks without changing them: the lengths of filter paths, and robustness."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from milpcomp.cli import inputs
from milpcomp.cli.exits import DONE, REJECTED, print_json
from milpcomp.errors import SettingsError

if TYPE_CHECKING:
    import networkx as nx

    from milpcomp.network import Network
    from milpcomp.robustness import CertifiedRobustness, Comparison, Preset, Sandwich


def paths(options: argparse.Namespace) -> int:
    """Count filter paths by length, and draw them."""
    from milpcomp.paths import filter_graph
    from milpcomp.report.folder import spare, staged
    from milpcomp.report.paths import RESULTS, paths_document, show_paths, study, write_paths

    for path in options.networks:
        spare(path, options.out, RESULTS)
    charged = {"trunk": options.trunk, "projections": options.projections}
    graphs = {
        name: filter_graph(network, options.threshold, **charged) for name, network in inputs.networks(options).items()
    }
    for name, graph in _counted(options).items():
        graphs[_free_name(name, graphs)] = graph
    if not graphs:
        raise SettingsError("nothing to count; name networks, or lists of active filters with --counts FILE")
    settings = {"threshold": options.threshold, "preset": options.preset, **charged}
    found = study(graphs, settings)
    with staged(options.out, stale=RESULTS) as folder:
        write_paths(found, folder)
    if options.json:
        print_json(paths_document(found))
    else:
        show_paths(found, str(options.out))
    return DONE


def _counted(options: argparse.Namespace) -> dict[str, nx.DiGraph]:
    """Return the graphs of the lists of active filters."""
    from milpcomp.paths import read_counts, seed_graph

    graphs: dict[str, nx.DiGraph] = {}
    for path in options.counts or ():
        for name, counts in read_counts(path).items():
            graphs[_free_name(name, graphs)] = seed_graph(counts, options.preset)
    if options.preset != "correct" and not graphs:
        raise SettingsError("--preset is about lists of active filters; give some with --counts FILE")
    return graphs


def attack(options: argparse.Namespace) -> int:
    """Attack networks on images, estimate their local Lipschitz constants, and prove what can be proved."""
    from milpcomp.report.folder import spare, staged
    from milpcomp.report.robustness import RESULTS, Attacks, attack_document, show_attacks, write_attacks
    from milpcomp.robustness import normalised

    for path in options.networks:
        spare(path, options.out, RESULTS)
    presets = _presets(options)
    with staged(options.out):
        pass  # better now than after all images that the folder cannot be written to
    networks = inputs.networks(options)
    own_space = presets[0].own_labels  # the preset takes images that are normalised already
    scaled = {name: _normalised(network, options, normalised) for name, network in networks.items()}
    images, labels = _images(options, networks, own_space)
    comparisons = tuple(_compared(networks if own_space else scaled, images, labels, p, options) for p in presets)
    proofs: dict[str, Sandwich] = {}
    rejected: dict[str, int] = {}
    if options.certify is not None:
        raw = _images(options, networks, False)[0] if own_space else images
        for name, network in scaled.items():
            proofs[name], rejected[name] = _proved(network, raw, labels, name, options)
    space = "normalised images, epsilon in their units" if own_space else "raw images in [0, 1], epsilon in raw units"
    settings = {"data": str(options.data), "space": space, "limit_s": options.time_limit}
    settings |= {"mean": options.mean, "std": options.std}
    found = Attacks(networks if own_space else scaled, comparisons, proofs, rejected, settings)
    with staged(options.out, stale=RESULTS) as folder:
        write_attacks(found, folder)
    if options.json:
        print_json(attack_document(found))
    else:
        show_attacks(found, str(options.out))
    return REJECTED if any(rejected.values()) else DONE


def _presets(options: argparse.Namespace) -> list[Preset]:
    from milpcomp.robustness import preset

    if (options.mean is None) != (options.std is None):
        raise SettingsError("normalisation needs both --mean and --std")
    if options.limit is not None and options.limit < 1:
        raise SettingsError(f"--limit must be at least 1, got {options.limit}")
    if options.certify is not None and not 0 <= options.certify < math.inf:
        raise SettingsError(f"--certify needs a finite radius >= 0, got {options.certify}")
    if options.certify is None and (options.workers is not None or options.scheduler is not None):
        raise SettingsError("--workers and --scheduler are for proofs; give --certify too")
    if not options.time_limit > 0:
        raise SettingsError(f"--time-limit must be positive, got {options.time_limit}")
    return [preset(options.preset, epsilon) for epsilon in options.epsilon or (0.031,)]


def _images(options: argparse.Namespace, networks: Mapping[str, Network], scaled: bool) -> tuple[Any, Any]:
    """Return the first images and labels, raw or normalised.

    Raises
    ------
    SettingsError
        If networks take different samples, or there are no labels.
    """
    from milpcomp.channels.images import read_images

    shapes = {network.input_shape for network in networks.values()}
    if len(shapes) > 1:
        raise SettingsError(f"the networks take samples of different shapes, {sorted(shapes)}; compare others")
    numbers = (options.mean, options.std) if scaled else (None, None)
    images, labels = read_images(options.data, shapes.pop(), *numbers)
    if labels is None:
        raise SettingsError(f"{options.data} holds no labels; give an .npz file with images and labels")
    return images[: options.limit], labels[: options.limit]


def _normalised(network: Network, options: argparse.Namespace, add: Any) -> Network:
    return network if options.mean is None else add(network, options.mean, options.std)


def _compared(
    networks: Mapping[str, Network], images: Any, labels: Any, settings: Preset, options: argparse.Namespace
) -> Comparison:
    from milpcomp.robustness import compare

    def tell(name: str, done: int, of: int) -> None:
        if not options.quiet:
            print(f"{name}: {done:,} of {of:,} images attacked", file=sys.stderr, flush=True)

    return compare(networks, images, labels, settings, batch_size=100, device=options.device, progress=tell)


def _proved(network: Network, images: Any, labels: Any, name: str, options: argparse.Namespace) -> tuple[Sandwich, int]:
    """Decide every image, and have the independent checker read the proofs; return how many verdicts it rejects."""
    from milpcomp.checker import check
    from milpcomp.robustness import sandwich

    rejected = 0

    def tell(image: int, found: CertifiedRobustness) -> None:
        nonlocal rejected
        if found.report is not None:
            judged = check(found.margins, found.domain, found.report)
            rejected += len(judged.rejections) + len(judged.problems)
        if not options.quiet:
            print(f"{name}: image {image} {found.outcome.value}, {found.seconds:.1f} s", file=sys.stderr, flush=True)

    pixels = np.asarray(images, dtype=np.float64)
    if options.workers is None and options.scheduler is None:
        found = sandwich(network, pixels, labels, options.certify, time_limit_s=options.time_limit, progress=tell)
    else:
        from milpcomp.batches.images import sandwich_on_workers

        found = sandwich_on_workers(
            network, pixels, labels, options.certify, workers=options.workers, scheduler=options.scheduler,
            time_limit_s=options.time_limit, progress=tell,
        )  # fmt: skip
    return found, rejected


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free
