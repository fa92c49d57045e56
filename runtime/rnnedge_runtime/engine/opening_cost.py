"""What ONNX Runtime would compute from constants when it opens a file: too much is refused.

Opening a file computes every node whose inputs are constants, before anybody has asked for an
output: in this process, without a limit. `check_opening` refuses what a look at the file shows to
end the process, or to take its memory or minutes:

- `Div` of the smallest integer by -1, which ends the process by SIGFPE;
- `GRU`, `LSTM` or `RNN` of an empty sequence or batch, which abort it;
- constants that become more than 1 GiB, such as by `ConstantOfShape`, `Expand`, `Tile`, `Range`,
  `Pad`, `Resize`, `Concat` of one value again and again, or operators that broadcast;
- sparse constants of that size, which are stored in full;
- products of matrices of more than 2**37 multiplications;
- functions that call themselves, or others so often that they become more than 100,000 nodes.

It follows small tensors of numbers through the operators that exporters compute shapes with. What a
file computes in other ways it does not see, such as from tensors of more than 64 elements.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnnedge_runtime.engine.function_calls import count_nodes
from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.errors import ModelError
from rnnedge_runtime.onnx_file import Graph, GraphFile, LazyTensor, Node, parse_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_BYTES = 1 << 30
_MOST_PRODUCTS = 1 << 37
_FEW = 64
"""Elements of a tensor whose values are followed."""
_WIDTH = 8
"""Bytes of an element, at most."""
_MAPPED = 1 << 26
"""Bytes of a file above which it is mapped into memory instead of read."""
_MOST_VALUES = 1 << 40
"""Of a constant as it is stated; ONNX Runtime prints more on the application's stderr."""
_RECURRENT = ("GRU", "LSTM", "RNN")
_SAME_SIZE = (
    *("Abs", "Cast", "Ceil", "Clip", "Dropout", "Exp", "Floor", "Identity", "Log", "Neg", "Not"),
    *("Relu", "Round", "Sigmoid", "Sign", "Softmax", "Sqrt", "Tanh", "RandomNormalLike"),
    *("RandomUniformLike", "Bernoulli"),
)
_BROADCAST = (
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"),
    *("Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor", "BitShift"),
)
_Shape: TypeAlias = "tuple[int, ...] | None"
_Values: TypeAlias = "NDArray[Any] | None"


class _Constant:
    """What is known of a constant: its sizes, and the values of a small one.

    Attributes:
        shape: Its sizes; None where they are not known.
    """

    __slots__ = ("_tensor", "_values", "shape")

    def __init__(
        self, shape: _Shape = None, values: _Values = None, tensor: LazyTensor | None = None
    ) -> None:
        self.shape, self._values, self._tensor = shape, values, tensor

    @property
    def values(self) -> _Values:
        """The values of a small constant, decoded when they are asked for; None of any other."""
        tensor, self._tensor = self._tensor, None
        if tensor is not None and 0 <= math.prod(tensor.shape) <= _FEW:
            with suppress(ValueError):  # damaged, or in another file
                self._values = tensor.array
        return self._values


_Scope: TypeAlias = "Mapping[str, _Constant]"
_UNKNOWN = _Constant()


def check_opening(model: Model, name: str) -> None:
    """Check what opening a model would compute.

    Args:
        model: The path of an existing file, or its bytes. What cannot be read as a model passes:
            ONNX Runtime says what is wrong with it.
        name: What to call it in the message.

    Raises:
        ModelError: If it would end the process, or take more memory or time than any model does.
    """
    try:
        found = _read(model)
    except (OSError, ValueError):
        return
    scan = _Scan(found)
    try:
        count_nodes(found)
        for graph in (found.graph, *found.functions.values()):
            scan.walk(graph, {})
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None


def check_functions(model: Model, name: str) -> None:
    """Check what the functions of a model become when each call of one is put in its place.

    Args:
        model: As `check_opening` takes it.
        name: As `check_opening` takes it.

    Raises:
        ModelError: If a function calls itself, or they become too many nodes.
    """
    try:
        found = _read(model)
    except (OSError, ValueError):
        return
    try:
        count_nodes(found)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None


def _read(model: Model) -> GraphFile:
    if isinstance(model, bytes):
        return parse_model(model)
    with open(model, "rb") as file:
        if os.fstat(file.fileno()).st_size <= _MAPPED:
            return parse_model(file.read())
        import mmap  # few files are as large

        return parse_model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


class _Scan:
    """Follows constants through a file, and adds up what they cost."""

    def __init__(self, file: GraphFile) -> None:
        self._bytes = self._products = 0

    def walk(self, graph: Graph, outside: _Scope) -> None:
        """Look at the nodes of a graph."""
        known = dict(outside)
        for name, tensor in graph.initializers.items():
            if min(tensor.shape, default=0) < 0 or math.prod(tensor.shape) > _MOST_VALUES:
                raise ModelError(f"{name}: a constant cannot have the sizes {_sizes(tensor.shape)}")
            known[name] = _of_tensor(tensor)
        for name in graph.input_names:
            if name not in graph.initializers:
                known.pop(name, None)
        for shape in graph.sparse:
            self._add("a sparse constant", shape)
        for node in graph.nodes:
            self._look(node, known)
            for inner in node.graphs:
                self.walk(inner, known)

    def _look(self, node: Node, known: dict[str, _Constant]) -> None:
        if node.domain:
            return
        if node.op_type in _RECURRENT:
            _check_recurrent(node, known)
        given = [known.get(name) for name in node.inputs if name]
        if any(one is None for one in given) or any(node.graphs):
            return
        inputs = [known.get(name, _UNKNOWN) if name else None for name in node.inputs]
        _check_division(node, inputs)
        made = _computed(node, inputs)
        for name in node.outputs:
            known[name] = made if name == node.outputs[0] else _UNKNOWN
        # A constant that is written in the file is there already; so is what passes one on.
        new = node.op_type not in ("Constant", "Identity") or "sparse_value" in node.attributes
        if made.shape is not None and new:
            self._add(node.label, made.shape)
        if node.op_type in ("MatMul", "Gemm"):
            self._multiply(node, inputs, made.shape)

    def _add(self, label: str, shape: tuple[int, ...]) -> None:
        self._bytes += math.prod(shape) * _WIDTH
        if self._bytes > _MOST_BYTES:
            raise _refusal(
                f"{label} makes a constant {_sizes(shape)}, and with it constants take more than "
                "1 GiB when the model is opened"
            )

    def _multiply(self, node: Node, inputs: Sequence[_Constant | None], made: _Shape) -> None:
        first = inputs[0]
        if made is None or first is None or not first.shape:
            return
        self._products += math.prod(made) * first.shape[-1]
        if self._products > _MOST_PRODUCTS:
            raise _refusal(
                f"{node.label} multiplies constants {self._products:,} times when the model is "
                "opened"
            )


def _refusal(words: str) -> ModelError:
    return ModelError(
        f"{words}: if the file is yours, compute it once with onnx.reference, and store the result"
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape[:8]))}{', …' if len(shape) > 8 else ''}]"


def _check_recurrent(node: Node, known: _Scope) -> None:
    shape = known.get(node.input(0), _UNKNOWN).shape
    if shape is not None and 0 in shape:
        raise _refusal(f"{node.label} runs on a constant {_sizes(shape)}, which ends the process")


def _check_division(node: Node, inputs: Sequence[_Constant | None]) -> None:
    if node.op_type not in ("Div", "Mod") or len(inputs) != 2:
        return
    values = [one.values for one in inputs if one is not None and one.values is not None]
    if len(values) != 2 or any(one.dtype.kind != "i" for one in values):
        return
    least = np.iinfo(values[0].dtype).min
    if (values[0] == least).any() and (values[1] == -1).any():
        raise _refusal(f"{node.label} divides {least} by -1, which ends the process")


def _of_tensor(tensor: LazyTensor) -> _Constant:
    return _Constant(tensor.shape, tensor=tensor)


def _computed(node: Node, inputs: Sequence[_Constant | None]) -> _Constant:
    """Return what is known of the first output of a node whose inputs are constants."""
    try:
        shape = _shape(node, inputs)
        values = None if shape is not None and math.prod(shape) > _FEW else _values(node, inputs)
    except (ValueError, TypeError, IndexError, OverflowError, ArithmeticError, AttributeError):
        return _UNKNOWN  # a node that ONNX Runtime will refuse, or of another form
    if shape is None and values is not None:
        shape = values.shape
    return _Constant(shape, values)


def _shape(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    operator, shapes = node.op_type, [None if one is None else one.shape for one in inputs]
    if operator in _SAME_SIZE:
        return shapes[0]
    if operator in _BROADCAST:
        return _broadcast(shapes)
    rule = _SHAPES.get(operator)
    return None if rule is None else rule(node, inputs)


def _broadcast(shapes: Sequence[_Shape]) -> _Shape:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    rank = max(map(len, known), default=0)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in known]
    return tuple(0 if 0 in axes else max(axes) for axes in zip(*aligned, strict=True))


def _numbers(one: _Constant | None) -> list[Any] | None:
    return None if one is None or one.values is None else one.values.ravel().tolist()


def _constant(node: Node, _: Sequence[_Constant | None]) -> _Shape:
    for attribute in node.attributes.values():
        if attribute.sparse_shape is not None:
            return attribute.sparse_shape
        if attribute.tensor is not None:
            return _of_tensor(attribute.tensor).shape
    return None


def _of_values(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    numbers = _numbers(inputs[-1])
    return None if numbers is None else tuple(map(int, numbers))


def _expand(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    wanted = _of_values(node, inputs)
    return None if inputs[0] is None else _broadcast([inputs[0].shape, wanted])


def _tile(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    repeats, first = _of_values(node, inputs), inputs[0]
    if repeats is None or first is None or first.shape is None:
        return None
    return tuple(size * times for size, times in zip(first.shape, repeats, strict=True))


def _range(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    start, limit, step = (float((_numbers(one) or [math.nan])[0]) for one in inputs)
    return (
        None if math.isnan(start + limit + step) else (max(0, math.ceil((limit - start) / step)),)
    )


def _one_hot(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    depth, first = _numbers(inputs[1]), inputs[0]
    return (
        None
        if depth is None or first is None or first.shape is None
        else (*first.shape, int(depth[0]))
    )


def _pad(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    first = inputs[0]
    pads = node.get("pads") or (_numbers(inputs[1]) if len(inputs) > 1 else None)
    if pads is None or first is None or first.shape is None or len(pads) != 2 * len(first.shape):
        return None
    rank = len(first.shape)
    return tuple(max(0, size + pads[n] + pads[rank + n]) for n, size in enumerate(first.shape))


def _resize(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    first, numbers = inputs[0], _numbers(inputs[-1])
    if first is None or first.shape is None or numbers is None:
        return None
    if len(inputs) == 4:
        return tuple(map(int, numbers))
    return tuple(int(size * scale) for size, scale in zip(first.shape, numbers, strict=True))


def _concat(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    shapes = [one.shape for one in inputs if one is not None and one.shape is not None]
    if len(shapes) < len(inputs) or not shapes or not shapes[0]:
        return None
    axis = int(node.get("axis", 0)) % len(shapes[0])
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _product(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    a, b = (None if one is None else one.shape for one in inputs[:2])
    if not a or not b:
        return None
    if node.op_type == "Gemm":
        a = a[::-1] if node.get("transA", 0) else a
        b = b[::-1] if node.get("transB", 0) else b
    if len(a) < 2 or len(b) < 2:
        return None
    return (*(_broadcast([a[:-2], b[:-2]]) or ()), a[-2], b[-1])


def _gather(node: Node, inputs: Sequence[_Constant | None]) -> _Shape:
    data, at = (None if one is None else one.shape for one in inputs)
    if not data or at is None:
        return None
    axis = int(node.get("axis", 0)) % len(data)
    return (*data[:axis], *at, *data[axis + 1 :])


_SHAPES: Mapping[str, Callable[[Node, Sequence[_Constant | None]], _Shape]] = {
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


def _values(node: Node, inputs: Sequence[_Constant | None]) -> _Values:
    """Return the values of a small constant, for the operators that shapes are computed with."""
    if node.op_type == "Constant":
        return _written(node)
    if node.op_type in ("Shape", "Size"):
        shape = None if inputs[0] is None else inputs[0].shape
        if shape is None:
            return None
        found = np.array(shape, np.int64)
        return found if node.op_type == "Shape" else found.prod(keepdims=False)
    arrays = [one.values for one in inputs if one is not None and one.values is not None]
    rule = _VALUES.get(node.op_type)
    if rule is None or len(arrays) < len(inputs):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(rule(node, arrays))


def _written(node: Node) -> _Values:
    for name, attribute in node.attributes.items():
        if attribute.tensor is not None:
            return _of_tensor(attribute.tensor).values
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.array(attribute.value, np.int64 if "int" in name else np.float32)
    return None


def _divided(_: Node, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if arrays[0].dtype.kind == "i":
        return np.array(np.fix(arrays[0] / arrays[1]), arrays[0].dtype)
    return np.asarray(arrays[0] / arrays[1])


def _reshaped(_: Node, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0].reshape([int(size) for size in arrays[1].ravel()])


def _unsqueezed(node: Node, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    axes = node.get("axes") or arrays[1].ravel().tolist()
    return np.expand_dims(arrays[0], tuple(map(int, axes)))


_NUMPY = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}

_VALUES: Mapping[str, Callable[[Node, Sequence[NDArray[Any]]], Any]] = {
    "Identity": lambda node, arrays: arrays[0],
    "Add": lambda node, arrays: arrays[0] + arrays[1],
    "Sub": lambda node, arrays: arrays[0] - arrays[1],
    "Mul": lambda node, arrays: arrays[0] * arrays[1],
    "Div": _divided,
    "Neg": lambda node, arrays: -arrays[0],
    "Abs": lambda node, arrays: np.abs(arrays[0]),
    "Pow": lambda node, arrays: arrays[0] ** arrays[1],
    "Max": lambda node, arrays: np.max(np.broadcast_arrays(*arrays), axis=0),
    "Min": lambda node, arrays: np.min(np.broadcast_arrays(*arrays), axis=0),
    "Where": lambda node, arrays: np.where(arrays[0], arrays[1], arrays[2]),
    "BitShift": lambda node, arrays: (
        arrays[0] << arrays[1] if node.get("direction") == "LEFT" else arrays[0] >> arrays[1]
    ),
    "Cast": lambda node, arrays: arrays[0].astype(_NUMPY[node.get("to")]),
    "Concat": lambda node, arrays: np.concatenate(arrays, int(node.get("axis", 0))),
    "Gather": lambda node, arrays: np.take(arrays[0], arrays[1], int(node.get("axis", 0))),
    "Reshape": _reshaped,
    "Squeeze": lambda node, arrays: arrays[0].squeeze(),
    "Unsqueeze": _unsqueezed,
    "Tile": lambda node, arrays: np.tile(arrays[0], arrays[1]),
    "Expand": lambda node, arrays: np.broadcast_arrays(arrays[0], np.empty(arrays[1]))[0],
}
