"""The `operator_int8` lowering: ONNX Runtime's own LSTM of integers.

Operator: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md,
`com.microsoft.DynamicQuantizeLSTM`. It quantizes the input once, over all time and all rows, and
the state at each step.

Most of its error comes from the input projection: from 8 bits for the input, over its whole range,
and 7 for the weights (`COMPUTED_LIMIT`). So the first layer takes three times as many features,
each part with its own weights: the input; the input made small, with the eighth bit of the
weights; and what rounding takes from the input made large, with the weights made small. Hidden 256
is then off by 0.05 on inputs that saturate, and by 0.13 without, at 0.75 to 0.95 of the speed. The
file holds 8 bits for each weight, from which ONNX Runtime makes all three when it opens the model.
A layer that follows another takes its outputs, which lie within 1: there it is not worth its time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.layers.weights import Float32, RecurrentLayer
from rnnedge_exporters.lowerings.base import LayerCall, Lowered
from rnnedge_exporters.lowerings.operator import finish, stacked, stacked_biases
from rnnedge_exporters.onnx_model.graph_builder import FLOAT, MICROSOFT, GraphBuilder
from rnnedge_exporters.onnx_model.int8_grid import (
    COMPUTED_LIMIT,
    STORED_LIMIT,
    quantize_channels,
)

_SMALL = 1 / 8
"""Factor of the input next to the eighth bit, which is half an integer and becomes 4."""
_LARGE = 16
"""Factor of the rounding of the input, next to a sixteenth of the weights."""


def lower_to_operator_int8(graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add one node that runs both directions; `layer` is an LSTM without projection."""
    layer, x = call.layer, call.x
    inputs = [d.weight_ih for d in call.weights]
    if takes_parts(layer, call.index):
        x = _in_parts(graph, x, layer.input_size)
        weights, *weights_scale = _weights_of_parts(graph, inputs)
    else:
        weights, *weights_scale = _quantized(graph, "W", inputs)
    recurrence, *recurrence_scale = _quantized(graph, "R", [d.weight_hh for d in call.weights])
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    states = call.initial or (None, None)
    no_peepholes = None
    y, *finals = graph.ops(
        "DynamicQuantizeLSTM",
        x,
        weights,
        recurrence,
        graph.constant("B", stacked_biases(call)) if layer.bias else None,
        call.lengths.int32 if call.lengths else None,
        *states,
        no_peepholes,
        *weights_scale,
        *recurrence_scale,
        outputs=3,
        domain=MICROSOFT,
        **attributes,
    )
    return finish(graph, call, y, finals)


def takes_parts(layer: RecurrentLayer, index: int) -> bool:
    """Whether one of the stacked layers takes its input in parts."""
    return index == 0 and not layer.follows


def _in_parts(graph: GraphBuilder, x: ir.Value, features: int) -> ir.Value:
    """Return [time, batch, 3*features]: the input is the largest part, and sets the range."""
    near = graph.op("DequantizeLinear", *graph.ops("DynamicQuantizeLinear", x, outputs=3))
    parts = graph.op("Concat", x, x, graph.op("Sub", x, near), axis=2)
    factors = np.repeat(np.array([1, _SMALL, _LARGE], np.float32), features)
    return graph.op("Mul", parts, graph.constant("parts", factors))


def _weights_of_parts(graph: GraphBuilder, arrays: list[Float32]) -> list[ir.Value]:
    """Return what `_quantized` does, for three times the features; all of it is constant."""
    values, scale = quantize_channels(stacked("lstm", arrays), 2, STORED_LIMIT)

    def number(name: str, given: float) -> ir.Value:
        return graph.constant(name, np.array(given, np.float32))

    stored = graph.op("Cast", graph.constant("W", values.transpose(0, 2, 1)), to=FLOAT)
    main = graph.op("Round", graph.op("Mul", stored, number("half", 0.5)))
    bit = graph.op("Sub", stored, graph.op("Mul", main, number("double", 2)))
    bit = graph.op("Mul", bit, number("bit", 0.5 / _SMALL))
    small = graph.op("Round", graph.op("Mul", main, number("small", 1 / _LARGE)))
    joined = graph.op("Concat", main, bit, small, axis=1)
    return [
        graph.op("Cast", joined, to=ir.DataType.INT8),
        graph.constant("W_scale", 2 * scale[:, :, 0]),
        graph.constant("W_zero_point", np.zeros(scale.shape[:2], np.int8)),
    ]


def _quantized(graph: GraphBuilder, name: str, arrays: list[Float32]) -> list[ir.Value]:
    """Return int8 [directions, features, gates*hidden], then scales and zero points of channels."""
    values, scale = quantize_channels(stacked("lstm", arrays), 2, COMPUTED_LIMIT)
    return [
        graph.constant(name, values.transpose(0, 2, 1)),
        graph.constant(f"{name}_scale", scale[:, :, 0]),
        graph.constant(f"{name}_zero_point", np.zeros(scale.shape[:2], np.int8)),
    ]
