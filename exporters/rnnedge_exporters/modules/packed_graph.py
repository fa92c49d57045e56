"""The ONNX form of the opaque nodes that packed sequences leave in a traced program."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.modules.packing import PACK, POSITIONS, STEPS, UNPACK
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder


def _steps(graph: GraphBuilder, node: ir.Node) -> ir.Value:
    return _count(graph, node.inputs[0])


def _positions(graph: GraphBuilder, node: ir.Node) -> ir.Value:
    """Time and row where a row has that step, time by time: what `NonZero` lists, row by row."""
    padded, lengths, *order = node.inputs
    if order:
        lengths = graph.op("Gather", lengths, order[0])
    steps = graph.op("Unsqueeze", _count(graph, padded), graph.integers(1))  # [time, 1]
    inside = graph.op("Less", steps, lengths)  # [time, batch]
    found = graph.op("NonZero", inside)  # [2, packed]
    if order:
        time, place = graph.ops("Split", found, graph.integers(1, 1), outputs=2, axis=0)
        found = graph.op("Concat", time, graph.op("Gather", order[0], place), axis=0)
    return graph.op("Transpose", found, perm=[1, 0])  # [packed, 2]


def _pack(graph: GraphBuilder, node: ir.Node) -> ir.Value:
    return graph.op("GatherND", *node.inputs)


def _unpack(graph: GraphBuilder, node: ir.Node) -> ir.Value:
    data, positions, padded = node.inputs
    rows = graph.op("Shape", padded, start=0, end=2)  # time, batch
    shape = graph.op("Concat", rows, graph.op("Shape", data, start=1), axis=0)
    dtype = node.outputs[0].dtype or ir.DataType.FLOAT
    zero = ir.tensor(np.zeros(1, dtype.numpy()))
    return graph.op("ScatterND", graph.op("ConstantOfShape", shape, value=zero), positions, data)


def _count(graph: GraphBuilder, padded: ir.Value | None) -> ir.Value:
    """Return int64 [time], 0 to time - 1, for a tensor [time, ...]."""
    shape = graph.op("Shape", padded, start=0, end=1)
    count = graph.op("Squeeze", shape, graph.integers(0))
    zero, one = (graph.constant(str(n), np.array(n, np.int64)) for n in (0, 1))
    return graph.op("Range", zero, count, one)


PACKED_FORMS: dict[str, Callable[[GraphBuilder, ir.Node], ir.Value]] = {
    STEPS: _steps,
    POSITIONS: _positions,
    PACK: _pack,
    UNPACK: _unpack,
}
"""The form of each operator; the builder's names begin with the node's."""
