"""A rectifier network as the rows of a mixed-integer linear problem.

For a neuron with pre-activation g = W y + b, proved bounds ``lower <= g <= upper`` and slopes (positive, negative):

    W y + b  =  h - hbar                        h is the positive part of g, hbar the negative part
    0 <= h    <= H z            H    =  upper   big-M per neuron and side, from proved bounds; there is no default
    0 <= hbar <= Hbar (1 - z)   Hbar = -lower
    z in {0, 1}                                 1 where the neuron is active
    post-activation  =  positive * h - negative * hbar

with ReLU's slopes (1, 0) the formulation of Serra, Kumar and Ramalingam (arXiv 2102.07804, section 3). Where the bounds
prove lower >= 0 (or upper <= 0), hbar (or h) is fixed to 0 and there is no z.

*Scaling.* Row, h and hbar of a neuron are divided by a power of two near max(|lower|, |upper|), which is exact and
makes its range O(1): to a solver with a tolerance of 1e-6, a neuron whose whole range is 1e-6 would be noise. All
"scaled" quantities below are in these units. Inputs keep their own units where these are sensible (`_input_units`), and
are else columns u with ``x = shift + scale * u``.

The rows are those of the *canonical form* (`milpcomp.network.canonical`), which is rounded where affine layers were
composed; `milpcomp.milp.margin` says what that, and the solver's tolerances, may amount to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from milpcomp.bounds.tighten import Bounds
from milpcomp.domain import Box, FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.builder import Builder, diagonal, entries
from milpcomp.milp.problem import Milp
from milpcomp.network import INPUT, Network, Rectifier
from milpcomp.network.canonical import AffineForm, Canonical, canonical
from milpcomp.network.layers import IntArray

NATURAL_RANGE = 16.0
"""Inputs with ``|x| <= NATURAL_RANGE`` and a range of 0, or at least 1 / NATURAL_RANGE, keep their own units."""

LEAST_SCALE = 2.0**-20
"""A row is divided by at least this times its largest coefficient: where large terms cancel, scaling has to end."""


@dataclass(frozen=True, eq=False)
class Block:
    """Where the neurons of one layer live: parallel arrays over its encoded units.

    Parameters
    ----------
    units : ndarray of int, shape (k,)
        Ascending.
    h, hbar : ndarray of int, shape (k,)
        Columns.
    z : ndarray of int, shape (k,)
        Columns; -1 where bounds prove the neuron stable.
    h_row, hbar_row : ndarray of int, shape (k,)
        The rows ``h - H z <= 0`` and ``hbar + Hbar z <= Hbar``; -1 where there is no z.
    scale : ndarray, shape (k,)
        Powers of two: pre-activation = scale * (h - hbar).
    positive, negative : ndarray, shape (k,)
        Slopes.
    """

    units: IntArray
    h: IntArray
    hbar: IntArray
    z: IntArray
    h_row: IntArray
    hbar_row: IntArray
    scale: FloatArray
    positive: FloatArray
    negative: FloatArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Affine functions of the columns: ``scale * (matrix @ columns + constant)``, with a scale for each row."""

    matrix: sp.csr_array
    constant: FloatArray
    scale: FloatArray


@dataclass(frozen=True, eq=False)
class Encoding:
    """A network (or the part below a layer) as a `Milp` without objective.

    Parameters
    ----------
    network : Network
    domain : Box
    bounds : Bounds
        The proved bounds that the big-Ms come from.
    milp : Milp
        Columns: the inputs in C order, then per layer h, hbar and z.
    blocks : mapping from rectifier name to Block
    shift, scale : ndarray, shape (inputs,)
        ``x = shift + scale * columns``.
    forms : Canonical
    upto : str or None
        The layer that the encoding leads up to; None for a whole network.
    """

    network: Network
    domain: Box
    bounds: Bounds
    milp: Milp
    blocks: Mapping[str, Block]
    shift: FloatArray
    scale: FloatArray
    forms: Canonical
    upto: str | None

    def rows(self, form: AffineForm, absolute: bool = False) -> Rows:
        """Return an affine form over input and encoded rectifiers as a function of the columns.

        With `absolute`, the absolute values of all products, for bounding their rounding.
        """
        return _rows(form, self.blocks, self.shift, self.scale, len(self.milp.cost), absolute)

    def pre_activation_rows(self, layer: str, units: IntArray) -> Rows:
        """Return the scaled pre-activations of `units` of `layer` as functions of the columns below the layer.

        Raises
        ------
        SolverError
            If one of them has no finite proved bounds.
        """
        low, high = (bound[units] for bound in pre_activation_bounds(self.network, self.bounds, layer))
        _check_finite(layer, units, low, high)
        return _scaled(self.rows(self.forms.forms[layer].take(units)), low, high)

    def neuron(self, layer: str, unit: int, sign: int) -> Milp:
        """Return the problem of minimising ``-sign * pre-activation``, scaled, of one neuron."""
        row = self.pre_activation_rows(layer, np.array([unit]))
        cost = -sign * row.matrix.toarray()[0]
        return replace(self.milp, cost=cost, offset=float(-sign * row.constant[0]))

    def inputs(self, columns: FloatArray) -> FloatArray:
        """Return the network input (input_shape) of a column vector, moved into the domain."""
        x = self.shift + self.scale * columns[: len(self.scale)]
        return self.domain.clip(x.reshape(self.network.input_shape))

    def complete(self, x: FloatArray) -> FloatArray:
        """Return the column vector of a network input x (input_shape), by a forward pass."""
        columns = np.zeros(len(self.milp.cost))
        columns[: len(self.scale)] = (x.reshape(-1) - self.shift) / self.scale
        values = self.network.pre_activations(x[None])
        for layer, block in self.blocks.items():
            g = values[layer][0, block.units] / block.scale
            columns[block.h], columns[block.hbar] = np.maximum(g, 0.0), np.maximum(-g, 0.0)
            binary = block.z >= 0
            columns[block.z[binary]] = g[binary] > 0
        return columns

    def pre_activations(self, columns: FloatArray) -> dict[str, FloatArray]:
        """Return the pre-activations of the encoded units, by layer, that a column vector claims."""
        return {layer: b.scale * (columns[b.h] - columns[b.hbar]) for layer, b in self.blocks.items()}

    def output(self, columns: FloatArray) -> FloatArray:
        """Return the network's output (output_shape) that a column vector claims; only of a whole network."""
        if self.forms.output is None:
            raise SolverError("an encoding up to a rectifier has no network output; encode without `upto`")
        rows = self.rows(self.forms.output)
        return np.asarray(rows.matrix @ columns + rows.constant).reshape(self.network.output_shape)

    def fix_input(self, milp: Milp, x: FloatArray) -> Milp:
        """Return `milp` (this encoding's, possibly with more columns) with the input fixed to x."""
        lower, upper, count = milp.lower.copy(), milp.upper.copy(), len(self.scale)
        lower[:count] = upper[:count] = (x.reshape(-1) - self.shift) / self.scale
        return replace(milp, lower=lower, upper=upper)


def encode(
    network: Network, bounds: Bounds, domain: Box, upto: str | None = None, units: IntArray | None = None
) -> Encoding:
    """Return the encoding of `network` over `domain`.

    Parameters
    ----------
    bounds : Bounds
        Proved for this network and domain.
    domain : Box
        Of the network's input shape.
    upto : str, optional
        Name of a rectifier. Only the layers that it depends on are encoded; its own pre-activations are then available
        as objectives.
    units : ndarray of int, optional
        Ascending. Units of the layer `upto` that are encoded as neurons as well.

    Raises
    ------
    SolverError
        If a neuron has no finite proved bounds: there is no default big-M.
    """
    forms = canonical(network, upto)
    shift, scale, lower, upper = _input_units(domain)
    builder, blocks = Builder(), dict[str, Block]()
    builder.add_columns((f"x[{i}]" for i in range(len(lower))), lower, upper)
    for layer, form in forms.forms.items():
        chosen = np.arange(network.width(layer)) if layer != upto else units
        if chosen is not None:
            below = _rows(form.take(chosen), blocks, shift, scale, builder.columns)
            blocks[layer] = _add_layer(builder, network, bounds, layer, np.asarray(chosen), below)
    return Encoding(network, domain, bounds, builder.milp(), blocks, shift, scale, forms, upto)


def _add_layer(builder: Builder, network: Network, bounds: Bounds, layer: str, units: IntArray, below: Rows) -> Block:
    """Add neurons with pre-activations `below`: the columns h, hbar and z, and their rows."""
    low, high = (bound[units] for bound in pre_activation_bounds(network, bounds, layer))
    _check_finite(layer, units, low, high)
    rows = _scaled(below, low, high)
    low, high = low / rows.scale, high / rows.scale
    h = builder.add_columns(_names("h", layer, units), np.maximum(low, 0.0), np.maximum(high, 0.0))
    hbar = builder.add_columns(_names("hbar", layer, units), np.maximum(-high, 0.0), np.maximum(-low, 0.0))
    affine = [entries(rows.matrix), diagonal(h, -1.0), diagonal(hbar, 1.0)]
    builder.add_rows(affine, -rows.constant, -rows.constant)  # W y - h + hbar = -b
    unstable = np.flatnonzero((low < 0) & (high > 0))
    zeros, free = np.zeros(len(unstable)), np.full(len(unstable), -np.inf)
    z, h_row, hbar_row = (np.full(len(units), -1) for _ in range(3))
    z[unstable] = builder.add_columns(_names("z", layer, units[unstable]), zeros, zeros + 1.0, integer=True)
    big, bar = high[unstable], -low[unstable]
    h_row[unstable] = builder.add_rows([diagonal(h[unstable], 1.0), diagonal(z[unstable], -big)], free, zeros)
    hbar_row[unstable] = builder.add_rows([diagonal(hbar[unstable], 1.0), diagonal(z[unstable], bar)], free, bar)
    rectifier = network[layer].layer
    assert isinstance(rectifier, Rectifier)
    positive, negative = (slope[units] for slope in rectifier.slopes(network.shape(layer)))
    return Block(units, h, hbar, z, h_row, hbar_row, rows.scale, positive, negative)


def _names(kind: str, layer: str, units: IntArray) -> Iterable[str]:
    return (f"{kind}[{layer},{unit}]" for unit in units)


def pre_activation_bounds(network: Network, bounds: Bounds, layer: str) -> tuple[FloatArray, FloatArray]:
    """Return the proved (lower, upper) of the pre-activations of a rectifier, flat."""
    interval = bounds.values[network[layer].inputs[0]]
    return interval.lower.reshape(-1), interval.upper.reshape(-1)


def _scaled(rows: Rows, lower: FloatArray, upper: FloatArray) -> Rows:
    """Return rows divided by powers of two: ranges of order one, but no coefficient above 1 / LEAST_SCALE."""
    largest = LEAST_SCALE * abs(rows.matrix).max(axis=1).toarray().reshape(-1) if rows.matrix.shape[1] else 0.0
    scale = powers_of_two(np.maximum(np.maximum(np.abs(lower), np.abs(upper)), largest))
    return Rows(sp.csr_array(sp.diags_array(1 / scale) @ rows.matrix), rows.constant / scale, scale)


def powers_of_two(magnitude: FloatArray) -> FloatArray:
    """Return 2^k with ``2^(k-1) <= magnitude < 2^k``, k kept within +-500; 1 for a magnitude of zero."""
    exponent = np.frexp(magnitude)[1].clip(-500, 500)
    return np.where(magnitude > 0, np.ldexp(1.0, exponent), 1.0)


def _input_units(domain: Box) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return (shift, scale, lower, upper) of the input columns: natural units where sensible, else [0, about 1]."""
    low, high = domain.lower.reshape(-1), domain.upper.reshape(-1)
    width = high - low
    natural = (np.maximum(np.abs(low), np.abs(high)) <= NATURAL_RANGE) & ((width == 0) | (width >= 1 / NATURAL_RANGE))
    shift = np.where(natural, 0.0, low)
    scale = np.where(natural, 1.0, powers_of_two(width))
    return shift, scale, (low - shift) / scale, (high - shift) / scale


def _rows(
    form: AffineForm,
    blocks: Mapping[str, Block],
    shift: FloatArray,
    scale: FloatArray,
    columns: int,
    absolute: bool = False,
) -> Rows:
    sign = np.abs if absolute else np.asarray
    matrix = sp.csr_array((len(form.offset), columns))
    constant = form.offset
    for name, part in form.matrices.items():
        if name == INPUT:
            matrix = matrix + _spread(part, np.arange(len(scale)), scale, columns)
            constant = constant + part @ sign(shift)
        else:
            block = blocks[name]
            matrix = matrix + _spread(part, block.h, sign(block.positive * block.scale), columns)
            matrix = matrix + _spread(part, block.hbar, sign(-block.negative * block.scale), columns)
    return Rows(matrix, constant, np.ones(len(constant)))


def _spread(part: sp.csr_array, targets: IntArray, factors: FloatArray, columns: int) -> sp.csr_array:
    """Return `part` with column j multiplied by ``factors[j]`` and moved to column ``targets[j]``."""
    moved = sp.csr_array(
        (part.data * factors[part.indices], targets[part.indices], part.indptr.copy()), (part.shape[0], columns)
    )
    moved.eliminate_zeros()  # in place, the row pointers too
    return moved


def _check_finite(layer: str, units: IntArray, lower: FloatArray, upper: FloatArray) -> None:
    loose = ~(np.isfinite(lower) & np.isfinite(upper) & (lower <= upper))
    if loose.any():
        raise SolverError(
            f"{int(loose.sum())} neurons of {layer!r} (first: unit {int(units[loose][0])}) have no finite proved "
            "bounds, so they have no big-M; shrink the domain or rescale the network"
        )
