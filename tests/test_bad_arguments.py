"""Python arguments of a wrong kind: one clear error each, never one from the depths of a library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import milpcomp as mc
from milpcomp.errors import MilpcompError
from milpcomp.network import Rectifier, Scale
from milpcomp.rotated import l1_penalty, proximal_l1_
from tests.nets import chain, diamond

MODULE = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))

BOX = mc.Box(0.0, 1.0)

SCALAR = chain((), Scale(2.0, 1.0), Rectifier())


def rotated() -> nn.Module:
    """Return a module with one rotated ReLU."""
    return mc.rotate(MODULE, torch.zeros(1, 2), skip=None)


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "removing channels of a module": (lambda: mc.remove_channels(MODULE), "needs a milpcomp.Network, got Sequential"),  # type: ignore[arg-type]
    "paths of nothing": (lambda: mc.filter_graph(None), "needs a milpcomp.Network, got NoneType"),  # type: ignore[arg-type]
    "compressing a module": (
        lambda: mc.compress(MODULE, mc.certify(diamond(), mc.Box(0.0, 1.0))),  # type: ignore[arg-type]
        "needs a milpcomp.Network, got Sequential",
    ),
    "compressing a network of numbers without axis": (
        lambda: mc.compress(SCALAR, mc.certify(SCALAR, mc.Box(0.0, 1.0))),
        "at least one axis",
    ),
    "an endless time limit": (
        lambda: mc.certify(diamond(), mc.Box(0.0, 1.0), time_limit_s=float("inf")),
        "positive number of seconds, got inf; None is no limit",
    ),
    "an endless limit per neuron": (
        lambda: mc.certify(diamond(), mc.Box(0.0, 1.0), neuron_time_limit_s=float("inf")),
        "positive and finite, got inf",
    ),
    "rotating a number": (lambda: mc.rotate(3, torch.zeros(1, 4)), "needs a torch module, got int"),  # type: ignore[arg-type]
    "a radius in letters": (lambda: mc.Box.around(np.zeros(4), "a"), "radius of a box must be >= 0, got 'a'"),  # type: ignore[arg-type]
    "one sample to select on": (
        lambda: mc.select_threshold(rotated(), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)),
        "one half of a test set .* got 1",
    ),
    "candidates in letters": (
        lambda: mc.select_threshold(rotated(), torch.rand(4, 2), torch.zeros(4, dtype=torch.long), candidates=["a"]),  # type: ignore[list-item]
        "candidates must be numbers",
    ),
    "penalties on whole numbers": (lambda: proximal_l1_([torch.arange(3)], 0.5), "floating-point numbers, got torch"),
    "penalties on numbers": (lambda: l1_penalty([1.0]), "floating-point numbers, got float"),  # type: ignore[list-item]
    "data in letters": (lambda: mc.certify(diamond(), BOX, data="abc"), "data must be numbers, .* got str"),
    "rows of different lengths": (lambda: mc.certify(diamond(), BOX, data=[[1.0], [1.0, 2.0]]), "data must be numbers"),
    "samples in letters": (
        lambda: mc.compress(diamond(), mc.certify(diamond(), BOX), data="abc"),
        "data must be numbers, got str",
    ),
    "half a seed": (lambda: mc.certify(diamond(), BOX, seed=1.5), "seed must be a whole number >= 0, got 1.5"),  # type: ignore[arg-type]
    "a seed in letters": (lambda: mc.certify(diamond(), BOX, seed="a"), "seed must be a whole number >= 0, got 'a'"),  # type: ignore[arg-type]
    "a certificate of NaN bytes": (
        lambda: mc.certify(diamond(), BOX, max_certificate_bytes=float("nan")),  # type: ignore[arg-type]
        "limit of a certificate must be >= 0 bytes, got nan",
    ),
    "two numbers for a domain": (
        lambda: mc.analyze(diamond(), (0, 1)),  # type: ignore[arg-type]
        r"analyze needs one Box as its domain, got tuple; write milpcomp.Box\(lower, upper\)",
    ),
    "no limit per neuron": (
        lambda: mc.certify(diamond(), BOX, neuron_time_limit_s=None),  # type: ignore[arg-type]
        "limit per neuron must be positive and finite, got None",
    ),
    "layers by number": (lambda: mc.certify(diamond(), BOX, layers=1), "layers must be names .* got 1"),  # type: ignore[arg-type]
    "layers in lists": (lambda: mc.certify(diamond(), BOX, layers=[["1"]]), "layers must be names"),  # type: ignore[list-item]
    "merging a number": (lambda: mc.merge(5), "merge needs a list of at least one Report"),  # type: ignore[arg-type]
    "merging one report": (
        lambda: mc.merge(mc.certify(diamond(), BOX)),  # type: ignore[arg-type]
        "merge needs a list of at least one Report",
    ),
    "blocks of a module": (
        lambda: mc.certify_in_blocks(MODULE, BOX),  # type: ignore[arg-type]
        "needs a Network, got Sequential",
    ),
    "half a block": (
        lambda: mc.certify_in_blocks(diamond(), BOX, blocks=1.5),  # type: ignore[arg-type]
        "number of blocks of a layer must be a whole number of at least 1, got 1.5",
    ),
    "workers in letters": (
        lambda: mc.certify_in_blocks(diamond(), BOX, workers="two"),  # type: ignore[arg-type]
        "number of workers must be a whole number of at least 1, got 'two'",
    ),
    "a scheduler that is a number": (
        lambda: mc.certify_in_blocks(diamond(), BOX, scheduler=8786),  # type: ignore[arg-type]
        "8786 is no address of a scheduler|needs Dask's package",
    ),
    "an amount in letters": (lambda: proximal_l1_([torch.rand(3)], "a"), "amount='a' must be a finite number"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
def test_one_clear_error(name: str) -> None:
    """What is wrong is said by an error of this package."""
    call, message = CALLS[name]
    with pytest.raises(MilpcompError, match=message):
        call()
