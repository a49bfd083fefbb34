"""No false claim is ever accepted: true reports, falsified in every way that comes to mind, by the thousand.

The truth about small networks with two inputs is known exactly (`tests.oracle.exact_ranges`). After any falsification,
of the network and the domain as well, two things are asserted: every accepted verdict is true, and the bounds that the
checker ends up with hold, whether or not a verdict uses them. Harmless changes may pass.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.tighten import interval_bounds
from milpcomp.branch import curves
from milpcomp.branch.question import Limits, Question
from milpcomp.checker import Finding, check
from milpcomp.checker.check import examine
from milpcomp.checker.document import read_network
from milpcomp.domain import Box
from milpcomp.errors import ResultError
from milpcomp.network import Dense, Network, Node
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.brute import prove
from tests.nets import mlp
from tests.oracle import Ranges, exact_ranges
from tests.test_checker import forged, hidden, linear_proofs

SQUARE = Box(-np.ones(2), np.ones(2))

MARGIN = 0.02
"""How far the maxima and minima of the targets lie from 0, on either side."""

FLAT, CASES = 8, 12
"""Proofs of the first few cases close their leaves by lines, those of the others by parabolas."""


# true reports ---------------------------------------------------------------------------------------------------------


@cache
def true_case(number: int) -> tuple[Network, Report]:
    """Return a network and a true report on it over the square, with verdicts of every kind.

    The last layer has four neurons, two pairs with the same weights: the first of a pair is stable by `MARGIN` and
    needs a proof by cases, the second is unstable by the same margin.
    """
    rng = np.random.default_rng(number)
    while True:
        network = _pairs(number, rng)
        if number < FLAT:
            found = [prove(network, SQUARE, "end", unit, side, rng=rng) for unit, side in ((0, "upper"), (2, "lower"))]
        else:
            found = [_curved(network, unit, sign) for unit, sign in ((0, 1), (2, -1))]
        trees = [proof for proof in found if proof is not None]
        linear = linear_proofs(network)
        report = _true_report(network, exact_ranges(network, SQUARE), (*linear, *trees), rng)
        without = check(network, SQUARE, replace(report, proofs=linear))
        if len(trees) == 2 and [(entry.layer, entry.unit) for entry in without.rejections] == [("end", 0), ("end", 2)]:
            return network, report


def _curved(network: Network, unit: int, sign: int) -> BranchProof | None:
    """Return a proof with at least one leaf that is closed by parabolas, or None."""
    values = interval_bounds(network, SQUARE).values
    limits = Limits(math.inf, lambda: False, 2**24)
    search = curves.start(network, values, Question("end", unit, sign), lambda x: None)
    proof = search.run(limits).proof if search is not None else None
    return proof if proof is not None and len(proof.curved) else None


def _pairs(number: int, rng: np.random.Generator) -> Network:
    slopes: tuple[float | None, float | None] = [(1.0, 0.0), (None, None), (1.0, 0.25), (1.0, -1.0)][
        (0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 2)[number]
    ]
    body = hidden(mlp([[2, 4, 2], [2, 3, 3, 2]][number % 2], rng, *slopes))
    least, most = ([float(pair[side]) for pair in exact_ranges(body, SQUARE)["end"]] for side in (0, 1))
    twin = Dense([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]],
                 [-most[0] - MARGIN, -most[0] + MARGIN, -least[1] + MARGIN, -least[1] - MARGIN])  # fmt: skip
    if number < FLAT:
        return Network((2,), [*body.nodes[:-1], Node("pairs", twin, (body.nodes[-2].name,)), _renamed(body)])
    last = body.nodes[-2].layer  # parabolas are for one dense layer between rectifiers
    assert isinstance(last, Dense)
    whole = Dense(twin.weight @ last.weight, twin.weight @ last.bias + twin.bias)
    return Network((2,), [*body.nodes[:-2], Node("pairs", whole, body.nodes[-2].inputs), _renamed(body)])


def _renamed(body: Network) -> Node:
    return Node("end", body["end"].layer, ("pairs",))


def _true_report(network: Network, ranges: Ranges, proofs: tuple[Any, ...], rng: np.random.Generator) -> Report:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), axis=-1).reshape(-1, 2)
    points = np.concatenate([grid, rng.uniform(-1, 1, size=(400, 2))])
    values = network.pre_activations(points)
    verdicts = []
    for node in network.rectifiers:
        for unit, (low, high) in enumerate(ranges[node.name]):
            column, name = values[node.name][:, unit], (node.name, unit)
            if column.max() > 1e-9 and column.min() < -1e-9:
                rows = int(column.argmax()), int(column.argmin())
                open_bounds = -np.inf, np.inf
                verdict = Verdict(*name, Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, *open_bounds, *rows)
            elif high < -0.01:
                verdict = Verdict(*name, Phase.STABLY_INACTIVE, Stage.BRANCH, Proof.CERTIFIED, -np.inf, 0.0)
            elif low > 0.01:
                verdict = Verdict(*name, Phase.STABLY_ACTIVE, Stage.BRANCH, Proof.CERTIFIED, 0.0, np.inf)
            else:
                verdict = Verdict(*name, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -np.inf, np.inf)
            verdicts.append(verdict)
    model = read_network(network)
    claimed = Report(network.digest, SQUARE, tuple(verdicts), points, proofs)
    entries = examine(model, (SQUARE.lower, SQUARE.upper), claimed)[0].entries
    kept = [
        verdict if entry.finding is not Finding.REJECTED else _undecided(verdict)
        for verdict, entry in zip(verdicts, entries, strict=True)
    ]
    return replace(claimed, verdicts=tuple(kept))


def _undecided(verdict: Verdict) -> Verdict:
    return Verdict(verdict.layer, verdict.unit, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -np.inf, np.inf)


@pytest.mark.parametrize("number", range(CASES))
def test_the_true_reports_rest_on_everything(number: int) -> None:
    """Each has unstable neurons, and two stable ones that nothing but their proofs by cases can prove."""
    network, report = true_case(number)
    assert check(network, SQUARE, report).accepted
    without = check(network, SQUARE, replace(report, proofs=report.proofs[:-2]))
    assert [(entry.layer, entry.unit) for entry in without.rejections] == [("end", 0), ("end", 2)]
    assert report.counts()["unstable"] >= 2


# falsifications -------------------------------------------------------------------------------------------------------

Falsify = Callable[[SimpleNamespace, np.random.Generator], None]
"""Changes something of `case`: its network, its box, or its report's verdicts, witnesses and proofs."""


def _claim(case: SimpleNamespace, rng: np.random.Generator, **fields: Any) -> None:
    k = int(rng.integers(len(case.verdicts)))
    case.verdicts[k] = replace(case.verdicts[k], **fields)


def flip_a_phase(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Claim the opposite, or some other phase, with bounds to fit."""
    phase = [Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE][rng.integers(2)]
    bounds = {"lower": -np.inf, "upper": 0.0} if phase is Phase.STABLY_INACTIVE else {"lower": 0.0, "upper": np.inf}
    _claim(case, rng, phase=phase, proof=Proof.CERTIFIED, stage=Stage.BRANCH, **bounds)


def claim_all_stable(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Claim the last layer stable, with every proof by cases at hand for every neuron of it."""
    for k, verdict in enumerate(case.verdicts):
        if verdict.layer == "end":
            inactive = verdict.unit < 2
            phase = Phase.STABLY_INACTIVE if inactive else Phase.STABLY_ACTIVE
            bounds = (-np.inf, 0.0) if inactive else (0.0, np.inf)
            case.verdicts[k] = Verdict("end", verdict.unit, phase, Stage.BRANCH, Proof.CERTIFIED, *bounds)
    case.proofs += [forged(proof, unit=unit) for proof in _trees(case) for unit in range(4)]


def claim_unstable(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Claim a neuron unstable with any two witnesses."""
    rows = rng.integers(len(case.witnesses), size=2).tolist()
    fields: dict[str, Any] = {"phase": Phase.UNSTABLE, "proof": Proof.WITNESSED, "stage": Stage.REFUTE}
    _claim(case, rng, **fields, active_witness=rows[0], inactive_witness=rows[1])


def enlarge_the_domain(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Let the report be about a larger, or another, box."""
    centre = rng.choice([0.0, 0.0, 0.1, 2.0]) * rng.normal(size=2)
    size = rng.choice([1.0, 1.02, 1.5, 100.0])
    case.box = Box(centre - size, centre + size)


def change_a_weight(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Change a weight or a bias by a little or a lot."""
    nodes = list(case.network.nodes)
    k = int(rng.choice([i for i, node in enumerate(nodes) if isinstance(node.layer, Dense)]))
    layer = nodes[k].layer
    weight, bias = layer.weight.copy(), layer.bias.copy()
    array = weight if rng.random() < 0.5 else bias
    place = tuple(int(rng.integers(n)) for n in array.shape)
    array[place] += rng.choice([0.01, 0.05, 0.5, -0.05, -0.5, 3.0])
    nodes[k] = Node(nodes[k].name, Dense(weight, bias), nodes[k].inputs)
    case.network = Network((2,), nodes)


def another_network(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Take another network of the same shape, with the proofs of this one."""
    case.network = true_case((case.number + 2 * int(rng.integers(1, CASES // 2))) % CASES)[0]


def borrow_proofs(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Take the proofs of another network of the same shape, before or instead of one's own."""
    other = true_case((case.number + 2 * int(rng.integers(1, CASES // 2))) % CASES)[1]
    case.proofs = [*other.proofs, *(case.proofs if rng.random() < 0.5 else [])]


def shuffle_proofs(case: SimpleNamespace, rng: np.random.Generator) -> None:
    """Use the proofs in another order, some twice and some not at all."""
    case.proofs = [case.proofs[k] for k in rng.integers(len(case.proofs), size=len(case.proofs) + 1)]


CURVES = ("curvature", "diagonal", "center")
"""The numbers of curved leaves, a row each."""


def _trees(case: SimpleNamespace) -> list[BranchProof]:
    return [proof for proof in case.proofs if isinstance(proof, BranchProof)]


def _on_a_tree(change: Callable[[BranchProof, np.random.Generator], Any]) -> Falsify:
    """Return the falsification that changes one proof by cases, unless that makes no sense after earlier changes."""

    def falsify(case: SimpleNamespace, rng: np.random.Generator) -> None:
        places = [k for k, proof in enumerate(case.proofs) if isinstance(proof, BranchProof)]
        if places:
            k = int(rng.choice(places))
            with contextlib.suppress(IndexError, TypeError, ValueError):
                case.proofs[k] = change(case.proofs[k], rng)

    falsify.__name__ = change.__name__
    return falsify


def drop_a_branch(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Take out a subtree; its sibling stays, or its parent becomes a leaf with the multipliers of some other one."""
    gone = np.zeros(len(proof.parent), dtype=bool)
    gone[int(rng.integers(len(gone)))] = True
    for node, parent in enumerate(proof.parent):
        gone[node] |= parent >= 0 and gone[parent]
    gone[0] = False
    kept = np.flatnonzero(~gone)
    place = np.cumsum(~gone) - 1
    nodes = {name: getattr(proof, name)[kept] for name in ("layer_of", "unit_of", "point", "above", "rebound")}
    parent = np.where(proof.parent[kept] >= 0, place[proof.parent[kept]], -1).astype(np.int32)
    leaf = np.setdiff1d(np.arange(len(kept)), parent) if rng.random() < 0.8 else place[proof.leaf[~gone[proof.leaf]]]
    rows = rng.integers(len(proof.leaf), size=len(leaf))
    still = np.isin(kept[leaf], proof.leaf)
    rows[still] = np.searchsorted(proof.leaf, kept[leaf][still])
    return forged(proof, parent=parent, leaf=leaf.astype(np.int32), **nodes, **_records(proof, rows))


def _records(proof: BranchProof, rows: Any) -> dict[str, Any]:
    """Return what closes these leaves, for other leaves in their place."""
    curved = [k for k, row in enumerate(rows) if row in proof.curved]
    places = np.searchsorted(proof.curved, rows[curved])
    kept = {name: getattr(proof, name)[places] for name in CURVES}
    flat = {"objective": proof.objective[rows], "multipliers": proof.multipliers[rows]}
    return flat | kept | {"curved": np.array(curved, dtype=np.int32)}


def make_a_leaf_of_it_all(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Keep the root only, with the multipliers of some leaf."""
    row = rng.integers(len(proof.leaf), size=1)
    nodes = {name: getattr(proof, name)[:1] for name in ("parent", "layer_of", "unit_of", "point", "above", "rebound")}
    return forged(proof, leaf=np.zeros(1, dtype=np.int32), **nodes, **_records(proof, row))


def swap_leaves(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Give leaves the multipliers, and perhaps the flags or the parabolas, of others."""
    order = rng.permutation(len(proof.leaf))
    if rng.random() < 0.3:
        return forged(proof, **_records(proof, order))
    objective = proof.objective[order] if rng.random() < 0.5 else proof.objective
    return forged(proof, multipliers=proof.multipliers[order], objective=objective)


def change_multipliers(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Make some multipliers huge, tiny, infinite, NaN, zero, opposite, or slightly different."""
    values = proof.multipliers.copy()
    some = rng.random(values.shape) < rng.choice([0.1, 1.0])
    with np.errstate(over="ignore"):
        factor = np.float32(rng.choice([1e38, -1e38, 1e-44, 0.0, -1.0, 1.001, 1.5, np.inf, np.nan]))
        added = np.float32(rng.choice([0.0, 0.0, 1e-3, 1.0, 3e38, -np.inf]))
        with np.errstate(invalid="ignore"):
            values[some] = values[some] * factor + added
    return forged(proof, multipliers=values)


def change_types(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Store an array as another type."""
    name = rng.choice(list(proof.arrays()))
    kind = rng.choice(["f4", "f8", "i1", "i8", "u4", "?", "O", "c8", "U3"])
    with np.errstate(all="ignore"):
        return forged(proof, **{str(name): proof.arrays()[name].astype(str(kind))})


def flip_flags(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Flip objective, above or rebound here and there, or everywhere."""
    name = ["objective", "above", "rebound"][rng.integers(3)]
    flags = proof.arrays()[name]
    some = rng.random(flags.shape) < rng.choice([0.1, 1.0])
    return forged(proof, **{name: np.where(some, ~flags.astype(bool), flags)})


def derive_bounds_anywhere(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Derive bounds anew at random nodes; this is harmless."""
    return forged(proof, rebound=rng.random(len(proof.parent)) < 0.5)


def change_nodes(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Change parents, splits or points: of one node, or of two siblings alike."""
    name = ["parent", "layer_of", "unit_of", "point", "leaf"][rng.integers(5)]
    array = proof.arrays()[name].copy()
    k = rng.integers(len(array))
    places = np.flatnonzero(proof.parent == proof.parent[k]) if name != "leaf" and rng.random() < 0.7 else [k]
    near = rng.choice([-1e-3, 1e-3, 0.3, -0.3, 5.0, np.nan, np.inf])
    array[places] = near if name == "point" else rng.integers(-2, 1 + len(proof.parent))
    return forged(proof, **{name: array})


def repeat_children(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Let one child of a node be there twice, and the other not at all."""
    nodes = np.flatnonzero(proof.parent == proof.parent[int(rng.integers(1, max(2, len(proof.parent))) - 1)])
    arrays = {name: proof.arrays()[name].copy() for name in ("layer_of", "unit_of", "point", "above")}
    for array in arrays.values():
        array[nodes[0]] = array[nodes[-1]]
    return forged(proof, **arrays)


def change_columns(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Let multipliers belong to other units, to none, or to the same one twice."""
    columns = proof.columns.copy()
    if rng.random() < 0.5:
        return forged(proof, columns=rng.permutation(columns))
    if len(columns):
        columns[int(rng.integers(len(columns))), int(rng.integers(2))] = rng.integers(-2, 5)
    return forged(proof, columns=columns)


def change_curves(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Scale or shift curvatures, diagonals or centres: a little, or out of this world."""
    name = str(rng.choice(CURVES))
    values = getattr(proof, name).copy()
    some = rng.random(values.shape) < rng.choice([0.3, 1.0])
    factor = rng.choice([0.0, 1e-310, 0.5, 0.99, 1.001, 2.0, 1e3, 1e150, 1e300, -1.0, np.inf, np.nan])
    added = rng.choice([0.0, 0.0, 0.0, 1e-3, 0.3, -0.3, 1e300])
    with np.errstate(all="ignore"):
        values[some] = values[some] * factor + added
    return forged(proof, **{name: values})


def curve_other_leaves(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Give parabolas to other leaves, swap them, leave some out, or take the numbers of another one."""
    count = len(proof.curved)
    kind = rng.integers(4)
    if kind == 0:
        places = np.sort(rng.choice(len(proof.leaf), size=count, replace=False)).astype(np.int32)
        return forged(proof, curved=places)
    if kind == 1:
        name = str(rng.choice(CURVES))
        return forged(proof, **{name: getattr(proof, name)[rng.integers(max(1, count), size=count)]})
    kept = np.flatnonzero(rng.random(count) < 0.5)
    return forged(proof, curved=proof.curved[kept], **{name: getattr(proof, name)[kept] for name in CURVES})


def curve_other_units(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Let curvatures belong to other units, and centres and diagonals to other elements."""
    name = str(rng.choice(CURVES))
    values = getattr(proof, name)
    return forged(proof, **{name: values[:, rng.permutation(values.shape[1])]})


def claim_more(proof: BranchProof, rng: np.random.Generator) -> Any:
    """Claim another bound, another unit, another layer, or the other side."""
    bound = float(rng.choice([0.0, -0.01, 0.01, -MARGIN, MARGIN, -1.0, 1.0, np.nan, -np.inf, np.inf, 1e-300, -1e300]))
    side = "lower" if proof.side == "upper" else "upper"
    changes: list[dict[str, Any]] = [
        {"bound": bound},
        {"unit": int(rng.integers(-1, 5))},
        {"layer": "1"},
        {"layer": "x"},
        {"side": side},
    ]
    return forged(proof, **changes[rng.integers(5)])


REPORTS: list[Falsify] = [
    flip_a_phase,
    claim_all_stable,
    claim_unstable,
    enlarge_the_domain,
    change_a_weight,
    another_network,
    borrow_proofs,
    shuffle_proofs,
]
TREES = [
    _on_a_tree(change)
    for change in (
        drop_a_branch,
        make_a_leaf_of_it_all,
        swap_leaves,
        change_multipliers,
        change_types,
        flip_flags,
        derive_bounds_anywhere,
        change_nodes,
        repeat_children,
        change_columns,
        change_curves,
        curve_other_leaves,
        curve_other_units,
        claim_more,
    )
]


# the property ---------------------------------------------------------------------------------------------------------


def falsified(number: int, seed: int, changes: list[Falsify]) -> SimpleNamespace:
    """Return a true case after some falsifications; digest and domain are forged to fit."""
    network, report = true_case(number)
    case = SimpleNamespace(number=number, network=network, box=SQUARE, witnesses=report.witnesses,
                           verdicts=list(report.verdicts), proofs=list(report.proofs))  # fmt: skip
    rng = np.random.default_rng(seed)
    for change in changes:
        change(case, rng)
    return case


@cache
def _ranges(digest: str, low: tuple[float, ...], high: tuple[float, ...], network: Any) -> Ranges:
    return exact_ranges(network, Box(np.array(low), np.array(high)))


def require_truth(case: SimpleNamespace) -> bool:
    """Assert that what the checker accepts of a case is true and its bounds hold; return whether it accepts all."""
    network, box = case.network, case.box
    ranges = _ranges(network.digest, tuple(box.lower), tuple(box.upper), network)
    report: Any = Report(network.digest, box, tuple(case.verdicts), case.witnesses, tuple(case.proofs))
    model = read_network(network)
    checked, bounds = examine(model, (box.lower, box.upper), report)
    for step in model.rectifiers:
        for unit, (least, most) in enumerate(ranges[step.name]):
            assert bounds[step.source].lower[unit] <= least, f"the lower bound of {step.name}[{unit}] does not hold"
            assert bounds[step.source].upper[unit] >= most, f"the upper bound of {step.name}[{unit}] does not hold"
    for entry in checked.entries:
        least, most = ranges[entry.layer][entry.unit]
        truth = {"stably_inactive": most <= 0, "stably_active": least >= 0, "unstable": least < 0 < most}
        assert entry.finding is not Finding.ACCEPTED or truth[entry.phase], f"{entry} is false"
    return checked.accepted


SEEDS = st.integers(0, 2**32 - 1)
PICKS = st.lists(st.sampled_from([*REPORTS, *TREES, *TREES]), min_size=1, max_size=3)


@given(st.integers(0, CASES - 1), SEEDS, PICKS)
def test_no_falsified_report_is_accepted(number: int, seed: int, changes: list[Falsify]) -> None:
    """After up to three falsifications, what is accepted is true, and so are the checker's bounds."""
    require_truth(falsified(number, seed, changes))


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.integers(0, CASES - 1), SEEDS, PICKS)
def test_no_falsified_report_is_accepted_in_thousands_of_cases(number: int, seed: int, changes: list[Falsify]) -> None:
    """The same as above, in thousands of cases."""
    require_truth(falsified(number, seed, changes))


@pytest.mark.parametrize("change", [*REPORTS, *TREES], ids=lambda change: change.__name__)
def test_every_falsification_is_noticed_or_harmless(change: Falsify) -> None:
    """Each kind, ten times on its own, leaves only truths accepted; all but the harmless ones are often rejected."""
    first = FLAT if "curve" in change.__name__ else 0
    cases = [falsified(first + seed % (CASES - first), seed, [change]) for seed in range(10)]
    accepted = sum(require_truth(case) for case in cases)
    harmless = {"derive_bounds_anywhere": 10, "shuffle_proofs": 10, "claim_unstable": 10}
    assert accepted <= harmless.get(change.__name__, 9)


def test_claiming_unstable_neurons_stable_with_the_proofs_at_hand_is_rejected() -> None:
    """The second neuron of each pair has the same weights and lies beyond 0 by the margin: no proof fits it."""
    for number in range(CASES):
        case = falsified(number, 0, [claim_all_stable])
        report: Any = Report(case.network.digest, SQUARE, tuple(case.verdicts), case.witnesses, tuple(case.proofs))
        checked = check(case.network, SQUARE, report)
        assert {(entry.layer, entry.unit) for entry in checked.rejections} == {("end", 1), ("end", 3)}
        assert checked.problems


def test_another_digest_or_domain_is_an_error() -> None:
    """A report whose digest or domain was not forged along is refused as a whole."""
    network, report = true_case(0)
    wide = Box(-1.02 * np.ones(2), 1.02 * np.ones(2))
    other = true_case(2)[0]
    for checked_network, box, false in (
        (other, SQUARE, report),
        (network, wide, report),
        (network, SQUARE, replace(report, network_digest=other.digest)),
        (network, SQUARE, replace(report, domain=wide)),
    ):
        with pytest.raises(ResultError, match="the report"):
            check(checked_network, box, false)


def test_small_perturbations_of_true_proofs_pass() -> None:
    """Multipliers that still prove the claim are as good as those recorded."""
    for number in range(CASES):
        network, report = true_case(number)
        rng = np.random.default_rng(number)
        proofs = [
            forged(proof, multipliers=(proof.multipliers + rng.normal(size=proof.multipliers.shape) * 1e-6))
            if isinstance(proof, BranchProof)
            else proof
            for proof in report.proofs
        ]
        assert check(network, SQUARE, replace(report, proofs=tuple(proofs))).accepted
