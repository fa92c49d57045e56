"""Which sizes an operator's output has, from the sizes and small values of its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnedge_runtime.engine.known_constant import Inputs, KnownConstant, Shape
from rnnedge_runtime.onnx_file import Node

_SAME_SIZE = (
    *("Abs", "Cast", "Ceil", "Clip", "Dropout", "Exp", "Floor", "Identity", "Log", "Neg", "Not"),
    *("Relu", "Round", "Sigmoid", "Sign", "Softmax", "Sqrt", "Tanh", "RandomNormalLike"),
    *("RandomUniformLike", "Bernoulli"),
)
_BROADCAST = (
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"),
    *("Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor", "BitShift"),
)


def size_of(node: Node, inputs: Inputs) -> Shape:
    """Return the sizes of the first output of a node; None where they are not known.

    Args:
        node: The node.
        inputs: What is known of its inputs.

    Raises:
        ValueError: And other errors of numbers, when the node is not as its operator demands.
    """
    operator, shapes = node.op_type, [None if one is None else one.shape for one in inputs]
    if operator in _SAME_SIZE:
        return shapes[0]
    if operator in _BROADCAST:
        return _broadcast(shapes)
    rule = _SHAPES.get(operator)
    return None if rule is None else rule(node, inputs)


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    rank = max(map(len, known), default=0)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in known]
    return tuple(0 if 0 in axes else max(axes) for axes in zip(*aligned, strict=True))


def _numbers(one: KnownConstant | None) -> list[Any] | None:
    return None if one is None or one.values is None else one.values.ravel().tolist()


def _constant(node: Node, _: Inputs) -> Shape:
    for attribute in node.attributes.values():
        if attribute.sparse_shape is not None:
            return attribute.sparse_shape
        if attribute.tensor is not None:
            return KnownConstant.of_tensor(attribute.tensor).shape
    return None


def _of_values(node: Node, inputs: Inputs) -> Shape:
    numbers = _numbers(inputs[-1])
    return None if numbers is None else tuple(map(int, numbers))


def _expand(node: Node, inputs: Inputs) -> Shape:
    wanted = _of_values(node, inputs)
    return None if inputs[0] is None else _broadcast([inputs[0].shape, wanted])


def _tile(node: Node, inputs: Inputs) -> Shape:
    repeats, first = _of_values(node, inputs), inputs[0]
    if repeats is None or first is None or first.shape is None:
        return None
    return tuple(size * times for size, times in zip(first.shape, repeats, strict=True))


def _range(node: Node, inputs: Inputs) -> Shape:
    start, limit, step = (float((_numbers(one) or [math.nan])[0]) for one in inputs)
    return (
        None if math.isnan(start + limit + step) else (max(0, math.ceil((limit - start) / step)),)
    )


def _one_hot(node: Node, inputs: Inputs) -> Shape:
    depth, first = _numbers(inputs[1]), inputs[0]
    return (
        None
        if depth is None or first is None or first.shape is None
        else (*first.shape, int(depth[0]))
    )


def _pad(node: Node, inputs: Inputs) -> Shape:
    first = inputs[0]
    pads = node.get("pads") or (_numbers(inputs[1]) if len(inputs) > 1 else None)
    if pads is None or first is None or first.shape is None or len(pads) != 2 * len(first.shape):
        return None
    rank = len(first.shape)
    return tuple(max(0, size + pads[n] + pads[rank + n]) for n, size in enumerate(first.shape))


def _resize(node: Node, inputs: Inputs) -> Shape:
    first, numbers = inputs[0], _numbers(inputs[-1])
    if first is None or first.shape is None or numbers is None:
        return None
    if len(inputs) == 4:
        return tuple(map(int, numbers))
    return tuple(int(size * scale) for size, scale in zip(first.shape, numbers, strict=True))


def _concat(node: Node, inputs: Inputs) -> Shape:
    shapes = [one.shape for one in inputs if one is not None and one.shape is not None]
    if len(shapes) < len(inputs) or not shapes or not shapes[0]:
        return None
    axis = int(node.get("axis", 0)) % len(shapes[0])
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _product(node: Node, inputs: Inputs) -> Shape:
    a, b = (None if one is None else one.shape for one in inputs[:2])
    if not a or not b:
        return None
    if node.op_type == "Gemm":
        a = a[::-1] if node.get("transA", 0) else a
        b = b[::-1] if node.get("transB", 0) else b
    if len(a) < 2 or len(b) < 2:
        return None
    return (*(_broadcast([a[:-2], b[:-2]]) or ()), a[-2], b[-1])


def _gather(node: Node, inputs: Inputs) -> Shape:
    data, at = (None if one is None else one.shape for one in inputs)
    if not data or at is None:
        return None
    axis = int(node.get("axis", 0)) % len(data)
    return (*data[:axis], *at, *data[axis + 1 :])


_SHAPES: Mapping[str, Callable[[Node, Inputs], Shape]] = {
    "Constant": _constant,
    "ConstantOfShape": _of_values,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "OneHot": _one_hot,
    "EyeLike": lambda node, inputs: None if inputs[0] is None else inputs[0].shape,
    "RandomNormal": lambda node, inputs: tuple(node.get("shape", ())),
    "RandomUniform": lambda node, inputs: tuple(node.get("shape", ())),
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "Concat": _concat,
    "MatMul": _product,
    "Gemm": _product,
    "Gather": _gather,
    "Transpose": lambda node, inputs: (
        None
        if inputs[0] is None or inputs[0].shape is None
        else tuple(inputs[0].shape[n] for n in node.get("perm", range(len(inputs[0].shape))[::-1]))
    ),
}
