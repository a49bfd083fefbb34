"""The command that removes channels by their slopes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from milpcomp.cli import inputs
from milpcomp.cli.exits import DONE, REJECTED, print_json


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
        print_json(document)
    else:
        show_channels(options.network, removal, checked, str(options.out))
    return DONE if checked is None or checked.accepted else REJECTED
