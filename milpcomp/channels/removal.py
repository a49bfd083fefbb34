"""What `remove_channels` returns: the smaller network, what it is equal to, and what was counted and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from milpcomp.channels.accounting import Accounting
from milpcomp.channels.measure import Measured, Speed
from milpcomp.channels.surgery import is_opaque
from milpcomp.compression import Compression
from milpcomp.network.graph import Network
from milpcomp.network.layers import FloatArray
from milpcomp.stability.report import Report

if TYPE_CHECKING:
    from milpcomp.checker import CheckedCompression
    from milpcomp.rotated.threshold import Threshold


@dataclass(frozen=True, eq=False, repr=False)
class Removal:
    """A network without its dead channels.

    Two steps, kept apart: slopes of at most `gamma` are set to 0, which changes the function unless they were 0 before;
    then everything that is zero by that is cut off, which does not. `compression` and `check` are about this second
    step.

    Parameters
    ----------
    original_digest : str
        Of the network as it was read.
    gamma : float
        The threshold.
    slopes : mapping from activation to ndarray
        As read, before any were set to 0.
    masked : Network
        The network as read, with small slopes set to 0.
    report : Report
        On `masked`: constants are stable, all other neurons undecided. It states the domain.
    compression : Compression
        Of `masked`: the smaller network, the edits, and the proved deviation.
    accounting : Accounting
        What the ignored channels save as the papers count it.
    selection : Threshold or None
        How `gamma` was selected, if it was.
    measured : Measured or None
        What was seen on images, if there were any.
    speed : Speed or None
        Images per second before and after, if it was timed.
    """

    original_digest: str
    gamma: float
    slopes: Mapping[str, FloatArray]
    masked: Network
    report: Report
    compression: Compression
    accounting: Accounting
    selection: Threshold | None = None
    measured: Measured | None = None
    speed: Speed | None = None

    @property
    def network(self) -> Network:
        """The smaller network."""
        return self.compression.network

    @property
    def silenced(self) -> int:
        """How many slopes that were not 0 were set to 0."""
        return sum(int(((own != 0) & (np.abs(own) <= self.gamma)).sum()) for own in self.slopes.values())

    @property
    def exact(self) -> bool:
        """Whether the smaller network was made of the network as read, no slope having been set to 0."""
        return self.masked.digest == self.original_digest

    @property
    def alive(self) -> dict[str, tuple[int, int]]:
        """For each activation, how many channels have slopes greater than `gamma` in size, and how many there are."""
        return {name: (int((np.abs(own) > self.gamma).sum()), len(own)) for name, own in self.slopes.items()}

    @property
    def dead(self) -> int:
        """How many channels have slopes of at most `gamma`."""
        return sum(total - alive for alive, total in self.alive.values())

    @property
    def checkable(self) -> bool:
        """Whether the checker can relate the two networks, as it knows affine layers and rectifiers only."""
        return not is_opaque(self.masked)

    def check(self) -> CheckedCompression:
        """Have the independent checker relate the masked and the smaller network, value by value.

        Raises
        ------
        NetworkError
            If the network holds opaque layers.
        """
        from milpcomp.checker import check_compression

        return check_compression(self.masked, self.compression, self.report.domain, self.report)

    def __repr__(self) -> str:
        total = sum(len(own) for own in self.slopes.values())
        return f"Removal({self.dead} of {total} channels, gamma {self.gamma:g}; {self.compression!r})"
