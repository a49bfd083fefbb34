"""What can be said to the commands that prove something of one network, make it smaller, or write it anew."""

from __future__ import annotations

from typing import Any

from milpcomp.cli.command import add_command
from milpcomp.cli.options import (
    certify_options,
    compress_options,
    domain_options,
    network_options,
    numbers,
    output_options,
    threshold,
    tolerance,
)

CERTIFICATE_HELP = "folder or .json file that analyze or certify wrote"


def analyze(commands: Any) -> None:
    """Add the command `analyze`."""
    command = add_command(
        commands,
        "analyze",
        "certify, compress, check, and write everything into one folder",
        "The folder gets the certificate, the smaller network (.npz, .onnx, and .pt where it is a plain chain) with\n"
        "its edits, the report as one page (report.html) and in Markdown, its tables for a paper, and summary.json.",
        "analyze model.onnx --domain 0 1 --out report",
        "analyze acasxu.onnx --vnnlib prop_1.vnnlib --time-limit 60",
        "analyze resnet.th --architecture models.resnet:resnet20 --input-shape 3,32,32 --around x.npy 0.01",
    )
    network_options(command)
    domain_options(command)
    certify_options(command)
    compress_options(command)
    output_options(command, "folder for the results; one that exists is reused", progress=True)


def certify(commands: Any) -> None:
    """Add the command `certify`."""
    command = add_command(
        commands,
        "certify",
        "decide which neurons are stable on the whole domain, and write the certificate",
        "",
        "certify model.onnx --domain 0 1 --time-limit 600 --out report",
        "certify model.onnx --start report --time-limit 3600 --out report",
        "certify model.onnx --domain 0 1 --workers 8 --out report",
    )
    network_options(command)
    domain_options(command)
    certify_options(command)
    group = command.add_argument_group("work", "blocks of the neurons that are hard to decide may go to many processes")
    group.add_argument("--workers", type=int, metavar="N", help="processes of this machine")
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask scheduler whose workers do it: tcp://host:8786"
    )
    output_options(command, "folder, or .json file, for the certificate", progress=True)


def compress(commands: Any) -> None:
    """Add the command `compress`."""
    command = add_command(
        commands,
        "compress",
        "remove, merge and fold what a certificate proves, and write the smaller network",
        "",
        "compress model.onnx report --out report",
    )
    network_options(command)
    command.add_argument("certificate", metavar="CERTIFICATE", help=CERTIFICATE_HELP)
    compress_options(command)
    output_options(command, "folder for the smaller network")


def check(commands: Any) -> None:
    """Add the command `check`."""
    command = add_command(
        commands,
        "check",
        "prove a certificate again with separate code, and replay the edits of a compression",
        "Verdicts that rest on a MIP solver's word are listed as not checkable. With a domain, a certificate about\n"
        "another one is rejected.",
        "check model.onnx report",
        "check model.onnx report --domain 0 1",
        "check model.onnx report report",
    )
    network_options(command)
    command.add_argument("certificate", metavar="CERTIFICATE", help=CERTIFICATE_HELP)
    command.add_argument("compression", metavar="COMPRESSION", nargs="?", help="folder that analyze or compress wrote")
    domain_options(command)
    output_options(command)


def channels(commands: Any) -> None:
    """Add the command `channels`."""
    command = add_command(
        commands,
        "channels",
        "remove channels whose slope is zero, exactly, or small, which is measured",
        "With --threshold 0 (the default) the result computes the same function. A greater one sets small slopes to 0\n"
        "first, which changes the function; by how much is measured on --data. The folder gets the smaller network\n"
        "(.npz, .onnx, .pt2), the edits, channels.json, figures of slopes and batch-norm scales, and masked.npz, the\n"
        "network with small slopes at 0: `milpcomp check OUT/masked.npz OUT OUT` relates it to the smaller one. The\n"
        "domain, if none is given, is the range of the images, else [-1, 1]. --data must be as the network takes it:\n"
        "where it was trained on normalised images, give --mean and --std.",
        "channels resnet.th --architecture models.resnet:rotated_resnet20 --input-shape 3,32,32",
        "channels small.npz --threshold auto --data test.npz --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
    )
    network_options(command)
    group = command.add_argument_group("channels")
    group.add_argument(
        "--threshold", type=threshold, default=0.0, metavar="auto|VALUE",
        help="slopes of at most this size go (default 0); auto: the largest without loss on half of the images",
    )  # fmt: skip
    group.add_argument("--data", metavar="FILE", help=".npz with images and labels, or .npy with images, to measure on")
    group.add_argument("--mean", type=numbers, metavar="N,N,...", help="taken from the images, per channel")
    group.add_argument("--std", type=numbers, metavar="N,N,...", help="the images are divided by, per channel")
    group.add_argument(
        "--tolerance", type=tolerance, default="rounding", metavar="EPS",
        help="proved output deviation that folding constants may cause: rounding (default), 0, or a number",
    )  # fmt: skip
    group.add_argument("--no-check", action="store_true", help="do not have the independent checker relate the two")
    domain_options(command)
    output_options(command, "folder for the results; one that exists is reused")


def export(commands: Any) -> None:
    """Add the command `export`."""
    command = add_command(
        commands,
        "export",
        "write a network in another format, or its exact MILP model over a domain",
        "",
        "export report/network.npz small.onnx",
        "export model.onnx model.mps --domain 0 1",
    )
    network_options(command)
    command.add_argument("output", metavar="OUTPUT", help="file to write: .onnx, .pt, .npz, .mps or .lp")
    domain_options(command)
    output_options(command)
