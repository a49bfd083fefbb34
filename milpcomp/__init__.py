"""Exact compression of trained rectifier networks: a smaller network, the same function, and a proof.

    import milpcomp as mc

    network = mc.load("model.onnx")
    domain = mc.Box(0.0, 1.0)
    report = mc.certify(network, domain)
    smaller = mc.compress(network, report)
    mc.check(network, domain, report)
    mc.check_compression(network, smaller, domain, report)

Names are imported when they are first used, so that ``import milpcomp`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milpcomp.batches.blocks import certify_in_blocks as certify_in_blocks
    from milpcomp.batches.jobs import Job as Job
    from milpcomp.batches.run import batch as batch
    from milpcomp.batches.table import BatchResult as BatchResult
    from milpcomp.channels import Removal as Removal
    from milpcomp.channels import remove_channels as remove_channels
    from milpcomp.checker import Checked as Checked
    from milpcomp.checker import CheckedCompression as CheckedCompression
    from milpcomp.checker import check as check
    from milpcomp.checker import check_compression as check_compression
    from milpcomp.compression import Compression as Compression
    from milpcomp.compression import compress as compress
    from milpcomp.compression import load_compression as load_compression
    from milpcomp.compression import save_compression as save_compression
    from milpcomp.domain import Box as Box
    from milpcomp.errors import MilpcompError as MilpcompError
    from milpcomp.network import Network as Network
    from milpcomp.network.load import load as load
    from milpcomp.paths import filter_graph as filter_graph
    from milpcomp.paths import path_lengths as path_lengths
    from milpcomp.pipeline import analyze as analyze
    from milpcomp.report.analysis import Analysis as Analysis
    from milpcomp.robustness import certified_robustness as certified_robustness
    from milpcomp.robustness import fgsm as fgsm
    from milpcomp.robustness import local_lipschitz_bound as local_lipschitz_bound
    from milpcomp.robustness import pgd as pgd
    from milpcomp.rotated import RotatedGELU as RotatedGELU
    from milpcomp.rotated import RotatedReLU as RotatedReLU
    from milpcomp.rotated import rotate as rotate
    from milpcomp.rotated import select_threshold as select_threshold
    from milpcomp.stability.certify import certify as certify
    from milpcomp.stability.merge import merge as merge
    from milpcomp.stability.report import Report as Report
    from milpcomp.stability.storage import load_report as load_report
    from milpcomp.stability.storage import save_report as save_report
    from milpcomp.vnnlib import read_vnnlib as read_vnnlib

_HOMES = {
    "BatchResult": "milpcomp.batches.table",
    "Job": "milpcomp.batches.jobs",
    "batch": "milpcomp.batches.run",
    "save_compression": "milpcomp.compression",
    "Removal": "milpcomp.channels",
    "Report": "milpcomp.stability.report",
    "Compression": "milpcomp.compression",
    "CheckedCompression": "milpcomp.checker",
    "Checked": "milpcomp.checker",
    "Analysis": "milpcomp.report.analysis",
    "Box": "milpcomp.domain",
    "MilpcompError": "milpcomp.errors",
    "Network": "milpcomp.network",
    "RotatedGELU": "milpcomp.rotated",
    "RotatedReLU": "milpcomp.rotated",
    "analyze": "milpcomp.pipeline",
    "certified_robustness": "milpcomp.robustness",
    "certify": "milpcomp.stability.certify",
    "certify_in_blocks": "milpcomp.batches.blocks",
    "check": "milpcomp.checker",
    "check_compression": "milpcomp.checker",
    "compress": "milpcomp.compression",
    "fgsm": "milpcomp.robustness",
    "filter_graph": "milpcomp.paths",
    "load": "milpcomp.network.load",
    "load_compression": "milpcomp.compression",
    "load_report": "milpcomp.stability.storage",
    "local_lipschitz_bound": "milpcomp.robustness",
    "merge": "milpcomp.stability.merge",
    "path_lengths": "milpcomp.paths",
    "pgd": "milpcomp.robustness",
    "read_vnnlib": "milpcomp.vnnlib",
    "remove_channels": "milpcomp.channels",
    "rotate": "milpcomp.rotated",
    "save_report": "milpcomp.stability.storage",
    "select_threshold": "milpcomp.rotated",
}

__all__ = [
    "Analysis",
    "BatchResult",
    "Box",
    "Checked",
    "CheckedCompression",
    "Compression",
    "Job",
    "MilpcompError",
    "Network",
    "Removal",
    "Report",
    "RotatedGELU",
    "RotatedReLU",
    "analyze",
    "batch",
    "certified_robustness",
    "certify",
    "certify_in_blocks",
    "check",
    "check_compression",
    "compress",
    "fgsm",
    "filter_graph",
    "load",
    "load_compression",
    "load_report",
    "local_lipschitz_bound",
    "merge",
    "path_lengths",
    "pgd",
    "read_vnnlib",
    "remove_channels",
    "rotate",
    "save_compression",
    "save_report",
    "select_threshold",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'milpcomp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
