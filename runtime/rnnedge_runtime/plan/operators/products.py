"""Products with weights: MatMul and Gemm, with the bias and the activation that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.packing import IntegerWeights
from rnnedge_runtime.plan.tracer import PRODUCT, Operator, Tracer
from rnnedge_runtime.plan.values import Array, Call, Constant, Deferred, Tensor, Value, merged

_NONE, _TANH, _SIGMOID, _RELU = 0, 1, 2, 3
_JOINED = (_TANH, _SIGMOID, _RELU)
"""Activations that a product applies before it stores."""


def multiplied(
    tracer: Tracer, x: Tensor, weights: Array, owner: Array, bias: Array | None = None
) -> Tensor:
    """Return x [..., inputs] times weights [units, inputs], and a bias [units].

    Args:
        tracer: What to write the call to.
        x: The tensor.
        weights: As they are to be packed.
        owner: The array that they are a view of, by which they are found again.
        bias: The bias, or None.
    """
    about = {"weights": weights, "owner": owner, "bias": bias}
    return _product(tracer, x, weights.shape, _packed(tracer, weights, owner, bias), about)


def multiplied_as_integers(
    tracer: Tracer,
    x: Tensor,
    weights: IntegerWeights,
    owners: tuple[Array, ...],
    bias: Array | None = None,
) -> Tensor:
    """Return x [..., inputs] times integers [units, inputs], each row of x quantized, and a bias.

    Args:
        tracer: What to write the call to.
        x: The tensor.
        weights: The integers and their scales.
        owners: The arrays that they are made of, by which they are found again.
        bias: [units], or None.
    """
    kept = owners if bias is None else (*owners, bias)
    packed = tracer.keep(
        ("integer matrix", *(id(array) for array in kept)),
        kept,
        lambda: tracer.packer.integer_matrix(weights, bias),
    )
    about = {"integers": weights, "owners": owners, "bias": bias}
    return _product(tracer, x, weights.values.shape, packed, about)


def _product(
    tracer: Tracer, x: Tensor, size: tuple[int, ...], packed: Any, about: dict[str, Any]
) -> Tensor:
    units, inputs = size
    if x.shape[-1] != inputs:
        raise PlanError(f"a product of {list(x.shape)} with weights for {inputs} features")
    if inputs == 0 or units == 0:
        raise PlanError("weights without elements")
    x = _rows(tracer, x)
    sizes, (steps,) = merged(x.shape[:-1], x.strides[:-1])
    outer, rows = (1, 1, *sizes)[-2:]
    outer_step, row_step = (0, 0, *steps)[-2:]
    made = tracer.new((*x.shape[:-1], units))
    tracer.emit(
        Call(
            PRODUCT,
            _NONE,
            (outer, rows, 1, inputs),
            (x.place, made.place),
            (outer_step, row_step, 0, rows * units, units),
            packed=packed,
            work=outer * rows * units * inputs,
            about={**about, "x": x, "to": made},
        )
    )
    return made


def _rows(tracer: Tracer, x: Tensor) -> Tensor:
    """Return a tensor whose last axis is dense, and whose other axes are two at most."""
    if x.shape[-1] != 1 and x.strides[-1] != 1:
        return tracer.dense(x)
    return x if len(merged(x.shape[:-1], x.strides[:-1])[0]) <= 2 else tracer.dense(x)


def _packed(tracer: Tracer, weights: Array, owner: Array, bias: Array | None) -> Any:
    owners = (owner,) if bias is None else (owner, bias)
    key = ("matrix", weights.strides, weights.shape, *(id(array) for array in owners))
    return tracer.keep(
        key,
        owners,
        lambda: tracer.packer.matrix(weights, bias),
    )


def product_of(tracer: Tracer, tensor: Tensor) -> Call | None:
    """Return the call that gave a tensor as a plain product of float32 weights, or None."""
    call = _call_of(tracer, tensor)
    return call if call is not None and "weights" in call.about else None


def _call_of(tracer: Tracer, tensor: Tensor) -> Call | None:
    call = tracer.producer(tensor)
    if call is None or call.operation != PRODUCT or "to" not in call.about or call.kind:
        return None
    made: Tensor = call.about["to"]
    same = made.shape == tensor.shape and made.strides == tensor.strides
    return call if same else None


def with_bias(tracer: Tracer, x: Value | None, bias: Value | None) -> Tensor | None:
    """Return a product and the bias that is added to it in one call, or None where they are not."""
    if not isinstance(x, Tensor) or not isinstance(bias, Constant):
        return None
    call = _call_of(tracer, x)
    if call is None or call.about["bias"] is not None:
        return None
    about = call.about
    array, units = bias.array, x.shape[-1]
    if array.size != units or array.shape[-1:] != (units,) or array.ndim > len(x.shape):
        return None
    row = tracer.keep(("row", id(array)), (array,), lambda: array.reshape(units))
    if "integers" in about:
        return multiplied_as_integers(tracer, about["x"], about["integers"], about["owners"], row)
    return multiplied(tracer, about["x"], about["weights"], about["owner"], row)


def with_activation(tracer: Tracer, x: Tensor, kind: int) -> Tensor | None:
    """Return a product and an activation in one call, or None where there is no such product."""
    call = product_of(tracer, x)
    if call is None or kind not in _JOINED:
        return None
    made = tracer.new(x.shape)
    tracer.emit(
        Call(
            PRODUCT,
            kind,
            call.sizes,
            (call.places[0], made.place),
            call.distances,
            packed=call.packed,
            work=call.work,
        )
    )
    return made


def _matmul(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x, weights = inputs[0], inputs[1]
    if not isinstance(weights, Constant) or weights.array.ndim != 2:
        raise PlanError(
            f"{node.label}: multiplies by something other than a matrix of weights", node.name
        )
    tensor = tracer.floats(x)
    if not tensor.shape:
        raise PlanError(f"{node.label}: multiplies a number", node.name)
    return [multiplied(tracer, tensor, weights.array.T, weights.array)]


def _gemm(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    weights, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
    if (
        not isinstance(weights, Constant)
        or weights.array.ndim != 2
        or isinstance(bias, Tensor | Deferred)
    ):
        raise PlanError(
            f"{node.label}: multiplies by something other than a matrix of weights", node.name
        )
    alpha = float(node.get("alpha", 1.0))
    beta = float(node.get("beta", 1.0))
    owner = weights.array
    rows = owner if node.get("transB", 0) else owner.T
    if alpha != 1.0:
        owner = tracer.keep(
            ("scaled", id(owner), alpha), (owner,), lambda: np.asarray(owner * np.float32(alpha))
        )
        rows = owner if node.get("transB", 0) else owner.T
    x = tracer.floats(inputs[0])
    if node.get("transA", 0):
        x = replace(x, shape=x.shape[::-1], strides=x.strides[::-1])
    if len(x.shape) != 2:
        raise PlanError(f"{node.label}: takes a tensor with {len(x.shape)} axes", node.name)
    if bias is None or beta == 0.0:
        return [multiplied(tracer, x, rows, owner)]
    array = _row_bias(tracer, node, bias.array, len(rows), beta)
    return [multiplied(tracer, x, rows, owner, array)]


def _row_bias(tracer: Tracer, node: Node, bias: Array, units: int, beta: float) -> Array:
    if bias.ndim == 2 and len(bias) != 1:
        raise PlanError(f"{node.label}: adds another row to each row", node.name)
    made: Array = tracer.keep(
        ("bias", id(bias), units, beta),
        (bias,),
        lambda: np.ascontiguousarray(
            np.broadcast_to(bias.reshape(-1) * np.float32(beta), (units,))
        ),
    )
    return made


OPERATORS: dict[str, Operator] = {"Gemm": _gemm, "MatMul": _matmul}
