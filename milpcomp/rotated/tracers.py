"""Tracers of torch modules as functions of one batch: one for any sizes, one that knows the sizes of an example.

`torch.fx` runs a module on a stand-in for its input and writes down what is called. Code that decides by sizes, such as
``if x.shape[1] != channels``, cannot run on a stand-in. `SizedInput` computes every value for an example beside the
graph, so that such code finds its sizes: all but the number of samples, which stays open.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from milpcomp.rotated.activation import RotatedActivation


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


class SizedInput(OneInput):
    """Traces a module that decides by the sizes of its values, as it does for an example.

    Parameters
    ----------
    example : Tensor, shape (N, ...)
    """

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.example = example
        self.values: dict[fx.Node, Any] = {}
        self.computing = False  # while a value is computed, modules run as they always do

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """Return the graph of calls of `root`."""
        self.twin = copy.deepcopy(root).eval()
        graph = super().trace(root, concrete_args)
        for node in reversed(graph.nodes):
            if node.op == "call_method" and node.target == "size" and not node.users:
                graph.erase_node(node)  # sizes that were asked for and found among those of the example
        return graph

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return the stand-in for the value of `node`."""
        return _Sized(node, self)

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **names: Any) -> fx.Node:
        """Return a new node of the graph, after computing its value for the example."""
        node = super().create_node(kind, target, args, kwargs, *rest, **names)
        if kind != "output":
            self.computing = True
            try:
                with torch.no_grad():
                    self.values[node] = self._value(node)
            finally:
                self.computing = False
        return node

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return the result of calling `m`: a stand-in, or a value while one is computed."""
        return forward(*args, **kwargs) if self.computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return an attribute of a module: for parameters a stand-in, or a value while one is computed."""
        return attr_val if self.computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self.example.clone()
        if node.op == "get_attr":
            value: Any = self.root
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return value.detach().clone()
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: self.values[source])
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_module":
            return self.twin.get_submodule(str(node.target))(*args, **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


class _Sized(fx.Proxy):
    """A stand-in for a value that knows its sizes, except the number of samples."""

    tracer: SizedInput

    @property
    def shape(self) -> Any:
        """The sizes; of a tensor that is not known as one, a stand-in."""
        value = self.tracer.values[self.node]
        if not isinstance(value, Tensor):
            return super().__getattr__("shape")
        return (self.tracer.create_proxy("call_method", "size", (self, 0), {}), *value.shape[1:])[: value.ndim]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return int(self.tracer.values[self.node].ndim)

    def dim(self) -> int:
        """Return the number of axes."""
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """Return the sizes, or one of them."""
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.tracer.values[self.node]) if self._is_sequence() else super().__len__()

    def __iter__(self) -> Iterator[fx.Proxy]:
        if not self._is_sequence():
            return super().__iter__()
        return (self.tracer.create_proxy("call_function", operator.getitem, (self, i), {}) for i in range(len(self)))

    def _is_sequence(self) -> bool:
        return isinstance(self.tracer.values[self.node], list | tuple)
