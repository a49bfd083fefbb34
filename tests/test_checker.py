"""The checker accepts true reports and rejects falsified ones, however they were falsified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milpcomp.bounds.slopes import LinearProof
from milpcomp.checker import Finding, check
from milpcomp.checker.document import read_network
from milpcomp.checker.records import earlier_rectifiers
from milpcomp.checker.sweep import prove_bounds
from milpcomp.domain import Box
from milpcomp.errors import DomainError, ResultError
from milpcomp.network import Dense, Network, Node, Rectifier
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.nets import chain, diamond, mlp
from tests.oracle import exact_ranges

UNIT = Box(np.zeros(2), np.ones(2))


def hidden(network: Network) -> Network:
    """Return `network` with a rectifier on its output, so that every value before the end is judged."""
    return Network(network.input_shape, [*network.nodes, Node("end", Rectifier(), (network.output,))])


def linear_proofs(network: Network, alpha: int = 128) -> tuple[LinearProof, ...]:
    """Return proofs with one alpha everywhere, for both sides of all neurons."""
    model = read_network(network)
    return tuple(
        LinearProof(
            step.name,
            side,
            np.arange(model.size(step.name)),
            {n: np.full((1, model.size(n)), alpha, dtype=np.uint8) for n in earlier_rectifiers(model, step)},
        )
        for step in model.rectifiers
        for side in ("lower", "upper")
    )


def true_report(network: Network, box: Box) -> Report:
    """Return a true report on a network with two inputs: phases from exact ranges, witnesses from random inputs."""
    ranges, proofs, model = exact_ranges(network, box), linear_proofs(network), read_network(network)
    bounds = prove_bounds(model, (box.lower, box.upper))
    rng = np.random.default_rng(0)
    points = np.concatenate([box.clip(rng.uniform(box.lower, box.upper, size=(300, 2))), _corners(box)])
    values = network.pre_activations(points)
    verdicts = []
    for node in network.rectifiers:
        interval = bounds[node.inputs[0]]
        for unit, (least, most) in enumerate(ranges[node.name]):
            column = values[node.name][:, unit]
            lower, upper = float(interval.lower[unit]), float(interval.upper[unit])
            phase, stage, proof = Phase.UNDECIDED, Stage.NONE, Proof.NONE
            rows: tuple[int | None, int | None] = (None, None)
            if column.max() > 1e-9 and column.min() < -1e-9:
                phase, stage, proof = Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED
                rows = int(column.argmax()), int(column.argmin())
            elif upper <= 0 or lower >= 0:
                phase = Phase.STABLY_INACTIVE if most <= 0 else Phase.STABLY_ACTIVE
                stage, proof = Stage.BOUND, Proof.CERTIFIED
                assert least >= 0 or most <= 0
            verdicts.append(Verdict(node.name, unit, phase, stage, proof, lower, upper, *rows))
    return Report(network.digest, box, tuple(verdicts), points, proofs)


def _corners(box: Box) -> np.ndarray:
    ends = np.stack([box.lower, box.upper])
    return np.array([[ends[i, 0], ends[j, 1]] for i in (0, 1) for j in (0, 1)])


def forged(report: Any, **fields: Any) -> Any:
    """Return the report with fields replaced by anything at all."""
    return replace(report, **fields)


def changed(report: Report, position: int, **fields: Any) -> Report:
    """Return the report with fields of its verdict number `position` replaced."""
    verdicts = list(report.verdicts)
    verdicts[position] = replace(verdicts[position], **fields)
    return forged(report, verdicts=tuple(verdicts))


def diamond_report() -> Report:
    """Return a true report on the diamond over [0, 1]^2, by hand: g1 unstable, g2 stably inactive."""
    verdicts = (
        Verdict("1", 0, Phase.UNSTABLE, Stage.CLOSED_FORM, Proof.WITNESSED, -1.0, 1.0, 0, 1),
        Verdict("1", 1, Phase.STABLY_INACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED, -3.0, -1.0),
    )
    return Report(diamond().digest, UNIT, verdicts, np.array([[1.0, 0.0], [0.0, 1.0]]))


def test_a_true_report_is_accepted() -> None:
    """The report on the diamond, made by hand, is accepted, with one entry per neuron and a reason each."""
    checked = check(diamond(), UNIT, diamond_report())
    assert checked.accepted
    assert checked.counts() == {"accepted": 2, "rejected": 0, "not_checkable": 0, "no_claim": 0}
    assert [(entry.layer, entry.unit, entry.phase) for entry in checked.entries] == [
        ("1", 0, "unstable"),
        ("1", 1, "stably_inactive"),
    ]
    assert "[-3, -1]" in checked.entries[1].reason
    assert checked.summary() == "ACCEPTED: 2 accepted"


def test_solver_verdicts_and_open_neurons_are_listed_as_such() -> None:
    """A verdict on a solver's word is not checkable, and an undecided neuron claims nothing."""
    report = changed(diamond_report(), 1, proof=Proof.SOLVER, stage=Stage.SOLVER)
    open_fields = {"phase": Phase.UNDECIDED, "proof": Proof.NONE, "stage": Stage.NONE}
    report = changed(report, 0, **open_fields)
    checked = check(diamond(), UNIT, report)
    assert [entry.finding for entry in checked.entries] == [Finding.NO_CLAIM, Finding.NOT_CHECKABLE]
    assert checked.accepted


@pytest.mark.parametrize("phase", [Phase.STABLY_INACTIVE, Phase.STABLY_ACTIVE])
def test_a_solver_claim_that_a_witness_refutes_is_rejected(phase: Phase) -> None:
    """A solver's word does not stand against an input of the report itself."""
    report = changed(diamond_report(), 0, phase=phase, proof=Proof.SOLVER, stage=Stage.SOLVER)
    checked = check(diamond(), UNIT, report)
    assert checked.rejections[0].unit == 0
    assert "refuted" in checked.rejections[0].reason


class Impostor(str, Enum):
    """Words that are no phase."""

    STABLE = "stable"


FALSE: dict[str, Callable[[Report], Report]] = {
    "flipped phase": lambda r: changed(r, 1, phase=Phase.STABLY_ACTIVE),
    "flipped phase, bounds too": lambda r: changed(r, 1, phase=Phase.STABLY_ACTIVE, lower=0.0, upper=1.0),
    "unstable claimed inactive": lambda r: changed(
        r, 0, phase=Phase.STABLY_INACTIVE, proof=Proof.CERTIFIED, lower=-1.0, upper=0.0
    ),
    "unstable claimed active": lambda r: changed(
        r, 0, phase=Phase.STABLY_ACTIVE, proof=Proof.CERTIFIED, lower=0.0, upper=1.0
    ),
    "stable claimed unstable": lambda r: changed(
        r, 1, phase=Phase.UNSTABLE, proof=Proof.WITNESSED, active_witness=0, inactive_witness=1
    ),
    "unstable but certified": lambda r: changed(r, 0, proof=Proof.CERTIFIED),
    "stable but witnessed": lambda r: changed(r, 1, proof=Proof.WITNESSED),
    "stable with no proof": lambda r: changed(r, 1, proof=Proof.NONE),
    "undecided with a proof": lambda r: changed(r, 1, phase=Phase.UNDECIDED),
    "stable of no stage": lambda r: changed(r, 1, stage=Stage.NONE),
    "solver's word from another stage": lambda r: changed(r, 1, proof=Proof.SOLVER),
    "swapped witnesses": lambda r: changed(r, 0, active_witness=1, inactive_witness=0),
    "one witness twice": lambda r: changed(r, 0, inactive_witness=0),
    "missing witness": lambda r: changed(r, 0, active_witness=None),
    "witness beyond the end": lambda r: changed(r, 0, active_witness=2),
    "witness from the end": lambda r: changed(r, 0, active_witness=-2),
    "truth value as witness": lambda r: changed(r, 0, active_witness=False, inactive_witness=True),
    "float as witness": lambda r: changed(r, 0, active_witness=0.0),
    "witness outside": lambda r: forged(r, witnesses=np.array([[1.0, -1e-300], [0.0, 1.0]])),
    "witness one ulp outside": lambda r: forged(r, witnesses=np.array([[np.nextafter(1, 2), 0.0], [0.0, 1.0]])),
    "witness NaN": lambda r: forged(r, witnesses=np.array([[1.0, 0.0], [np.nan, 1.0]])),
    "witness infinite": lambda r: forged(r, witnesses=np.array([[np.inf, 0.0], [0.0, 1.0]])),
    "unused witness outside": lambda r: forged(r, witnesses=np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])),
    "witnesses truncated": lambda r: forged(r, witnesses=r.witnesses[:1]),
    "witnesses of one axis": lambda r: forged(r, witnesses=r.witnesses.reshape(-1)),
    "witnesses in float32": lambda r: forged(r, witnesses=r.witnesses.astype(np.float32)),
    "witnesses in a list": lambda r: forged(r, witnesses=r.witnesses.tolist()),
    "no witnesses": lambda r: forged(r, witnesses=None),
    "witness on the boundary": lambda r: forged(r, witnesses=np.array([[0.5, 0.5], [0.0, 1.0]])),
    "verdict missing": lambda r: forged(r, verdicts=r.verdicts[:1]),
    "verdict twice": lambda r: forged(r, verdicts=(*r.verdicts, r.verdicts[0])),
    "verdict instead of another": lambda r: forged(r, verdicts=(r.verdicts[0], r.verdicts[0])),
    "verdicts reversed": lambda r: forged(r, verdicts=r.verdicts[::-1]),
    "verdict too many": lambda r: forged(r, verdicts=(*r.verdicts, replace(r.verdicts[0], unit=2))),
    "verdict on another layer": lambda r: changed(r, 1, layer="0"),
    "layer is no text": lambda r: changed(r, 1, layer=1),
    "unit is a truth value": lambda r: changed(r, 1, unit=True),
    "unit is a float": lambda r: changed(r, 1, unit=1.0),
    "unit is negative": lambda r: changed(r, 1, unit=-1),
    "unit is huge": lambda r: changed(r, 1, unit=10**30),
    "no verdicts": lambda r: forged(r, verdicts=()),
    "verdicts are no sequence": lambda r: forged(r, verdicts=3),
    "verdicts of other types": lambda r: forged(r, verdicts=(None, 3, "x")),
    "phase of another kind": lambda r: changed(r, 1, phase=Impostor.STABLE),
    "phase is a number": lambda r: changed(r, 1, phase=0),
    "phase is None": lambda r: changed(r, 1, phase=None),
    "proof is a truth value": lambda r: changed(r, 1, proof=True),
    "stage unknown": lambda r: changed(r, 1, stage="magic"),
    "NaN bound": lambda r: changed(r, 1, upper=float("nan")),
    "bound is text": lambda r: changed(r, 1, upper="-1"),
    "bound is a truth value": lambda r: changed(r, 1, upper=False),
    "reversed bounds": lambda r: changed(r, 1, lower=-1.0, upper=-3.0),
    "bounds against the phase": lambda r: changed(r, 1, upper=1e-9),
    "bounds that a witness refutes": lambda r: changed(r, 0, upper=0.5),
    "bounds that the checker excludes": lambda r: changed(r, 1, lower=-9.0, upper=-4.0),
}


@pytest.mark.parametrize("name", FALSE)
def test_falsified_reports_are_rejected(name: str) -> None:
    """Whatever is falsified, some neuron is rejected or the report has a problem, and no exception escapes."""
    report = FALSE[name](diamond_report())
    checked = check(diamond(), UNIT, report)
    assert not checked.accepted
    assert checked.summary().startswith("REJECTED")
    assert len(checked.entries) == 2


def test_what_belongs_elsewhere_is_an_error() -> None:
    """Another network, another digest, another or an enlarged domain: a clear error."""
    report = diamond_report()
    other = chain((2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -2.9]), Rectifier(), Dense([[1.0, 2.0]], [-1.0]))
    for network, domain, false in [
        (other, UNIT, report),
        (diamond(), UNIT, forged(report, network_digest=other.digest)),
        (diamond(), UNIT, forged(report, network_digest=None)),
        (diamond(), Box(np.zeros(2), np.array([1.0, 2.5])), report),
        (diamond(), UNIT, forged(report, domain=Box(np.zeros(2), np.array([1.0, 2.5])))),
        (diamond(), UNIT, forged(report, domain=Box(np.zeros(3), np.ones(3)))),
        (diamond(), UNIT, forged(report, domain=None)),
        (diamond(), UNIT, None),
    ]:
        with pytest.raises(ResultError, match=r"report"):
            check(network, domain, false)
    with pytest.raises(DomainError):
        check(diamond(), Box(np.zeros(3), np.ones(3)), report)


def test_an_enlarged_domain_or_a_changed_weight_is_rejected_on_its_merits() -> None:
    """With digests forged to fit, the claim is judged by what is true of the network and domain at hand."""
    wide = Box(np.zeros(2), np.array([1.0, 2.5]))
    checked = check(diamond(), wide, forged(diamond_report(), domain=wide))
    assert [entry.unit for entry in checked.rejections] == [1]
    other = chain((2,), Dense([[1.0, -1.0], [1.0, 1.0]], [0.0, -1.5]), Rectifier(), Dense([[1.0, 2.0]], [-1.0]))
    checked = check(other, UNIT, forged(diamond_report(), network_digest=other.digest))
    assert [entry.unit for entry in checked.rejections] == [1]


def test_scalar_domains_are_the_same_as_arrays() -> None:
    """A domain given by two scalars is the box of that shape."""
    assert check(diamond(), Box(0.0, 1.0), diamond_report()).accepted


@pytest.mark.parametrize("tiny", [5e-324, 1e-300, 2.0**-60, 1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("large", [0.0, 1.0, 1e12])
def test_the_sign_of_tiny_maxima(tiny: float, large: float) -> None:
    """A maximum of exactly 0 is stably inactive, and one of any size above 0 is not, however large the numbers."""
    for most in (tiny, 0.0):
        network = chain((2,), Dense([[large, most], [-large, -most]], [-large, large]), Rectifier())
        phases = ((Phase.STABLY_INACTIVE, -np.inf, 0.0), (Phase.STABLY_ACTIVE, 0.0, np.inf))
        verdicts = tuple(
            Verdict("1", unit, phase, Stage.CLOSED_FORM, Proof.CERTIFIED, lower, upper)
            for unit, (phase, lower, upper) in enumerate(phases)
        )
        report = Report(network.digest, UNIT, verdicts, np.zeros((0, 2)))
        found = [entry.finding for entry in check(network, UNIT, report).entries]
        assert found == [Finding.ACCEPTED if most == 0 else Finding.REJECTED] * 2


# linear proofs --------------------------------------------------------------------------------------------------------


def crossed() -> tuple[Network, Report]:
    """Return h1 - h2 - 1.5 of h1 = x + 1 and h2 = max(0, x) over [-1, 1]: at most -0.5, and intervals give 0.5."""
    network = chain((1,), Dense([[1.0], [1.0]], [1.0, 0.0]), Rectifier(), Dense([[1.0, -1.0]], [-1.5]), Rectifier())
    verdicts = (
        Verdict("1", 0, Phase.STABLY_ACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED, 0.0, 2.0),
        Verdict("1", 1, Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, -1.0, 1.0, 1, 0),
        Verdict("3", 0, Phase.STABLY_INACTIVE, Stage.BOUND, Proof.CERTIFIED, -1.6, -0.4),
    )
    proof = LinearProof("3", "upper", np.array([0]), {"1": np.array([[0, 255]], dtype=np.uint8)})
    box = Box(np.array([-1.0]), np.array([1.0]))
    return network, Report(network.digest, box, verdicts, np.array([[-1.0], [1.0]]), (proof,))


def with_proof(report: Report, **fields: Any) -> Report:
    """Return the report with fields of its only linear proof replaced."""
    return forged(report, proofs=(replace(report.proofs[0], **fields),))


def test_linear_proofs_are_replayed() -> None:
    """The linear bound proves what intervals cannot, and without its record the verdict is rejected."""
    network, report = crossed()
    assert check(network, report.domain, report).accepted
    without = check(network, report.domain, forged(report, proofs=()))
    assert [(entry.layer, entry.unit) for entry in without.rejections] == [("3", 0)]


def byte(values: Any) -> dict[str, np.ndarray]:
    """Return alphas for the rectifier "1"."""
    return {"1": np.array(values, dtype=np.uint8)}


@dataclass
class Trap:
    """A record that raises whenever it is looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


CORRUPT: dict[str, Callable[[Report], Report]] = {
    "slopes that prove nothing": lambda r: with_proof(r, alphas=byte([[255, 0]])),
    "other side": lambda r: with_proof(r, side="lower"),
    "side unknown": lambda r: with_proof(r, side="both"),
    "other layer": lambda r: with_proof(r, layer="1", alphas={}),
    "unknown layer": lambda r: with_proof(r, layer="7"),
    "layer is None": lambda r: with_proof(r, layer=None),
    "no alphas": lambda r: with_proof(r, alphas={}),
    "alphas None": lambda r: with_proof(r, alphas=None),
    "alphas of another layer": lambda r: with_proof(r, alphas={"0": byte([[0, 255]])["1"]}),
    "alphas of one layer too many": lambda r: with_proof(
        r, alphas=byte([[0, 255]]) | {"9": np.zeros((1, 2), np.uint8)}
    ),
    "alphas truncated": lambda r: with_proof(r, alphas=byte([[0]])),
    "alphas of one axis": lambda r: with_proof(r, alphas=byte([0, 255])),
    "alphas for two units": lambda r: with_proof(r, alphas=byte([[0, 255], [0, 255]])),
    "alphas NaN": lambda r: with_proof(r, alphas={"1": np.array([[0, np.nan]])}),
    "alphas infinite": lambda r: with_proof(r, alphas={"1": np.array([[0, np.inf]])}),
    "alphas huge": lambda r: with_proof(r, alphas={"1": np.array([[0, 1e300]])}),
    "alphas negative": lambda r: with_proof(r, alphas={"1": np.array([[0, -255]])}),
    "alphas as objects": lambda r: with_proof(r, alphas={"1": np.array([[0, "x"]], dtype=object)}),
    "alphas as lists": lambda r: with_proof(r, alphas={"1": [[0, 255]]}),
    "units beyond the end": lambda r: with_proof(r, units=np.array([1])),
    "units negative": lambda r: with_proof(r, units=np.array([-1])),
    "units as floats": lambda r: with_proof(r, units=np.array([0.0])),
    "units as truth values": lambda r: with_proof(r, units=np.array([False])),
    "units as a list": lambda r: with_proof(r, units=[0]),
    "no units": lambda r: with_proof(r, units=np.zeros(0, dtype=np.int64)),
    "round negative": lambda r: with_proof(r, round=-1),
    "round a float": lambda r: with_proof(r, round=0.0),
    "round a truth value": lambda r: with_proof(r, round=False),
    "proof of another type": lambda r: forged(r, proofs=("x",)),
    "proof None": lambda r: forged(r, proofs=(None,)),
    "proofs None": lambda r: forged(r, proofs=None),
    "a trap as proof": lambda r: forged(r, proofs=(Trap(),)),
    "a trap as verdict": lambda r: forged(r, verdicts=(Trap(), *r.verdicts[1:])),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupted_proofs_are_rejected(name: str) -> None:
    """A record that cannot be read, or whose slopes prove nothing, ends in a rejection and not in an exception."""
    network, report = crossed()
    assert not check(network, report.domain, CORRUPT[name](report)).accepted


def test_other_legal_slopes_that_still_prove_the_claim_pass() -> None:
    """A harmless perturbation of a proof may pass: any slopes are sound."""
    network, report = crossed()
    for alpha in (200, 254):
        assert check(network, report.domain, with_proof(report, alphas=byte([[77, alpha]]))).accepted


# falsification at random ----------------------------------------------------------------------------------------------


def random_case(seed: int) -> tuple[Network, Box, Report]:
    """Return a random network with two inputs, a box, and a true report."""
    rng = np.random.default_rng(seed)
    slopes: tuple[float | None, float | None] = [(1.0, 0.0), (None, None), (1.0, 0.25)][seed % 3]
    network = hidden(mlp([2, 3, 2], rng, *slopes))
    center = rng.normal(size=2)
    box = Box(center - rng.uniform(0, 1, size=2), center + rng.uniform(0, 1, size=2))
    return network, box, true_report(network, box)


@given(st.integers(0, 2**32 - 1))
def test_true_random_reports_are_accepted(seed: int) -> None:
    """Reports from exact ranges are accepted entirely."""
    network, box, report = random_case(seed)
    checked = check(network, box, report)
    assert checked.accepted, checked.summary()
    assert len(checked.entries) == sum(network.width(node.name) for node in network.rectifiers)


def claim_anything(seed: int, data: st.DataObject) -> bool:
    """Claim anything, with any proof, bounds, witnesses and slopes, and tell whether what is accepted is true."""
    network, box, report = random_case(seed)
    ranges = exact_ranges(network, box)
    verdicts = []
    for verdict in report.verdicts:
        rows = st.one_of(st.none(), st.integers(-2, len(report.witnesses) + 1))
        bounds = st.tuples(st.floats(), st.floats())
        lower, upper = data.draw(st.one_of(st.just((verdict.lower, verdict.upper)), bounds))
        phase = data.draw(st.sampled_from(Phase))
        tight = {Phase.STABLY_INACTIVE: (-np.inf, 0.0), Phase.STABLY_ACTIVE: (0.0, np.inf)}.get(phase)
        lower, upper = tight if tight and data.draw(st.booleans()) else (lower, upper)
        verdicts.append(
            Verdict(
                verdict.layer,
                verdict.unit,
                phase,
                data.draw(st.sampled_from(Stage)),
                data.draw(st.sampled_from(Proof)),
                lower,
                upper,
                data.draw(rows),
                data.draw(rows),
            )
        )
    proofs = linear_proofs(network, data.draw(st.integers(0, 255)))
    false = forged(report, verdicts=tuple(verdicts), proofs=proofs)
    for entry in check(network, box, false).entries:
        least, most = ranges[entry.layer][entry.unit]
        truth = {"stably_inactive": most <= 0, "stably_active": least >= 0, "unstable": least < 0 < most}
        if entry.finding is Finding.ACCEPTED and not truth[entry.phase]:
            return False
    return True


@given(st.integers(0, 2**32 - 1), st.data())
def test_no_false_claim_is_accepted(seed: int, data: st.DataObject) -> None:
    """Whatever a report claims, what is accepted is true of the exact ranges."""
    assert claim_anything(seed, data)


@pytest.mark.slow
@settings(max_examples=1000)
@given(st.integers(0, 2**32 - 1), st.data())
def test_no_false_claim_is_accepted_in_a_thousand_cases(seed: int, data: st.DataObject) -> None:
    """The same as above, in a thousand cases."""
    assert claim_anything(seed, data)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-300, 5e-324, 1e-12, 1e12, 1e150]))
def test_signs_hidden_by_rounding(seed: int, size: float) -> None:
    """Large weights that cancel in floats but not in truth: a sign is established exactly, whatever floats say."""
    rng = np.random.default_rng(seed)
    big = float(rng.integers(1, 9)) * 2.0**60
    offset = float(rng.choice([size, -size]))
    network = chain((1,), Dense([[big], [-big]], [1.0, 0.0]), Rectifier(1.0, 1.0), Dense([[1.0, 1.0]], [-1.0 + 0.0]),
                    Rectifier(1.0, 1.0), Dense([[1.0]], [offset]), Rectifier())  # fmt: skip
    truth = Fraction(offset)  # (big x + 1) - big x - 1 + offset
    box = Box(np.array([0.0]), np.array([1.0]))
    points = np.array([[0.5], [1.0]])
    verdicts = [
        Verdict(layer, unit, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -np.inf, np.inf)
        for layer, unit in (("1", 0), ("1", 1), ("3", 0))
    ]
    claim = Verdict("5", 0, Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, -np.inf, np.inf, 0, 1)
    report = Report(network.digest, box, (*verdicts, claim), points)
    entry = check(network, box, report).entries[-1]
    assert entry.finding is Finding.REJECTED
    assert ("inactive witness" in entry.reason) == (truth > 0)
