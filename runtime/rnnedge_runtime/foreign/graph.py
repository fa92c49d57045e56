"""The nodes of an ONNX file, as far as it takes to see what they do, without the onnx package.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.protobuf_wire import Bytes, read_fields, read_numbers

_GRAPH, _FUNCTIONS = 7, 25  # of a ModelProto
_NODES, _TENSORS, _INPUTS, _OUTPUTS, _VALUES = 1, 5, 11, 12, 13  # of a GraphProto
_FUNCTION_NAME, _FUNCTION_INPUTS, _FUNCTION_OUTPUTS = 1, 4, 5  # of a FunctionProto
_FUNCTION_NODES, _FUNCTION_DOMAIN = 7, 10
_INPUT, _OUTPUT, _NODE_NAME, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 3, 4, 5, 7  # of a NodeProto
_ATTRIBUTE_NAME, _NUMBER, _TEXT, _TENSOR, _INNER, _INTEGERS, _INNERS = 1, 3, 4, 5, 6, 8, 11
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_INT32, _TENSOR_INT64 = 1, 2, 5, 7
_TENSOR_NAME, _TENSOR_RAW = 8, 9
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _SHAPE, _DIM, _DIM_SIZE = 1, 2, 1, 2, 1, 1
_INT_WIDTHS = {6: "<i4", 7: "<i8"}
_MOST_NUMBERS = 64
"""Elements of an integer tensor whose values are read: axes, positions and shapes have few."""
_DEEPEST = 100
"""Graphs inside graphs, as deep as protobuf itself reads them."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a node; what it does not hold is empty.

    Attributes:
        text: A string.
        integers: An integer, or several, or those of a small tensor.
        dtype: The element type of a tensor, by ONNX's numbers; 0 without a tensor.
        graphs: Graphs.
    """

    text: str
    integers: tuple[int, ...]
    dtype: int
    graphs: tuple[Graph, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph.

    Attributes:
        name: Its name, which may be empty.
        operator: The operator.
        domain: Its domain; empty for ONNX's own.
        inputs: Names of what it takes; empty for what is left out.
        outputs: Names of what it gives.
        attributes: Its attributes by name.
    """

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def label(self) -> str:
        """What to call it."""
        return f"node {self.name!r} ({self.operator})" if self.name else f"a node ({self.operator})"

    @property
    def graphs(self) -> Iterator[Graph]:
        """The graphs inside it."""
        return (graph for attribute in self.attributes.values() for graph in attribute.graphs)

    def input(self, position: int) -> str:
        """Return the name of an input; empty where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph, or the body of a function.

    Attributes:
        nodes: Its nodes, in order.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        constants: Names of its initializers, with their element types by ONNX's numbers.
        numbers: The values of small initializers of integers.
        shapes: The axes of values that declare them; None for a size that is not fixed.
    """

    nodes: tuple[Node, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    constants: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GraphFile:
    """What an ONNX file holds.

    Attributes:
        graph: The graph.
        functions: The bodies of its own functions, by domain and name.
    """

    graph: Graph
    functions: Mapping[tuple[str, str], Graph]

    def nodes(self) -> Iterator[Node]:
        """Yield all nodes, those of functions and of graphs inside nodes among them."""
        for graph in (self.graph, *self.functions.values()):
            yield from _all_nodes(graph)


def read_graph(model: Model) -> GraphFile:
    """Read the graph of a model.

    Args:
        model: Path of an `.onnx` file, or its bytes.

    Returns:
        The graph; an empty one if the file no longer exists, or has another format, such as ONNX
        Runtime's own.
    """
    try:
        content = model if isinstance(model, bytes) else Path(os.fspath(model)).read_bytes()
        fields = _fields(memoryview(content))
        graphs = [_graph(payload, _DEEPEST) for payload in fields.get(_GRAPH, [])]
        functions = dict(_function(payload) for payload in fields.get(_FUNCTIONS, []))
    except (OSError, ValueError):
        return GraphFile(Graph(), {})
    return GraphFile(graphs[-1] if graphs else Graph(), functions)


def _all_nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for inner in node.graphs:
            yield from _all_nodes(inner)


def _graph(content: Bytes, depth: int) -> Graph:
    if not depth:
        raise ValueError(f"graphs are nested more than {_DEEPEST} levels deep")
    fields = _fields(content)
    tensors = [_fields(payload) for payload in fields.get(_TENSORS, [])]
    inputs, outputs = (
        [_text(_fields(payload), _VALUE_NAME) for payload in fields.get(number, [])]
        for number in (_INPUTS, _OUTPUTS)
    )
    values = [p for number in (_INPUTS, _OUTPUTS, _VALUES) for p in fields.get(number, [])]
    return Graph(
        tuple(_node(payload, depth) for payload in fields.get(_NODES, [])),
        tuple(inputs),
        tuple(outputs),
        {_text(tensor, _TENSOR_NAME): _integer(tensor, _TENSOR_DTYPE) for tensor in tensors},
        {_text(t, _TENSOR_NAME): found for t in tensors if (found := _numbers(t)) is not None},
        dict(map(_shape, values)),
    )


def _function(content: Bytes) -> tuple[tuple[str, str], Graph]:
    fields = _fields(content)
    inputs, outputs = (
        tuple(str(payload, "utf-8") for payload in fields.get(number, []))
        for number in (_FUNCTION_INPUTS, _FUNCTION_OUTPUTS)
    )
    nodes = tuple(_node(payload, _DEEPEST) for payload in fields.get(_FUNCTION_NODES, []))
    name = _text(fields, _FUNCTION_DOMAIN), _text(fields, _FUNCTION_NAME)
    return name, Graph(nodes, inputs, outputs)


def _node(content: Bytes, depth: int) -> Node:
    fields = _fields(content)
    inputs, outputs = (
        tuple(str(payload, "utf-8") for payload in fields.get(number, []))
        for number in (_INPUT, _OUTPUT)
    )
    domain = _text(fields, _DOMAIN)
    return Node(
        _text(fields, _NODE_NAME),
        _text(fields, _OPERATOR),
        "" if domain == "ai.onnx" else domain,
        inputs,
        outputs,
        dict(_attribute(payload, depth) for payload in fields.get(_ATTRIBUTE, [])),
    )


def _attribute(content: Bytes, depth: int) -> tuple[str, Attribute]:
    fields = _fields(content)
    tensors = [_fields(payload) for payload in fields.get(_TENSOR, [])]
    listed = read_numbers(fields.get(_INTEGERS) or fields.get(_NUMBER, []))
    held = _numbers(tensors[-1]) if tensors else None
    graphs = fields.get(_INNER, []) + fields.get(_INNERS, [])
    return _text(fields, _ATTRIBUTE_NAME), Attribute(
        _text(fields, _TEXT),
        tuple(map(int, listed)) if held is None else held,
        _integer(tensors[-1], _TENSOR_DTYPE) if tensors else 0,
        tuple(_graph(payload, depth - 1) for payload in graphs),
    )


def _numbers(tensor: Mapping[int, list[Bytes]]) -> tuple[int, ...] | None:
    """Return the values of a tensor of a few integers; None of any other."""
    width = _INT_WIDTHS.get(_integer(tensor, _TENSOR_DTYPE))
    count = math.prod(map(int, read_numbers(tensor.get(_TENSOR_DIMS, []))))
    if width is None or not 0 <= count <= _MOST_NUMBERS:
        return None
    if _TENSOR_RAW in tensor:
        raw = bytes(tensor[_TENSOR_RAW][-1])
        found = np.frombuffer(raw[: count * int(width[-1])], width)
    else:
        found = read_numbers(tensor.get(_TENSOR_INT64) or tensor.get(_TENSOR_INT32, []))
    return tuple(map(int, found)) if len(found) == count else None


def _shape(content: Bytes) -> tuple[str, tuple[int | None, ...]]:
    """Return the name and the declared axes of a value; none where it is no tensor."""
    fields = _fields(content)
    inner = fields
    for number in (_VALUE_TYPE, _TENSOR_TYPE, _SHAPE):
        inner = _fields(inner.get(number, [b""])[-1])
    dims = (_fields(payload) for payload in inner.get(_DIM, []))
    return _text(fields, _VALUE_NAME), tuple(_integer(dim, _DIM_SIZE) or None for dim in dims)


def _fields(content: Bytes) -> dict[int, list[Bytes]]:
    fields: dict[int, list[Bytes]] = {}
    for number, payload in read_fields(content):
        fields.setdefault(number, []).append(payload)
    return fields


def _text(fields: Mapping[int, list[Bytes]], number: int) -> str:
    return str(fields.get(number, [b""])[-1], "utf-8", "replace")


def _integer(fields: Mapping[int, list[Bytes]], number: int) -> int:
    numbers = read_numbers(fields.get(number, []))
    return int(numbers[-1]) if len(numbers) else 0
