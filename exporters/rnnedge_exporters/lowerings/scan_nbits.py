"""The `scan_nbits` lowering: the `scan` one, with recurrent products by `MatMulNBits`.

Operator: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md,
`com.microsoft.MatMulNBits`, with 8 bits. Weights and state are quantized in blocks, each over its
own range, so that the error is smaller than with `scan_int8`. At batch 1 it is up to 1.7
times as fast as that on a processor with AMX, which `MatMulInteger` uses for a single row too; it
is 0.5 to 0.9 times as fast with neither AMX nor VNNI, and at batch 8. `rnnedge tune` measures which
one is for a device.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.layers.weights import Float32
from rnnedge_exporters.lowerings.base import LayerCall, Lowered
from rnnedge_exporters.lowerings.scan import lower_with, with_addend
from rnnedge_exporters.onnx_model.graph_builder import MICROSOFT, GraphBuilder
from rnnedge_exporters.onnx_model.int8_grid import quantize_blocks

_INTEGERS = 4
"""Accuracy level that lets the product round its input to 8 bits."""
_ZERO = 128
"""What stands for zero in the bytes of the operator."""


def lower_to_scan_nbits(graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add a `Scan`, or one for each direction, as `lower_to_scan` does."""
    return lower_with(_blocked_product, graph, call)


def _blocked_product(
    step: GraphBuilder,
    name: str,
    weights: Float32,
    h: ir.Value,
    addend: ir.Value | Float32 | None,
    operator: str,
) -> ir.Value:
    values, scale = quantize_blocks(weights)
    product = step.op(
        "MatMulNBits",
        h,
        step.constant(name, (values.astype(np.int16) + _ZERO).astype(np.uint8)),
        step.constant(f"{name}_scale", scale),
        domain=MICROSOFT,
        N=len(weights),
        K=weights.shape[1],
        bits=8,
        block_size=values.shape[2],
        accuracy_level=_INTEGERS,
    )
    return with_addend(step, product, addend)
