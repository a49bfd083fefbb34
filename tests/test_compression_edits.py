"""Edits as records: what is accepted, what is refused, and that forged reports change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from milpcomp.compression import Collapse, Fix, Fold, Join, Merge, Remove, compress, rewrite
from milpcomp.compression.edits import Edit
from milpcomp.compression.result import Skipped
from milpcomp.domain import Box
from milpcomp.errors import EditError, ResultError
from milpcomp.network import INPUT, Add, Dense, Network, Node, Rectifier
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.handmade import interval_report, report_of, verdict
from tests.nets import chain, diamond

SQUARE = Box(np.zeros(2), np.ones(2))


def wide() -> Network:
    """Return a network whose hidden units are dead, active, active and unstable, in that order."""
    weight = [[1.0, 1.0], [1.0, 0.0], [2.0, 0.0], [1.0, -1.0]]
    return chain((2,), Dense(weight, [-3.0, 1.0, 1.0, 0.0]), Rectifier(), Dense([[1.0, 1.0, 1.0, 1.0]]))


def proofs() -> tuple[Verdict, ...]:
    """Return the true verdicts on `wide`."""
    bounds = [(-3.0, -1.0), (1.0, 2.0), (1.0, 3.0), (-1.0, 1.0)]
    return tuple(verdict("1", unit, low, high) for unit, (low, high) in enumerate(bounds))


DEAD, ACTIVE, ALSO_ACTIVE, UNSTABLE = proofs()
UNDECIDED = Verdict("1", 0, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -3.0, 1.0)


# ---------------------------------------------------------------------------------------------------- rewriting


def test_rewrite_without_edits_returns_the_same_network() -> None:
    """No edit, no change: the digest is that of the original."""
    assert rewrite(wide(), ()).digest == wide().digest


def test_rewrite_depends_on_edits_alone() -> None:
    """Edits are replayed with other verdict times and stages to the same bits."""
    slow = replace(DEAD, stage=Stage.BRANCH, seconds=99.0)
    first, second = (rewrite(wide(), [Remove("1", (0,), (v,))]) for v in (DEAD, slow))
    assert first.digest == second.digest
    assert first.width("1") == 3


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("remove", "is no edit"),
        (Remove("9", (0,), (DEAD,)), "no rectifier of that name"),
        (Remove("0", (0,), (DEAD,)), "no rectifier of that name"),
        (Remove("1", (4,), (DEAD,)), "must list some of its 4 channels in order"),
        (Remove("1", (1, 0), (DEAD, ACTIVE)), "in order"),
        (Remove("1", (0,)), "not proved zero"),
        (Remove("1", (1,), (ACTIVE,)), "not proved zero"),
        (Remove("1", (3,), (UNSTABLE,)), "not proved zero"),
        (Remove("1", (0,), (UNDECIDED,)), "not proved zero"),
        (Remove("1", (0,), (DEAD, DEAD)), "two on one unit"),
        (Remove("1", (0,), (replace(DEAD, layer="3"),)), "another layer"),
        (Merge("1", (2,), (1,), np.ones((1, 1)), np.zeros(1), (ACTIVE,)), "not proved linear"),
        (Merge("1", (2,), (3,), np.ones((1, 1)), np.zeros(1), (ALSO_ACTIVE, UNSTABLE)), "not proved linear"),
        (Merge("1", (2,), (1,), np.ones((2, 1)), np.zeros(1), (ACTIVE, ALSO_ACTIVE)), "other numbers"),
        (Merge("1", (2,), (2,), np.ones((1, 1)), np.zeros(1), (ALSO_ACTIVE,)), "contradict each other"),
        (Fix("1", (0,), (1.0, 2.0)), "other numbers"),
        (Fix("1", (0,), (np.inf,)), "other numbers"),
        (Join("1", (1,), (2,), (-1.0,)), "other numbers"),
        (Join("1", (1,), (7,), (1.0,)), "other numbers"),
        (Fold("1", (1, 2), (1.0, 1.0), False, (ACTIVE, ALSO_ACTIVE)), "leaves out channels"),
        (Fold("1", (1, 2), (1.0, 1.0), True, (ACTIVE, ALSO_ACTIVE)), "leaves out channels"),
        (Fold("1", (0, 1, 2), (1.0, 1.0, 1.0), False, (DEAD, ACTIVE, ALSO_ACTIVE)), "not proved linear"),
        (Fold("1", (1,), (2.0,), False, (ACTIVE,)), "not proved linear"),
        (Collapse(("1",), np.zeros(2)), "collapses to shape"),
    ],
)
def test_unbacked_and_malformed_edits_are_refused(edit: Any, message: str) -> None:
    """An edit must be one, fit the network, and carry verdicts that say what it claims."""
    with pytest.raises(EditError, match=message):
        rewrite(wide(), [edit])


def test_edits_that_contradict_each_other_are_refused() -> None:
    """A channel is dropped once, a base stays, and a network collapses once."""
    remove, collapse = Remove("1", (0,), (DEAD,)), Collapse(("1",), np.zeros(1))
    pairs: list[tuple[Edit, Edit]] = [(remove, Fix("1", (0,), (0.0,))), (remove, Join("1", (1,), (0,), (1.0,)))]
    for pair in pairs:
        with pytest.raises(EditError, match="contradict"):
            rewrite(wide(), pair)
    with pytest.raises(EditError, match="collapses once"):
        rewrite(wide(), [collapse, collapse])


def test_channels_that_an_addition_reads_cannot_be_absorbed() -> None:
    """Fix drops channels only where dense layers or convolutions take over what they were."""
    nodes = [
        Node("fc", Dense(np.eye(2)), (INPUT,)),
        Node("relu", Rectifier(), ("fc",)),
        Node("sum", Add(), ("relu", INPUT)),
    ]
    with pytest.raises(EditError, match=r"also read by 'sum' \(Add\)"):
        rewrite(Network((2,), nodes), [Fix("relu", (0,), (1.0,))])
    with pytest.raises(EditError, match="is the output"):
        rewrite(Network((2,), nodes[:2]), [Fix("relu", (0,), (1.0,))])


def test_only_neighbours_of_a_dense_pair_fuse() -> None:
    """A fold that says so must lie between two dense layers that nobody else reads."""
    verdicts = (verdict("1", 0, 0.0, 1.0), verdict("1", 1, 0.0, 1.0))
    fold = Fold("1", (0, 1), (1.0, 1.0), True, verdicts)
    with pytest.raises(EditError, match="read elsewhere"):
        rewrite(chain((2,), Dense(np.eye(2)), Rectifier()), [fold])
    with pytest.raises(EditError, match="between two dense layers"):
        rewrite(chain((2,), Dense(np.eye(2)), Rectifier(), Rectifier()), [fold])


def test_edits_are_frozen() -> None:
    """Neither the fields nor the arrays of an edit can be changed."""
    merge = Merge("1", (2,), (1,), np.ones((1, 1)), np.zeros(1), (ACTIVE, ALSO_ACTIVE))
    with pytest.raises(AttributeError):
        merge.layer = "2"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        merge.matrix[0, 0] = 2.0


# ---------------------------------------------------------------------------------------------------- reports


def forged(**changes: Any) -> Report:
    """Return the true report on `wide` with a first verdict that is changed."""
    return report_of(wide(), SQUARE, [replace(DEAD, **changes), ACTIVE, ALSO_ACTIVE, UNSTABLE])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": "stably_inactive"}, "which is no Phase"),
        ({"proof": "certified"}, "which is no Proof"),
        ({"stage": "bound"}, "which is no Stage"),
        ({"unit": True}, "which is no int"),
        ({"phase": Phase.UNDECIDED}, "do not go together"),
        ({"phase": Phase.UNSTABLE}, "do not go together"),
        ({"proof": Proof.NONE}, "do not go together"),
        ({"proof": Proof.WITNESSED}, "do not go together"),
        ({"upper": 1e-9}, "do not prove it"),
        ({"phase": Phase.STABLY_ACTIVE}, "do not prove it"),
        ({"upper": np.nan}, "bound nothing"),
        ({"lower": 1.0, "upper": -1.0}, "bound nothing"),
        ({"lower": -3}, "bound nothing"),
        ({"unit": 1}, "one verdict for each"),
    ],
)
def test_forged_verdicts_are_refused(changes: dict[str, Any], message: str) -> None:
    """Plain strings for enums, proofs that do not fit phases, and bounds that prove nothing are errors."""
    with pytest.raises(EditError, match=message):
        compress(wide(), forged(**changes))


def test_incomplete_reports_are_refused() -> None:
    """Verdicts missing, repeated, out of order, or not verdicts at all."""
    for verdicts in (proofs()[:3], (*proofs(), UNSTABLE), proofs()[::-1]):
        with pytest.raises(EditError, match="one verdict for each of the network's 4 neurons"):
            compress(wide(), report_of(wide(), SQUARE, verdicts))
    with pytest.raises(EditError, match="is no verdict"):
        compress(wide(), report_of(wide(), SQUARE, ["dead"] * 4))  # type: ignore[list-item]


def test_reports_of_other_networks_and_domains_are_refused() -> None:
    """A report belongs to one network and one domain."""
    with pytest.raises(ResultError, match="belongs to network"):
        compress(diamond(), report_of(wide(), SQUARE, proofs()))
    with pytest.raises(ResultError, match="is no report"):
        compress(wide(), "certificate.json")  # type: ignore[arg-type]
    with pytest.raises(ResultError, match="input shape"):
        compress(wide(), replace(report_of(wide(), SQUARE, proofs()), domain=Box(0.0, 1.0)))


def test_bounds_that_interval_arithmetic_refutes_are_refused() -> None:
    """Bounds that cannot be met together with the network's own are forged."""
    with pytest.raises(EditError, match="contradict interval arithmetic"):
        compress(wide(), forged(lower=-9.0, upper=-8.0))


def test_solver_verdicts_count_only_if_asked_for() -> None:
    """The word of a solver removes nothing, unless trust_solver=True, and then the result says so."""
    report = forged(proof=Proof.SOLVER, stage=Stage.SOLVER, upper=0.5)
    cautious = compress(wide(), report)
    assert not any(isinstance(edit, Remove) for edit in cautious.edits)
    trusting = compress(wide(), report, trust_solver=True)
    assert [edit.channels for edit in trusting.edits if isinstance(edit, Remove)] == [(0,)]
    assert (cautious.trust_solver, trusting.trust_solver) == (False, True)
    assert "if the MIP solver was right" in trusting.summary()


def test_undecided_neurons_are_never_touched() -> None:
    """A layer of undecided neurons stays whole, with rows that would merge, and equal bounds that prove nothing."""
    network = chain(
        (2,), Dense([[1.0, 1.0], [1.0, 2.0], [2.0, 3.0]], [1.0, 1.0, 1.0]), Rectifier(), Dense(np.ones((1, 3)))
    )
    verdicts = [Verdict("1", i, Phase.UNDECIDED, Stage.NONE, Proof.NONE, 1.0, 3.0 + 2 * i) for i in range(3)]
    result = compress(network, report_of(network, SQUARE, verdicts))
    assert result.network.digest == network.digest
    assert len(compress(network, interval_report(network, SQUARE)).edits) > 0


def test_what_is_left_out_is_listed() -> None:
    """An edit beyond the tolerance is reported with its channels and the deviation it would have brought."""
    network = chain((2,), Dense([[0.0, 0.0], [1.0, -1.0]], [0.1, 0.0]), Rectifier(0.3), Dense([[0.7, 1.0]], [0.9]))
    result = compress(network, interval_report(network, SQUARE), tolerance=0)
    (entry,) = result.skipped
    assert isinstance(entry, Skipped)
    assert (entry.layer, entry.kind, entry.channels) == ("1", "Fix", (0,))
    assert "left out: Fix of 1 channel(s) of 1: the proved deviation would be" in result.summary()
