"""Filter counts as the authors of rotated ReLU computed with them, their slip included, by name.

A list of active filters per convolution, two to a block, gives one weighted path per block. The authors' script takes
the first half of the raw counts, one by one, as if each were a block of its own; with the preset ``"rrelu-2022"`` so
does `seed_graph`, to make their figure comparable.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx

from milpcomp.errors import SettingsError
from milpcomp.paths.graph import block_graph

PRESETS = ("correct", "rrelu-2022")


def seed_graph(counts: Sequence[int], preset: str = "correct") -> nx.DiGraph:
    """Return the graph of a list of active filters, two convolutions a block.

    Parameters
    ----------
    counts : sequence of int
    preset : {"correct", "rrelu-2022"}
        ``"rrelu-2022"`` is what was published: the first half of the counts, each taken for a block.

    Raises
    ------
    SettingsError
        If the preset is unknown, or the counts do not fill blocks.
    """
    if preset not in PRESETS:
        raise SettingsError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    if preset == "correct":
        return block_graph(counts)
    return block_graph(counts[: len(counts) // 2], per_block=1)
