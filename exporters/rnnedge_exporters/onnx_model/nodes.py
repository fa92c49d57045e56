"""The nodes of a graph: walks into the graphs inside them, their labels and their attributes.

A file that may be damaged is read as ONNX's own messages, and a graph that is built or changed is
onnx-ir's: what is asked of a node is the same for both. onnx-ir walks its own graphs
(`Graph.all_nodes`, `Graph.subgraphs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import external_data_helper

from rnnedge_runtime.errors import pass_on_interruption

Node: TypeAlias = onnx.NodeProto | ir.Node
STANDARD = ("", "ai.onnx")
"""The two names of the domain of ONNX's own operators."""
RANDOM = (
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Bernoulli", "Multinomial"),
)
"""Operators that draw numbers each time they run."""


def label(node: Node) -> str:
    """Return what to call a node: its name, or its operator and what it makes."""
    made = next((name for name in output_names(node) if name), "?")
    return node.name or f"{node.op_type} of {made}"


def is_standard(node: Node) -> bool:
    """Whether a node is one of ONNX's own operators."""
    return node.domain in STANDARD


def input_names(node: Node) -> list[str]:
    """Return the names of the inputs, empty where one is left out."""
    if isinstance(node, ir.Node):
        return [value.name or "" if value is not None else "" for value in node.inputs]
    return list(node.input)


def output_names(node: Node) -> list[str]:
    """Return the names of the outputs, empty where one is left out."""
    if isinstance(node, ir.Node):
        return [value.name or "" for value in node.outputs]
    return list(node.output)


def attributes(node: Node) -> dict[str, Any]:
    """Return the values of the attributes of a node by name; strings as text."""
    if isinstance(node, ir.Node):
        return {attribute.name: attribute.value for attribute in node.attributes.values()}
    return {attribute.name: _value(attribute) for attribute in node.attribute}


def attribute(node: Node, name: str, default: Any = None) -> Any:
    """Return the value of one attribute of a node, or `default` where the node does not have it."""
    return attributes(node).get(name, default)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in the attributes of a node, one level down."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph, and every graph inside it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a graph, each before those of the graphs inside it."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every initializer, and every tensor in an attribute, of a graph and those inside it."""
    for inner in all_graphs(graph):
        yield from inner.initializer
        for node in inner.node:
            yield from (item.t for item in node.attribute if item.HasField("t"))


def array_of(tensor: onnx.TensorProto) -> NDArray[Any] | None:
    """Return the values of a tensor of a file that may be damaged.

    Returns:
        The array; None where the values lie in another file, or are not those of its sizes and
        its dtype.
    """
    if external_data_helper.uses_external_data(tensor):
        return None
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # ValueError, TypeError, KeyError and OverflowError among them
        pass_on_interruption(error)
        return None
    return array if array.shape == tuple(tensor.dims) else None  # numpy infers a negative size


def used(node: onnx.NodeProto) -> list[str]:
    """Return the tensors that a node takes, those that the graphs inside it read included.

    Names that belong to an inner graph itself are among them.
    """
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        names += [name for inner in graph.node for name in used(inner)]
        names += [output.name for output in graph.output]
    return names


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out the nodes and weights that no output needs; ONNX Runtime would run them."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(used(node))
            kept.append(node)
    nodes = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(nodes)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _value(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [text.decode(errors="replace") for text in value]
    return value
