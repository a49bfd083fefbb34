"""`certify`: decide every hidden neuron of a network over a domain.

``method="funnel"`` (the default) runs cheap stages first; a stage sees only what is still open:

    closed form   interval bounds, exact for the first affine layer over a box
    refute        data, corners, random points: one input is tested against all open neurons
    bound         linear (CROWN) bounds with optimised slopes, every step error-bounded
    refute        gradient search for what is left: corner jumps, then ascent from some starts
    branch        proofs by cases, one neuron at a time: a semidefinite bound of the layer below, then branch and bound
                  over the layers below, error-bounded leaves; a short round first, then ascent from many starts
                  (refute), then all the time that is left
    solver        one MILP per neuron and side; its verdicts rest on the solver's word and say so

The seed's methods run on the solver from the start, after interval and linear bounds gave them their big-M:
``"one-solve"``, ``"per-layer"`` and ``"per-neuron"`` (Serra, Kumar and Ramalingam, arXiv 2102.07804).

Whatever ends a run early (time limit, Ctrl-C, solver failure), what was decided is in the report and the rest is
undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from numpy.typing import ArrayLike

from milpcomp.domain import Box
from milpcomp.milp.problem import Backend
from milpcomp.network import Network
from milpcomp.progress import Snapshot
from milpcomp.stability import funnel
from milpcomp.stability.report import Report
from milpcomp.stability.task import conducted, prepared


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
    task = prepared(
        network, domain, method=method, backend=backend, time_limit_s=time_limit_s,
        neuron_time_limit_s=neuron_time_limit_s, max_certificate_bytes=max_certificate_bytes, data=data, layers=layers,
        neurons=neurons, start=start, device=device, seed=seed,
    )  # fmt: skip
    return conducted(task, progress, lambda ledger: funnel.run(ledger, task.settings, task.solver, task.samples))
