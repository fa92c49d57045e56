"""Products of integers: DynamicQuantizeLinear, MatMulInteger, and the LSTM that quantizes.

Nodes that quantize a value, multiply it and scale the sums are one call. A value is quantized row
by row, each over its own range, where ONNX takes one range for all of them: for one row both are
the same, and what a row gives does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.operators.movement import constants
from rnnedge_runtime.plan.operators.products import multiplied_as_integers
from rnnedge_runtime.plan.operators.recurrent import (
    GATES,
    check_attributes,
    directions_of,
    in_order,
    run_directions,
)
from rnnedge_runtime.plan.packing import IntegerWeights, LayerWeights, signed_weights
from rnnedge_runtime.plan.tracer import Operator, Tracer
from rnnedge_runtime.plan.values import Array, Constant, Deferred, Tensor, Value, as_float32

_LSTM = "com.microsoft.DynamicQuantizeLSTM"
_FLOAT = 1
"""float32 as `Cast` names it."""


@dataclass(frozen=True, eq=False, slots=True)
class _Quantized:
    """One of the outputs of DynamicQuantizeLinear: integers, scale or zero point."""

    x: Tensor
    part: int


@dataclass(frozen=True, eq=False, slots=True)
class _Sums:
    """Sums of integers and what they are multiplied with, as far as it is known.

    Attributes:
        x: What is quantized, or None for the scales of weights alone.
        weights: int8 [inputs, units], or None for scales alone.
        by_row: Whether they are multiplied with the scale of x.
        scales: Those of the weights, or None.
    """

    x: Tensor | None = None
    weights: Array | None = None
    by_row: bool = False
    scales: Array | None = None


@dataclass(frozen=True, eq=False, slots=True)
class _Parts:
    """What rounding takes from a value, or [x, x, that] along the features, times `factors`.

    rnnedge's LSTM of integers takes its input so: the third part makes up for the rounding of the
    first. Without rounding, the first two parts are all.
    """

    x: Tensor
    factors: Array | None = None


def _dynamic_quantize(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = tracer.floats(inputs[0])
    if not x.shape:
        raise PlanError(f"{node.label}: quantizes a number", node.name)
    takers: list[dict[str, Any]] = [
        {"MatMulInteger": _matmul_integer, "DequantizeLinear": _dequantize},
        {"Mul": _multiply},
        {},
    ]
    return [Deferred(_Quantized(x, part), takers[part]) for part in range(3)]


def _quantized(value: Value | None, part: int) -> Tensor | None:
    """Return what was quantized, where a value is that output of DynamicQuantizeLinear."""
    if isinstance(value, Deferred) and isinstance(value.about, _Quantized):
        return value.about.x if value.about.part == part else None
    return None


def _matmul_integer(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    given = [*inputs, *[None] * (4 - len(inputs))]
    x, weights, x_zero, zero = given[:4]
    quantized = _quantized(x, 0)
    known = constants([weights, zero])
    if quantized is None or _quantized(x_zero, 2) is not quantized or known[0] is None:
        raise PlanError(
            f"{node.label}: multiplies other integers than those of a DynamicQuantizeLinear with "
            "weights",
            node.name,
        )
    if known[0].ndim != 2 or (zero is not None and known[1] is None):
        raise PlanError(
            f"{node.label}: multiplies by something other than a matrix of weights", node.name
        )
    values, owners = known[0], tuple(array for array in known if array is not None)
    key = ("signed", *(id(array) for array in owners))
    signed = tracer.keep(key, owners, lambda: signed_weights(values, known[1]))
    return [Deferred(_Sums(quantized, signed), {"Cast": _cast})]


def _cast(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    if int(node.get("to", 0)) != _FLOAT:
        raise PlanError(f"{node.label}: takes integer sums as another type than float", node.name)
    (sums,) = inputs
    assert isinstance(sums, Deferred)
    return [Deferred(sums.about, {"Mul": _multiply})]


def _multiply(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """Join two factors of a product; the last one makes it a call."""
    one, other = (_factor(node, value) for value in inputs)
    joined = _joined(one, other)
    if joined is None or joined.x is None:
        raise PlanError(f"{node.label}: scales integer sums in an unsupported way", node.name)
    x, weights, scales = joined.x, joined.weights, joined.scales
    if weights is None or scales is None or not joined.by_row:
        return [Deferred(joined, {"Mul": _multiply})]
    if scales.size not in (1, weights.shape[1]) or scales.ndim > len(x.shape):
        raise PlanError(f"{node.label}: scales of shape {list(scales.shape)}", node.name)
    owners = (weights, scales)
    integers = tracer.keep(("integers", *map(id, owners)), owners, lambda: _turned(weights, scales))
    return [multiplied_as_integers(tracer, x, integers, owners)]


def _factor(node: Node, value: Value | None) -> _Sums:
    if isinstance(value, Constant) and value.array.dtype == np.float32:
        return _Sums(scales=value.array)
    x = _quantized(value, 1)
    if x is not None:
        return _Sums(x, by_row=True)
    if isinstance(value, Deferred) and isinstance(value.about, _Sums):
        return value.about
    raise PlanError(f"{node.label}: scales integer sums in an unsupported way", node.name)


def _joined(one: _Sums, other: _Sums) -> _Sums | None:
    """Return both factors as one, or None where they have something twice, or of two values."""
    if one.x is not None and other.x is not None and one.x is not other.x:
        return None
    both = (
        (one.weights is not None and other.weights is not None)
        or (one.by_row and other.by_row)
        or (one.scales is not None and other.scales is not None)
    )
    if both:
        return None
    return _Sums(
        other.x if one.x is None else one.x,
        other.weights if one.weights is None else one.weights,
        one.by_row or other.by_row,
        other.scales if one.scales is None else one.scales,
    )


def _turned(weights: Array, scales: Array) -> IntegerWeights:
    """Return weights [inputs, units], and scales for all of them or each unit."""
    row = np.broadcast_to(as_float32(scales.reshape(-1)), weights.shape[1:])
    return IntegerWeights(np.ascontiguousarray(weights.T), np.ascontiguousarray(row))


# --- the input of rnnedge's own LSTM of integers ---


def _dequantize(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = _quantized(inputs[0], 0)
    if x is None or len(inputs) != 3 or any(_quantized(inputs[i], i) is not x for i in (1, 2)):
        raise PlanError(f"{node.label}: takes other integers than it has the scale of", node.name)
    return [Deferred(_Parts(x), {"Sub": _rounding})]


def _rounding(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = _parts(inputs[1]).x
    if inputs[0] is not x:
        raise PlanError(f"{node.label}: takes a quantized value from another", node.name)
    return [Deferred(_Parts(x), {"Concat": _side_by_side})]


def _side_by_side(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = _parts(inputs[-1]).x
    axis = int(node.attributes["axis"].value) % len(x.shape)
    if len(inputs) != 3 or any(value is not x for value in inputs[:2]) or axis != len(x.shape) - 1:
        raise PlanError(f"{node.label}: joins what rounding takes with other values", node.name)
    return [Deferred(_Parts(x), {"Mul": _weigh})]


def _weigh(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    known = [array for array in constants(inputs) if array is not None]
    (x,) = {id(value): _parts(value).x for value in inputs if isinstance(value, Deferred)}.values()
    if len(known) != 1 or known[0].size != 3 * x.shape[-1] or known[0].ndim != 1:
        raise PlanError(f"{node.label}: weighs its parts by the data", node.name)
    return [Deferred(_Parts(x, known[0]), {_LSTM: _lstm})]


def _parts(value: Value | None) -> _Parts:
    if isinstance(value, Deferred) and isinstance(value.about, _Parts):
        return value.about
    raise PlanError("takes a quantized value in an unsupported way")


# --- DynamicQuantizeLSTM ---


def _lstm(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """Lay out com.microsoft.DynamicQuantizeLSTM.

    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    given = [*inputs, *[None] * (12 - len(inputs))]
    backward = directions_of(node)
    check_attributes(node, "LSTM", given, len(backward))
    factors = None
    if isinstance(given[0], Deferred):
        parts = _parts(given[0])
        x, factors = parts.x, parts.factors
    else:
        x = tracer.floats(given[0])
    known = [None, *constants(given[1:4]), *constants(given[8:])]
    if any(known[i] is None for i in (1, 2, 4, 6)) or (given[3] is not None and known[3] is None):
        raise PlanError(f"{node.label}: its weights are computed from the data", node.name)
    owners = tuple(array for array in (*known, factors) if array is not None)
    weights: list[LayerWeights] = tracer.keep(
        ("weights of integers", *(id(array) for array in owners)),
        owners,
        lambda: [_direction(known, way, factors) for way in range(len(backward))],
    )
    return run_directions(tracer, node, x, weights, backward, given[4:7])


def _direction(known: Sequence[Array | None], way: int, factors: Array | None) -> LayerWeights:
    """Return one direction of [_, W, R, B, W's scale and zero point, R's scale and zero point]."""
    order = GATES["LSTM"]
    weight_hh = _matrix(known[2], known[6], known[7], way)
    if weight_hh.values.shape[0] != 4 * weight_hh.values.shape[1]:
        raise PlanError(f"recurrent weights {list(weight_hh.values.shape)} of integers")
    weight_hh = weight_hh.reordered(order)
    whole = _matrix(known[1], known[4], known[5], way)
    if len(whole) != len(weight_hh):
        raise PlanError(f"input weights {list(whole.values.shape)} of integers")
    weight_ih, integers_ih = whole.wide, None
    if factors is None:
        integers_ih = whole.reordered(order)
    else:
        weight_ih = _without_rounding(whole, factors)
    bias = None
    if known[3] is not None:
        halves = np.split(known[3][way], 2)
        bias = as_float32(in_order(halves[0] + halves[1], order))
    return LayerWeights(
        "lstm",
        "tanh",
        as_float32(in_order(weight_ih, order)),
        weight_hh.wide,
        bias,
        integers_ih=integers_ih,
        integers_hh=weight_hh,
        rounding_undone=factors is not None,
    )


def _matrix(
    values: Array | None, scale: Array | None, zero: Array | None, way: int
) -> IntegerWeights:
    """Return one direction of int8 [directions, inputs, units]."""
    if values is None or scale is None:
        raise PlanError("weights of integers without values or scales")
    if values.ndim != 3 or len(scale) != len(values):
        raise PlanError(f"weights of integers of shape {list(values.shape)}")
    signed = signed_weights(values[way], None if zero is None else zero[way])
    return _turned(signed, np.asarray(scale[way], np.float32))


def _without_rounding(weights: IntegerWeights, factors: Array) -> Array:
    """Return the float32 weights [units, features] of an input that comes in three parts."""
    first, second, third = np.split(factors.astype(np.float64), 3)
    main, bit, small = np.split(weights.values.astype(np.float64), 3, axis=1)
    made_up = small * third - main
    if (first != 1).any() or (np.abs(made_up) > third / 2 + 1e-6).any():
        raise PlanError("an input in three parts, whose third does not make up for rounding")
    return as_float32((main + bit * second) * weights.scales[:, None])


def _alone(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    raise PlanError(
        f"{node.label}: multiplies integers that no DynamicQuantizeLinear makes", node.name
    )


OPERATORS: dict[str, Operator] = {
    "DynamicQuantizeLinear": _dynamic_quantize,
    _LSTM: _lstm,
    "MatMulInteger": _alone,
}
