"""`RNN`, `LSTM` and `GRU` nodes as the layers that the lowerings take.

Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.errors import ExportError, WeightsError
from rnnedge_exporters.layers.weights import DirectionWeights, Float32, RecurrentLayer
from rnnedge_exporters.onnx_model.graph_builder import is_layer_output
from rnnedge_exporters.onnx_model.nodes import attribute, label
from rnnedge_exporters.onnx_model.recurrent_nodes import (
    C_0,
    CELLS,
    H_0,
    B,
    R,
    W,
    X,
    count_gates,
    gates_to_pytorch,
    is_relu,
    peculiarities,
)
from rnnedge_exporters.versions import LOWEST_OPSET
from rnnedge_runtime.contract import Cell


@dataclass(frozen=True, slots=True)
class QuantizableNode:
    """A recurrent node with constant weights.

    Attributes:
        node: The node.
        name: What it is called.
        cell: `rnn`, `lstm` or `gru`.
        weights: float32 [directions, gates*hidden, features], as the node takes them.
        recurrence: float32 [directions, gates*hidden, hidden].
        layer: What it computes, where a lowering can; None where none can.
        reverse: Whether its one direction is backwards; that of `layer` is forwards.
        hindrance: What no lowering has, where `layer` is None.
    """

    node: ir.Node
    name: str
    cell: Cell
    weights: Float32
    recurrence: Float32
    layer: RecurrentLayer | None
    reverse: bool
    hindrance: str


def read_node(node: ir.Node, opset: int, *, inner: bool) -> QuantizableNode:
    """Read a recurrent node.

    Args:
        node: The node.
        opset: Version of the operator set.
        inner: Whether it is inside a control-flow node.

    Raises:
        ExportError: When its weights are not constant, or not float32.
        WeightsError: When their shapes are not those of the operator.
    """
    weights, recurrence = _weight(node, "W", W), _weight(node, "R", R)
    cell = CELLS[node.op_type]
    gates = count_gates(cell)
    directions, rows, hidden = recurrence.shape
    if rows != gates * hidden or weights.shape[:2] != (directions, rows):
        raise WeightsError(
            f"{label(node)}: expected W [directions, {gates}*hidden, features] and R "
            f"[directions, {gates}*hidden, hidden], got {list(weights.shape)} and "
            f"{list(recurrence.shape)}: the file is damaged"
        )
    hindrance = _hindrance(node, cell, opset, inner=inner)
    layer = None if hindrance else _layer(node, cell, weights, recurrence)
    x = given(node, X)
    if layer is not None and x is not None:
        layer = replace(layer, follows=is_layer_output(x))
    reverse = attribute(node, "direction", "forward") == "reverse"
    return QuantizableNode(node, label(node), cell, weights, recurrence, layer, reverse, hindrance)


def given(node: ir.Node, place: int) -> ir.Value | None:
    """Return an input; None where it is left out."""
    value = node.inputs[place] if place < len(node.inputs) else None
    return value if value is not None and value.name else None


def _weight(node: ir.Node, name: str, place: int) -> Float32:
    value = given(node, place)
    tensor = value.const_value if value is not None and value.is_initializer() else None
    if value is None or tensor is None:
        made = value.producer() if value is not None else None
        came = "nothing" if value is None else value.name
        by = f", which {label(made)} ({made.op_type}) computes" if made is not None else ""
        raise ExportError(
            f"{node.op_type} {label(node)}: expected constant weights {name}, got {came}{by}: "
            "export the model again with its weights as constants"
        )
    if tensor.dtype != ir.DataType.FLOAT:
        raise ExportError(
            f"{node.op_type} {label(node)}: expected float32 weights {name}, got "
            f"{tensor.dtype.name.lower()}: convert the model to float32 first"
        )
    array = tensor.numpy()
    if array.ndim != 3:
        raise WeightsError(
            f"{node.op_type} {label(node)}: expected weights {name} of 3 axes, got "
            f"{list(array.shape)}: the file is damaged"
        )
    return array


def _hindrance(node: ir.Node, cell: Cell, opset: int, *, inner: bool) -> str:
    """Say what a node has that no lowering has; empty when there is nothing."""
    bias = given(node, B)
    states = [given(node, place) is None for place in (H_0, C_0)[: 1 + (cell == "lstm")]]
    found = {
        "it is inside a control-flow node": inner,
        f"the file has opset {opset}, and what computes in int8 needs {LOWEST_OPSET} "
        f"(opset={LOWEST_OPSET} converts it)": opset < LOWEST_OPSET,
        **{differs.text: True for differs in peculiarities(node)},
        "its batch is the first axis (layout=1)": bool(attribute(node, "layout", 0)),
        "its bias is not constant": bias is not None and not _is_float32(bias),
        "it has one initial state of two": len(set(states)) > 1,
    }
    return next((what for what, applies in found.items() if applies), "")


def _is_float32(value: ir.Value) -> bool:
    tensor = value.const_value if value.is_initializer() else None
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT


def _layer(node: ir.Node, cell: Cell, weights: Float32, recurrence: Float32) -> RecurrentLayer:
    directions, rows, hidden = recurrence.shape
    bias = given(node, B)
    halves = np.zeros((directions, 2 * rows), np.float32)
    if bias is not None and bias.const_value is not None:
        halves = bias.const_value.numpy()

    both = tuple(
        DirectionWeights(
            weight_ih=gates_to_pytorch(cell, weights[way]),
            weight_hh=gates_to_pytorch(cell, recurrence[way]),
            bias_ih=gates_to_pytorch(cell, halves[way, :rows]),
            bias_hh=gates_to_pytorch(cell, halves[way, rows:]),
            weight_hr=None,
        )
        for way in range(directions)
    )
    nonlinearity: Literal["tanh", "relu"] = "relu" if is_relu(node) else "tanh"
    return RecurrentLayer(
        name=label(node),
        cell=cell,
        input_size=weights.shape[2],
        hidden_size=hidden,
        nonlinearity=nonlinearity,
        bias=bias is not None,
        batch_first=False,
        bidirectional=directions == 2,
        proj_size=0,
        layers=(both,),
    )
