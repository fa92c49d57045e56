"""The `operator_int8` lowering: ONNX Runtime's own LSTM of integers.

Operator: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md,
`com.microsoft.DynamicQuantizeLSTM`. It quantizes the input once, over all time and all rows, and
the state at each step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.graph import MICROSOFT, GraphBuilder
from rnnedge_exporters.lowerings.base import Lengths
from rnnedge_exporters.lowerings.operator import finish, stacked, stacked_biases
from rnnedge_exporters.quantization.channels import COMPUTED_LIMIT, quantize_channels
from rnnedge_exporters.weights import Float32, RecurrentLayer


def lower_to_operator_int8(
    graph: GraphBuilder,
    layer: RecurrentLayer,
    index: int,
    x: ir.Value,
    lengths: Lengths | None,
    initial: tuple[ir.Value, ...] | None,
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Add one node that runs both directions; `layer` is an LSTM without projection."""
    directions = layer.layers[index]
    weights, *weights_scale = _quantized(graph, "W", [d.weight_ih for d in directions])
    recurrence, *recurrence_scale = _quantized(graph, "R", [d.weight_hh for d in directions])
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    states = initial or (None, None)
    no_peepholes = None
    y, *finals = graph.ops(
        "DynamicQuantizeLSTM",
        x,
        weights,
        recurrence,
        graph.constant("B", stacked_biases(layer, index)) if layer.bias else None,
        lengths.int32 if lengths else None,
        *states,
        no_peepholes,
        *weights_scale,
        *recurrence_scale,
        outputs=3,
        domain=MICROSOFT,
        **attributes,
    )
    return finish(graph, layer, y, finals, lengths, initial)


def _quantized(graph: GraphBuilder, name: str, arrays: list[Float32]) -> list[ir.Value]:
    """Return int8 [directions, features, gates*hidden], then scales and zero points of channels."""
    values, scale = quantize_channels(stacked("lstm", arrays), 2, COMPUTED_LIMIT)
    return [
        graph.constant(name, values.transpose(0, 2, 1)),
        graph.constant(f"{name}_scale", scale[:, :, 0]),
        graph.constant(f"{name}_zero_point", np.zeros(scale.shape[:2], np.int8)),
    ]
