"""Going on from an earlier report: nothing that was decided is lost, searched again, or believed more than before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milpcomp as mc
from milpcomp import cli
from milpcomp.checker.result import Finding
from milpcomp.errors import ResultError, SettingsError
from milpcomp.network import Network
from milpcomp.network.storage import save_network
from milpcomp.progress import Snapshot
from milpcomp.report.html import report_page
from milpcomp.report.page import page
from milpcomp.report.words import earlier_line
from milpcomp.stability import funnel
from milpcomp.stability.report import Report
from milpcomp.stability.sections import Section
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict
from tests.nets import diamond, mlp
from tests.test_branch_stage import tents

ROOT = Path(__file__).resolve().parents[1]

BOX = mc.Box(-1.0, 1.0)


def interrupting(stage: str, undecided: int) -> Callable[[Snapshot], None]:
    """Return an observer that presses Ctrl-C in a stage once at most so many neurons are undecided."""

    def observe(snapshot: Snapshot) -> None:
        if snapshot.stage == stage and snapshot.total().undecided <= undecided:
            raise KeyboardInterrupt

    return observe


def phases(report: Report) -> list[Phase]:
    """Return the phases of all neurons."""
    return [verdict.phase for verdict in report.verdicts]


def keeps(later: Report, earlier: Report) -> bool:
    """Tell whether every verdict of a report is in a later one as it was, with bounds that are no looser."""
    pairs = zip(earlier.verdicts, later.verdicts, strict=True)
    decided = [(a, b) for a, b in pairs if a.phase is not Phase.UNDECIDED]
    same = all(
        a == replace(b, lower=a.lower, upper=a.upper) and a.lower <= b.lower and b.upper <= a.upper for a, b in decided
    )
    return same and later.proofs[: len(earlier.proofs)] == earlier.proofs


@cache
def alone() -> Report:
    """Return the report of a run on that network that nobody interrupts."""
    return mc.certify(tents(-0.25, 0.25), BOX)


@cache
def stopped_in_the_middle() -> tuple[Network, Report]:
    """Return a network, and a report on it that was interrupted after the first of two proofs by cases."""
    network = tents(-0.25, 0.25)
    report = mc.certify(network, BOX, progress=interrupting("branch", 1))
    assert (report.ended, report.counts()["undecided"]) == ("interrupted", 1)
    return network, report


@pytest.mark.parametrize("stage", ["refute", "bound", "branch"])
def test_an_interrupted_run_goes_on(stage: str) -> None:
    """Interrupted in any stage and resumed, a run ends with the verdicts of one that was left alone, all checked."""
    network = tents(-0.25, 0.25)
    first = mc.certify(network, BOX, progress=interrupting(stage, 3))
    assert first.ended == "interrupted"
    assert first.counts()["undecided"] > 0
    resumed = mc.certify(network, BOX, start=first)
    assert phases(resumed) == phases(alone())
    assert keeps(resumed, first)
    assert resumed.ended == "complete"
    assert mc.check(network, BOX, resumed).accepted


def test_time_limits_add_up() -> None:
    """Runs that start from each other, each with twice the time, end where one without limit does."""
    network, domain = mlp([5, 16, 16, 16, 3], np.random.default_rng(0)), mc.Box(-0.6, 0.6)
    limit = 0.05
    report = mc.certify(network, domain, time_limit_s=limit)
    assert report.ended == "time limit"
    while report.counts()["undecided"] and limit < 100:
        limit *= 2
        later = mc.certify(network, domain, time_limit_s=limit, start=report)
        assert keeps(later, report)
        report = later
    assert report.counts() == {"stably_inactive": 3, "stably_active": 0, "unstable": 45, "undecided": 0}
    assert [run["time_limit_s"] for run in report.settings["earlier"][:2]] == [0.05, 0.1]
    assert mc.check(network, domain, report).accepted


def test_what_is_decided_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a report without undecided neurons there is nothing to do: no input is tried, and no proof is added."""
    network, whole = tents(-0.25, 0.25), alone()
    monkeypatch.setattr(funnel, "batches", lambda *arguments: pytest.fail("inputs were tried"))
    again = mc.certify(network, BOX, start=whole)
    assert again.verdicts == whole.verdicts
    assert (again.proofs, again.sections) == (whole.proofs, ())
    assert (again.witnesses == whole.witnesses).all()


def test_a_file_is_as_good_as_the_report(tmp_path: Path) -> None:
    """A report that was saved and loaded goes on like the one in memory, and so does the one that comes of it."""
    network, first = stopped_in_the_middle()
    resumed = mc.certify(network, BOX, start=mc.load_report(mc.save_report(first, tmp_path / "first")))
    assert resumed.sections == (Section(0), Section(len(first.proofs), (0,)))
    again = mc.load_report(mc.save_report(resumed, tmp_path / "second"))
    assert (again.verdicts, again.sections) == (resumed.verdicts, resumed.sections)
    assert again.settings["earlier"][0]["method"] == "funnel"
    spent = again.settings["earlier"][0]["seconds_until_here"]
    assert spent == sum(first.stage_seconds.values())
    assert earlier_line(again) == f"of which {spent:.1f} s in earlier runs"
    assert earlier_line(first) == ""
    analysis = mc.analyze(network, BOX, start=again)
    assert all(earlier_line(analysis.report) in write(analysis) for write in (page, report_page))
    assert mc.check(network, BOX, again).accepted


def test_the_clock_goes_on() -> None:
    """Seconds count from the beginning of the first run."""
    network, first = stopped_in_the_middle()
    resumed = mc.certify(network, BOX, start=first)
    spent = sum(first.stage_seconds.values())
    fresh = [b.seconds for a, b in zip(first.verdicts, resumed.verdicts, strict=True) if a.phase is not b.phase]
    assert len(fresh) == 1
    assert fresh[0] > spent
    assert all(resumed.stage_seconds[stage] >= seconds for stage, seconds in first.stage_seconds.items())


def test_a_solvers_word_stays_one() -> None:
    """What rests on trust is neither searched again nor promoted, and its neuron's bounds stay those proved without."""
    network = tents(-0.25)
    first = mc.certify(network, BOX, max_certificate_bytes=0)
    resumed = mc.certify(network, BOX, start=first)
    verdict = resumed.layers()["3"][0]
    assert (verdict.stage, verdict.proof) == (Stage.BRANCH, Proof.UNCERTIFIED)
    assert verdict.upper > 0
    findings = [entry.finding for entry in mc.check(network, BOX, resumed).entries]
    assert findings.count(Finding.NOT_CHECKABLE) == sum(v.proof is Proof.UNCERTIFIED for v in first.verdicts) > 0


def test_another_network_or_domain_is_refused() -> None:
    """A report about something else is refused with one error that names both, and so is what is no report."""
    network, first = stopped_in_the_middle()
    with pytest.raises(ResultError, match=f"another network .*{tents(0.5).digest[:12]}"):
        mc.certify(tents(0.5), BOX, start=first)
    with pytest.raises(ResultError, match=f"another domain .*{first.domain.digest[:12]}"):
        mc.certify(network, mc.Box(-1.0, 0.5), start=first)
    with pytest.raises(SettingsError, match="load_report"):
        mc.certify(network, BOX, start="report")  # type: ignore[arg-type]


def forged(report: Report, layer: str, unit: int, /, **fields: Any) -> Report:
    """Return a report with one verdict changed."""
    return replace(
        report,
        verdicts=tuple(replace(v, **fields) if (v.layer, v.unit) == (layer, unit) else v for v in report.verdicts),
    )


def lie(report: Report, verdict: Verdict) -> Report:
    """Return a report in which a neuron with two witnesses is stably inactive, with the bounds that go with that."""
    return forged(
        report, verdict.layer, verdict.unit, phase=Phase.STABLY_INACTIVE, stage=Stage.BOUND, proof=Proof.CERTIFIED,
        upper=0.0, active_witness=None, inactive_witness=None,
    )  # fmt: skip


def test_a_false_report_ends_in_a_rejected_one() -> None:
    """A flipped phase with fitting bounds is carried on, with what follows from it; the final check rejects it."""
    network, first = stopped_in_the_middle()
    resumed = mc.certify(network, BOX, start=lie(first, first.layers()["1"][0]))
    assert resumed.layers()["1"][0].phase is Phase.STABLY_INACTIVE
    checked = mc.check(network, BOX, resumed)
    assert not checked.accepted
    assert ("1", 0) in [(entry.layer, entry.unit) for entry in checked.rejections]


@pytest.mark.parametrize(
    "fields",
    [
        {"phase": Phase.STABLY_ACTIVE},
        {"phase": Phase.UNDECIDED},
        {"proof": Proof.WITNESSED},
        {"lower": 2.0},
        {"lower": float("nan")},
        {"active_witness": 10**6},
        {"active_witness": 0},
        {"stage": Stage.NONE},
        {"unit": 1},
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    """A verdict whose pieces do not go together is refused before any work."""
    network, first = stopped_in_the_middle()
    assert first.layers()["3"][0].phase is Phase.STABLY_INACTIVE
    with pytest.raises(ResultError, match="report to start from"):
        mc.certify(network, BOX, start=forged(first, "3", 0, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stage_seconds": {"bound": "long"}}, "times"),
        ({"stage_seconds": {"bound": -1.0}}, "times"),
        ({"settings": {"earlier": 3}}, "settings"),
        ({"witnesses": np.zeros((9, 2))}, "no inputs"),
        ({"witnesses": np.full((9, 1), 7.0)}, "outside the domain"),
        ({"verdicts": ()}, "one verdict on each neuron"),
        ({"network_digest": 3}, "another network"),
    ],
)
def test_what_is_no_report_of_a_run_is_refused(fields: dict[str, Any], message: str) -> None:
    """What no run writes is refused with a reason, wherever it stands in the report."""
    network, first = stopped_in_the_middle()
    with pytest.raises(ResultError, match=message):
        mc.certify(network, BOX, start=replace(first, **fields))


@pytest.mark.parametrize("sections", [(Section(1),), (Section(0), Section(99)), (Section(0), Section(1, (1,)))])
def test_sections_that_fit_nothing(sections: tuple[Section, ...]) -> None:
    """Sections that do not divide the proofs, or rest on later ones, are refused here and rejected by the checker."""
    network, first = stopped_in_the_middle()
    false = replace(first, sections=sections)
    with pytest.raises(ResultError, match="section"):
        mc.certify(network, BOX, start=false)
    checked = mc.check(network, BOX, false)
    assert not checked.accepted
    assert any("section" in problem for problem in checked.problems)


def test_neurons() -> None:
    """Only the neurons that are named are searched; others are decided only where the bounds do so in passing."""
    network = tents(-0.25, 0.25)
    report = mc.certify(network, BOX, neurons={"3": [1]})
    below, above = report.layers()["3"]
    assert above.phase is Phase.STABLY_ACTIVE
    assert below.phase is Phase.UNDECIDED
    assert set(phases(report)[:4]) == {Phase.UNDECIDED}
    assert report.ended == "complete"
    assert report.settings["neurons"] == {"3": (1,)}
    assert mc.check(network, BOX, report).accepted
    whole = mc.certify(network, BOX, start=report)
    assert phases(whole) == phases(alone())


def test_a_trained_network() -> None:
    """A network of the grid, on a part of its domain: interrupted in the middle and resumed, no verdict is missing."""
    network, domain = mc.load(ROOT / "models/grid/2x100_half.safetensors"), mc.Box(0.3, 0.7)
    first = mc.certify(network, domain, progress=interrupting("refute", 60))
    assert (first.ended, first.counts()["undecided"] > 0) == ("interrupted", True)
    resumed = mc.certify(network, domain, start=first)
    assert resumed.counts() == {"stably_inactive": 6, "stably_active": 10, "unstable": 184, "undecided": 0}
    assert keeps(resumed, first)
    assert mc.check(network, domain, resumed).accepted


@pytest.mark.slow
def test_six_layers_on_a_small_box(shared_file: Callable[[str], Path]) -> None:
    """ACAS Xu near the centre, where boxes are split: interrupted between proofs and resumed, all 300 are decided."""
    network = mc.load(shared_file("nets/acasxu/ACASXU_run2a_1_1_batch_2000.onnx"))
    domain = mc.Box(-0.02, 0.02)
    first = mc.certify(network, domain, progress=interrupting("branch", 4))
    assert (first.ended, 0 < first.counts()["undecided"] <= 4) == ("interrupted", True)
    resumed = mc.certify(network, domain, start=first)
    assert resumed.counts() == {"stably_inactive": 213, "stably_active": 62, "unstable": 25, "undecided": 0}
    assert len(resumed.sections) == 2
    assert keeps(resumed, first)
    assert mc.check(network, domain, resumed).accepted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": {"3": [2]}}, r"neurons 0 to 1, but not \[2\]"),
        ({"neurons": {"relu": [0]}}, "no rectifiers"),
        ({"neurons": {"3": ["a"]}}, "units by rectifier"),
        ({"neurons": [1, 2]}, "units by rectifier"),
        ({"neurons": {"3": [0]}, "layers": ["3"]}, "give one of them"),
        ({"neurons": {"3": [0]}, "method": "per-layer"}, "decides all layers"),
    ],
)
def test_neurons_that_do_not_exist(options: dict[str, object], message: str) -> None:
    """Unknown layers and units are refused by name."""
    with pytest.raises(SettingsError, match=message):
        mc.certify(tents(-0.25, 0.25), BOX, **options)  # type: ignore[arg-type]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--start`` goes on from a folder, into the same folder if wanted, over its domain if none is given."""
    save_network(diamond(), tmp_path / "net.npz")
    undecided = mc.certify(diamond(), mc.Box(0.0, 1.0), neurons={})
    assert undecided.counts()["undecided"] == 1
    mc.save_report(replace(undecided, stage_seconds={"bound": 61.25}), tmp_path / "out")
    net, out = str(tmp_path / "net.npz"), str(tmp_path / "out")
    assert cli.main(["certify", net, "--start", out, "--out", out, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["undecided"] == 0
    assert cli.main(["certify", net, "--start", out, "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert re.search(r"\n +of which \d\d+\.\d s in earlier runs\n", capsys.readouterr().out)
    whole = mc.load_report(out)
    assert earlier_line(whole) == "of which 61.2 s in earlier runs"
    assert mc.analyze(net, whole.domain, start=whole).report.verdicts == whole.verdicts
    assert cli.main(["certify", net, "--start", net, "--out", out, "--quiet"]) == 2
    assert cli.main(["certify", net, "--start", out, "--domain", "0", "2", "--out", out, "--quiet"]) == 2
    assert "another domain" in capsys.readouterr().err
    assert cli.main(["certify", net, "--start", str(tmp_path), "--out", out, "--quiet"]) == 2
    assert "give a certificate.json or the folder that certify or analyze wrote" in capsys.readouterr().err
