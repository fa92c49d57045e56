"""Copies of a model with one weight tensor changed, or one row of it.

A change is larger than any rounding: it is made of the tensor's own range, and another at each
number, so that neither a softmax nor a norm takes it out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from rnnedge_exporters.onnx_model.nodes import subgraphs

Array = NDArray[Any]
_FLOATS = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
)
_INTEGERS: dict[int, tuple[int, int]] = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
}
"""Types that hold quantized weights, with their smallest and largest number."""
_ROUNDED = ("DequantizeLinear", "QLinearConv", "QLinearMatMul")
"""Operators whose integers of other types are rounded weights too."""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A model with one tensor changed.

    Attributes:
        tensor: Name of the tensor; one inside a node's graph has the names of that node before it.
        name: What was changed: the tensor, or one row of it.
    """

    tensor: str
    name: str
    _model: onnx.ModelProto
    _place: TensorProto
    _changed: Array

    def content(self) -> bytes:
        """Return the model as bytes."""
        own = TensorProto()
        own.CopyFrom(self._place)
        self._place.CopyFrom(numpy_helper.from_array(self._changed, own.name))
        content: bytes = self._model.SerializeToString()
        self._place.CopyFrom(own)
        return content


def disturbed(model: onnx.ModelProto) -> Iterator[Disturbed]:
    """Yield the model with each of its weight tensors changed, as a whole and in one row alone.

    Args:
        model: The model; it is as it was after each copy.
    """
    for name, tensor in weight_tensors(model):
        array = numpy_helper.to_array(tensor)
        changed = _changed(array, tensor.data_type)
        yield Disturbed(name, name, model, tensor, changed)
        axis = next((a for a, size in enumerate(array.shape) if size > 1), None)
        if axis is None:
            continue
        row = array.shape[axis] // 2
        at = (*[slice(None)] * axis, row)
        one = array.copy()
        one[at] = changed[at]
        where = ", ".join([*[":"] * axis, str(row), *[":"] * (array.ndim - axis - 1)])
        yield Disturbed(name, f"{name}[{where}]", model, tensor, one)


def weight_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield the tensors of a model that are weights, scales or zero points, with their names."""
    yield from _of_graph(model.graph, "")
    for function in model.functions:
        yield from _of_nodes(function.node, f"{function.name} / ")


def _of_graph(graph: onnx.GraphProto, around: str) -> Iterator[tuple[str, TensorProto]]:
    rounded = {name for node in graph.node if node.op_type in _ROUNDED for name in node.input}
    for tensor in graph.initializer:
        if _is_weight(tensor) or (tensor.name in rounded and _size(tensor)):
            yield f"{around}{tensor.name}", tensor
    yield from _of_nodes(graph.node, around)


def _of_nodes(nodes: Iterable[onnx.NodeProto], around: str) -> Iterator[tuple[str, TensorProto]]:
    for node in nodes:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t") and _is_weight(attribute.t):
                    yield f"{around}{node.output[0]}", attribute.t
        for graph in subgraphs(node):
            yield from _of_graph(graph, f"{around}{node.name or node.op_type} / ")


def _is_weight(tensor: TensorProto) -> bool:
    return tensor.data_type in (*_FLOATS, *_INTEGERS) and _size(tensor) > 0


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims))


def _changed(array: Array, kind: int) -> Array:
    """Return other numbers of the same dtype and shape."""
    random = np.random.default_rng(array.size)
    signs = random.choice([-1, 1], array.shape)
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        span = high - low + 1
        moved = array.astype(np.int64) - low + signs * (span // 4)
        return np.asarray(moved % span + low).astype(array.dtype)
    if kind not in _FLOATS:
        return np.asarray(array + signs * max(1, int(np.abs(array).max()) // 2)).astype(array.dtype)
    wide = array.astype(np.float64)
    if (wide > 0).all():  # a scale or a variance, which stays above zero
        return np.asarray(wide * np.where(signs > 0, 2.5, 1.5)).astype(array.dtype)
    size = float(np.abs(wide[np.isfinite(wide)]).max(initial=0)) or 1.0
    outwards = np.where(wide == 0, signs, np.sign(wide)) * np.where(signs > 0, 0.5, 0.25)
    return np.asarray(wide * 1.5 + outwards * size).astype(array.dtype)
