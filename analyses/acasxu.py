"""Verdicts on the nine ACAS Xu networks over their whole operating box, and what exact compression leaves of them.

    python analyses/acasxu.py ../shared/data/nets/acasxu --time-limit 60 --samples 10000000 --out acasxu.csv

For each network: verdict counts of the funnel, what is left in each layer, where the time goes, every verdict tested on
random inputs of the box (a sample that contradicts one is a defect), the neurons kept by compression (and if the
solver's word is trusted), the proved output deviation, the largest difference between the compressed ONNX file in
onnxruntime and the original on samples.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

import milpcomp as mc
from milpcomp.network.to_onnx import to_onnx
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Verdict

OPERATING_BOX = ([-0.328422877, -0.5, -0.5, -0.5, -0.5], [0.679857769, 0.5, 0.5, 0.5, 0.5])
"""Normalised inputs: distance, two angles, two speeds."""

CHUNK = 4_000
"""Samples at a time: few enough that all values of a layer stay in the processor's cache."""


def contradictions(network: mc.Network, report: Report, samples: int, seed: int = 1) -> int:
    """Return how many neurons have a verdict of stability that some of `samples` random inputs contradicts.

    Half of the inputs are uniform in the box, half are corners of it, of random density: those reach further.
    """
    rng = np.random.Generator(np.random.SFC64(seed))
    domain = report.domain.fit(network.input_shape)
    width = domain.upper - domain.lower
    stable = {
        phase: {layer: np.array([v.phase is phase for v in verdicts]) for layer, verdicts in report.layers().items()}
        for phase in (Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE)
    }
    if not any(mask.any() for masks in stable.values() for mask in masks.values()):
        return 0  # an unstable neuron has two inputs that show it; no sample can contradict that
    wrong = {layer: np.zeros(network.width(layer), dtype=bool) for layer in report.layers()}
    for turn, start in enumerate(range(0, samples, CHUNK)):
        count = min(CHUNK, samples - start)
        share = rng.random((count, *network.input_shape), dtype=np.float32)
        if turn % 2:
            x = np.where(share < rng.random((count, *[1] * len(network.input_shape))), domain.upper, domain.lower)
        else:
            x = share * width
            x += domain.lower
            np.minimum(x, domain.upper, out=x)  # rounding may carry it out
        for layer, value in network.pre_activations(x).items():
            wrong[layer] |= stable[Phase.STABLY_INACTIVE][layer] & (value > 0).any(axis=0)
            wrong[layer] |= stable[Phase.STABLY_ACTIVE][layer] & (value < 0).any(axis=0)
    return int(sum(mask.sum() for mask in wrong.values()))


def onnx_gap(network: mc.Network, smaller: mc.Network, domain: mc.Box, count: int = 10_000) -> float:
    """Return the largest difference of the smaller network in onnxruntime (float32) from the original in float64."""
    share = np.random.default_rng(2).random((count, *network.input_shape))
    x = (domain.lower + share * (domain.upper - domain.lower)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smaller.onnx"
        to_onnx(smaller, path)
        session = onnxruntime.InferenceSession(str(path))
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return float(np.abs(y - network.forward(x)).max())


def row(path: Path, time_limit_s: float, samples: int) -> dict[str, object]:
    """Certify, compress and test one network."""
    network = mc.load(path)
    domain = mc.Box(*OPERATING_BOX).fit(network.input_shape)
    start = time.monotonic()
    report = mc.certify(network, domain, time_limit_s=time_limit_s)
    seconds = time.monotonic() - start
    smaller, trusting = mc.compress(network, report), mc.compress(network, report, trust_solver=True)
    proofs = [v.proof.value for v in report.verdicts if v.phase in (Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE)]
    start = time.monotonic()
    rejected = len(mc.check(network, domain, report).rejections)
    return {
        "network": path.stem.removeprefix("ACASXU_run2a_").removesuffix("_batch_2000"),
        **report.counts(),
        "certified": proofs.count("certified"),
        "solver": proofs.count("solver"),
        "undecided_by_layer": " ".join(str(_undecided(verdicts)) for verdicts in report.layers().values()),
        "seconds": round(seconds, 1),
        **{f"{stage}_seconds": round(spent, 2) for stage, spent in report.stage_seconds.items()},
        "check_seconds": round(time.monotonic() - start, 2),
        "rejected": rejected,
        "contradicted": contradictions(network, report, samples),
        "neurons": smaller.before.neurons,
        "kept": smaller.after.neurons,
        "kept_trusting_solver": trusting.after.neurons,
        "deviation_bound": smaller.deviation_bound,
        "onnx_gap": onnx_gap(network, smaller.network, domain),
    }


def _undecided(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.phase is Phase.UNDECIDED for verdict in verdicts)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with ACASXU_*.onnx files")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per network")
    parser.add_argument("--samples", type=int, default=10_000_000, help="random inputs per network")
    parser.add_argument("--out", type=Path, default=Path("acasxu.csv"), help="table to write")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("ACASXU_*.onnx"))
    if not paths:
        parser.error(f"no ACASXU_*.onnx in {arguments.folder}")
    rows: list[dict[str, object]] = []
    for path in paths:
        rows.append(row(path, arguments.time_limit, arguments.samples))
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
        with arguments.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
