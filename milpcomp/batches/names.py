"""What the table calls jobs, so that readers can tell them apart.

    network     the stem of its file; where two files share it, as much of their paths as it takes: n1/net, n2/net
    settings    those that are not at their defaults, that differ between jobs, or that were written: seed=0, seed=1

Names that users gave are kept, unless they gave one name to two networks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from milpcomp.batches.jobs import TASKS, Job, settings_name
from milpcomp.network import Network


def told_apart(jobs: Iterable[Job], written: Collection[str] = ()) -> tuple[Job, ...]:
    """Return jobs under names that tell their networks and settings apart.

    Parameters
    ----------
    jobs : iterable of Job
    written : collection of str
        Settings that are to be shown, also at their defaults.
    """
    listed = tuple(jobs)
    networks = _network_names(listed)
    shown = {*written, *_varied(listed)}
    named = []
    for job in listed:
        network = networks.get((job.network_name, str(job.network)), job.network_name)
        settings = settings_name(job.task, job.settings, shown) if _made_up(job) else job.settings_name
        same = (network, settings) == (job.network_name, job.settings_name)
        named.append(job if same else replace(job, network_name=network, settings_name=settings))
    return tuple(named)


def _made_up(job: Job) -> bool:
    return job.settings_name == settings_name(job.task, job.settings)


def _varied(jobs: Sequence[Job]) -> set[str]:
    """Return the settings in which jobs differ whose settings were not given a name."""
    values: dict[str, set[str]] = defaultdict(set)
    for job in jobs:
        for name in TASKS[job.task] if _made_up(job) else ():
            values[name].add(repr(job.settings[name]))
    return {name for name, found in values.items() if len(found) > 1}


def _network_names(jobs: Sequence[Job]) -> dict[tuple[str, str], str]:
    """Return new names by old name and path, of networks in different files that share a name."""
    sharing: dict[str, set[Path]] = defaultdict(set)
    for job in jobs:
        if not isinstance(job.network, Network):
            sharing[job.network_name].add(Path(job.network))
    return {
        (name, str(path)): _longer(name, path, tail)
        for name, paths in sharing.items()
        if len(paths) > 1
        for path, tail in zip(sorted(paths), _tails(sorted(paths)), strict=True)
    }


def _longer(name: str, path: Path, tail: str) -> str:
    return name.removesuffix(path.stem) + tail if name.endswith(path.stem) else f"{name} {tail}"


def _tails(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that differ: all of as many parts, with suffixes only if nothing else helps."""
    for whole in (False, True):
        parts = [path.parts if whole else (*path.parts[:-1], path.stem) for path in paths]
        for length in range(1, max(map(len, parts)) + 1):
            tails = ["/".join(part[-length:]) for part in parts]
            if len(set(tails)) == len(paths):
                return tails
    return [str(path) for path in paths]
