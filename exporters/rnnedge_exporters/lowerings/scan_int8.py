"""The `scan_int8` lowering: the `scan` one, with recurrent products of integers.

What is multiplied at each step is read at each step: int8 weights are a quarter of the bytes, which
is what a wide layer waits for. The state is quantized anew at each step, over its own range.

The input projection is one large product that reads its weights once. Its weights are stored in
int8, and multiplied in float32: with a quantized input, whose scale the loudest step of the loudest
row decides, the error of the layer was measured to be two to four times as large, at a speed within
a few percent.

All operators are ONNX's own: https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html and
`onnx__MatMulInteger`.
"""

from __future__ import annotations

import onnx_ir as ir

from rnnedge_exporters.layers.weights import Float32
from rnnedge_exporters.lowerings.base import LayerCall, Lowered
from rnnedge_exporters.lowerings.scan import lower_with, with_addend
from rnnedge_exporters.onnx_model.graph_builder import FLOAT, GraphBuilder
from rnnedge_exporters.onnx_model.int8_grid import COMPUTED_LIMIT, quantize_channels


def lower_to_scan_int8(graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add one `Scan` that walks both directions, each from its own end."""
    return lower_with(_integer_product, graph, call)


def _integer_product(
    step: GraphBuilder,
    name: str,
    weights: Float32,
    h: ir.Value,
    addend: ir.Value | Float32 | None,
    operator: str,
) -> ir.Value:
    values, scale = quantize_channels(weights, 1, COMPUTED_LIMIT)
    quantized, h_scale, zero_point = step.ops("DynamicQuantizeLinear", h, outputs=3)
    product = step.op("MatMulInteger", quantized, step.constant(name, values.T), zero_point)
    product = step.op("Cast", product, to=FLOAT)
    # One scale after the other: ONNX Runtime would fuse a product of the scales into
    # DynamicQuantizeMatMul, which is up to 1.2 times as slow for one row of a wide layer.
    product = step.op("Mul", product, h_scale)
    product = step.op("Mul", product, step.constant(f"{name}_scale", scale[:, 0]))
    return with_addend(step, product, addend)
