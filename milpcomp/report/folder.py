"""The folder of an analysis: it always holds the results of one run, each whole.

New files are written to a hidden folder inside it and move to their places when all of them are there. An error or an
interrupt before that leaves the folder as it was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from milpcomp.errors import OutputError
from milpcomp.files import PathLike

RESULTS = (
    "certificate.json", "certificate.npz", "compression.json", "compression.npz", "original.npz", "network.npz",
    "network.onnx", "network.pt", "report.html", "report.md", "tables.tex", "layers.csv", "neurons.csv", "verdicts.png",
    "verdicts.pdf", "summary.json",
)  # fmt: skip
"""Every name that an analysis may write; files of other names are not touched."""

COMPRESSION_RESULTS = (
    "compression.json", "compression.npz", "network.npz", "network.onnx", "network.pt", "report.html", "report.md",
    "tables.tex", "layers.csv", "summary.json",
)  # fmt: skip
"""What a compression replaces: its own files, and what was written about an earlier one."""


@contextmanager
def staged(folder: PathLike, stale: Sequence[str] = ()) -> Iterator[Path]:
    """Give a new folder, whose files move into `folder` when the block ends without an exception.

    Parameters
    ----------
    folder : path
        Made if missing, and then removed again if nothing comes of it.
    stale : sequence of str
        Files of an earlier run to remove when the new ones arrive.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
    """
    target = Path(folder)
    if target.is_file():
        raise OutputError(f"cannot write into the folder {target}: it is a file; name another folder for the results")
    existed = target.exists()
    draft: Path | None = None
    try:
        try:
            target.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target))
        except OSError as error:
            raise OutputError(f"cannot write into the folder {target}: {error.strerror or error}") from error
        yield draft
        _move(draft, target, stale)
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
            if not existed:
                with suppress(OSError):  # not empty, as it should be
                    target.rmdir()


def spare(source: object, folder: PathLike, results: Sequence[str] = RESULTS) -> None:
    """Refuse to write `results` into `folder` where one of them would replace `source`, the network they are about.

    Raises
    ------
    OutputError
        If `source` is a path and the file has the name of a result in `folder`.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source).resolve()
        if path.name in results and path.parent == Path(folder).resolve():
            raise OutputError(f"the results would replace the network {source} itself; write them into another folder")


def _move(draft: Path, target: Path, stale: Sequence[str]) -> None:
    try:
        for name in stale:
            (target / name).unlink(missing_ok=True)
        for path in sorted(draft.iterdir()):
            path.replace(target / path.name)
    except OSError as error:
        raise OutputError(f"cannot move the results into {target}: {error.strerror or error}") from error
