"""Where a torch module calls ReLU or GELU, found by tracing it with `torch.fx`.

Every call is a `Site` of its own: a module that is called twice is two sites, and ``F.relu``, ``torch.relu``,
``x.relu()`` and their in-place forms are sites like any other. A site is named after the module that is called, or
after the module whose forward calls the function; names that would occur twice are numbered from 1 in order of the
calls: ``layer1.0.relu1``, ``layer1.0.relu2``.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from milpcomp.errors import NetworkError
from milpcomp.rotated.activation import RotatedActivation
from milpcomp.rotated.tracers import OneInput, SizedInput

FUNCTIONS: dict[Any, str] = {
    F.gelu: "gelu",
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
}
"""Functions that are activations."""

METHODS = {"relu": "relu", "relu_": "relu"}
"""Methods of tensors that are activations."""

MODULES = {nn.ReLU: "relu", nn.GELU: "gelu"}
"""Modules of torch that are activations."""

IN_PLACE: tuple[Any, ...] = (F.relu_, torch.relu_, "relu_")
"""Functions and methods that overwrite their input."""

HIDING = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Modules of torch that call an activation out of sight."""


@dataclass(frozen=True)
class Site:
    """One call of an activation.

    Parameters
    ----------
    name : str
        Where it is; the name that the rotated activation gets.
    kind : str
        "relu", "gelu", or "rotated" for one that is rotated already.
    node : fx.Node
        The call.
    approximate : str
        Of a GELU: "none" or "tanh".
    in_place : bool
        Whether the call overwrites its input.
    """

    name: str
    kind: str
    node: fx.Node
    approximate: str = "none"
    in_place: bool = False


def traced(model: nn.Module, example: Tensor) -> fx.Graph:
    """Return the graph of calls of `model`, which must be the same in training and in evaluation.

    Where its code decides by sizes, those of `example` are fixed in the graph, except the number of samples.

    Raises
    ------
    NetworkError
        If the module cannot be traced, has other calls in training than in evaluation, or holds modules of torch whose
        activations cannot be reached.
    """
    title = type(model).__name__
    for name, part in model.named_modules():
        if isinstance(part, HIDING) or (isinstance(part, nn.RNN) and part.nonlinearity == "relu"):
            raise NetworkError(
                f"{name or title} is a {type(part).__name__}, whose activation cannot be reached from outside; write "
                "the layer out, with nn.ReLU or nn.GELU as a module of its own"
            )
    try:
        graph = _in_both_modes(model, OneInput)
    except Exception:  # whatever the model's own code raises when it meets a stand-in
        try:
            graph = _in_both_modes(model, lambda: SizedInput(example))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise NetworkError(
                f"{title} cannot be traced by torch.fx on an example of shape {tuple(example.shape)}: {reason}. Its "
                "forward must take one batch (other arguments have defaults), and decide nothing by the numbers in it "
                "or by how many samples there are; otherwise put RotatedReLU into the model's own code"
            ) from error
    if graph is None:
        raise NetworkError(
            f"{title} makes other calls in training than in evaluation, such as F.dropout(x, training=self.training); "
            "make those calls modules, such as nn.Dropout, so that the copy can be switched between the two"
        )
    return graph


def _in_both_modes(model: nn.Module, tracer: Callable[[], fx.Tracer]) -> fx.Graph | None:
    """Return the graph of `model`, or None if it is another one in training than in evaluation."""
    listings = [_listing(tracer().trace(copy.deepcopy(model).train(mode))) for mode in (False, True)]
    graph = tracer().trace(model)
    for node in graph.nodes:
        node.type = None  # annotations that are names of types cannot be written into files
    return graph if listings[0] == listings[1] else None


def sites(model: nn.Module, graph: fx.Graph) -> list[Site]:
    """Return every call of an activation in `graph`, in order of the calls."""
    found = [(node, *what) for node in graph.nodes if (what := _kind(model, node)) is not None]
    places = [_place(node, kind) for node, kind, _ in found]
    calls = Counter(places)
    taken: set[str] = set()
    result: list[Site] = []
    for (node, kind, module), place in zip(found, places, strict=True):
        free = module is not None and calls[place] == 1
        name = place if free else _numbered(model, place, taken)
        taken.add(name)
        result.append(Site(name, kind, node, _approximate(node, module), _in_place(node, module)))
    return result


def _listing(graph: fx.Graph) -> list[tuple[str, ...]]:
    return [(node.op, str(node.target), str(node.args), str(node.kwargs)) for node in graph.nodes]


def _kind(model: nn.Module, node: fx.Node) -> tuple[str, nn.Module | None] | None:
    """Return what activation `node` calls, if any, and the module that it calls, if any."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        known = [kind for of, kind in MODULES.items() if isinstance(module, of)]
        if isinstance(module, RotatedActivation):
            known = ["rotated"]
        return (known[0], module) if known else None
    table: dict[Any, str] = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op, {})
    return (table[node.target], None) if node.target in table else None


def _place(node: fx.Node, kind: str) -> str:
    """Return the name of the module called, or `kind` inside the module whose forward makes the call."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    owner = stack[-1][0] if stack else ""
    return f"{owner}.{kind}" if owner else kind


def _numbered(model: nn.Module, place: str, taken: Collection[str]) -> str:
    """Return `place` with the first number that makes it the name of nothing in `model` and not of those taken."""
    path, _, leaf = place.rpartition(".")
    owner, stem = model.get_submodule(path), f"{leaf}_" if leaf[-1].isdigit() else leaf
    free = (f"{stem}{i}" for i in count(1) if not hasattr(owner, f"{stem}{i}"))
    names = (f"{path}.{name}".lstrip(".") for name in free)
    return next(name for name in names if name not in taken)


def _approximate(node: fx.Node, module: nn.Module | None) -> str:
    return str(getattr(module, "approximate", node.kwargs.get("approximate", "none")))


def _in_place(node: fx.Node, module: nn.Module | None) -> bool:
    if module is not None:
        return bool(getattr(module, "inplace", False))
    asked = node.kwargs.get("inplace", node.args[1] if node.target is F.relu and len(node.args) > 1 else False)
    return node.target in IN_PLACE or bool(asked)
