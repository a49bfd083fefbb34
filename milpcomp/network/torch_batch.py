"""Permutations of torch graphs that put another axis in front of the batch axis, written so that they do not.

    x.permute(2, 0, 3, 1, 4).unbind(0)    is    x.permute(0, 2, 3, 1, 4).unbind(1)

That is how attention is often written: queries, keys and values come to the front and are taken apart there. Readers
know values with the batch axis in front only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import fx

PERMUTE = "aten.permute.default"
TAKING_APART = ("aten.unbind.int", "aten.select.int")


def keep_batch_first(nodes: Iterable[fx.Node]) -> None:
    """Change, in place, permutations that leave the batch axis second and are only taken apart along the first axis."""
    for node in nodes:
        if str(node.target) != PERMUTE:
            continue
        source, dims = node.args[0], _axes(node)
        if dims[1:2] == [0] and isinstance(source, fx.Node) and all(map(_takes_first_apart, node.users)):
            node.args = (source, [0, dims[0], *dims[2:]])
            node.meta["val"] = source.meta["val"].permute(node.args[1])
            for user in list(node.users):
                user.args = (node, 1, *user.args[2:])


def _axes(node: fx.Node) -> list[int]:
    dims: Any = node.args[1]
    return [dim % len(dims) for dim in dims]


def _takes_first_apart(user: fx.Node) -> bool:
    return str(user.target) in TAKING_APART and user.args[1:2] in ((), (0,))
