"""One way in: `load` reads whatever holds a network, by its type or its suffix.

nn.Module                            torch.export          .onnx    ONNX
.pt .pth .th .tar .safetensors       checkpoints           .npz     what `save_network` wrote
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.errors import CheckpointError, SettingsError
from milpcomp.files import PathLike
from milpcomp.network.graph import Network
from milpcomp.network.storage import load_network

if TYPE_CHECKING:
    from torch import nn

CHECKPOINTS = (".pt", ".pth", ".th", ".tar", ".safetensors")
"""Suffixes of checkpoint files."""


def load(
    source: nn.Module | PathLike | Network,
    architecture: nn.Module | Callable[[], nn.Module] | str | None = None,
    example_input: ArrayLike | None = None,
    input_shape: int | Sequence[int] | None = None,
) -> Network:
    """Read a network.

    Parameters
    ----------
    source : nn.Module, path or Network
        A torch module in eval mode, a file (.onnx, .npz, .pt, .pth, .th, .tar, .safetensors), or a network, which is
        returned as it is.
    architecture : nn.Module, callable, or str, optional
        For checkpoints: the module that the state dict belongs to, something that makes it when called without
        arguments, or its address "package.module:factory". Not needed for a chain of linear layers with ReLU between.
    example_input : array_like, shape (N, *input_shape), optional
        For modules and architectures: a batch of inputs; only its shape matters.
    input_shape : int or sequence of int, optional
        Shape of one sample, in place of `example_input`; n means (n,). A source that knows its shape must agree.

    Returns
    -------
    Network

    Raises
    ------
    CheckpointError
        If a file cannot be read, or needs an architecture.
    NetworkError
        If what was read is no network that could be analysed; `UnsupportedOperatorError` lists all operators at fault.
    SettingsError
        If an option does not apply to this source, or cannot be used.

    Examples
    --------
    >>> network = load("model.onnx")
    >>> network = load("resnet.th", architecture="my_models.resnet:resnet20", input_shape=(3, 32, 32))
    >>> network = load(module.eval(), input_shape=(784,))
    """
    shape = None if input_shape is None else sample_shape(input_shape)
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(source), architecture, example_input, shape)
    if architecture is not None:
        raise SettingsError("architecture= is for checkpoint files; this source knows its own")
    if isinstance(source, Network):
        return _of_shape(source, example_input, shape, "the network")
    from torch import nn

    from milpcomp.network.from_torch import network_from_module

    if not isinstance(source, nn.Module):
        raise SettingsError(f"a network is read from a torch module or a file, not from a {type(source).__name__}")
    return network_from_module(source, example_input, shape)


def sample_shape(given: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one sample from how a user writes it; n means (n,).

    Raises
    ------
    SettingsError
        If it is none.
    """
    try:
        shape = tuple(operator.index(n) for n in np.atleast_1d(np.asarray(given)))
    except (TypeError, ValueError):
        shape = (-1,)
    if min(shape, default=0) < 0:
        raise SettingsError(f"input_shape={given!r} is no shape of a sample; give whole numbers, such as (3, 32, 32)")
    return shape


def _from_file(
    path: Path,
    architecture: nn.Module | Callable[[], nn.Module] | str | None,
    example_input: ArrayLike | None,
    input_shape: Sequence[int] | None,
) -> Network:
    suffix = path.suffix.lower()
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give a file in it, such as {path / 'network.npz'}")
    if suffix in CHECKPOINTS:
        from milpcomp.network.checkpoint import read_checkpoint

        return read_checkpoint(path, architecture, example_input, input_shape)
    if suffix not in {".onnx", ".npz"}:
        known = ", ".join((".onnx", ".npz", *CHECKPOINTS))
        raise CheckpointError(f"{path} has the suffix {suffix!r}, by which no network is known; known are {known}")
    if architecture is not None:
        raise SettingsError(f"architecture= is for checkpoint files; {path} knows its own")
    if suffix == ".npz":
        return _of_shape(load_network(path), example_input, input_shape, path)
    from milpcomp.network.from_onnx import network_from_onnx

    return _of_shape(network_from_onnx(path), example_input, input_shape, path)


def _of_shape(
    network: Network, example_input: ArrayLike | None, input_shape: Sequence[int] | None, title: object
) -> Network:
    """Return `network`, which knows its input shape, after checking that what is said of it agrees."""
    example = None if example_input is None else np.shape(example_input)[1:]
    for option, shape in (("example_input holds samples of", example), ("input_shape is", input_shape)):
        if shape is not None and tuple(shape) != network.input_shape:
            raise SettingsError(f"{option} {tuple(shape)}, but {title} takes samples of {network.input_shape}")
    return network
