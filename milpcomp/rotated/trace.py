"""Where a torch module calls ReLU or GELU, found by tracing it with `torch.fx`.

Every call is a `Site` of its own: a module that is called twice is two sites, and ``F.relu``, ``torch.relu``,
``x.relu()`` and their in-place forms are sites like any other. A site is named after the module that is called, or
after the module whose forward calls the function; names that would occur twice are numbered from 1 in order of the
calls: ``layer1.0.relu1``, ``layer1.0.relu2``.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from milpcomp.errors import NetworkError
from milpcomp.rotated.activation import RotatedActivation

FUNCTIONS: dict[Any, str] = {
    F.gelu: "gelu",
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    torch.Tensor.relu: "relu",
    torch.Tensor.relu_: "relu",
}
"""Functions that are activations."""

METHODS = {"relu": "relu", "relu_": "relu"}
"""Methods of tensors that are activations."""

MODULES = {nn.ReLU: "relu", nn.GELU: "gelu"}
"""Modules of torch that are activations."""

IN_PLACE: tuple[Any, ...] = (F.relu_, torch.relu_, torch.Tensor.relu_, "relu_")
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


class OneInput(fx.Tracer):
    """Traces a module as a function of its first argument, the others at their defaults; rotated ones stay whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a call of `m` is one node of the graph."""
        return isinstance(m, RotatedActivation) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Return the function to trace and its arguments: the module, and a placeholder for its input."""
        names = [name for name in inspect.signature(inspect.unwrap(root_fn)).parameters if name != "self"]
        return root_fn, [self.root, self.create_proxy("placeholder", names[0] if names else "x", (), {})]


def traced(model: nn.Module) -> fx.Graph:
    """Return the graph of calls of `model`, which must be the same in training and in evaluation.

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
        graph = OneInput().trace(model)
        listings = [_listing(OneInput().trace(copy.deepcopy(model).train(mode))) for mode in (False, True)]
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise NetworkError(
            f"{title} cannot be traced by torch.fx: {reason}. Its forward must take one batch (other arguments have "
            "defaults) and must not decide anything by the values or shapes in it; use nn.Module conditions fixed when "
            "the model is made, or put RotatedReLU into the model's code"
        ) from error
    if listings[0] != listings[1]:
        raise NetworkError(
            f"{title} makes other calls in training than in evaluation, such as F.dropout(x, training=self.training); "
            "make those calls modules, such as nn.Dropout, so that the copy can be switched between the two"
        )
    return graph


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
