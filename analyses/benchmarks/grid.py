"""How long it takes to decide every neuron: the networks of models/grid over [0, 1]^784, funnel and published methods.

    python -m analyses.benchmarks.grid --out results/grid                          the funnel on every network
    python -m analyses.benchmarks.grid --out results/grid --methods one-solve per-neuron --limit 600
    python -m analyses.benchmarks.grid --out results/grid --methods scip-callbacks gurobi-callbacks    where installed

A cell is one network by one method, in a process of its own, whose peak memory is measured. Finished cells are files
in the folder and are not run again, so a run that was stopped goes on where it was; the table is made of all of them.
Every cell starts from the same 2,000 random inputs and the first 1,000 test images if there are any, as the published
code samples before it calls its solver. Verdicts are checked by `milpcomp.check`, and against random inputs.

Times depend on the machine: `reference` is the time that this machine took for the shipped network, in the same run.
Where other work shares the machine, processor seconds are the fairer comparison; both are recorded.
The published column holds Gurobi times of the same shapes and weights of regularisation, on another machine and other
networks (averages), as text.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import milpcomp as mc
from analyses.acasxu import contradictions
from analyses.benchmarks import callbacks
from analyses.tables import Table, as_markdown, write
from milpcomp.stability.verdict import Phase
from models.data import load_images

ROOT = Path(__file__).parents[2]
METHODS = ("funnel", "one-solve", "per-layer", "per-neuron", *callbacks.PACKAGES)
SAMPLES = 2_000
IMAGES = 1_000

PUBLISHED = {
    "2x100": ("10 s", "14 s", "11 s"), "3x100": ("54 s", "80 s", "50 s"), "4x100": ("220 s", "2,000 s", "180 s"),
    "5x100": ("840 s", "3,370 s", "510 s"), "2x200": ("45 s", "120 s", "26 s"), "2x400": ("400 s", "1,800 s", "130 s"),
    "2x800": ("3,500 s", "not finished", "1,000 s"), "100-10-100": ("130 s", "120 s", "3 s"),
    "100-25-100": ("500 s", "800 s", "3 s"), "100-50-100": ("230 s", "600 s", "3 s"), "50-10-50": ("33 s", "-", "1 s"),
    "200-10-200": ("1,000 s", "700 s", "5 s"), "400-10-400": ("2,700 s", "1,300 s", "10 s"),
}  # fmt: skip
"""Gurobi times of the one-solve method at l1 = 0, half and full (autoencoders: 0, 0.00002, 0.0002)."""

VARIANTS = {"0": 0, "half": 1, "weak": 1, "full": 2, "strong": 2}


def run(path: Path, method: str, limit_s: float, seconds_per_neuron: float, data: Path | None, samples: int) -> Any:
    """Return the record of one cell."""
    network, domain = mc.load(path), mc.Box(0.0, 1.0)
    start = np.random.default_rng(0).random((SAMPLES, *network.input_shape))
    if data is not None:
        start = np.concatenate([start, load_images(data, "t10k")[0][:IMAGES].astype(np.float64)])
    certify, check = mc.certify, mc.check  # which loads them: that is not what is timed
    begin, processor = time.monotonic(), time.process_time()
    if method in callbacks.PACKAGES:
        report = callbacks.certify(network, domain, method, limit_s, start)
    else:
        report = certify(
            network, domain, method=method, time_limit_s=limit_s, neuron_time_limit_s=seconds_per_neuron, data=start
        )
    seconds, processor = time.monotonic() - begin, time.process_time() - processor
    begin = time.monotonic()
    checked = check(network, domain, report)
    check_seconds = time.monotonic() - begin
    smaller = mc.compress(network, report)
    stages = Counter(v.stage.value for v in report.verdicts if v.phase is not Phase.UNDECIDED)
    return {
        "network": path.stem,
        "method": method,
        "digest": network.digest,
        "limit_s": limit_s,
        "neurons": len(report.verdicts),
        "counts": report.counts(),
        "stages": dict(stages),
        "stage_seconds": dict(report.stage_seconds),
        "seconds": seconds,
        "cpu_seconds": processor,
        "ended": report.ended,
        "undecided": [
            {"layer": v.layer, "unit": v.unit, "lower": v.lower, "upper": v.upper}
            for v in report.verdicts
            if v.phase is Phase.UNDECIDED
        ],
        "check_seconds": check_seconds,
        "rejected": checked.counts()["rejected"],
        "contradictions": contradictions(network, report, samples) if samples else None,
        "samples": samples,
        "neurons_after": sum(smaller.network.width(node.name) for node in smaller.network.rectifiers),
        "deviation_bound": smaller.deviation_bound,
    }


def _child(target: Path, path: Path, method: str, *limits: Any) -> None:
    try:
        record = run(path, method, *limits)
    except callbacks.NotAvailableError as reason:
        print(f"{path.stem} by {method}: skipped, {reason}", flush=True)
        return
    record["peak_mib"] = _peak_mib()
    part = target.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    part.replace(target)


def _peak_mib() -> float:
    """Return the most memory that this process held; `getrusage` would also count its parent's before the start."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return math.nan


def cell(target: Path, *arguments: Any) -> dict[str, Any] | None:
    """Return the record of a cell, run in a process of its own unless its file is there; None if skipped or failed."""
    if not target.exists():
        process = multiprocessing.get_context("spawn").Process(target=_child, args=(target, *arguments))
        process.start()
        process.join()
    return json.loads(target.read_text()) if target.exists() else None


def speedups(records: list[dict[str, Any]], slow_s: float = 1.0) -> dict[str, tuple[int, float, float]]:
    """Compare every method with the funnel, over the networks on which either takes more than `slow_s` seconds.

    Returns
    -------
    dict of method name to (networks, wall, processor)
        Geometric means of the method's seconds over the funnel's. A run that reached its limit counts with the limit.
    """
    funnel = {found["network"]: found for found in records if found["method"] == "funnel"}
    result = {}
    for method in METHODS[1:]:
        pairs = [
            (found, funnel[found["network"]])
            for found in records
            if found["method"] == method and found["network"] in funnel
        ]
        slow = [pair for pair in pairs if max(found["seconds"] for found in pair) > slow_s]
        if slow:
            wall, processor = (
                float(np.exp(np.mean([np.log(a[key] / b[key]) for a, b in slow]))) for key in ("seconds", "cpu_seconds")
            )
            result[method] = (len(slow), wall, processor)
    return result


def table(records: list[dict[str, Any]], reference: float) -> Table:
    """Return one row per cell."""
    rows = []
    for found in records:
        shape, _, variant = found["network"].rpartition("_")
        published = PUBLISHED.get(shape, ())
        stages = ", ".join(f"{name} {count}" for name, count in found["stages"].items())
        removed = 100 * (1 - found["neurons_after"] / found["neurons"])
        rows.append(
            (
                found["network"],
                found["method"],
                str(found["neurons"]),
                stages,
                str(found["counts"]["undecided"]),
                f"{found['seconds']:.1f}",
                f"{found['cpu_seconds']:.1f}",
                f"{found['check_seconds']:.1f}",
                str(found["rejected"]),
                "–" if found["contradictions"] is None else f"{found['contradictions']} in {found['samples']:,}",
                f"{found['peak_mib']:.0f}",
                f"{removed:.1f}",
                published[VARIANTS[variant]] if published and variant in VARIANTS else "–",
            )
        )
    caption = (
        f"Deciding every neuron over [0, 1]^784. Reference on this machine: {reference:.1f} s for the shipped network "
        "(500 neurons). Published times are Gurobi's, of other networks of the shape, on another machine."
    )
    columns = ("network", "method", "neurons", "decided by", "undecided", "seconds", "cpu s", "check s", "rejected")
    return Table(caption, (*columns, "contradictions", "peak MiB", "removed %", "published"), tuple(rows))


def main() -> None:
    """Run the cells that are missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=Path, default=ROOT / "models" / "grid", help="folder of .safetensors")
    parser.add_argument("--only", nargs="*", help="networks by name, as 2x100_full")
    parser.add_argument("--methods", nargs="+", default=["funnel"], choices=METHODS)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one cell")
    parser.add_argument("--per-neuron", type=float, default=60.0, help="seconds for one search about one neuron")
    parser.add_argument("--data", type=Path, help="folder with the MNIST files, for images as first witnesses")
    parser.add_argument("--samples", type=int, default=0, help="random inputs to hold the verdicts against")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells and the table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    mc.certify(mc.load(ROOT / "models/checkpoints/mnist-mlp.safetensors"), mc.Box(0.0, 1.0))
    reference = time.monotonic() - begin
    records = []
    for path in sorted(options.networks.glob("*.safetensors")):
        if options.only and path.stem not in options.only:
            continue
        for method in options.methods:
            target = options.out / f"{path.stem}.{method}.json"
            found = cell(target, path, method, options.limit, options.per_neuron, options.data, options.samples)
            if found is None:
                print(f"{path.stem} by {method}: no result", flush=True)
                continue
            records.append(found)
            print(f"{path.stem} by {method}: {found['seconds']:.1f} s, {found['counts']}", flush=True)
    write(table(records, reference), options.out / "table")
    print(as_markdown(table(records, reference)))
    for method, (count, wall, processor) in speedups(records).items():
        print(
            f"{method} takes {wall:.0f} times as long as the funnel (processor time: {processor:.0f}), in the "
            f"geometric mean over {count} networks on which either takes more than 1 s"
        )


if __name__ == "__main__":
    main()
