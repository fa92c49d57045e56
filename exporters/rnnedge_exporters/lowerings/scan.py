"""The `scan` lowering: one large product projects the input, a `Scan` runs the recurrence.

It holds what the operators cannot: the projection of an LSTM.
Operator: https://onnx.ai/onnx/operators/onnx__Scan.html
Equations: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html (and `RNN`, `GRU`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.layers.weights import DirectionWeights, Float32, RecurrentLayer
from rnnedge_exporters.lowerings.base import LayerCall, Lengths, Lowered
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder, value

Product: TypeAlias = Callable[
    [GraphBuilder, str, Float32, ir.Value, ir.Value | Float32 | None, str], ir.Value
]
"""Adds `h @ weights.T + addend` to a body: (body, name, weights, h, addend, operator), with weights
float32 [rows, features], an addend that is a value or a bias, and the operator of floats."""

_NAMES = ("forward", "backward")
SHARED_BYTES = 500_000
"""Recurrent weights of both directions from which each has its own Scan. One body reads both
at every step; where they do not stay in a core's cache, that takes 1.9 times as long as one after
the other (hidden 512, 2 MB; at 256, 0.5 MB, there is no difference)."""
_OPSET = 17
"""A body has no separate opset in the file; onnx-ir asks for one."""


def lower_to_scan(graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add one `Scan` for both directions, each walked from its own end, or one for each.

    A step costs ONNX Runtime about a microsecond on top of its arithmetic, so that two narrow
    directions in one body are up to 1.2 times as fast as two Scans. Wide ones must not share one:
    see `SHARED_BYTES`. The output of a plain RNN leaves the body before its nonlinearity, which is
    then taken of all steps at once: a value may leave a body only once, and this is cheaper than a
    copy.
    """
    return lower_with(_float_product, graph, call)


def lower_with(product: Product, graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add the `Scan` with `product` as what a step multiplies its state by weights with."""
    layer, weights = call.layer, call.weights
    together = sum(each.weight_hh.nbytes for each in weights) < SHARED_BYTES
    walks = [range(layer.directions)] if together else [(way,) for way in range(layer.directions)]
    early = layer.cell == "rnn" and call.lengths is None
    outputs: list[ir.Value] = []
    finals: list[list[ir.Value]] = []
    for directions in walks:
        projected = []
        for direction in directions:
            with graph.scope(_NAMES[direction]):
                projected.append(_project(graph, layer, weights[direction], call.x))
        with graph.scope(_NAMES[directions[0]]) if len(walks) > 1 else nullcontext():
            step = graph.body("step")
        body = _body(
            step,
            layer,
            call.index,
            directions,
            product,
            masked=call.lengths is not None,
            early=early,
        )
        walked = add_scan(
            graph,
            layer.state_sizes,
            directions,
            layer.directions,
            call.x,
            call.lengths,
            call.initial,
            projected,
            body,
        )
        outputs += walked[0]
        finals += walked[1]
    output, joined = join_directions(graph, outputs, finals)
    if early:
        output = graph.op(layer.nonlinearity.capitalize(), output)
    return output, joined


def add_scan(  # noqa: PLR0913 - each is a part of the Scan
    graph: GraphBuilder,
    sizes: tuple[int, ...],
    directions: Sequence[int],
    count: int,
    x: ir.Value,
    lengths: Lengths | None,
    initial: tuple[ir.Value, ...] | None,
    walked: Sequence[ir.Value],
    body: ir.Graph,
) -> tuple[list[ir.Value], list[list[ir.Value]]]:
    """Add one `Scan`.

    Args:
        graph: What to add to.
        sizes: Features of each state.
        directions: The directions that it walks, 0 forward and 1 backward.
        count: How many the layer has.
        x: float32 [time, batch, features], the input of the layer.
        lengths: The lengths of the rows, or None when all are full.
        initial: The initial states, each [directions, batch, size]; None for zeros.
        walked: What is scanned, for each direction.
        body: Takes the states of each direction, then what is scanned of each, then a mask for
            each where there are lengths; gives the states, then an output for each direction.

    Returns:
        For each direction its output, and its final states, each [1, batch, size].
    """
    states = []
    for direction in directions:
        with graph.scope(_NAMES[direction]):
            states += _initial_states(graph, sizes, count, direction, x, initial)
    # Walking backwards over a masked sequence holds the initial state through the padding, so the
    # backward direction starts at each row's own end.
    masks = [] if lengths is None else [lengths.mask for _ in directions]
    results = graph.ops(
        "Scan",
        *states,
        *walked,
        *masks,
        outputs=len(states) + len(directions),
        body=body,
        num_scan_inputs=len(walked) + len(masks),
        scan_input_directions=[*directions, *(directions if masks else ())],
        scan_output_directions=[*directions],
    )
    finals = [graph.op("Unsqueeze", state, graph.integers(0)) for state in results[: len(states)]]
    per = len(sizes)
    return list(results[len(states) :]), [
        finals[start : start + per] for start in range(0, len(finals), per)
    ]


def join_directions(
    graph: GraphBuilder, outputs: Sequence[ir.Value], finals: Sequence[Sequence[ir.Value]]
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Join what the directions give: outputs on their features, states on their first axis."""
    if len(outputs) == 1:
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
        zero = ir.tensor(np.zeros(1, graph.dtype.numpy()))
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
    projected = graph.op("MatMul", x, graph.weight("W", weights.weight_ih.T, 0))
    if not layer.bias:
        return projected
    bias = weights.bias_ih if layer.cell == "gru" else weights.bias_ih + weights.bias_hh
    return graph.op("Add", projected, graph.weight("B", bias))


def _float_product(
    step: GraphBuilder,
    name: str,
    weights: Float32,
    h: ir.Value,
    addend: ir.Value | Float32 | None,
    operator: str,
) -> ir.Value:
    matrix = step.weight(name, weights.T, 0)
    if isinstance(addend, np.ndarray):
        addend = step.weight("B", addend)
    return step.op(operator, h, matrix, addend)


def with_addend(
    step: GraphBuilder, product: ir.Value, addend: ir.Value | Float32 | None
) -> ir.Value:
    """Add what a `Product` is asked to add, where its operator does not; a bias stays float32."""
    if isinstance(addend, np.ndarray):
        addend = step.constant("B", addend)
    return product if addend is None else step.op("Add", product, addend)


def _body(
    step: GraphBuilder,
    layer: RecurrentLayer,
    index: int,
    directions: Sequence[int],
    product: Product,
    *,
    masked: bool,
    early: bool,
) -> ir.Graph:
    """Build (states, x_t, mask_t) -> (states, y_t), each of them for every one of `directions`.

    x_t is float32 [batch, gates*hidden]. `early` gives y_t before the nonlinearity.
    """
    names = ["h", "c"][: len(layer.state_sizes)]
    states: list[ir.Value] = []
    walked, masks, news, outputs = [], [], [], []
    for direction in directions:
        weights = layer.layers[index][direction]
        with step.scope(_NAMES[direction]) if len(directions) > 1 else nullcontext():
            scope = step.scope_name
            before = [
                value(f"{scope}/{name}", step.dtype, [step.batch, size])
                for name, size in zip(names, layer.state_sizes, strict=True)
            ]
            x = value(f"{scope}/x", step.dtype, [step.batch, len(weights.weight_ih)])
            *after, y = _STEPS[layer.cell](step, layer, weights, product, x, *before)
            if masked:
                mask = value(f"{scope}/mask", ir.DataType.BOOL, [step.batch, 1])
                masks.append(mask)
                padding = step.constant("padding", np.zeros(1, step.dtype.numpy()))
                y = step.op("Where", mask, after[0], padding)
                after = [
                    step.op("Where", mask, new, old) for new, old in zip(after, before, strict=True)
                ]
            elif not early:
                y = step.op("Identity", after[0])  # a value may leave a body once only
            states += before
            walked.append(x)
            news += after
            outputs.append(y)
    sizes = [*layer.state_sizes * len(outputs), *[layer.state_sizes[0]] * len(outputs)]
    for made, size in zip([*news, *outputs], sizes, strict=True):
        made.type, made.shape = ir.TensorType(step.dtype), ir.Shape([step.batch, size])
    return step.graph("step", [*states, *walked, *masks], [*news, *outputs], _OPSET)


def _rnn_step(
    step: GraphBuilder,
    layer: RecurrentLayer,
    weights: DirectionWeights,
    product: Product,
    x: ir.Value,
    h: ir.Value,
) -> list[ir.Value]:
    early = product(step, "R", weights.weight_hh, h, x, "Gemm")
    return [step.op(layer.nonlinearity.capitalize(), early), early]


def _lstm_step(
    step: GraphBuilder,
    layer: RecurrentLayer,
    weights: DirectionWeights,
    product: Product,
    x: ir.Value,
    h: ir.Value,
    c: ir.Value,
) -> list[ir.Value]:
    gates = product(step, "R", weights.weight_hh, h, x, "Gemm")
    sizes = step.integers(*[layer.hidden_size] * 4)
    i, f, g, o = step.ops("Split", gates, sizes, outputs=4, axis=1)
    kept = step.op("Mul", step.op("Sigmoid", f), c)
    c = step.op("Add", kept, step.op("Mul", step.op("Sigmoid", i), step.op("Tanh", g)))
    h = step.op("Mul", step.op("Sigmoid", o), step.op("Tanh", c))
    if weights.weight_hr is not None:
        h = product(step, "P", weights.weight_hr, h, None, "MatMul")  # [batch, proj]
    return [h, c, h]


def _gru_step(
    step: GraphBuilder,
    layer: RecurrentLayer,
    weights: DirectionWeights,
    product: Product,
    x: ir.Value,
    h: ir.Value,
) -> list[ir.Value]:
    hidden = layer.hidden_size
    # The bias of the recurrent product stays in here: the reset gate scales the new gate's half.
    bias = weights.bias_hh if layer.bias else None
    recurrent = product(step, "R", weights.weight_hh, h, bias, "Gemm")
    parts = step.integers(2 * hidden, hidden)
    x_rz, x_n = step.ops("Split", x, parts, outputs=2, axis=1)
    h_rz, h_n = step.ops("Split", recurrent, parts, outputs=2, axis=1)
    rz = step.op("Sigmoid", step.op("Add", x_rz, h_rz))
    r, z = step.ops("Split", rz, step.integers(hidden, hidden), outputs=2, axis=1)
    n = step.op("Tanh", step.op("Add", x_n, step.op("Mul", r, h_n)))
    # (1 - z) * n + z * h
    new = step.op("Add", n, step.op("Mul", z, step.op("Sub", h, n)))
    return [new, new]


_STEPS: dict[str, Callable[..., list[ir.Value]]] = {
    "rnn": _rnn_step,
    "lstm": _lstm_step,
    "gru": _gru_step,
}
"""Each gives the new states, then y_t as it is before anything is done to it."""
