"""How much there is to compute in one call: read in the graph, at the sizes of the call.

Counted are the products, two operations for each weight and row; activations are not. Where a size
does not follow from the sizes of the inputs, or an operator multiplies in an unsupported way
here, there is no number instead of a guess.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto

from rnnedge_exporters.onnx_model.loading import load, load_if_readable
from rnnedge_exporters.onnx_model.nodes import all_graphs, all_nodes, attributes, is_standard

_WEIGHTS = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
}
_NOT_COUNTED = (
    *("Attention", "ConvInteger", "ConvTranspose", "Einsum", "Loop", "QLinearConv"),
    *("QLinearMatMul", "SequenceMap"),
)
"""Operators that multiply, or may hold what does."""
_LSTM_INPUTS = 8
_BRANCHES = ("then", "else")
Shapes = dict[str, tuple[int | None, ...]]
Counted: TypeAlias = tuple[int, dict[str, int]]
"""Operations, and the bytes of each constant that is read."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one call.

    Attributes:
        flops: Operations in products, of integers too, all steps and rows together.
        weight_bytes: Bytes of weights that one step reads, as they lie in memory: those that become
            float32 when the model is opened have four bytes each. A table that rows are picked
            from is not among them.
        stored_bytes: Bytes of the same weights in the file.
    """

    flops: int
    weight_bytes: int
    stored_bytes: int


class _UnknownError(Exception):
    """A size, or what an operator computes, is not known."""


class WorkCounter:
    """Counts the work of a model.

    Args:
        path: The `.onnx` file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the graph; values of weights are left out."""
        self._model = load_if_readable(path) or load(path, external_data=False)
        tensors = [
            tensor for graph in all_graphs(self._model.graph) for tensor in graph.initializer
        ]
        _as_plain_operators(self._model.graph, {tensor.name: tensor for tensor in tensors})
        for tensor in tensors:
            if tensor.data_type in _WEIGHTS:
                for field in ("raw_data", "float_data", "int32_data", "double_data"):
                    tensor.ClearField(field)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Work | None:
        """Count one call.

        Args:
            inputs: Some inputs by name, whose sizes determine those of all.

        Returns:
            None when it cannot be counted.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        sizes: dict[str, int] = {}
        for spec in model.graph.input:
            if spec.name in inputs:
                axes = spec.type.tensor_type.shape.dim
                named = zip(axes, inputs[spec.name].shape, strict=True)
                sizes |= {axis.dim_param: size for axis, size in named if axis.dim_param}
        for spec in model.graph.input:
            for axis in spec.type.tensor_type.shape.dim:
                if axis.dim_param in sizes:
                    axis.dim_value = sizes[axis.dim_param]
        for spec in model.graph.output:  # what is declared is not what was computed
            spec.type.tensor_type.ClearField("shape")
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
            if inferred.functions:
                return None
            flops, read = _count(inferred.graph, {}, {})
            return Work(flops, sum(read.values()), _stored(inferred.graph))
        except (_UnknownError, onnx.shape_inference.InferenceError):
            return None


def _stored(graph: GraphProto) -> int:
    """Return the bytes of weights in a file; tables that rows are picked from are left out."""
    picked_from = {node.input[0] for node in all_nodes(graph) if node.op_type == "Gather"}
    tensors = [tensor for inner in all_graphs(graph) for tensor in inner.initializer]
    return sum(
        math.prod(tensor.dims) * _width(tensor.data_type)
        for tensor in tensors
        if tensor.name not in picked_from
    )


def _count(graph: GraphProto, outside: Shapes, constants: Mapping[str, int]) -> Counted:
    """Return the operations of a graph, and the bytes of each constant that its nodes read.

    What is computed from constants alone is computed once, when the model is opened: it is a
    constant too, of the type that it has then.

    Args:
        graph: The graph.
        outside: Shapes of the values around it.
        constants: Bytes of the constants around it.
    """
    shapes = outside | {t.name: tuple(t.dims) for t in graph.initializer}
    types = {t.name: t.data_type for t in graph.initializer}
    for spec in (*graph.input, *graph.value_info, *graph.output):
        kind = spec.type.tensor_type
        types[spec.name] = kind.elem_type
        if kind.HasField("shape"):
            shapes[spec.name] = tuple(
                axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim
            )
    known = dict(constants)
    known |= {t.name: math.prod(t.dims) * _width(t.data_type) for t in graph.initializer}
    flops = 0
    read: dict[str, int] = {}
    for node in graph.node:
        if _is_folded(node, known):
            for name in node.output:
                width = _width(types.get(name, TensorProto.UNDEFINED))
                known[name] = _size(shapes, name) * width if width else 0
            continue
        operations, inside = _count_node(node, shapes, known)
        flops += operations
        taken = node.input[1:] if node.op_type == "Gather" else node.input
        read |= inside | {name: known[name] for name in taken if name in known}
    return flops, read


def _is_folded(node: NodeProto, constants: Mapping[str, int]) -> bool:
    """Whether a node is computed when the model is opened; ONNX Runtime keeps DequantizeLinear."""
    if node.op_type == "DequantizeLinear" or node.op_type.startswith("Random"):
        return False
    if any(attribute.HasField("g") for attribute in node.attribute):
        return False
    return all(name in constants for name in node.input if name)


def _width(data_type: int) -> int:
    """Return the bytes of an element of weights; 0 for other types."""
    if data_type not in _WEIGHTS:
        return 0
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _count_node(node: NodeProto, shapes: Shapes, constants: Mapping[str, int]) -> Counted:
    kind = node.op_type
    if not is_standard(node) or kind in _NOT_COUNTED:
        raise _UnknownError(kind)
    given = attributes(node)
    if kind == "Scan":
        scanned = given["num_scan_inputs"]
        axis = given.get("scan_input_axes", [0])[0]
        flops, read = _count(given["body"], shapes, constants)
        return flops * _size(shapes, node.input[-scanned], axis), read
    if kind == "If":
        one, other = (_count(given[f"{name}_branch"], shapes, constants) for name in _BRANCHES)
        if one[0] != other[0]:
            raise _UnknownError(kind)
        return max(one, other, key=lambda counted: sum(counted[1].values()))
    return 2 * _products(node, given, shapes), {}


def _products(node: NodeProto, given: Mapping[str, Any], shapes: Shapes) -> int:
    """Return the multiplications of a node without its own subgraphs."""
    kind = node.op_type
    if kind in ("MatMul", "MatMulInteger"):
        return _size(shapes, node.output[0]) * _size(shapes, node.input[0], -1)
    if kind == "Gemm":
        inner = _size(shapes, node.input[0], 0 if given.get("transA") else 1)
        return _size(shapes, node.output[0]) * inner
    if kind == "Conv":
        kernel = _size(shapes, node.input[1]) // _size(shapes, node.input[1], 0)
        return _size(shapes, node.output[0]) * kernel
    if kind in ("RNN", "GRU", "LSTM"):
        x, *weights = node.input[:3]
        return _size(shapes, x, 0, 1) * sum(_size(shapes, weight) for weight in weights)
    return 0


def _size(shapes: Shapes, name: str, *axes: int) -> int:
    """Return the number of entries along some axes of a value, or all."""
    known = shapes.get(name)
    if known is None:
        raise _UnknownError(name)
    chosen = [known[axis] for axis in axes] if axes else known
    return math.prod(_known(length, name) for length in chosen)


def _known(length: int | None, name: str) -> int:
    if length is None:
        raise _UnknownError(name)
    return length


def _as_plain_operators(graph: GraphProto, tensors: Mapping[str, TensorProto]) -> None:
    """Make ONNX Runtime's own operators of integers those of ONNX, whose output shapes are known.

    Of the weights of its LSTM, which are transposed, only the number of elements counts.
    """
    for inner in all_graphs(graph):
        del inner.value_info[:]  # a declared shape is not one that was computed
    for node in all_nodes(graph):
        if node.op_type == "DynamicQuantizeLSTM":
            node.op_type, node.domain = "LSTM", ""
            del node.input[_LSTM_INPUTS:]  # scales and zero points
        elif node.op_type == "MatMulNBits" and node.input[1] in tensors:
            given = attributes(node)
            if given["bits"] != 8:
                continue
            tensors[node.input[1]].dims[:] = given["K"], given["N"]
            node.op_type, node.domain = "MatMul", ""
            del node.input[2:], node.attribute[:]
