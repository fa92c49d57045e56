"""ONNX's own recurrent operators: RNN, LSTM and GRU.

https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`). A row of length zero hands
its initial state on, as in PyTorch; the operators' own text leaves it open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.operators.movement import constants, transposed
from rnnedge_runtime.plan.packing import LayerWeights
from rnnedge_runtime.plan.tracer import LAYER, Operator, Tracer
from rnnedge_runtime.plan.values import Array, Call, Tensor, Value, as_float32

GATES = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""For each gate in PyTorch's order (i, f, g, o; r, z, n) its place in ONNX's."""


def packed_layer(tracer: Tracer, weights: LayerWeights) -> Any:
    """Return the weights of one direction as its call takes them; made once."""
    gates, hidden = len(weights.weight_ih) // max(weights.hidden_size, 1), weights.hidden_size
    expected = (gates * hidden, weights.state_size)
    if weights.weight_hh.shape != expected or hidden == 0:
        raise PlanError(f"weights {list(weights.weight_hh.shape)}, expected {list(expected)}")
    return tracer.keep(("layer", id(weights)), (weights,), lambda: tracer.packer.layer(weights))


def run_direction(
    tracer: Tracer,
    layer: Any,
    weights: LayerWeights,
    x: Tensor,
    y: Tensor,
    h_n: Tensor,
    c_n: Tensor | None,
    *,
    backward: bool,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
) -> None:
    """Write down the call of one direction.

    Args:
        tracer: What to write it to.
        layer: The packed weights.
        weights: The same, for their sizes.
        x: [time, batch, input], its last axis dense.
        y: [time, batch, state], where its output goes, likewise.
        h_n: [batch, state], where its final state goes; c_n [batch, hidden] of an LSTM.
        c_n: See `h_n`.
        backward: Whether it starts at the end.
        h_0: [batch, state], or None for zeros; c_0 [batch, hidden] likewise.
        c_0: See `h_0`.
        lengths: int64 [batch], or None.
    """
    time, batch = x.shape[:2]
    if time == 0 or batch == 0:
        raise PlanError("a recurrent layer takes 1 or more steps, and 1 or more rows")

    def place(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.place

    def rows(tensor: Tensor | None) -> int:
        return 0 if tensor is None else tensor.strides[0]

    features = x.shape[2] + weights.state_size
    tracer.emit(
        Call(
            LAYER,
            int(backward),
            (time, batch),
            tuple(place(tensor) for tensor in (x, h_0, c_0, lengths, y, h_n, c_n)),
            (
                x.strides[0],
                x.strides[1],
                rows(h_0),
                rows(c_0),
                y.strides[0],
                y.strides[1],
                rows(h_n),
                rows(c_n),
            ),
            packed=layer,
            writes=3,
            work=time * batch * len(weights.weight_ih) * features,
            about={
                "hidden_size": weights.hidden_size,
                "integers": weights.integers_hh is not None,
            },
        )
    )


def rows_of(tracer: Tracer, tensor: Tensor) -> Tensor:
    """Return a tensor whose last axis is dense."""
    return tensor if tensor.shape[-1] == 1 or tensor.strides[-1] == 1 else tracer.dense(tensor)


def checked(name: str, tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor that must have a shape."""
    if tensor.shape != tuple(shape):
        raise PlanError(f"{name}: expected {list(shape)}, got {list(tensor.shape)}")
    return tensor


def _lay_out(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    given = [*inputs, *[None] * (8 - len(inputs))]
    backward = directions_of(node)
    weights = _weights(tracer, node, given, len(backward))
    return run_directions(tracer, node, tracer.floats(given[0]), weights, backward, given[4:7])


def run_directions(
    tracer: Tracer,
    node: Node,
    x: Tensor,
    weights: Sequence[LayerWeights],
    backward: Sequence[bool],
    others: Sequence[Value | None],
) -> list[Value]:
    """Write down the calls of a recurrent operator, and return its outputs.

    Args:
        tracer: What to write to.
        node: The node.
        x: [time, batch, input].
        weights: Those of each direction.
        backward: Whether each starts at the end.
        others: Its sequence_lens, initial_h and initial_c, or None for each.
    """
    x = rows_of(tracer, x)
    if len(x.shape) != 3 or x.shape[2] != weights[0].weight_ih.shape[1]:
        raise PlanError(f"{node.label}: an input of shape {list(x.shape)}", node.name)
    time, batch = x.shape[:2]
    hidden = weights[0].hidden_size
    lengths = None
    if others[0] is not None:
        lengths = tracer.dense(checked("sequence_lens", tracer.tensor(others[0]), (batch,)))
        if lengths.dtype != "int64":
            raise PlanError(f"{node.label}: lengths of {lengths.dtype}", node.name)
    shape = (len(weights), batch, hidden)
    states = [
        None if value is None else rows_of(tracer, checked(name, tracer.floats(value), shape))
        for name, value in (("initial_h", others[1]), ("initial_c", others[2]))
    ]
    lstm = weights[0].cell == "lstm"
    y = tracer.new(
        (time, batch, len(weights), hidden)
    )  # as [time, directions, batch, hidden] below
    finals = [tracer.new(shape) for _ in range(2 if lstm else 1)]
    for index, own in enumerate(weights):
        layer = packed_layer(tracer, own)
        part = [None if state is None else picked(state, 0, index) for state in states]
        ends = [picked(final, 0, index) for final in finals]
        run_direction(
            tracer,
            layer,
            own,
            x,
            picked(y, 2, index),
            ends[0],
            ends[1] if lstm else None,
            backward=backward[index],
            h_0=part[0],
            c_0=part[1] if lstm else None,
            lengths=lengths,
        )
    return [transposed(y, (0, 2, 1, 3)), *finals]


def in_order(array: Array, order: Sequence[int]) -> Array:
    """Return the blocks of rows of an array, one for each gate, in another order."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[gate] for gate in order])


def picked(tensor: Tensor, axis: int, index: int) -> Tensor:
    """Return the view of one entry along an axis, without that axis."""
    return replace(
        tensor,
        shape=tensor.shape[:axis] + tensor.shape[axis + 1 :],
        strides=tensor.strides[:axis] + tensor.strides[axis + 1 :],
        offset=tensor.offset + index * tensor.strides[axis],
    )


def directions_of(node: Node) -> tuple[bool, ...]:
    """Return for each direction of a recurrent operator whether it starts at the end."""
    direction = node.get("direction", "forward")
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    if direction not in ways:
        raise PlanError(f"{node.label}: direction {direction!r}", node.name)
    return ways[direction]


def _weights(
    tracer: Tracer, node: Node, given: Sequence[Value | None], directions: int
) -> list[LayerWeights]:
    """Return each direction's weights; made once, and found again by the node's W."""
    known = constants(given)
    w, r, b = known[1], known[2], known[3]
    if w is None or r is None or (given[3] is not None and b is None):
        raise PlanError(f"{node.label}: its weights are computed from the data", node.name)
    relu = check_attributes(node, node.operator, given, directions)
    gates = len(GATES[node.operator])
    hidden = int(node.get("hidden_size") or r.shape[-1])
    wanted = (directions, gates * hidden)
    if w.ndim != 3 or r.shape != (*wanted, hidden) or w.shape[:2] != wanted:
        raise PlanError(f"{node.label}: weights of shapes {list(w.shape)} and {list(r.shape)}")
    if b is not None and b.shape != (directions, 2 * gates * hidden):
        raise PlanError(f"{node.label}: biases of shape {list(b.shape)}", node.name)
    before = node.operator == "GRU" and not node.get("linear_before_reset", 0)
    owners = tuple(array for array in (w, r, b) if array is not None)
    key = ("weights", before, relu, node.operator, *(id(array) for array in owners))
    made: list[LayerWeights] = tracer.keep(
        key,
        owners,
        lambda: [
            _direction(
                node.operator, w[i], r[i], None if b is None else b[i], before=before, relu=relu
            )
            for i in range(directions)
        ],
    )
    return made


def _direction(
    operator: str, w: Array, r: Array, b: Array | None, *, before: bool, relu: bool
) -> LayerWeights:
    order = GATES[operator]

    def ordered(array: Array) -> Array:
        return in_order(array, order)

    cell = "gru_reset_before" if before else operator.lower()
    weight_ih, weight_hh = as_float32(ordered(w)), as_float32(ordered(r))
    nonlinearity = "relu" if relu else "tanh"
    if b is None:
        return LayerWeights(cell, nonlinearity, weight_ih, weight_hh, None)
    bias_ih, bias_hh = (ordered(half) for half in np.split(b, 2))
    if cell != "gru":
        return LayerWeights(cell, nonlinearity, weight_ih, weight_hh, bias_ih + bias_hh)
    hidden = len(bias_ih) // 3
    bias = bias_ih.copy()
    bias[: 2 * hidden] += bias_hh[: 2 * hidden]
    return LayerWeights(
        cell, nonlinearity, weight_ih, weight_hh, bias, bias_hh[2 * hidden :].copy()
    )


def check_attributes(
    node: Node, operator: str, given: Sequence[Value | None], directions: int
) -> bool:
    """Refuse what the kernels do not have; return whether an RNN's nonlinearity is relu."""
    for name, plain in (("layout", 0), ("input_forget", 0), ("clip", None)):
        if node.get(name, plain) != plain:
            raise PlanError(
                f"{node.label}: {name} is not supported by the native engine", node.name
            )
    if operator == "LSTM" and given[7] is not None:
        raise PlanError(
            f"{node.label}: peepholes are not supported by the native engine", node.name
        )
    usual = {"RNN": ["tanh"], "LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}
    found = [name.lower() for name in node.get("activations", [])]
    if operator == "RNN" and found == ["relu"] * directions:
        return True
    if found and found != usual[operator] * directions:
        raise PlanError(f"{node.label}: activations {', '.join(found)} are not known", node.name)
    return False


OPERATORS: dict[str, Operator] = {"GRU": _lay_out, "LSTM": _lay_out, "RNN": _lay_out}
