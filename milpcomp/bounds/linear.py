r"""Linear (CROWN) bounds of pre-activations by backward substitution over the graph, every step error-bounded.

A row c of coefficients on the values v of some nodes, with ``c . v + constant - error`` a lower bound of the wanted
quantity on the whole domain, is carried from the pre-activation back to the input, node by node:

    affine      v = A u + b                    c . v  =  (A^T c) . u + c . b
    rectifier   low(u) <= v <= high(u)         c . v >=  c+ . low(u) + c- . high(u)      (`milpcomp.bounds.relaxation`)
    sum, join   c goes to every input, or is cut into pieces
    input       l <= u <= h                    c . u >=  c+ . l + c- . h

An upper bound is minus the lower bound of the negated row. (Zhang et al., NeurIPS 2018, arXiv 1811.00866.)

Rounding. What a step computes in place of A^T c differs from it by at most gamma_n |A|^T |c|, element by element. The
bounds |u| <= m on the domain absorb that: the row is wrong by at most gamma_n |c| . (|A| m), with one vector |A| m per
layer for all rows. The same with the products at rectifiers, sums of rows, and constants. All of it is collected in
``error`` and subtracted in the end; the rounding of ``error`` itself and underflow are covered as
`milpcomp.bounds.rounding` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from milpcomp.bounds.interval import Interval
from milpcomp.bounds.relaxation import Alphas, Relaxation, default_alphas, relaxation
from milpcomp.bounds.rounding import SLACK, UNDERFLOW, UNIT, below, gamma
from milpcomp.network import INPUT, Affine, Concat, Network, Node, Rectifier
from milpcomp.network.index_maps import IndexMap
from milpcomp.network.layers import FloatArray, IntArray, Shape

BLOCK_ELEMENTS = 250_000
"""How many coefficients one block of rows may have at one node; larger blocks of convolutions fall out of the cache."""


@dataclass(eq=False)
class Trace:
    """What one substitution chose, per rectifier: arrays (T, neurons); and the corner of the box (T, *input_shape).

    `lines` holds slope and intercept; `sensitivity` is the derivative of the bound by the tangent's slope, per unit of
    pre-activation: the coefficient where the tangent was taken, else 0.
    """

    lines: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    sensitivity: dict[str, FloatArray] = field(default_factory=dict)
    corner: FloatArray = field(default_factory=lambda: np.zeros(0))


class Substitution:
    """Backward substitution from one node to the input: everything that all rows share.

    Parameters
    ----------
    network : Network
    values : mapping from node name to Interval
        Proved bounds of `INPUT` and of every node that `source` depends on, without batch axis.
    source : str
        The node whose elements are bounded.
    """

    def __init__(self, network: Network, values: Mapping[str, Interval], source: str) -> None:
        self.network, self.values, self.source = network, values, source
        self.nodes = _ancestors(network, source)
        self.relaxations: dict[str, Relaxation] = {}
        self.magnitudes: dict[str, FloatArray] = {}
        self.products: dict[str, FloatArray] = {}
        with np.errstate(all="ignore"):
            for name in (INPUT, *(node.name for node in self.nodes if node.name != source)):
                self.magnitudes[name] = values[name].magnitude().reshape(-1)
            for node in self.nodes:
                if isinstance(node.layer, Rectifier):
                    self.relaxations[node.name] = relaxation(node.layer, values[node.inputs[0]])
                elif isinstance(node.layer, Affine):
                    magnitude = values[node.inputs[0]].magnitude()
                    product = node.layer.absolute().linear(magnitude[None])[0] + np.abs(node.layer.offset()) + UNDERFLOW
                    self.products[node.name] = product.reshape(-1)

    @property
    def work(self) -> int:
        """About how many multiplications one row takes."""
        return sum(_work(node, self.network.shape(node.name)) for node in self.nodes)

    def default_alphas(self) -> Alphas:
        """Return the default alphas of every rectifier that `source` depends on, each (1, neurons)."""
        return {name: default_alphas(self.values[self.network[name].inputs[0]]) for name in self.relaxations}

    def blocks(self, count: int) -> Iterator[slice]:
        """Cut `count` rows into blocks that fit the memory."""
        widest = max(self.network.width(name) for name in (INPUT, *(node.name for node in self.nodes)))
        block = max(1, BLOCK_ELEMENTS // max(1, widest))
        return (slice(start, min(start + block, count)) for start in range(0, count, block))

    def rows(self, units: IntArray, signs: FloatArray) -> FloatArray:
        """Return the rows ``signs[k] * (element units[k] of source)``, shape (T, width of source)."""
        rows = np.zeros((len(units), self.network.width(self.source)))
        rows[np.arange(len(units)), units] = signs
        return rows

    def lower(self, rows: FloatArray, alphas: Alphas, trace: Trace | None = None) -> FloatArray:
        """Return proved lower bounds (T,) of ``rows @ value of source``; -inf where nothing is proved.

        Parameters
        ----------
        rows : ndarray, shape (T, width of source)
        alphas : mapping
            For each rectifier that `source` depends on, (T, neurons) or (1, neurons).
        trace : Trace, optional
            Filled with what was chosen.
        """
        with np.errstate(all="ignore"):
            run = Run(self, len(rows), alphas, trace)
            run.send(self.source, rows)
            for node in reversed(self.nodes):
                run.through(node)
            return run.finish()


class Run:
    """One substitution: rows waiting at nodes (T, width), constants (T,) and errors (T,)."""

    def __init__(self, substitution: Substitution, count: int, alphas: Alphas, trace: Trace | None) -> None:
        self.shared, self.alphas, self.trace = substitution, alphas, trace
        self.waiting: dict[str, FloatArray] = {}
        self.constant, self.error = np.zeros(count), np.zeros(count)

    def send(self, name: str, row: FloatArray) -> None:
        """Add a row to what waits at node `name`."""
        if name not in self.waiting:
            self.waiting[name] = row
            return
        total = self.waiting[name] + row
        self.error += UNIT * (np.abs(total) @ self.shared.magnitudes[name])
        self.waiting[name] = total

    def through(self, node: Node) -> None:
        """Carry what waits at `node` to its inputs."""
        row = self.waiting.pop(node.name)
        if isinstance(node.layer, Affine):
            self.send(node.inputs[0], self._affine(node, node.layer, row))
        elif isinstance(node.layer, Rectifier):
            self.send(node.inputs[0], self._rectifier(node, row))
        elif isinstance(node.layer, Concat):
            shapes = [self.shared.network.shape(name) for name in node.inputs]
            edges = np.cumsum([shape[node.layer.axis] for shape in shapes])[:-1]
            joined = row.reshape(len(row), *self.shared.network.shape(node.name))
            for name, part in zip(node.inputs, np.split(joined, edges, axis=node.layer.axis + 1), strict=True):
                self.send(name, part.reshape(len(row), -1))
        else:
            for name in node.inputs:
                self.send(name, row)

    def _affine(self, node: Node, layer: Affine, row: FloatArray) -> FloatArray:
        network, source = self.shared.network, node.inputs[0]
        shape, out = network.shape(source), network.shape(node.name)
        offset = np.broadcast_to(layer.offset(), out).reshape(-1)
        if not (isinstance(layer, IndexMap) and layer.terms(shape) == 1):  # those only move numbers
            self._account(row, self.shared.products[node.name], max(layer.terms(shape), row.shape[1]), source)
        if offset.any():
            self._add(row @ offset)
        return layer.transposed(row.reshape(len(row), *out), shape).reshape(len(row), -1)

    def _rectifier(self, node: Node, row: FloatArray) -> FloatArray:
        lines = self.shared.relaxations[node.name]
        self._account(row, lines.weight, row.shape[1], node.inputs[0])
        on_tangent = (row >= 0) == lines.convex
        slope = np.where(on_tangent, lines.tangent(self.alphas[node.name]), lines.chord)
        self._add(np.where(on_tangent, 0.0, row) @ lines.intercept)
        if self.trace is not None:
            self.trace.lines[node.name] = slope, np.where(on_tangent, 0.0, lines.intercept)
            self.trace.sensitivity[node.name] = np.where(on_tangent & lines.open, row, 0.0)
        return row * slope

    def finish(self) -> FloatArray:
        """Take the least value over the input box, and subtract all errors."""
        bounds, row = self.shared.values[INPUT], self.waiting.pop(INPUT)
        lower, upper = bounds.lower.reshape(-1), bounds.upper.reshape(-1)
        if self.trace is not None:
            self.trace.corner = np.where(row > 0, lower, upper).reshape(-1, *bounds.lower.shape)
        self._account(row, self.shared.magnitudes[INPUT], 2 * row.shape[1] + 2, INPUT)
        self._add(np.maximum(row, 0.0) @ lower + np.minimum(row, 0.0) @ upper)
        return below(self.constant, self.error * SLACK)

    def _account(self, row: FloatArray, weight: FloatArray, terms: int, source: str) -> None:
        """Book the error of sums of `terms` products of the row, in all |row| @ weight, and of underflow."""
        self.error += gamma(terms + 2) * (np.abs(row) @ weight)
        self.error += UNDERFLOW * (1.0 + self.shared.magnitudes[source].sum())

    def _add(self, amount: FloatArray) -> None:
        self.constant = self.constant + amount
        self.error += UNIT * np.abs(self.constant)


def linear_bounds(
    network: Network,
    values: Mapping[str, Interval],
    layer: str,
    side: str,
    units: IntArray | Sequence[int],
    alphas: Alphas,
) -> FloatArray:
    """Return proved bounds of pre-activations, as a `LinearProof` claims them.

    Parameters
    ----------
    network : Network
    values : mapping from node name to Interval
        Proved bounds of `INPUT` and of every node below the layer, without batch axis.
    layer : str
        Name of the rectifier.
    side : {"lower", "upper"}
    units : sequence of int, length T
    alphas : mapping from rectifier name to whole numbers 0 .. 255, shape (T, neurons) or (1, neurons)

    Returns
    -------
    ndarray, shape (T,)
        Rounded outward; infinite where nothing is proved.

    Notes
    -----
    **Trusts** the given bounds, and what `milpcomp.bounds.rounding` trusts.
    """
    substitution = Substitution(network, values, network[layer].inputs[0])
    sign = 1.0 if side == "lower" else -1.0
    chosen = np.asarray(units, dtype=np.int64)
    parts = [
        substitution.lower(
            substitution.rows(chosen[block], np.full(len(chosen[block]), sign)),
            {name: alpha if len(alpha) == 1 else alpha[block] for name, alpha in alphas.items()},
        )
        for block in substitution.blocks(len(chosen))
    ]
    return sign * np.concatenate(parts) if parts else np.zeros(0)


def _ancestors(network: Network, source: str) -> tuple[Node, ...]:
    """Return `source` and the nodes that it depends on, in topological order."""
    needed, nodes = {source}, []
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
            nodes.append(node)
    return tuple(reversed(nodes))


def _work(node: Node, shape: Shape) -> int:
    width = int(np.prod(shape, dtype=np.int64))
    weight = getattr(node.layer, "weight", None)
    if weight is None:
        return 10 * width
    products = width * weight[0].size
    moves = products // max(1, len(weight)) if weight.ndim > 2 else 0  # a convolution copies windows, which is slow
    return 10 * width + products + 50 * moves
