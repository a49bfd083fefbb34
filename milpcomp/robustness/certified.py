r"""Robustness proved: no input of a box is misclassified, or here is one that is, or it stays undecided.

    margin_k(x) = f_label(x) - f_k(x)          for every other class k

The margins are appended to the network as one more layer of neurons. Then no input of the box gives another class a
greater logit if and only if all of them are stably active, and an input at which one is negative is adversarial. So
`certify` finds the proof and `check` reads its certificate, as for any neuron: there is nothing else to trust. Ties
count as held: a margin of exactly 0 is no misclassification.

For a data set this gives the sandwich

    verified accuracy  <=  robust accuracy  <=  accuracy under attack
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from milpcomp.domain import Box
from milpcomp.errors import DomainError, NetworkError, SettingsError
from milpcomp.network.affine import Dense
from milpcomp.network.graph import Network, Node
from milpcomp.network.layers import FloatArray, Rectifier
from milpcomp.robustness.attacks import attack, pgd
from milpcomp.robustness.evaluate import Estimate, proportion
from milpcomp.stability.certify import certify
from milpcomp.stability.report import Report
from milpcomp.stability.verdict import Phase, Proof

MARGINS = "margins"
"""Name of the rectifier whose pre-activations are the margins."""

ATTACK_STEPS, ATTACK_RESTARTS = 40, 4


class Outcome(str, Enum):
    """What is known of one input's box."""

    ROBUST = "robust"
    ADVERSARIAL = "adversarial"
    SOLVER = "robust on a solver's word"
    UNDECIDED = "undecided"


@dataclass(frozen=True, eq=False)
class CertifiedRobustness:
    """What is known of one box.

    Parameters
    ----------
    outcome : Outcome
        ``ROBUST`` only if every margin is certified to be >= 0 on the whole box.
    label : int
    domain : Box
    margins : Network
        The network with the margins as one more layer; `report` is about this network.
    report : Report or None
        For `milpcomp.check`; None where the attack found an input and nothing needed to be proved.
    adversarial : ndarray, shape input_shape, or None
        An input of the box that is misclassified; its sign was established rigorously, or exactly in float64.
    least_margin : float
        A proved lower bound of all margins on the box (-inf where none was computed).
    seconds : float
    """

    outcome: Outcome
    label: int
    domain: Box
    margins: Network
    report: Report | None
    adversarial: FloatArray | None
    least_margin: float
    seconds: float


def margin_network(network: Network, label: int) -> Network:
    """Return `network` with one more dense layer of margins ``f_label - f_k``, and a rectifier on them.

    Raises
    ------
    NetworkError
        If the output is no vector of at least two logits.
    SettingsError
        If the label is no class.
    """
    if len(network.output_shape) != 1 or network.output_shape[0] < 2:
        raise NetworkError(f"margins need a vector of two or more logits, the output has shape {network.output_shape}")
    classes = network.output_shape[0]
    if not 0 <= label < classes:
        raise SettingsError(f"label {label!r} is no class of a network with {classes} logits")
    weight = -np.delete(np.eye(classes), label, axis=0)
    weight[:, label] = 1.0
    names = {node.name for node in network.nodes}
    name = MARGINS
    while name in names or f"{name}.logits" in names:
        name += "_"
    nodes = [
        *network.nodes,
        Node(f"{name}.logits", Dense(weight, np.zeros(classes - 1)), (network.output,)),
        Node(name, Rectifier(), (f"{name}.logits",)),
    ]
    return Network(network.input_shape, nodes, name)


def certified_robustness(
    network: Network,
    x: ArrayLike,
    radius: float,
    label: int | None = None,
    *,
    clip: tuple[float, float] | None = (0.0, 1.0),
    time_limit_s: float | None = None,
    seed: int = 0,
    **options: Any,
) -> CertifiedRobustness:
    """Decide whether a classifier gives one label to all inputs near x, in the L-infinity norm.

    Parameters
    ----------
    network : Network
    x : array_like, shape input_shape
    radius : float
        In units of the network's input.
    label : int, optional
        The network's own prediction at x if not given.
    clip : (float, float) or None
        Valid range of inputs, to which the box is cut.
    time_limit_s : float, optional
    seed : int
    **options
        Passed on to `milpcomp.certify`: ``neuron_time_limit_s``, ``backend`` and others.

    Returns
    -------
    CertifiedRobustness

    Raises
    ------
    DomainError, NetworkError, SettingsError
        If x, label or settings do not fit the network.

    Notes
    -----
    **Trusts** what `milpcomp.certify` trusts; ``milpcomp.check(result.margins, result.domain, result.report)`` proves
    it again. Claims are about real arithmetic on the stored float64 numbers.
    """
    begin = time.monotonic()
    center = np.asarray(x, dtype=np.float64)
    if center.shape != network.input_shape or not np.isfinite(center).all():
        raise DomainError(f"x must be one finite input of shape {network.input_shape}, got shape {center.shape}")
    if clip is not None and not (clip[0] <= center.min() and center.max() <= clip[1]):
        raise DomainError(f"x lies outside the valid range {clip}, so its box would not hold it; give another clip")
    chosen = int(network.forward(center).argmax()) if label is None else int(label)
    margins = margin_network(network, chosen)
    box = Box.around(center, radius, clip)
    start = box.clip(center[None])
    points = np.concatenate([start, _attacked(network, box, start, chosen, radius, clip, seed)])
    broken = margins.pre_activations(points)[margins.output].min(axis=1) < 0

    def result(outcome: Outcome, report: Report | None, found: FloatArray | None, least: float) -> CertifiedRobustness:
        seconds = time.monotonic() - begin
        return CertifiedRobustness(outcome, chosen, box, margins, report, found, least, seconds)

    for point in points[broken]:
        if _rigorously_negative(margins, point):
            return result(Outcome.ADVERSARIAL, None, point, -np.inf)
    left = None if time_limit_s is None else max(1e-3, time_limit_s - (time.monotonic() - begin))
    if left is not None:  # often a single margin is open: all the time is for it
        options = {"neuron_time_limit_s": left} | options
    report = certify(margins, box, layers=[margins.output], data=points, time_limit_s=left, seed=seed, **options)
    verdicts = report.layers()[margins.output]
    least = min(verdict.lower for verdict in verdicts)
    refuted = [verdict.inactive_witness for verdict in verdicts if verdict.inactive_witness is not None]
    if refuted:
        return result(Outcome.ADVERSARIAL, report, report.witnesses[refuted[0]], least)
    held = [verdict.phase is Phase.STABLY_ACTIVE or verdict.lower >= 0 for verdict in verdicts]
    if not all(held):
        return result(Outcome.UNDECIDED, report, None, least)
    proved = all(verdict.proof is Proof.CERTIFIED for verdict in verdicts)
    return result(Outcome.ROBUST if proved else Outcome.SOLVER, report, None, least)


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Robust accuracy on a data set, from below and from above.

    Parameters
    ----------
    radius : float
    outcomes : tuple of CertifiedRobustness
        One per image.
    attacked : ndarray of bool, shape (N,)
        Images that are classified as labelled and that no input found so far breaks.
    """

    radius: float
    outcomes: tuple[CertifiedRobustness, ...]
    attacked: NDArray[np.bool_]

    @classmethod
    def of(cls, radius: float, outcomes: Sequence[CertifiedRobustness]) -> Sandwich:
        """Return the sandwich of some results, one per image."""
        held = np.array([found.outcome is not Outcome.ADVERSARIAL for found in outcomes], dtype=bool)
        return cls(radius, tuple(outcomes), held)

    @property
    def verified(self) -> Estimate:
        """Share of images that are proved robust."""
        return proportion(np.array([found.outcome is Outcome.ROBUST for found in self.outcomes]))

    @property
    def under_attack(self) -> Estimate:
        """Share of images that no attack has broken."""
        return proportion(self.attacked)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Indices of images that are neither proved nor broken."""
        return tuple(i for i, o in enumerate(self.outcomes) if o.outcome in (Outcome.UNDECIDED, Outcome.SOLVER))


def sandwich(
    network: Network,
    inputs: ArrayLike,
    labels: ArrayLike,
    radius: float,
    *,
    time_limit_s: float = 60.0,
    progress: Callable[[int, CertifiedRobustness], None] | None = None,
    **options: Any,
) -> Sandwich:
    """Decide every image of a data set: verified accuracy <= robust accuracy <= accuracy under attack.

    Parameters
    ----------
    network : Network
    inputs : array_like, shape (N, *input_shape)
    labels : array_like of int, shape (N,)
    radius : float
    time_limit_s : float
        For each image.
    progress : callable, optional
        Called with (index, result) after each image.
    **options
        As for `certified_robustness`.
    """
    images, wanted = labelled(inputs, labels)
    outcomes = []
    for i, (x, label) in enumerate(zip(images, wanted.tolist(), strict=True)):
        outcomes.append(certified_robustness(network, x, radius, label, time_limit_s=time_limit_s, **options))
        if progress is not None:
            progress(i, outcomes[-1])
    return Sandwich.of(radius, outcomes)


def labelled(inputs: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, NDArray[np.integer]]:
    """Return images and labels as arrays.

    Raises
    ------
    DomainError
        If they are not as many.
    """
    images, wanted = np.asarray(inputs, dtype=np.float64), np.asarray(labels)
    if wanted.shape != images.shape[:1]:
        raise DomainError(f"{len(images)} inputs need as many labels, got shape {wanted.shape}")
    return images, wanted


def _attacked(
    network: Network,
    box: Box,
    start: FloatArray,
    label: int,
    radius: float,
    clip: tuple[float, float] | None,
    seed: int,
) -> FloatArray:
    """Return inputs of the box at which the margin was small, (M, *input_shape)."""
    model = network.to_torch(torch.float64).eval()
    settings = pgd(radius, ATTACK_STEPS, restarts=ATTACK_RESTARTS, loss="margin", clip=clip, seed=seed)
    found = attack(model, torch.from_numpy(start), torch.tensor([label]), settings)
    return box.clip(found.inputs.numpy())


def _rigorously_negative(margins: Network, point: FloatArray) -> bool:
    """Tell whether some margin is proved to be negative at an input, rounding included."""
    box = Box(point, point)
    report = certify(margins, box, layers=[margins.output], time_limit_s=5.0)
    return any(verdict.upper < 0 for verdict in report.layers()[margins.output])
