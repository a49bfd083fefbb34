"""Every error that a user can cause, in one place.

Each class has two parents: `MilpcompError`, to catch anything raised here on purpose, and the built-in class that
describes the mistake, so that ordinary ``except ValueError`` keeps working. A message says what was found and what to
do next.
"""

from __future__ import annotations


class MilpcompError(Exception):
    """Base class of all errors raised on purpose by milpcomp."""


class NetworkError(MilpcompError, ValueError):
    """A network is malformed: wrong shapes, NaN weights, a cycle, an unknown input."""


class UnsupportedOperatorError(NetworkError):
    """A model contains operators that have no counterpart in `Network`; the message lists all of them."""


class CheckpointError(MilpcompError, ValueError):
    """A file cannot be read as a network: truncated, not a checkpoint, wants to run code, or lacks an architecture."""


class DomainError(MilpcompError, ValueError):
    """An input domain is empty, reversed, not finite, or of the wrong shape."""


class SettingsError(MilpcompError, ValueError):
    """An option has a value outside its range, or names something that does not exist."""


class SolverError(MilpcompError, RuntimeError):
    """A solver is not installed or failed in a way that ends the whole run."""


class ResultError(MilpcompError, ValueError):
    """A result file is unreadable, of another version, or belongs to another network or domain."""


class OutputError(MilpcompError, OSError):
    """A file cannot be written: the folder is missing, permission is denied, or the disk is full."""


class EditError(MilpcompError, ValueError):
    """An edit is not backed by the verdicts it names, or does not fit the network."""


class ExecutorError(MilpcompError, RuntimeError):
    """Work cannot be handed out: no process can be started, or the cluster is missing or gone."""
