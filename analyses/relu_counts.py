"""ReLUs per input, before and after, as the literature on private inference counts them.

    ReLUs of a network = sum over rectifiers of channels * height * width        one evaluation each for every input

In private inference a ReLU is a cryptographic protocol and everything linear is cheap, so that the number of ReLUs is
the cost. Of those that compression leaves, the stably active ones are linear on the domain, by proof: they compute
nothing that would need the protocol.

Counted like Jha, Ghodsi, Garg and Reagen, DeepReDuce (ICML 2021), and Peng et al., AutoReP (ICCV 2023). Those remove
ReLUs at some cost in accuracy; here the function stays the same.
"""

from __future__ import annotations

from collections import Counter

import milpcomp as mc
from analyses import certified
from analyses.book.entry import Context, Made
from analyses.tables import Table
from milpcomp.stability.verdict import ON_TRUST, STABLE

QUICK = ("mnist-mlp", "2x50_proximal", "2x100_half", "2x100_full", "2x100_proximal", "3x100_proximal")
"""Networks over [0, 1]^784."""

FULL = (*QUICK, "2x200_proximal", "4x100_proximal", "5x100_proximal")

RESNET = "cifar10-resnet20-type2-proximal"
COLUMNS = ("network", "accuracy %", "ReLUs", "left", "of these proved linear", "needed", "saved %")


def relus(network: mc.Network) -> dict[str, int]:
    """Return how many ReLUs each rectifier evaluates for one input."""
    return {node.name: network.width(node.name) for node in network.rectifiers}


def proved_linear(report: mc.Report) -> int:
    """Return how many of the ReLUs of a network its report proves stable: on the domain they are linear."""
    return sum(verdict.phase in STABLE and verdict.proof not in ON_TRUST for verdict in report.verdicts)


def by_resolution(network: mc.Network) -> dict[str, int]:
    """Return the ReLUs of an image network by height x width."""
    found: Counter[str] = Counter()
    for name, count in relus(network).items():
        found["×".join(str(n) for n in network.shape(name)[1:])] += count
    return dict(found)


def dense_row(name: str) -> tuple[str, ...]:
    """Return the row of a dense network; the smaller one is certified anew, to see what of it is linear."""
    own = certified.certified(name)
    smaller = own.smaller.network
    linear = proved_linear(mc.certify(smaller, certified.DOMAIN, time_limit_s=certified.LIMIT_S))
    before, left = (sum(relus(net).values()) for net in (own.network, smaller))
    return _row(name, f"{100 * certified.card(name)['test_accuracy']:.2f}", before, left, linear)


def resnet_rows() -> list[tuple[str, ...]]:
    """Return the rows of the rotated ResNet-20 without its channels of slope exactly 0: all, and by resolution."""
    path = certified.path(RESNET)
    network = mc.load(path, architecture="models.resnet:rotated_resnet20", input_shape=(3, 32, 32))
    smaller = mc.remove_channels(network, threshold=0.0).network
    accuracy = f"{100 * certified.card(RESNET)['results']['test_accuracy']:.2f}"
    rows = [_row(RESNET, accuracy, sum(relus(network).values()), sum(relus(smaller).values()), None)]
    after = by_resolution(smaller)
    return rows + [
        _row(f"– of it {at}", "", count, after.get(at, 0), None) for at, count in by_resolution(network).items()
    ]


def relu_table(context: Context) -> Made:
    """Return the counts of the shipped networks."""
    rows = [dense_row(name) for name in (FULL if context.full else QUICK)] + resnet_rows()
    notes = (
        "Networks of dense layers are decided over all inputs in [0, 1]^784. 'Needed' are the ReLUs that are left and "
        "not proved linear there; the smaller network computes the same function, by proof.",
        f"Of {RESNET} the channels of slope exactly 0 are removed, which changes no output for any input; "
        "nothing is proved about the phases of the others.",
    )
    return Made(Table("", COLUMNS, tuple(rows)), notes=notes)


def _row(name: str, accuracy: str, before: int, left: int, linear: int | None) -> tuple[str, ...]:
    needed = left - (linear or 0)
    proved = "–" if linear is None else f"{linear:,}"
    return (name, accuracy, f"{before:,}", f"{left:,}", proved, f"{needed:,}", f"{100 * (1 - needed / before):.1f}")
