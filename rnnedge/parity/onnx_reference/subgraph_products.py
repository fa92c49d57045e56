"""Products of integers inside a `Scan`, `Loop` or `If`, where no value can be given or seen.

The original rounds there, in float32, what the rounded file does: to 8 bits over the same range. A
number that lies between two steps goes up in one program and down in the other; how far that
carries is measured by rounding up or down at random, which one constant turns on.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder, value
from rnnedge_exporters.onnx_model.movement import moved
from rnnedge_exporters.onnx_model.nodes import label

_NOISE = "rounding/noise"
_RANDOM = "RandomUniformLike"


def round_input(model: ir.Model, node: ir.Node) -> None:
    """Round the first input of a node to 8 bits."""
    noise = model.graph.initializers.get(_NOISE)
    if noise is None:
        noise = value(_NOISE, ir.DataType.FLOAT, [])
        model.graph.initializers[_NOISE] = noise
        turn(model, 0)
    x, graph = node.inputs[0], node.graph
    assert isinstance(graph, ir.Graph)
    builder = GraphBuilder(f"{label(node)}/rounded")
    _, scale, zero = builder.ops("DynamicQuantizeLinear", x, outputs=3)
    uniform = builder.op(_RANDOM, x, low=-0.5, high=0.5, seed=0.0)
    shaken = builder.op("Mul", builder.op("Mul", uniform, scale), noise)
    steps = builder.op("QuantizeLinear", builder.op("Add", x, shaken), scale, zero)
    node.replace_input_with(0, builder.op("DequantizeLinear", steps, scale, zero))
    graph.insert_before(node, builder.nodes)


def turn(model: ir.Model, noise: float, seed: int = 0) -> None:
    """Round to the nearest (0), or up and down at random (1)."""
    constant = model.graph.initializers[_NOISE]
    constant.const_value = ir.tensor(np.array(noise, np.float32), name=_NOISE)
    for node in model.graph.all_nodes():
        if node.op_type == _RANDOM:
            node.attributes["seed"] = ir.AttrFloat32("seed", float(seed))


def takes_given_state(model: ir.Model, node: ir.Node) -> bool:
    """Whether what a node multiplies is the state of a `Scan`, which starts from what is given.

    At the first step it is then the same number in every program, and rounds alike.
    """
    for outer in model.graph.all_nodes():
        if outer.op_type == "Scan" and outer.attributes["body"].as_graph() is node.graph:
            inputs = list(outer.attributes["body"].as_graph().inputs)
            states = inputs[: len(inputs) - outer.attributes["num_scan_inputs"].as_int()]
            if node.inputs[0] in states:
                return _is_moved(outer.inputs[states.index(node.inputs[0])])
    return False


def _is_moved(state: ir.Value | None) -> bool:
    """Whether a value is an input or a constant, as it is or moved."""
    node = state.producer() if state is not None else None
    if node is None or node.op_type == "ConstantOfShape":
        return state is not None
    before = moved(node)
    return bool(before) and all(map(_is_moved, before))
