"""Merging reports: everything that any of them knows, proofs that still check, and no contradiction resolved."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.errors import ResultError, SettingsError
from milpcomp.network import Dense, Network, Rectifier
from milpcomp.stability.merge import merge
from milpcomp.stability.report import Report
from milpcomp.stability.sections import Section, united
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.nets import chain, mlp

UNIT = mc.Box(np.zeros(2), np.ones(2))


def three() -> Network:
    """Return a layer of three neurons over [0, 1]^2, by hand: g1 = x1 - x2, g2 = x1 + x2 - 3 <= -1, g3 = 0."""
    return chain(
        (2,), Dense([[1.0, -1.0], [1.0, 1.0], [0.0, 0.0]], [0.0, -3.0, 0.0]), Rectifier(), Dense(np.ones((1, 3)))
    )


def report(*verdicts: Verdict, witnesses: tuple[tuple[float, float], ...] = (), **fields: object) -> Report:
    """Return a report on that layer; neurons without a verdict are undecided."""
    said = {verdict.unit: verdict for verdict in verdicts}
    undecided = Verdict("1", 0, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -3.0, 3.0)
    inputs = np.array(witnesses, dtype=np.float64).reshape(-1, 2)
    own = tuple(said.get(unit, replace(undecided, unit=unit)) for unit in range(3))
    return Report(three().digest, UNIT, own, inputs, **fields)  # type: ignore[arg-type]


def stable(unit: int, phase: Phase, lower: float, upper: float, proof: Proof = Proof.CERTIFIED) -> Verdict:
    """Return a verdict of stability."""
    stage = {Proof.CERTIFIED: Stage.BOUND, Proof.UNCERTIFIED: Stage.BRANCH, Proof.SOLVER: Stage.SOLVER}[proof]
    return Verdict("1", unit, phase, stage, proof, lower, upper)


def seen(unit: int, active: int | None = None, inactive: int | None = None) -> Verdict:
    """Return what is known of a neuron by its witnesses."""
    known = (Phase.UNDECIDED, Stage.NONE, Proof.NONE)
    if active is not None and inactive is not None:
        known = (Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED)
    return Verdict("1", unit, *known, -3.0, 3.0, active, inactive)


def test_everything_that_any_knows() -> None:
    """Bounds are met, signs from two reports make a neuron unstable, equal witnesses once; the checker agrees."""
    one = report(seen(0, active=0), stable(1, Phase.STABLY_INACTIVE, -3.0, -1.0), witnesses=((1.0, 0.0),))
    two = report(replace(seen(0, inactive=1), upper=2.0), witnesses=((1.0, 0.0), (0.0, 1.0)))
    both = merge([one, two])
    first, second, third = both.verdicts
    assert (first.phase, first.stage, first.proof, first.lower, first.upper) == (
        Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, -3.0, 2.0,
    )  # fmt: skip
    assert both.witnesses.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert (first.active_witness, first.inactive_witness) == (0, 1)
    assert second == one.verdicts[1]
    assert third.phase is Phase.UNDECIDED
    assert mc.check(three(), UNIT, both).accepted
    assert merge([two, one]).counts() == both.counts()
    assert merge([one]).verdicts == one.verdicts


def test_the_best_founded_verdict_stays() -> None:
    """A proof outranks a solver's word, whichever comes first; a word alone stays a word."""
    word = report(*(stable(unit, Phase.STABLY_INACTIVE, -3.0, 3.0, Proof.SOLVER) for unit in (1, 2)))
    proof = report(stable(1, Phase.STABLY_INACTIVE, -3.0, -1.0))
    for both in (merge([word, proof]), merge([proof, word])):
        assert [verdict.proof for verdict in both.verdicts] == [Proof.NONE, Proof.CERTIFIED, Proof.SOLVER]


def test_a_neuron_that_is_zero_is_both() -> None:
    """Stably inactive by one proof and stably active by another: the neuron is 0, which is filed as inactive."""
    both = merge(
        [report(stable(2, Phase.STABLY_ACTIVE, 0.0, 3.0)), report(stable(2, Phase.STABLY_INACTIVE, -3.0, 0.0))]
    )
    verdict = both.verdicts[2]
    assert (verdict.phase, verdict.lower, verdict.upper) == (Phase.STABLY_INACTIVE, 0.0, 0.0)
    assert mc.check(three(), UNIT, both).accepted


BOTH_SIGNS = ((1.0, 0.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (stable(0, Phase.STABLY_INACTIVE, -3.0, 0.0), seen(0, 0, 1), "certified.*witnessed.*One of them is false"),
        (stable(0, Phase.STABLY_ACTIVE, 0.0, 3.0), seen(0, 0, 1), "certified.*witnessed.*One of them is false"),
        (
            stable(0, Phase.STABLY_ACTIVE, 0.0, 3.0),
            seen(0, inactive=1),
            "stably active .certified.*undecided.*inactive on an input",
        ),
        (stable(0, Phase.STABLY_ACTIVE, -3.0, 3.0, Proof.SOLVER), seen(0, 0, 1), "a solver was wrong"),
        (stable(0, Phase.STABLY_ACTIVE, 1.0, 3.0), stable(0, Phase.STABLY_INACTIVE, -3.0, -1.0), "1, 3.*-3, -1"),
        (
            stable(0, Phase.STABLY_ACTIVE, -3.0, 3.0, Proof.SOLVER),
            stable(0, Phase.STABLY_INACTIVE, -3.0, 0.0),
            "a solver was wrong",
        ),
    ],
)
def test_contradictions_are_refused(one: Verdict, two: Verdict, words: str) -> None:
    """Verdicts that cannot both be true are an error that names the neuron and both sides, in either order."""
    reports = [report(one, witnesses=BOTH_SIGNS), report(two, witnesses=BOTH_SIGNS)]
    with pytest.raises(ResultError, match=rf"contradict each other at 1\[0\].*{words}"):
        merge(reports)
    with pytest.raises(ResultError, match=r"contradict each other at 1\[0\]"):
        merge(reports[::-1])


def test_only_reports_on_the_same() -> None:
    """Another network, another domain, nothing at all, or what is no report: one clear error."""
    own = report()
    with pytest.raises(ResultError, match="different networks"):
        merge([own, replace(own, network_digest="ab" * 32)])
    with pytest.raises(ResultError, match="different domains"):
        merge([own, replace(own, domain=mc.Box(np.zeros(2), np.full(2, 2.0)))])
    with pytest.raises(ResultError, match="contradicts itself"):
        merge([own, report(stable(1, Phase.STABLY_INACTIVE, -3.0, 1.0))])
    for nothing in ([], [own, "report"]):
        with pytest.raises(SettingsError, match="at least one Report"):
            merge(nothing)  # type: ignore[arg-type]


def test_minus_zero_is_zero() -> None:
    """Boxes that differ in the sign of a zero are the same domain: reports about them merge, and one goes on."""
    signed = mc.Box(np.full(2, -0.0), np.ones(2))
    assert signed.same_as(UNIT)
    assert not signed.same_as(mc.Box(0.0, 1.0))  # of another shape
    other = replace(report(stable(1, Phase.STABLY_INACTIVE, -3.0, -1.0)), domain=signed)
    assert merge([report(), other]).verdicts[1].phase is Phase.STABLY_INACTIVE
    assert mc.check(three(), signed, mc.certify(three(), UNIT, start=other)).accepted


def test_what_is_said_of_the_runs() -> None:
    """Shared settings stay, others are listed; versions are joined; stages take the longest; the first end is told."""
    one = report(settings={"seed": 0, "method": "funnel"}, versions={"a": "1"}, stage_seconds={"bound": 1.0})
    seconds = {"bound": 3.0, "branch": 2.0}
    two = report(
        settings={"seed": 1, "method": "funnel"}, versions={"a": "2"}, stage_seconds=seconds, ended="time limit"
    )
    both = merge([one, two])
    assert both.settings == {"method": "funnel", "merged": [one.settings, two.settings]}
    assert both.versions == {"a": "1, 2"}
    assert both.stage_seconds == {"bound": 3.0, "branch": 2.0}
    assert both.ended == "time limit"
    assert merge([one, one]).settings == one.settings


NET, BOX = mlp([3, 12, 12, 12, 12, 3], np.random.default_rng(1)), mc.Box(-0.4, 0.4)


@cache
def halves() -> tuple[Report, Report]:
    """Return two reports that know nothing of each other, on the even and on the odd neurons of a network."""
    layers = {node.name: NET.width(node.name) for node in NET.rectifiers}
    return tuple(  # type: ignore[return-value]
        mc.certify(NET, BOX, seed=k, neurons={layer: range(k, width, 2) for layer, width in layers.items()})
        for k in (0, 1)
    )


def test_proofs_keep_their_ground() -> None:
    """Proofs by cases of two runs, each on bounds of its own, are accepted when merged; in one list they are not."""
    both = merge(halves())
    assert both.counts()["undecided"] == 0
    assert sum(isinstance(proof, BranchProof) for proof in both.proofs) > 2
    assert both.sections == (Section(0), Section(len(halves()[0].proofs)))
    assert mc.check(NET, BOX, both).accepted
    in_order = tuple(sorted(both.proofs, key=lambda proof: isinstance(proof, BranchProof)))
    assert not mc.check(NET, BOX, replace(both, proofs=in_order, sections=())).accepted


def test_a_common_start_is_kept_once() -> None:
    """Blocks that started from one report hold its proofs; merged, these are there once, and a run goes on from all."""
    first = mc.certify(NET, BOX, neurons={"1": range(12), "3": range(12)})
    blocks = [mc.certify(NET, BOX, start=first, neurons={"5": units}) for units in (range(6), range(6, 12))]
    both = merge(blocks)
    assert len(both.proofs) == sum(len(block.proofs) for block in blocks) - len(first.proofs)
    assert [section.parents for section in both.sections] == [(), (0,), (0,)]
    later = mc.certify(NET, BOX, start=both, neurons={"7": range(12)})
    assert later.sections[-1] == Section(len(both.proofs), (1, 2))
    assert mc.check(NET, BOX, later).accepted
    assert united([later.chain, both.chain, first.chain]) == later.chain
