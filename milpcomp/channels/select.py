"""The published threshold for a `Network`: the largest that loses no right answer on one half of a test set.

The search, the halves and the result are those of `milpcomp.rotated.select_threshold`, which does the same for torch
modules; here the slopes are those of `milpcomp.channels.slopes`, and networks run in float32.
"""

from __future__ import annotations

import numpy as np

from milpcomp.channels.measure import BATCH, Images, Labels, accuracy, outputs, predictions
from milpcomp.channels.slopes import channel_slopes, silenced
from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network.graph import Network
from milpcomp.rotated.threshold import Threshold, largest_rung, random_half

STEPS = 64
"""Candidates tried from the top."""


def select_gamma(network: Network, images: Images, labels: Labels) -> Threshold:
    """Return the largest threshold that loses no accuracy on a random half of the images (seed 0).

    Parameters
    ----------
    network : Network
        A classifier with slopes.
    images : ndarray, shape (N, *input_shape)
    labels : ndarray of int, shape (N,)

    Raises
    ------
    NetworkError
        If no activation has slopes.
    SettingsError
        If there are fewer than two images.
    """
    slopes = channel_slopes(network)
    if not slopes:
        raise NetworkError("no activation of the network has slopes, so there is no threshold to select")
    if len(images) < 2:
        raise SettingsError("a threshold is selected on one half of the images and reported on the other; give some")
    sizes = np.abs(np.concatenate(list(slopes.values())))
    ladder = sorted({0.0, *sizes.tolist()})
    half = random_half(len(images))
    first, second = (images[half], labels[half]), (images[~half], labels[~half])
    before = _correct(network, *first)
    tried: dict[int, int | None] = {0: before}

    def keeps(rung: int) -> bool:
        tried[rung] = _correct(silenced(network, ladder[rung]), *first, at_least=before or 0)
        return tried[rung] is not None

    best = largest_rung(len(ladder), STEPS, keeps)
    after = silenced(network, ladder[best])
    small = {name: int((np.abs(own) <= ladder[best]).sum()) for name, own in slopes.items()}
    return Threshold(
        gamma=ladder[best],
        accuracy_before=accuracy(network, *second),
        accuracy_after=accuracy(after, *second),
        selection_before=(before or 0) / int(half.sum()),
        selection_after=(tried[best] or 0) / int(half.sum()),
        ignored=sum(small.values()),
        total=len(sizes),
        ignored_per_activation=tuple(small.items()),
        tried=len(tried),
        candidates=len(ladder),
    )


def _correct(network: Network, images: Images, labels: Labels, at_least: int = 0) -> int | None:
    """Return the number of right answers, or None as soon as there cannot be `at_least` of them."""
    right, chunk = 0, 8 * BATCH
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        right += int((predictions(outputs(network, images[part])) == labels[part]).sum())
        if right + max(0, len(images) - start - chunk) < at_least:
            return None
    return right
