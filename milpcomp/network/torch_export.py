"""A torch module as a graph of ATen operators, by `torch.export`, or an error that says what stands in the way.

The graph is exported for any batch size, and in functional form: no operator changes a tensor in place. The module
must be in eval mode where that matters, take one batch of samples (N, *input_shape), and return one tensor whose axis 0
counts the same samples.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram

from milpcomp.errors import NetworkError
from milpcomp.network.torch_build import TRAINING

MODE_DEPENDENT = (
    nn.AlphaDropout,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.FeatureAlphaDropout,
    nn.RReLU,
    nn.SyncBatchNorm,
)
"""Modules of torch that compute one function in training mode and another in eval mode."""

BATCH_SIZE = 2
"""Samples in the batch that the module is traced with; one would hide what depends on the batch size."""

LARGEST_BATCH = 2**31
"""Any bound will do; without one, torch 2.6 takes a slice of all samples for a condition on the batch size."""


def export(module: nn.Module, example_input: ArrayLike | None, input_shape: Sequence[int] | None) -> ExportedProgram:
    """Return the functional ATen graph of `module`.

    Parameters
    ----------
    module : nn.Module
    example_input : array_like, shape (N, *input_shape), optional
        A batch of inputs; only its shape matters.
    input_shape : sequence of int, optional
        Shape of one sample; one of the two must be given.

    Raises
    ------
    NetworkError
        If the module is in training mode, does not run on such a batch, does not return one tensor with a row per
        sample, or cannot be exported for every batch size.
    """
    refuse_training_mode(module)
    batch = _batch(module, sample_shape(example_input, input_shape))
    _check_output(_run(module, batch), batch)
    try:
        return _export(module, batch, ({0: Dim("batch", max=LARGEST_BATCH)},))
    except Exception as error:  # torch.export documents no common class
        if _exports_with_fixed_batch(module, batch):
            raise NetworkError(
                f"{_title(module)} fixes its batch size: its forward only works for the size it was traced with; write "
                f"x.shape[0] or -1 where it says {BATCH_SIZE}, and flatten with torch.flatten(x, 1)"
            ) from error
        raise NetworkError(
            f"torch.export cannot turn {_title(module)} into a graph: {_first_line(error)}. Its forward may choose by "
            "values of tensors (if, while, .item()); rewrite those parts with tensor operators"
        ) from error


def refuse_training_mode(module: nn.Module) -> None:
    """Raise `NetworkError` if a part of `module` is in training mode and computes something else in eval mode."""
    for name, part in module.named_modules():
        if part.training and isinstance(part, MODE_DEPENDENT):
            raise NetworkError(TRAINING.format(f"{name or 'it'} ({type(part).__name__})"))


def sample_shape(example_input: ArrayLike | None, input_shape: Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of one sample, given that or a batch.

    Raises
    ------
    NetworkError
        If neither is given, or they contradict each other.
    """
    if example_input is None and input_shape is None:
        raise NetworkError(
            "a torch module does not tell the shape of its inputs; give input_shape=, the shape of one sample, such as "
            "(784,) or (3, 32, 32), or example_input=, a batch of inputs"
        )
    given = None if input_shape is None else tuple(int(n) for n in input_shape)
    if example_input is None:
        assert given is not None
        return given
    if not hasattr(example_input, "shape") and isinstance(example_input, Sequence | dict | str):
        raise NetworkError(f"example_input must be one array or tensor, got a {type(example_input).__name__}")
    shape = tuple(torch.as_tensor(example_input).shape)
    if not shape:
        raise NetworkError("example_input is a single number; give a batch, of shape (N, *input_shape)")
    if given is not None and given != shape[1:]:
        raise NetworkError(
            f"example_input of shape {shape} holds samples of shape {shape[1:]}, but input_shape is {given}; give "
            "one of them, and note that axis 0 of an example counts samples"
        )
    return shape[1:]


def _batch(module: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a batch in the type and on the device of the module's parameters."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return torch.rand(BATCH_SIZE, *shape, dtype=tensor.dtype, device=tensor.device)
    return torch.rand(BATCH_SIZE, *shape)


def _run(module: nn.Module, batch: torch.Tensor) -> Any:
    try:
        with torch.no_grad():
            return module(batch)
    except Exception as error:
        try:
            with torch.no_grad():
                module(batch[:1])
        except Exception:
            raise NetworkError(
                f"{_title(module)} does not run on a batch of shape {tuple(batch.shape)}: {_first_line(error)}. Check "
                "input_shape, that the module takes one argument, and that all its numbers have one type"
            ) from error
        raise NetworkError(
            f"{_title(module)} runs on one sample but not on a batch of {BATCH_SIZE}: {_first_line(error)}. It fixes "
            "its batch size; write x.shape[0] or -1 there, and flatten with torch.flatten(x, 1)"
        ) from error


def _check_output(output: Any, batch: torch.Tensor) -> None:
    if not isinstance(output, torch.Tensor):
        raise NetworkError(
            f"the module returns a {type(output).__name__}, but a network has one output tensor; wrap the module in "
            "one whose forward returns the tensor you mean"
        )
    if output.ndim == 0 or len(output) != len(batch):
        raise NetworkError(
            f"the module turns a batch of {len(batch)} into an output of shape {tuple(output.shape)}; axis 0 of inputs "
            "and outputs must count samples"
        )


def _export(module: nn.Module, batch: torch.Tensor, dynamic_shapes: Any) -> ExportedProgram:
    with _silence():
        program = torch.export.export(module, (batch,), dynamic_shapes=dynamic_shapes, strict=False)
    return program if _is_functional(program) else functional(program)


def functional(program: ExportedProgram) -> ExportedProgram:
    """Return the graph in functional form, with few and basic operators; that takes longer than exporting it."""
    with _silence():
        return program.run_decompositions({})  # nothing else decomposed


def _is_functional(program: ExportedProgram) -> bool:
    """Tell whether no operator changes a tensor in place."""
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    return not any(isinstance(target, OpOverload) and target._schema.is_mutable for target in targets)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep back what torch says besides its exceptions: deprecations within itself, and graphs it could not finish."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(max(before, logging.ERROR))  # its log handlers hold the stream that was stderr at import
        try:
            yield
        finally:
            logging.disable(before)


def _exports_with_fixed_batch(module: nn.Module, batch: torch.Tensor) -> bool:
    try:
        _export(module, batch, None)
    except Exception:
        return False
    return True


def _title(module: nn.Module) -> str:
    return f"the module {type(module).__name__}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(". ")
