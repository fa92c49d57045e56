"""One recurrent layer as ONNX: the stack of its layers, between PyTorch's axes and ONNX's."""

from __future__ import annotations

import onnx_ir as ir

from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.lowerings import INT8_LOWERINGS, LOWERINGS, LayerCall, Lengths
from rnnedge_exporters.onnx_model.graph_builder import FLOAT, GraphBuilder


def add_layer(
    graph: GraphBuilder,
    layer: RecurrentLayer,
    lowering: str,
    x: ir.Value,
    *,
    lengths: ir.Value | None,
    initial: tuple[ir.Value, ...] | None,
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Add all stacked layers of `layer` to `graph`.

    Args:
        graph: What to add to.
        layer: The layer with its weights.
        lowering: A key of `LOWERINGS` or `INT8_LOWERINGS`.
        x: float32 [time, batch, features], or [batch, time, features] when `layer.batch_first`.
        lengths: int64 [batch], or None when every row is full.
        initial: (h_0,) or (h_0, c_0), each float32 [layers*directions, batch, hidden]; None for
            zeros.

    Returns:
        The output, with its axes as those of `x`, and (h_n,) or (h_n, c_n).
    """
    depth = len(layer.layers)
    lower = (LOWERINGS | INT8_LOWERINGS)[lowering]
    if layer.batch_first:
        x = graph.op("Transpose", x, perm=[1, 0, 2])  # -> [time, batch, features]
    if graph.dtype != FLOAT:
        x = graph.op("Cast", x, to=graph.dtype)
        if initial is not None:
            initial = tuple(graph.op("Cast", state, to=graph.dtype) for state in initial)
    rows = Lengths(graph, lengths, x) if lengths is not None else None

    parts: list[tuple[ir.Value, ...]] | None = None
    if initial is not None:
        sizes = graph.integers(*[layer.directions] * depth)
        split = [
            graph.ops("Split", state, sizes, outputs=depth, axis=0) if depth > 1 else (state,)
            for state in initial
        ]
        parts = list(
            zip(*split, strict=True)
        )  # per layer: (h, c), each [directions, batch, hidden]

    finals = []
    for index in range(depth):
        with graph.scope(f"l{index}"):
            before = parts[index] if parts is not None else None
            x, after = lower(graph, LayerCall(layer, index, x, rows, before))
            finals.append(after)

    half = graph.dtype != FLOAT
    if half:  # before the transpose: ONNX Runtime 1.32 dies on Transpose, Cast, MatMul on a CPU
        x = graph.op("Cast", x, to=FLOAT)
    if layer.batch_first:
        x = graph.op("Transpose", x, perm=[1, 0, 2])  # -> [batch, time, directions*hidden]
    last = finals[0]
    if depth > 1:
        last = tuple(graph.op("Concat", *state, axis=0) for state in zip(*finals, strict=True))
    return x, tuple(graph.op("Cast", state, to=FLOAT) for state in last) if half else last
