"""What can be said to the commands that take many networks: batches of jobs, and studies."""

from __future__ import annotations

from typing import Any

from milpcomp.cli.command import add_command
from milpcomp.cli.options import networks_options, numbers, output_options


def batch(commands: Any) -> None:
    """Add the command `batch`."""
    command = add_command(
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
    output_options(command, "folder for the results; a run goes on in one that exists", progress=True, name="batch")


def paths(commands: Any) -> None:
    """Add the command `paths`."""
    command = add_command(
        commands,
        "paths",
        "count the ways through networks by how many active filters they pass",
        "The distribution is exact, however many ways there are. The folder gets the table, the distribution (.csv),\n"
        "figures of it and of small networks' graphs, and paths.json.",
        "paths relu.npz rotated.npz --threshold 0.1",
        "paths resnet.th --architecture models.resnet:rotated_resnet20 --input-shape 3,32,32 --threshold 0.1",
        "paths --counts wrn-40-4.json --preset rrelu-2022",
    )
    networks_options(command, "*")
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
    output_options(command, "folder for the results; one that exists is reused")


def attack(commands: Any) -> None:
    """Add the command `attack`."""
    command = add_command(
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
    networks_options(command, "+")
    group = command.add_argument_group("attacks")
    group.add_argument("--data", required=True, metavar="FILE", help=".npz with images and labels")
    group.add_argument("--mean", type=numbers, metavar="N,N,...", help="normalisation that is part of the networks")
    group.add_argument("--std", type=numbers, metavar="N,N,...", help="normalisation that is part of the networks")
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
    output_options(command, "folder for the results; one that exists is reused", progress=True)
