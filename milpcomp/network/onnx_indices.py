"""ONNX operators that only move numbers: every one is a `Reshape`, a `Permute`, a `Take` or a `Concat`.

Axes and shapes here are full ONNX ones, at batch size one; `Draft` translates them to samples. Definitions: the ONNX
operator reference, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milpcomp.network.affine import Scale
from milpcomp.network.index_maps import Permute, Take
from milpcomp.network.layers import size
from milpcomp.network.onnx_arithmetic import Rule
from milpcomp.network.onnx_draft import Call, Draft, Operand, Unsupported, Value


def flatten(draft: Draft, call: Call) -> Value:
    """All axes before `axis` as one, and all others as one."""
    value = call.value()
    axis = call.attributes.get("axis", 1)
    return draft.reshape(call.label, value, (size(value.shape[:axis]), size(value.shape[axis:])))


def reshape(draft: Draft, call: Call) -> Value:
    """Reshape to a constant shape: 0 keeps a length (unless `allowzero`), -1 takes what is left."""
    value = call.value()
    wanted = [int(n) for n in call.constant(1, "shape")]
    if not call.attributes.get("allowzero", 0):
        wanted = [value.shape[axis] if n == 0 else n for axis, n in enumerate(wanted)]
    if -1 in wanted:
        known = size(tuple(n for n in wanted if n != -1))
        wanted[wanted.index(-1)] = size(value.shape) // known if known else 0
    if size(tuple(wanted)) != size(value.shape):
        raise Unsupported(f"{value.shape} does not reshape to {wanted} at batch size 1: export with an open batch axis")
    return draft.reshape(call.label, value, tuple(wanted))


def squeeze(draft: Draft, call: Call) -> Value:
    """Without the given axes of length 1, or without all of them."""
    value = call.value()
    axes = call.option("axes", 1)
    gone = {a % len(value.shape) for a in axes} if axes else {a for a, n in enumerate(value.shape) if n == 1}
    return draft.reshape(call.label, value, tuple(n for axis, n in enumerate(value.shape) if axis not in gone))


def unsqueeze(draft: Draft, call: Call) -> Value:
    """With new axes of length 1."""
    value = call.value()
    axes = call.option("axes", 1) or []
    new = {axis % (len(value.shape) + len(axes)) for axis in axes}
    lengths = iter(value.shape)
    return draft.reshape(
        call.label, value, tuple(1 if axis in new else next(lengths) for axis in range(len(value.shape) + len(axes)))
    )


def transpose(draft: Draft, call: Call) -> Value:
    """Axes in another order; where only axes of length 1 move, the numbers stay."""
    value = call.value()
    axes = tuple(call.attributes.get("perm", range(len(value.shape))[::-1]))
    shape = tuple(value.shape[axis] for axis in axes)
    long = [axis for axis in axes if value.shape[axis] != 1]
    if long == sorted(long):
        return draft.reshape(call.label, value, shape)
    if axes[0] == 0 and value.sample != value.shape:
        return draft.apply(call.label, Permute(tuple(axis - 1 for axis in axes[1:])), value, shape=shape)
    return draft.apply(call.label, Permute(axes), value, value.shape, shape)


def pad(draft: Draft, call: Call) -> Value:
    """Padding by a constant, by the edge, by reflection or around; negative padding crops."""
    value = call.value()
    before_after = call.option("pads", 1) or []
    axes = call.option("axes", 3) or list(range(len(value.shape)))
    mode = call.attributes.get("mode", "constant")
    indices: list[Any] = [None] * len(value.shape)
    for axis, before, after in zip(axes, before_after[: len(axes)], before_after[len(axes) :], strict=True):
        if before or after:
            indices[axis] = _padded(value.shape[axis], before, after, mode)
    result = draft.take(call.label, value, indices)
    fill = (call.option("value", 2) or [0.0])[0] if mode == "constant" else 0.0
    if fill == 0 or result is value:
        return result
    outside = Take(indices).linear(np.ones((1, *value.shape)))[0] == 0
    return draft.apply(call.label, Scale(1.0, np.where(outside, fill, 0.0).reshape(result.sample)), result)


def crop(draft: Draft, call: Call) -> Value:
    """Slice: from start to end in steps, along some axes."""
    value = call.value()
    starts, ends = call.option("starts", 1) or [], call.option("ends", 2) or []
    axes = call.option("axes", 3) or list(range(len(starts)))
    steps = call.option("steps", 4) or [1] * len(starts)
    indices: list[Any] = [None] * len(value.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen = range(*slice(start, end, step).indices(value.shape[axis]))
        if chosen != range(value.shape[axis]):
            indices[axis] = np.array(chosen, dtype=np.int64)
    return draft.take(call.label, value, indices)


def gather(draft: Draft, call: Call) -> Value:
    """Constant indices along one axis, which the axes of the indices replace."""
    value = call.value()
    axis = call.attributes.get("axis", 0) % len(value.shape)
    index = call.constant(1, "index")
    length = value.shape[axis]
    if index.size and not (index.min() >= -length and index.max() < length):
        raise Unsupported(f"indices {index.min()} .. {index.max()} do not fit axis {axis} of {value.shape}")
    chosen: list[Any] = [None] * len(value.shape)
    chosen[axis] = np.where(index < 0, index + length, index).reshape(-1)
    taken = draft.take(call.label, value, chosen)
    return draft.reshape(call.label, taken, value.shape[:axis] + index.shape + value.shape[axis + 1 :])


def split(draft: Draft, call: Call) -> list[Operand]:
    """Consecutive parts of one axis, as many as there are outputs."""
    value = call.value()
    axis = call.attributes.get("axis", 0) % len(value.shape)
    part = -(-value.shape[axis] // call.outputs)  # the last part may be shorter
    sizes = call.option("split", 1) or [part] * call.outputs
    stops = np.minimum(np.cumsum(sizes), value.shape[axis])
    indices: list[Any] = [None] * len(value.shape)
    parts: list[Operand] = []
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        indices[axis] = np.arange(start, stop)
        parts.append(draft.take(call.label, value, indices))
    return parts


def concat(draft: Draft, call: Call) -> Value:
    """Values and constants joined along one axis."""
    operands = [operand for operand in call.inputs if operand is not None]
    values = [draft.fixed(call.label, one) if isinstance(one, np.ndarray) else one for one in operands]
    return draft.join(call.label, values, call.attributes["axis"] % len(values[0].shape))


def expand(draft: Draft, call: Call) -> Value:
    """Repetition to a constant shape."""
    value = call.value()
    wanted = tuple(int(n) for n in call.constant(1, "shape"))
    return draft.expand(call.label, value, np.broadcast_shapes(value.shape, wanted))


def shape_of(draft: Draft, call: Call) -> NDArray[np.int64]:
    """The shape of a value, which is a constant at batch size one."""
    lengths = call.value().shape
    return np.array(lengths[call.attributes.get("start", 0) : call.attributes.get("end", len(lengths))], dtype=np.int64)


def _padded(length: int, before: int, after: int, mode: str) -> NDArray[np.int64]:
    """Return the indices of an axis of `length` after padding; -1 stands for the constant."""
    kept = np.arange(max(0, -before), length - max(0, -after))
    added = (max(0, before), max(0, after))
    if mode == "constant":
        return np.pad(kept, added, constant_values=-1)
    if mode not in {"edge", "reflect", "wrap"}:
        raise Unsupported(f"mode={mode}")
    return np.pad(kept, added, mode)  # type: ignore[call-overload]


RULES: dict[str, Rule] = {
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Pad": pad,
    "Slice": crop,
    "Gather": gather,
    "Split": split,
    "Concat": concat,
    "Expand": expand,
    "Shape": shape_of,
}
"""The operators of this module, by ONNX name."""
