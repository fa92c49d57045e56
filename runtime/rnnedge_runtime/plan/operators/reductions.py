"""Operators over a whole axis: means and maxima, softmax, layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.operators.arithmetic import (
    MULTIPLY,
    SQUARE_ROOT,
    activated,
    by_memory,
    combined,
)
from rnnedge_runtime.plan.operators.folding import axes_of, normal_axis
from rnnedge_runtime.plan.operators.movement import constants, needs_constants, transposed
from rnnedge_runtime.plan.tracer import NORMALIZE, REDUCE, SOFTMAX, Operator, Tracer
from rnnedge_runtime.plan.values import Call, Tensor, Value

_SUM, _MEAN, _MAX, _MIN = range(4)


def reduced(tracer: Tracer, tensor: Tensor, axis: int, kind: int) -> Tensor:
    """Return a tensor with one axis reduced to size 1."""
    if tensor.shape[axis] == 0:
        raise PlanError("an empty axis is reduced")
    order = by_memory(tensor)
    inside = transposed(tensor, order)
    if not inside.is_dense:
        inside, order = tracer.dense(tensor), list(range(len(tensor.shape)))
    at = order.index(axis)
    outer, size, inner = (
        prod(inside.shape[:at]),
        inside.shape[at],
        prod(inside.shape[at + 1 :]),
    )
    shape = list(inside.shape)
    shape[at] = 1
    made = tracer.new(shape)
    tracer.emit(
        Call(
            REDUCE,
            kind,
            (outer, size, inner),
            (inside.place, made.place),
            (size * inner, inner),
            work=inside.count,
        )
    )
    return transposed(made, np.argsort(order).tolist())


def _reduce(kind: int) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        tensor = tracer.floats(inputs[0])
        rank = len(tensor.shape)
        axes = axes_of(node, needs_constants(node, inputs))
        if not axes:
            if node.get("noop_with_empty_axes", 0):
                return [tensor]
            axes = list(range(rank))
        dropped = {normal_axis(axis, rank) for axis in axes}
        for axis in sorted(dropped):
            tensor = reduced(tracer, tensor, axis, kind)
        if node.get("keepdims", 1):
            return [tensor]
        kept = [axis for axis in range(rank) if axis not in dropped]
        return [
            replace(
                tensor,
                shape=tuple(tensor.shape[axis] for axis in kept),
                strides=tuple(tensor.strides[axis] for axis in kept),
            )
        ]

    return lay_out


def _reduce_l2(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.floats(inputs[0])
    squares = combined(tracer, MULTIPLY, tensor, tensor)
    (sums,) = _reduce(_SUM)(tracer, node, [squares, *inputs[1:]])
    return [activated(tracer, tracer.floats(sums), SQUARE_ROOT)]


def _global_pool(kind: int) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        tensor = tracer.floats(inputs[0])
        for axis in range(2, len(tensor.shape)):
            tensor = reduced(tracer, tensor, axis, kind)
        return [tensor]

    return lay_out


def _softmax(*, logarithm: bool) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        tensor = tracer.floats(inputs[0])
        rank = len(tensor.shape)
        axis = normal_axis(node.get("axis", -1), rank)
        order = [other for other in range(rank) if other != axis] + [axis]
        inside = tracer.dense(transposed(tensor, order))
        if inside.shape[-1] == 0:
            raise PlanError(f"{node.label}: over an empty axis", node.name)
        made = tracer.new(inside.shape)
        rows = inside.count // inside.shape[-1]
        tracer.emit(
            Call(
                SOFTMAX,
                int(logarithm),
                (rows, inside.shape[-1]),
                (inside.place, made.place),
                work=inside.count * 8,
            )
        )
        return [transposed(made, np.argsort(order).tolist())]

    return lay_out


def _layer_norm(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    tensor = tracer.floats(inputs[0])
    axis = normal_axis(node.get("axis", -1), len(tensor.shape))
    if any(node.outputs[1:]):
        raise PlanError(f"{node.label}: gives its mean or deviation", node.name)
    size = prod(tensor.shape[axis:])
    scale, bias = ([*constants(inputs), None])[1:3]
    if scale is None or scale.size != size or (bias is not None and bias.size != size):
        raise PlanError(f"{node.label}: its scale is not a row of weights", node.name)
    inside = tracer.dense(tensor)
    made = tracer.new(inside.shape)
    shift = tracer.tensor(inputs[2]) if bias is not None else None
    tracer.emit(
        Call(
            NORMALIZE,
            0,
            (inside.count // max(size, 1), size),
            (
                inside.place,
                tracer.floats(inputs[1]).place,
                None if shift is None else shift.place,
                made.place,
            ),
            numbers=(float(node.get("epsilon", 1e-5)), 0.0),
            work=inside.count * 3,
        )
    )
    return [made]


OPERATORS: dict[str, Operator] = {
    "GlobalAveragePool": _global_pool(_MEAN),
    "GlobalMaxPool": _global_pool(_MAX),
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax(logarithm=True),
    "ReduceL2": _reduce_l2,
    "ReduceMax": _reduce(_MAX),
    "ReduceMean": _reduce(_MEAN),
    "ReduceMin": _reduce(_MIN),
    "ReduceSum": _reduce(_SUM),
    "Softmax": _softmax(logarithm=False),
}
