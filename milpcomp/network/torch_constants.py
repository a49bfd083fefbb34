"""Parts of a torch graph that depend on no input: evaluated once, in double precision.

A constant made with the batch size, such as ``torch.zeros(x.shape[0], 16)``, is made for a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from milpcomp.network.torch_build import BATCH, Batch, Refused, array

FILLERS = {
    "full": lambda args: args[1],
    "full_like": lambda args: args[1],
    "new_full": lambda args: args[2],
    "new_ones": lambda args: 1.0,
    "new_zeros": lambda args: 0.0,
    "ones": lambda args: 1.0,
    "ones_like": lambda args: 1.0,
    "zeros": lambda args: 0.0,
    "zeros_like": lambda args: 0.0,
}
"""Operators that fill a tensor with one number, and which number that is among their arguments."""


def fill(name: str, args: Sequence[Any], shape: Sequence[int], dtype: torch.dtype | None) -> torch.Tensor:
    """Return the result of one of `FILLERS`, of `shape`, rounded to `dtype` if that is given.

    Raises
    ------
    Refused
        If the number depends on the input or on the batch size.
    """
    number = float(array(FILLERS[name](args), "the number it fills with"))
    return exact(torch.full(tuple(shape), number, dtype=dtype or torch.float64))


def evaluate(target: Any, args: Any, kwargs: Any) -> Any:
    """Return what the operator `target` makes of constants.

    Raises
    ------
    Refused
        If it draws random numbers, uses the batch size other than as a length to expand to, or fails.
    """
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        raise Refused("draws random numbers; call module.eval(), or make the numbers a buffer")
    if str(target) == "aten.expand.default":
        args = [args[0], [1 if size is BATCH else size for size in args[1]]]
    if holds(args, Batch) or holds(kwargs, Batch):
        raise Refused("computes with the batch size; use a constant")
    options = {key: value for key, value in kwargs.items() if key != "device"}
    rounds = isinstance(options.get("dtype"), torch.dtype) and options["dtype"].is_floating_point
    if rounds and holds(args, torch.Tensor):  # a cast between floating-point types is the identity
        options["dtype"] = torch.float64
    try:
        with torch.no_grad():
            return exact(target(*args, **options))
    except Exception as error:  # whatever an operator of torch raises
        raise Refused(f"cannot be evaluated in double precision: {error}") from error


def exact(result: Any) -> Any:
    """Return tensors on the CPU, floating-point numbers as the equal float64."""
    if isinstance(result, torch.Tensor):
        kept = result.detach().cpu()
        return kept.double() if kept.is_floating_point() else kept
    return [exact(entry) for entry in result] if isinstance(result, list | tuple) else result


def holds(argument: Any, kind: type) -> bool:
    """Tell whether an argument is of `kind`, or a container that holds such a thing."""
    if isinstance(argument, list | tuple):
        return any(holds(entry, kind) for entry in argument)
    if isinstance(argument, dict):
        return any(holds(entry, kind) for entry in argument.values())
    return isinstance(argument, kind)
