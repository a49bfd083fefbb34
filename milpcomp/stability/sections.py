"""In which order the proofs of a report build on each other: in sections, each on top of earlier ones.

A section is a stretch of `Report.proofs` that one run found. It starts from what its parents prove together:

    bounds before a section = interval bounds of the domain                               where it has no parents
                              those after its parents, met, and one interval sweep        else
    bounds after a section  = with its linear proofs (`milpcomp.bounds.slopes`), then with its proofs by cases, in order
                              (`milpcomp.bounds.branch_proof`)
    bounds of the report    = those after all sections, met, and one interval sweep

A run that goes on from a report adds one section, whose parents are all that are nobody's parent yet. Reports are
merged by putting their sections side by side, equal ones once. One plain list would not do: standard slopes follow the
bounds, so that a proof may fail on top of tighter bounds than those it was found on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.branch_proof import BranchProof
from milpcomp.bounds.slopes import LinearProof

ProofRecord = LinearProof | BranchProof


@dataclass(frozen=True)
class Section:
    """A stretch of the proofs of a report: from `first` on, to the next section; `parents` are earlier sections."""

    first: int
    parents: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chain:
    """Proofs with their sections; no sections mean one for all proofs.

    Parameters
    ----------
    proofs : tuple of LinearProof or BranchProof
    sections : tuple of Section
    """

    proofs: tuple[ProofRecord, ...] = ()
    sections: tuple[Section, ...] = ()

    def extended(self, proofs: Sequence[ProofRecord]) -> Chain:
        """Return this chain with one more section, on top of everything."""
        if not proofs or not self.proofs:
            return self if self.proofs else Chain(tuple(proofs))
        sections = self.sections or (Section(0),)
        used = {parent for section in sections for parent in section.parents}
        ends = tuple(place for place in range(len(sections)) if place not in used)
        return Chain((*self.proofs, *proofs), (*sections, Section(len(self.proofs), ends)))

    def parts(self) -> list[tuple[tuple[int, ...], tuple[ProofRecord, ...]]]:
        """Return the sections one by one: parents, and proofs."""
        if not self.proofs:
            return []
        sections = self.sections or (Section(0),)
        ends = [*(section.first for section in sections[1:]), len(self.proofs)]
        return [(s.parents, self.proofs[s.first : end]) for s, end in zip(sections, ends, strict=True)]


def united(chains: Iterable[Chain]) -> Chain:
    """Return one chain with the sections of all; sections that are equal bit by bit, parents and all, are kept once."""
    known: dict[bytes, int] = {}
    proofs: list[ProofRecord] = []
    sections: list[Section] = []
    for chain in chains:
        digests: list[bytes] = []
        for parents, own in chain.parts():
            digests.append(_digest([digests[parent] for parent in parents], own))
            if digests[-1] not in known:
                known[digests[-1]] = len(sections)
                sections.append(Section(len(proofs), tuple(known[digests[parent]] for parent in parents)))
                proofs += own
    return Chain(tuple(proofs), () if len(sections) == 1 else tuple(sections))


def _digest(parents: Sequence[bytes], proofs: Sequence[ProofRecord]) -> bytes:
    content = hashlib.sha256(repr(len(parents)).encode() + b"".join(parents))
    for proof in proofs:
        if isinstance(proof, BranchProof):
            head, arrays = (proof.layer, int(proof.unit), proof.side, float(proof.bound)), proof.arrays()
        else:
            head, arrays = (proof.layer, -1, proof.side, proof.round), {"units": proof.units, **proof.alphas}
        content.update(repr((head, [(name, a.dtype.str, a.shape) for name, a in arrays.items()])).encode())
        for array in arrays.values():
            content.update(_bytes(array))
    return content.digest()


def _bytes(array: NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(array).tobytes()
