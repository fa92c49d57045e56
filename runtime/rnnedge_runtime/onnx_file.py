"""Reads the graph of an ONNX file, without the onnx package.

Weights and attributes are decoded when they are asked for. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rnnedge_runtime.lazy_tensor import LazyTensor
from rnnedge_runtime.protobuf_wire import (
    Bytes,
    Message,
    floats_of,
    integer_of,
    read_message,
    read_numbers,
    text_of,
    texts_of,
)
from rnnedge_runtime.tensor_file import dtype_name

_GRAPH, _OPSETS, _METADATA, _FUNCTIONS = 7, 8, 14, 25  # of a ModelProto
_NODES, _TENSORS, _INPUTS, _OUTPUTS, _VALUES, _SPARSE = 1, 5, 11, 12, 13, 15  # of a GraphProto
_FUNCTION_NAME, _FUNCTION_INPUTS, _FUNCTION_OUTPUTS = 1, 4, 5  # of a FunctionProto
_FUNCTION_NODES, _FUNCTION_DOMAIN = 7, 10
_INPUT, _OUTPUT, _NODE_NAME, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 3, 4, 5, 7  # of a NodeProto
_ATTRIBUTE_NAME, _FLOAT, _NUMBER, _TEXT, _TENSOR, _INNER = 1, 2, 3, 4, 5, 6
_FLOATS, _INTEGERS, _TEXTS, _INNERS, _KIND = 7, 8, 9, 11, 20  # of an AttributeProto
_SPARSE_TENSOR, _SPARSE_DIMS = 22, 3  # of an AttributeProto, and of a SparseTensorProto
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEMENT, _SHAPE, _DIM = 1, 2, 1, 1, 2, 1
_DIM_SIZE, _DIM_NAME = 1, 2
_KEY, _VALUE = 1, 2  # of an entry of metadata, and of an opset: its domain and version
_MAPPED = 1 << 26
"""Bytes of a file above which it is mapped into memory instead of read."""
_DEEPEST = 100
"""Graphs inside graphs, as deep as protobuf itself reads them."""


class _Shared(threading.local):
    files: dict[int | str, tuple[GraphFile, Any]] | None = None
    """What `reading_once` keeps in this thread."""


_shared = _Shared()


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """What a graph declares of a value.

    Attributes:
        name: Its name.
        dtype: numpy's name of its dtype; empty where there is none.
        axes: Its sizes; names where they are dynamic, None without a size and a name.
    """

    name: str
    dtype: str
    axes: tuple[int | str | None, ...]


class Attribute:
    """An attribute of a node.

    Attributes:
        graphs: The graphs in it.
    """

    def __init__(self, fields: Message, depth: int) -> None:
        """Take the fields of an AttributeProto, which may hold graphs `depth` deep."""
        others = {n: held for n, held in fields.items() if n not in (_TENSOR, _INNER, _INNERS)}
        self._fields: Message = {n: [bytes(part) for part in held] for n, held in others.items()}
        self._tensors = [LazyTensor(payload) for payload in fields.get(_TENSOR, [])[-1:]]
        inner = fields.get(_INNER, []) + fields.get(_INNERS, [])
        self.graphs = tuple(_graph(payload, depth - 1) for payload in inner)

    @property
    def tensor(self) -> LazyTensor | None:
        """The tensor that it is; None for any other."""
        return self._tensors[0] if self._tensors else None

    @property
    def sparse_shape(self) -> tuple[int, ...] | None:
        """The sizes of the sparse tensor that it is; None for any other."""
        held = self._fields.get(_SPARSE_TENSOR)
        return _sparse_shape(held[-1]) if held else None

    @property
    def text(self) -> str:
        """The string that it is; empty for any other."""
        return str(self._fields.get(_TEXT, [b""])[-1], "utf-8", "replace")

    @property
    def integers(self) -> tuple[int, ...]:
        """The integer that it is, or several, or those of a small tensor; empty for any other."""
        held = self._tensors[0].integers if self._tensors else None
        return self._integers if held is None else held

    @property
    def dtype(self) -> int:
        """The element type of the tensor that it is, by ONNX's numbers; 0 for any other."""
        return self._tensors[0].dtype if self._tensors else 0

    @property
    def _integers(self) -> tuple[int, ...]:
        fields = self._fields
        return tuple(map(int, read_numbers(fields.get(_INTEGERS) or fields.get(_NUMBER, []))))

    @cached_property
    def value(self) -> Any:
        """An int, float, str, array or `Graph`, or a list of numbers or strings, by its type."""
        fields, kind = self._fields, integer_of(self._fields, _KIND)
        if kind == 1:
            return float(floats_of(fields.get(_FLOAT, [bytes(4)])[-1:])[0])
        if kind == 2:
            return integer_of(fields, _NUMBER)
        if kind == 3:
            return text_of(fields, _TEXT)
        if kind == 4 and self._tensors:
            return self._tensors[0].array
        if kind == 5 and self.graphs:
            return self.graphs[-1]
        if kind == 6:
            return floats_of(fields.get(_FLOATS, [])).tolist()
        if kind == 7:
            return read_numbers(fields.get(_INTEGERS, [])).tolist()
        if kind == 8:
            return texts_of(fields, _TEXTS)
        raise ValueError(f"attribute {text_of(fields, _ATTRIBUTE_NAME)!r} is of type {kind}")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph.

    Attributes:
        name: Its name, which may be empty.
        op_type: The operator.
        domain: Its domain; empty for ONNX's own.
        inputs: Names of what it takes; empty for what is left out.
        outputs: Names of what it gives.
        attributes: Its attributes by name.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def operator(self) -> str:
        """The operator, with its domain in front where that is not ONNX's own."""
        return f"{self.domain}.{self.op_type}" if self.domain else self.op_type

    @property
    def label(self) -> str:
        """What to call it."""
        return f"node {self.name!r} ({self.op_type})" if self.name else f"a node ({self.op_type})"

    @property
    def graphs(self) -> Iterator[Graph]:
        """The graphs inside it."""
        return (graph for attribute in self.attributes.values() for graph in attribute.graphs)

    def input(self, position: int) -> str:
        """Return the name of an input; empty where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute, or `default` where it is left out."""
        return self.attributes[name].value if name in self.attributes else default


@dataclass(frozen=True)
class Graph:
    """A graph, or the body of a function.

    Attributes:
        nodes: Its nodes, in order.
        inputs: Its inputs.
        outputs: Its outputs.
        initializers: Its constants by name.
        declared: What it declares of other values, by name.
        sparse: The sizes of its sparse constants, whose values are not read.
    """

    nodes: tuple[Node, ...] = ()
    inputs: tuple[ValueInfo, ...] = ()
    outputs: tuple[ValueInfo, ...] = ()
    initializers: Mapping[str, LazyTensor] = field(default_factory=dict)
    declared: Mapping[str, ValueInfo] = field(default_factory=dict)
    sparse: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of its inputs."""
        return tuple(info.name for info in self.inputs)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of its outputs."""
        return tuple(info.name for info in self.outputs)

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Return the sizes that a value declares; None for one that is not fixed."""
        info = self.declared.get(name)
        axes = () if info is None else info.axes
        return tuple(axis if isinstance(axis, int) and axis else None for axis in axes)


@dataclass(frozen=True, slots=True)
class GraphFile:
    """What an ONNX file holds.

    Attributes:
        graph: The graph.
        functions: The bodies of its own functions, by domain and name.
        opset: The version of ONNX's own operators; 0 where none is given.
        metadata: Its `metadata_props`.
    """

    graph: Graph
    functions: Mapping[tuple[str, str], Graph] = field(default_factory=dict)
    opset: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)

    def nodes(self) -> Iterator[Node]:
        """Yield all nodes, including those of functions and of graphs inside nodes."""
        for graph in (self.graph, *self.functions.values()):
            yield from all_nodes(graph)


def read_graph(model: str | os.PathLike[str] | bytes) -> GraphFile:
    """Read a model of which it is not known whether it is an ONNX file.

    Args:
        model: Path of an `.onnx` file, or its bytes.

    Returns:
        What it holds; an empty graph if the file no longer exists, or has another format, such as
        ONNX Runtime's own.
    """
    try:
        return read_file(model)
    except (OSError, ValueError):
        return GraphFile(Graph())


@contextmanager
def reading_once() -> Iterator[None]:
    """Let each model be read once in this thread while the block runs."""
    outside = _shared.files
    _shared.files = {}
    try:
        yield
    finally:
        _shared.files = outside


def read_file(model: str | os.PathLike[str] | bytes) -> GraphFile:
    """Read an ONNX file; a large one is mapped into memory.

    Args:
        model: Its path, or its bytes.

    Raises:
        OSError: When it cannot be read.
        ValueError: As `parse_model` raises it.
    """
    return _once(model, lambda: _read_file(model))


def parse_file(content: bytes, path: str | os.PathLike[str] | None) -> GraphFile:
    """Read an ONNX file whose content is known.

    Args:
        content: The content.
        path: Its path; None for a model that is bytes.

    Raises:
        ValueError: As `parse_model` raises it.
    """
    return _once(content if path is None else path, lambda: parse_model(content))


def _once(model: str | os.PathLike[str] | bytes, read: Callable[[], GraphFile]) -> GraphFile:
    files = _shared.files
    if files is None:
        return read()
    key = id(model) if isinstance(model, bytes) else os.path.abspath(model)
    if key not in files:
        files[key] = read(), model  # which lives as long as its `id` is a key
    return files[key][0]


def _read_file(model: str | os.PathLike[str] | bytes) -> GraphFile:
    if isinstance(model, bytes):
        return parse_model(model)
    with open(model, "rb") as file:
        if os.fstat(file.fileno()).st_size <= _MAPPED:
            return parse_model(file.read())
        import mmap  # few files are as large

        return parse_model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def parse_model(content: Bytes) -> GraphFile:
    """Read a serialized ModelProto.

    Args:
        content: The bytes of an `.onnx` file.

    Raises:
        ValueError: When they are not a model, or are cut off; weights and attributes raise theirs
            when they are asked for.
    """
    fields = read_message(memoryview(content))
    graphs = [_graph(payload, _DEEPEST) for payload in fields.get(_GRAPH, [])]
    if not graphs:
        raise ValueError("expected a graph in it")
    functions = dict(_function(payload) for payload in fields.get(_FUNCTIONS, []))
    opsets = [read_message(payload) for payload in fields.get(_OPSETS, [])]
    standard = [integer_of(o, _VALUE) for o in opsets if text_of(o, _KEY) in ("", "ai.onnx")]
    entries = [read_message(payload) for payload in fields.get(_METADATA, [])]
    metadata = {text_of(entry, _KEY): text_of(entry, _VALUE) for entry in entries}
    return GraphFile(graphs[-1], functions, standard[-1] if standard else 0, metadata)


def all_nodes(graph: Graph) -> Iterator[Node]:
    """Yield the nodes of a graph, and those of the graphs inside them."""
    for node in graph.nodes:
        yield node
        for inner in node.graphs:
            yield from all_nodes(inner)


def _graph(content: Bytes, depth: int) -> Graph:
    if not depth:
        raise ValueError(f"graphs are nested more than {_DEEPEST} levels deep")
    fields = read_message(content)
    tensors = [LazyTensor(payload) for payload in fields.get(_TENSORS, [])]
    inputs, outputs, others = (
        tuple(map(_value_info, fields.get(number, []))) for number in (_INPUTS, _OUTPUTS, _VALUES)
    )
    return Graph(
        tuple(_node(payload, depth) for payload in fields.get(_NODES, [])),
        inputs,
        outputs,
        {tensor.name: tensor for tensor in tensors},
        {info.name: info for info in (*inputs, *outputs, *others)},
        tuple(map(_sparse_shape, fields.get(_SPARSE, []))),
    )


def _function(content: Bytes) -> tuple[tuple[str, str], Graph]:
    fields = read_message(content)
    inputs, outputs = (
        tuple(ValueInfo(name, "", ()) for name in texts_of(fields, number))
        for number in (_FUNCTION_INPUTS, _FUNCTION_OUTPUTS)
    )
    nodes = tuple(_node(payload, _DEEPEST) for payload in fields.get(_FUNCTION_NODES, []))
    name = text_of(fields, _FUNCTION_DOMAIN), text_of(fields, _FUNCTION_NAME)
    return name, Graph(nodes, inputs, outputs)


def _node(content: Bytes, depth: int) -> Node:
    fields = read_message(content)
    domain = text_of(fields, _DOMAIN)
    attributes = [read_message(payload) for payload in fields.get(_ATTRIBUTE, [])]
    return Node(
        text_of(fields, _NODE_NAME),
        text_of(fields, _OPERATOR),
        "" if domain == "ai.onnx" else domain,
        tuple(texts_of(fields, _INPUT)),
        tuple(texts_of(fields, _OUTPUT)),
        {text_of(held, _ATTRIBUTE_NAME): Attribute(held, depth) for held in attributes},
    )


def _sparse_shape(content: Bytes) -> tuple[int, ...]:
    return tuple(map(int, read_numbers(read_message(content).get(_SPARSE_DIMS, []))))


def _value_info(content: Bytes) -> ValueInfo:
    """Return what is declared of a value; no dtype and no axes where it is not a tensor."""
    fields = read_message(content)
    tensor = fields
    for number in (_VALUE_TYPE, _TENSOR_TYPE):
        tensor = read_message(tensor.get(number, [b""])[-1])
    shape = read_message(tensor.get(_SHAPE, [b""])[-1])
    axes = tuple(_axis(read_message(payload)) for payload in shape.get(_DIM, []))
    return ValueInfo(text_of(fields, _VALUE_NAME), dtype_name(integer_of(tensor, _ELEMENT)), axes)


def _axis(fields: Message) -> int | str | None:
    if _DIM_SIZE in fields:
        return integer_of(fields, _DIM_SIZE)
    return text_of(fields, _DIM_NAME) if _DIM_NAME in fields else None
