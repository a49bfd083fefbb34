"""Input domains from VNN-LIB 1.0 property files: the boxes that their assertions about inputs X describe.

A property is a conjunction of assertions, each a tree of `and` and `or` over comparisons (<= a b), (>= a b). Read as a
set of inputs,

    X_i against a number     a half-space: one bound of one input
    Y_j against anything     no restriction: any output may be, so the comparison is true
    and, or                  intersection and union of unions of boxes

so the result is a list of boxes: several where `or` joins different input boxes. Outside of them the property says
nothing; what it says about outputs is not part of a domain. Whatever does not fit this (X against X, X against Y,
arithmetic on X, other syntax) is refused with its line.

Numbers are decimals, and a bound is the float64 nearest to it: the box may differ from the written one by half a unit
in the last place. Source: https://www.vnnlib.org, version 1.0 (SMT-LIB 2 syntax).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from milpcomp.domain import Box
from milpcomp.errors import DomainError
from milpcomp.files import PathLike

TOKEN = re.compile(r';[^\n]*|"[^"]*"|\|[^|]*\||[()]|[^\s()";|]+|\S')
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
VARIABLE = re.compile(r"([XY])((?:_\d{1,9})+)")
SILENT = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "exit"}
"""Commands that say nothing about inputs."""

MOST_DOMAINS = 10_000
"""More boxes than this are refused: products of many `or` explode."""

Index = tuple[int, ...]
Part = dict[Index, tuple[float, float]]
"""A box as far as it is restricted: lower and upper bound of some inputs, infinite where there is none."""


@dataclass(frozen=True)
class Term:
    """A word of the file, or a list in parentheses (`text` is then empty), and the line it starts in."""

    text: str
    items: tuple[Term, ...]
    line: int

    def __str__(self) -> str:
        return self.text or f"({' '.join(map(str, self.items))})"


class Refused(Exception):
    """Why a term is not read."""

    def __init__(self, term: Term, reason: str) -> None:
        shown = str(term)
        super().__init__(f"line {term.line}: {reason}: {shown if len(shown) <= 80 else shown[:77] + '...'}")


def read_vnnlib(path: PathLike) -> tuple[Box, ...]:
    """Return the input domains of a VNN-LIB 1.0 file.

    Parameters
    ----------
    path : path
        A text file, or the same compressed with gzip.

    Returns
    -------
    tuple of Box
        At least one, none twice; of shape (n,) for inputs X_0 .. X_{n-1}, or (n, m, ...) for inputs X_0_0 ...

    Raises
    ------
    DomainError
        If the file cannot be read, or is not understood as input boxes, or an input is unbounded, or nothing is left.
    """
    try:
        content = Path(path).read_bytes()
        text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode()
    except (OSError, EOFError, zlib.error) as error:
        raise DomainError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise DomainError(f"{path} is no VNN-LIB file: it is not text") from error
    try:
        return _domains(text)
    except Refused as refused:
        raise DomainError(f"{path}, {refused}") from refused
    except RecursionError:
        raise DomainError(f"{path} is nested too deeply") from None
    except DomainError as error:
        raise DomainError(f"{path}: {error}") from error


def _domains(text: str) -> tuple[Box, ...]:
    declared: dict[str, tuple[str, Index]] = {}  # name: (X or Y, indices)
    assertions: list[Term] = []
    for command in _parse(text):
        head = command.items[0].text if command.items else ""
        if head in {"declare-const", "declare-fun"}:
            _declare(command, declared)
        elif head == "assert" and len(command.items) == 2:
            assertions.append(command.items[1])
        elif head in {"vnnlib-version", "declare-network"}:
            raise Refused(command, "this is VNN-LIB 2.0, and only 1.0 is read")
        elif head not in SILENT:
            raise Refused(command, "unknown command")
    inputs = [index for kind, index in declared.values() if kind == "X"]
    if not inputs:
        raise DomainError("no input is declared; inputs are called X_0, X_1, ...")
    shape = tuple(int(n) + 1 for n in np.max(inputs, axis=0)) if len({len(index) for index in inputs}) == 1 else ()
    if int(np.prod(shape)) != len(inputs) or not shape:
        raise DomainError(f"the declared inputs do not form an array: {len(inputs)} names, up to {max(inputs)}")
    parts = _intersection(assertions, [_parts(term, declared) for term in assertions])
    boxes = {box.digest: box for box in (_box(part, shape) for part in parts)}
    return tuple(boxes.values())


def _parse(text: str) -> Iterator[Term]:
    """Give the top-level terms of a file, without recursion."""
    opened: list[tuple[int, list[Term]]] = []
    line, seen = 1, 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        token = match.group()
        if token.startswith(";"):
            continue
        if token == "(":
            opened.append((line, []))
            continue
        if not opened:
            raise Refused(Term(token, (), line), "not VNN-LIB: a command in parentheses was expected")
        if token != ")":
            opened[-1][1].append(Term(token.strip("|"), (), line))
            continue
        start, items = opened.pop()
        term = Term("", tuple(items), start)
        if opened:
            opened[-1][1].append(term)
        else:
            yield term
    if opened:
        raise Refused(Term("(", (), opened[0][0]), "a parenthesis is never closed")


def _declare(command: Term, declared: dict[str, tuple[str, Index]]) -> None:
    """Add the variable that a command declares."""
    words = [str(item) for item in command.items]
    name = words[1] if len(words) > 1 else ""
    matched = VARIABLE.fullmatch(name)
    if matched is None or words[2:] != (["Real"] if words[0] == "declare-const" else ["()", "Real"]):
        raise Refused(command, "only real inputs X_0, X_1, ... and outputs Y_0, Y_1, ... are known")
    variable = matched[1], tuple(int(index) for index in matched[2].split("_")[1:])
    if variable in declared.values():
        raise Refused(command, "declared twice")
    declared[name] = variable


def _parts(term: Term, declared: dict[str, tuple[str, Index]]) -> list[Part]:
    """Return the boxes that an assertion leaves, as far as it restricts inputs."""
    head = term.items[0].text if term.items else ""
    below = term.items[1:]
    if head == "and" and below:
        return _intersection(below, [_parts(item, declared) for item in below])
    if head == "or" and below:
        found = {tuple(sorted(part.items())): part for item in below for part in _parts(item, declared)}
        return [{}] if () in found else list(found.values())
    if head not in {"<=", ">="} or len(below) != 2:
        raise Refused(term, "only and, or, and <=, >= between two terms are understood")
    small, large = below if head == "<=" else below[::-1]
    kinds = {declared[name][0] for name in _variables(term, declared)}
    if kinds == {"Y"}:
        return [{}]
    for left, right in ((small, large), (large, small)):
        if left.text in declared and kinds == {"X"} and (number := _number(right)) is not None:
            bounds = (-np.inf, number) if left is small else (number, np.inf)
            return [{declared[left.text][1]: bounds}]
    raise Refused(term, "an input may only be compared with a number, so that the domain is a box")


def _intersection(terms: Sequence[Term], unions: Sequence[list[Part]]) -> list[Part]:
    """Return the boxes in which all unions meet.

    Two bounds that contradict each other are an error where no `or` offers another choice; a choice that contradicts
    the others is left out.
    """
    common: Part = {}
    for term, union in zip(terms, unions, strict=True):
        if len(union) == 1 and not _restrict(common, union[0]):
            raise Refused(term, "the box is empty, because this contradicts what was required before")
    choices = [union for union in unions if len(union) > 1]
    if np.prod([len(union) for union in choices], dtype=float) > MOST_DOMAINS:
        raise Refused(terms[-1], f"more than {MOST_DOMAINS} combinations of input boxes")
    met = []
    for combination in product(*choices):
        part = dict(common)
        if all(_restrict(part, choice) for choice in combination):
            met.append(part)
    if not met:
        raise Refused(terms[0], "the box is empty, because every choice of its `or` is contradicted elsewhere")
    return met


def _restrict(part: Part, other: Part) -> bool:
    """Intersect `part` with `other` in place; return whether anything is left."""
    left = True
    for index, (lower, upper) in other.items():
        old = part.get(index, (-np.inf, np.inf))
        part[index] = max(old[0], lower), min(old[1], upper)
        left &= part[index][0] <= part[index][1]
    return left


def _box(part: Part, shape: Index) -> Box:
    lower, upper = np.full(shape, -np.inf), np.full(shape, np.inf)
    for index, bounds in part.items():
        lower[index], upper[index] = bounds
    for side, bound in (("lower", lower), ("upper", upper)):
        if not np.isfinite(bound).all():
            name = "_".join(map(str, ("X", *np.argwhere(~np.isfinite(bound))[0])))
            raise DomainError(f"input {name} has no finite {side} bound; every input needs both")
    return Box(lower, upper)


def _variables(term: Term, declared: dict[str, tuple[str, Index]]) -> set[str]:
    """Return the names of the variables in a term, refusing names that are not declared."""
    if term.items:
        return {name for item in term.items[1:] for name in _variables(item, declared)}
    if term.text in declared:
        return {term.text}
    if NUMBER.fullmatch(term.text):
        return set()
    raise Refused(term, "neither a number nor a declared variable")


def _number(term: Term) -> float | None:
    """Return the number that a term is, also as (- number), or None."""
    if [item.text for item in term.items[:1]] == ["-"] and len(term.items) == 2:
        inner = _number(term.items[1])
        return None if inner is None else -inner
    return float(term.text) if NUMBER.fullmatch(term.text) else None
