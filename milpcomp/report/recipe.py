"""How to check and reproduce an analysis: the commands, the Python lines, the files and the settings, for every report.

Both lead back to the written folder: the certificate holds the domain and every setting, original.npz the network.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from milpcomp.report.analysis import Analysis

FILES = (
    ("certificate.json, .npz", "the verdicts, with witnesses and proofs"),
    ("original.npz", "the network as read, every bit"),
    ("network.npz, .onnx", "the smaller network: every bit, and in float32; .pt, for chains of layers, its state dict"),
    ("compression.json, .npz", "the edits that lead from one to the other"),
    ("report.html, report.md", "the report as one page, and in Markdown"),
    ("tables.tex", "its tables in LaTeX"),
    ("layers.csv, neurons.csv", "the numbers behind the tables: a row per layer, and a row per neuron"),
    ("verdicts.png, .pdf", "the figure of layers by phase"),
    ("summary.json", "all of this for programs"),
)
"""What an analysis writes, and what is in it."""


def check_command(analysis: Analysis) -> str:
    """Return the command that has the checker judge the written folder."""
    original, folder = (shlex.quote(text) for text in (str(_folder(analysis) / "original.npz"), _out(analysis)))
    return f"milpcomp check {original} {folder} {folder}"


def python_lines(analysis: Analysis) -> tuple[str, ...]:
    """Return the Python that certifies and compresses again what the written folder holds."""
    return (
        "import milpcomp as mc",
        f"report = mc.load_report({_out(analysis)!r})",
        f"network = mc.load({str(_folder(analysis) / 'original.npz')!r})",
        f"again = mc.certify(network, report.domain{_arguments(analysis.report.settings)})",
        f"smaller = mc.compress(network, again{_compress_arguments(analysis)})",
    )


def settings(analysis: Analysis) -> dict[str, str]:
    """Return every option of the run, as JSON text."""
    done = analysis.compression
    own = dict(analysis.report.settings) | {"trust_solver": done.trust_solver, "tolerance": done.tolerance}
    return {name: json.dumps(value) for name, value in own.items()}


def digests(analysis: Analysis) -> dict[str, str]:
    """Return what identifies the network, the domain and the smaller network, bit by bit."""
    return {
        "network": analysis.network.digest,
        "domain": analysis.report.domain.digest,
        "smaller network": analysis.compression.network.digest,
    }


def _out(analysis: Analysis) -> str:
    return str(analysis.out or ".")


def _folder(analysis: Analysis) -> Path:
    return Path(_out(analysis))


def _arguments(options: Mapping[str, Any]) -> str:
    names = ("method", "backend", "time_limit_s", "seed")
    return "".join(f", {name}={options[name]!r}" for name in names if options.get(name) is not None)


def _compress_arguments(analysis: Analysis) -> str:
    done = analysis.compression
    changed = {"trust_solver": done.trust_solver} if done.trust_solver else {}
    return "".join(f", {name}={value!r}" for name, value in {**changed, "tolerance": done.tolerance}.items())
