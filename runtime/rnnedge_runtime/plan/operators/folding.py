"""Operators on constants: what the shapes of a call tell, and what is made of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import TypeAlias

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.values import Array

Fold: TypeAlias = "Callable[[Node, Sequence[Array | None]], Sequence[Array]]"

MOST = 1 << 27
"""Elements of a folded constant."""
_DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}


def given(inputs: Sequence[Array | None], index: int) -> Array:
    """Return an input that must be there."""
    if index >= len(inputs) or (array := inputs[index]) is None:
        raise PlanError(f"input {index} is missing")
    return array


def integers(inputs: Sequence[Array | None], index: int) -> list[int] | None:
    """Return an optional input of integers as a list."""
    if index >= len(inputs) or (array := inputs[index]) is None:
        return None
    return [int(item) for item in array.reshape(-1)]


def axes_of(node: Node, inputs: Sequence[Array | None], index: int = 1) -> list[int] | None:
    """Return `axes`, an attribute in older operator sets and an input in newer ones."""
    found = node.get("axes")
    return [int(axis) for axis in found] if found is not None else integers(inputs, index)


def sliced(node: Node, inputs: Sequence[Array | None], rank: int) -> list[tuple[int, slice]]:
    """Return the axis and the slice of each part of a Slice."""
    starts = node.get("starts") or integers(inputs, 1)
    ends = node.get("ends") or integers(inputs, 2)
    if starts is None or ends is None:
        raise PlanError("its starts and ends are missing")
    axes = axes_of(node, inputs, 3) or list(range(len(starts)))
    steps = integers(inputs, 4) or [1] * len(starts)
    parts = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0 and end < -(1 << 30):
            end = None
        parts.append((normal_axis(axis, rank), slice(start, end, step)))
    return parts


def normal_axis(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not -rank <= axis < rank:
        raise PlanError(f"axis {axis} of a tensor with {rank}")
    return axis % rank


def new_shape(node: Node, shape: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that a Reshape to `wanted` gives."""
    sizes = list(wanted)
    if not node.get("allowzero", 0):
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if -1 in sizes:
        rest = prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = prod(shape) // rest
    if min(sizes, default=1) < 0 or prod(sizes) != prod(shape):
        raise PlanError(f"{list(shape)} cannot take the shape {list(wanted)}")
    return tuple(sizes)


def split_sizes(node: Node, inputs: Sequence[Array | None], size: int, count: int) -> list[int]:
    """Return the sizes that a Split gives along its axis."""
    sizes = node.get("split") or integers(inputs, 1)
    if sizes is None:
        each = -(-size // count)
        sizes = [min(each, size - each * index) for index in range(count)]
    if sum(sizes) != size or min(sizes) < 0:
        raise PlanError(f"{size} cannot be split into {sizes}")
    return list(sizes)


def _small(shape: Sequence[int]) -> tuple[int, ...]:
    if min(shape, default=1) < 0 or prod(shape) > MOST:
        raise PlanError(f"a constant of shape {list(shape)} is too large")
    return tuple(shape)


def _constant(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    if "value" in node.attributes:
        return [np.asarray(node.attributes["value"].value)]
    dtypes: dict[str, type] = {name: np.int64 for name in ("value_int", "value_ints")}
    dtypes |= {name: np.float32 for name in ("value_float", "value_floats")}
    for name, dtype in dtypes.items():
        if name in node.attributes:
            return [np.array(node.attributes[name].value, dtype)]
    raise PlanError("a constant of another kind than numbers")


def _constant_of_shape(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    value = node.get("value", np.zeros(1, np.float32))
    return [np.full(_small(integers(inputs, 0) or ()), value.reshape(-1)[0])]


def _gather(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data, indices = given(inputs, 0), given(inputs, 1)
    axis = normal_axis(node.get("axis", 0), data.ndim)
    if indices.size * data.size // max(data.shape[axis], 1) > MOST:
        raise PlanError("a constant is too large")
    return [np.take(data, indices, axis)]


def _slice(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data = given(inputs, 0)
    index = [slice(None)] * data.ndim
    for axis, part in sliced(node, inputs, data.ndim):
        index[axis] = part
    return [data[tuple(index)]]


def _unsqueeze(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.expand_dims(given(inputs, 0), tuple(axes_of(node, inputs) or ()))]


def _squeeze(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    axes = axes_of(node, inputs)
    return [np.squeeze(given(inputs, 0), None if axes is None else tuple(axes))]


def _reshape(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data = given(inputs, 0)
    wanted = node.get("shape") or integers(inputs, 1) or []
    return [data.reshape(new_shape(node, data.shape, wanted))]


def _cast(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [given(inputs, 0).astype(_DTYPES[node.attributes["to"].value])]


def _divide(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    a, b = given(inputs, 0), given(inputs, 1)
    if a.dtype.kind not in "iu":
        return [a / b]
    quotient = np.abs(a) // np.abs(b)  # ONNX rounds toward zero, numpy down
    return [np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)]


def _modulo(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    remainder = np.fmod if node.get("fmod", 0) else np.mod
    return [remainder(given(inputs, 0), given(inputs, 1))]


def _range(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    start, limit, delta = (given(inputs, index).item() for index in range(3))
    _small([max(int(-((limit - start) // -delta)), 0)])
    steps: Array = np.arange(start, limit, delta)
    return [steps.astype(given(inputs, 0).dtype)]


def _expand(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data = given(inputs, 0)
    shape = np.broadcast_shapes(data.shape, tuple(integers(inputs, 1) or ()))
    return [np.ascontiguousarray(np.broadcast_to(data, _small(shape)))]


def _tile(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data, repeats = given(inputs, 0), integers(inputs, 1) or []
    _small([size * times for size, times in zip(data.shape, repeats, strict=True)])
    return [np.tile(data, repeats)]


def _split(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data = given(inputs, 0)
    axis = normal_axis(node.get("axis", 0), data.ndim)
    sizes = split_sizes(node, inputs, data.shape[axis], len(node.outputs))
    return np.split(data, np.cumsum(sizes)[:-1], axis)


def _dequantize(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data, scale = given(inputs, 0), given(inputs, 1)
    if node.get("block_size", 0):
        raise PlanError("weights quantized in blocks")
    zero = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros_like(scale)
    shape = [1] * data.ndim
    if scale.ndim:
        shape[normal_axis(node.get("axis", 1), data.ndim)] = scale.size
    difference = data.astype(np.int32) - zero.astype(np.int32).reshape(shape if scale.ndim else ())
    return [difference.astype(np.float32) * scale.astype(np.float32).reshape(shape)]


def _reduced(function: Callable[..., Array]) -> Fold:
    def fold(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        data, axes = given(inputs, 0), axes_of(node, inputs)
        if not axes and node.get("noop_with_empty_axes", 0):
            return [data]
        keep = bool(node.get("keepdims", 1))
        reduced = function(data, axis=tuple(axes) if axes else None, keepdims=keep)
        return [np.asarray(reduced, data.dtype)]

    return fold


def _each(function: Callable[[Array], Array]) -> Fold:
    return lambda node, inputs: [np.asarray(function(given(inputs, 0)))]


def _both(function: Callable[[Array, Array], Array]) -> Fold:
    def fold(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        a, b = given(inputs, 0), given(inputs, 1)
        _small(np.broadcast_shapes(a.shape, b.shape))
        return [np.asarray(function(a, b))]

    return fold


def _many(function: Callable[[Array, Array], Array]) -> Fold:
    def fold(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        arrays = [given(inputs, index) for index in range(len(inputs))]
        _small(np.broadcast_shapes(*(array.shape for array in arrays)))
        return [np.asarray(reduce(function, arrays))]

    return fold


def _concat(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    arrays = [given(inputs, index) for index in range(len(inputs))]
    return [np.concatenate(arrays, node.attributes["axis"].value)]


def _shape(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [shape_of(node, given(inputs, 0).shape)]


def shape_of(node: Node, shape: Sequence[int]) -> Array:
    """Return what a Shape node gives."""
    part = slice(node.get("start", 0), node.get("end"))
    return np.array(shape[part], np.int64)


def _transpose(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.transpose(given(inputs, 0), node.get("perm"))]


def _where(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    arrays = [given(inputs, index) for index in range(3)]
    _small(np.broadcast_shapes(*(array.shape for array in arrays)))
    return [np.where(*arrays)]


FOLDS: dict[str, Fold] = {
    "Abs": _each(np.abs),
    "Add": _both(np.add),
    "And": _both(np.logical_and),
    "Cast": _cast,
    "Ceil": _each(np.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _divide,
    "Equal": _both(np.equal),
    "Expand": _expand,
    "Floor": _each(np.floor),
    "Gather": _gather,
    "Greater": _both(np.greater),
    "GreaterOrEqual": _both(np.greater_equal),
    "Identity": _each(lambda x: x),
    "Less": _both(np.less),
    "LessOrEqual": _both(np.less_equal),
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Mod": _modulo,
    "Mul": _both(np.multiply),
    "Neg": _each(np.negative),
    "Not": _each(np.logical_not),
    "Or": _both(np.logical_or),
    "Range": _range,
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Reshape": _reshape,
    "Round": _each(np.rint),
    "Shape": _shape,
    "Size": _each(lambda x: np.array(x.size, np.int64)),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _each(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _both(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
