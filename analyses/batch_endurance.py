"""Batches that are killed again and again end with exactly the results of a batch that nobody disturbed, or do they.

1. the batch runs undisturbed, on processes
2. it runs in another folder, and is killed by SIGKILL when a number of jobs drawn at random has ended, and a moment
   later that is drawn too; now the run's process group alone, now every process it started as well; then it is
   started again, until it has been killed as often as it should be and may end
3. the same on a Dask cluster of two workers, of which one is killed, too
4. everything that is written is compared: the tables but for times, and every array of every certificate and of
   every smaller network

python -m analyses.batch_endurance OUT [--kills 3] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from milpcomp.batches.table import SECONDS
from milpcomp.files import read_arrays, write_json
from milpcomp.network import Dense, Network, Node, Rectifier
from milpcomp.network.storage import save_network

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("verdict/seconds",)
"""Arrays of a certificate that are measured."""


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: when, how many jobs had ended, and whether the workers were killed with the run."""

    seconds: float
    ended: int
    workers_too: bool


def write_jobs(folder: Path, networks: int, seed: int = 0, full: bool = True) -> Path:
    """Write random networks and a file of jobs: four certifications of each.

    Parameters
    ----------
    folder : path
    networks : int
        How many random networks.
    seed : int
        Of all numbers.
    full : bool
        Whether to have also two analyses of a random network, and twelve certifications of the shipped networks 2x50
        and 2x100 on small boxes around a random image.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(networks):
        save_network(_random([4, 8 + i % 5, 6, 3], rng), folder / f"random{i:02}.npz")
    np.save(folder / "image.npy", rng.random(784))
    settings = [{"seed": i, "neuron_time_limit_s": 1000} for i in range(2)]  # no clock decides what is proved how
    products: list[dict[str, Any]] = [
        {"networks": "random*.npz", "domains": [[0, 1], [-0.2, 0.1]], "settings": settings, "task": "certify"}
    ]
    if full:
        names = [str(ROOT / "models" / "grid" / f"{size}_*l*.safetensors") for size in ("2x50", "2x100")]
        around = {"around": "image.npy", "radius": [0.002, 0.004], "clip": [0, 1]}
        products += [
            {"networks": "random00.npz", "domains": [[0, 0.5], [0, 0.4]]},
            {"networks": names, "domains": [around], "settings": settings[:1], "task": "certify"},
        ]
    (folder / "jobs.yaml").write_text(yaml.safe_dump(products))
    return folder / "jobs.yaml"


def _random(widths: list[int], rng: np.random.Generator) -> Network:
    nodes, last = [], "input"
    for i, (columns, rows) in enumerate(pairwise(widths)):
        nodes.append(Node(f"dense{i}", Dense(rng.normal(size=(rows, columns)), rng.normal(size=rows)), (last,)))
        nodes.append(Node(f"relu{i}", Rectifier(), (f"dense{i}",)))
        last = f"relu{i}"
    return Network((widths[0],), nodes[:-1])


def start(jobs: Path, out: Path, scheduler: str | None = None, workers: int = 2) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own; what it says goes into a file beside `out`."""
    where = ["--workers", str(workers)] if scheduler is None else ["--scheduler", scheduler]
    with (out.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "milpcomp", "batch", str(jobs), "--out", str(out), *where],
            cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def ended(out: Path) -> int:
    """Return how many jobs have ended."""
    return len([path for path in (out / "jobs").glob("*/result.json") if not path.parent.name.startswith(".")])


def disturbed(
    jobs: Path, out: Path, count: int, kills: int, rng: np.random.Generator, scheduler: str | None = None,
    workers: int = 2, delay_s: float = 0.5,
) -> list[Kill]:  # fmt: skip
    """Run a batch of `count` jobs, kill it `kills` times at random moments, and let it end.

    Raises
    ------
    RuntimeError
        If it ends too early to be killed, or badly.
    """
    done: list[Kill] = []
    begun = time.monotonic()
    for threshold in sorted(rng.choice(np.arange(1, count * 3 // 4), size=kills, replace=False).tolist()):
        run = start(jobs, out, scheduler, workers)
        moment, workers_too = float(rng.uniform(0, delay_s)), bool(rng.integers(2))
        while ended(out) < threshold and run.poll() is None:
            time.sleep(0.02)
        time.sleep(moment)
        if run.poll() is not None:
            raise RuntimeError(f"the run ended before it was killed; see {out}.log")
        done.append(Kill(time.monotonic() - begun, ended(out), workers_too))
        for pid in descendants(run.pid) if workers_too else []:
            os.kill(pid, signal.SIGKILL)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    if start(jobs, out, scheduler, workers).wait() != 0:
        raise RuntimeError(f"the last run ended badly; see {out}.log")
    return done


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for text in lists for child in text.split()]
    return [*children, *(grandchild for child in children for grandchild in descendants(child))]


def differences(one: Path, other: Path) -> list[str]:
    """Return where the results of two folders differ, times apart."""
    rows = [_rows(folder) for folder in (one, other)]
    found = [] if rows[0] == rows[1] else ["table.csv"]
    names = [
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".parquet"}
        for folder in (one, other)
    ]
    found += sorted(names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        if name.endswith(".npz") and not _same_arrays(one / name, other / name):
            found.append(name)
    return found


def _rows(folder: Path) -> list[dict[str, str]]:
    import csv

    with (folder / "table.csv").open(newline="") as stream:
        return [{key: cell for key, cell in row.items() if key not in SECONDS} for row in csv.DictReader(stream)]


def _same_arrays(one: Path, other: Path) -> bool:
    first, second = ({k: a for k, a in read_arrays(path).items() if k not in TIMES} for path in (one, other))
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)


@contextmanager
def cluster(workers: int = 2) -> Iterator[Any]:
    """Give a Dask cluster on the loopback device, with a process for each worker."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as made:
        yield made


def study(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Run everything, and return what came of it."""
    jobs = write_jobs(folder / "networks", 9, seed)
    rng = np.random.default_rng(seed)
    begun = time.monotonic()
    if start(jobs, folder / "undisturbed").wait() != 0:
        raise RuntimeError(f"the undisturbed run ended badly; see {folder / 'undisturbed.log'}")
    undisturbed_s, count = time.monotonic() - begun, ended(folder / "undisturbed")
    result: dict[str, Any] = {"jobs": count, "seed": seed, "undisturbed_s": undisturbed_s}
    begun = time.monotonic()
    done = disturbed(jobs, folder / "processes", count, kills, rng)
    result["processes"] = _told(folder, "processes", done, time.monotonic() - begun)
    with cluster() as made:
        begun = time.monotonic()
        done = disturbed(jobs, folder / "dask", count, kills, rng, made.scheduler_address)
        result["dask"] = _told(folder, "dask", done, time.monotonic() - begun)
        begun = time.monotonic()
        run = start(jobs, folder / "worker", made.scheduler_address)
        threshold = int(rng.integers(1, count // 2))
        while ended(folder / "worker") < threshold and run.poll() is None:
            time.sleep(0.02)
        os.kill(next(iter(made.workers.values())).process.pid, signal.SIGKILL)
        kill = Kill(time.monotonic() - begun, ended(folder / "worker"), True)
        if run.wait() != 0:
            raise RuntimeError(f"the run ended badly; see {folder / 'worker.log'}")
        result["dask, one worker killed"] = _told(folder, "worker", [kill], time.monotonic() - begun)
    return result


def _told(folder: Path, name: str, kills: list[Kill], seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "kills": [{"after_s": k.seconds, "jobs_ended": k.ended, "workers_too": k.workers_too} for k in kills],
        "differences": differences(folder / "undisturbed", folder / name),
    }


def main() -> int:
    """Run the study into a folder; 1 if anything differs."""
    parser = argparse.ArgumentParser(description="Kill a batch again and again, and compare what it ends with.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = study(Path(folder), options.kills, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / f"batch_endurance_{options.seed}.json", result)
    print(json.dumps(result, indent=1))
    return int(any(isinstance(part, dict) and part["differences"] for part in result.values()))


if __name__ == "__main__":
    sys.exit(main())
