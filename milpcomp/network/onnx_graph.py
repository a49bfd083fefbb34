"""An ONNX graph under construction: operators, stored numbers and unique names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from milpcomp.errors import NetworkError, SettingsError
from milpcomp.network.graph import INPUT

OUTPUT = "output"
"""Name of the tensor that is the output."""


class Graph:
    """An ONNX graph under construction, with every number in one floating-point type."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise SettingsError(f"an ONNX model is written in float32 or float64, not in {self.dtype}")
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._names = {INPUT, OUTPUT}

    def number(self, label: str, array: NDArray[np.float64]) -> str:
        """Store floating-point numbers and return their tensor's name."""
        with np.errstate(over="ignore"):
            cast = np.asarray(array, dtype=self.dtype)
        if not np.isfinite(cast).all():
            raise NetworkError(f"{label!r} holds numbers beyond the range of {self.dtype}; write the model in float64")
        return self._store(label, cast)

    def indices(self, label: str, values: Sequence[int] | NDArray[np.int64]) -> str:
        """Store whole numbers and return their tensor's name."""
        return self._store(label, np.asarray(values, dtype=np.int64))

    def emit(self, operator: str, inputs: Sequence[str], label: str, **attributes: Any) -> str:
        """Append an operator and return the name of its result, which is `label` unless that is taken."""
        name = self._unique(label)
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def repeated(self, label: str, values: NDArray[np.float64]) -> str:
        """Return a value that is the same for every sample: `values`, as many times as the batch is long."""
        count = self.emit("Shape", [INPUT], f"{label}.count", end=1)
        rest = self.indices(f"{label}.rest", values.shape)
        shape = self.emit("Concat", [count, rest], f"{label}.shape", axis=0)
        return self.emit("Expand", [self.number(f"{label}.value", values), shape], label)

    def _store(self, label: str, array: NDArray[Any]) -> str:
        name = self._unique(label)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def _unique(self, label: str) -> str:
        name, count = label, 1
        while name in self._names:
            count += 1
            name = f"{label}_{count}"
        self._names.add(name)
        return name
