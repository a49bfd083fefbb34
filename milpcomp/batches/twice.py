"""Pieces of one piece of work on an executor: as many at a time as it has workers, and what is lost is tried once more.

For pieces whose results are needed together and soon. A batch, whose jobs last and are kept on disk, has its own way
(`milpcomp.batches.run`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from milpcomp.batches.executor import Call, Done, Executor

LOOK_S = 0.5
"""How often it is looked at whether something has ended."""

Piece = TypeVar("Piece")


def outcomes(
    executor: Executor, pieces: Iterable[Piece], call: Callable[[Piece], Call | None]
) -> Iterator[tuple[Piece, Done]]:
    """Yield the pieces with what became of each, in the order in which they end.

    Parameters
    ----------
    executor : Executor
    pieces : iterable
    call : callable
        Makes the call for a piece when a worker is free for it, or None where it is not wanted any more: such a piece
        is left out. A piece that is tried again is asked for again.

    Raises
    ------
    ExecutorError
        If no call can run any more.
    """
    waiting = deque((piece, True) for piece in pieces)
    running: dict[str, tuple[Piece, bool]] = {}
    while waiting or running:
        while waiting and len(running) < max(1, executor.workers):
            piece, first = waiting.popleft()
            made = call(piece)
            if made is not None:
                running[made.key] = piece, first
                executor.submit(made)
        if not running:
            continue
        for done in executor.finished(LOOK_S):
            if done.key not in running:
                continue  # a call of somebody else
            piece, first = running.pop(done.key)
            if first and done.kind not in ("done", "failed"):  # what failed with an error would fail again
                waiting.append((piece, False))
            else:
                yield piece, done
