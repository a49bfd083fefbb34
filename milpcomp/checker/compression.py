"""`check_compression`: the headline claim, that a smaller network computes the same function on the domain.

    1. every verdict of the report is checked (`milpcomp.checker.check`)
    2. every edit must be backed by accepted verdicts (by a solver's word only if the compression says so)
    3. the two networks are related value by value, with the edits and the claimed origins as hints
       (`milpcomp.checker.relation`), which yields the checker's own bound on the deviation of the outputs
    4. that bound must not exceed the claimed one

The two bounds are derived in different ways. The checker's may be up to `SLACK` times the claimed one, which allows for
that; a claim of exactly 0 must come out as exactly 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from milpcomp.checker.check import examine
from milpcomp.checker.claims import Unreadable, attribute, entries, read_domain, shown
from milpcomp.checker.document import Model, read_network
from milpcomp.checker.edits import facts_of, judge_edit, proved_units, read_carriers, read_edit
from milpcomp.checker.relation import Relation
from milpcomp.checker.result import CheckedCompression, EditEntry
from milpcomp.errors import NetworkError

SLACK = 1.25
"""How many times the claimed deviation the checker's own bound may be."""


def check_compression(network: Any, compression: Any, domain: Any, report: Any) -> CheckedCompression:
    """Check that ``compression.network`` computes what `network` computes, up to the claimed deviation.

    Parameters
    ----------
    network : Network
        The original one.
    compression : Compression
        What `compress` returned. Its network, edits and origin are looked at, and none of them is believed.
    domain : Box
    report : Report
        The verdicts that the edits rest on.

    Returns
    -------
    CheckedCompression
        Accepted only if every edit is backed, and the checker's own deviation bound is within the claimed one.

    Raises
    ------
    ResultError
        If the report is about another network or another domain.
    NetworkError, DomainError
        If the network or the domain is not usable.

    Notes
    -----
    **Trusts** what `check` trusts, and a solver's word where ``compression.trust_solver`` is True; such edits are
    listed. Who made the edits, and how, does not matter.
    """
    model = read_network(network)
    box = read_domain(domain, model)
    checked, bounds = examine(model, box, report)
    proved = proved_units(model, checked, bounds, attribute(compression, "trust_solver") is True)
    edits, problems = entries(attribute(compression, "edits"), "edit", lambda record: read_edit(record, model))
    problems = [*checked.problems, *problems]
    found: tuple[EditEntry, ...] = tuple(judge_edit(edit, proved) for edit in edits)
    claimed = _claimed(compression, problems)
    digest = attribute(compression, "original_digest")
    if digest is not None and digest != model.digest:
        problems.append(f"it was made of another network, {shown(digest)[:14]}")
    deviation = np.inf
    try:
        final = _final(compression, model)
        with np.errstate(all="ignore"):
            carriers = read_carriers(attribute(compression, "origin"), model, final)
            relation = Relation(model, final, box, bounds, carriers, facts_of(model, edits, proved))
            deviation = float(relation.deviation().max(initial=0.0))
    except Unreadable as error:
        problems.append(str(error))
    except Exception as error:  # whatever hostile claims lead to is a reason to reject them
        problems.append(f"the networks cannot be related: {type(error).__name__}: {error}")
    if not (deviation <= SLACK * claimed if claimed > 0 else deviation == 0):
        problems.append(
            f"the deviation is claimed to be at most {claimed:.3g} but could be shown only <= {deviation:.3g}"
        )
    return CheckedCompression(checked, found, tuple(problems), deviation, claimed)


def _claimed(compression: Any, problems: list[str]) -> float:
    """Return the claimed deviation; 0, which is the hardest to meet, where none is stated."""
    value = attribute(compression, "deviation_bound")
    if type(value) in (float, np.float64) and np.isfinite(value) and value >= 0:
        return float(value)
    problems.append("its deviation bound is no finite number")
    return 0.0


def _final(compression: Any, model: Model) -> Model:
    """Return the compressed network, which must have the original's input and output shapes."""
    network = attribute(compression, "network")
    try:
        final = read_network(network)
    except NetworkError as error:
        raise Unreadable(f"its network cannot be read: {error}") from None
    ends = [[m.shapes["input"], m.shapes[m.output]] for m in (model, final)]
    if ends[0] != ends[1]:
        raise Unreadable(f"its network maps {ends[1][0]} to {ends[1][1]}, the original {ends[0][0]} to {ends[0][1]}")
    return final
