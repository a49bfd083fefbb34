"""Before and after: neurons, parameters and FLOPs of a network and of what it was compressed to, and by which edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milpcomp.cost import Cost
from milpcomp.network import Network
from milpcomp.report.tables import Table, change, count
from milpcomp.report.words import shape_text

if TYPE_CHECKING:
    from milpcomp.compression import Compression

EDIT_WORDS = {
    "Remove": "removed: zero on the domain",
    "Fix": "absorbed: constant on the domain",
    "Join": "joined: multiples of another one",
    "Merge": "merged: linear, and dependent on others",
    "Fold": "folded: all that is left of the layer is linear",
    "Collapse": "collapsed: the network is constant",
}


def size_table(old: Cost, new: Cost) -> Table:
    """Return the totals of two networks; slopes and additions only where there are any."""
    rows = [
        ("hidden layers", _hidden(old), _hidden(new)),
        ("neurons", old.neurons, new.neurons),
        ("parameters", old.parameters, new.parameters),
        ("rectifier slopes", old.slopes, new.slopes),
        ("FLOPs", old.flops, new.flops),
        ("additions", old.additions, new.additions),
    ]
    always = {"hidden layers", "neurons", "parameters", "FLOPs"}
    return Table(
        ("size", "before", "after", "change"),
        tuple((name, count(a), count(b), change(a, b)) for name, a, b in rows if a or b or name in always),
    )


def layer_size_table(before: Cost, after: Cost) -> Table:
    """Return node by node what changed: neurons of rectifiers, parameters of the others.

    Nodes are matched by name; one that is in one network only has nothing in the other. Nodes without neurons and
    parameters have no row.
    """
    old, new = _counts(before), _counts(after)
    rows = []
    for name in [*old, *(name for name in new if name not in old)]:
        kind, was = old.get(name, (new.get(name, ("", 0))[0], 0))
        becomes = new.get(name, (kind, 0))[1]
        rows.append((f"{name} ({kind})", count(was), count(becomes), change(was, becomes)))
    return Table(("layer", "before", "after", "change"), tuple(rows))


def shape_table(original: Network, smaller: Network) -> Table:
    """Return node by node the shape of its value in both networks, empty where one of them has no such node."""
    names = [node.name for node in original] + [node.name for node in smaller if node.name not in original]
    rows = [(n, *(shape_text(net.shape(n)) if n in net else "" for net in (original, smaller))) for n in names]
    inputs = ("input", shape_text(original.input_shape), shape_text(smaller.input_shape))
    return Table(("layer", "before", "after"), (inputs, *rows))


def edit_table(compression: Compression) -> Table:
    """Return what was done to how many channels (units of dense layers, feature maps of convolutions)."""
    channels = dict.fromkeys(EDIT_WORDS, 0)
    for edit in compression.edits:
        channels[type(edit).__name__] += len(getattr(edit, "channels", ()))
    done = {type(edit).__name__ for edit in compression.edits}
    rows = [
        (words, count(channels[kind]) if channels[kind] else "") for kind, words in EDIT_WORDS.items() if kind in done
    ]
    if compression.unread:
        rows.append(("dropped: nobody reads them (any more)", count(compression.unread)))
    return Table(("what was done", "channels"), tuple(rows))


def _hidden(total: Cost) -> int:
    return sum(layer.kind == "Rectifier" for layer in total.layers)


def _counts(total: Cost) -> dict[str, tuple[str, int]]:
    """Return by node what it counts in (neurons or parameters), and how many."""
    return {
        layer.name: ("neurons", layer.neurons) if layer.neurons else ("parameters", layer.parameters)
        for layer in total.layers
        if layer.neurons or layer.parameters
    }
