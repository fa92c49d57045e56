"""Files that take `lengths`, and do not mind them where they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx
import onnx_ir as ir
import torch
from breaking.broken import Broken, by_hand, edited, made
from breaking.graphs import SEQUENCE_LENS, Edit, W
from breaking.handmade import HandMade
from breaking.originals import FlatArguments, Original, hand, operator, scan, torchscript, traced
from torch import Tensor

AT_PADDING = "h_n taken at padding"
IGNORED = "lengths ignored"


class OnlyMasked(FlatArguments):
    """Runs over the padding and masks the output, instead of packing."""

    def run(
        self, x: Tensor, lengths: Tensor | None, state: Tensor | tuple[Tensor, ...] | None
    ) -> tuple[Tensor, ...]:
        output, *after = super().run(x, None, state)
        first = self.layer.batch_first
        steps = torch.arange(x.size(1 if first else 0))
        inside = steps < lengths.unsqueeze(1) if first else steps.unsqueeze(1) < lengths
        return (output * inside.unsqueeze(2), *after)


def _masked(cause: str, original: Original) -> Broken:
    def make() -> onnx.ModelProto:
        return torchscript(
            OnlyMasked(original), original.example(), original.names(), original.dynamic_axes()
        )

    return made(cause, "masked", original, make)


def _last_step(edit: Edit) -> None:
    """Take h_n from the last step of Y, [time, directions, batch, hidden], or the first."""
    finals = []
    for node in edit.recurrent:
        y = node.outputs[0]
        rows = []
        for direction in range(len(edit.array(node, W))):
            step, at = edit.integers(0 if direction else -1), edit.integers(direction)
            last = ir.node("Gather", [y, step], {"axis": 0})
            row = ir.node("Gather", [last.outputs[0], at], {"axis": 1})
            squeezed = ir.node("Squeeze", [row.outputs[0], edit.integers(0)])
            edit.graph.insert_after(node, [last, row, squeezed])
            rows.append(squeezed.outputs[0])
        finals += rows  # each [1, batch, hidden]
    concat = ir.node("Concat", finals, {"axis": 0})
    edit.graph.append(concat)
    edit.give_out(1, concat.outputs[0])


def _not_held(edit: Edit) -> None:
    """Let the state run on through the padding; the output stays masked."""
    for body in edit.bodies():
        for index, output in enumerate(body.outputs[:-1]):
            hold = output.producer()  # Where(mask, new, old)
            moved = ir.node("Identity", [hold.inputs[1]])
            body.append(moved)
            new = moved.outputs[0]
            new.type, new.shape = output.type, output.shape
            body.outputs[index] = new


class FinalsOfPadded(HandMade):
    """Reads the final states from a second run, that knows no lengths."""

    def operator(
        self, x: str, index: int, direction: int, lens: str, states: list[str]
    ) -> list[str]:
        y, *_ = super().operator(x, index, direction, lens, states)
        _, *finals = super().operator(x, index, direction, "", states)
        return [y, *finals]


class OutputAtEnd(HandMade):
    """Reads h_n of the forward direction from the last step of its output."""

    def run(self, x: str, index: int, direction: int) -> list[str]:
        y, h, *c = super().run(x, index, direction)
        if direction:
            return [y, h, *c]
        return [y, self.op("Gather", y, self.integers(-1), axis=0), *c]


class OutputAtEndOnTop(OutputAtEnd):
    """Does so for the last layer alone."""

    def run(self, x: str, index: int, direction: int) -> list[str]:
        if index + 1 < self.original.num_layers:
            return HandMade.run(self, x, index, direction)
        return super().run(x, index, direction)


class NoLens(HandMade):
    """Forgets to wire `sequence_lens`."""

    def sequence_lens(self, index: int, direction: int) -> str:
        return ""


class LensBelow(HandMade):
    """Wires `sequence_lens` into the first layer alone."""

    def sequence_lens(self, index: int, direction: int) -> str:
        return "" if index else super().sequence_lens(index, direction)


class LensForward(HandMade):
    """Wires `sequence_lens` into the forward direction alone."""

    def sequence_lens(self, index: int, direction: int) -> str:
        return "" if direction else super().sequence_lens(index, direction)


def _unwired(edit: Edit) -> None:
    """Cut the wires of `sequence_lens`."""
    for node in edit.recurrent:
        node.replace_input_with(SEQUENCE_LENS, None)


def _unread(original: Original) -> Broken:
    """Add `lengths` to the inputs of a file that was made without."""

    def make() -> onnx.ModelProto:
        edit = Edit(replace(original, lengths=False).model())
        edit.add_input(1, "lengths", ir.DataType.INT64, ["batch"])
        return edit.proto()

    return made(IGNORED, "unread", original, make)


def _at_padding(mistake: str, original: Original, change: Callable[[Edit], None]) -> Broken:
    return edited(AT_PADDING, mistake, original, change)


def _lengths(make: Callable[..., Original], cell: str, layers: int = 1, **more: bool) -> Original:
    return make(cell, layers, lengths=True, **more)


_AT_PADDING = (
    _masked(AT_PADDING, _lengths(traced, "rnn")),
    _at_padding("last_step", _lengths(operator, "rnn", 2, bidirectional=True), _last_step),
    _at_padding("not_held", _lengths(scan, "relu", batch_first=True), _not_held),
    by_hand(
        AT_PADDING,
        "of_padded",
        _lengths(hand, "relu", 2, bidirectional=True),
        FinalsOfPadded,
    ),
    _masked(AT_PADDING, _lengths(traced, "lstm", 2, batch_first=True)),
    _at_padding("not_held", _lengths(scan, "lstm"), _not_held),
    _at_padding("last_step", _lengths(operator, "lstm", bidirectional=True), _last_step),
    by_hand(
        AT_PADDING,
        "of_padded",
        _lengths(hand, "lstm", 2, bidirectional=True, states=False),
        FinalsOfPadded,
    ),
    _at_padding("last_step", _lengths(operator, "gru", batch_first=True), _last_step),
    by_hand(
        AT_PADDING,
        "output_at_end",
        _lengths(hand, "gru", 2, bidirectional=True),
        OutputAtEnd,
        "forward",
    ),
    by_hand(AT_PADDING, "output_at_end", _lengths(hand, "gru", 3), OutputAtEndOnTop, "layer 2"),
    _at_padding("not_held", _lengths(scan, "gru", 2), _not_held),
)
_IGNORED = (
    by_hand(IGNORED, "no_lens", _lengths(hand, "rnn", bidirectional=True), NoLens),
    _unread(_lengths(scan, "rnn", 2)),
    edited(IGNORED, "unwired", _lengths(operator, "relu", 2, bidirectional=True), _unwired),
    _unread(_lengths(traced, "relu", batch_first=True)),
    edited(IGNORED, "unwired", _lengths(operator, "lstm"), _unwired),
    by_hand(
        IGNORED, "lens_below", _lengths(hand, "lstm", 2, bidirectional=True), LensBelow, "layer 1"
    ),
    _masked(IGNORED, _lengths(traced, "lstm", 2, bidirectional=True, states=False)),
    _masked(IGNORED, _lengths(traced, "gru", bidirectional=True)),
    by_hand(
        IGNORED, "lens_forward", _lengths(hand, "gru", bidirectional=True), LensForward, "backward"
    ),
    _unread(_lengths(scan, "gru", 2, batch_first=True)),
)

BROKEN = (*_AT_PADDING, *_IGNORED)
