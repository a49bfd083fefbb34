"""The benchmarks' own arithmetic: fitted curves, speed-ups, and the published scheme up to the solver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import milpcomp as mc
from analyses.benchmarks import callbacks
from analyses.benchmarks.grid import speedups
from analyses.benchmarks.scaling import COLUMNS, fit, scaling
from analyses.book.entry import Context
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.milp.encoding import encode
from milpcomp.milp.margin import margins
from milpcomp.milp.pairs import pair_problem
from milpcomp.network import Dense, Rectifier
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.verdict import Phase, Stage
from tests.nets import chain


def test_fits_recover_what_made_the_points() -> None:
    """Points of a power law, and of an exponential, give back both constants and R^2 = 1."""
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert fit(x, 3.0 * x**1.5, power=True) == pytest.approx((3.0, 1.5, 1.0))
    assert fit(x, 0.5 * np.exp(0.7 * x), power=False) == pytest.approx((0.5, 0.7, 1.0))


def test_the_stored_scaling_is_drawn(tmp_path: Path) -> None:
    """All twelve networks of the stored table are points; everything was decided, in less than 4 GiB."""
    made = scaling(Context(tmp_path, tmp_path))
    assert made.table.columns == COLUMNS
    drawn = made.figure
    assert drawn is not None
    points = [len(axes.get_lines()) - 1 for axes in drawn.axes]  # one line is the curve, or the limit of memory
    assert points == [5, 7, 5, 7]
    entries = [dict(zip(COLUMNS, row, strict=True)) for row in made.table.rows]
    assert {entry["undecided"] for entry in entries} == {"0"}
    assert max(float(entry["peak_mib"]) for entry in entries) < 4096


def test_speedups_are_geometric_means_over_slow_networks() -> None:
    """Ratios 100 and 4 make 20; a network that both decide within a second does not count."""
    seconds = {("a", "funnel"): 2.0, ("a", "one-solve"): 200.0, ("b", "funnel"): 0.5, ("b", "one-solve"): 2.0}
    seconds |= {("c", "funnel"): 0.9, ("c", "one-solve"): 0.1}
    records = [
        {"network": network, "method": method, "seconds": taken, "cpu_seconds": taken / 2}
        for (network, method), taken in seconds.items()
    ]
    found = speedups(records)
    assert list(found) == ["one-solve"]
    assert found["one-solve"] == pytest.approx((2, 20.0, 20.0))


def test_a_missing_solver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package nothing is run, and the name of the package is said."""
    monkeypatch.setattr(callbacks, "find_spec", lambda name: None)
    network = chain((1,), Dense([[1.0]]), Rectifier())
    with pytest.raises(callbacks.NotAvailableError, match="pyscipopt is not installed"):
        callbacks.certify(network, mc.Box(0.0, 1.0), "scip-callbacks", 1.0, np.zeros((0, 1)))


def test_pairs_leave_when_witnessed_or_tied_and_the_rest_is_proved() -> None:
    """Of g = (x, |x| - |x| - 1) an input x > 0 takes the first pair out; a counted pair without witness is tied."""
    network = chain(
        (1,), Dense([[1.0], [-1.0]]), Rectifier(), Dense([[1.0, -1.0], [1.0, -2.0]], [0.0, -2.0]), Rectifier()
    )
    box = mc.Box(-1.0, 1.0).fit((1,))
    ledger = Ledger(network, box, interval_bounds(network, box))
    encoding = encode(network, ledger.bounds, box)
    pairs = [("3", 0, 1), ("3", 0, -1)]
    scheme = callbacks.Scheme(ledger, encoding, pair_problem(encoding, pairs, margins(encoding)))
    columns = np.append(encoding.complete(np.array([0.5])), [0.0, 0.0])
    assert scheme.leave(columns, claims=False) == [int(scheme.problem.columns[0])]
    assert scheme.gone == {("3", 0, 1)}
    assert scheme.leave(columns, claims=False) == []
    claimed = columns.copy()
    claimed[scheme.problem.columns[1]] = 1.0
    assert scheme.leave(claimed, claims=True) == [int(scheme.problem.columns[1])]
    assert scheme.tied == {("3", 0, -1)}
    with ledger.clock(Stage.SOLVER):
        scheme.prove_rest()
    assert ledger.report({}, {}, "complete").layers()["3"][0].phase is Phase.UNDECIDED
