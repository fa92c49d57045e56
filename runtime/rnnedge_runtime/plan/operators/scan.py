"""`Scan`: a known cell becomes one call, any other body is laid out step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from rnnedge_runtime.errors import NoMatchError, PlanError
from rnnedge_runtime.onnx_file import Graph, Node
from rnnedge_runtime.plan.operators.cell_pattern import Step, read_steps
from rnnedge_runtime.plan.operators.folding import FOLDS
from rnnedge_runtime.plan.operators.movement import reshaped
from rnnedge_runtime.plan.operators.products import product_of
from rnnedge_runtime.plan.operators.recurrent import (
    in_order,
    packed_layer,
    picked,
    rows_of,
    run_direction,
)
from rnnedge_runtime.plan.packing import IntegerWeights, LayerWeights
from rnnedge_runtime.plan.tracer import COMPARE, Operator, Tracer
from rnnedge_runtime.plan.values import Array, Constant, Tensor, Value

MOST_CALLS = 50_000
"""Nodes of a body times steps that are laid out one by one."""


def _scan(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    body = node.attributes["body"].value
    scanned = int(node.attributes["num_scan_inputs"].value)
    states = len(inputs) - scanned
    outputs = len(body.outputs) - states
    if not isinstance(body, Graph) or states < 0 or scanned < 1 or outputs < 0:
        raise PlanError(f"{node.label}: a body that does not fit", node.name)
    if len(body.inputs) != len(inputs) or any(value is None for value in inputs):
        raise PlanError(f"{node.label}: a body that does not fit", node.name)
    for name in ("scan_input_axes", "scan_output_axes"):
        if any(node.get(name, [])):
            raise PlanError(f"{node.label}: scans along another axis than the first", node.name)
    ways = [int(way) for way in node.get("scan_input_directions", [0] * scanned)]
    out = [int(way) for way in node.get("scan_output_directions", [0] * outputs)]
    try:
        steps = read_steps(body, tracer.scope, states, FOLDS)
        return _as_layers(tracer, node, inputs, steps, ways, out)
    except NoMatchError:
        return _step_by_step(tracer, node, body, inputs, states, ways, out)


def _as_layers(
    tracer: Tracer,
    node: Node,
    inputs: Sequence[Value | None],
    steps: Sequence[Step],
    ways: Sequence[int],
    out: Sequence[int],
) -> list[Value]:
    states = len(inputs) - len(ways)
    walked = [tracer.tensor(value) for value in inputs[states:]]
    per = states // len(steps)
    finals: list[Value] = []
    outputs: list[Value] = []
    prepared = [_prepared(tracer, node, step, walked, inputs[states:]) for step in steps]
    for index, (step, (x, weights, lengths)) in enumerate(zip(steps, prepared, strict=True)):
        backward = ways[step.scanned]
        if out[index] != backward or (step.mask is not None and ways[step.mask] != backward):
            raise NoMatchError
        time, batch = x.shape[:2]
        initial = [_state(tracer, inputs[index * per + part]) for part in range(per)]
        sizes = [weights.state_size, weights.hidden_size][:per]
        for state, size in zip(initial, sizes, strict=True):
            if state is not None and state.shape != (batch, size):
                raise NoMatchError
        y = tracer.new((time, batch, weights.state_size))
        ends = [tracer.new((batch, size)) for size in sizes]
        layer = packed_layer(tracer, weights)
        run_direction(
            tracer,
            layer,
            weights,
            x,
            y,
            ends[0],
            ends[1] if per == 2 else None,
            backward=bool(backward),
            h_0=initial[0],
            c_0=initial[1] if per == 2 else None,
            lengths=lengths,
        )
        finals += ends
        outputs.append(replace(y, applied=step.nonlinearity) if step.early else y)
    return [*finals, *outputs]


def _prepared(
    tracer: Tracer,
    node: Node,
    step: Step,
    walked: Sequence[Tensor],
    values: Sequence[Value | None],
) -> tuple[Tensor, LayerWeights, Tensor | None]:
    """Return the input of a direction before its product, its weights, and the lengths."""
    projected = walked[step.scanned]
    call = product_of(tracer, projected)
    if call is None or len(projected.shape) != 3:
        raise NoMatchError
    about = call.about
    x: Tensor = about["x"]
    weight_ih, bias = about["weights"], about["bias"]
    if len(weight_ih) != len(step.weight_hh):
        raise NoMatchError
    owners = (about["owner"], bias)
    key = ("scan weights", tracer.path, *(id(array) for array in owners))
    weights: LayerWeights = tracer.keep(
        (*key, step.scanned), owners, lambda: _weights(step, weight_ih, bias)
    )
    lengths = None if step.mask is None else _lengths(tracer, walked[step.mask], x)
    return rows_of(tracer, x), weights, lengths


def _weights(step: Step, weight_ih: Array, bias: Array | None) -> LayerWeights:
    order, weight_hh, projection = step.order, step.weight_hh, step.projection
    if (
        isinstance(projection, IntegerWeights) != isinstance(weight_hh, IntegerWeights)
        and projection is not None
    ):
        raise NoMatchError
    integers = None
    if isinstance(weight_hh, IntegerWeights):
        integers = weight_hh.reordered(order)
        wide = integers.wide
    else:
        wide = in_order(weight_hh, order)
    made, bias_n = None if bias is None else in_order(bias, order), None
    if step.bias_hh is not None:
        hidden = len(step.bias_hh) // 3
        other = in_order(step.bias_hh, order)
        made = np.zeros_like(other) if made is None else made.copy()
        made[: 2 * hidden] += other[: 2 * hidden]
        bias_n = other[2 * hidden :].copy()
    return LayerWeights(
        step.cell,
        step.nonlinearity,
        in_order(weight_ih, order),
        wide,
        made,
        bias_n,
        projection.wide if isinstance(projection, IntegerWeights) else projection,
        integers_hh=integers,
        integers_projection=projection if isinstance(projection, IntegerWeights) else None,
    )


def _lengths(tracer: Tracer, mask: Tensor, x: Tensor) -> Tensor:
    """Return the lengths [batch] that a mask [time, batch, 1] is made of: `steps < lengths`."""
    call = tracer.producer(mask)
    if call is None or call.operation != COMPARE or call.about.get("operator") != "Less":
        raise NoMatchError
    column, ends = call.about["operands"]
    time, batch = x.shape[:2]
    if not isinstance(column, Constant) or not isinstance(ends, Tensor):
        raise NoMatchError
    steps = np.arange(time).reshape(time, 1, 1)
    if ends.shape != (1, batch, 1) or not np.array_equal(column.array, steps):
        raise NoMatchError
    return tracer.dense(reshaped(tracer, ends, (batch,)))


def _state(tracer: Tracer, value: Value | None) -> Tensor | None:
    if isinstance(value, Constant) and not value.array.any():
        return None
    return rows_of(tracer, tracer.floats(value))


def _step_by_step(
    tracer: Tracer,
    node: Node,
    body: Graph,
    inputs: Sequence[Value | None],
    states: int,
    ways: Sequence[int],
    out: Sequence[int],
) -> list[Value]:
    """Lay the body out once for each step."""
    given = [tracer.tensor(value) for value in inputs]
    walked = given[states:]
    time = walked[0].shape[0]
    if any(tensor.shape[0] != time for tensor in walked) or time == 0:
        raise PlanError(f"{node.label}: scans tensors of different lengths", node.name)
    if time * max(len(body.nodes), 1) > MOST_CALLS:
        raise PlanError(
            f"{node.label}: {time} steps of a body that is not an RNN, LSTM or GRU; "
            f"the native engine takes up to {MOST_CALLS // max(len(body.nodes), 1)}: "
            "give it in chunks",
            node.name,
        )
    names = [info.name for info in body.inputs]
    state: list[Value] = list(given[:states])
    made: list[Tensor | None] = [None] * len(out)
    for step in range(time):
        at = [time - 1 - step if way else step for way in ways]
        parts = [picked(tensor, 0, t) for tensor, t in zip(walked, at, strict=True)]
        bound = dict(zip(names, [*state, *parts], strict=True))
        results = tracer.branch(body, 0, bound)
        state = list(results[:states])
        for index, value in enumerate(results[states:]):
            part = tracer.tensor(value)
            whole = made[index] or tracer.new((time, *part.shape), part.dtype)
            made[index] = whole
            target = picked(whole, 0, time - 1 - step if out[index] else step)
            if target.shape != part.shape:
                raise PlanError(f"{node.label}: an output changes its shape", node.name)
            tracer.copy(part, target)
    outputs = [tensor for tensor in made if tensor is not None]
    if any(prod(tensor.shape) == 0 for tensor in outputs):
        raise PlanError(f"{node.label}: gives an empty output", node.name)
    return [*state, *outputs]


OPERATORS: dict[str, Operator] = {"Scan": _scan}
