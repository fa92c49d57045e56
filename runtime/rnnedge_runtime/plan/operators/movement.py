"""Operators that move numbers: mostly other views of the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.operators import folding
from rnnedge_runtime.plan.operators.folding import (
    axes_of,
    normal_axis,
    shape_of,
    sliced,
    split_sizes,
)
from rnnedge_runtime.plan.tracer import CAST, FILL, GATHER, Operator, Tracer
from rnnedge_runtime.plan.values import (
    DTYPE_CODE,
    ITEM,
    Array,
    Call,
    Constant,
    Dtype,
    Tensor,
    Value,
    dense_strides,
    is_dense,
    merged,
)


def constants(inputs: Sequence[Value | None]) -> list[Array | None]:
    """Return the inputs that are constants, None for those that the plan computes."""
    return [value.array if isinstance(value, Constant) else None for value in inputs]


def needs_constants(node: Node, inputs: Sequence[Value | None]) -> list[Array | None]:
    """Return all inputs but the first as constants.

    Raises:
        PlanError: When one of them is only known as the plan runs.
    """
    for index, value in enumerate(inputs[1:], 1):
        if isinstance(value, Tensor):
            raise PlanError(f"{node.label}: its input {index} is computed from the data", node.name)
    return constants(inputs)


def transposed(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a view with its axes in another order."""
    if sorted(order) != list(range(len(tensor.shape))):
        raise PlanError(f"an order of axes {list(order)} for {len(tensor.shape)}")
    return replace(
        tensor,
        shape=tuple(tensor.shape[axis] for axis in order),
        strides=tuple(tensor.strides[axis] for axis in order),
    )


def reshaped(tracer: Tracer, tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the elements in another shape: a view where the strides allow one, else a copy."""
    if prod(shape) != tensor.count:
        raise PlanError(f"{list(tensor.shape)} cannot take the shape {list(shape)}")
    strides = _strides_of(tensor, shape)
    if strides is None:
        tensor = tracer.dense(tensor)
    found = dense_strides(shape) if strides is None else tuple(strides)
    return replace(tensor, shape=tuple(shape), strides=found)


def _strides_of(tensor: Tensor, shape: Sequence[int]) -> list[int] | None:
    """Return strides over `shape` of the same elements, or None where none are."""
    if tensor.count == 0:
        return list(dense_strides(shape))
    sizes, (steps,) = merged(tensor.shape, tensor.strides)
    strides: list[int] = [0] * len(shape)
    axis = len(shape) - 1
    for size, step in zip(reversed(sizes), reversed(steps), strict=True):
        left = size
        while left > 1:
            while axis >= 0 and shape[axis] == 1:
                axis -= 1
            if axis < 0 or left % shape[axis]:
                return None
            strides[axis] = step
            step *= shape[axis]
            left //= shape[axis]
            axis -= 1
    return strides


def narrowed(tensor: Tensor, axis: int, part: slice) -> Tensor:
    """Return the view of a slice along one axis."""
    chosen = range(tensor.shape[axis])[part]
    shape, strides = list(tensor.shape), list(tensor.strides)
    shape[axis] = len(chosen)
    offset = tensor.offset + (chosen.start * strides[axis] if len(chosen) else 0)
    strides[axis] *= chosen.step
    return replace(tensor, shape=tuple(shape), strides=tuple(strides), offset=offset)


def expanded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the view that repeats a tensor to `shape`, by strides of zero."""
    lead = len(shape) - len(tensor.shape)
    strides = [0] * lead + [
        0 if size == 1 else step for size, step in zip(tensor.shape, tensor.strides, strict=True)
    ]
    for size, wanted in zip(tensor.shape, shape[lead:], strict=True):
        if size not in (1, wanted):
            raise PlanError(f"{list(tensor.shape)} cannot be repeated to {list(shape)}")
    return replace(tensor, shape=tuple(shape), strides=tuple(strides))


def _transpose(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    return [transposed(tensor, node.get("perm", range(len(tensor.shape))[::-1]))]


def _reshape(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    wanted = node.get("shape") or folding.integers(needs_constants(node, inputs), 1)
    return [reshaped(tracer, tensor, folding.new_shape(node, tensor.shape, wanted or []))]


def _flatten(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    axis = node.get("axis", 1)
    axis += len(tensor.shape) if axis < 0 else 0
    shape = prod(tensor.shape[:axis]), prod(tensor.shape[axis:])
    return [reshaped(tracer, tensor, shape)]


def _squeeze(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    axes = axes_of(node, needs_constants(node, inputs))
    rank = len(tensor.shape)
    if axes is None:
        axes = [axis for axis, size in enumerate(tensor.shape) if size == 1]
    dropped = {normal_axis(axis, rank) for axis in axes}
    if any(tensor.shape[axis] != 1 for axis in dropped):
        raise PlanError(f"{list(tensor.shape)} has no axes {axes} of size 1")
    kept = [axis for axis in range(rank) if axis not in dropped]
    return [
        replace(
            tensor,
            shape=tuple(tensor.shape[axis] for axis in kept),
            strides=tuple(tensor.strides[axis] for axis in kept),
        )
    ]


def _unsqueeze(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    axes = axes_of(node, needs_constants(node, inputs)) or []
    rank = len(tensor.shape) + len(axes)
    new = {normal_axis(axis, rank) for axis in axes}
    sizes, steps = iter(tensor.shape), iter(tensor.strides)
    shape = tuple(1 if axis in new else next(sizes) for axis in range(rank))
    strides = tuple(0 if axis in new else next(steps) for axis in range(rank))
    return [replace(tensor, shape=shape, strides=strides)]


def _slice(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    for axis, part in sliced(node, needs_constants(node, inputs), len(tensor.shape)):
        tensor = narrowed(tensor, axis, part)
    return [tensor]


def _split(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    axis = normal_axis(node.get("axis", 0), len(tensor.shape))
    sizes = split_sizes(node, needs_constants(node, inputs), tensor.shape[axis], len(node.outputs))
    starts = np.cumsum([0, *sizes]).tolist()
    return [
        narrowed(tensor, axis, slice(start, start + size))
        for start, size in zip(starts, sizes, strict=False)
    ]


def _expand(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    wanted = tuple(folding.integers(needs_constants(node, inputs), 1) or ())
    return [expanded(tensor, np.broadcast_shapes(tensor.shape, wanted))]


def _shape(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    return [Constant(shape_of(node, tracer.tensor(inputs[0]).shape), static=False)]


def _size(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    return [Constant(np.array(tracer.tensor(inputs[0]).count, np.int64), static=False)]


def _identity(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    return [tracer.tensor(inputs[0])]


def _dropout(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    training = constants(inputs)[2] if len(inputs) > 2 else None
    if training is not None and training.any():
        raise PlanError(f"{node.label}: drops numbers at random", node.name)
    if len(inputs) > 2 and isinstance(inputs[2], Tensor):
        raise PlanError(f"{node.label}: whether it drops is computed", node.name)
    if len(node.outputs) > 1 and node.outputs[1]:
        raise PlanError(f"{node.label}: gives its mask", node.name)
    return [tracer.tensor(inputs[0])]


def _cast(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.tensor(inputs[0])
    targets: dict[int, Dtype] = {1: "float32", 10: "float32", 6: "int64", 7: "int64", 9: "bool"}
    wanted = targets.get(node.attributes["to"].value)
    if wanted is None:
        raise PlanError(f"{node.label}: casts to what the native engine does not compute")
    if wanted == tensor.dtype:
        return [tensor]
    source = tracer.dense(tensor)
    made = tracer.new(source.shape, wanted)
    kind = DTYPE_CODE[source.dtype] * 3 + DTYPE_CODE[wanted]
    tracer.emit(Call(CAST, kind, (source.count,), (source.place, made.place), work=source.count))
    return [made]


def _concat(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    parts = [tracer.tensor(value) for value in inputs]
    applied = {part.applied for part in parts}
    if len(applied) != 1 or len({part.dtype for part in parts}) != 1:
        raise PlanError(f"{node.label}: joins tensors of different kinds")
    axis = normal_axis(node.attributes["axis"].value, len(parts[0].shape))
    joined = joined_along(tracer, parts, axis)
    return [replace(joined, applied=parts[0].applied)]


def joined_along(tracer: Tracer, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Return tensors one after the other along an axis; what can is made in its place."""
    first = parts[0]
    shape = list(first.shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    for part in parts:
        if [*part.shape[:axis], *part.shape[axis + 1 :]] != [*shape[:axis], *shape[axis + 1 :]]:
            raise PlanError("joins tensors whose other axes differ")
    joined = tracer.new(shape, first.dtype)
    at = 0
    for part in parts:
        place = narrowed(joined, axis, slice(at, at + part.shape[axis]))
        at += part.shape[axis]
        if part.count == 0 or _made_in_place(part, place):
            continue
        tracer.copy(part, place)
    return joined


def _made_in_place(part: Tensor, place: Tensor) -> bool:
    buffer = part.buffer
    if (
        buffer.home != "arena"
        or buffer.parent is not None
        or not part.is_dense
        or part.offset
        or buffer.size != part.count * ITEM[part.dtype]
        or not is_dense(place.shape, place.strides)
    ):
        return False
    buffer.parent = (place.buffer, place.offset * ITEM[place.dtype])
    return True


def _gather(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    data, indices = inputs[0], inputs[1]
    tensor = tracer.tensor(data)
    axis = normal_axis(node.get("axis", 0), len(tensor.shape))
    if isinstance(indices, Constant):
        return [_picked(tracer, tensor, axis, indices.array)]
    return [_looked_up(tracer, node, tensor, axis, tracer.tensor(indices))]


def _picked(tracer: Tracer, tensor: Tensor, axis: int, indices: Array) -> Tensor:
    """Return entries whose numbers are known now."""
    size = tensor.shape[axis]
    numbers = [int(number) for number in indices.reshape(-1)]
    if any(not -size <= number < size for number in numbers):
        raise PlanError(f"an index of {numbers} into {size}")
    numbers = [number % size for number in numbers]
    shape = tensor.shape
    if indices.ndim == 0:
        part = narrowed(tensor, axis, slice(numbers[0], numbers[0] + 1))
        strides = part.strides
        return replace(
            part,
            shape=shape[:axis] + shape[axis + 1 :],
            strides=strides[:axis] + strides[axis + 1 :],
        )
    steps = {after - before for before, after in pairwise(numbers)}
    if len(numbers) > 1 and len(steps) == 1 and (step := steps.pop()):
        end = numbers[-1] + (1 if step > 0 else -1)
        part = narrowed(tensor, axis, slice(numbers[0], None if end < 0 else end, step))
    elif numbers:
        parts = [narrowed(tensor, axis, slice(number, number + 1)) for number in numbers]
        part = parts[0] if len(parts) == 1 else joined_along(tracer, parts, axis)
    else:
        part = narrowed(tensor, axis, slice(0, 0))
    return reshaped(tracer, part, shape[:axis] + indices.shape + shape[axis + 1 :])


def _looked_up(tracer: Tracer, node: Node, table: Tensor, axis: int, indices: Tensor) -> Tensor:
    """Return rows of a table whose numbers come as the plan runs."""
    if axis or table.dtype != "float32" or indices.dtype != "int64":
        raise PlanError(f"{node.label}: takes along axis {axis} by numbers that are computed")
    rows, rest = table.shape[0], table.shape[1:]
    table = reshaped(tracer, table, (rows, table.count // max(rows, 1)))
    if table.strides[1] != 1 and table.shape[1] != 1:
        table = tracer.dense(table)
    indices = tracer.dense(indices)
    made = tracer.new((*indices.shape, *rest))
    tracer.emit(
        Call(
            GATHER,
            0,
            (indices.count, table.shape[1], rows),
            (table.place, indices.place, made.place),
            (table.strides[0],),
            work=made.count // 4,
        )
    )
    return made


def _pad(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.floats(inputs[0])
    known = needs_constants(node, inputs)
    if node.get("mode", "constant") != "constant":
        raise PlanError(f"{node.label}: pads with something other than a constant")
    pads = node.get("pads") or folding.integers(known, 1) or []
    value = float(node.get("value", 0.0))
    if len(known) > 2 and (array := known[2]) is not None:
        value = float(array.reshape(-1)[0])
    rank = len(tensor.shape)
    axes = folding.integers(known, 3) or list(range(rank))
    around = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        around[normal_axis(axis, rank)] = (pads[index], pads[index + len(axes)])
    return [padded(tracer, tensor, around, value)]


def padded(
    tracer: Tracer, tensor: Tensor, around: Sequence[tuple[int, int]], value: float = 0.0
) -> Tensor:
    """Return a dense copy with so many numbers before and after along each axis, or fewer."""
    for axis, (before, after) in enumerate(around):
        size = tensor.shape[axis]
        tensor = narrowed(tensor, axis, slice(max(-before, 0), size - max(-after, 0)))
    around = [(max(before, 0), max(after, 0)) for before, after in around]
    sizes = zip(tensor.shape, around, strict=True)
    made = tracer.new(size + before + after for size, (before, after) in sizes)
    fill = Call(FILL, 0, (made.count,), (made.place,), numbers=(value, 0.0), work=made.count // 4)
    tracer.emit(fill)
    inner = made
    for axis, (before, _) in enumerate(around):
        inner = narrowed(inner, axis, slice(before, before + tensor.shape[axis]))
    tracer.copy(tensor, inner)
    return made


OPERATORS: dict[str, Operator] = {
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
