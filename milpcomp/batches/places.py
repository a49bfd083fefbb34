"""Where the work of a batch, or of the blocks of one network, is done: here, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from milpcomp.batches.executor import Executor
from milpcomp.batches.processes import Processes
from milpcomp.errors import SettingsError


@contextmanager
def place(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    """Give an executor, and end whatever still runs there when the block ends.

    Parameters
    ----------
    workers : int or None
        How many processes of this machine; as many as there are cores if not given.
    scheduler : str or None
        Address of a Dask scheduler, whose workers do it instead.

    Raises
    ------
    SettingsError
        If both are given.
    ExecutorError
        If there is no cluster at that address.
    """
    if scheduler is not None and workers is not None:
        raise SettingsError("a cluster knows its workers; give workers or a scheduler, not both")
    if scheduler is None:
        executor: Executor = Processes(workers)
    else:
        from milpcomp.batches.cluster import Cluster

        executor = Cluster(scheduler)
    with executor:
        yield executor
