"""Reads a torch module as a `Network`, through the graph that `torch.export` makes of it.

Layers are kept as read: every parameter becomes the equal float64, a cast between floating-point types is the identity,
and what depends on no input is evaluated once, in double. A batch norm becomes its ``scale * x + shift``. Copies,
dropout and identities vanish and rotated slopes are joined, exactly (`join`). Nodes are named by the path of the module
that computes them, such as ``layer1.0.relu``; an operator in the forward of a larger module adds its own name to that.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from milpcomp.errors import NetworkError, UnsupportedOperatorError
from milpcomp.network import torch_arithmetic, torch_moves, torch_opaque, torch_rectifiers
from milpcomp.network.cancel import cancel
from milpcomp.network.graph import INPUT, Network
from milpcomp.network.join import join
from milpcomp.network.torch_batch import keep_batch_first
from milpcomp.network.torch_build import BATCH, Builder, Operator, Refused, Unknown, Value
from milpcomp.network.torch_constants import FILLERS, evaluate, exact, fill, holds
from milpcomp.network.torch_export import export, functional

OPERATORS = torch_arithmetic.OPERATORS | torch_rectifiers.OPERATORS | torch_moves.OPERATORS | torch_opaque.OPERATORS
"""What each supported operator means."""

ACTIVATIONS = frozenset(function.__name__ for function in (*torch_rectifiers.OPERATORS.values(), torch_opaque.gelu))
"""Names of the functions that read an activation."""

IGNORED = re.compile(r"_assert|sym_constrain")
"""Operators that check something while the model runs and compute nothing."""

CURES = {
    "max_pool": "use max_pool2d, average pooling, or a strided convolution",
    "amax": "use a mean",
    "hardtanh": "write it as c + relu(x - c) - relu(x - d) with the cuts c and d",
    "relu6": "write it as relu(x) - relu(x - 6)",
    "norm": "it divides by a statistic of its own input; use batch norm in eval mode",
    "reciprocal": "it is not piecewise linear; divide by constants only",
    "where": "write it with relu, leaky_relu or abs",
    "scatter": "build the tensor with torch.cat or F.pad instead of assigning to parts of it",
}
"""What to do about operators whose name contains the key."""

FINAL_CURES = {
    "softmax": "a final softmax does not change the order of the outputs: return its input",
    "sigmoid": "a final sigmoid does not change the order of the outputs: return its input",
}
"""What to do about them where their result is the output, or is only copied or reshaped into it."""

CURE = "train with relu, leaky_relu, prelu or abs in its place, or load the part of the model before it"


def network_from_module(
    module: nn.Module, example_input: ArrayLike | None = None, input_shape: Sequence[int] | None = None
) -> Network:
    """Return the network that a torch module computes.

    Parameters
    ----------
    module : nn.Module
        In eval mode where that matters; takes one tensor (N, *input_shape) and returns one tensor (N, ...).
    example_input : array_like, shape (N, *input_shape), optional
        A batch of inputs; only its shape matters.
    input_shape : sequence of int, optional
        Shape of one sample. One of the two must be given.

    Returns
    -------
    Network

    Raises
    ------
    UnsupportedOperatorError
        If operators have no counterpart in a rectifier network; the message lists all of them.
    NetworkError
        If the module is in training mode, does not run on such inputs, has several inputs or outputs, fixes its batch
        size, changes its own state, or holds NaN or infinity.
    """
    program = export(module, example_input, input_shape)
    try:
        return _Reader(module, program).read()
    except UnsupportedOperatorError:  # what is not known by one name may be by those it is made of
        return _Reader(module, functional(program)).read()


class _Reader:
    """Walks over the nodes of an exported graph and keeps what each of them is."""

    def __init__(self, module: nn.Module, program: ExportedProgram) -> None:
        signature = program.graph_signature
        constants = {**program.state_dict, **program.constants}
        self.module = module
        self.nodes = list(program.graph.nodes)
        keep_batch_first(self.nodes)
        self.known: dict[fx.Node, Any] = {}
        self.problems: list[str] = []
        if any(spec.kind != OutputKind.USER_OUTPUT for spec in signature.output_specs):
            raise NetworkError("the module changes its own buffers when it runs; remove that, or call module.eval()")
        stored = {spec.arg.name: constants.get(spec.target) for spec in signature.input_specs}
        for node in (node for node in self.nodes if node.op == "placeholder"):
            if node.name in signature.user_inputs:
                self.batch = node.meta["val"].shape[0]
                self.build = Builder(self._sample(node.meta["val"]))
                self.known[node] = Value(INPUT, self.build.input_shape)
            else:
                self.known[node] = exact(stored[node.name])

    def read(self) -> Network:
        for node in self.nodes:
            if node.op == "call_function":
                self.known[node] = self._result(node)
            elif node.op == "get_attr":  # a subgraph, of an operator that no table lists
                self.known[node] = Unknown()
        if self.problems:
            found = "\n".join(f"  {problem}" for problem in self.problems)
            raise UnsupportedOperatorError(
                f"the module {type(self.module).__name__} has {len(self.problems)} unsupported operator(s):\n{found}"
            )
        output = self._resolved(self.nodes[-1].args[0][0])
        if not isinstance(output, Value):
            raise NetworkError("the module's output does not depend on its input; there is nothing to analyse")
        return Network(self.build.input_shape, *join(*cancel(self.build.input_shape, *self.build.needed(output))))

    def _result(self, node: fx.Node) -> Any:
        """Return what `node` computes; if that cannot be read, note the problem and go on with its shape alone."""
        name = _operator_name(node.target)
        if IGNORED.match(name):
            return None
        if isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool):
            return BATCH
        args, kwargs = self._resolved(node.args), self._resolved(node.kwargs)
        if node.target is operator.getitem and not isinstance(args[0], Value):
            return args[0] if isinstance(args[0], Unknown) else args[0][args[1]]
        try:
            if holds(args, Unknown) or holds(kwargs, Unknown):
                _lookup(name, node)
                return Unknown()
            return self._computed(node, name, args, kwargs)
        except Refused as reason:
            self.problems.append(self._description(node, name, str(reason)))
            computed = holds(args, Value) or holds(kwargs, Value)
            return self._stand_in(node.meta.get("val")) if computed else Unknown()

    def _stand_in(self, traced: Any) -> Any:
        """Return values of the shapes that torch traced, so that what follows a refused operator is looked at too."""
        if isinstance(traced, list | tuple):
            return [self._stand_in(entry) for entry in traced]
        if not isinstance(traced, torch.Tensor) or traced.ndim == 0:
            return Unknown()
        try:
            return Value("refused", self._sample(traced))
        except Refused:
            return Unknown()

    def _computed(self, node: fx.Node, name: str, args: Any, kwargs: Any) -> Any:
        traced = node.meta.get("val")
        shape = getattr(traced, "shape", ())
        if name.partition(".")[0] in FILLERS:
            lengths = [1 if isinstance(n, torch.SymInt) else n for n in shape]
            dtype = kwargs.get("dtype")
            if isinstance(traced, torch.Tensor) and not traced.is_floating_point():
                dtype = traced.dtype
            return fill(name.partition(".")[0], args, lengths, dtype)
        if not holds(args, Value) and not holds(kwargs, Value):
            if any(_counts_samples(one) for one in node.all_input_nodes) and not _counts_samples(node):
                raise Refused("reduces a constant along the batch axis, so it depends on the batch size")
            return evaluate(node.target, args, kwargs)
        function = _lookup(name, node)
        if shape:
            self.build.shape = self._sample(node.meta["val"])
        self.build.place = self._place(node, function.__name__)
        result = function(self.build, *args, **kwargs)
        if isinstance(result, Value) and result.shape != self.build.shape:
            raise Refused(f"is read with samples of shape {result.shape}, which are {self.build.shape} in torch")
        return result

    def _sample(self, tensor: torch.Tensor) -> tuple[int, ...]:
        """Return the sample shape of a traced tensor, whose axis 0 must count samples."""
        if str(tensor.shape[0]) != str(self.batch) or any(isinstance(n, torch.SymInt) for n in tensor.shape[1:]):
            raise Refused(f"mixes the samples of a batch: its result has shape {_shown(tensor)}")
        if not tensor.is_floating_point():
            raise Refused(f"turns numbers into {tensor.dtype}, which is not piecewise linear")
        return tuple(int(n) for n in tensor.shape[1:])

    def _place(self, node: fx.Node, function: str) -> str:
        """Return the name of what `node` computes: the path of the innermost module, which its last part may be."""
        path = _module_path(node)
        try:
            innermost = self.module.get_submodule(path)
        except AttributeError:
            return function
        if not path:
            return function
        alone = type(innermost).__module__.startswith("torch.nn") or function in ACTIVATIONS
        return path if alone and not list(innermost.children()) else f"{path}.{function}"

    def _resolved(self, argument: Any) -> Any:
        """Return an argument of a node with what is known in place of the nodes in it."""
        if isinstance(argument, fx.Node):
            return self.known[argument]
        if isinstance(argument, list | tuple):
            return [self._resolved(entry) for entry in argument]
        if isinstance(argument, dict):
            return {key: self._resolved(entry) for key, entry in argument.items()}
        return argument

    def _description(self, node: fx.Node, name: str, reason: str) -> str:
        value = node.meta.get("val")
        shape = f", shape {_shown(value)}" if isinstance(value, torch.Tensor) else ""
        path = _module_path(node)
        return f"{name} ({node.name}{f' in {path}' if path else ''}{shape}): {reason}"


def _lookup(name: str, node: fx.Node) -> Operator:
    """Return the reader of the operator `name` at `node`, or refuse it."""
    function = _reader(name)
    final = _is_final(node)
    if function is None or (function is torch_opaque.softmax and final):
        cures = CURES | FINAL_CURES if final else CURES
        raise Refused(next((cure for key, cure in cures.items() if key in name), CURE))
    return function


def _reader(name: str) -> Operator | None:
    return OPERATORS.get(name, OPERATORS.get(name.partition(".")[0]))


def _is_final(node: fx.Node) -> bool:
    """Tell whether the output is the result of `node`, perhaps copied or reshaped, and nothing else uses that."""
    users = [user for user in node.users if not IGNORED.match(_operator_name(user.target))]
    if len(users) != 1 or users[0].op == "output":
        return len(users) == 1
    moves = (torch_moves.same, torch_moves.reshape)
    return _reader(_operator_name(users[0].target)) in moves and _is_final(users[0])


def _counts_samples(node: fx.Node) -> bool:
    """Tell whether some axis of what `node` computes is as long as the batch."""
    values = node.meta.get("val")
    tensors = values if isinstance(values, list | tuple) else [values]
    return any(isinstance(n, torch.SymInt) for tensor in tensors for n in getattr(tensor, "shape", ()))


def _operator_name(target: Any) -> str:
    """Return ``max.other`` for the operator ``aten::max.other``, and ``relu`` for ``aten::relu``."""
    name = getattr(target, "name", None)
    return name().removeprefix("aten::") if callable(name) else getattr(target, "__name__", str(target))


def _module_path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack")
    return str(next(reversed(stack.values()))[0]) if stack else ""


def _shown(tensor: torch.Tensor) -> str:
    """Return the shape of a traced tensor with N for the batch size."""
    return f"({', '.join(str(n) if str(n).isdigit() else 'N' for n in tensor.shape)})"
