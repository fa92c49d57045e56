"""The recurrent layers of a graph without a contract: their sizes, from the weights in the file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from rnnedge_exporters.onnx_model.loading import infer_shapes
from rnnedge_exporters.onnx_model.nodes import all_graphs, attributes
from rnnedge_exporters.onnx_model.recurrent_nodes import OPERATORS, PEEPHOLES, B, R, W

Shape: TypeAlias = tuple[int, ...]
RECURRENT = (*OPERATORS, "Scan", "Loop", "DynamicQuantizeLSTM")
_WEIGHTS = {
    "DynamicQuantizeLSTM": (W, R, B, PEEPHOLES),
    "LSTM": (W, R, B, PEEPHOLES),
    "RNN": (W, R, B),
    "GRU": (W, R, B),
}
"""Which inputs of an operator are parameters: W, R, B and the peepholes."""
_FLOAT = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class NodeSizes:
    """The sizes of one recurrent node; None where the file does not say.

    Attributes:
        input_size: Features of a step.
        hidden_size: Features of the state.
        parameters: Elements of its weights and biases.
    """

    input_size: int | None
    hidden_size: int | None
    parameters: int | None


class LayerSizes:
    """Reads the sizes of recurrent nodes from the shapes of their weights.

    Args:
        model: The model; weights may be computed from constants, as where directions are joined.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Collect the shapes of all constants, and those that inference finds."""
        self._shapes: dict[str, Shape] = {}
        self._floats: dict[str, int] = {}
        for graph in all_graphs(infer_shapes(model)):
            self._collect(graph)

    def _collect(self, graph: onnx.GraphProto) -> None:
        for info in (*graph.value_info, *graph.input, *graph.output):
            dims = info.type.tensor_type.shape.dim
            if info.type.tensor_type.HasField("shape"):
                self._shapes[info.name] = tuple(d.dim_value for d in dims)  # 0 for what is open
        for tensor in graph.initializer:
            self._constant(tensor.name, tensor)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                self._constant(node.output[0], node.attribute[0].t)

    def _constant(self, name: str, tensor: onnx.TensorProto) -> None:
        self._shapes[name] = tuple(tensor.dims)
        if tensor.data_type in _FLOAT:
            self._floats[name] = math.prod(tensor.dims)

    def of(self, node: onnx.NodeProto) -> NodeSizes:
        """Return the sizes of a node of `RECURRENT`."""
        if node.op_type in ("Scan", "Loop"):
            return self._of_body(node)
        weights = [
            self._known(node.input[place])
            for place in _WEIGHTS[node.op_type]
            if place < len(node.input) and node.input[place]
        ]
        w = weights[0] if weights else None
        known = attributes(node)
        # W is [directions, gates*hidden, features], and transposed in DynamicQuantizeLSTM.
        axis = 1 if node.op_type == "DynamicQuantizeLSTM" else 2
        r = weights[1] if len(weights) > 1 else None
        hidden = known.get("hidden_size") or (r[3 - axis] if r and len(r) == 3 else None)
        whole = all(weights) and len(weights) > 1
        return NodeSizes(
            input_size=w[axis] if w and len(w) == 3 else None,
            hidden_size=hidden,
            parameters=sum(math.prod(shape or ()) for shape in weights) if whole else None,
        )

    def _known(self, name: str) -> Shape | None:
        """Return a shape without open axes."""
        shape = self._shapes.get(name)
        return shape if shape and all(shape) else None

    def _of_body(self, node: onnx.NodeProto) -> NodeSizes:
        known = attributes(node)
        body = known["body"]
        names = {name for inner in all_graphs(body) for each in inner.node for name in each.input}
        parameters = sum(size for name, size in self._floats.items() if name in names and size > 1)
        inputs = [info.name for info in body.input]
        if node.op_type == "Loop":
            carried, scanned = inputs[2:], []
        else:
            first = len(inputs) - known["num_scan_inputs"]
            carried, scanned = inputs[:first], inputs[first:]
        return NodeSizes(
            input_size=self._last(scanned),
            hidden_size=self._last(carried),
            parameters=parameters or None,
        )

    def _last(self, names: Iterable[str]) -> int | None:
        """Return the last axis of the first tensor whose shape shows it."""
        shapes = (self._shapes.get(name) for name in names)
        return next((shape[-1] for shape in shapes if shape and shape[-1]), None)
