"""Batch and time in each other's place."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
from breaking.broken import Broken, by_hand, edited
from breaking.graphs import Edit
from breaking.handmade import HandMade
from breaking.originals import Original, hand, operator, scan, traced

CAUSE = "batch_first mix-up"


def _entry(edit: Edit) -> ir.Node:
    """Return the node that gives a batch-first input its time axis first."""
    ((node, _),) = edit.graph.inputs[0].uses()
    return node


def _exit(edit: Edit) -> ir.Node:
    """Return the node that gives the output its batch axis first."""
    return edit.graph.outputs[0].producer()


def _no_transposes(edit: Edit) -> None:
    """Hand on [batch, time, features] as it came."""
    edit.bypass(_entry(edit))
    edit.bypass(_exit(edit))


def _not_back(edit: Edit) -> None:
    """Leave the output as the operator gave it, [time, batch, features]."""
    edit.bypass(_exit(edit))


def _not_in(edit: Edit) -> None:
    """Transpose the output alone."""
    edit.bypass(_entry(edit))


def _twice(edit: Edit) -> None:
    """Transpose the input twice, as a caller's own wrapper and the exporter both do."""
    edit.after(edit.graph.inputs[0], "Transpose", perm=[1, 0, 2])


def _output_twice(edit: Edit) -> None:
    edit.after(edit.graph.outputs[0], "Transpose", perm=[1, 0, 2])


def _needless(edit: Edit) -> None:
    """Treat a time-first layer as a batch-first one."""
    _twice(edit)
    _output_twice(edit)


def _reshape_in(edit: Edit) -> None:
    """Exchange the two sizes of the input, and leave the numbers where they are."""
    node = _entry(edit)
    x = node.inputs[0]
    edit.bypass(node)
    edit.after(x, "Reshape", _exchanged_shape(edit, x))


def _reshape_out(edit: Edit) -> None:
    """Exchange the two sizes of the output, and leave the numbers where they are."""
    node = _exit(edit)
    y = node.inputs[0]
    edit.bypass(node)
    edit.after(y, "Reshape", _exchanged_shape(edit, y))


def _reshape_time_first(edit: Edit) -> None:
    """Give a time-first output the sizes of a batch-first one: right only when flattened."""
    y = edit.graph.outputs[0]
    edit.after(y, "Reshape", _exchanged_shape(edit, y))


def _exchanged_shape(edit: Edit, value: ir.Value) -> ir.Value:
    """Compute [second, first, third] from the sizes of a value."""
    shape = ir.node("Shape", [value])
    exchanged = ir.node("Gather", [shape.outputs[0], edit.integers(1, 0, 2)])
    if value.producer() is None:
        edit.graph.insert_before(edit.graph[0], [shape, exchanged])
    else:
        edit.graph.insert_after(value.producer(), [shape, exchanged])
    return exchanged.outputs[0]


def _final_batch_first(edit: Edit) -> None:
    """Give final states as [batch, layers, hidden], which `batch_first` does not mean."""
    for state in list(edit.graph.outputs)[1:]:
        edit.after(state, "Transpose", perm=[1, 0, 2])


class Ignorant(HandMade):
    """Knows nothing of `batch_first`."""

    def enter(self, x: str) -> str:
        return x

    def leave(self, y: str) -> str:
        return y


class Transposing(HandMade):
    """Takes every layer for a batch-first one."""

    def enter(self, x: str) -> str:
        return self.op("Transpose", x, perm=[1, 0, 2])

    def leave(self, y: str) -> str:
        return self.op("Transpose", y, perm=[1, 0, 2])


class Reshaping(HandMade):
    """Uses Reshape where it should use Transpose."""

    def enter(self, x: str) -> str:
        return self.exchange(x)

    def leave(self, y: str) -> str:
        return self.exchange(y)

    def exchange(self, x: str) -> str:
        shape = self.op("Gather", self.op("Shape", x), self.integers(1, 0, 2))
        return self.op("Reshape", x, shape)


class BetweenLayers(HandMade):
    """Transposes between the layers too, as if each were a separate layer."""

    def between(self, y: str, index: int) -> str:
        return self.op("Transpose", y, perm=[1, 0, 2])


def _edited(mistake: str, original: Original, change: Callable[[Edit], None]) -> Broken:
    return edited(CAUSE, mistake, original, change)


BROKEN = (
    _edited("no_transposes", operator("rnn", 2, batch_first=True, states=False), _no_transposes),
    by_hand(CAUSE, "ignored", hand("rnn", bidirectional=True, batch_first=True), Ignorant),
    _edited("needless", traced("rnn"), _needless),
    _edited("reshape_output", scan("rnn", 2, bidirectional=True), _reshape_time_first),
    _edited("not_back", traced("relu", batch_first=True), _not_back),
    _edited(
        "twice", operator("relu", 2, bidirectional=True, batch_first=True, states=False), _twice
    ),
    by_hand(CAUSE, "transposed", hand("relu", states=False), Transposing),
    _edited("reshape_in", traced("relu", 3, batch_first=True), _reshape_in),
    _edited(
        "no_transposes", traced("lstm", 2, bidirectional=True, batch_first=True), _no_transposes
    ),
    by_hand(CAUSE, "reshaped", hand("lstm", batch_first=True, states=False), Reshaping),
    _edited("reshape_output", operator("lstm", bidirectional=True), _reshape_time_first),
    _edited("final_batch_first", operator("lstm", 2, batch_first=True), _final_batch_first),
    _edited("not_in", scan("lstm", batch_first=True, proj_size=3), _not_in),
    by_hand(CAUSE, "ignored", hand("gru", 2, batch_first=True, states=False), Ignorant),
    _edited("not_back", operator("gru", bidirectional=True, batch_first=True), _not_back),
    _edited("reshape_output", traced("gru", 2, batch_first=True), _reshape_out),
    _edited("needless", scan("gru", bidirectional=True, states=False), _needless),
    by_hand(CAUSE, "between_layers", hand("gru", 2, batch_first=True), BetweenLayers),
    _edited("final_batch_first", traced("gru", 2, bidirectional=True), _final_batch_first),
    _edited("needless", operator("gru", 2), _needless),
)
