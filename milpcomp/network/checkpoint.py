"""Reads a checkpoint file as a `Network`.

A state dict holds numbers by name, not what is computed with them. If it is wholly a chain of linear layers, the
network is rebuilt from the shapes alone, with ReLU in between. Any other needs its `architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.typing import ArrayLike
from torch import Tensor

from milpcomp.errors import CheckpointError, NetworkError
from milpcomp.files import PathLike
from milpcomp.network.checkpoint_architecture import Architecture, fill_module, make_module
from milpcomp.network.checkpoint_chain import chain_network, chains, linear_layers
from milpcomp.network.checkpoint_file import read_tensors
from milpcomp.network.from_torch import network_from_module
from milpcomp.network.graph import Network
from milpcomp.network.torch_export import sample_shape

SHOWN = 12
"""How many tensors an error lists."""


def read_checkpoint(
    path: PathLike,
    architecture: Architecture | None = None,
    example_input: ArrayLike | None = None,
    input_shape: Sequence[int] | None = None,
) -> Network:
    """Return the network in a checkpoint file (.pt, .pth, .th, .tar, .safetensors).

    Parameters
    ----------
    path : path
        A state dict, bare or as training scripts wrap it.
    architecture : nn.Module, callable, or str, optional
        The module that the state dict belongs to, something that makes it when called without arguments, or the address
        "package.module:factory" of such a thing, which is also looked for in the working directory. It is used in eval
        mode; a module that is given stays as it is. Not needed for a chain of linear layers with ReLU between them.
    example_input : array_like, shape (N, *input_shape), optional
    input_shape : sequence of int, optional
        Shape of one sample; with an architecture, one of these two is needed.

    Returns
    -------
    Network

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable or wants to run code, if it needs an architecture, or does not fit the one
        given.
    SettingsError
        If the architecture cannot be imported or made.
    NetworkError
        If the module cannot be read (see `network_from_module`), or the numbers hold NaN or infinity.

    **Trusts** that the layers of a bare chain have ReLU between them and nothing after the last: the file cannot tell.
    """
    tensors = read_tensors(path)
    try:
        if architecture is not None:
            module = fill_module(make_module(architecture), tensors, path)
            return network_from_module(module, example_input, input_shape)
        given = example_input is not None or input_shape is not None
        return chain_network(_chain(path, tensors), sample_shape(example_input, input_shape) if given else None)
    except NetworkError as error:
        raise type(error)(f"{path}: {error}") from error


def _chain(path: PathLike, tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor | None]]:
    """Return the linear layers of a chain in order, or raise what to do."""
    layers = linear_layers(tensors)
    orders = chains(layers) if layers else []
    if len(orders) == 1:
        return orders[0]
    if layers is None:
        reason = "is not wholly a chain of linear layers"
    elif not orders:
        reason = "has linear layers whose shapes do not follow on each other"
    else:
        first, second = (" -> ".join(name for name, _, _ in order) for order in orders)
        reason = f"has linear layers that fit together in several orders, {first} and {second}"
    listed = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:SHOWN])
    more = f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else ""
    raise CheckpointError(
        f"{path} {reason}, so the numbers alone do not say what they compute. Give architecture=, a module, a callable "
        f'that makes it, or "package.module:factory", and input_shape=. Found: {listed}{more}'
    )
