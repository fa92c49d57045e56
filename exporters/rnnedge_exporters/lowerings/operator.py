"""The `operator` lowering: ONNX's own `RNN`, `LSTM` and `GRU`, which most runtimes have.

Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.layers.weights import Float32
from rnnedge_exporters.lowerings.base import LayerCall, Lowered
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder
from rnnedge_exporters.onnx_model.recurrent_nodes import gates_to_onnx
from rnnedge_runtime.contract import Cell


def lower_to_operator(graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add one node that runs both directions; `layer` has no projection."""
    layer, directions = call.layer, call.weights
    weights = graph.weight("W", stacked(layer.cell, [d.weight_ih for d in directions]), 2)
    recurrence = graph.weight("R", stacked(layer.cell, [d.weight_hh for d in directions]), 2)
    bias = graph.weight("B", stacked_biases(call)) if layer.bias else None

    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    if layer.cell == "gru":
        attributes["linear_before_reset"] = 1  # PyTorch resets after the recurrent product
    if layer.nonlinearity == "relu":
        attributes["activations"] = ["Relu"] * layer.directions

    y, *finals = graph.ops(
        layer.cell.upper(),
        call.x,
        weights,
        recurrence,
        bias,
        call.lengths.int32 if call.lengths else None,
        *(call.initial or ()),
        outputs=1 + len(layer.state_sizes),
        **attributes,
    )
    return finish(graph, call, y, finals)


def finish(
    graph: GraphBuilder, call: LayerCall, y: ir.Value, finals: Sequence[ir.Value]
) -> Lowered:
    """Turn what the operator gives, `y` [time, directions, batch, hidden], into a lowering's."""
    if call.lengths and call.initial:
        # ONNX Runtime answers zeros for a row of length zero; its state has to pass through.
        finals = [
            graph.op("Where", call.lengths.empty, before, after)
            for before, after in zip(call.initial, finals, strict=True)
        ]
    if call.layer.directions == 1:
        return graph.op("Squeeze", y, graph.integers(1)), tuple(finals)
    y = graph.op("Transpose", y, perm=[0, 2, 1, 3])  # [time, batch, directions, hidden]
    width = call.layer.directions * call.layer.hidden_size
    return graph.op("Reshape", y, graph.integers(0, 0, width)), tuple(finals)


def stacked_biases(call: LayerCall) -> Float32:
    """Return the biases as the operators take them: [directions, 2*gates*hidden]."""
    halves = [[d.bias_ih for d in call.weights], [d.bias_hh for d in call.weights]]
    return np.concatenate([stacked(call.layer.cell, half) for half in halves], axis=1)


def stacked(cell: Cell, arrays: list[Float32]) -> Float32:
    """Put the gates in ONNX's order and the directions in front: [directions, gates*hidden, …]."""
    return np.stack([gates_to_onnx(cell, array) for array in arrays])
