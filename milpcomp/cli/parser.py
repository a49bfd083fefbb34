"""What can be said on the command line, and the help that explains it.

Values that need the library to be understood (methods, backends, domains) are passed on as they are; the library
refuses them with its own message, which is the same in Python.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

EXIT_CODES = """\
exit codes:
  0    done; neurons that stay undecided are reported and never acted upon
  1    done, but the independent checker rejected a verdict or an edit, or a job of a batch failed
  2    bad input: one line on standard error says what and what to do
  70   a defect of milpcomp: a traceback on standard error says where
  130  interrupted; if neurons were being decided by then, the certificate holds what was decided
"""

NETWORK_HELP = "network: .onnx, .npz of milpcomp, or a checkpoint (.pt .pth .th .tar .safetensors)"
CERTIFICATE_HELP = "folder or .json file that analyze or certify wrote"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which reads -1e-3 as a number."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, epilog=epilog, formatter_class=layout, allow_abbrev=False)
        # Before Python 3.14, argparse takes "-1" for a number but "-1e-3" for an unknown option.
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is not known here, where it is clear which command's help tells more."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Write one line to standard error and exit with code 2."""
        print(f"milpcomp: error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


class _Version(argparse.Action):
    """Print the version and exit; it is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"milpcomp {version('milpcomp')}")
        parser.exit(0)


def parser() -> Parser:
    """Return the parser of all commands; the parsed options name theirs in `command`."""
    main = Parser(
        prog="milpcomp",
        description="A trained rectifier network in; a smaller network that computes the same function out, with a "
        "proof that can be checked.",
        epilog=_example("analyze model.onnx --domain 0 1 --out report") + "\n" + EXIT_CODES,
    )
    main.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_analyze, _certify, _compress, _check, _batch, _channels, _paths, _attack, _export):
        add(commands)
    return main


def _analyze(commands: Any) -> None:
    command = _command(
        commands,
        "analyze",
        "certify, compress, check, and write everything into one folder",
        "The folder gets the certificate, the smaller network (.npz, .onnx, and .pt where it is a plain chain) with\n"
        "its edits, the report as one page (report.html) and in Markdown, its tables for a paper, and summary.json.",
        "analyze model.onnx --domain 0 1 --out report",
        "analyze acasxu.onnx --vnnlib prop_1.vnnlib --time-limit 60",
        "analyze resnet.th --architecture models.resnet:resnet20 --input-shape 3,32,32 --around x.npy 0.01",
    )
    _network_options(command)
    _domain_options(command)
    _certify_options(command)
    _compress_options(command)
    _output_options(command, "folder for the results; one that exists is reused", progress=True)


def _certify(commands: Any) -> None:
    command = _command(
        commands,
        "certify",
        "decide which neurons are stable on the whole domain, and write the certificate",
        "",
        "certify model.onnx --domain 0 1 --time-limit 600 --out report",
        "certify model.onnx --start report --time-limit 3600 --out report",
        "certify model.onnx --domain 0 1 --workers 8 --out report",
    )
    _network_options(command)
    _domain_options(command)
    _certify_options(command)
    group = command.add_argument_group("work", "blocks of the neurons that are hard to decide may go to many processes")
    group.add_argument("--workers", type=int, metavar="N", help="processes of this machine")
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask scheduler whose workers do it: tcp://host:8786"
    )
    _output_options(command, "folder, or .json file, for the certificate", progress=True)


def _compress(commands: Any) -> None:
    command = _command(
        commands,
        "compress",
        "remove, merge and fold what a certificate proves, and write the smaller network",
        "",
        "compress model.onnx report --out report",
    )
    _network_options(command)
    command.add_argument("certificate", metavar="CERTIFICATE", help=CERTIFICATE_HELP)
    _compress_options(command)
    _output_options(command, "folder for the smaller network")


def _check(commands: Any) -> None:
    command = _command(
        commands,
        "check",
        "prove a certificate again with separate code, and replay the edits of a compression",
        "Verdicts that rest on a MIP solver's word are listed as not checkable. With a domain, a certificate about\n"
        "another one is rejected.",
        "check model.onnx report",
        "check model.onnx report --domain 0 1",
        "check model.onnx report report",
    )
    _network_options(command)
    command.add_argument("certificate", metavar="CERTIFICATE", help=CERTIFICATE_HELP)
    command.add_argument("compression", metavar="COMPRESSION", nargs="?", help="folder that analyze or compress wrote")
    _domain_options(command)
    _output_options(command)


def _batch(commands: Any) -> None:
    command = _command(
        commands,
        "batch",
        "do many jobs, networks x domains x settings, and gather what they give in one table",
        "JOBS is YAML, or CSV with one product a row; paths are relative to it and may be patterns:\n\n"
        "  networks: [nets/*.onnx]\n"
        "  domains: [[0, 1], {around: image.npy, radius: 0.01, clip: [0, 1]}, {vnnlib: props/*.vnnlib}]\n"
        "  settings: [{seed: 0, time_limit_s: 600}]    # optional\n"
        "  task: certify                               # optional; analyze is the default\n"
        "  memory_limit_mb: 4000                       # optional\n\n"
        "The folder gets table.csv, table.parquet (where pyarrow is installed) and jobs/ with the results of each.\n"
        "Jobs are known by the content of their files: a run that was killed goes on when it is started again, and\n"
        "what ended is not done again.",
        "batch jobs.yaml --out results",
        "batch jobs.csv --out results --workers 8 --retry-failed",
        "batch jobs.yaml --out results --scheduler tcp://host:8786",
    )
    command.add_argument("jobs", metavar="JOBS", help="file of jobs: .yaml, .yml or .csv")
    group = command.add_argument_group("work")
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes of this machine (default: one for each core)"
    )
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask scheduler whose workers do it: tcp://host:8786"
    )
    group.add_argument("--retry-failed", action="store_true", help="do jobs again that failed in an earlier run")
    _output_options(command, "folder for the results; a run goes on in one that exists", progress=True, name="batch")


def _channels(commands: Any) -> None:
    command = _command(
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
    _network_options(command)
    group = command.add_argument_group("channels")
    group.add_argument(
        "--threshold", type=_threshold, default=0.0, metavar="auto|VALUE",
        help="slopes of at most this size go (default 0); auto: the largest without loss on half of the images",
    )  # fmt: skip
    group.add_argument("--data", metavar="FILE", help=".npz with images and labels, or .npy with images, to measure on")
    group.add_argument("--mean", type=_numbers, metavar="N,N,...", help="taken from the images, per channel")
    group.add_argument("--std", type=_numbers, metavar="N,N,...", help="the images are divided by, per channel")
    group.add_argument(
        "--tolerance", type=_tolerance, default="rounding", metavar="EPS",
        help="proved output deviation that folding constants may cause: rounding (default), 0, or a number",
    )  # fmt: skip
    group.add_argument("--no-check", action="store_true", help="do not have the independent checker relate the two")
    _domain_options(command)
    _output_options(command, "folder for the results; one that exists is reused")


def _paths(commands: Any) -> None:
    command = _command(
        commands,
        "paths",
        "count the ways through networks by how many active filters they pass",
        "The distribution is exact, however many ways there are. The folder gets the table, the distribution (.csv),\n"
        "figures of it and of small networks' graphs, and paths.json.",
        "paths relu.npz rotated.npz --threshold 0.1",
        "paths resnet.th --architecture models.resnet:rotated_resnet20 --input-shape 3,32,32 --threshold 0.1",
        "paths --counts wrn-40-4.json --preset rrelu-2022",
    )
    _networks_options(command, "*")
    group = command.add_argument_group("paths")
    group.add_argument(
        "--threshold", type=float, default=0.0, metavar="VALUE",
        help="channels whose slopes are of at most this size are not active (default 0)",
    )  # fmt: skip
    group.add_argument(
        "--counts", nargs="+", metavar="FILE", help=".json or .csv with active filters, two convolutions a block"
    )
    group.add_argument(
        "--preset", default="correct",
        help="of --counts: correct (default), or rrelu-2022, the slip with which they were published",
    )  # fmt: skip
    group.add_argument("--trunk", action="store_true", help="charge also layers that every path passes")
    group.add_argument("--projections", action="store_true", help="charge also the layers of shortcuts")
    _output_options(command, "folder for the results; one that exists is reused")


def _attack(commands: Any) -> None:
    command = _command(
        commands,
        "attack",
        "attack networks on images, and prove how many images nothing can break",
        "Accuracy under FGSM and PGD, the local Lipschitz constant, and, with --certify, the share of images that are\n"
        "proved robust. Of several networks, the first is the one that the others are compared with: before and after\n"
        "a compression, say. The folder gets the table (.md, .csv) and robustness.json with every image.",
        "attack mnist.onnx --data test.npz --epsilon 0.01 0.02 --certify 0.02 --limit 100",
        "attack mnist.onnx report/network.npz --data test.npz",
        "attack resnet.npz --data test.npz --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --preset rrelu-2024",
    )
    _networks_options(command, "+")
    group = command.add_argument_group("attacks")
    group.add_argument("--data", required=True, metavar="FILE", help=".npz with images and labels")
    group.add_argument("--mean", type=_numbers, metavar="N,N,...", help="normalisation that is part of the networks")
    group.add_argument("--std", type=_numbers, metavar="N,N,...", help="normalisation that is part of the networks")
    group.add_argument("--limit", type=int, metavar="N", help="the first N images only")
    group.add_argument(
        "--preset", default="raw",
        help="raw (default): raw images, true labels, clipped; rrelu-2024: normalised images, own labels, not clipped",
    )  # fmt: skip
    group.add_argument(
        "--epsilon", type=float, nargs="+", metavar="EPS", help="radii of the attacks, L-infinity (default 0.031)"
    )
    group.add_argument(
        "--certify", type=float, metavar="RADIUS", help="prove robustness too, at this radius in raw units"
    )
    group.add_argument(
        "--time-limit", type=float, default=60.0, metavar="SECONDS", help="for the proof of one image (default 60)"
    )
    group.add_argument("--device", default="cpu", help="torch device of the attacks (default cpu)")
    group.add_argument("--workers", type=int, metavar="N", help="prove images on so many processes of this machine")
    group.add_argument("--scheduler", metavar="ADDRESS", help="prove them on the workers of a Dask scheduler")
    _output_options(command, "folder for the results; one that exists is reused", progress=True)


def _export(commands: Any) -> None:
    command = _command(
        commands,
        "export",
        "write a network in another format, or its exact MILP model over a domain",
        "",
        "export report/network.npz small.onnx",
        "export model.onnx model.mps --domain 0 1",
    )
    _network_options(command)
    command.add_argument("output", metavar="OUTPUT", help="file to write: .onnx, .pt, .npz, .mps or .lp")
    _domain_options(command)
    _output_options(command)


def _command(commands: Any, name: str, what: str, details: str, *examples: str) -> Parser:
    command: Parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.\n{details}".strip(),
        epilog=_example(*examples) + "\n" + EXIT_CODES,
    )
    return command


def _example(*lines: str) -> str:
    return "example:\n" + "".join(f"  milpcomp {line}\n" for line in lines)


def _network_options(command: Parser) -> None:
    command.add_argument("network", metavar="NETWORK", help=NETWORK_HELP)
    command.add_argument(
        "--architecture", metavar="MODULE:FACTORY", help="for checkpoints that are not plain chains of dense layers"
    )
    command.add_argument(
        "--input-shape", metavar="N,N,...", type=_shape, help="shape of one input, as in 3,32,32, with --architecture"
    )


def _networks_options(command: Parser, number: str) -> None:
    command.add_argument("networks", metavar="NETWORK", nargs=number, help=NETWORK_HELP)
    command.add_argument(
        "--architecture",
        action="append",
        metavar="MODULE:FACTORY",
        help="for checkpoints that are not plain chains of dense layers; once, or once for each checkpoint in turn",
    )
    command.add_argument(
        "--input-shape", metavar="N,N,...", type=_shape, help="shape of one input, as in 3,32,32, with --architecture"
    )


def _domain_options(command: Parser) -> None:
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


def _certify_options(command: Parser) -> None:
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


def _compress_options(command: Parser) -> None:
    group = command.add_argument_group("compression")
    group.add_argument(
        "--trust-solver", action="store_true", help="act also on verdicts that rest on a MIP solver's word alone"
    )
    group.add_argument(
        "--tolerance", type=_tolerance, default="rounding", metavar="EPS",
        help="proved output deviation that edits may cause: rounding (default), 0, or a number",
    )  # fmt: skip


def _output_options(command: Parser, out: str = "", progress: bool = False, name: str = "report") -> None:
    group = command.add_argument_group("output")
    if out:
        group.add_argument("--out", default=name, metavar="PATH", help=f"{out} (default: {name})")
    group.add_argument("--json", action="store_true", help="write the result to standard output as JSON")
    if progress:
        group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write positive whole numbers, as in 3,32,32")
    return shape


def _threshold(text: str) -> str | float:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no threshold; write auto, 0, or a number") from None


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers; write them as in 0.485,0.456,0.406") from None


def _tolerance(text: str) -> str | float:
    if text == "rounding":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no tolerance; write rounding, 0, or a number") from None
