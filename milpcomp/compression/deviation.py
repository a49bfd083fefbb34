r"""A proved bound on ``|compressed(x) - original(x)|`` over the domain.

One pass over the original network carries e[v] >= |v' - v|, element by element, where v is the value of a node and v'
its value in the adjusted network (same nodes and shapes; cutting off what is not needed changes nothing):

    affine       e = |A| e_in
    addition     e = sum of e_in
    rectifier    e = max(|positive|, |negative|) e_in;  |slope| e_in where folded;  0 for removed channels, whose
                 output is 0 in both networks

Dropped channels d stand in a relation ``y_d = S y_b + t`` with error rho, and the reader W that absorbs them has
``e = |W'| e_in + |W' - (W_b + W_d S)| m + |W_d| rho + |bias' - (bias + W_d t)|`` with m >= |y|. For rho let w and b be
rows and biases of the pre-activations g' = w x' + b *in the adjusted network*, D slopes, e_g the error of g:

    Merge   rho = |D_d w_d - S D_b w_b| m(x') + |D_d b_d - S D_b b_b - t| + |D_d| e_g[d] + |S D_b| e_g[b]
    Join    the same with D_d = D_b = 1 and t = 0, all times max(|positive|, |negative|)
    Fix     rho = distance of t from the outputs over the bounds of g; or over those of g', plus max(|slopes|) e_g

Fusing adds ``|W' - W2 D W1| m(x') + |b' - (b2 + W2 D b1)|``. Differences of stored numbers come from `Ball`s, so what
was not rounded counts exactly 0; products with e and m are sums of non-negative numbers, made up for by a factor. Edits
that only remove channels give exactly 0.

**Trusts** the verdicts and bounds that the edits and the caller bring, and `milpcomp.bounds.interval`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from milpcomp.bounds.interval import Interval, step
from milpcomp.bounds.rounding import SLACK, UNDERFLOW
from milpcomp.compression.absorb import grouped
from milpcomp.compression.balls import Ball, accumulate
from milpcomp.compression.edits import Collapse, Edit, Fix, Fold, Join, Merge, by_layer, combination
from milpcomp.compression.rewrite import Prepared, prepare
from milpcomp.compression.rows import Rows, carried, rows_before, with_weight
from milpcomp.compression.validate import channel_slopes
from milpcomp.domain import Box
from milpcomp.errors import EditError
from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Affine, Concat, FloatArray, Rectifier

Ranges = Mapping[str, Interval]
"""Proved bounds of every node's value, with a batch axis of length 1."""


def ranges(network: Network, domain: Box, proved: Mapping[str, Interval] | None = None) -> dict[str, Interval]:
    """Return bounds of every node over the domain by interval arithmetic, met with proved pre-activation bounds.

    Parameters
    ----------
    network : Network
    domain : Box
        Of the network's input shape.
    proved : mapping from rectifier to Interval of shape (neurons,), optional
    """
    found = {INPUT: Interval(domain.lower[None], domain.upper[None])}
    for node in network.nodes:
        if proved and node.name in proved:
            source, shape = node.inputs[0], (1, *network.shape(node.name))
            known = Interval(proved[node.name].lower.reshape(shape), proved[node.name].upper.reshape(shape))
            found[source] = found[source].meet(known)
            if (found[source].lower > found[source].upper).any():
                raise EditError(f"the proved bounds of {node.name!r} contradict interval arithmetic; certify again")
        found[node.name] = step(node.layer, [found[name] for name in node.inputs])
    return found


def deviation(network: Network, edits: Sequence[Edit], domain: Box, known: Ranges) -> FloatArray:
    """Return a proved bound, per output, on what `edits` change over the domain.

    Parameters
    ----------
    network : Network
        The original one.
    edits : sequence of Edit
        Checked ones (`milpcomp.compression.validate.check_edits`).
    domain : Box
    known : mapping
        Of `ranges` for `network`.

    Returns
    -------
    ndarray, shape output_shape
        Exactly 0 where nothing was rounded; +inf where nothing could be proved.
    """
    prepared = prepare(network, edits)
    errors = _Errors(network, edits, prepared, domain, known)
    for node in network.nodes:
        errors.add(node)
    total = errors.of[network.output]
    for edit in edits:
        if isinstance(edit, Collapse):
            after = ranges(prepared.fused, domain)[prepared.fused.output]
            total = np.minimum(_distance(edit.value, known[network.output]), _sum(total, _distance(edit.value, after)))
    return total[0]


@dataclass(frozen=True, eq=False)
class _Relation:
    """``coefficients_d * row_d - sum of matrix_db * row_b - shift_d``, which should be zero."""

    channels: list[int]
    base: list[int]
    own: FloatArray
    matrix: Ball
    shift: FloatArray


class _Errors:
    """The pass: bounds on the error of every node, and of every relation between channels."""

    def __init__(self, network: Network, edits: Sequence[Edit], prepared: Prepared, domain: Box, known: Ranges) -> None:
        self.network, self.prepared, self.domain, self.known = network, prepared, domain, known
        self.own = by_layer(edits)
        self.of: dict[str, FloatArray] = {INPUT: np.zeros((1, *network.input_shape))}
        self.relation: dict[str, FloatArray] = {}

    def add(self, node: Node) -> None:
        """Bound the error of one node from those of its inputs."""
        inputs, layer = [self.of[name] for name in node.inputs], node.layer
        if isinstance(layer, Rectifier):
            error = self._rectifier(node, layer, inputs[0])
        elif node.name in self.prepared.absorbed:
            error = self._absorbing(node, inputs[0])
        elif isinstance(layer, Affine):
            error = carried(layer, inputs[0])
        elif isinstance(layer, Concat):
            error = np.concatenate(inputs, axis=layer.axis + 1)
        else:
            error = _sum(*inputs)
        for fusion in self.prepared.fusions:
            if fusion.name == node.name:
                weight = with_weight(fusion.first, fusion.weight.bound)
                error = _sum(error, carried(weight, self._reach(fusion.source)), fusion.bias.bound)
        self.of[node.name] = error

    def _reach(self, name: str) -> FloatArray:
        """Return a bound on the absolute value of a node of the adjusted network."""
        return _sum(self.known[name].magnitude(), self.of[name])

    def _absorbing(self, node: Node, error: FloatArray) -> FloatArray:
        entry = self.prepared.absorbed[node.name]
        layer, relation = node.layer, self.relation[entry.rectifier]
        for inner in entry.path:
            relation = carried(inner.layer, relation)  # type: ignore[arg-type]
        dropped = np.abs(grouped(layer, self.network.shape(entry.rectifier)[0]))  # type: ignore[arg-type]
        dropped[:, [c for c in range(dropped.shape[1]) if c not in entry.dropped]] = 0.0
        bias = entry.absorbed.bias.bound.reshape(-1, *(1 for _ in self.network.shape(node.name)[1:]))
        return _sum(
            carried(self.prepared.adjusted[node.name].layer, error),  # type: ignore[arg-type]
            carried(with_weight(layer, entry.absorbed.weight.bound), self.known[node.inputs[0]].magnitude()),  # type: ignore[arg-type]
            carried(with_weight(layer, dropped), relation),  # type: ignore[arg-type]
            np.broadcast_to(bias, error.shape[:1] + self.network.shape(node.name)),
        )

    def _rectifier(self, node: Node, layer: Rectifier, error: FloatArray) -> FloatArray:
        shape = self.network.shape(node.name)
        steepest = np.maximum(*(np.abs(slopes) for slopes in layer.slopes(shape))).reshape(shape)
        own, dropped = self.own.get(node.name, []), np.zeros((1, *shape))
        for edit in own:
            if isinstance(edit, Fold):
                steepest = steepest.copy()
                for channel, slope in zip(edit.channels, edit.slopes, strict=True):
                    steepest[channel] = abs(slope)
            elif isinstance(edit, Fix):
                dropped[:, edit.channels] = self._fixed(node, edit, steepest, error)
            elif isinstance(edit, Join | Merge):
                dropped[:, edit.channels] = self._related(node, edit, steepest, error)
        self.relation[node.name] = dropped
        result = _times(steepest, error)
        result[:, [channel for edit in own if not isinstance(edit, Fold) for channel in edit.channels]] = 0.0
        return result

    def _fixed(self, node: Node, edit: Fix, steepest: FloatArray, error: FloatArray) -> FloatArray:
        channels = list(edit.channels)
        before = self._missed(node, edit, self.known)
        if not before.any():
            return before
        after = self._missed(node, edit, ranges(self.prepared.adjusted, self.domain))
        return np.minimum(before, _sum(after, _times(steepest[channels], error[:, channels])))

    def _missed(self, node: Node, edit: Fix, known: Ranges) -> FloatArray:
        """Return how far the outputs can be from the values of `edit`; where they are one number, to its last bit."""
        layer, shape, channels = node.layer, self.network.shape(node.name), list(edit.channels)
        assert isinstance(layer, Rectifier)
        values = np.array(edit.values).reshape(-1, *(1 for _ in shape[1:]))
        inputs, outputs = (_part(known[name], channels) for name in (node.inputs[0], node.name))
        positive, negative = (slopes.reshape(shape)[channels] for slopes in layer.slopes(shape))
        slope = np.where(inputs.lower > 0, positive, negative)
        exact = (Ball.exact(slope) * Ball.exact(inputs.lower) - Ball.exact(values)).magnitude
        return np.where(inputs.lower == inputs.upper, exact, _distance(values, outputs))

    def _related(self, node: Node, edit: Join | Merge, steepest: FloatArray, error: FloatArray) -> FloatArray:
        rows = rows_before(self.prepared.before(node.name), node.name, [*edit.channels, *combination(edit)[0]])
        if rows is None:
            raise EditError(f"the pre-activations of {node.name!r} are not rows of one layer; they cannot be merged")
        base, matrix, shift = combination(edit)
        if isinstance(edit, Merge):
            slopes = channel_slopes(self.network, edit)
            own = np.array([slopes[channel] for channel in edit.channels])
            factors = Ball.exact(matrix) * Ball.exact(np.array([slopes[channel] for channel in base]))
        else:
            own, factors = np.ones(len(edit.channels)), Ball.exact(matrix)
        relation = _Relation(list(edit.channels), list(base), own, factors, shift)
        gap = self._gap(rows, relation, error)
        return gap if isinstance(edit, Merge) else _times(steepest[list(edit.channels)], gap)

    def _gap(self, rows: Rows, relation: _Relation, error: FloatArray) -> FloatArray:
        """Return a bound on how far pre-activations of the original network miss a relation between them."""
        own, channels = Ball.exact(relation.own[:, None]), relation.channels
        start = rows.weight[channels] * own
        weight = accumulate(start, -relation.matrix, rows.weight[relation.base])
        bias = rows.bias[channels][:, None] * own - Ball.exact(relation.shift[:, None])
        bias = accumulate(bias, -relation.matrix, rows.bias[relation.base][:, None])
        rest = tuple(1 for _ in error.shape[2:])
        factors = np.abs(relation.own).reshape(-1, *rest)
        mixed = np.tensordot(relation.matrix.magnitude, error[0, relation.base], axes=1)
        return _sum(
            carried(with_weight(rows.layer, weight.magnitude), self._reach(rows.source)),
            bias.magnitude.reshape(-1, *rest),
            _times(factors, error[:, relation.channels]),
            np.where(mixed > 0, mixed * SLACK + UNDERFLOW, 0.0),
        )


def _part(interval: Interval, channels: list[int]) -> Interval:
    return Interval(interval.lower[:, channels], interval.upper[:, channels])


def _distance(value: FloatArray, interval: Interval) -> FloatArray:
    """Return upper bounds of the distance of `value` from any point of the interval; exactly 0 if there is but one."""
    with np.errstate(all="ignore"):
        far = np.maximum(np.abs(value - interval.lower), np.abs(interval.upper - value))
        far = np.where(far > 0, far * SLACK + UNDERFLOW, far)
        return np.where(np.isnan(far), np.inf, far)


def _times(factor: FloatArray, error: FloatArray) -> FloatArray:
    """Return upper bounds of factor * error, both non-negative; exactly 0 if one of them is."""
    with np.errstate(all="ignore"):
        product = factor * error
        return np.where((factor == 0) | (error == 0), 0.0, product * SLACK + UNDERFLOW)


def _sum(*errors: FloatArray) -> FloatArray:
    """Return upper bounds of sums of non-negative numbers; exact where at most one of them is not 0."""
    with np.errstate(all="ignore"):
        total = sum(errors[1:], errors[0])
        several = sum(((error > 0).astype(int) for error in errors), np.zeros(())) > 1
        return np.where(several, total * SLACK, total)
