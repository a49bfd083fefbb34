"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse

from milpcomp.cli.command import Parser

NETWORK_HELP = "network: .onnx, .npz of milpcomp, or a checkpoint (.pt .pth .th .tar .safetensors)"


def network_options(command: Parser) -> None:
    """Add the network, and what is needed to read it."""
    command.add_argument("network", metavar="NETWORK", help=NETWORK_HELP)
    command.add_argument(
        "--architecture", metavar="MODULE:FACTORY", help="for checkpoints that are not plain chains of dense layers"
    )
    command.add_argument(
        "--input-shape", metavar="N,N,...", type=shape, help="shape of one input, as in 3,32,32, with --architecture"
    )


def networks_options(command: Parser, number: str) -> None:
    """Add networks, as many as `number` says, and what is needed to read them."""
    command.add_argument("networks", metavar="NETWORK", nargs=number, help=NETWORK_HELP)
    command.add_argument(
        "--architecture",
        action="append",
        metavar="MODULE:FACTORY",
        help="for checkpoints that are not plain chains of dense layers; once, or once for each checkpoint in turn",
    )
    command.add_argument(
        "--input-shape", metavar="N,N,...", type=shape, help="shape of one input, as in 3,32,32, with --architecture"
    )


def domain_options(command: Parser) -> None:
    """Add the ways to state a domain."""
    group = command.add_argument_group("domain", "the inputs that every claim is about")
    group.add_argument(
        "--domain",
        nargs=2,
        type=float,
        metavar=("LOWER", "UPPER"),
        help="bounds of every input; with --around, the range it is cut to",
    )
    group.add_argument(
        "--around",
        nargs=2,
        metavar=("FILE.npy", "RADIUS"),
        help="all inputs each of whose numbers is within RADIUS of the one in FILE.npy",
    )
    group.add_argument("--vnnlib", metavar="FILE", help="the input box of a VNN-LIB property")
    group.add_argument("--box", type=int, metavar="N", help="which box of a VNN-LIB file with several, from 1")


def certify_options(command: Parser) -> None:
    """Add the options of `milpcomp.certify`."""
    group = command.add_argument_group("certification")
    group.add_argument("--method", default="funnel", help="funnel (default), one-solve, per-layer or per-neuron")
    group.add_argument("--backend", default="highs", help="MIP solver: highs (default), ortools or pyomo")
    group.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="of the certification (default: none); what is open by then stays undecided",
    )
    group.add_argument(
        "--start",
        metavar="CERTIFICATE",
        help="earlier certificate of the same network and domain to go on from; its domain, if none is given",
    )
    group.add_argument("--data", metavar="FILE.npy", help="inputs (N, ...) to try first as witnesses")
    group.add_argument("--device", default="cpu", help="torch device of the witness search (default cpu)")
    group.add_argument("--seed", type=int, default=0, help="seed of all random choices (default 0)")


def compress_options(command: Parser) -> None:
    """Add the options of `milpcomp.compress`."""
    group = command.add_argument_group("compression")
    group.add_argument(
        "--trust-solver", action="store_true", help="act also on verdicts that rest on a MIP solver's word alone"
    )
    group.add_argument(
        "--tolerance", type=tolerance, default="rounding", metavar="EPS",
        help="proved output deviation that edits may cause: rounding (default), 0, or a number",
    )  # fmt: skip


def output_options(command: Parser, out: str = "", progress: bool = False, name: str = "report") -> None:
    """Add where results go; `out` says what is written there, `name` is where if nobody says."""
    group = command.add_argument_group("output")
    if out:
        group.add_argument("--out", default=name, metavar="PATH", help=f"{out} (default: {name})")
    group.add_argument("--json", action="store_true", help="write the result to standard output as JSON")
    if progress:
        group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def shape(text: str) -> tuple[int, ...]:
    """Read a shape, as in 3,32,32."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write positive whole numbers, as in 3,32,32")
    return shape


def threshold(text: str) -> str | float:
    """Read the threshold of slopes: auto, or a number."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no threshold; write auto, 0, or a number") from None


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers, as in 0.485,0.456,0.406."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers; write them as in 0.485,0.456,0.406") from None


def tolerance(text: str) -> str | float:
    """Read the deviation that edits may cause: rounding, or a number."""
    if text == "rounding":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no tolerance; write rounding, 0, or a number") from None
