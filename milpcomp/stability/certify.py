"""`certify`: decide every hidden neuron of a network over a domain.

``method="funnel"`` (the default) runs cheap stages first; a stage sees only what is still open:

    closed form   interval bounds, exact for the first affine layer over a box
    refute        data, corners, random points: one input is tested against all open neurons
    bound         linear (CROWN) bounds with optimised slopes, every step error-bounded
    refute        gradient search for what is left: corner jumps, then ascent from many starts
    branch        proofs by cases, one neuron at a time: branch and bound over the layers below, error-bounded leaves
    solver        one MILP per neuron and side; its verdicts rest on the solver's word and say so

The seed's methods run on the solver from the start, after interval and linear bounds gave them their big-M:
``"one-solve"``, ``"per-layer"`` and ``"per-neuron"`` (Serra, Kumar and Ramalingam, arXiv 2102.07804).

Whatever ends a run early (time limit, Ctrl-C, solver failure), what was decided is in the report and the rest is
undecided.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from milpcomp.bounds.tighten import interval_bounds, tighten
from milpcomp.domain import Box, FloatArray
from milpcomp.errors import DomainError, NetworkError, SettingsError
from milpcomp.milp.backends import backend as find_backend
from milpcomp.milp.problem import Backend
from milpcomp.network import Network
from milpcomp.network.opaque import refuse_opaque
from milpcomp.progress import Snapshot, observing
from milpcomp.stability import branching, one_solve, per_layer, per_neuron
from milpcomp.stability.ascent import Search
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.sampling import batches
from milpcomp.stability.verdict import Stage

STAGE_SHARE = 0.5
"""What share of the time that is left the bound stage, and then the search, may take; later stages need the rest."""

BRANCH_SHARE = 0.9
"""The same for the branch stage."""

METHODS = ("funnel", "one-solve", "per-layer", "per-neuron")


@dataclass(frozen=True)
class Settings:
    """Options of a certification run; all of them are written into its report.

    Parameters
    ----------
    method : {"funnel", "one-solve", "per-layer", "per-neuron"}
    backend : str
        Name of the MIP backend: ``"highs"``, ``"ortools"`` or ``"pyomo"``.
    time_limit_s : float or None
        Wall-clock limit of the whole run.
    neuron_time_limit_s : float
        Limit of one search, and of one MILP, about one neuron.
    max_certificate_bytes : int
        Limit of all proofs by cases together; a verdict whose proof does not fit is labelled ``uncertified``.
    device : str
        Torch device of the witness search.
    seed : int
        Seed of all random choices.
    slope_steps : int
        Steps of slope optimisation in the bound stage.
    restarts, climb_steps : int
        Starts per open question, and steps, of the ascent after the bound stage.
    layers : tuple of str or None
        Rectifiers whose neurons are to be decided; None for all.
    """

    method: str = "funnel"
    backend: str = "highs"
    time_limit_s: float | None = None
    neuron_time_limit_s: float = 10.0
    max_certificate_bytes: int = 2**28
    device: str = "cpu"
    seed: int = 0
    slope_steps: int = 20
    restarts: int = 128
    climb_steps: int = 100
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(f"unknown method {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise SettingsError(f"the time limit must be a positive number of seconds, got {self.time_limit_s!r}")
        if not self.neuron_time_limit_s > 0:
            raise SettingsError(f"the limit per neuron must be positive, got {self.neuron_time_limit_s!r}")
        if self.max_certificate_bytes < 0:
            raise SettingsError(f"the limit of a certificate must be >= 0 bytes, got {self.max_certificate_bytes!r}")
        if self.seed < 0:
            raise SettingsError(f"the seed must be a whole number >= 0, got {self.seed!r}")
        check_device(self.device)


def certify(
    network: Network,
    domain: Box,
    *,
    method: str = "funnel",
    backend: str | Backend = "highs",
    time_limit_s: float | None = None,
    neuron_time_limit_s: float = 10.0,
    max_certificate_bytes: int = 2**28,
    data: ArrayLike | None = None,
    layers: Collection[str] | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: bool | Callable[[Snapshot], None] = False,
) -> Report:
    """Decide every hidden neuron of `network` over `domain`.

    Parameters
    ----------
    network : Network
    domain : Box
        Scalar bounds are broadcast to the network's input shape.
    method : {"funnel", "one-solve", "per-layer", "per-neuron"}
        ``"funnel"`` is the fast one. The others are published baselines that run on the MIP solver almost from the
        start: one problem for all neurons of the network, or of a layer, at once; or two problems for every neuron.
    backend : str or Backend
        MIP solver: ``"highs"``, ``"ortools"`` (SCIP), ``"pyomo"`` (HiGHS through Pyomo) or ``"pyomo:NAME"`` with any
        MIP solver that Pyomo knows.
    time_limit_s : float, optional
        Wall-clock limit; what is not decided by then stays undecided.
    neuron_time_limit_s : float
        Limit of one search, and of one MILP, about one neuron.
    max_certificate_bytes : int
        Limit of all proofs by cases together. A verdict whose proof does not fit is ``uncertified``: no certificate.
    data : array_like, shape (N, *input_shape), optional
        Inputs to try first as witnesses; moved into the domain where they lie outside.
    layers : collection of str, optional
        Rectifiers whose neurons are to be decided (all by default); those of other layers stay undecided, unless the
        bounds that are needed anyway decide them. With the default method only.
    device : str
        Torch device of the witness search.
    seed : int
    progress : bool or callable
        True draws progress on standard error; a callable receives each `Snapshot`.

    Returns
    -------
    Report
        One verdict per hidden neuron. ``report.ended`` tells whether the run was complete; Ctrl-C ends it early and
        loses nothing.

    Raises
    ------
    SettingsError, DomainError, NetworkError, SolverError
        On unusable arguments, before any work is done; `UnsupportedOperatorError` if the network holds opaque layers.

    Examples
    --------
    >>> network = mc.load("models/checkpoints/mnist-mlp.safetensors")
    >>> mc.certify(network, mc.Box(0.0, 1.0)).counts()
    {'stably_inactive': 155, 'stably_active': 74, 'unstable': 271, 'undecided': 0}

    Notes
    -----
    **Trusts**, for ``certified`` verdicts: IEEE float64 arithmetic and the error bounds of `milpcomp.bounds`, which
    `milpcomp.check` re-derives with other code. For ``witnessed`` ones: nothing but evaluation at two inputs. For
    ``solver`` ones: the MIP solver.
    """
    _check_types(network, domain, time_limit_s, neuron_time_limit_s)
    solver = find_backend(backend)
    settings = Settings(method, solver.name, time_limit_s, neuron_time_limit_s, max_certificate_bytes, device, seed)
    box = domain.fit(network.input_shape)
    samples = _samples(data, network)
    settings = replace(settings, layers=_checked_layers(layers, network, method))
    deadline = time.monotonic() + time_limit_s if time_limit_s is not None else float("inf")
    with observing(progress) as notify:
        ledger = Ledger(network, box, interval_bounds(network, box), deadline, notify, settings.layers)
        ended = "complete"
        try:
            with ledger.clock(Stage.CLOSED_FORM):
                ledger.tighten(ledger.bounds)
            run = _funnel if method == "funnel" else _seed_method
            run(ledger, settings, solver, samples)
            if not ledger.done() and ledger.seconds_left() == 0:
                ended = "time limit"
        except KeyboardInterrupt:
            ended = "interrupted"
    return ledger.report(asdict(settings), _versions(solver), ended)


def _check_types(network: object, domain: object, *limits: object) -> None:
    if not isinstance(network, Network):
        raise NetworkError(f"certify needs a Network, got {type(network).__name__}; read it with milpcomp.load first")
    refuse_opaque(network, "certify")
    if not isinstance(domain, Box):
        advice = "take one of the boxes" if isinstance(domain, tuple) else "write milpcomp.Box(lower, upper)"
        raise DomainError(f"certify needs one Box as its domain, got {type(domain).__name__}; {advice}")
    for limit in limits:
        if limit is not None and not isinstance(limit, Real):
            raise SettingsError(f"a time limit must be a number of seconds, got {limit!r}")


def _checked_layers(layers: Collection[str] | None, network: Network, method: str) -> tuple[str, ...] | None:
    if layers is None:
        return None
    chosen, known = (layers,) if isinstance(layers, str) else tuple(layers), [n.name for n in network.rectifiers]
    if unknown := [layer for layer in chosen if layer not in known]:
        raise SettingsError(f"the network has no rectifiers {unknown}; it has {known}")
    if method != "funnel":
        raise SettingsError(f"method {method!r} decides all layers; leave out layers, or the method")
    return chosen


def check_device(device: str) -> None:
    """Raise `SettingsError` where torch cannot use a device."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:  # torch raises each of them for some unusable devices
        reason = str(error).split("\n")[0]
        raise SettingsError(f"the torch device {device!r} cannot be used: {reason}; choose cpu, or cuda") from error


def _funnel(ledger: Ledger, settings: Settings, solver: Backend, data: FloatArray | None) -> None:
    rng = np.random.default_rng(settings.seed)
    with ledger.clock(Stage.REFUTE):
        for batch in batches(ledger.domain, rng, data):
            ledger.offer(batch)
    with ledger.clock(Stage.BOUND):
        _bound(ledger, settings.slope_steps)
    with ledger.clock(Stage.REFUTE):
        search = Search(ledger, rng, settings.device, _share_of_time(ledger))
        search.jump()
        search.climb(restarts=8, steps=40)
        search.climb(settings.restarts, settings.climb_steps)
    with ledger.clock(Stage.BRANCH):
        deadline = _share_of_time(ledger, BRANCH_SHARE)
        branching.run(ledger, deadline, settings.neuron_time_limit_s, settings.max_certificate_bytes)
    with ledger.clock(Stage.SOLVER):
        per_neuron.run(ledger, solver, settings.neuron_time_limit_s)


def _seed_method(ledger: Ledger, settings: Settings, solver: Backend, data: FloatArray | None) -> None:
    with ledger.clock(Stage.BOUND):
        _bound(ledger, settings.slope_steps)
    methods = {"one-solve": one_solve.run, "per-layer": per_layer.run, "per-neuron": per_neuron.run}
    with ledger.clock(Stage.SOLVER):
        if data is not None:
            ledger.offer(ledger.domain.clip(data))
        methods[settings.method](ledger, solver, settings.neuron_time_limit_s)


def _bound(ledger: Ledger, steps: int) -> None:
    if ledger.done():
        return
    # A lower bound can prove what was never seen inactive, an upper bound what was never seen active.
    open_sides = {layer: (ledger.open_inactive(layer), ledger.open_active(layer)) for layer in ledger.layers}
    network, domain = ledger.network, ledger.domain
    deadline = _share_of_time(ledger)
    ledger.tighten(tighten(network, domain, ledger.bounds, open_sides, steps=steps, deadline=deadline))


def _share_of_time(ledger: Ledger, share: float = STAGE_SHARE) -> float:
    return time.monotonic() + share * ledger.seconds_left()


def _samples(data: ArrayLike | None, network: Network) -> FloatArray | None:
    if data is None:
        return None
    samples = np.asarray(data, dtype=np.float64)
    if samples.shape[1:] != network.input_shape or not np.isfinite(samples).all():
        raise DomainError(
            f"data must be finite inputs of shape (N, *{network.input_shape}), got an array of shape {samples.shape}"
        )
    return samples


def _versions(solver: Backend) -> dict[str, str]:
    packages: dict[str, Any] = {name: version(name) for name in ("milpcomp", "numpy", "scipy", "torch")}
    return packages | {f"solver {solver.name}": solver.version}
