"""Reads an ONNX file into nodes and arrays, without the onnx package.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.errors import ModelError, PlanError
from rnnedge_runtime.protobuf_wire import Bytes, read_fields, read_numbers
from rnnedge_runtime.tensor_file import parse_tensor

Array: TypeAlias = NDArray[Any]

_MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_MOST_NESTED = 16
"""How deep graphs may lie inside graphs."""
_DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """A graph input or output: its name, dtype and axes; an axis without a size or name is None."""

    name: str
    dtype: str
    axes: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        op_type: Name of the operator, with its domain in front where that is not ONNX's own.
        name: Name of the node; may be empty.
        inputs: Names of its inputs, empty where an optional one is left out.
        outputs: Names of its outputs, likewise.
        attributes: int, float, str, array, `Graph`, or lists of numbers.
    """

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def label(self) -> str:
        """The operator and the name of the node, for messages."""
        return f"{self.op_type} node {self.name!r}" if self.name else f"an {self.op_type} node"


@dataclass(slots=True)
class Graph:
    """A graph, or the body of a node."""

    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    inputs: list[ValueInfo] = field(default_factory=list)
    outputs: list[ValueInfo] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its graph, the version of ONNX's own operators, and `metadata_props`."""

    graph: Graph
    opset: int
    metadata: dict[str, str]


def read_model(content: bytes, source: str) -> Model:
    """Read a serialized ModelProto.

    Args:
        content: The bytes of an `.onnx` file.
        source: What they were read from, for the error message.

    Raises:
        ModelError: When they are no model, or are cut off.
        PlanError: When the model has what the native engine does not read: external data, sparse
            weights, functions.
    """
    try:
        return _model(memoryview(content))
    except (ValueError, struct.error, RecursionError, OverflowError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{source} cannot be read as an ONNX model: {error}") from error


def _model(content: Bytes) -> Model:
    graph, opset, metadata = None, 0, {}
    for number, payload in read_fields(content):
        if number == 7:
            graph = _graph(payload, 0)
        elif number == 8:
            fields = dict(read_fields(payload))
            if _text(fields.get(1, b"")) in ("", "ai.onnx"):
                opset = _integer(fields.get(2, b"\0"))
        elif number == 14:
            fields = dict(read_fields(payload))
            metadata[_text(fields.get(1, b""))] = _text(fields.get(2, b""))
        elif number == 25:
            raise PlanError("the model has local functions: the native engine supports none")
    if graph is None:
        raise ValueError("expected a graph in it")
    return Model(graph, opset, metadata)


def _graph(content: Bytes, depth: int) -> Graph:
    if depth > _MOST_NESTED:
        raise ValueError(f"expected up to {_MOST_NESTED} graphs inside each other")
    graph = Graph()
    for number, payload in read_fields(content):
        if number == 1:
            graph.nodes.append(_node(payload, depth))
        elif number == 5:
            name, array = parse_tensor(bytes(payload))
            graph.initializers[name] = array
        elif number in (11, 12):
            (graph.inputs if number == 11 else graph.outputs).append(_value_info(payload))
        elif number == 15:
            raise PlanError("the model has sparse weights, which the native engine does not read")
    return graph


def _node(content: Bytes, depth: int) -> Node:
    fields: dict[int, list[Bytes]] = {}
    for number, payload in read_fields(content):
        fields.setdefault(number, []).append(payload)
    texts = {number: [_text(item) for item in fields.get(number, [])] for number in (1, 2, 3, 4, 7)}
    op_type, name = "".join(texts[4][-1:]), "".join(texts[3][-1:])
    domain = "".join(texts[7][-1:])
    if domain == _MICROSOFT:
        op_type = f"{domain}.{op_type}"
    elif domain not in ("", "ai.onnx"):
        raise PlanError(
            f"node {name!r} is {op_type} of {domain!r}, and the native engine has operators "
            f"of ONNX and of {_MICROSOFT} alone",
            name or op_type,
        )
    attributes = dict(_attribute(item, depth) for item in fields.get(5, []))
    return Node(op_type, name, tuple(texts[1]), tuple(texts[2]), attributes)


def _attribute(content: Bytes, depth: int) -> tuple[str, Any]:
    fields: dict[int, list[Bytes]] = {}
    for number, payload in read_fields(content):
        fields.setdefault(number, []).append(payload)
    name = _text(fields.get(1, [b""])[-1])
    kind = _integer(fields.get(20, [b"\0"])[-1])
    if kind == 1:
        return name, _float(fields.get(2, [b"\0\0\0\0"])[-1])
    if kind == 2:
        return name, _integer(fields.get(3, [b"\0"])[-1])
    if kind == 3:
        return name, _text(fields.get(4, [b""])[-1])
    if kind == 4 and 5 in fields:
        return name, parse_tensor(bytes(fields[5][-1]))[1]
    if kind == 5 and 6 in fields:
        return name, _graph(fields[6][-1], depth + 1)
    if kind == 6:
        return name, [value for item in fields.get(7, []) for value in _floats(item)]
    if kind == 7:
        return name, read_numbers(fields.get(8, [])).tolist()
    if kind == 8:
        return name, [_text(item) for item in fields.get(9, [])]
    raise ValueError(f"attribute {name!r} is of kind {kind}, which is not read")


def _value_info(content: Bytes) -> ValueInfo:
    name, dtype, axes = "", "", []
    for number, payload in read_fields(content):
        if number == 1:
            name = _text(payload)
        elif number == 2:
            tensor = dict(read_fields(payload)).get(1, b"")
            for part, value in read_fields(tensor):
                if part == 1:
                    dtype = _DTYPES.get(_integer(value), "")
                elif part == 2:
                    axes = [_axis(axis) for inner, axis in read_fields(value) if inner == 1]
    return ValueInfo(name, dtype, tuple(axes))


def _axis(content: Bytes) -> int | str | None:
    for number, payload in read_fields(content):
        if number == 1:
            return _integer(payload)
        if number == 2:
            return _text(payload)
    return None


def _text(payload: Bytes) -> str:
    return bytes(payload).decode()


def _integer(payload: Bytes) -> int:
    return int(read_numbers([payload])[-1]) if len(payload) else 0


def _float(payload: Bytes) -> float:
    return float(struct.unpack("<f", payload)[0])


def _floats(payload: Bytes) -> Iterator[float]:
    values: Iterable[float] = np.frombuffer(bytes(payload), "<f4").tolist()
    yield from values
