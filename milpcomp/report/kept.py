"""Why no neuron could be removed: each was kept for a reason, and the reasons are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from milpcomp.network import Network
from milpcomp.report.tables import count
from milpcomp.report.words import many
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import ON_TRUST, STABLE, Phase, Verdict

if TYPE_CHECKING:
    from milpcomp.compression import Compression

UNSTABLE = "switch on and off within the domain"
UNDECIDED = "are undecided"
TRUST = "are stable by what nobody can check, upon which nothing was to be done"
PART = (
    "are stable, but the rest of their channels (feature maps) is not proved stable in the same way, and only whole "
    "channels can go"
)
LEFT_OUT = "are stable, but the edits that this allows were left out, for the reasons that are listed"
NEEDED = "are stable, but needed"


def nothing_removed(network: Network, report: Report, compression: Compression) -> str:
    """Return in a sentence why a compression removed no neuron.

    Parameters
    ----------
    network : Network
        The original.
    report : Report
    compression : Compression
        That left all neurons of the network.
    """
    if not compression.before.neurons:
        return "The network has no hidden neurons, so there was nothing to decide."
    reasons = Counter(_reasons(network, report, compression))
    why = [
        f"{count(reasons[words])} {words}"
        for words in (UNSTABLE, UNDECIDED, TRUST, PART, LEFT_OUT, NEEDED)
        if reasons[words]
    ]
    return f"No neuron could be removed: of {many(compression.before.neurons, 'hidden neuron')}, {'; '.join(why)}."


def _reasons(network: Network, report: Report, compression: Compression) -> Iterator[str]:
    """Yield for each neuron why it stayed."""
    left_out = {(entry.layer, channel) for entry in compression.skipped for channel in entry.channels}
    for layer, verdicts in report.layers().items():
        per_channel = max(1, len(verdicts) // max(1, network.shape(layer)[0]))
        for first in range(0, len(verdicts), per_channel):
            channel = verdicts[first : first + per_channel]
            for verdict in channel:
                reason = _reason(verdict, channel, compression.trust_solver)
                skipped = reason == NEEDED and (layer, first // per_channel) in left_out
                yield LEFT_OUT if skipped else reason


def _reason(verdict: Verdict, channel: tuple[Verdict, ...], trust_solver: bool) -> str:
    if verdict.phase not in STABLE:
        return UNSTABLE if verdict.phase is Phase.UNSTABLE else UNDECIDED
    if verdict.proof in ON_TRUST and not trust_solver:
        return TRUST
    alike = (o.phase is verdict.phase and (trust_solver or o.proof not in ON_TRUST) for o in channel)
    return NEEDED if all(alike) else PART
