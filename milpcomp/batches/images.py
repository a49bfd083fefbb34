"""The images of a data set, each decided by a worker: how many nothing can break, and how many something does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.batches.executor import Call, Done
from milpcomp.batches.places import place
from milpcomp.batches.twice import outcomes
from milpcomp.domain import Box, FloatArray
from milpcomp.errors import MilpcompError
from milpcomp.network import Network
from milpcomp.robustness.certified import (
    CertifiedRobustness,
    Outcome,
    Sandwich,
    certified_robustness,
    labelled,
    margin_network,
)

GRACE_S = 60.0
"""An image's process is killed when it runs this much longer than its limit."""

Clip = tuple[float, float] | None


def sandwich_on_workers(
    network: Network,
    inputs: ArrayLike,
    labels: ArrayLike,
    radius: float,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    clip: Clip = (0.0, 1.0),
    time_limit_s: float = 60.0,
    seed: int = 0,
    progress: Callable[[int, CertifiedRobustness], None] | None = None,
) -> Sandwich:
    """Decide every image of a data set, as `milpcomp.robustness.sandwich` does, on many processes or a cluster.

    Parameters
    ----------
    network : Network
    inputs : array_like, shape (N, *input_shape)
    labels : array_like of int, shape (N,)
    radius : float
    workers : int, optional
        How many processes of this machine work at once; as many as there are cores if not given.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers do it instead.
    clip, seed
        See `milpcomp.certified_robustness`.
    time_limit_s : float
        For each image.
    progress : callable, optional
        Called with (index, result) whenever an image is done, in any order.

    Returns
    -------
    Sandwich
        An image whose worker was lost twice is undecided.

    Raises
    ------
    DomainError, NetworkError, SettingsError
        If images, labels or settings do not fit the network.
    ExecutorError
        If there is no cluster at that address, or nothing can run there any more.

    Notes
    -----
    **Trusts** the workers to run the same milpcomp; `milpcomp.check` proves every result again.
    """
    images, wanted = labelled(inputs, labels)
    found: dict[int, CertifiedRobustness] = {}

    def call(image: int) -> Call:
        arguments = (network, images[image], radius, int(wanted[image]), clip, time_limit_s, seed)
        return Call(f"image-{image}", decide_image, arguments, time_limit_s=time_limit_s + GRACE_S)

    with place(workers, scheduler) as executor:
        for image, done in outcomes(executor, range(len(images)), call):
            if done.kind == "failed":
                raise MilpcompError(f"image {image}: {done.cause}: {done.error}")
            box = Box.around(images[image], radius, clip)
            found[image] = done.value or _lost(network, box, int(wanted[image]), done)
            if progress is not None:
                progress(image, found[image])
    return Sandwich.of(radius, [found[image] for image in range(len(images))])


def decide_image(
    network: Network, x: FloatArray, radius: float, label: int, clip: Clip, time_limit_s: float, seed: int
) -> CertifiedRobustness:
    """Decide one image: what a worker is called with."""
    return certified_robustness(network, x, radius, label, clip=clip, time_limit_s=time_limit_s, seed=seed)


def _lost(network: Network, box: Box, label: int, done: Done) -> CertifiedRobustness:
    """Return that nothing is known of an image."""
    return CertifiedRobustness(
        Outcome.UNDECIDED, label, box, margin_network(network, label), None, None, -np.inf, done.seconds
    )
