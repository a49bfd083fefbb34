"""All methods and backends against brute force, on random small networks; then the compressed networks likewise.

The domain of most networks is two-dimensional, where the oracle is exact (polygons in rational arithmetic), ties at
zero included; the others are judged by linear programming, where ranges within 1e-7 of zero are left out.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import milpcomp as mc
from milpcomp.milp.backends import backend as find_backend
from milpcomp.network import Network
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof
from tests.nets import planted
from tests.oracle import Ranges, exact_ranges, lp_ranges

EXACT, BY_LP = 170, 40
RUNS = [("funnel", "highs"), *((m, b) for m in ("one-solve", "per-layer", "per-neuron") for b in ("highs", "ortools"))]
CLEAR = 1e-4
"""A range farther than this from zero must be decided by every method: only ties may stay undecided."""


@cache
def case(index: int) -> tuple[Network, mc.Box, Ranges, float]:
    """Return network, domain, true ranges, and how far from zero the oracle's ranges can be trusted."""
    rng = np.random.default_rng(index)
    network, domain = planted(rng, 2 if index < EXACT else int(rng.integers(3, 5)))
    if index < EXACT:
        return network, domain, exact_ranges(network, domain), 0.0
    return network, domain, lp_ranges(network, domain), 1e-7


def contradictions(report: Report, ranges: Ranges, doubt: float) -> list[str]:
    """Return every verdict that the true range refutes."""
    found = []
    for verdict in report.verdicts:
        low, high = ranges[verdict.layer][verdict.unit]
        wrong = {
            Phase.STABLY_INACTIVE: high > doubt,
            Phase.STABLY_ACTIVE: low < -doubt,
            Phase.UNSTABLE: low > doubt or high < -doubt or (doubt == 0 and (low >= 0 or high <= 0)),
            Phase.UNDECIDED: low > CLEAR or high < -CLEAR or (low < -CLEAR and high > CLEAR),
        }[verdict.phase]
        if wrong or verdict.lower > low + doubt or verdict.upper < high - doubt:
            found.append(f"{verdict} against [{float(low)}, {float(high)}]")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("method", "backend"), RUNS)
@pytest.mark.parametrize("part", range(7))
def test_no_method_contradicts_brute_force(method: str, backend: str, part: int) -> None:
    """On 210 random networks no verdict of any method is refuted, and only near-ties stay undecided."""
    solver = find_backend(backend)  # one for all: OR-Tools has a process of its own to start
    for index in range(part, EXACT + BY_LP, 7):
        network, domain, ranges, doubt = case(index)
        report = mc.certify(network, domain, method=method, backend=solver)
        assert contradictions(report, ranges, doubt) == [], f"network {index}"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(7))
def test_checker_accepts_and_compression_is_exact(part: int) -> None:
    """The checker accepts every funnel verdict; the compressed network is equal by proof, by samples, and for good."""
    for index in range(part, EXACT + BY_LP, 7):
        network, domain, _, _ = case(index)
        report = mc.certify(network, domain)
        checked = mc.check(network, domain, report)
        assert not checked.rejections, f"network {index}: {checked.rejections}"
        smaller = mc.compress(network, report)
        confirmed = mc.check_compression(network, smaller, domain, report)
        assert confirmed.accepted, f"network {index}: {confirmed.summary()}"
        rng = np.random.default_rng(index)
        x = domain.lower + (domain.upper - domain.lower) * rng.random((10_000, *network.input_shape))
        y, z = network.forward(x), smaller.network.forward(x)
        scale = 1.0 + np.abs(y).max()
        assert smaller.deviation_bound <= 1e-9 * scale
        assert np.abs(y - z).max() <= smaller.deviation_bound + 1e-12 * scale, f"network {index}"
        again = mc.compress(smaller.network, mc.certify(smaller.network, domain))
        before, after = ([n.width(node.name) for node in n.rectifiers] for n in (smaller.network, again.network))
        assert before == after, f"network {index}: compressing twice removed more"


def test_certified_is_never_claimed_for_a_solver_verdict() -> None:
    """The seed's methods label what only the solver proved as `solver`."""
    labels = set()
    for index in range(12):
        network, domain, _, _ = case(index)
        report = mc.certify(network, domain, method="per-neuron")
        labels |= {v.proof for v in report.verdicts if v.stage.value == "solver" and v.phase is not Phase.UNSTABLE}
    assert Proof.CERTIFIED not in labels
