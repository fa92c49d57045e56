"""Reads the models that a plan can be made of."""

from __future__ import annotations

import os

from rnnedge_runtime.errors import ModelError, PlanError
from rnnedge_runtime.onnx_file import Graph, GraphFile, all_nodes, parse_file

_MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


def read_model(content: bytes, source: str) -> GraphFile:
    """Read a serialized ModelProto, and decode all weights and attributes.

    Args:
        content: The bytes of an `.onnx` file.
        source: What they were read from, for the error message.

    Raises:
        ModelError: When they are not a model, or are cut off.
        PlanError: When the model has what the native engine does not read: external data, sparse
            weights, functions, operators of other domains.
    """
    try:
        model = parse_file(content, source if os.path.isfile(source) else None)
        _check(model)
    except PlanError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise ModelError(f"{source} cannot be read as an ONNX model: {error}") from error
    return model


def _check(model: GraphFile) -> None:
    if model.functions:
        raise PlanError("the model has local functions: the native engine supports none")
    _check_graph(model.graph)
    for node in all_nodes(model.graph):
        if node.domain not in ("", _MICROSOFT):
            raise PlanError(
                f"node {node.name!r} is {node.op_type} of {node.domain!r}, and the native engine "
                f"has operators of ONNX and of {_MICROSOFT} alone",
                node.name or node.op_type,
            )
        for attribute in node.attributes.values():
            if isinstance(attribute.value, Graph):
                _check_graph(attribute.value)


def _check_graph(graph: Graph) -> None:
    if graph.sparse:
        raise PlanError("the model has sparse weights, which the native engine does not read")
    for tensor in graph.initializers.values():
        _ = tensor.array
