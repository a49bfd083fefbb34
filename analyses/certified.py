"""Shipped networks with their verdicts over [0, 1]^n and their compressions, each decided once in a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import milpcomp as mc
from models import grid

CHECKPOINTS = Path(__file__).resolve().parents[1] / "models" / "checkpoints"
DOMAIN = mc.Box(0.0, 1.0)
LIMIT_S = 60.0
"""Seconds for one network. What is open by then stays undecided and counts as not proved."""


@dataclass(frozen=True, eq=False)
class Certified:
    """A network, what is known of its neurons over [0, 1]^n, and the smaller network made of that."""

    name: str
    network: mc.Network
    report: mc.Report
    smaller: mc.Compression

    @property
    def neurons(self) -> int:
        """Hidden neurons before."""
        return len(self.report.verdicts)

    @property
    def neurons_after(self) -> int:
        """Hidden neurons of the smaller network."""
        return sum(self.smaller.network.width(node.name) for node in self.smaller.network.rectifiers)


def path(name: str) -> Path:
    """Return the weights of ``"mnist-mlp"`` or of a network of the grid, ``"2x100_full"``."""
    own = CHECKPOINTS / f"{name}.safetensors"
    return own if own.is_file() else grid.find(name)


def card(name: str) -> dict[str, Any]:
    """Return the card of a network: how it came about, and what it reaches."""
    found: dict[str, Any] = json.loads(path(name).with_suffix(".json").read_text(encoding="utf-8"))
    return found


@cache
def certified(name: str) -> Certified:
    """Certify and compress a shipped network over [0, 1]^n."""
    network = mc.load(path(name))
    report = mc.certify(network, DOMAIN, time_limit_s=LIMIT_S)
    return Certified(name, network, report, mc.compress(network, report))
