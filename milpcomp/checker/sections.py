"""What the proofs of a report prove together: section by section, each on top of earlier ones.

    bounds before a section = bounds of the domain alone                                  where it has no parents
                              those after its parents, met, and one interval sweep        else
    bounds after a section  = with its linear proofs, by rounds, then with its proofs by cases, in order
    bounds of the report    = those after all sections, met, and one interval sweep

Sound whatever the report says: every bound here holds on the whole domain. The sections decide how tight the bounds
get: a proof must be replayed on the bounds that it was found on, as tighter ones below may make it weaker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from math import inf
from typing import Any

from milpcomp.checker.branch import Bounds, Proved, prove_trees
from milpcomp.checker.branch_tree import Tree
from milpcomp.checker.claims import Unreadable, attribute, entries, is_integer, shown
from milpcomp.checker.document import INPUT, Model
from milpcomp.checker.intervals import Interval
from milpcomp.checker.matrices import FloatArray
from milpcomp.checker.records import Slopes, read_proof
from milpcomp.checker.sweep import improve_bounds


@dataclass(frozen=True, eq=False)
class Section:
    """The readable proofs of a section, and the earlier sections that it starts from."""

    parents: tuple[int, ...]
    slopes: tuple[Slopes, ...]
    trees: tuple[Tree, ...]


def read_sections(report: Any, model: Model) -> tuple[list[Section], list[str]]:
    """Return the sections of a report with the proofs that can be read, and what is wrong with the rest.

    A report that names no sections has one, with all proofs.
    """
    places = count()
    read, problems = entries(
        attribute(report, "proofs"), "proof", lambda record: (next(places), read_proof(record, model))
    )
    given = attribute(report, "sections")
    whole = given is None or (type(given) is tuple and not given)
    named, unreadable = ([(0, ())], []) if whole else entries(given, "section", _section)
    firsts = [first for first, _ in named]
    if unreadable or firsts[:1] != [0] or any(b <= a for a, b in pairwise([*firsts, max(1, next(places))])):
        return [], [*problems, *(unreadable or ["its sections do not divide its proofs"])]
    found = []
    for place, ((first, parents), last) in enumerate(zip(named, [*firsts[1:], inf], strict=True)):
        if any(not 0 <= parent < place for parent in parents):
            return [], [*problems, f"section {place} rests on sections that do not come before it"]
        own = [proof for position, proof in read if first <= position < last]
        slopes = tuple(proof for proof in own if isinstance(proof, Slopes))
        found.append(Section(parents, slopes, tuple(proof for proof in own if isinstance(proof, Tree))))
    return found, problems


def prove_sections(model: Model, domain: tuple[FloatArray, FloatArray], sections: Sequence[Section]) -> Proved:
    """Return what sections prove together, and the problems of all.

    Notes
    -----
    **Trusts** what `prove_bounds` and `prove_trees` trust; nothing of the proofs or of how they are divided.
    """
    after: list[Bounds] = []
    leaves: Counter[tuple[str, int, bool]] = Counter()
    problems: list[str] = []
    box = {INPUT: Interval(*domain)}
    for section in sections:
        before = improve_bounds(model, _met([after[parent] for parent in section.parents], box), section.slopes)
        proved = prove_trees(model, before, section.trees)
        after.append(proved.bounds)
        leaves.update(proved.leaves)
        problems += proved.problems
    together = after[0] if len(after) == 1 else improve_bounds(model, _met(after, box))
    return Proved(together, leaves, tuple(problems))


def _met(found: Sequence[Bounds], box: Bounds) -> Bounds:
    """Return the intersection of bounds, or those of the input where there are none."""
    met = dict(found[0] if found else box)
    for other in found[1:]:
        met = {name: here.meet(other[name]) for name, here in met.items()}
    return met


def _section(record: Any) -> tuple[int, tuple[int, ...]]:
    first, parents = attribute(record, "first"), attribute(record, "parents")
    if not is_integer(first):
        raise Unreadable(f"it begins at {shown(first)}, which is no place among the proofs")
    if type(parents) is not tuple or not all(is_integer(parent) for parent in parents):
        raise Unreadable(f"it rests on {shown(parents)}, which are no sections")
    return int(first), tuple(int(parent) for parent in parents)
