"""Files that hold to the time, or the batch, of the example that they were made with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import torch
from breaking.broken import Broken, by_hand, edited, made
from breaking.graphs import INITIAL_H, SEQUENCE_LENS, Edit, R, constant_of
from breaking.handmade import HandMade, Looped
from breaking.originals import (
    BATCH,
    TIME,
    FlatArguments,
    Original,
    hand,
    looped,
    operator,
    scan,
    torchscript,
    traced,
)
from torch import Tensor, nn

CAUSE = "frozen length"


class Unrolled(FlatArguments):
    """The layer as a Python loop over cells, which tracing unrolls for the example's length."""

    def run(
        self, x: Tensor, lengths: Tensor | None, state: Tensor | tuple[Tensor, ...] | None
    ) -> tuple[Tensor, ...]:
        layer = self.layer
        first = [state] if isinstance(state, Tensor) else list(state or [])
        x = x.transpose(0, 1) if layer.batch_first else x
        ends = ["", "_reverse"] if layer.bidirectional else [""]
        finals = []
        for index in range(layer.num_layers):
            outputs = []
            for direction, end in enumerate(ends):
                weights = [getattr(layer, f"{name}_l{index}{end}") for name in WEIGHTS]
                row = index * len(ends) + direction
                y, last = _over_time(layer.mode, x, [s[row] for s in first], weights, direction)
                outputs.append(y)
                finals.append(last)
            x = torch.cat(outputs, 2)
        output = x.transpose(0, 1) if layer.batch_first else x
        return (output, *(torch.stack(rows) for rows in zip(*finals, strict=True)))


WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
CELLS = {
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
}


def _over_time(
    mode: str, x: Tensor, state: list[Tensor], weights: list[nn.Parameter], backward: int
) -> tuple[Tensor, list[Tensor]]:
    outputs = []
    steps = range(x.size(0))
    for t in reversed(steps) if backward else steps:
        result = CELLS[mode](x[t], state if mode == "LSTM" else state[0], *weights)
        state = list(result) if mode == "LSTM" else [result]
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backward else outputs), state


def _traced_loop(original: Original) -> Broken:
    def make() -> onnx.ModelProto:
        return torchscript(
            Unrolled(original), original.example(), original.names(), original.dynamic_axes()
        )

    return made(CAUSE, "traced_loop", original, make)


def _without_axes(original: Original, *, batch: bool = False, time: bool = False) -> Broken:
    """Export with the older exporter, and name not all the dynamic axes."""

    def make() -> onnx.ModelProto:
        return torchscript(
            FlatArguments(original),
            original.example(),
            original.names(),
            original.dynamic_axes(batch=batch, time=time),
        )

    mistake = "_".join(["no", *["batch"] * (not batch), *["time"] * (not time), "axis"])
    return made(CAUSE, mistake, original, make)


def _newer_exporter(original: Original) -> Broken:
    """Export with torch's default exporter, and ask for what it can make dynamic."""

    def make() -> onnx.ModelProto:
        return onnx.load_from_string(_by_newer_exporter(original))

    return made(CAUSE, "newer_exporter", original, make)


@cache
def _by_newer_exporter(original: Original) -> bytes:
    """Take seconds, and once in a process only: what comes out depends on what came before."""
    inputs, outputs = original.names()
    axes = {axis: torch.export.Dim.AUTO for axis in (0, 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            original.layer,
            original.example(),
            dynamo=True,
            verbose=False,
            dynamic_shapes=(axes,),
            input_names=inputs,
            output_names=outputs,
        )
    return program.model_proto.SerializeToString()


class FixedSteps(Looped):
    """Loops as often as the example has steps."""

    def steps(self, x: str) -> str:
        return self.constant("steps", np.array(TIME, np.int64))


class FixedBatch(HandMade):
    """Starts from zeros for as many rows as the example has."""

    def initial(self, state: str, index: int, direction: int) -> str:
        zeros = np.zeros((1, BATCH, self.original.hidden_size), np.float32)
        return self.constant("zeros", zeros)


def _first_steps(edit: Edit) -> None:
    """Cut the sequence to the steps of the example."""
    x = edit.recurrent[0].inputs[0]
    ends = [edit.integers(number) for number in (0, TIME, 0)]
    edit.after(x, "Slice", *ends)


def _reshaped(edit: Edit) -> None:
    """Join the directions in the shape of the example; what is left over goes to the batch."""
    for node, recurrent in zip(edit.nodes("Reshape"), edit.recurrent, strict=True):
        directions, _, hidden = edit.array(recurrent, R).shape
        edit.put(node, 1, np.array([TIME, -1, directions * hidden], np.int64))


def _input_reshaped(edit: Edit) -> None:
    """Reshape the input to the example's time; what is left over goes to the batch."""
    x = edit.graph.inputs[0]
    edit.after(x, "Reshape", edit.integers(TIME, -1, x.shape[-1]))


def _constant_lens(edit: Edit) -> None:
    """Give every operator the lengths of the example."""
    lens = edit.constant(np.full(BATCH, TIME, np.int32))
    for node in edit.recurrent:
        node.replace_input_with(SEQUENCE_LENS, lens)


def _expanded_lens(edit: Edit) -> None:
    """Give every operator the example's length for any number of rows."""
    for node in edit.recurrent:
        batch = edit.op(node, "Shape", node.inputs[0])
        batch = edit.op(node, "Gather", batch, edit.integers(1))
        lens = edit.op(node, "Expand", edit.constant(np.array([TIME], np.int32)), batch)
        node.replace_input_with(SEQUENCE_LENS, lens)


def _constant_zeros(edit: Edit) -> None:
    """Fold the zeros that the states start from into constants of the example's batch."""
    for node in edit.nodes("ConstantOfShape"):
        hidden = constant_of(node.inputs[0].producer().inputs[1])[0]
        zeros = edit.constant(np.zeros((BATCH, hidden), np.float32))
        ir.convenience.replace_all_uses_with(node.outputs[0], zeros)


def _expanded_states(edit: Edit) -> None:
    """Expand the rows of h_0 to the example's batch, as for one that was given once for all."""
    for node in edit.recurrent:
        directions, _, hidden = edit.array(node, R).shape
        shape = edit.integers(directions, BATCH, hidden)
        edit.before(node, INITIAL_H, "Expand", shape)


def _edited(mistake: str, original: Original, change: Callable[[Edit], None]) -> Broken:
    return edited(CAUSE, mistake, original, change)


BROKEN = (
    _without_axes(traced("rnn")),
    _newer_exporter(traced("rnn", states=False)),
    by_hand(CAUSE, "fixed_steps", looped("rnn", 2, bidirectional=True), FixedSteps),
    _traced_loop(traced("rnn", 2, batch_first=True)),
    _edited("reshape", operator("rnn", bidirectional=True, lengths=True), _reshaped),
    _edited("first_steps", operator("relu", batch_first=True), _first_steps),
    _traced_loop(traced("relu", 2, bidirectional=True)),
    _edited("expanded_lens", operator("relu", 2), _expanded_lens),
    _without_axes(traced("relu", 3, states=False, batch_first=True), time=True),
    _newer_exporter(traced("lstm", states=False)),
    _without_axes(traced("lstm", 2, states=False, bidirectional=True), time=True),
    _edited("reshape", operator("lstm", 2, bidirectional=True, states=False), _reshaped),
    by_hand(CAUSE, "fixed_steps", looped("lstm", 2, batch_first=True), FixedSteps),
    _traced_loop(traced("lstm", bidirectional=True)),
    _edited("input_reshape", scan("lstm", proj_size=3), _input_reshaped),
    _edited("constant_lens", traced("gru"), _constant_lens),
    _edited("reshape", traced("gru", 2, bidirectional=True, states=False), _reshaped),
    _without_axes(traced("gru", 2, bidirectional=True, batch_first=True), batch=True),
    _edited("constant_zeros", scan("gru", states=False), _constant_zeros),
    by_hand(CAUSE, "zeros", hand("gru", 2, states=False, batch_first=True), FixedBatch),
    _traced_loop(traced("gru", 3)),
    _edited("input_reshape", operator("gru", 2), _input_reshaped),
    _edited("expanded_states", operator("gru", bidirectional=True), _expanded_states),
)
