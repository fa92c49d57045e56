"""A bare `nn.RNN`, `nn.LSTM` or `nn.GRU` as a whole ONNX graph with its `Interface`."""

from __future__ import annotations

import onnx_ir as ir

from rnnedge_exporters.layers.interface import layer_interface
from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.lowerings.stacked_layers import add_layer
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder, value
from rnnedge_exporters.option_values import Storage
from rnnedge_runtime.contract import Interface, TensorSpec


def build_layer_graph(
    layer: RecurrentLayer,
    lowering: str,
    *,
    lengths: bool,
    states: bool,
    opset: int,
    storage: Storage = "float32",
) -> tuple[ir.Graph, Interface]:
    """Build the graph of one layer.

    Args:
        layer: The layer with its weights.
        lowering: A key of `LOWERINGS` or `INT8_LOWERINGS`.
        lengths: Whether `lengths` is an input.
        states: Whether `h_0` (and `c_0`) are inputs; `h_n` (and `c_n`) are outputs either way.
        opset: Version of the operator set.
        storage: How its weights are written.
    """
    interface = layer_interface(layer, lengths=lengths, states=states)
    inputs = {spec.name: _graph_value(spec) for spec in interface.inputs}
    builder = GraphBuilder(storage=storage)
    output, finals = add_layer(
        builder,
        layer,
        lowering,
        inputs["input"],
        lengths=inputs["lengths"] if lengths else None,
        initial=tuple(inputs[name] for name in ("h_0", "c_0") if name in inputs) or None,
    )
    outputs = [output, *finals]
    for made, spec in zip(outputs, interface.outputs, strict=True):
        declared = _graph_value(spec)
        made.name, made.type, made.shape = declared.name, declared.type, declared.shape
    graph = builder.graph(layer.cell, list(inputs.values()), outputs, opset)
    return graph, interface


def _graph_value(spec: TensorSpec) -> ir.Value:
    dtype = {"float32": ir.DataType.FLOAT, "int64": ir.DataType.INT64}[spec.dtype]
    return value(spec.name, dtype, spec.axes)
