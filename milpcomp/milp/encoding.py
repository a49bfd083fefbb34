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
"scaled" quantities below are in these units. Inputs keep their own units where these are sensible, and are else columns
u with ``x = shift + scale * u`` (`milpcomp.milp.rows`).

The rows are those of the *canonical form* (`milpcomp.network.canonical`), which is rounded where affine layers were
composed; `milpcomp.milp.margin` says what that, and the solver's tolerances, may amount to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from milpcomp.bounds.tighten import Bounds
from milpcomp.domain import Box, FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.builder import Builder, diagonal, entries
from milpcomp.milp.problem import Milp
from milpcomp.milp.rows import Block, Rows, input_units, scaled, translated
from milpcomp.network import Network, Rectifier
from milpcomp.network.canonical import AffineForm, Canonical, canonical
from milpcomp.network.layers import IntArray


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
        return translated(form, self.blocks, self.shift, self.scale, len(self.milp.cost), absolute)

    def pre_activation_rows(self, layer: str, units: IntArray) -> Rows:
        """Return the scaled pre-activations of `units` of `layer` as functions of the columns below the layer.

        Raises
        ------
        SolverError
            If one of them has no finite proved bounds.
        """
        low, high = (bound[units] for bound in pre_activation_bounds(self.network, self.bounds, layer))
        _check_finite(layer, units, low, high)
        return scaled(self.rows(self.forms.forms[layer].take(units)), low, high)

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
    shift, scale, lower, upper = input_units(domain)
    builder, blocks = Builder(), dict[str, Block]()
    builder.add_columns((f"x[{i}]" for i in range(len(lower))), lower, upper)
    for layer, form in forms.forms.items():
        chosen = np.arange(network.width(layer)) if layer != upto else units
        if chosen is not None:
            below = translated(form.take(chosen), blocks, shift, scale, builder.columns)
            blocks[layer] = _add_layer(builder, network, bounds, layer, np.asarray(chosen), below)
    return Encoding(network, domain, bounds, builder.milp(), blocks, shift, scale, forms, upto)


def _add_layer(builder: Builder, network: Network, bounds: Bounds, layer: str, units: IntArray, below: Rows) -> Block:
    """Add neurons with pre-activations `below`: the columns h, hbar and z, and their rows."""
    low, high = (bound[units] for bound in pre_activation_bounds(network, bounds, layer))
    _check_finite(layer, units, low, high)
    rows = scaled(below, low, high)
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


def _check_finite(layer: str, units: IntArray, lower: FloatArray, upper: FloatArray) -> None:
    loose = ~(np.isfinite(lower) & np.isfinite(upper) & (lower <= upper))
    if loose.any():
        raise SolverError(
            f"{int(loose.sum())} neurons of {layer!r} (first: unit {int(units[loose][0])}) have no finite proved "
            "bounds, so they have no big-M; shrink the domain or rescale the network"
        )
