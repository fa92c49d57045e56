"""The weights around the recurrent layers: stored in fewer bits, widened when the model is opened.

What widens them has constant inputs, and is computed once, as in `GraphBuilder.weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir
from torch import nn

from rnnedge_exporters.graph import GraphBuilder
from rnnedge_exporters.quantization.channels import STORED_LIMIT, Float32, rounded
from rnnedge_exporters.quantization.options import Storage
from rnnedge_exporters.quantization.report import LayerQuantization, kept_in_float32

_FEWEST = 256
"""Elements below which the nodes that widen weights take as many bytes as they save."""

Axes = tuple[int, ...]

_SUMMED: dict[tuple[str, int], Callable[[ir.Node, int], Axes]] = {
    ("MatMul", 1): lambda node, rank: (rank - 2,),
    ("Gemm", 1): lambda node, rank: (1 if _integer(node, "transB") else 0,),
    ("Conv", 1): lambda node, rank: tuple(range(1, rank)),
    ("ConvTranspose", 1): lambda node, rank: (0, *range(2, rank)),
    ("Gather", 0): lambda node, rank: tuple(range(1, rank)),
}
"""For an operator and the place of its weights, the axes that are summed over, or that a row of an
embedding spans."""


def store_constants(
    graph: ir.Graph, storage: Callable[[str], Storage], module: nn.Module
) -> list[LayerQuantization]:
    """Write the weights of linear layers, convolutions and embeddings in fewer bits.

    Args:
        graph: The graph of the module; changed in place.
        storage: Returns how those of a parameter, or under a name in the graph, are written.
        module: What the names of its weights are taken from.

    Returns:
        What was done to each.
    """
    if storage("") == "float32":
        return []
    report = []
    for inner in (graph, *graph.subgraphs()):
        for constant, node, summed in list(_weights(inner)):
            assert constant.const_value is not None
            array, written = constant.const_value.numpy(), storage(constant.name or "")
            name = _name_in(module, array) or constant.name or ""
            if written != "float32" and storage(name) != "float32":
                report.append(_store(inner, constant, node, summed, written, name))
            elif storage(name) == "float32":
                report.append(kept_in_float32(name, node.op_type, array.nbytes, "it was asked for"))
    return report


def _weights(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Node, Axes]]:
    """Yield the float32 weights of `graph`, with a node that uses them and the axes it sums."""
    for constant in graph.initializers.values():
        if constant.dtype != ir.DataType.FLOAT or constant.const_value is None:
            continue
        rank = len(constant.const_value.shape)
        for node, place in constant.uses():
            summed = _SUMMED.get((node.op_type, place))
            if summed and rank > 1 and constant.const_value.size >= _FEWEST:
                yield constant, node, summed(node, rank)
                break


def _store(
    graph: ir.Graph,
    constant: ir.Value,
    node: ir.Node,
    summed: Axes,
    storage: Storage,
    parameter: str,
) -> LayerQuantization:
    assert constant.const_value is not None
    name = constant.name or ""
    array = constant.const_value.numpy()
    graph.initializers.pop(name)
    # Half arithmetic is for recurrent layers alone: everything around them is float32.
    written: Storage = "float16" if storage == "half" else storage
    builder = GraphBuilder(storage=written)
    wide = builder.weight(name, array, summed)
    for made in builder.nodes:
        made.name = f"{name}/{made.op_type}"
        made.outputs[0].name = made.name
    wide.type, wide.shape = constant.type, constant.shape
    graph.insert_before(graph[0], builder.nodes)
    for stored in builder.initializers.values():
        graph.register_initializer(stored)
    ir.convenience.replace_all_uses_with(constant, wide)
    if storage == "int8":
        after = rounded(array, summed, STORED_LIMIT)
    else:
        after = array.astype(np.float16).astype(np.float32)
    return LayerQuantization(
        name=parameter,
        kind=node.op_type,
        done="stored in int8" if storage == "int8" else "stored in float16",
        reason="float32 is computed in: a product that reads its weights once gains no speed",
        bytes_before=array.nbytes,
        bytes_after=sum(
            stored.const_value.nbytes
            for stored in builder.initializers.values()
            if stored.const_value is not None
        ),
        weight_error=float(np.abs(array - after).max()),
        output_error=None,
    )


def _name_in(module: nn.Module, array: Float32) -> str | None:
    """Return the path of the parameter that a constant holds, as it is or transposed."""
    for name, parameter in module.named_parameters():
        value = parameter.detach().numpy()
        if value.shape == array.shape and np.array_equal(value, array):
            return name
        if value.shape == array.shape[::-1] and np.array_equal(value.T, array):
            return name
    return None


def _integer(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0
