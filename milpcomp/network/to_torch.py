"""Networks as torch modules that need nothing but torch.

A plain chain of standard layers becomes an `nn.Sequential`; any other network becomes a `torch.fx.GraphModule`, a
module whose forward is generated Python over standard modules and functions (its ``code`` prints it, its ``to_folder``
writes it out). Both can be trained further, exported, moved to a device, and saved and loaded as torch modules are.

The stored float64 numbers are rounded to `dtype`; in ``torch.float64`` the module computes `Network.forward` up to the
order of summation.
"""

from __future__ import annotations

import operator
import re
from collections import OrderedDict
from collections.abc import Collection
from functools import reduce
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from milpcomp.errors import NetworkError
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Add, Concat
from milpcomp.network.opaque import Product
from milpcomp.network.torch_steps import Step, steps

AnyModule = TypeVar("AnyModule", bound=nn.Module)

RESERVED = frozenset(dir(fx.GraphModule)) | frozenset(dir(nn.Sequential)) | {"graph", "training", "x"}
"""Names that a torch module has for itself and that no layer in it can have."""


def to_torch(network: Network, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the network as a torch module.

    Parameters
    ----------
    network : Network
    dtype : torch.dtype, optional
        Of the parameters and buffers, and thus of the inputs that the module takes.

    Returns
    -------
    nn.Module
        Maps (N, *input_shape) to (N, *output_shape). An `nn.Sequential` of standard modules, named like the nodes with
        ``_`` in place of ``.``, where the network is a chain of such; else a `torch.fx.GraphModule`. Weights, biases
        and PReLU slopes are parameters; other slopes, scales, shifts and indices are buffers.

    Raises
    ------
    NetworkError
        If a number is too large for `dtype`.
    """
    module = _sequential(network)
    return _finished(_graph_module(network, None) if module is None else module, dtype)


def pre_activation_module(
    network: Network, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> fx.GraphModule:
    """Return a torch module that maps inputs to all pre-activations, differentiably in the inputs.

    Parameters
    ----------
    network : Network
    dtype : torch.dtype, optional
    device : torch.device or str, optional

    Returns
    -------
    torch.fx.GraphModule
        Maps (N, *input_shape) to a dict from rectifier name to (N, neurons), like `Network.pre_activations`. Its
        parameters take no gradient.

    Raises
    ------
    NetworkError
        If a number is too large for `dtype`.
    """
    module = _graph_module(network, network.rectifiers)
    return _finished(module, dtype).requires_grad_(False).to(device)


def _sequential(network: Network) -> nn.Sequential | None:
    """Return the network as an `nn.Sequential`, or None where it is not a chain of standard modules."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    previous = INPUT
    for node in network:
        if node.inputs != (previous,):
            return None
        parts = _parts(network, node)
        for i, part in enumerate(parts):
            if not isinstance(part, nn.Module):
                return None
            modules[_unique(node.name if i == len(parts) - 1 else f"{node.name}_pad", modules)] = part
        previous = node.name
    return nn.Sequential(modules) if network.output == previous else None


def _graph_module(network: Network, rectifiers: Collection[Node] | None) -> fx.GraphModule:
    """Return the graph that computes the network's output, or the inputs of `rectifiers` if these are given."""
    writer = _Writer(network)
    targets = [network.output] if rectifiers is None else [node.inputs[0] for node in rectifiers]
    needed = set(targets)
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    for node in network:
        if node.name in needed:
            writer.write(node)
    if rectifiers is None:
        writer.graph.output(writer.values[network.output])
    else:
        writer.graph.output({node.name: writer.flat(node.inputs[0]) for node in rectifiers})
    return fx.GraphModule(writer.attributes, writer.graph, class_name="Network")


class _Writer:
    """A torch.fx graph that grows node by node, and the modules and buffers that it refers to."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.graph = fx.Graph()
        self.attributes: dict[str, nn.Module | torch.Tensor] = {}
        self.values: dict[str, fx.Node] = {INPUT: self.graph.placeholder("x")}

    def write(self, node: Node) -> None:
        inputs = [self.values[name] for name in node.inputs]
        if isinstance(node.layer, Add):
            value = reduce(lambda total, term: self.graph.call_function(operator.add, (total, term)), inputs)
        elif isinstance(node.layer, Concat):
            value = self.graph.call_function(torch.cat, (inputs, node.layer.axis + 1))
        elif isinstance(node.layer, Product):
            value = self.graph.call_function(torch.matmul, tuple(inputs))
        else:
            value = inputs[0]
            for part in _parts(self.network, node):
                value = self._apply(part, value, node.name)
        self.values[node.name] = value

    def flat(self, name: str) -> fx.Node:
        """Return the value of node `name` as (N, elements)."""
        if self.network.shape(name):
            return self.graph.call_function(torch.flatten, (self.values[name], 1))
        return self.graph.call_function(torch.unsqueeze, (self.values[name], 1))

    def _apply(self, part: Step, value: fx.Node, name: str) -> fx.Node:
        if isinstance(part, nn.Module):
            return self.graph.call_module(self._register(part, name), (value,))

        def constant(array: NDArray[np.float64] | NDArray[np.int64], word: str) -> fx.Node:
            return self.graph.get_attr(self._register(torch.tensor(array), f"{name}_{word}"))

        return part(self.graph, value, constant)

    def _register(self, attribute: nn.Module | torch.Tensor, name: str) -> str:
        identifier = _unique(name, self.attributes)
        self.attributes[identifier] = attribute
        return identifier


def _parts(network: Network, node: Node) -> list[Step]:
    if isinstance(node.layer, Add | Concat | Product):
        raise TypeError("a layer of several inputs is no list of steps")
    return steps(node.layer, network.shape(node.inputs[0]))


def _unique(name: str, taken: Collection[str]) -> str:
    """Return a name that a torch attribute may have: `name` with ``_`` for other characters, numbered if taken."""
    stem = re.sub(r"\W", "_", name) or "_"
    candidate, count = stem, 1
    while candidate in taken or candidate in RESERVED:
        count += 1
        candidate = f"{stem}_{count}"
    return candidate


def _finished(module: AnyModule, dtype: torch.dtype) -> AnyModule:
    """Return the module in `dtype`, after checking that its numbers stay finite."""
    module.to(dtype)
    for name, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise NetworkError(f"{name} holds numbers too large for {dtype}; use dtype=torch.float64")
    return module
