"""Numbers on which complete verifiers err: not one wrong verdict, by any method; undecided is allowed, and counted."""

from __future__ import annotations

from functools import cache
from itertools import count

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Verdict
from tests.exact import PALETTE, awkward_box, awkward_mlp
from tests.hard_numerics import Hard, all_cases
from tests.oracle import Ranges, exact_ranges

CASES = {case.name: case for case in all_cases()}


@cache
def truth(name: str) -> Ranges:
    """Return the exact ranges of all neurons of a case."""
    return exact_ranges(CASES[name].network, CASES[name].box)


@cache
def decided(name: str, method: str) -> Report:
    """Return what a method says about a case."""
    case = CASES[name]
    with np.errstate(over="ignore", invalid="ignore"):  # numpy warns where a box reaches beyond all floats
        return mc.certify(case.network, case.box, method=method, neuron_time_limit_s=2.0, time_limit_s=10.0)


@cache
def awkward(seed: int) -> Hard:
    """Return a random network of awkward numbers with two inputs, over an awkward box."""
    for k in count(1000 * seed):
        rng = np.random.default_rng(k)
        network = awkward_mlp(rng, PALETTE)
        if network.input_shape == (2,) and len(network.rectifiers) > 1:
            return Hard(f"awkward {k}", network, mc.Box(*awkward_box(rng, (2,))), (0, 0))
    raise AssertionError


def wrong(verdict: Verdict, ranges: Ranges) -> str:
    """Return what is false about a verdict, or ""."""
    least, most = ranges[verdict.layer][verdict.unit]
    holds = {
        Phase.STABLY_INACTIVE: most <= 0,
        Phase.STABLY_ACTIVE: least >= 0,
        Phase.UNSTABLE: least < 0 < most,
        Phase.UNDECIDED: True,
    }[verdict.phase]
    holds = holds and verdict.lower <= least and most <= verdict.upper
    return "" if holds else f"{verdict} is false: the true range is [{float(least)}, {float(most)}]"


def judged(method: str, cases: dict[str, Hard]) -> tuple[list[str], list[str], int]:
    """Return what is wrong, which neurons are undecided, and how many there are."""
    errors, undecided, total = [], [], 0
    for name in cases:
        report = decided(name, method)
        found = [(verdict, wrong(verdict, truth(name))) for verdict in report.verdicts]
        total += len(found)
        errors += [f"{name}: {reason}" for _, reason in found if reason]
        undecided += [f"{name}: {v.layer}[{v.unit}]" for v, _ in found if v.phase is Phase.UNDECIDED]
    return errors, undecided, total


@pytest.mark.parametrize("name", CASES)
def test_the_truth_is_as_constructed(name: str) -> None:
    """Exact arithmetic over all cells confirms the signs that each case was built for."""
    least, most = truth(name)[CASES[name].network.rectifiers[-1].name][0]
    assert tuple((value > 0) - (value < 0) for value in (least, most)) == CASES[name].signs


def test_the_funnel_is_never_wrong() -> None:
    """Over all cases, no verdict of the default method is wrong, and few neurons stay undecided."""
    errors, undecided, total = judged("funnel", CASES)
    summary = f"{len(errors)} wrong, {len(undecided)} of {total} undecided: " + "; ".join(undecided)
    print(summary)
    assert not errors, "\n".join([summary, *errors])
    assert len(undecided) <= total // 5, summary


@pytest.mark.slow
@pytest.mark.parametrize("method", ["one-solve", "per-neuron"])
def test_the_published_methods_are_never_wrong(method: str) -> None:
    """Nor is any of the baselines on HiGHS, whose tolerances these numbers were made for."""
    errors, undecided, total = judged(method, CASES)
    summary = f"{method}: {len(errors)} wrong, {len(undecided)} of {total} undecided: " + "; ".join(undecided)
    print(summary)
    assert not errors, "\n".join([summary, *errors])


def test_the_checker_accepts_what_is_certified() -> None:
    """Every report of the default method passes: all that is certified or witnessed is accepted."""
    for name, case in CASES.items():
        report = decided(name, "funnel")
        checked = mc.check(case.network, case.box, report)
        assert checked.accepted, f"{name}: {checked.summary()}"
        claims = sum(verdict.proof in (Proof.CERTIFIED, Proof.WITNESSED) for verdict in report.verdicts)
        assert checked.counts()["accepted"] == claims


def confirm(seeds: range) -> int:
    """Certify and check random awkward networks, assert that nothing is wrong, and return how many stay undecided."""
    undecided = 0
    for seed in seeds:
        case = awkward(seed)
        ranges = exact_ranges(case.network, case.box)
        with np.errstate(over="ignore", invalid="ignore"):
            report = mc.certify(case.network, case.box, neuron_time_limit_s=1.0, time_limit_s=5.0)
        errors = [reason for verdict in report.verdicts if (reason := wrong(verdict, ranges))]
        assert not errors, "\n".join([case.name, *errors])
        assert mc.check(case.network, case.box, report).accepted, case.name
        undecided += report.counts()["undecided"]
    return undecided


def test_awkward_networks_at_random() -> None:
    """Palettes from 1e-324 to 1e12, dead rows, slopes of any sign, boxes of any size: nothing is wrong."""
    undecided = confirm(range(10))
    assert undecided <= 20, f"{undecided} undecided"


@pytest.mark.slow
def test_awkward_networks_at_random_in_numbers() -> None:
    """The same, more of them."""
    undecided = confirm(range(10, 110))
    assert undecided <= 200, f"{undecided} undecided"
