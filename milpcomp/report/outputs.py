"""A compression as files: its edits, and the smaller network in every format that can hold it."""

from __future__ import annotations

import warnings
from pathlib import Path

from milpcomp.compression import Compression, save_compression
from milpcomp.files import replacing
from milpcomp.network import Network
from milpcomp.network.storage import save_network
from milpcomp.network.to_onnx import to_onnx


def write_compression(compression: Compression, folder: Path) -> None:
    """Write a compression and its network in all formats: .npz, .onnx, and .pt where the network is a plain chain.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    save_compression(compression, folder)
    save_network(compression.network, folder / "network.npz")
    to_onnx(compression.network, folder / "network.onnx")
    write_state(compression.network, folder / "network.pt")


def write_state(network: Network, path: Path) -> bool:
    """Write the float32 state dict of a plain chain for torch; return False, and write nothing, for other networks.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import torch

    from milpcomp.network.to_torch import to_torch

    module = to_torch(network)
    if not isinstance(module, torch.nn.Sequential):
        return False
    with replacing(path) as stream:
        torch.save(module.state_dict(), stream)
    return True


def write_program(network: Network, path: Path) -> None:
    """Write the network as an exported torch program, in float32 and for any batch size.

    ``torch.export.load(path).module()`` gives the module back, with torch alone.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import torch

    from milpcomp.network.to_torch import to_torch

    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        to_torch(network).eval(), (torch.zeros(2, *network.input_shape),), dynamic_shapes=(batch,)
    )
    with warnings.catch_warnings(), replacing(path) as stream:
        warnings.filterwarnings("ignore", "No complete tensor found")  # about weights that share memory on a GPU
        torch.export.save(program, stream)
