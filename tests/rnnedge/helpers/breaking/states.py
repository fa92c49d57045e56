"""States that go to, or come from, another layer or direction; and states that go nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
from breaking.broken import ALL, Broken, Part, by_hand, edited, made
from breaking.graphs import INITIAL_C, INITIAL_H, Edit
from breaking.handmade import HandMade
from breaking.originals import Original, hand, operator, scan, traced

WRONG_LAYER = "states of the wrong layer"
IGNORED = "initial state ignored"


def _initial_rows(*order: int) -> Callable[[Edit], None]:
    """Put the rows of every initial state in another order."""

    def change(edit: Edit) -> None:
        for state in _state_inputs(edit):
            edit.after(state, "Gather", edit.integers(*order), axis=0)

    return change


def _final_rows(*order: int) -> Callable[[Edit], None]:
    """Put the rows of every final state in another order."""

    def change(edit: Edit) -> None:
        for state in list(edit.graph.outputs)[1:]:
            edit.after(state, "Gather", edit.integers(*order), axis=0)

    return change


def _last_layers_first(edit: Edit) -> None:
    """Join the final states from the last layer to the first."""
    for state in list(edit.graph.outputs)[1:]:
        concat = state.producer()
        for slot, value in enumerate(reversed(list(concat.inputs))):
            concat.replace_input_with(slot, value)


def _last_layer_only(edit: Edit) -> None:
    """Give the final state of the last layer for every layer."""
    for state in list(edit.graph.outputs)[1:]:
        concat = state.producer()
        for slot in range(len(concat.inputs)):
            concat.replace_input_with(slot, concat.inputs[-1])


def _all_from_first(edit: Edit) -> None:
    """Start every layer from the states of layer 0."""
    first, *others = edit.recurrent
    for node in others:
        for slot in range(INITIAL_H, len(node.inputs)):
            node.replace_input_with(slot, first.inputs[slot])


def _h_for_c(edit: Edit) -> None:
    """Hand h_0 over as c_0, and c_0 as h_0."""
    for node in edit.recurrent:
        h, c = node.inputs[INITIAL_H], node.inputs[INITIAL_C]
        node.replace_input_with(INITIAL_H, c)
        node.replace_input_with(INITIAL_C, h)


def _c_first(edit: Edit) -> None:
    """Give c_n out as h_n, and h_n as c_n."""
    _, h, c = edit.graph.outputs
    for index, value in ((1, c), (2, h)):
        made = ir.node("Identity", [value])
        edit.graph.append(made)
        edit.give_out(index, made.outputs[0])


class AllFromFirst(HandMade):
    """Starts every layer from the states of layer 0."""

    def row(self, state: str, index: int, direction: int) -> int:
        return super().row(state, 0, direction)


class DirectionsOutermost(HandMade):
    """Reads the initial states as all layers forward, then all layers backward."""

    def row(self, state: str, index: int, direction: int) -> int:
        return direction * self.original.num_layers + index


class FinalDirectionsOutermost(HandMade):
    """Gives the final states as all layers forward, then all layers backward."""

    def final(self, rows: list[str], state: str) -> str:
        return super().final(rows[::2] + rows[1::2], state)


class CellFromFirst(HandMade):
    """Starts every layer from c of layer 0, after a line that was copied for c."""

    def row(self, state: str, index: int, direction: int) -> int:
        return super().row(state, 0 if state == "c" else index, direction)


class Forgetful(HandMade):
    """Wires the states of a part to nothing."""

    part = ALL
    forgotten: Sequence[str] = ("h", "c")

    def initial(self, state: str, index: int, direction: int) -> str:
        if state in self.forgotten and self.part.has(index, direction):
            zero = self.constant("zero", np.zeros(1, np.float32))
            return self.op("Mul", super().initial(state, index, direction), zero)
        return super().initial(state, index, direction)


class ForgetfulBackward(Forgetful):
    part = Part(None, 1)


class ForgetfulCell(Forgetful):
    forgotten = ("c",)


def _unread(original: Original) -> Broken:
    """Add the inputs of the states to a file that starts from zeros."""

    def make() -> onnx.ModelProto:
        edit = Edit(replace(original, states=False).model())
        rows = original.num_layers * original.directions
        for name, size in zip(original.state_names, original.state_sizes, strict=True):
            axes: list[int | str] = [rows, "batch", size]
            edit.add_input(len(edit.graph.inputs), f"{name}_0", ir.DataType.FLOAT, axes)
        return edit.proto()

    return made(IGNORED, "unread", original, make)


def _unwired(*slots: int, layer: int | None = None) -> Callable[[Edit], None]:
    """Cut the wires of initial states of the operators."""

    def change(edit: Edit) -> None:
        for index, node in enumerate(edit.recurrent):
            for slot in slots:
                if layer in (None, index):
                    node.replace_input_with(slot, None)

    return change


def _state_inputs(edit: Edit) -> list[ir.Value]:
    return list(edit.graph.inputs)[-(len(edit.graph.outputs) - 1) :]


def _edited(mistake: str, original: Original, change: Callable[[Edit], None]) -> Broken:
    return edited(WRONG_LAYER, mistake, original, change)


def _by_hand(mistake: str, original: Original, writer: type[HandMade]) -> Broken:
    return by_hand(WRONG_LAYER, mistake, original, writer)


_WRONG_LAYER = (
    _edited("initial_exchanged", operator("rnn", 2), _initial_rows(1, 0)),
    _by_hand("final", hand("rnn", 2, bidirectional=True), FinalDirectionsOutermost),
    _edited("final_directions", traced("rnn", bidirectional=True), _final_rows(1, 0)),
    _edited("initial_reversed", scan("rnn", 3, batch_first=True), _initial_rows(2, 1, 0)),
    _edited("final_reversed", traced("relu", 3), _last_layers_first),
    _edited("initial_directions", operator("relu", bidirectional=True), _initial_rows(1, 0)),
    _by_hand("initial", hand("relu", 2, bidirectional=True), DirectionsOutermost),
    _edited("last_only", traced("relu", 2, states=False, batch_first=True), _last_layer_only),
    _edited("h_for_c", operator("lstm", batch_first=True), _h_for_c),
    _edited("c_first", traced("lstm", 2), _c_first),
    _edited("c_first", operator("lstm", states=False, lengths=True), _c_first),
    _by_hand("all_from_first", hand("lstm", 2, bidirectional=True), AllFromFirst),
    _by_hand("cell_from_first", hand("lstm", 2, batch_first=True), CellFromFirst),
    _edited("final_reversed", scan("lstm", 2, proj_size=3), _last_layers_first),
    _edited("initial_outer", scan("lstm", 2, bidirectional=True), _initial_rows(0, 2, 1, 3)),
    _edited("all_from_first", traced("gru", 2), _all_from_first),
    _edited("all_from_first", operator("gru", 3, bidirectional=True), _all_from_first),
    _edited("final_outer", traced("gru", 2, bidirectional=True), _final_rows(0, 2, 1, 3)),
    _edited("initial_directions", scan("gru", bidirectional=True), _initial_rows(1, 0)),
    _edited("last_only", operator("gru", 3, lengths=True), _last_layer_only),
)
_IGNORED = (
    _unread(traced("rnn")),
    by_hand(
        IGNORED,
        "unwired",
        hand("rnn", 2, bidirectional=True, batch_first=True),
        ForgetfulBackward,
        "backward",
    ),
    _unread(scan("relu", 2, bidirectional=True)),
    edited(IGNORED, "unwired", operator("relu", 2), _unwired(INITIAL_H, layer=1), "layer 1"),
    _unread(operator("lstm", bidirectional=True)),
    edited(IGNORED, "unwired_c", traced("lstm", 2), _unwired(INITIAL_C)),
    by_hand(IGNORED, "forgotten_c", hand("lstm", bidirectional=True), ForgetfulCell),
    _unread(scan("lstm", proj_size=3, batch_first=True)),
    _unread(traced("gru", 3)),
    edited(IGNORED, "unwired", operator("gru", bidirectional=True), _unwired(INITIAL_H)),
    edited(
        IGNORED,
        "unwired",
        traced("gru", 2, bidirectional=True),
        _unwired(INITIAL_H, layer=1),
        "layer 1",
    ),
)

BROKEN = (*_WRONG_LAYER, *_IGNORED)
