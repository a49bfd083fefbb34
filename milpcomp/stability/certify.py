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
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from importlib.metadata import version
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box, FloatArray
from milpcomp.errors import DomainError, NetworkError, SettingsError
from milpcomp.milp.backends import backend as find_backend
from milpcomp.milp.problem import Backend
from milpcomp.network import Network
from milpcomp.network.opaque import refuse_opaque
from milpcomp.progress import Snapshot, observing
from milpcomp.stability import funnel
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.settings import Settings
from milpcomp.stability.start import require_same, stated_bounds
from milpcomp.stability.verdict import Stage


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
    neurons: Mapping[str, Collection[int]] | None = None,
    start: Report | None = None,
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
    neurons : mapping from str to collection of int, optional
        The same, neuron by neuron: units to be decided, by rectifier. Instead of `layers`.
    start : Report, optional
        An earlier report on the same network and domain, to go on from: what it decided is not searched again, and
        its bounds, witnesses and proofs are part of the new report.
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
    ResultError
        If `start` is about another network or domain, or contradicts itself.

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

    `start` is taken at its word, and so is what it says to rest on a solver's. If somebody falsified it, what is built
    on it may be false as well, and `milpcomp.check` rejects the new report.
    """
    _check_types(network, domain, time_limit_s, neuron_time_limit_s)
    solver = find_backend(backend)
    settings = Settings(
        method, solver.name, time_limit_s, neuron_time_limit_s, max_certificate_bytes, device, seed,
        layers=_names(layers), neurons=_units(neurons),
    )  # fmt: skip
    wanted = settings.wanted(network)
    box = domain.fit(network.input_shape)
    samples = _samples(data, network)
    earlier = None if start is None else require_same(start, network, box)
    deadline = time.monotonic() + time_limit_s if time_limit_s is not None else float("inf")
    bounds = interval_bounds(network, box) if earlier is None else stated_bounds(earlier, network)
    with observing(progress) as notify:
        ledger = Ledger(network, box, bounds, deadline, notify, wanted, earlier)
        ended = "complete"
        try:
            with ledger.clock(Stage.CLOSED_FORM):
                ledger.tighten(ledger.bounds)
            funnel.run(ledger, settings, solver, samples)
            if not ledger.done() and ledger.seconds_left() == 0:
                ended = "time limit"
        except KeyboardInterrupt:
            ended = "interrupted"
    return ledger.report(options(settings, earlier), versions(solver), ended)


def options(settings: Settings, earlier: Report | None) -> dict[str, Any]:
    """Return every option of a run, JSON-ready, and those of the runs that it went on from."""
    own = asdict(settings)
    if earlier is None:
        return own
    theirs = dict(earlier.settings)
    return own | {"earlier": [*theirs.pop("earlier", ()), theirs]}


def versions(solver: Backend) -> dict[str, str]:
    """Return the versions of everything that takes part."""
    packages: dict[str, Any] = {name: version(name) for name in ("milpcomp", "numpy", "scipy", "torch")}
    return packages | {f"solver {solver.name}": solver.version}


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


def _names(layers: Collection[str] | None) -> tuple[str, ...] | None:
    return (layers,) if isinstance(layers, str) else None if layers is None else tuple(layers)


def _units(neurons: Mapping[str, Collection[int]] | None) -> dict[str, tuple[int, ...]] | None:
    if neurons is None:
        return None
    try:
        return {layer: tuple(index(unit) for unit in units) for layer, units in neurons.items()}
    except (TypeError, AttributeError):
        raise SettingsError(f"neurons must be units by rectifier, as in {{'relu1': [0, 5]}}, got {neurons!r}") from None


def _samples(data: ArrayLike | None, network: Network) -> FloatArray | None:
    if data is None:
        return None
    samples = np.asarray(data, dtype=np.float64)
    if samples.shape[1:] != network.input_shape or not np.isfinite(samples).all():
        raise DomainError(
            f"data must be finite inputs of shape (N, *{network.input_shape}), got an array of shape {samples.shape}"
        )
    return samples
