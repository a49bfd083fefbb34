"""What `compress` returns: the smaller network, the edits that made it, and how far it can be from the original."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from milpcomp.compression.edits import Collapse, Edit, Fold
from milpcomp.compression.shrink import Origin
from milpcomp.cost import Cost
from milpcomp.network.graph import Network
from milpcomp.network.layers import FloatArray

Tolerance = float | str


@dataclass(frozen=True)
class Skipped:
    """An edit that was possible but not made.

    Parameters
    ----------
    layer, kind : str
        Name of the rectifier, and of the class of the edit.
    channels : tuple of int
    reason : str
    """

    layer: str
    kind: str
    channels: tuple[int, ...]
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Compression:
    """A smaller network, and why it is the same function on the domain.

    Parameters
    ----------
    network : Network
    edits : tuple of Edit
        ``rewrite(original, edits)`` is `network`, bit by bit.
    deviation : ndarray, shape output_shape
        Proved bounds on ``|network(x) - original(x)|`` in real arithmetic, for every x of the domain; 0 means equal.
    measured_gap : float
        Greatest difference seen between the two in float32 arithmetic (torch).
    samples : int
        At how many inputs that was measured.
    before, after : Cost
    unread : int
        How many neurons went without an edit, because nobody reads them (any more).
    origin : mapping from node name to (original node, channels or None)
        What the values of the nodes of `network` are; see `milpcomp.compression.shrink`.
    skipped : tuple of Skipped
    tolerance : "rounding" or float
    trust_solver : bool
        Whether verdicts that rest on a MIP solver's word were acted upon; then `deviation` rests on it too.
    original_digest, domain_digest : str
    """

    network: Network
    edits: tuple[Edit, ...]
    deviation: FloatArray
    measured_gap: float
    samples: int
    before: Cost
    after: Cost
    unread: int
    origin: Mapping[str, Origin]
    skipped: tuple[Skipped, ...]
    tolerance: Tolerance
    trust_solver: bool
    original_digest: str
    domain_digest: str

    def __repr__(self) -> str:
        totals = _totals(self.before, self.after)
        return f"Compression({totals}; {len(self.edits)} edits, proved deviation {self.deviation_bound:.3g})"

    @property
    def deviation_bound(self) -> float:
        """The greatest entry of `deviation`."""
        return float(np.max(self.deviation, initial=0.0))

    def summary(self) -> str:
        """Return what was done and what it gained, as text."""
        lines = [_totals(self.before, self.after), "", *_table(self.before, self.after), ""]
        lines.append(f"edits: {_kinds(self.edits)}")
        lines += [f"besides: {self.unread:,} neuron(s) that nobody reads any more"] * bool(self.unread)
        solver = ", if the MIP solver was right" if self.trust_solver else ""
        exact = "the same function in real arithmetic" if self.deviation_bound == 0 else "in real arithmetic"
        lines.append(f"proved deviation: {self.deviation_bound:.3g} ({exact}{solver})")
        lines.append(f"measured gap in float32: {self.measured_gap:.3g} on {self.samples:,} inputs")
        lines += [
            f"left out: {entry.kind} of {len(entry.channels) or 'all'} channel(s) of {entry.layer}: {entry.reason}"
            for entry in self.skipped
        ]
        return "\n".join(lines)


def _totals(before: Cost, after: Cost) -> str:
    counts = [(name, getattr(before, name), getattr(after, name)) for name in ("neurons", "parameters", "flops")]
    return ", ".join(f"{name} {old:,} -> {new:,}" for name, old, new in counts)


def _table(before: Cost, after: Cost) -> list[str]:
    """Return one line per layer that has neurons, parameters or FLOPs in either network."""
    old, new = ({layer.name: layer for layer in cost.layers} for cost in (before, after))
    rows: list[tuple[str, ...]] = [("layer", "neurons", "parameters", "FLOPs")]
    for name in [*old, *(name for name in new if name not in old)]:
        cells = []
        for field in ("neurons", "parameters", "flops"):
            pair = [getattr(table[name], field) if name in table else 0 for table in (old, new)]
            cells.append(f"{pair[0]:,} -> {pair[1]:,}" if any(pair) else "")
        if any(cells):
            rows.append((name, *cells))
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return ["  ".join([name.ljust(first), *map(str.rjust, cells, others)]).rstrip() for name, *cells in rows]


def _kinds(edits: tuple[Edit, ...]) -> str:
    channels: Counter[str] = Counter()
    for edit in edits:
        channels[type(edit).__name__] += 1 if isinstance(edit, Fold | Collapse) else len(edit.channels)
    words = {"Remove": "removed", "Fix": "constant", "Join": "joined", "Merge": "merged"}
    parts = [f"{channels[kind]} channel(s) {word}" for kind, word in words.items() if channels[kind]]
    parts += [f"{channels['Fold']} layer(s) folded"] * bool(channels["Fold"])
    parts += ["network collapsed to a constant"] * bool(channels["Collapse"])
    return ", ".join(parts) or "none"
