"""The folder of a batch: one folder for each job that ended, under its digest, whole or not there at all.

    jobs/<digest>/result.json    what it is, how it ended, its row of the table, a digest of every file beside it
    jobs/<digest>/...            the files of its task
    table.csv, table.parquet     all jobs in one table
    lock                         held by the run that writes here

A job's folder is filled under another name and renamed when everything in it is on disk, so a run that is killed leaves
drafts, which the next one removes. The lock is one of the operating system, which ends with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from milpcomp.batches.digests import Identity, text_digest
from milpcomp.errors import OutputError, ResultError
from milpcomp.files import PathLike, read_json, replacing, write_json

RESULT = "result.json"
SCHEMA, VERSION = "milpcomp batch job", 1
DRAFT = ".draft-"
NAME_LENGTH = 24
"""How much of a job's digest its folder is called; the whole of it is in the file."""


@dataclass(frozen=True)
class Ended:
    """How a job ended, as it is written.

    Parameters
    ----------
    status : {"done", "failed"}
    row : mapping
        Its numbers in the table; empty if it failed.
    kind, error, cause, details : str
        Of a failed job: see `milpcomp.batches.executor.Done`.
    seconds : mapping
        How long what took.
    attempts : int
        How often it was begun by the run in which it ended.
    """

    status: str
    row: Mapping[str, Any]
    seconds: Mapping[str, float]
    kind: str = "done"
    error: str = ""
    cause: str = ""
    details: str = ""
    attempts: int = 1


class Store:
    """The folder of a batch.

    Parameters
    ----------
    folder : path
        Made if missing.

    Raises
    ------
    OutputError
        If it cannot be made.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(folder)
        self._jobs = self.folder / "jobs"
        try:
            self._jobs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            for path in (self.folder, self._jobs):
                if path.exists() and not path.is_dir():
                    raise OutputError(f"cannot make the folder {path}: it is a file; name another folder") from error
            raise OutputError(f"cannot make the folder {self._jobs}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, and remove what killed runs left unfinished.

        Raises
        ------
        OutputError
            If another run holds it, or the folder cannot be written to.
        """
        path = self.folder / "lock"
        try:
            stream = path.open("a+")
        except OSError as error:
            raise OutputError(f"cannot write into the folder {self.folder}: {error.strerror or error}") from error
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise OutputError(
                    f"another run is writing into {self.folder} ({stream.read().strip()}); wait for its end, or name "
                    "another folder"
                ) from None
            except OSError as error:
                raise OutputError(f"cannot lock {path}: {error.strerror or error}; use a local folder") from error
            with contextlib.suppress(OSError):  # a full disk: the lock holds without a name on it
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {socket.gethostname()}")
                stream.flush()
            for draft in self._jobs.glob(f"{DRAFT}*"):
                _discard(draft)
            yield

    def path(self, identity: Identity) -> Path:
        """Return the folder of a job."""
        return self._jobs / identity.digest[:NAME_LENGTH]

    def find(self, identity: Identity) -> Ended | None:
        """Return how a job ended, None if it did not yet.

        Raises
        ------
        ResultError
            If what is there is damaged, incomplete or of another version; the message says how.
        """
        folder = self.path(identity)
        if not folder.exists():
            return None
        content = read_json(folder / RESULT)
        if not isinstance(content, dict) or (content.get("schema"), content.get("version")) != (SCHEMA, VERSION):
            raise ResultError(f"{folder / RESULT} is no result of this version")
        if text_digest({**content, "digest": None}) != content.get("digest"):
            raise ResultError(f"{folder / RESULT} is damaged")
        if content["identity"] != asdict(identity):
            raise ResultError(f"{folder / RESULT} is about another job")
        for name, digest in content["files"].items():
            try:
                whole = hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            except OSError:
                whole = False
            if not whole:
                raise ResultError(f"{folder / name} is damaged or missing")
        return Ended(**content["ended"])

    def save(self, identity: Identity, about: Mapping[str, Any], ended: Ended, files: Mapping[str, bytes]) -> None:
        """Write how a job ended, in place of what may be there.

        Parameters
        ----------
        identity : Identity
        about : mapping
            What the job is in words, for readers.
        ended : Ended
        files : mapping of str to bytes
            Its results.

        Raises
        ------
        OutputError
            If it cannot be written, as on a full disk; what was there before is then as it was.
        """
        content = {
            "schema": SCHEMA, "version": VERSION, "digest": None, "job": dict(about), "identity": asdict(identity),
            "ended": asdict(ended), "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }  # fmt: skip
        content["digest"] = text_digest(content)
        draft = self._jobs / f"{DRAFT}{secrets.token_hex(8)}"
        try:
            draft.mkdir()
            for name, data in files.items():
                with replacing(draft / name) as stream:
                    stream.write(data)
            write_json(draft / RESULT, content)
            self._replace(self.path(identity), draft)
        except OSError as error:
            cause = error.__cause__ if isinstance(error, OutputError) else error
            reason = getattr(cause, "strerror", None) or error
            raise OutputError(
                f"cannot write the results of a job into {self._jobs}: {reason}; the jobs before it are kept, so make "
                "room and run this again"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _replace(self, target: Path, draft: Path) -> None:
        if os.path.lexists(target):  # a link that leads nowhere is in the way, too
            old = self._jobs / f"{DRAFT}{secrets.token_hex(8)}"
            target.rename(old)
            _discard(old)
        draft.rename(target)
        handle = os.open(self._jobs, os.O_RDONLY)
        try:
            os.fsync(handle)  # the name, too, survives a power cut
        finally:
            os.close(handle)


def _discard(path: Path) -> None:
    """Remove a folder, or the file or link that stands in its place, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()
