"""Operators on numbers one by one: activations, sums and products with broadcasting, choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.operators.movement import constants, expanded, transposed
from rnnedge_runtime.plan.operators.products import with_activation, with_bias
from rnnedge_runtime.plan.tracer import (
    ACTIVATE,
    ARITHMETIC,
    COMPARE,
    WHERE,
    Operator,
    Tracer,
    shaped,
)
from rnnedge_runtime.plan.values import Array, Call, Constant, Dtype, Tensor, Value, merged

(
    NONE,
    TANH,
    SIGMOID,
    RELU,
    LEAKY_RELU,
    CLIP,
    EXP,
    NEGATE,
    ABSOLUTE,
    RECIPROCAL,
    SQUARE_ROOT,
    LOGARITHM,
    ELU,
    SOFTPLUS,
    HARD_SIGMOID,
    ERF,
) = range(16)
"""The activations of `kernels.h`."""
ADD, SUBTRACT, MULTIPLY, DIVIDE, MINIMUM, MAXIMUM, POWER = range(7)
_WORK = {NONE: 1, RELU: 1, TANH: 4, SIGMOID: 4}
"""Of an activation of one number, in multiplications."""


def by_memory(tensor: Tensor) -> list[int]:
    """Return the axes in the order in which the elements lie, the farthest apart first."""
    axes = range(len(tensor.shape))
    return sorted(axes, key=lambda axis: (-abs(tensor.strides[axis]), axis))


def like(tracer: Tracer, tensor: Tensor, dtype: Dtype = "float32") -> tuple[Tensor, list[int]]:
    """Return a new tensor whose elements lie in the order of those of another, and that order."""
    order = by_memory(tensor)
    made = tracer.new([tensor.shape[axis] for axis in order], dtype)
    return transposed(made, np.argsort(order).tolist()), order


def activated(tracer: Tracer, tensor: Tensor, kind: int, a: float = 0.0, b: float = 0.0) -> Tensor:
    """Return an activation of every element."""
    joined = with_activation(tracer, tensor, kind)
    if joined is not None:
        return joined
    order = by_memory(tensor)
    inside = transposed(tensor, order)
    if not inside.is_dense:
        inside, order = tracer.dense(tensor), list(range(len(tensor.shape)))
    made = tracer.new(inside.shape)
    tracer.emit(
        Call(
            ACTIVATE,
            kind,
            (inside.count,),
            (inside.place, made.place),
            numbers=(a, b),
            work=inside.count * _WORK.get(kind, 8),
        )
    )
    return transposed(made, np.argsort(order).tolist())


def combined(tracer: Tracer, kind: int, x: Tensor, z: Tensor) -> Tensor:
    """Return x and z joined number by number, as numpy broadcasts them."""
    shape = np.broadcast_shapes(x.shape, z.shape)
    whole = z if z.shape == shape and x.shape != shape else x
    x, z = expanded(x, shape), expanded(z, shape)
    made, order = like(tracer, expanded(whole, shape))
    x, z = transposed(x, order), transposed(z, order)
    target = transposed(made, order)
    sizes, (given, other) = merged(target.shape, x.strides, z.strides)
    tracer.emit(
        Call(
            ARITHMETIC,
            kind,
            sizes,
            (x.place, z.place, target.place),
            shaped(given, other),
            len(sizes),
            work=target.count,
        )
    )
    return made


def scalar_of(value: Value | None) -> float | None:
    """Return the only number of a constant, or None."""
    if isinstance(value, Constant) and value.array.size == 1 and value.array.dtype.kind in "fiu":
        return float(value.array.reshape(-1)[0])
    return None


def _unary(kind: int) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        tensor = tracer.floats(inputs[0])
        if tensor.applied:  # only this activation may take such a tensor: it has it already
            return [replace(tensor, applied=None)]
        return [activated(tracer, tensor, kind)]

    return lay_out


def _with_alpha(kind: int, alpha: float, beta: float = 0.0) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        a = float(node.get("alpha", alpha))
        b = float(node.get("beta", beta))
        return [activated(tracer, tracer.floats(inputs[0]), kind, a, b)]

    return lay_out


def _clip(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    limits = []
    for index, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        value = node.get(name)
        if value is None and index < len(inputs) and inputs[index] is not None:
            value = scalar_of(inputs[index])
            if value is None:
                raise PlanError(f"{node.label}: its {name} is computed from the data", node.name)
        limits.append(float(default if value is None else value))
    return [activated(tracer, tracer.floats(inputs[0]), CLIP, *limits)]


def _binary(kind: int) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        x, z = inputs[0], inputs[1]
        if kind == ADD and (joined := with_bias(tracer, x, z) or with_bias(tracer, z, x)):
            return [joined]
        return [combined(tracer, kind, tracer.floats(x), tracer.floats(z))]

    return lay_out


def _power(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = tracer.floats(inputs[0])
    exponent = scalar_of(inputs[1])
    if exponent == 2:
        return [combined(tracer, MULTIPLY, x, x)]
    if exponent == 0.5:
        return [activated(tracer, x, SQUARE_ROOT)]
    z = inputs[1]
    if isinstance(z, Constant):
        z = Constant(z.array.astype(np.float32), z.static)
    return [combined(tracer, POWER, x, tracer.floats(z))]


def _many(kind: int) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        tensors = [tracer.floats(value) for value in inputs]
        return [reduce(lambda x, z: combined(tracer, kind, x, z), tensors)]

    return lay_out


def _compare(kind: int) -> Operator:
    def lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        x, z = tracer.tensor(inputs[0]), tracer.tensor(inputs[1])
        if x.dtype != z.dtype or x.dtype == "bool":
            raise PlanError(f"{node.label}: compares {x.dtype} with {z.dtype}", node.name)
        shape = np.broadcast_shapes(x.shape, z.shape)
        a, b = expanded(x, shape), expanded(z, shape)
        made = tracer.new(shape, "bool")
        sizes, (given, other) = merged(shape, a.strides, b.strides)
        tracer.emit(
            Call(
                COMPARE,
                kind + (16 if x.dtype == "int64" else 0),
                sizes,
                (a.place, b.place, made.place),
                shaped(given, other),
                len(sizes),
                work=made.count,
                about={"operator": node.operator, "operands": (inputs[0], inputs[1])},
            )
        )
        return [made]

    return lay_out


def _where(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    condition, *others = (tracer.tensor(value) for value in inputs)
    x, z = others
    if condition.dtype != "bool" or x.dtype != z.dtype or x.dtype == "bool":
        raise PlanError(f"{node.label}: chooses between {x.dtype} and {z.dtype}", node.name)
    shape = np.broadcast_shapes(condition.shape, x.shape, z.shape)
    c, x, z = (expanded(tensor, shape) for tensor in (condition, x, z))
    made = tracer.new(shape, x.dtype)
    sizes, strides = merged(shape, c.strides, x.strides, z.strides)
    tracer.emit(
        Call(
            WHERE,
            0 if x.dtype == "float32" else 1,
            sizes,
            (c.place, x.place, z.place, made.place),
            shaped(*strides),
            len(sizes),
            work=made.count,
        )
    )
    return [made]


def _prelu(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x, slope = tracer.floats(inputs[0]), tracer.floats(inputs[1])
    above = activated(tracer, x, RELU)
    below = activated(tracer, x, CLIP, -np.inf, 0.0)
    return [combined(tracer, ADD, above, combined(tracer, MULTIPLY, below, slope))]


def _batch_norm(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    known = constants(inputs)[1:5]
    if node.get("training_mode", 0) or any(array is None for array in known):
        raise PlanError(f"{node.label}: computes its statistics", node.name)
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in known)
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    x = tracer.floats(inputs[0])
    shape = (-1, *[1] * (len(x.shape) - 2))

    def weights(name: str, array: Array) -> Tensor:
        key = ("batch norm", name, *(id(array) for array in known))
        tracer.keep((*key, "owners"), tuple(known), lambda: None)
        return tracer.constant(key, array.reshape(shape))

    x = combined(tracer, MULTIPLY, x, weights("factor", factor))
    return [combined(tracer, ADD, x, weights("shift", shift - mean * factor))]


def _silu(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = tracer.floats(inputs[0])
    return [combined(tracer, MULTIPLY, x, activated(tracer, x, SIGMOID))]


def _hard_swish(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    x = tracer.floats(inputs[0])
    gate = activated(tracer, x, HARD_SIGMOID, 1 / 6, 0.5)
    return [combined(tracer, MULTIPLY, x, gate)]


_UNARY: dict[str, int] = {
    "Abs": ABSOLUTE,
    "Erf": ERF,
    "Exp": EXP,
    "Log": LOGARITHM,
    "Neg": NEGATE,
    "Reciprocal": RECIPROCAL,
    "Relu": RELU,
    "Sigmoid": SIGMOID,
    "Softplus": SOFTPLUS,
    "Sqrt": SQUARE_ROOT,
    "Tanh": TANH,
}
_COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


OPERATORS: dict[str, Operator] = {
    **{name: _unary(kind) for name, kind in _UNARY.items()},
    **{name: _compare(kind) for kind, name in enumerate(_COMPARISONS)},
    "Add": _binary(ADD),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Div": _binary(DIVIDE),
    "Elu": _with_alpha(ELU, 1.0),
    "HardSigmoid": _with_alpha(HARD_SIGMOID, 0.2, 0.5),
    "HardSwish": _hard_swish,
    "LeakyRelu": _with_alpha(LEAKY_RELU, 0.01),
    "Max": _many(MAXIMUM),
    "Min": _many(MINIMUM),
    "Mul": _binary(MULTIPLY),
    "PRelu": _prelu,
    "Pow": _power,
    "Sub": _binary(SUBTRACT),
    "Sum": _many(ADD),
    "Swish": _silu,
    "Where": _where,
}
