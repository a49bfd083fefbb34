"""The canonical form: every pre-activation as one affine function of the input and of earlier rectifiers.

    pre-activation of a rectifier (or the output)  =  sum over sources of  matrix @ source  +  offset

A source is `INPUT` or the *post*-activation of an earlier rectifier. The walk composes: Affine multiplies from the
left, Add sums, Concat stacks; nothing else lies between two rectifiers.

Where several affine layers lie between two rectifiers (a batch norm behind a convolution, a residual sum) the composed
matrices are rounded: this is a *derived float view* for solvers, not the network, and its rounding is **not** enclosed
here. `rounding` bounds it, for those who have to know (`milpcomp.milp.margin`). A plain chain of dense layers and
rectifiers is not composed at all, so its canonical form holds the stored weights verbatim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from milpcomp.network.graph import INPUT, Network, Node
from milpcomp.network.layers import Add, Affine, Concat, FloatArray, IntArray, Rectifier, size
from milpcomp.network.opaque import refuse_opaque

UNIT_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, eq=False)
class AffineForm:
    """``sum(matrix @ source for each source) + offset``.

    Parameters
    ----------
    matrices : mapping from source name to csr_array, shape (rows, width of the source)
        In topological order of the sources; a source that is not read is absent.
    offset : ndarray, shape (rows,)
    """

    matrices: Mapping[str, sp.csr_array]
    offset: FloatArray

    def value(self, sources: Mapping[str, FloatArray]) -> FloatArray:
        """Return the form's value (N, rows) for flat source values (N, width)."""
        total = self.offset[None, :]
        for name, matrix in self.matrices.items():
            total = total + (matrix @ sources[name].T).T
        return total

    def take(self, rows: IntArray) -> AffineForm:
        """Return the form of the chosen rows."""
        return AffineForm({name: matrix[rows] for name, matrix in self.matrices.items()}, self.offset[rows])


@dataclass(frozen=True, eq=False)
class Canonical:
    """A network as affine forms between rectifiers.

    Parameters
    ----------
    forms : mapping from rectifier name to AffineForm
        Pre-activations, flat in C order, in topological order of the rectifiers.
    output : AffineForm or None
        The network's output; None if only the layers up to some rectifier were asked for.
    """

    forms: Mapping[str, AffineForm]
    output: AffineForm | None


def canonical(network: Network, upto: str | None = None, absolute: bool = False) -> Canonical:
    """Return the canonical form of `network`.

    Parameters
    ----------
    upto : str, optional
        Name of a rectifier: only its own form and those of the rectifiers that it depends on are computed.
    absolute : bool
        Compose absolute values instead: every matrix and offset then bounds the sum of the absolute values of all the
        products that the plain form's entry was composed from.

    Raises
    ------
    UnsupportedOperatorError
        If the network holds opaque layers.
    """
    refuse_opaque(network, "the canonical form")
    wanted = {node.name for node in network.nodes} if upto is None else ancestors(network, upto)
    flows: dict[str, AffineForm] = {INPUT: _source(INPUT, network.width(INPUT))}
    forms: dict[str, AffineForm] = {}
    for node in network.nodes:
        if node.name not in wanted:
            continue
        if isinstance(node.layer, Rectifier):
            forms[node.name] = flows[node.inputs[0]]
            flows[node.name] = _source(node.name, network.width(node.name))
        else:
            flows[node.name] = _compose(network, node, [flows[name] for name in node.inputs], absolute)
    return Canonical(forms, flows[network.output] if upto is None else None)


def ancestors(network: Network, name: str) -> set[str]:
    """Return the names of the node `name` and of all nodes that it depends on (`INPUT` left out)."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current != INPUT and current not in found:
            found.add(current)
            waiting.extend(network[current].inputs)
    return found


def rounding(network: Network) -> float:
    """Return gamma such that ``gamma * (absolute form)`` bounds the rounding of the plain form, entry by entry.

    ``gamma_n = n u / (1 - n u)`` with n the number of operations that any entry can have gone through: the terms of all
    affine layers together (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Zero where no two
    layers are composed.
    """
    affine = [node for node in network.nodes if not isinstance(node.layer, Rectifier)]
    if not any(name in network and not isinstance(network[name].layer, Rectifier) for n in affine for name in n.inputs):
        return 0.0
    operations = sum(
        node.layer.terms(network.shape(node.inputs[0])) if isinstance(node.layer, Affine) else len(node.inputs)
        for node in affine
    )
    return operations * UNIT_ROUNDOFF / (1 - operations * UNIT_ROUNDOFF)


def _source(name: str, width: int) -> AffineForm:
    return AffineForm({name: sp.eye_array(width, format="csr")}, np.zeros(width))


def _compose(network: Network, node: Node, inputs: list[AffineForm], absolute: bool) -> AffineForm:
    layer = node.layer
    if isinstance(layer, Affine):
        shape = network.shape(node.inputs[0])
        return _applied(layer, inputs[0], shape, network.shape(node.name), absolute)
    if isinstance(layer, Add):
        return _added(inputs)
    assert isinstance(layer, Concat)
    return _joined(layer, inputs, [network.shape(name) for name in node.inputs])


def _applied(
    layer: Affine, form: AffineForm, shape: tuple[int, ...], out: tuple[int, ...], absolute: bool
) -> AffineForm:
    matrix, offset = layer.matrix(shape), np.broadcast_to(layer.offset(), out).reshape(-1)
    if absolute:
        matrix, offset = abs(matrix), np.abs(offset)
    composed = {name: _product(matrix, own) for name, own in form.matrices.items()}
    return AffineForm(composed, matrix @ form.offset + offset)


def _product(matrix: sp.csr_array, own: sp.csr_array) -> sp.csr_array:
    """Return ``matrix @ own`` without touching a number where `own` is the identity."""
    is_identity = own.shape[0] == own.shape[1] == own.nnz and bool((own.diagonal() == 1.0).all())
    return matrix if is_identity else sp.csr_array(matrix @ own)


def _added(inputs: list[AffineForm]) -> AffineForm:
    total: dict[str, sp.csr_array] = {}
    for form in inputs:
        for name, matrix in form.matrices.items():
            total[name] = total[name] + matrix if name in total else matrix
    return AffineForm(total, np.sum([form.offset for form in inputs], axis=0))


def _joined(layer: Concat, inputs: list[AffineForm], shapes: list[tuple[int, ...]]) -> AffineForm:
    """Stack the forms one below the other, then bring the rows into the C order of the joined array."""
    starts = np.cumsum([0, *(size(shape) for shape in shapes)])
    index = [start + np.arange(size(shape)).reshape(shape) for start, shape in zip(starts, shapes, strict=False)]
    order = np.concatenate(index, axis=layer.axis).reshape(-1)
    names = list(dict.fromkeys(name for form in inputs for name in form.matrices))
    widths = {name: form.matrices[name].shape[1] for form in inputs for name in form.matrices}
    stacked = {
        name: sp.vstack(
            [
                form.matrices.get(name, sp.csr_array((size(shape), widths[name])))
                for form, shape in zip(inputs, shapes, strict=True)
            ],
            format="csr",
        )[order]
        for name in names
    }
    return AffineForm(stacked, np.concatenate([form.offset for form in inputs])[order])
