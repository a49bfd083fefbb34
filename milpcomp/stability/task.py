"""A certification run around whatever it does: arguments checked before, and a report drawn at any end.

`prepared` refuses what cannot be used, before any work; `conducted` keeps the ledger, so that an interruption loses
nothing of what was decided.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from milpcomp.bounds.tighten import interval_bounds
from milpcomp.domain import Box, FloatArray, require_box
from milpcomp.errors import DomainError, NetworkError, SettingsError
from milpcomp.milp.backends import backend as find_backend
from milpcomp.milp.problem import Backend
from milpcomp.network import Network
from milpcomp.network.opaque import refuse_opaque
from milpcomp.progress import Snapshot, observing
from milpcomp.stability.ledger import Ledger
from milpcomp.stability.report import Report
from milpcomp.stability.settings import Settings
from milpcomp.stability.start import require_same, stated_bounds
from milpcomp.stability.verdict import Stage

Neurons = Mapping[str, Collection[int]]


@dataclass(frozen=True, eq=False)
class Task:
    """What a run is about, checked.

    Parameters
    ----------
    network : Network
    domain : Box
        Of the network's input shape.
    settings : Settings
    solver : Backend
    samples : ndarray, shape (N, *input_shape), or None
        Inputs to try first as witnesses.
    start : Report or None
        What to go on from.
    """

    network: Network
    domain: Box
    settings: Settings
    solver: Backend
    samples: FloatArray | None
    start: Report | None

    def options(self) -> dict[str, Any]:
        """Return every option of the run, JSON-ready, and those of the runs that it goes on from, with their times.

        The stages of the last of these runs took ``seconds_until_here``, together with those before it.
        """
        own = asdict(self.settings)
        if self.start is None:
            return own
        theirs = dict(self.start.settings)
        spent = {"seconds_until_here": sum(self.start.stage_seconds.values())}
        return own | {"earlier": [*theirs.pop("earlier", ()), theirs | spent]}

    def versions(self) -> dict[str, str]:
        """Return the versions of everything that takes part."""
        packages = {name: version(name) for name in ("milpcomp", "numpy", "scipy", "torch")}
        return packages | {f"solver {self.solver.name}": self.solver.version}


def prepared(
    network: Network,
    domain: Box,
    *,
    method: str,
    backend: str | Backend,
    time_limit_s: float | None,
    neuron_time_limit_s: float,
    max_certificate_bytes: int,
    data: ArrayLike | None,
    layers: Collection[str] | None,
    neurons: Neurons | None,
    start: Report | None,
    device: str,
    seed: int,
) -> Task:
    """Check the arguments of `milpcomp.certify`; see there for parameters and errors."""
    _check_types(network, domain)
    solver = find_backend(backend)
    settings = Settings(
        method, solver.name, time_limit_s, neuron_time_limit_s, max_certificate_bytes, device, seed,
        layers=_names(layers), neurons=_units(neurons),
    )  # fmt: skip
    settings.wanted(network)
    box = domain.fit(network.input_shape)
    samples = _samples(data, network)
    return Task(network, box, settings, solver, samples, None if start is None else require_same(start, network, box))


def conducted(task: Task, progress: bool | Callable[[Snapshot], None], work: Callable[[Ledger], None]) -> Report:
    """Return what is known after `work`, or when the time limit or Ctrl-C ended it.

    Parameters
    ----------
    task : Task
    progress : bool or callable
        See `milpcomp.progress.observing`.
    work : callable
        Is given the ledger, on which everything is entered that needs no search, and returns when it has no more to do
        or the ledger's time is over.
    """
    network, limit, start = task.network, task.settings.time_limit_s, task.start
    deadline = float("inf") if limit is None else time.monotonic() + limit
    bounds = interval_bounds(network, task.domain) if start is None else stated_bounds(start, network)
    with observing(progress) as notify:
        ledger = Ledger(network, task.domain, bounds, deadline, notify, task.settings.wanted(network), start)
        ended = "complete"
        try:
            with ledger.clock(Stage.CLOSED_FORM):
                ledger.tighten(ledger.bounds)
            work(ledger)
            if not ledger.done() and ledger.seconds_left() == 0:
                ended = "time limit"
        except KeyboardInterrupt:
            ended = "interrupted"
    return ledger.report(task.options(), task.versions(), ended)


def _check_types(network: object, domain: object) -> None:
    if not isinstance(network, Network):
        raise NetworkError(f"certify needs a Network, got {type(network).__name__}; read it with milpcomp.load first")
    refuse_opaque(network, "certify")
    require_box(domain, "certify")


def _names(layers: object) -> tuple[str, ...] | None:
    if layers is None or isinstance(layers, str):
        return None if layers is None else (layers,)
    names = tuple(layers) if isinstance(layers, Iterable) else (layers,)
    if not all(isinstance(name, str) for name in names):
        raise SettingsError(f"layers must be names of rectifiers, as in ['relu1', 'relu2'], got {layers!r}")
    return names


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
    try:
        samples = np.asarray(data, dtype=np.float64)
    # Words, rows of different lengths, integers beyond all floats, tensors with gradients.
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise DomainError(
            f"data must be numbers, inputs of shape (N, *{network.input_shape}), got {type(data).__name__}: {error}"
        ) from error
    if samples.shape[1:] != network.input_shape or not np.isfinite(samples).all():
        raise DomainError(
            f"data must be finite inputs of shape (N, *{network.input_shape}), got an array of shape {samples.shape}"
        )
    return samples
