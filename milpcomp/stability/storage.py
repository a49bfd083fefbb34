"""Certificates on disk: a report as JSON (what a person reads) and .npz (the numbers) side by side, bit by bit.

    certificate.json   schema version, digests, settings, versions, counts, the names that codes stand for
    certificate.npz    verdicts as columns, the domain, witnesses, slopes of linear proofs, trees of branch proofs

The JSON carries a digest over itself and over every array, so a damaged file, and two halves that do not belong
together, are noticed. It does not make a certificate true: that is for `milpcomp.checker` to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.slopes import LinearProof
from milpcomp.domain import Box
from milpcomp.errors import ResultError
from milpcomp.files import PathLike
from milpcomp.result_files import Arrays, ResultFiles
from milpcomp.stability.report import Report, is_duration
from milpcomp.stability.sections import Section
from milpcomp.stability.verdict import Phase, Proof, Stage, Verdict

CERTIFICATE = ResultFiles("certificate", "certify", version=2)

PHASES, STAGES, PROOFS = list(Phase), list(Stage), list(Proof)


def save_report(report: Report, path: PathLike) -> Path:
    """Write `report` as two files, both or neither.

    Parameters
    ----------
    report : Report
    path : path
        A folder (made if missing), which gets certificate.json and certificate.npz; or a name ending in .json, whose
        other half then lies beside it with the ending .npz.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    OutputError
        If a file cannot be written, or the .npz file there belongs to something else; files are then as before.
    """
    return CERTIFICATE.write(path, *_encode(report))


def load_report(path: PathLike) -> Report:
    """Read what `save_report` wrote.

    Parameters
    ----------
    path : path
        The folder, or the JSON file.

    Returns
    -------
    Report
        Equal to the saved one, bit by bit.

    Raises
    ------
    ResultError
        If a half is missing, truncated, damaged, of a newer version, or belongs to another certificate.

    Notes
    -----
    **Trusts** whoever wrote the files: digests find damage, not lies. Only `milpcomp.check` makes verdicts believable.
    """
    return CERTIFICATE.read(path, _decode)


def _encode(report: Report) -> tuple[dict[str, Any], Arrays]:
    layers = list(report.layers())
    proofs, slopes = _encode_proofs(report.proofs)
    structure = {
        "network": report.network_digest,
        "domain": report.domain.digest,
        "ended": report.ended,
        "counts": report.counts(),
        "settings": dict(report.settings),
        "versions": dict(report.versions),
        "stage_seconds": dict(report.stage_seconds),
        "layers": layers,
        "phases": [phase.value for phase in PHASES],
        "stages": [stage.value for stage in STAGES],
        "proof_kinds": [proof.value for proof in PROOFS],
        "proofs": proofs,
        "sections": [{"first": section.first, "parents": list(section.parents)} for section in report.sections],
    }
    bounds = {"domain/lower": report.domain.lower, "domain/upper": report.domain.upper}
    arrays = {**bounds, "witnesses": report.witnesses, **_columns(report.verdicts, layers), **slopes}
    return structure, {name: array.astype(array.dtype.newbyteorder("<")) for name, array in arrays.items()}


def _columns(verdicts: tuple[Verdict, ...], layers: list[str]) -> Arrays:
    layer_codes = {layer: code for code, layer in enumerate(layers)}
    return {
        "verdict/layer": np.array([layer_codes[v.layer] for v in verdicts], dtype=np.int64),
        "verdict/unit": np.array([v.unit for v in verdicts], dtype=np.int64),
        "verdict/phase": np.array([PHASES.index(v.phase) for v in verdicts], dtype=np.uint8),
        "verdict/stage": np.array([STAGES.index(v.stage) for v in verdicts], dtype=np.uint8),
        "verdict/proof": np.array([PROOFS.index(v.proof) for v in verdicts], dtype=np.uint8),
        "verdict/lower": np.array([v.lower for v in verdicts], dtype=np.float64),
        "verdict/upper": np.array([v.upper for v in verdicts], dtype=np.float64),
        "verdict/active_witness": np.array([_row(v.active_witness) for v in verdicts], dtype=np.int64),
        "verdict/inactive_witness": np.array([_row(v.inactive_witness) for v in verdicts], dtype=np.int64),
        "verdict/seconds": np.array([v.seconds for v in verdicts], dtype=np.float64),
    }


def _row(witness: int | None) -> int:
    return -1 if witness is None else witness


def _encode_proofs(proofs: tuple[LinearProof | BranchProof, ...]) -> tuple[list[dict[str, Any]], Arrays]:
    entries: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for i, proof in enumerate(proofs):
        if isinstance(proof, BranchProof):
            entries.append({"layer": proof.layer, "unit": proof.unit, "side": proof.side, "bound": proof.bound})
            arrays |= {f"proof/{i}/{name}": array for name, array in proof.arrays().items()}
            continue
        entry = {"layer": proof.layer, "side": proof.side, "round": proof.round, "alphas": list(proof.alphas)}
        entries.append(entry)
        arrays[f"proof/{i}/units"] = np.asarray(proof.units)
        arrays |= {f"proof/{i}/alphas/{j}": alphas for j, alphas in enumerate(proof.alphas.values())}
    return entries, arrays


def _decode(structure: Mapping[str, Any], arrays: Arrays) -> Report:
    domain = Box(arrays["domain/lower"], arrays["domain/upper"])
    if domain.digest != structure["domain"]:
        raise ResultError("the digest of its domain is not that of its bounds")
    texts = (structure["network"], structure["ended"], *structure["layers"], *structure["versions"].values())
    if not all(isinstance(text, str) for text in texts):
        raise ResultError("a name, a version, or how it ended is no text")
    verdicts = _decode_verdicts(structure, arrays)
    report = Report(
        network_digest=structure["network"],
        domain=domain,
        verdicts=verdicts,
        witnesses=arrays["witnesses"],
        proofs=tuple(_decode_proof(i, entry, arrays) for i, entry in enumerate(structure["proofs"])),
        sections=tuple(Section(int(s["first"]), tuple(map(int, s["parents"]))) for s in structure.get("sections", ())),
        settings=dict(structure["settings"]),
        versions=dict(structure["versions"]),
        stage_seconds=dict(structure["stage_seconds"]),
        ended=structure["ended"],
    )
    rows = [row for v in verdicts for row in (v.active_witness, v.inactive_witness) if row is not None]
    if report.counts() != structure["counts"] or any(row >= len(report.witnesses) for row in rows):
        raise ResultError("its counts or witnesses do not fit its verdicts")
    if not all(map(is_duration, report.stage_seconds.values())):
        raise ResultError("its times are none")
    return report


def _decode_verdicts(structure: Mapping[str, Any], arrays: Arrays) -> tuple[Verdict, ...]:
    layers = structure["layers"]
    phases = [Phase(value) for value in structure["phases"]]
    stages = [Stage(value) for value in structure["stages"]]
    kinds = [Proof(value) for value in structure["proof_kinds"]]
    names = (
        "layer",
        "unit",
        "phase",
        "stage",
        "proof",
        "lower",
        "upper",
        "active_witness",
        "inactive_witness",
        "seconds",
    )
    columns = zip(*(arrays[f"verdict/{name}"].tolist() for name in names), strict=True)
    return tuple(
        Verdict(
            layers[layer], unit, phases[phase], stages[stage], kinds[kind], lower, upper,
            None if active < 0 else active, None if inactive < 0 else inactive, seconds,
        )
        for layer, unit, phase, stage, kind, lower, upper, active, inactive, seconds in columns
    )  # fmt: skip


def _decode_proof(i: int, entry: Mapping[str, Any], arrays: Arrays) -> LinearProof | BranchProof:
    if "alphas" not in entry:
        stored = {field.name: f"proof/{i}/{field.name}" for field in fields(BranchProof)}
        own: dict[str, Any] = {name: arrays[key] for name, key in stored.items() if key in arrays}
        return BranchProof(**entry, **own)
    alphas = {name: arrays[f"proof/{i}/alphas/{j}"] for j, name in enumerate(entry["alphas"])}
    return LinearProof(entry["layer"], entry["side"], arrays[f"proof/{i}/units"], alphas, entry["round"])
