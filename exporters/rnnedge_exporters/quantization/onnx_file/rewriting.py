"""A recurrent node with its weights in fewer bits: stored for it, or in a layer in its place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.lowerings.stacked_layers import add_layer
from rnnedge_exporters.onnx_model.graph_builder import MICROSOFT, GraphBuilder, uses_microsoft
from rnnedge_exporters.onnx_model.int8_grid import STORED_LIMIT, halved, rounded
from rnnedge_exporters.onnx_model.recurrent_nodes import C_0, H_0, LENGTHS, R, W, X
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.layer_plan import write_layer
from rnnedge_exporters.quantization.onnx_file.recurrent import QuantizableNode, given
from rnnedge_exporters.quantization.other_weights import FEWEST, store
from rnnedge_exporters.quantization.report import (
    LayerQuantization,
    describe_layer,
    done,
    kept_in_float32,
)

_SUMMED = 2
"""The axis that a product sums over, of weights [directions, gates*hidden, features]."""


def compute_in_integers(
    model: ir.Model,
    found: QuantizableNode,
    layer: RecurrentLayer,
    lowering: str,
    storage: Storage,
) -> None:
    """Put a lowering in place of a node of the outermost graph."""
    graph, node = model.graph, found.node
    builder = GraphBuilder(found.name, _names(graph), storage)
    x, lengths = given(node, X), given(node, LENGTHS)
    assert x is not None
    if lengths is not None:
        lengths = builder.op("Cast", lengths, to=ir.DataType.INT64)
    if found.reverse:
        x = _turned(builder, x, lengths)
    states = [given(node, place) for place in (H_0, C_0)[: len(layer.state_sizes)]]
    initial = tuple(state for state in states if state is not None) or None
    output, finals = add_layer(builder, layer, lowering, x, lengths=lengths, initial=initial)
    if found.reverse:
        output = _turned(builder, output, lengths)
    if lengths is not None and initial is not None:
        # A row of length zero: the operator answers zeros, and a lowering its initial state.
        empty = builder.op("Equal", lengths, builder.integers(0))
        column = builder.op("Unsqueeze", empty, builder.integers(1))
        zero = builder.constant("zero", np.zeros(1, np.float32))
        finals = tuple(builder.op("Where", column, zero, final) for final in finals)
    made = [_with_directions(builder, layer, output), *finals]
    graph.insert_before(node, builder.nodes)
    for constant in builder.initializers.values():
        graph.register_initializer(constant)
    if uses_microsoft(builder.nodes):
        model.opset_imports.setdefault(MICROSOFT, 1)
    for old, new in zip(node.outputs, made, strict=False):
        name, new.type, new.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        old.name, new.name = f"{found.name}/replaced", name or new.name
    graph.remove(node, safe=True)


def _turned(builder: GraphBuilder, x: ir.Value, lengths: ir.Value | None) -> ir.Value:
    """Turn each row of `x` [time, batch, features] round, up to its end."""
    if lengths is not None:
        return builder.op("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
    last, before_first = builder.integers(-1), builder.integers(np.iinfo(np.int64).min)
    return builder.op("Slice", x, last, before_first, builder.integers(0), last)


def _with_directions(builder: GraphBuilder, layer: RecurrentLayer, output: ir.Value) -> ir.Value:
    """Give an output [time, batch, directions*hidden] the axes of an operator's Y."""
    if layer.directions == 1:
        return builder.op("Unsqueeze", output, builder.integers(1))
    apart = builder.op("Reshape", output, builder.integers(0, 0, 2, layer.hidden_size))
    return builder.op("Transpose", apart, perm=[0, 2, 1, 3])


def store_weights(found: QuantizableNode, storage: Storage, reason: str) -> LayerQuantization:
    """Widen the weights of a node from fewer bits, and leave it as it is.

    Those of fewer numbers than `store_in` takes stay as they are: the other branch of an `If` may
    hold them too.
    """
    size, error, whole = 0, 0.0, True
    ways: dict[str, tuple[Storage, Storage]] = {"int8_float16": ("float16", "int8")}
    of_input, of_state = ways.get(storage, (storage, storage))
    for place, array, way in (
        (W, found.weights, of_input),
        (R, found.recurrence, of_state),
    ):
        constant = given(found.node, place)
        if array.size < FEWEST:
            size, whole = size + array.nbytes, False
            continue
        if constant is not None and constant.is_initializer():  # else another node has it too
            assert isinstance(constant.graph, ir.Graph)
            stored = store(constant.graph, constant, array, (_SUMMED,), way)
            size += sum(tensor.nbytes for tensor in stored)
        after = rounded(array, _SUMMED, STORED_LIMIT) if way == "int8" else halved(array)
        error = max(error, float(np.abs(array - after).max()))
    layer, before = found.layer, found.weights.nbytes + found.recurrence.nbytes
    if size == before:
        return kept_in_float32(
            found.name, found.cell, before, f"it has fewer weights than {FEWEST}"
        )
    if layer is not None and whole:
        written = write_layer(layer, "operator", reason, storage, None)
        output_error = describe_layer(written, layer.info("operator", reason)).output_error
    else:
        output_error = None
    return LayerQuantization(
        found.name, found.cell, done("operator", storage), reason, before, size, error, output_error
    )


def _names(graph: ir.Graph) -> dict[str, int]:
    """Return the names in a graph that are taken."""
    names = {value.name: 1 for value in (*graph.inputs, *graph.initializers.values()) if value.name}
    for node in graph.all_nodes():
        names |= {name: 1 for name in (node.name, *(v.name for v in node.outputs)) if name}
    return names
