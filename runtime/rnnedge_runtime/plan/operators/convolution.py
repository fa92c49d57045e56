"""Convolutions over time, as products of what lies side by side when features are innermost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.operators.movement import constants, narrowed, padded, transposed
from rnnedge_runtime.plan.tracer import DEPTHWISE, PRODUCT, Operator, Tracer
from rnnedge_runtime.plan.values import Array, Call, Tensor, Value


def _conv(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    weights, bias = ([*constants(inputs), None])[1:3]
    has_bias = len(inputs) > 2 and inputs[2] is not None
    if weights is None or weights.ndim != 3 or has_bias != (bias is not None):
        raise PlanError(f"{node.label}: is not a convolution over time by weights", node.name)
    x = tracer.floats(inputs[0])
    if len(x.shape) != 3:
        raise PlanError(f"{node.label}: takes a tensor with {len(x.shape)} axes", node.name)
    units, features, kernel = weights.shape
    groups = int(node.get("group", 1))
    stride, dilation = (int(node.get(name, [1])[0]) for name in ("strides", "dilations"))
    if groups < 1 or units % groups or x.shape[1] != features * groups or weights.size == 0:
        raise PlanError(f"{node.label}: {x.shape[1]} features for weights {list(weights.shape)}")
    if stride < 1 or dilation < 1:
        raise PlanError(f"{node.label}: strides of {stride}, dilations of {dilation}", node.name)
    reach = (kernel - 1) * dilation + 1
    around = _pads(node, x.shape[2], reach, stride)
    x = transposed(x, (0, 2, 1))  # [batch, time, features]
    if any(around):
        x = padded(tracer, x, ((0, 0), around, (0, 0)))
    elif x.strides[2] != 1 and x.shape[2] != 1:
        x = tracer.dense(x)
    time = (x.shape[1] - reach) // stride + 1
    if time < 1:
        raise PlanError(f"{node.label}: {x.shape[1]} steps, and it needs {reach}", node.name)
    made = tracer.new((x.shape[0], time, units))
    if features == 1 and groups == units:
        _depthwise(tracer, x, made, weights, bias, stride, dilation)
    else:
        for group in range(groups):
            _group(tracer, x, made, weights, bias, stride, dilation, group, groups)
    return [transposed(made, (0, 2, 1))]


def _pads(node: Node, time: int, reach: int, stride: int) -> tuple[int, int]:
    automatic = node.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        before, after = node.get("pads", [0, 0])
        return int(before), int(after)
    if automatic == "VALID":
        return 0, 0
    whole = max((-(-time // stride) - 1) * stride + reach - time, 0)
    less, more = whole // 2, whole - whole // 2
    if automatic == "SAME_UPPER":
        return less, more
    if automatic == "SAME_LOWER":
        return more, less
    raise PlanError(f"{node.label}: pads as {automatic}", node.name)


def _group(
    tracer: Tracer,
    x: Tensor,
    made: Tensor,
    weights: Array,
    bias: Array | None,
    stride: int,
    dilation: int,
    group: int,
    groups: int,
) -> None:
    units, features, kernel = len(weights) // groups, weights.shape[1], weights.shape[2]
    own = slice(group * units, (group + 1) * units)

    def pack() -> Any:
        rows = weights[own].transpose(0, 2, 1).reshape(units, kernel * features)
        return tracer.packer.matrix(rows, None if bias is None else bias[own])

    owners = (weights,) if bias is None else (weights, bias)
    key = ("convolution", group, groups, *(id(array) for array in owners))
    given = narrowed(x, 2, slice(group * features, (group + 1) * features))
    target = narrowed(made, 2, own)
    batch, time = made.shape[:2]
    tracer.emit(
        Call(
            PRODUCT,
            0,
            (batch, time, kernel, features),
            (given.place, target.place),
            (
                x.strides[0],
                stride * x.strides[1],
                dilation * x.strides[1],
                made.strides[0],
                made.strides[1],
            ),
            packed=tracer.keep(key, owners, pack),
            work=batch * time * units * kernel * features,
        )
    )


def _depthwise(
    tracer: Tracer,
    x: Tensor,
    made: Tensor,
    weights: Array,
    bias: Array | None,
    stride: int,
    dilation: int,
) -> None:
    channels, _, kernel = weights.shape
    key = ("depthwise", id(weights))
    tracer.keep((*key, "owner"), (weights, bias), lambda: None)
    rows = tracer.constant(key, weights[:, 0].T)
    shift = np.zeros(channels) if bias is None else bias
    added = tracer.constant((*key, "bias", id(bias) if bias is not None else None), shift)
    batch, time = made.shape[:2]
    tracer.emit(
        Call(
            DEPTHWISE,
            0,
            (batch, time, channels, kernel),
            (x.place, rows.place, added.place, made.place),
            (x.strides[0], x.strides[1], made.strides[0], made.strides[1], stride, dilation),
            work=batch * time * channels * kernel,
        )
    )


OPERATORS: dict[str, Operator] = {"Conv": _conv}
