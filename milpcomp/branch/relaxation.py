r"""The triangle relaxation below one layer, as a linear program without binaries.

Columns: the input x; per rectifier unit j below, its pre-activation g_j, and for an unstable unit h_j = max(0, g_j).
Whatever the slopes p, n, the output of unit j is linear in them:

    y_j  =  n g_j + (p - n) h_j         unstable
    y_j  =  p g_j  or  n g_j            stable; without a column where that slope is 0

Rows: the equation of g_j (`milpcomp.network.canonical`), and for unstable units

    h_j >= g_j          h_j <= u (g_j - l) / (u - l)          and h_j >= 0 as a bound of the column

A split changes bounds only, so that the dual simplex goes on from the last basis: active is g_j >= 0 and
h_j - g_j <= 0, inactive is g_j <= 0 and h_j <= 0. Columns and rows are scaled by powers of two so that ranges are about
1: networks trained with l1 hold neurons whose whole range is 1e-6, where a feasibility tolerance of 1e-7 is not small.

This is a floating-point view, for guidance only: what it finds is proved by `milpcomp.bounds.multipliers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from milpcomp.bounds.interval import Interval
from milpcomp.domain import FloatArray
from milpcomp.errors import SolverError
from milpcomp.milp.problem import Milp
from milpcomp.network import INPUT, Network, Rectifier
from milpcomp.network.canonical import AffineForm, canonical
from milpcomp.network.layers import IntArray


@dataclass(frozen=True, eq=False)
class Units:
    """Some units of the rectifiers below the target, by parallel arrays, in order of the rectifiers.

    Parameters
    ----------
    rectifier, unit : ndarray of int, shape (M,)
        Index of the rectifier among all of the network, and the flat unit.
    column : ndarray of int, shape (M,)
        Of g_j. Its equation is row k for the k-th unit.
    scale : ndarray, shape (M,)
        The column stands for g_j / scale.
    """

    rectifier: IntArray
    unit: IntArray
    column: IntArray
    scale: FloatArray


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The program of one layer; the objective is set by `objective`.

    Parameters
    ----------
    milp : Milp
        With no integer columns and no objective.
    inputs : int
        How many columns are inputs; they come first.
    input_scale : ndarray
    live : Units
        All units with a column.
    open : ndarray of int, shape (U,)
        Which of `live` are unstable.
    relu : ndarray of int, shape (U,)
        Column of h_j, for each open unit.
    floor, ceiling : ndarray of int, shape (U,)
        Rows ``h_j >= g_j`` and ``h_j <= chord``.
    intercept : ndarray, shape (U,)
        Height of the chord at 0, in the scale of the column.
    outputs : mapping from source name to csr_array
        Value of the source (`INPUT` or a rectifier) from the columns.
    target : AffineForm
        Pre-activations of the layer.
    """

    milp: Milp
    inputs: int
    input_scale: FloatArray
    live: Units
    open: IntArray
    relu: IntArray
    floor: IntArray
    ceiling: IntArray
    intercept: FloatArray
    outputs: Mapping[str, sp.csr_array]
    target: AffineForm

    def objective(self, unit: int, sign: int, scale: float) -> tuple[FloatArray, float]:
        """Return cost and offset of the objective ``-sign * g_unit / scale``, to be minimised."""
        cost = np.zeros(len(self.milp.cost))
        for name, matrix in self.target.matrices.items():
            cost += (matrix[[unit]] @ self.outputs[name]).toarray()[0]
        return -sign * cost / scale, float(-sign * self.target.offset[unit] / scale)


@np.errstate(all="ignore")  # the problem refuses what is not finite
def relax(network: Network, values: Mapping[str, Interval], layer: str) -> Relaxation:
    """Return the relaxation below the rectifier `layer`, from proved bounds of all nodes.

    Raises
    ------
    SolverError
        If a bound is not finite.
    """
    forms = dict(canonical(network, upto=layer).forms)
    target = forms.pop(layer)
    for name in (INPUT, *(network[below].inputs[0] for below in forms)):
        if not (np.isfinite(values[name].lower) & np.isfinite(values[name].upper)).all():
            raise SolverError(f"the bounds of {name!r} are not finite, so there is no relaxation above it")
    inputs = network.width(INPUT)
    units = _units(network, values, list(forms), inputs)
    live, relu = len(units.unit), inputs + len(units.unit) + np.arange(len(units.open))
    low, high = _column_bounds(values, units)
    scale = powers_of_two(np.maximum(np.abs(low), np.abs(high)))
    scale[relu] = scale[inputs + units.open]
    outputs = _outputs(network, values, forms, units, inputs, relu, len(low))
    equations, right = _equations(forms, units, outputs, inputs, len(low))
    row_scale = 1.0 / scale[inputs : inputs + live]
    equations = sp.diags_array(row_scale) @ equations @ sp.diags_array(scale)
    g = inputs + units.open
    low, high = low / scale, high / scale
    triangles, triangle_low, triangle_high, intercept = _triangles(g, relu, low[g], high[g], len(low))
    milp = Milp(
        cost=np.zeros(len(low)),
        offset=0.0,
        matrix=sp.csr_array(sp.vstack([equations, triangles], format="csr")),
        row_lower=np.concatenate([right * row_scale, triangle_low]),
        row_upper=np.concatenate([right * row_scale, triangle_high]),
        lower=low,
        upper=high,
        integer=np.zeros(len(low), dtype=bool),
    )
    return Relaxation(
        milp=milp,
        inputs=inputs,
        input_scale=scale[:inputs],
        live=Units(units.rectifier, units.unit, inputs + np.arange(live), scale[inputs : inputs + live]),
        open=units.open,
        relu=relu,
        floor=live + 2 * np.arange(len(relu)),
        ceiling=live + 2 * np.arange(len(relu)) + 1,
        intercept=intercept,
        outputs={name: sp.csr_array(matrix @ sp.diags_array(scale)) for name, matrix in outputs.items()},
        target=target,
    )


def _column_bounds(values: Mapping[str, Interval], units: _Found) -> tuple[FloatArray, FloatArray]:
    """Return the bounds of all columns: inputs, pre-activations, and relus of the open ones."""
    box = values[INPUT]
    low, high = (np.concatenate([np.zeros(0), *(bound[side] for bound in units.bounds)]) for side in (0, 1))
    relu_high = high[units.open]
    return (
        np.concatenate([box.lower.reshape(-1), low, np.zeros(len(relu_high))]),
        np.concatenate([box.upper.reshape(-1), high, relu_high]),
    )


def powers_of_two(magnitudes: FloatArray) -> FloatArray:
    """Return for each magnitude a power of two near it; 1 for zero."""
    exponents = np.where(magnitudes > 0, np.log2(np.where(magnitudes > 0, magnitudes, 1.0)), 0.0)
    return np.exp2(np.clip(np.rint(exponents), -200, 200))


@dataclass(frozen=True, eq=False)
class _Found:
    """Which units get a column: by name, as (first, units); and, flat, what `Units` and `Relaxation` hold."""

    by_name: Mapping[str, tuple[int, IntArray]]
    bounds: list[tuple[FloatArray, FloatArray]]
    rectifier: IntArray
    unit: IntArray
    open: IntArray


def _units(network: Network, values: Mapping[str, Interval], layers: list[str], inputs: int) -> _Found:
    index = {node.name: i for i, node in enumerate(network.rectifiers)}
    by_name, bounds, rectifier, unit, unstable = {}, [], [], [], []
    count = 0
    for layer in layers:
        low, high, positive, negative = unit_data(network, values, layer)
        dead = ((high <= 0) & (negative == 0)) | ((low >= 0) & (positive == 0)) | ((positive == 0) & (negative == 0))
        chosen = np.flatnonzero(~dead)
        crossing = (low < 0) & (high > 0) & (positive != negative)
        by_name[layer] = (count, chosen)
        bounds.append((low[chosen], high[chosen]))
        rectifier.append(np.full(len(chosen), index[layer]))
        unit.append(chosen)
        unstable.append(count + np.flatnonzero(crossing[chosen]))
        count += len(chosen)
    empty = [np.zeros(0, dtype=np.int64)]
    joined = (np.concatenate(empty + parts) for parts in (rectifier, unit, unstable))
    return _Found(by_name, bounds, *joined)


def unit_data(
    network: Network, values: Mapping[str, Interval], layer: str
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return lower, upper, positive and negative slope of the units of a rectifier, flat."""
    node = network[layer]
    assert isinstance(node.layer, Rectifier)
    value = values[node.inputs[0]]
    return value.lower.reshape(-1), value.upper.reshape(-1), *node.layer.slopes(value.lower.shape)


def _outputs(
    network: Network,
    values: Mapping[str, Interval],
    forms: Mapping[str, AffineForm],
    units: _Found,
    inputs: int,
    relu: IntArray,
    columns: int,
) -> dict[str, sp.csr_array]:
    """Return the matrices from the (unscaled) columns to the value of each source."""
    found = {INPUT: sp.csr_array(sp.eye_array(inputs, columns, format="csr"))}
    relu_of = dict(zip(units.open.tolist(), relu.tolist(), strict=True))
    for layer in forms:
        first, chosen = units.by_name[layer]
        low, _, positive, negative = (a[chosen] for a in unit_data(network, values, layer))
        place = first + np.arange(len(chosen))
        crossing = np.isin(place, units.open)
        direct = np.where(crossing, negative, np.where(low >= 0, positive, negative))
        rows, cols, data = [chosen], [inputs + place], [direct]
        if crossing.any():
            rows.append(chosen[crossing])
            cols.append(np.array([relu_of[k] for k in place[crossing].tolist()]))
            data.append((positive - negative)[crossing])
        entries = np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))
        matrix = sp.csr_array(sp.coo_array(entries, shape=(network.width(layer), columns)))
        matrix.eliminate_zeros()
        found[layer] = matrix
    return found


def _equations(
    forms: Mapping[str, AffineForm], units: _Found, outputs: Mapping[str, sp.csr_array], inputs: int, columns: int
) -> tuple[sp.csr_array, FloatArray]:
    """Return ``matrix @ columns == right``: a row per live unit, its form minus its column."""
    blocks, right = [sp.csr_array((0, columns))], [np.zeros(0)]
    for layer, form in forms.items():
        first, chosen = units.by_name[layer]
        block = sp.csr_array((len(chosen), columns))
        for name, matrix in form.matrices.items():
            block = block + matrix[chosen] @ outputs[name]
        own = sp.coo_array(
            (np.ones(len(chosen)), (np.arange(len(chosen)), inputs + first + np.arange(len(chosen)))), shape=block.shape
        )
        blocks.append(sp.csr_array(block - own))
        right.append(-form.offset[chosen])
    return sp.csr_array(sp.vstack(blocks, format="csr")), np.concatenate(right)


def _triangles(
    g: IntArray, relu: IntArray, low: FloatArray, high: FloatArray, columns: int
) -> tuple[sp.csr_array, FloatArray, FloatArray, FloatArray]:
    """Return rows h - g >= 0 and h - chord g <= intercept of each unstable unit, alternating, and the intercepts."""
    count = len(g)
    chord = high / (high - low)
    intercept = -chord * low
    rows = np.arange(count)
    data = np.concatenate([np.ones(2 * count), -np.ones(count), -chord])
    where = np.concatenate([2 * rows, 2 * rows + 1, 2 * rows, 2 * rows + 1]), np.concatenate([relu, relu, g, g])
    matrix = sp.csr_array(sp.coo_array((data, where), shape=(2 * count, columns)))
    bounds = np.full(2 * count, -np.inf), np.full(2 * count, np.inf)
    bounds[0][0::2] = 0.0
    bounds[1][1::2] = intercept
    return matrix, *bounds, intercept
