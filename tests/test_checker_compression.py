"""The headline claim is accepted where it is true, and rejected however it is falsified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.checker import Finding, check_compression
from milpcomp.checker.compression import SLACK
from milpcomp.checker.document import read_network
from milpcomp.checker.exact import exact_elements
from milpcomp.compression import Fix, Fold, Join, Merge, Remove, compress
from milpcomp.domain import Box
from milpcomp.errors import ResultError
from milpcomp.network import INPUT, Conv2d, Dense, Layer, Network, Node, Rectifier, Reshape, Scale
from milpcomp.stability.certify import certify
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.nets import chain, residual_cnn

UNIT = Box(np.zeros(2), np.ones(2))


@dataclass(frozen=True)
class Claim:
    """A compression as the checker sees it."""

    network: Any
    edits: Any = ()
    origin: Any = None
    deviation_bound: Any = 0.0
    trust_solver: Any = False
    original_digest: Any = None


# by hand --------------------------------------------------------------------------------------------------------------


def merge(channels: tuple[int, ...], base: tuple[int, ...], matrix: Any, shift: Any) -> Merge:
    """Return a merge in the only hidden layer."""
    return Merge("1", channels, base, np.array(matrix), np.array(shift))


def four() -> Network:
    r"""Two inputs in [0, 1], four ReLUs, one output.

    g0 = x1 - x2            unstable                 y = h0 + 2 h1 + 3 h2 + 4 h3 - 1
    g1 = x1 + 1             stably active
    g2 = x1 + x2 + 2        stably active            = g1 + (x2 + 1)
    g3 = x1 + x2 - 3        stably inactive
    """
    weight = [[1.0, -1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    return chain((2,), Dense(weight, [0.0, 1.0, 2.0, -3.0]), Rectifier(), Dense([[1.0, 2.0, 3.0, 4.0]], [-1.0]))


def four_report() -> Report:
    """Return a true report on `four`."""

    def stable(unit: int, phase: Phase, lower: float, upper: float) -> Verdict:
        return Verdict("1", unit, phase, Stage.CLOSED_FORM, Proof.CERTIFIED, lower, upper)

    verdicts = (
        Verdict("1", 0, Phase.UNSTABLE, Stage.CLOSED_FORM, Proof.WITNESSED, -1.0, 1.0, 0, 1),
        stable(1, Phase.STABLY_ACTIVE, 1.0, 2.0),
        stable(2, Phase.STABLY_ACTIVE, 2.0, 4.0),
        stable(3, Phase.STABLY_INACTIVE, -3.0, -1.0),
    )
    return Report(four().digest, UNIT, verdicts, np.array([[1.0, 0.0], [0.0, 1.0]]))


def smaller(first: Any, bias: Any, second: Any, shift: Any, kept: tuple[int, ...], *edits: Any, **rest: Any) -> Claim:
    """Return a claim with the dense network of these numbers, which keeps the units `kept` of `four`."""
    network = chain((2,), Dense(first, bias), Rectifier(), Dense(second, shift))
    origin = {"0": ("0", kept), "1": ("1", kept), "2": ("2", None)}
    return Claim(network, edits, origin, **rest)


def removed() -> Claim:
    """Return `four` without its stably inactive unit."""
    first = [[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
    return smaller(first, [0.0, 1.0, 2.0], [[1.0, 2.0, 3.0]], [-1.0], (0, 1, 2), Remove("1", (3,)))


def merged() -> Claim:
    """Return `three` with g2 = g1 + (g0' = x2 + 1) merged: 2 h1 + 3 (h1 + h3) = 5 h1 + 3 h3."""
    first, bias = [[1.0, -1.0], [1.0, 0.0], [0.0, 1.0]], [0.0, 1.0, 1.0]
    edits = (merge((2,), (1, 3), [[1.0, 1.0]], [0.0]),)
    return smaller(first, bias, [[1.0, 5.0, 7.0]], [-1.0], (0, 1, 3), *edits)


def merging() -> tuple[Network, Report]:
    """Return `four` with g3 = x2 + 1, stably active, so that g2 = g1 + g3."""
    first, bias = [[1.0, -1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [0.0, 1.0, 2.0, 1.0]
    network = chain((2,), Dense(first, bias), Rectifier(), Dense([[1.0, 2.0, 3.0, 4.0]], [-1.0]))
    last = Verdict("1", 3, Phase.STABLY_ACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED, 1.0, 2.0)
    report = four_report()
    return network, replace(report, network_digest=network.digest, verdicts=(*report.verdicts[:3], last))


def test_a_removed_unit() -> None:
    """Removing a stably inactive unit is accepted, with a deviation of exactly 0."""
    checked = check_compression(four(), removed(), UNIT, four_report())
    assert checked.accepted, checked.summary()
    assert checked.deviation_bound == 0
    assert [(e.kind, e.channels, e.finding) for e in checked.edits] == [("Remove", (3,), Finding.ACCEPTED)]
    assert checked.summary() == "ACCEPTED: 1 edits accepted; deviation at most 0 (the same function)"
    assert checked.counts()["accepted"] == 1
    assert checked.report.accepted


def test_merged_units() -> None:
    """Merging a dependent stably active unit is accepted, with a deviation of exactly 0 in whole numbers."""
    network, report = merging()
    checked = check_compression(network, merged(), UNIT, report)
    assert checked.accepted, checked.summary()
    assert checked.deviation_bound == 0


def changed(claim: Claim, node: str, layer: Layer) -> Claim:
    """Return the claim with one layer of its network replaced."""
    nodes = [replace(n, layer=layer) if n.name == node else n for n in claim.network.nodes]
    return replace(claim, network=Network(claim.network.input_shape, nodes))


FIRST, BIAS = np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0.0, 1.0, 2.0])
ULP = np.nextafter(1.0, 2.0)

FALSE: dict[str, Callable[[Claim], Claim]] = {
    "flipped weight": lambda c: changed(c, "2", Dense([[1.0, -2.0, 3.0]], [-1.0])),
    "weight one ulp off": lambda c: changed(c, "2", Dense([[ULP, 2.0, 3.0]], [-1.0])),
    "input weight one ulp off": lambda c: changed(c, "0", Dense(FIRST * [[ULP], [1], [1]], BIAS)),
    "bias one denormal off": lambda c: changed(c, "0", Dense(FIRST, BIAS + np.array([5e-324, 0, 0]))),
    "output bias off": lambda c: changed(c, "2", Dense([[1.0, 2.0, 3.0]], [-1.0 - 1e-12])),
    "slope off": lambda c: changed(c, "1", Rectifier(1.0, 1e-9)),
    "slope of one unit off": lambda c: changed(c, "1", Rectifier([ULP, 1.0, 1.0], 0.0)),
    "channels swapped": lambda c: changed(c, "0", Dense(FIRST[[1, 0, 2]], BIAS[[1, 0, 2]])),
    "columns swapped": lambda c: changed(c, "2", Dense([[2.0, 1.0, 3.0]], [-1.0])),
    "rectifier gone": lambda c: changed(c, "1", Scale(1.0)),
    "edit missing": lambda c: replace(c, edits=()),
    "edit of another unit": lambda c: replace(c, edits=(Remove("1", (0,)),)),
    "edit of an active unit": lambda c: replace(c, edits=(Remove("1", (1, 3)),)),
    "edit of too many units": lambda c: replace(c, edits=(Remove("1", (0, 1, 2, 3)),)),
    "edit of no such unit": lambda c: replace(c, edits=(Remove("1", (4,)),)),
    "edit of a negative unit": lambda c: replace(c, edits=(Remove("1", (-1,)),)),
    "edit of no such layer": lambda c: replace(c, edits=(Remove("7", (3,)),)),
    "edit of a dense layer": lambda c: replace(c, edits=(Remove("0", (3,)),)),
    "edit of truth values": lambda c: replace(c, edits=(Remove("1", (True,)), *c.edits)),
    "fold of an unstable unit": lambda c: replace(c, edits=(*c.edits, Fold("1", (0, 1, 2), (1.0, 1.0, 1.0)))),
    "merge onto an unstable unit": lambda c: replace(c, edits=(*c.edits, merge((1,), (0,), [[1.0]], [0.0]))),
    "merge of other sizes": lambda c: replace(c, edits=(*c.edits, merge((1,), (2,), [[1.0, 2.0]], [0.0]))),
    "join of other sizes": lambda c: replace(c, edits=(*c.edits, Join("1", (1,), (2,), (1.0, 2.0)))),
    "unknown edit": lambda c: replace(c, edits=(*c.edits, SimpleNamespace(layer="1", channels=(0,)))),
    "edit is text": lambda c: replace(c, edits="Remove"),
    "edits None": lambda c: replace(c, edits=None),
    "network None": lambda c: replace(c, network=None),
    "network is text": lambda c: replace(c, network="four"),
    "another input": lambda c: replace(c, network=chain((3,), Dense([[1.0, 1.0, 1.0]]))),
    "another output": lambda c: replace(c, network=chain((2,), Dense([[1.0, 1.0], [1.0, 1.0]]))),
    "another network": lambda c: replace(c, network=chain((2,), Dense([[1.0, 1.0]])), origin={"0": ("2", None)}),
    "output is another node": lambda c: replace(c, network=Network((2,), c.network.nodes[:1], "0")),
    "deviation NaN": lambda c: replace(c, deviation_bound=float("nan")),
    "deviation infinite": lambda c: replace(c, deviation_bound=float("inf")),
    "deviation negative": lambda c: replace(c, deviation_bound=-1.0),
    "deviation None": lambda c: replace(c, deviation_bound=None),
    "deviation a truth value": lambda c: replace(c, deviation_bound=True),
    "made of another network": lambda c: replace(c, original_digest="0" * 64),
    "origin None": lambda c: replace(c, origin=None),
    "origin of unknown nodes": lambda c: replace(c, origin=c.origin | {"9": ("0", (0, 1, 2))}),
    "origin in unknown nodes": lambda c: replace(c, origin=c.origin | {"0": ("9", (0, 1, 2))}),
    "origin of other channels": lambda c: replace(c, origin=c.origin | {"1": ("1", (0, 1, 3))}),
    "origin out of range": lambda c: replace(c, origin=c.origin | {"0": ("0", (0, 1, 4))}),
    "origin huge": lambda c: replace(c, origin=c.origin | {"0": ("0", (0, 1, 10**30))}),
    "origin of other length": lambda c: replace(c, origin=c.origin | {"0": ("0", (0, 1))}),
    "origin of other types": lambda c: replace(c, origin=c.origin | {"0": 3}),
    "origin of text": lambda c: replace(c, origin=c.origin | {"0": ("0", "abc")}),
}


@pytest.mark.parametrize("name", FALSE)
def test_falsified_compressions_are_rejected(name: str) -> None:
    """Whatever is falsified, the claim is rejected, with a reason and without an exception."""
    checked = check_compression(four(), FALSE[name](removed()), UNIT, four_report())
    assert not checked.accepted
    assert checked.summary().startswith("REJECTED")
    assert checked.problems or checked.rejections


def test_a_dropped_unstable_unit() -> None:
    """Dropping an unstable unit is rejected, with or without an edit that says so; the deviation shows its range."""
    claim = smaller(FIRST[1:], BIAS[1:], [[2.0, 3.0]], [-1.0], (1, 2), Remove("1", (3,)))
    checked = check_compression(four(), claim, UNIT, four_report())
    assert checked.deviation_bound == pytest.approx(1.0)  # g0 in [-1, 1]
    assert not checked.accepted
    both = replace(claim, edits=(Remove("1", (0, 3)),))
    assert [e.finding for e in check_compression(four(), both, UNIT, four_report()).edits] == [Finding.REJECTED]
    known = replace(claim, edits=(Remove("1", (3,)), Fix("1", (0,), (0.5,))), deviation_bound=1.0)
    assert check_compression(four(), known, UNIT, four_report()).accepted  # said to be off by up to 1, and so it is
    assert not check_compression(four(), replace(known, deviation_bound=0.4), UNIT, four_report()).accepted


def test_a_duplicated_channel() -> None:
    """A channel that is there twice is rejected, unless its readers share its weight."""
    twice, kept = FIRST[[0, 0, 1, 2]], (0, 0, 1, 2)
    claim = smaller(twice, BIAS[[0, 0, 1, 2]], [[1.0, 1.0, 2.0, 3.0]], [-1.0], kept, Remove("1", (3,)))
    assert not check_compression(four(), claim, UNIT, four_report()).accepted


def test_merges_that_are_none() -> None:
    """A merge with the wrong numbers, or the wrong weights after it, is rejected."""
    network, report = merging()
    for weight, shift in (([[1.0, 5.0, 7.0 + 1e-13]], [-1.0]), ([[1.0, 5.0, 7.0]], [-1.0 + 1e-13]),
                          ([[1.0, 2.0, 4.0]], [-1.0])):  # fmt: skip
        claim = changed(merged(), "2", Dense(weight, shift))
        assert not check_compression(network, claim, UNIT, report).accepted
    assert not check_compression(network, replace(merged(), edits=()), UNIT, report).accepted


def test_verdicts_that_do_not_hold() -> None:
    """An edit is rejected if its verdict is undecided, flipped, or refuted, and the report must belong."""
    report = four_report()
    fields: Sequence[Mapping[str, Any]] = (
        {"phase": Phase.UNDECIDED, "stage": Stage.NONE, "proof": Proof.NONE},
        {"phase": Phase.STABLY_ACTIVE, "lower": 0.0, "upper": 1.0},
        {"upper": -2.5},
    )
    for change in fields:
        false = replace(report, verdicts=(*report.verdicts[:3], replace(report.verdicts[3], **change)))
        checked = check_compression(four(), removed(), UNIT, false)
        assert [entry.finding for entry in checked.rejections] == [Finding.REJECTED]
        assert "no accepted verdict" in checked.summary()
    with pytest.raises(ResultError):
        check_compression(four(), removed(), UNIT, replace(report, network_digest="0"))


def test_solver_verdicts_are_acted_upon_only_if_trusted() -> None:
    """An edit on a solver's word is rejected, or, where the compression says so, accepted and listed as on trust."""
    report = four_report()
    word = replace(report.verdicts[3], proof=Proof.SOLVER, stage=Stage.SOLVER, lower=-9.0, upper=9.0)
    report = replace(report, verdicts=(*report.verdicts[:3], word))
    for trust in (False, 1, "yes", None):
        assert not check_compression(four(), replace(removed(), trust_solver=trust), UNIT, report).accepted
    checked = check_compression(four(), replace(removed(), trust_solver=True), UNIT, report)
    assert checked.accepted
    assert [entry.finding for entry in checked.on_trust] == [Finding.NOT_CHECKABLE]
    assert "the word of a solver for 1 units" in checked.summary()


def test_joined_units() -> None:
    """Unstable units that are positive multiples of each other join; with a negative factor they do not."""
    network = chain((2,), Dense([[1.0, -1.0], [2.0, -2.0]]), Rectifier(1.0, 0.5), Dense([[1.0, 3.0]]))
    box = Box(np.full(2, -1.0), np.ones(2))
    report = certify(network, box)
    origin = {"0": ("0", (0,)), "1": ("1", (0,)), "2": ("2", None)}
    joined = chain((2,), Dense([[1.0, -1.0]]), Rectifier(1.0, 0.5), Dense([[7.0]]))
    claim = Claim(joined, (Join("1", (1,), (0,), (2.0,)),), origin)
    assert check_compression(network, claim, box, report).accepted
    assert not check_compression(network, replace(claim, edits=()), box, report).accepted
    for false in (Join("1", (1,), (0,), (3.0,)), Join("1", (1,), (0,), (-2.0,)), Join("1", (1,), (1,), (1.0,))):
        assert not check_compression(network, replace(claim, edits=(false,)), box, report).accepted
    other = chain((2,), Dense([[1.0, -1.0], [2.0, -2.0]]), Rectifier([1.0, 1.0], [0.5, 0.25]), Dense([[1.0, 3.0]]))
    assert not check_compression(other, claim, box, certify(other, box)).accepted


@pytest.mark.parametrize(("second", "bias", "factor"), [(2.0, 0.0, 3.0), (-2.0, 0.0, -2.0), (2.0, 1e-9, 2.0)])
def test_joins_that_are_none(second: float, bias: float, factor: float) -> None:
    """With a wrong or negative factor, or a bias that does not fit, a join is rejected, even if the readers fit it."""
    network = chain((1,), Dense([[1.0], [second]], [0.0, bias]), Rectifier(1.0, 0.5), Dense([[1.0, 3.0]]))
    box = Box(np.array([-1.0]), np.ones(1))
    joined = chain((1,), Dense([[1.0]]), Rectifier(1.0, 0.5), Dense([[1.0 + 3.0 * factor]]))
    claim = Claim(joined, (Join("1", (1,), (0,), (factor,)),), {"0": ("0", (0,)), "1": ("1", (0,)), "2": ("2", None)})
    checked = check_compression(network, claim, box, certify(network, box))
    assert not checked.accepted
    assert checked.deviation_bound >= deviations(network, joined, box, np.random.default_rng(0)) > 0


def test_a_stable_unit_that_is_bent_in_the_final_network() -> None:
    """A unit that is linear in the original is not in the final network if its bias is lower, and must not count so."""
    low = 1e-6
    network = chain((1,), Dense([[1.0], [2.0]]), Rectifier(), Dense([[1.0, 1.0]]))
    final = chain((1,), Dense([[1.0], [2.0]], [0.0, -low]), Rectifier(), Dense([[1.0, 1.0]], [low]))
    box = Box(np.zeros(1), np.ones(1))  # at 0 the original is 0, the final one is low
    edit = Merge("1", (1,), (0,), np.array([[2.0]]), np.zeros(1))
    origin: dict[str, Any] = {"1": ("1", None)}
    for claim in (Claim(final, (edit,), origin), Claim(final, (edit,), origin | {"0": ("0", None)})):
        checked = check_compression(network, claim, box, certify(network, box))
        assert checked.deviation_bound >= low
        assert not checked.accepted


def test_bounds_of_a_carried_value_make_room_for_its_difference() -> None:
    """A final value that is 0.25 larger than what it carries in [0, 1] may be 1.25, and twice that differs by 1.5."""
    network = chain((1,), Dense([[1.0]]), Dense([[1.0]]))
    final = chain((1,), Dense([[1.0]], [0.25]), Dense([[2.0]]))
    claim = Claim(final, (), {"0": ("0", None), "1": ("1", None)}, 1.5)
    box = Box(np.zeros(1), np.ones(1))
    report = Report(network.digest, box, (), np.zeros((0, 1)))
    checked = check_compression(network, claim, box, report)
    assert checked.deviation_bound >= 1.5 == deviations(network, final, box, np.random.default_rng(0))
    assert checked.accepted
    assert not check_compression(network, replace(claim, deviation_bound=1.0), box, report).accepted


def test_constants_do_not_cross_padding() -> None:
    """Folding a constant channel into the bias of a padded convolution is rejected: the border sees 0."""
    rng = np.random.default_rng(3)
    first = np.concatenate([rng.normal(size=(1, 1, 1, 1)), np.zeros((1, 1, 1, 1))])
    second = rng.normal(size=(1, 2, 3, 3))
    for padding in (0, 1):
        pad = (padding,) * 4
        width = 2 + 2 * padding
        end: tuple[Layer, ...] = (Reshape((width * width,)), Dense(rng.normal(size=(1, width * width))))
        network = chain((1, 4, 4), Conv2d(first, [0.0, 1.0]), Rectifier(), Conv2d(second, padding=pad), *end)
        without = chain(
            (1, 4, 4), Conv2d(first[:1]), Rectifier(), Conv2d(second[:, :1], [second[0, 1].sum()], padding=pad), *end
        )
        box = Box(np.full((1, 4, 4), -1.0), np.ones((1, 4, 4)))
        origin = {"0": ("0", (0,)), "1": ("1", (0,)), "2": ("2", None), "4": ("4", None)}
        claim = Claim(without, (Fix("1", (1,), (1.0,)),), origin, 1e-12)
        assert check_compression(network, claim, box, certify(network, box)).accepted == (padding == 0)


# made by compress -----------------------------------------------------------------------------------------------------


def planted(seed: int) -> tuple[Network, Box]:
    """Return a network with dead, duplicate, dependent and stable units, slopes of any sign, and a small box."""
    rng = np.random.default_rng(seed)
    widths, whole = [2, int(rng.integers(2, 6)), int(rng.integers(1, 5)), 2], seed % 3 == 0
    layers: list[Layer] = []
    for n, m in pairwise(widths):
        weight, bias = (rng.integers(-3, 4, size=s).astype(float) if whole else rng.normal(size=s) for s in ((m, n), m))
        for i in range(1, m):
            kind = rng.integers(6)
            if kind == 0:
                weight[i], bias[i] = 2 * weight[i - 1], 2 * bias[i - 1]
            elif kind == 1:
                weight[i], bias[i] = -np.abs(weight[i]), -abs(bias[i])
            elif kind == 2:
                weight[i], bias[i] = weight[i - 1] - weight[0], 9.0
        slopes: list[tuple[Any, Any]] = [
            (1.0, 0.0),
            (rng.normal(size=m), 0.0),
            (rng.integers(-3, 4, size=m) / 2, rng.normal(size=m)),
        ]
        layers += [Dense(weight, bias), Rectifier(*slopes[int(rng.integers(3))])]
    low = rng.normal(size=2) * 0.3
    return chain((2,), *layers[:-1]), Box(low, low + rng.uniform(0, 1, size=2))


def deviations(network: Network, other: Network, box: Box, rng: np.random.Generator) -> Fraction:
    """Return the greatest exact difference of two networks at some points of the box."""
    models = [read_network(n) for n in (network, other)]
    points = [box.lower, box.upper, *box.clip(rng.uniform(box.lower, box.upper, size=(2, *box.shape)))]
    worst = Fraction(0)
    for point in points:
        ours, theirs = (exact_elements(m, point.reshape(-1), m.output, range(m.size(m.output))) for m in models)
        worst = max([worst, *(abs(a - b) for a, b in zip(ours, theirs, strict=True))])
    return worst


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([{}, {"tolerance": 0}, {"tolerance": 1e-2, "trust_solver": True}]))
def test_true_compressions_are_accepted(seed: int, options: dict[str, Any]) -> None:
    """What compress makes of planted networks is accepted, and exact samples stay within the proved bound."""
    network, box = planted(seed)
    report = certify(network, box)
    smaller_one = compress(network, report, **options)
    checked = check_compression(network, smaller_one, box, report)
    assert checked.accepted, checked.summary()
    assert deviations(network, smaller_one.network, box, np.random.default_rng(seed)) <= checked.deviation_bound


def tamper(seed: int, data: st.DataObject) -> bool:
    """Tamper with numbers, edits, origins and bounds, and tell whether what is accepted is true at exact samples."""
    network, box = planted(seed)
    report = certify(network, box)
    true = compress(network, report)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    nodes = list(true.network.nodes)
    at = data.draw(st.integers(0, len(nodes) - 1))
    nodes[at] = replace(nodes[at], layer=tampered(nodes[at].layer, rng))
    origin = dict(true.origin)
    if data.draw(st.booleans()) and origin:
        name = data.draw(st.sampled_from(sorted(origin)))
        source, channels = origin[name]
        origin[name] = (source, tuple(rng.permutation(channels).tolist()) if channels else None)
    edits = [edit for edit in true.edits if data.draw(st.booleans())]
    bound = data.draw(st.sampled_from([0.0, 1e-300, 1e-15, 1e-9, 1e-3, true.deviation_bound]))
    claim = Claim(Network((2,), nodes, true.network.output), tuple(edits), origin, bound)
    checked = check_compression(network, claim, box, report)
    worst = deviations(network, claim.network, box, rng)
    proved = not np.isfinite(checked.deviation_bound) or worst <= Fraction(checked.deviation_bound)
    return proved and (not checked.accepted or worst <= Fraction(SLACK * bound))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.data())
def test_no_false_compression_is_accepted(seed: int, data: st.DataObject) -> None:
    """However a compression is tampered with, what is accepted is true at exact samples, and so is the bound."""
    assert tamper(seed, data)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.integers(0, 10**6), st.data())
def test_no_false_compression_is_accepted_in_hundreds_of_cases(seed: int, data: st.DataObject) -> None:
    """The same as above, in hundreds of cases."""
    assert tamper(seed, data)


def tampered(layer: Layer, rng: np.random.Generator) -> Layer:
    """Return a layer with one number changed, by a factor close to 1 or by its sign."""
    factor = float(rng.choice([-1.0, 0.0, 1 + 2.0**-52, 1 + 1e-9, 1 + 1e-3, 2.0]))
    names = {name: array.copy() for name, array in layer.arrays().items() if array.size and array.dtype.kind == "f"}
    if not names:
        return layer
    name = sorted(names)[int(rng.integers(len(names)))]
    flat = names[name].reshape(-1)
    flat[int(rng.integers(len(flat)))] *= factor
    names[name] = flat.reshape(names[name].shape)
    fields = {
        "Dense": ("weight", "bias"),
        "Scale": ("scale", "shift"),
        "Rectifier": ("positive_slope", "negative_slope"),
    }
    kinds = {"Dense": Dense, "Scale": Scale, "Rectifier": Rectifier}
    kind = type(layer).__name__
    return kinds[kind](*(names.get(field, getattr(layer, field)) for field in fields[kind]))


def test_a_compressed_image_network() -> None:
    """A residual image network that lost a channel is accepted as the same function, and a changed filter is not."""
    network = residual_cnn(np.random.default_rng(1))
    box = Box(np.zeros((2, 6, 6)), np.full((2, 6, 6), 0.01))
    report = certify(network, box)
    made = compress(network, report)
    assert made.edits
    checked = check_compression(network, made, box, report)
    assert checked.accepted
    assert checked.deviation_bound == 0
    nodes = [
        replace(n, layer=replace(n.layer, weight=n.layer.weight * (1 + 2.0**-50))) if isinstance(n.layer, Conv2d) else n
        for n in made.network.nodes
    ]
    false = replace(made, network=Network((2, 6, 6), nodes))
    assert not check_compression(network, false, box, report).accepted


def test_what_nothing_reads_may_go() -> None:
    """A unit that no weight reads may be dropped without an edit, and a layer that only copies may vanish."""
    network = Network(
        (2,),
        [
            Node("a", Dense([[1.0, -1.0], [1.0, 1.0]]), (INPUT,)),
            Node("b", Reshape((2,)), ("a",)),
            Node("c", Rectifier(), ("b",)),
            Node("d", Dense([[1.0, 0.0]]), ("c",)),
        ],
    )
    kept = Network(
        (2,),
        [
            Node("a", Dense([[1.0, -1.0]]), (INPUT,)),
            Node("c", Rectifier(), ("a",)),
            Node("d", Dense([[1.0]]), ("c",)),
        ],
    )
    claim = Claim(kept, (), {"a": ("a", (0,)), "c": ("c", (0,)), "d": ("d", None)})
    checked = check_compression(network, claim, UNIT, certify(network, UNIT))
    assert checked.accepted
    assert checked.summary().startswith("ACCEPTED: no edits")
