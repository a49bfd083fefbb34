"""The tree of a search while it grows; what is left of it in the end is a `BranchProof`."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from milpcomp.bounds.branch_proof import ROOT, BranchProof
from milpcomp.bounds.curved import Curve
from milpcomp.network.layers import IntArray


@dataclass(eq=False)
class Tree:
    """Nodes by parallel columns, in the order in which they were made; node 0 is the root.

    `closed` holds, per leaf, whether it bounds the objective, and its multipliers; a leaf without any has its bounds
    derived anew. `curves` holds, per curved leaf, how its layer is
    bounded, with curvatures by the columns of the proof.
    """

    parent: array[int] = field(default_factory=lambda: array("i", [-1]))
    layer_of: array[int] = field(default_factory=lambda: array("i", [ROOT]))
    unit_of: array[int] = field(default_factory=lambda: array("i", [0]))
    point: array[float] = field(default_factory=lambda: array("d", [0.0]))
    above: array[int] = field(default_factory=lambda: array("b", [0]))
    closed: dict[int, tuple[bool, NDArray[np.floating] | None]] = field(default_factory=dict)
    curves: dict[int, Curve] = field(default_factory=dict)

    def split(self, node: int, layer: int, unit: int, point: float) -> tuple[int, int]:
        """Give a node two children, and return them: the one below the point, and the one above."""
        first = len(self.parent)
        for above in (False, True):
            self.parent.append(node)
            self.layer_of.append(layer)
            self.unit_of.append(unit)
            self.point.append(point)
            self.above.append(above)
        return first, first + 1

    def close(
        self,
        node: int,
        objective: bool,
        multipliers: NDArray[np.floating] | None = None,
        curve: Curve | None = None,
    ) -> None:
        """Make a node a leaf."""
        self.closed[node] = objective, multipliers
        if curve is not None:
            self.curves[node] = curve

    def path(self, node: int) -> list[int]:
        """Return the nodes from below the root to `node`."""
        found = []
        while node > 0:
            found.append(node)
            node = self.parent[node]
        return found[::-1]

    def proof(self, layer: str, unit: int, sign: int, columns: IntArray) -> BranchProof:
        """Return the finished tree; `columns` (M, 2) says what the multipliers belong to."""
        leaves = sorted(self.closed)
        curved = sorted(self.curves)
        curves = [self.curves[leaf] for leaf in curved]
        given = [multipliers for _, multipliers in (self.closed[leaf] for leaf in leaves)]
        rebound = np.zeros(len(self.parent), dtype=bool)
        rebound[[leaf for leaf, multipliers in zip(leaves, given, strict=True) if multipliers is None]] = True
        return BranchProof(
            layer=layer,
            unit=unit,
            side="upper" if sign > 0 else "lower",
            bound=0.0,
            parent=np.array(self.parent, dtype=np.int32),
            layer_of=np.array(self.layer_of, dtype=np.int32),
            unit_of=np.array(self.unit_of, dtype=np.int32),
            point=np.array(self.point, dtype=np.float64),
            above=np.array(self.above, dtype=bool),
            rebound=rebound,
            leaf=np.array(leaves, dtype=np.int32),
            objective=np.array([self.closed[leaf][0] for leaf in leaves], dtype=bool),
            columns=columns.astype(np.int32).reshape(-1, 2),
            multipliers=_stacked([m for m in given if m is not None]).reshape(len(leaves), -1),
            curved=np.searchsorted(leaves, curved).astype(np.int32),
            curvature=_rows([curve.curvature for curve in curves]),
            diagonal=_rows([curve.diagonal for curve in curves]),
            center=_rows([curve.center for curve in curves]),
        )


def _stacked(rows: list[NDArray[np.floating]]) -> NDArray[np.floating]:
    """Return the rows as one array, in single precision unless a row needs double."""
    return np.array(rows, dtype=np.result_type(np.float32, *{row.dtype for row in rows}))


def _rows(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the rows as one array, of shape (0, 0) if there are none."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1) if rows else np.zeros((0, 0))
