"""Exact compression: edits backed by verdicts, the network they make, and a proved bound on what they change."""

from milpcomp.compression.compress import compress
from milpcomp.compression.edits import Collapse, Edit, Fix, Fold, Join, Merge, Remove
from milpcomp.compression.result import Compression, Skipped
from milpcomp.compression.rewrite import rewrite
from milpcomp.compression.storage import load_compression, save_compression

__all__ = [
    "Collapse",
    "Compression",
    "Edit",
    "Fix",
    "Fold",
    "Join",
    "Merge",
    "Remove",
    "Skipped",
    "compress",
    "load_compression",
    "rewrite",
    "save_compression",
]
