"""The commands: options in, the functions that Python users call, results out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milpcomp.cli import batch, inputs, studies
from milpcomp.errors import ResultError, SettingsError

if TYPE_CHECKING:
    from milpcomp.compression import Compression
    from milpcomp.domain import Box
    from milpcomp.network import Network
    from milpcomp.stability.report import Report

DONE, REJECTED, INTERRUPTED = 0, 1, 130


def analyze(options: argparse.Namespace) -> int:
    """Certify, compress, check, and write everything into one folder."""
    inputs.check_settings(options)
    start = inputs.start(options)
    domain = inputs.domain(options, None if start is None else start.domain)

    from milpcomp.pipeline import analyze
    from milpcomp.report.terminal import show_analysis

    analysis = analyze(
        options.network,
        domain,
        options.out,
        architecture=options.architecture,
        input_shape=options.input_shape,
        **_certify_options(options),
        start=start,
        trust_solver=options.trust_solver,
        tolerance=options.tolerance,
    )
    if options.json:
        _print_json(analysis.document())
    else:
        show_analysis(analysis)
    if analysis.report.ended == "interrupted":
        return INTERRUPTED
    return DONE if analysis.accepted else REJECTED


def certify(options: argparse.Namespace) -> int:
    """Decide which neurons are stable, and write the certificate."""
    inputs.check_settings(options)
    start = inputs.start(options)
    domain = inputs.domain(options, None if start is None else start.domain)

    from milpcomp.report.analysis import report_document
    from milpcomp.report.folder import RESULTS, spare, staged
    from milpcomp.report.terminal import show_certificate
    from milpcomp.stability.storage import CERTIFICATE, save_report

    decide = _deciding(options, start)
    target = CERTIFICATE.halves(options.out)[0]
    # An earlier compression in the folder, and what was written about it, would look as if it rested on the new one.
    earlier = target.name == "certificate.json" and (target.parent / "compression.json").exists()
    if earlier:
        spare(options.network, target.parent)
    with staged(target.parent):
        pass  # better now than after an hour that the folder cannot be written to
    network = inputs.network(options)
    report = decide(network, domain)
    if earlier:
        with staged(target.parent, stale=RESULTS) as folder:
            save_report(report, folder)
    else:
        save_report(report, options.out)
    if options.json:
        _print_json(report_document(report))
    else:
        show_certificate(options.network, network, report, str(target))
    return INTERRUPTED if report.ended == "interrupted" else DONE


def compress(options: argparse.Namespace) -> int:
    """Compress by a certificate, and write the smaller network."""
    from milpcomp.compression import compress
    from milpcomp.report.analysis import compression_document
    from milpcomp.report.folder import COMPRESSION_RESULTS, spare, staged
    from milpcomp.report.outputs import write_compression
    from milpcomp.report.terminal import show_compression

    spare(options.network, options.out)
    network, report = _certified(options)
    compression = compress(network, report, trust_solver=options.trust_solver, tolerance=options.tolerance)
    with staged(options.out, stale=COMPRESSION_RESULTS) as folder:
        write_compression(compression, folder)
    if options.json:
        _print_json(compression_document(compression))
    else:
        show_compression(options.network, compression, str(Path(options.out) / "network.npz"))
    return DONE


def check(options: argparse.Namespace) -> int:
    """Have the independent checker judge a certificate, and a compression if one is given."""
    from milpcomp.checker import check, check_compression
    from milpcomp.compression import load_compression
    from milpcomp.report.analysis import (
        checked_compression_document,
        checked_document,
        domain_document,
        network_document,
    )
    from milpcomp.report.terminal import show_checks

    network, report = _certified(options)
    stated = inputs.stated_domain(options)
    judged = None
    if options.compression is not None:
        inputs.require_result(options.compression, "compression", "compress")
        compression = load_compression(options.compression)
        judged = check_compression(network, compression, report.domain, report)
        judged = replace(judged, problems=(*judged.problems, *_other_domain(compression, report)))
    checked = check(network, report.domain, report) if judged is None else judged.report
    unstated = _not_as_stated(report, stated)
    checked = replace(checked, problems=(*checked.problems, *unstated))
    if judged is not None:
        judged = replace(judged, report=checked, problems=(*judged.problems, *unstated))
    if options.json:
        documents = {"network": network_document(network), "domain": domain_document(report.domain)}
        documents["check"] = checked_document(checked)
        _print_json(documents | ({"check_compression": checked_compression_document(judged)} if judged else {}))
    else:
        show_checks(options.network, network, report.domain, checked, judged)
    return DONE if checked.accepted and (judged is None or judged.accepted) else REJECTED


def _not_as_stated(report: Report, stated: Box | None) -> tuple[str, ...]:
    """Return what is wrong with a certificate whose domain is not the one that the user stated."""
    from milpcomp.report.words import domain_line

    if stated is None:
        return ()
    box, own = stated.fit(report.domain.shape), report.domain
    if (box.lower == own.lower).all() and (box.upper == own.upper).all():
        return ()
    return (
        f"it is about another domain ({domain_line(own)}; digest {own.digest[:12]}) than the one stated "
        f"({domain_line(box)}; digest {box.digest[:12]})",
    )


def _other_domain(compression: Compression, report: Report) -> tuple[str, ...]:
    """Return what is wrong with a compression that was made by another certificate's domain."""
    if compression.domain_digest == report.domain.digest:
        return ()
    return (
        f"the compression was made for another domain (digest {compression.domain_digest[:12]}) than the certificate's "
        f"(digest {report.domain.digest[:12]}), so it does not rest on it",
    )


def channels(options: argparse.Namespace) -> int:
    """Remove channels by their slopes, and write the smaller network, figures and measurements."""
    from milpcomp.channels import remove_channels, speed
    from milpcomp.channels.images import read_images
    from milpcomp.channels.norms import norm_scales, slopes_beside_scales
    from milpcomp.files import write_json
    from milpcomp.network.load import CHECKPOINTS
    from milpcomp.report.channels import RESULTS, channels_document, show_channels, write_removal
    from milpcomp.report.folder import spare, staged

    spare(options.network, options.out, RESULTS)
    with staged(options.out):
        pass  # better now than after all images that the folder cannot be written to
    domain = inputs.stated_domain(options)
    network = inputs.network(options)
    images, labels = None, None
    if options.data is not None:
        images, labels = read_images(options.data, network.input_shape, options.mean, options.std)
    removal = remove_channels(network, options.threshold, images, labels, domain, options.tolerance)
    removal = replace(removal, speed=speed(network, removal.network))
    checked = removal.check() if removal.checkable and not options.no_check else None
    scales: dict[str, Any] = {}
    if Path(options.network).suffix.lower() in CHECKPOINTS:
        from milpcomp.network.checkpoint_file import read_tensors

        scales = norm_scales(read_tensors(options.network))
    document = channels_document(removal, checked)
    with staged(options.out, stale=RESULTS) as folder:
        write_removal(removal, folder, scales, slopes_beside_scales(network, scales))
        write_json(folder / "summary.json", document)
    if options.json:
        _print_json(document)
    else:
        show_channels(options.network, removal, checked, str(options.out))
    return DONE if checked is None or checked.accepted else REJECTED


def export(options: argparse.Namespace) -> int:
    """Write a network, or its MILP model, in the format that the file's ending names."""
    target = Path(options.output)
    writers: dict[str, Callable[[Network, Path, argparse.Namespace], None]] = {
        ".onnx": _export_onnx,
        ".pt": _export_torch,
        ".npz": _export_npz,
        ".mps": _export_model,
        ".lp": _export_model,
    }
    if target.suffix not in writers:
        raise SettingsError(f"cannot tell a format from {target.name!r}; end the name in one of {', '.join(writers)}")
    network = inputs.network(options)
    writers[target.suffix](network, target, options)
    if options.json:
        _print_json({"written": str(target), "network": network.digest})
    else:
        print(f"written  {target}")
    return DONE


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "analyze": analyze,
    "certify": certify,
    "compress": compress,
    "check": check,
    "batch": batch.batch,
    "channels": channels,
    "paths": studies.paths,
    "attack": studies.attack,
    "export": export,
}


def _certify_options(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "method": options.method,
        "backend": options.backend,
        "time_limit_s": options.time_limit,
        "data": None if options.data is None else inputs.array(options.data, "--data"),
        "device": options.device,
        "seed": options.seed,
        "progress": not options.quiet,
    }


def _deciding(options: argparse.Namespace, start: Report | None) -> Callable[[Network, Box], Report]:
    """Return the function that decides neurons as the options say: in this process, or in blocks elsewhere."""
    settings = _certify_options(options) | {"start": start}
    where = {"workers": options.workers, "scheduler": options.scheduler}
    if where == {"workers": None, "scheduler": None}:
        from milpcomp.stability.certify import certify

        return partial(certify, **settings)
    if settings.pop("method") != "funnel":
        raise SettingsError(f"only the funnel works in blocks; leave out --method {options.method}, or --workers")
    from milpcomp.batches.blocks import certify_in_blocks

    return partial(certify_in_blocks, **where, **settings)


def _certified(options: argparse.Namespace) -> tuple[Network, Report]:
    """Return a network and its certificate, after making sure that they belong together."""
    from milpcomp.stability.storage import load_report

    inputs.require_result(options.certificate, "certificate", "certify")
    report = load_report(options.certificate)
    network = inputs.network(options)
    if report.network_digest != network.digest:
        raise ResultError(
            f"the certificate in {options.certificate} is about another network (digest {report.network_digest[:12]}) "
            f"than {options.network} (digest {network.digest[:12]}); name the network that was certified"
        )
    return network, report


def _export_onnx(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.network.to_onnx import to_onnx

    to_onnx(network, target)


def _export_torch(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.report.outputs import write_state

    if not write_state(network, target):
        raise SettingsError(
            f"{options.network} is no plain chain of layers, so a state dict alone would not tell what it computes; "
            "export it as .onnx or .npz"
        )


def _export_npz(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.network.storage import save_network

    save_network(network, target)


def _export_model(network: Network, target: Path, options: argparse.Namespace) -> None:
    from milpcomp.bounds.tighten import interval_bounds, tighten
    from milpcomp.milp.encoding import encode
    from milpcomp.milp.export import write_model

    box = inputs.domain(options).fit(network.input_shape)
    bounds = tighten(network, box, interval_bounds(network, box))
    write_model(encode(network, bounds, box).milp, target)


def _print_json(document: Mapping[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=1, allow_nan=False)
    print()
