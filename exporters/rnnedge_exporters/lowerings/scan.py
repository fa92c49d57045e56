"""The `scan` lowering: one large product projects the input, a `Scan` runs the recurrence.

It holds what the operators cannot: the projection of an LSTM.
Operator: https://onnx.ai/onnx/operators/onnx__Scan.html
Equations: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html (and `RNN`, `GRU`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.graph import FLOAT, GraphBuilder, value
from rnnedge_exporters.lowerings.base import Lengths
from rnnedge_exporters.weights import DirectionWeights, RecurrentLayer

Body: TypeAlias = Callable[[], ir.Graph]

_OPSET = 17
"""A body has no opset of its own in the file; onnx-ir asks for one."""


def lower_to_scan(
    graph: GraphBuilder,
    layer: RecurrentLayer,
    index: int,
    x: ir.Value,
    lengths: Lengths | None,
    initial: tuple[ir.Value, ...] | None,
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Add one `Scan` for each direction."""

    def part(direction: int) -> tuple[ir.Value, Body]:
        weights = layer.layers[index][direction]
        projected = _project(graph, layer, weights, x)
        masked = lengths is not None
        return projected, lambda: _body(graph.body("step"), layer, weights, masked=masked)

    return add_scans(graph, layer.state_sizes, layer.directions, x, lengths, initial, part)


def add_scans(
    graph: GraphBuilder,
    sizes: tuple[int, ...],
    directions: int,
    x: ir.Value,
    lengths: Lengths | None,
    initial: tuple[ir.Value, ...] | None,
    part: Callable[[int], tuple[ir.Value, Body]],
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Add one `Scan` for each direction, and join what they give.

    Args:
        graph: What to add to.
        sizes: Features of each state.
        directions: 1 or 2.
        x: float32 [time, batch, features], the input of the layer.
        lengths: The lengths of the rows, or None when all are full.
        initial: The initial states, each [directions, batch, size]; None for zeros.
        part: For a direction, what is scanned and what makes the body.
    """
    outputs, finals = [], []
    for direction in range(directions):
        with graph.scope("backward" if direction else "forward"):
            states = _initial_states(graph, sizes, directions, direction, x, initial)
            walked, body = part(direction)
            # Walking backwards over a masked sequence holds the initial state through the padding,
            # so the backward direction starts at each row's own end.
            scanned = [walked] if lengths is None else [walked, lengths.mask]
            *last, output = graph.ops(
                "Scan",
                *states,
                *scanned,
                outputs=len(states) + 1,
                body=body(),
                num_scan_inputs=len(scanned),
                scan_input_directions=[direction] * len(scanned),
                scan_output_directions=[direction],
            )
            outputs.append(output)
            finals.append([graph.op("Unsqueeze", state, graph.integers(0)) for state in last])
    if directions == 1:
        return outputs[0], tuple(finals[0])
    return (
        graph.op("Concat", *outputs, axis=2),
        tuple(graph.op("Concat", *pair, axis=0) for pair in zip(*finals, strict=True)),
    )


def _initial_states(
    graph: GraphBuilder,
    sizes: tuple[int, ...],
    directions: int,
    direction: int,
    x: ir.Value,
    initial: tuple[ir.Value, ...] | None,
) -> list[ir.Value]:
    """Return each state of one direction as [batch, hidden]."""
    if initial is None:
        batch = graph.op("Shape", x, start=1, end=2)
        zero = ir.tensor(np.zeros(1, np.float32))
        return [
            graph.op(
                "ConstantOfShape",
                graph.op("Concat", batch, graph.integers(size), axis=0),
                value=zero,
            )
            for size in sizes
        ]
    if directions == 1:
        return [graph.op("Squeeze", state, graph.integers(0)) for state in initial]
    at = graph.constant("direction", np.array(direction, np.int64))
    return [graph.op("Gather", state, at, axis=0) for state in initial]


def _project(
    graph: GraphBuilder, layer: RecurrentLayer, weights: DirectionWeights, x: ir.Value
) -> ir.Value:
    """Project the input over all time: float32 [time, batch, gates*hidden]."""
    projected = graph.op("MatMul", x, graph.constant("W", weights.weight_ih.T))
    if not layer.bias:
        return projected
    bias = weights.bias_ih if layer.cell == "gru" else weights.bias_ih + weights.bias_hh
    return graph.op("Add", projected, graph.constant("B", bias))


def _body(
    step: GraphBuilder, layer: RecurrentLayer, weights: DirectionWeights, *, masked: bool
) -> ir.Graph:
    """Build (states, x_t, mask_t) -> (states, y_t); x_t is float32 [batch, gates*hidden]."""
    scope = step.scope_name
    names = ["h", "c"][: len(layer.state_sizes)]
    before = [
        value(f"{scope}/{name}", FLOAT, ["batch", size])
        for name, size in zip(names, layer.state_sizes, strict=True)
    ]
    x = value(f"{scope}/x", FLOAT, ["batch", len(weights.weight_ih)])
    if layer.cell == "rnn":
        after = _rnn_step(step, layer, weights, x, *before)
    elif layer.cell == "lstm":
        after = _lstm_step(step, layer, weights, x, *before)
    else:
        after = _gru_step(step, layer, weights, x, *before)
    inputs, y = [*before, x], after[0]
    if masked:
        mask = value(f"{scope}/mask", ir.DataType.BOOL, ["batch", 1])
        inputs.append(mask)
        y = step.op("Where", mask, y, step.constant("padding", np.zeros(1, np.float32)))
        after = [step.op("Where", mask, new, old) for new, old in zip(after, before, strict=True)]
    else:
        y = step.op("Identity", y)  # a value may leave a body once only
    for made, size in zip([*after, y], [*layer.state_sizes, layer.state_sizes[0]], strict=True):
        made.type, made.shape = ir.TensorType(FLOAT), ir.Shape(["batch", size])
    return step.graph("step", inputs, [*after, y], _OPSET)


def _rnn_step(
    step: GraphBuilder,
    layer: RecurrentLayer,
    weights: DirectionWeights,
    x: ir.Value,
    h: ir.Value,
) -> list[ir.Value]:
    recurrence = step.constant("R", weights.weight_hh.T)
    return [step.op(layer.nonlinearity.capitalize(), step.op("Gemm", h, recurrence, x))]


def _lstm_step(
    step: GraphBuilder,
    layer: RecurrentLayer,
    weights: DirectionWeights,
    x: ir.Value,
    h: ir.Value,
    c: ir.Value,
) -> list[ir.Value]:
    gates = step.op("Gemm", h, step.constant("R", weights.weight_hh.T), x)
    sizes = step.integers(*[layer.hidden_size] * 4)
    i, f, g, o = step.ops("Split", gates, sizes, outputs=4, axis=1)
    kept = step.op("Mul", step.op("Sigmoid", f), c)
    c = step.op("Add", kept, step.op("Mul", step.op("Sigmoid", i), step.op("Tanh", g)))
    h = step.op("Mul", step.op("Sigmoid", o), step.op("Tanh", c))
    if weights.weight_hr is not None:
        h = step.op("MatMul", h, step.constant("P", weights.weight_hr.T))  # [batch, proj]
    return [h, c]


def _gru_step(
    step: GraphBuilder,
    layer: RecurrentLayer,
    weights: DirectionWeights,
    x: ir.Value,
    h: ir.Value,
) -> list[ir.Value]:
    hidden = layer.hidden_size
    # The bias of the recurrent product stays in here: the reset gate scales the new gate's half.
    recurrent = step.op(
        "Gemm",
        h,
        step.constant("R", weights.weight_hh.T),
        step.constant("B", weights.bias_hh) if layer.bias else None,
    )
    parts = step.integers(2 * hidden, hidden)
    x_rz, x_n = step.ops("Split", x, parts, outputs=2, axis=1)
    h_rz, h_n = step.ops("Split", recurrent, parts, outputs=2, axis=1)
    rz = step.op("Sigmoid", step.op("Add", x_rz, h_rz))
    r, z = step.ops("Split", rz, step.integers(hidden, hidden), outputs=2, axis=1)
    n = step.op("Tanh", step.op("Add", x_n, step.op("Mul", r, h_n)))
    # (1 - z) * n + z * h
    return [step.op("Add", n, step.op("Mul", z, step.op("Sub", h, n)))]
