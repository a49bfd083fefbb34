"""The commands: options in, the functions that Python users call, results out; here those around a certificate."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milpcomp.cli import batch, channels, export, inputs, studies
from milpcomp.cli.exits import DONE, INTERRUPTED, REJECTED, print_json
from milpcomp.errors import ResultError, SettingsError

if TYPE_CHECKING:
    from milpcomp.compression import Compression
    from milpcomp.domain import Box
    from milpcomp.network import Network
    from milpcomp.stability.report import Report


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
        print_json(analysis.document())
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
        print_json(report_document(report))
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
        print_json(compression_document(compression))
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
        print_json(documents | ({"check_compression": checked_compression_document(judged)} if judged else {}))
    else:
        show_checks(options.network, network, report.domain, checked, judged)
    return DONE if checked.accepted and (judged is None or judged.accepted) else REJECTED


def _not_as_stated(report: Report, stated: Box | None) -> tuple[str, ...]:
    """Return what is wrong with a certificate whose domain is not the one that the user stated."""
    from milpcomp.report.words import domain_line

    if stated is None:
        return ()
    box, own = stated.fit(report.domain.shape), report.domain
    if box.same_as(own):
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


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "analyze": analyze,
    "certify": certify,
    "compress": compress,
    "check": check,
    "batch": batch.batch,
    "channels": channels.channels,
    "paths": studies.paths,
    "attack": studies.attack,
    "export": export.export,
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
