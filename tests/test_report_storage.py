"""Certificates on disk: every bit comes back, and what is not a whole certificate is refused."""

from __future__ import annotations

import errno
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from milpcomp import result_files
from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.slopes import LinearProof
from milpcomp.domain import Box
from milpcomp.errors import OutputError, ResultError
from milpcomp.files import read_arrays, write_arrays
from milpcomp.stability.report import Report
from milpcomp.stability.storage import load_report, save_report
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict


def branch_proof() -> BranchProof:
    """Return a proof by two cases, each with one multiplier."""
    return BranchProof(
        layer="α/relu",
        unit=0,
        side="lower",
        bound=-0.1,
        parent=np.array([-1, 0, 0], dtype=np.int32),
        layer_of=np.array([-2, 0, 0], dtype=np.int32),
        unit_of=np.array([0, 1, 1], dtype=np.int32),
        point=np.array([0.0, -0.0, 5e-324]),
        above=np.array([False, True, False]),
        rebound=np.array([True, False, False]),
        leaf=np.array([1, 2], dtype=np.int32),
        objective=np.array([True, False]),
        columns=np.array([[0, 2]], dtype=np.int32),
        multipliers=np.array([[1 / 3], [-1e-30]], dtype=np.float32),
    )


def report(seed: int = 0) -> Report:
    """Return a report with every phase, stage and kind of proof, awkward floats, and one or several rows of slopes."""
    rng = np.random.default_rng(seed)
    verdicts = (
        Verdict("relu1", 0, Phase.STABLY_INACTIVE, Stage.CLOSED_FORM, Proof.CERTIFIED, -3.0, -0.0, seconds=0.1),
        Verdict("relu1", 1, Phase.STABLY_ACTIVE, Stage.BOUND, Proof.CERTIFIED, 5e-324, 1e308, seconds=1 / 3),
        Verdict("relu1", 2, Phase.UNSTABLE, Stage.REFUTE, Proof.WITNESSED, -1.0, np.pi, 0, 1, 0.2),
        Verdict("α/relu", 0, Phase.STABLY_INACTIVE, Stage.SOLVER, Proof.SOLVER, -1.0, 1.0, None, 2, 7.0),
        Verdict("α/relu", 1, Phase.UNDECIDED, Stage.NONE, Proof.NONE, -np.inf, np.inf, 0, None),
        Verdict("α/relu", 2, Phase.UNSTABLE, Stage.BRANCH, Proof.WITNESSED, -1.0, 1.0, 1, 2),
    )
    alphas = {"relu1": rng.integers(0, 256, (2, 3)).astype(np.uint8)}
    return Report(
        network_digest="ab" * 32,
        domain=Box(rng.uniform(-1, 0, (2, 2)), rng.uniform(0, 1, (2, 2))),
        verdicts=verdicts,
        witnesses=rng.uniform(size=(3, 2, 2)),
        proofs=(
            LinearProof("α/relu", "upper", np.array([0, 2]), alphas),
            LinearProof("α/relu", "lower", np.array([1]), {"relu1": alphas["relu1"][:1]}, round=1),
            LinearProof("relu1", "lower", np.array([1]), {}, round=2),
            branch_proof(),
        ),
        settings={"method": "funnel", "time_limit_s": None, "seed": 3},
        versions={"milpcomp": "0.1.0", "highspy": "1.15.1"},
        stage_seconds={"closed-form": 0.1, "bound": 1 / 3},
        ended="time limit",
    )


def same(a: Report, b: Report) -> bool:
    """Tell whether two reports agree in every field, floats and dtypes bit by bit."""
    if len(a.proofs) != len(b.proofs):
        return False
    arrays: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (a.domain.lower, b.domain.lower),
        (a.domain.upper, b.domain.upper),
        (a.witnesses, b.witnesses),
    ]
    for p, q in zip(a.proofs, b.proofs, strict=True):
        if type(p) is not type(q):
            return False
        if isinstance(p, BranchProof) and isinstance(q, BranchProof):
            if (p.layer, p.unit, p.side, p.bound) != (q.layer, q.unit, q.side, q.bound):
                return False
            arrays += [(p.arrays()[name], q.arrays()[name]) for name in p.arrays()]
            continue
        assert isinstance(p, LinearProof)
        assert isinstance(q, LinearProof)
        if (p.layer, p.side, p.round, list(p.alphas)) != (q.layer, q.side, q.round, list(q.alphas)):
            return False
        arrays += [(p.units, q.units), *((p.alphas[name], q.alphas[name]) for name in p.alphas)]
    plain = ("network_digest", "verdicts", "settings", "versions", "stage_seconds", "ended")
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and repr(a.verdicts) == repr(b.verdicts)  # tells -0.0 from 0.0
        and all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in arrays)
    )


@pytest.mark.parametrize("name", ["out", "out/run.json", "a/b/c", "run.npz"])
def test_every_bit_comes_back(tmp_path: Path, name: str) -> None:
    """A report saved to a folder, or under a name ending in .json, reads back bit by bit."""
    original = report()
    written = save_report(original, tmp_path / name)
    assert same(load_report(tmp_path / name), original)
    assert same(load_report(written), original)
    assert sorted(p.suffix for p in written.parent.iterdir()) == [".json", ".npz"]


def test_empty_report(tmp_path: Path) -> None:
    """A network without hidden neurons has a certificate too."""
    original = replace(report(), verdicts=(), proofs=(), witnesses=np.zeros((0, 2, 2)))
    save_report(original, tmp_path)
    assert same(load_report(tmp_path), original)


def test_json_half_is_readable(tmp_path: Path) -> None:
    """The JSON says for a person: network, domain, counts, settings, versions, and why the run ended."""
    original = report()
    document = json.loads(save_report(original, tmp_path).read_text())
    assert document["network"] == original.network_digest
    assert document["domain"] == original.domain.digest
    assert document["counts"] == {"stably_inactive": 2, "stably_active": 1, "unstable": 2, "undecided": 1}
    assert (document["ended"], document["version"]) == ("time limit", 2)
    assert document["settings"]["seed"] == 3
    assert document["versions"]["highspy"] == "1.15.1"


def test_same_report_same_bytes(tmp_path: Path) -> None:
    """Saving twice writes the same bytes, so certificates can be compared by their hash."""
    for name in ("one", "two"):
        save_report(report(), tmp_path / name)
    for half in ("certificate.json", "certificate.npz"):
        assert (tmp_path / "one" / half).read_bytes() == (tmp_path / "two" / half).read_bytes()


@pytest.mark.parametrize("half", ["certificate.json", "certificate.npz"])
def test_missing_half(tmp_path: Path, half: str) -> None:
    """One half alone is refused, and the message names the file that is missing."""
    save_report(report(), tmp_path)
    (tmp_path / half).unlink()
    with pytest.raises(ResultError, match=half):
        load_report(tmp_path)


def test_halves_of_two_certificates(tmp_path: Path) -> None:
    """The JSON of one certificate with the arrays of another is refused."""
    save_report(report(0), tmp_path / "one")
    save_report(report(1), tmp_path / "two")
    shutil.copy(tmp_path / "two" / "certificate.npz", tmp_path / "one")
    with pytest.raises(ResultError, match="damaged or not of one certificate"):
        load_report(tmp_path / "one")


@settings(max_examples=60)
@given(half=st.sampled_from(["certificate.json", "certificate.npz"]), cut=st.floats(0, 0.99))
def test_truncated(half: str, cut: float) -> None:
    """A certificate cut off anywhere is refused, in either half."""
    with tempfile.TemporaryDirectory() as folder:
        save_report(report(), folder)
        path = Path(folder) / half
        content = path.read_bytes().rstrip()
        path.write_bytes(content[: int(cut * len(content))])
        with pytest.raises(ResultError):
            load_report(folder)


@settings(max_examples=150)
@given(half=st.sampled_from(["certificate.json", "certificate.npz"]), at=st.floats(0, 0.9999), bit=st.integers(0, 7))
def test_flipped_bits(half: str, at: float, bit: int) -> None:
    """After a flipped bit anywhere, the report that is read is the one that was saved, or there is none."""
    original = report()
    with tempfile.TemporaryDirectory() as folder:
        save_report(original, folder)
        path = Path(folder) / half
        content = bytearray(path.read_bytes())
        content[int(at * len(content))] ^= 1 << bit
        path.write_bytes(content)
        try:
            read = load_report(folder)
        except ResultError:
            return
        assert same(read, original)


def test_newer_version(tmp_path: Path) -> None:
    """A schema version that this milpcomp does not know is refused with both versions."""
    path = save_report(report(), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))
    with pytest.raises(ResultError, match="schema version 3 but this milpcomp reads version 2"):
        load_report(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": "another"}', "null", '"text"'])
def test_other_json(tmp_path: Path, content: str) -> None:
    """JSON that is no certificate is refused as such."""
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ResultError, match="no certificate of milpcomp"):
        load_report(tmp_path / "x.json")


def test_nothing_there(tmp_path: Path) -> None:
    """A path without certificate is one clear error."""
    with pytest.raises(ResultError, match="No such file"):
        load_report(tmp_path / "nowhere")


def _forge(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Save a report with `change` made to its content and the digest made to fit."""
    path = save_report(report(), folder)
    structure, arrays = json.loads(path.read_text()), read_arrays(path.with_suffix(".npz"))
    change(structure, arrays)
    structure["digest"] = result_files._digest(structure, arrays)
    path.write_text(json.dumps(structure))
    write_arrays(path.with_suffix(".npz"), arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, a: a.update({"domain/upper": a["domain/upper"] + 1}), "digest of its domain"),
        (lambda s, a: a.update({"domain/upper": a["domain/lower"] - 1}), "exceeds upper"),
        (lambda s, a: s["counts"].update(unstable=3), "counts or witnesses"),
        (lambda s, a: a.update(witnesses=a["witnesses"][:2]), "counts or witnesses"),
        (lambda s, a: a.update({"verdict/unit": a["verdict/unit"][:-1]}), "ValueError"),
        (lambda s, a: a.update({"verdict/layer": a["verdict/layer"] + 1}), "IndexError"),
        (lambda s, a: s.update(phases=["stable", *s["phases"][1:]]), "ValueError"),
        (lambda s, a: a.pop("proof/1/units"), "KeyError"),
        (lambda s, a: s.pop("settings"), "KeyError"),
        (lambda s, a: s.update(proofs=3), "TypeError"),
        (lambda s, a: s["stage_seconds"].update(bound="long"), "its times are none"),
        (lambda s, a: s["stage_seconds"].update(bound=-1.0), "its times are none"),
        (lambda s, a: s["stage_seconds"].update(bound=10**400), "its times are none"),
        (lambda s, a: s["versions"].update(milpcomp=1), "is no text"),
        (lambda s, a: s.update(ended=[]), "is no text"),
    ],
)
def test_incomplete_content(tmp_path: Path, change: Callable[..., None], message: str) -> None:
    """Content that does not hang together is refused even where the digest fits."""
    _forge(tmp_path, change)
    with pytest.raises(ResultError, match=message):
        load_report(tmp_path)


@pytest.mark.parametrize("part", ["settings", "stage_seconds", "versions"])
def test_numbers_larger_than_all(tmp_path: Path, part: str) -> None:
    """1e999, which Python would read as infinity, is refused anywhere, even where the digest fits."""
    _forge(tmp_path, lambda structure, _: structure[part].update(forged=math.inf))
    path = tmp_path / "certificate.json"
    path.write_text(path.read_text().replace("Infinity", "1e999"))
    with pytest.raises(ResultError, match="1e999 is larger than all numbers"):
        load_report(tmp_path)


def test_full_disk_leaves_the_old_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, saving fails with one error, and the certificate that was there is untouched."""
    save_report(report(0), tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save_report(report(1), tmp_path)
    assert same(load_report(tmp_path), report(0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["certificate.json", "certificate.npz"]


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    """An .npz file that is no half of a certificate, a network perhaps, is not overwritten by one."""
    (tmp_path / "net.npz").write_bytes(b"a network")
    with pytest.raises(OutputError, match=r"net\.npz exists and is no half of a certificate"):
        save_report(report(), tmp_path / "net.json")
    assert (tmp_path / "net.npz").read_bytes() == b"a network"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder below a regular file is refused with its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        save_report(report(), tmp_path / "file" / "out")
