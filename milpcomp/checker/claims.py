"""Reading what a report claims, trusting nothing about it: types, ranges and shapes are all looked at.

A report is read by its attribute names alone. What cannot be read becomes a reason to reject, never an exception:
a claim that is no claim rejects its neuron, and a record that fits nowhere is a problem of the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from milpcomp.checker.document import INPUT, Model
from milpcomp.checker.matrices import FloatArray
from milpcomp.errors import DomainError, ResultError

INACTIVE, ACTIVE, UNSTABLE, UNDECIDED = "stably_inactive", "stably_active", "unstable", "undecided"
CERTIFIED, WITNESSED, UNCERTIFIED, SOLVER, NONE = "certified", "witnessed", "uncertified", "solver", "none"

ON_TRUST = {SOLVER: "solver", UNCERTIFIED: "branch"}
"""What nobody can check, and the stage that it comes from."""

STABLE = (CERTIFIED, *ON_TRUST)
PROOFS = {INACTIVE: STABLE, ACTIVE: STABLE, UNSTABLE: (WITNESSED,), UNDECIDED: (NONE,)}
"""Which proofs a verdict of each phase may rest on."""

STAGES = ("closed-form", "refute", "bound", "branch", "solver", "none")

Neuron = tuple[str, int]
Read = TypeVar("Read")


class Unreadable(ValueError):
    """A piece of a report that is not what it should be; the message says what was found."""


@dataclass(frozen=True)
class Claim:
    """A verdict, read: known phase, stage and proof that go together, numbers that are numbers."""

    layer: str
    unit: int
    phase: str
    stage: str
    proof: str
    lower: float
    upper: float
    active: int | None
    inactive: int | None


def read_domain(domain: Any, model: Model) -> tuple[FloatArray, FloatArray]:
    """Return the bounds of a box, flattened to the network's input.

    Raises
    ------
    DomainError
        If they are no finite box of the input's size.
    """
    try:
        bounds = [np.asarray(getattr(domain, side), dtype=np.float64) for side in ("lower", "upper")]
    except Exception as error:
        raise DomainError(f"the domain has no readable bounds: {error}") from None
    size = model.size(INPUT)
    if bounds[0].shape != bounds[1].shape or (bounds[0].shape != () and bounds[0].size != size):
        raise DomainError(f"the domain has bounds of shape {bounds[0].shape}, the network takes {model.shapes[INPUT]}")
    low, high = (np.broadcast_to(bound.reshape(-1), (size,)).copy() for bound in bounds)
    if not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
        raise DomainError("the domain is empty or not finite")
    return low, high


def require_same(report: Any, model: Model, domain: tuple[FloatArray, FloatArray]) -> None:
    """Raise `ResultError` unless the report is about this network and this domain."""
    digest = attribute(report, "network_digest")
    if type(digest) is not str or digest != model.digest:
        raise ResultError(
            f"the report belongs to the network {shown(digest)[:14]}, not to {model.digest[:12]!r}; "
            "check it against the network that was certified"
        )
    try:
        theirs = read_domain(attribute(report, "domain"), model)
    except DomainError as error:
        raise ResultError(f"the report's domain is not usable: {error}") from None
    if not all(np.array_equal(ours, other) for ours, other in zip(domain, theirs, strict=True)):
        raise ResultError("the report belongs to another domain; check it against the domain that was certified")


def read_claims(report: Any, model: Model) -> tuple[dict[Neuron, Claim | str], list[str]]:
    """Return for each neuron its claim, or why there is none to check, and the problems of the report."""
    widths = {step.name: model.size(step.name) for step in model.rectifiers}
    found: dict[Neuron, Claim | str] = {}
    verdicts, problems = entries(attribute(report, "verdicts"), "verdict", lambda v: (_neuron(v, widths), v))
    order = [neuron for neuron, _ in verdicts]
    for neuron, verdict in verdicts:
        claims, reasons = entries([verdict], "verdict", lambda v, neuron=neuron: _claim(v, neuron))  # type: ignore[misc]
        found[neuron] = claims[0] if claims else reasons[0].removeprefix("verdict 0: ")
    for neuron, count in Counter(order).items():
        if count > 1:
            found[neuron] = "the report holds more than one verdict on this neuron"
    positions = {name: i for i, name in enumerate(widths)}
    if order != sorted(order, key=lambda neuron: (positions[neuron[0]], neuron[1])):
        problems.append("its verdicts are not in topological order of the layers, then by unit")
    return found, problems


def read_witnesses(report: Any, model: Model) -> FloatArray:
    """Return the witnesses, (K, input size).

    Raises
    ------
    Unreadable
        If they are no float64 array of inputs.
    """
    witnesses = attribute(report, "witnesses")
    shape = model.shapes[INPUT]
    readable = isinstance(witnesses, np.ndarray) and witnesses.dtype == np.float64
    if not readable or witnesses.ndim != len(shape) + 1 or witnesses.shape[1:] != shape:
        raise Unreadable(f"its witnesses are no float64 array of shape (K, *{shape})")
    return np.array(witnesses, dtype=np.float64).reshape(len(witnesses), model.size(INPUT))


def attribute(record: Any, name: str) -> Any:
    """Return an attribute of a record, or None where there is none to be had."""
    try:
        return getattr(record, name)
    except Exception:
        return None


def array_of(record: Any, name: str, kind: str, axes: int = 1) -> Any:
    """Return a copy of an array of integers, finite floats or truth values ("i", "f" or "b").

    Raises
    ------
    Unreadable
        If the attribute is none, or has another number of axes.
    """
    array = attribute(record, name)
    words = {"i": "integers", "f": "floats", "b": "truth values"}
    if not isinstance(array, np.ndarray) or array.ndim != axes or array.dtype.kind != kind or array.itemsize > 8:
        raise Unreadable(f"its {name} is no array of {words[kind]} with {axes} axes")
    if kind == "f" and not np.isfinite(array).all():
        raise Unreadable(f"its {name} holds numbers that are not finite")
    wanted = {"i": np.int64, "f": array.dtype if axes > 1 else np.float64, "b": np.bool_}[kind]
    return np.array(array, dtype=wanted, subok=False)


def entries(records: Any, kind: str, read: Callable[[Any], Read]) -> tuple[list[Read], list[str]]:
    """Read records one by one: return what could be read, and for each of the others what it is and why not."""
    try:
        listed = list(records) if isinstance(records, Iterable) else None
    except Exception:
        listed = None
    if listed is None:
        return [], [f"its {kind}s are no sequence"]
    found, problems = [], []
    for position, record in enumerate(listed):
        try:
            found.append(read(record))
        except Unreadable as error:
            problems.append(f"{kind} {position}: {error}")
        except Exception as error:  # whatever a hostile record raises is a reason to reject it
            problems.append(f"{kind} {position} cannot be read: {type(error).__name__}")
    return found, problems


def _neuron(verdict: Any, widths: Mapping[str, int]) -> Neuron:
    layer, unit = attribute(verdict, "layer"), attribute(verdict, "unit")
    if type(layer) is not str or layer not in widths:
        raise Unreadable(f"the network has no rectifier called {shown(layer)}")
    if not is_integer(unit) or not 0 <= unit < widths[layer]:
        raise Unreadable(f"{layer!r} has {widths[layer]} neurons and none is called {shown(unit)}")
    return layer, int(unit)


def _claim(verdict: Any, neuron: Neuron) -> Claim:
    phase = _word(verdict, "phase", tuple(PROOFS))
    stage, proof = _word(verdict, "stage", STAGES), _word(verdict, "proof", (*STABLE, WITNESSED, NONE))
    if proof not in PROOFS[phase]:
        raise Unreadable(f"a verdict {phase!r} cannot rest on the proof {proof!r}")
    if (stage == "none") != (phase == UNDECIDED) or ON_TRUST.get(proof, stage) != stage:
        raise Unreadable(f"a verdict {phase!r} with proof {proof!r} cannot come from the stage {stage!r}")
    lower, upper = _number(verdict, "lower"), _number(verdict, "upper")
    if not lower <= upper:
        raise Unreadable(f"its claimed bounds [{lower}, {upper}] hold no number")
    if proof == CERTIFIED and not (upper <= 0 if phase == INACTIVE else lower >= 0):
        raise Unreadable(f"its own claimed bounds [{lower}, {upper}] do not make it {phase!r}")
    active, inactive = _row(verdict, "active_witness"), _row(verdict, "inactive_witness")
    if phase == UNSTABLE and (active is None or inactive is None):
        raise Unreadable("an unstable neuron needs two witnesses")
    return Claim(*neuron, phase, stage, proof, lower, upper, active, inactive)


def _word(verdict: Any, name: str, known: tuple[str, ...]) -> str:
    value = attribute(verdict, name)
    text = value.value if isinstance(value, Enum) else value
    if type(text) is not str or text not in known:
        raise Unreadable(f"its {name} is {shown(value)}, not one of {', '.join(known)}")
    return text


def _number(verdict: Any, name: str) -> float:
    value = attribute(verdict, name)
    if type(value) not in (float, np.float64) or np.isnan(value):
        raise Unreadable(f"its {name} bound is {shown(value)}, not a number")
    return float(value)


def _row(verdict: Any, name: str) -> int | None:
    value = attribute(verdict, name)
    if value is not None and not is_integer(value):
        raise Unreadable(f"its {name} is {shown(value)}, not a row of the witnesses")
    return None if value is None else int(value)


def is_integer(value: Any) -> bool:
    """Tell whether `value` is an integer, and no truth value."""
    return type(value) is int or isinstance(value, np.integer)


def shown(value: Any) -> str:
    """Return a short text of anything at all."""
    try:
        return repr(value)[:60]
    except Exception:
        return f"a {type(value).__name__}"
