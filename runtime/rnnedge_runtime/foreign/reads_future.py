"""Finds the nodes of a model without a contract that run backwards over time.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.protobuf_wire import Bytes, read_fields, read_numbers

_GRAPH, _FUNCTIONS = 7, 25  # of a ModelProto
_GRAPH_NODE, _FUNCTION_NODE = 1, 7
_NODE_NAME, _OPERATOR, _ATTRIBUTE = 3, 4, 5
_ATTRIBUTE_NAME, _TEXT, _INNER, _INTEGERS, _INNERS = 1, 4, 6, 8, 11

_DIRECTIONS = ("scan_input_directions", "scan_output_directions", "directions")
_WORDS = {"reverse": "runs backwards", "bidirectional": "is bidirectional"}


def backward_nodes(model: Model) -> tuple[str, ...]:
    """Name the recurrent nodes of a model that read the future, including those of inner graphs.

    Args:
        model: Path of an `.onnx` file, or its bytes.

    Returns:
        One line for each, such as `node 'encoder' (GRU) is bidirectional`; empty if the file no
        longer exists, or has another format.
    """
    try:
        content = model if isinstance(model, bytes) else Path(os.fspath(model)).read_bytes()
        return tuple(dict.fromkeys(_found(memoryview(content))))
    except (OSError, ValueError):  # ONNX Runtime's own format, which it opens too, is not protobuf
        return ()


def _found(model: Bytes) -> Iterator[str]:
    for number, payload in read_fields(model):
        if number == _GRAPH:
            yield from _in_graph(payload, _GRAPH_NODE)
        elif number == _FUNCTIONS:
            yield from _in_graph(payload, _FUNCTION_NODE)


def _in_graph(graph: Bytes, node: int) -> Iterator[str]:
    for number, payload in read_fields(graph):
        if number == node:
            yield from _in_node(payload)


def _in_node(node: Bytes) -> Iterator[str]:
    name = operator = words = ""
    for number, payload in read_fields(node):
        if number == _NODE_NAME:
            name = str(payload, "utf-8")
        elif number == _OPERATOR:
            operator = str(payload, "utf-8")
        elif number == _ATTRIBUTE:
            key, text, integers, inner = _attribute(payload)
            if key == "direction":
                words = _WORDS.get(text, words)
            elif key in _DIRECTIONS and any(read_numbers(integers)):
                words = _WORDS["reverse"]
            for graph in inner:
                yield from _in_graph(graph, _GRAPH_NODE)
    if operator == "ReverseSequence":
        words = "reverses time"
    if words:
        yield f"node {name!r} ({operator}) {words}" if name else f"a node ({operator}) {words}"


def _attribute(attribute: Bytes) -> tuple[str, str, list[Bytes], list[Bytes]]:
    """Return the name of an attribute, its text, its integers and its graphs."""
    fields: dict[int, list[Bytes]] = {}
    for number, payload in read_fields(attribute):
        fields.setdefault(number, []).append(payload)
    name, text = (
        str(fields.get(n, [b""])[-1], "utf-8", "replace") for n in (_ATTRIBUTE_NAME, _TEXT)
    )
    return name, text, fields.get(_INTEGERS, []), fields.get(_INNER, []) + fields.get(_INNERS, [])
