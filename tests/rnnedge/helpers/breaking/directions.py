"""Bidirectional layers whose directions took each other's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx
import onnx_ir as ir
from breaking.broken import ALL, Broken, Part, by_hand, edited, made
from breaking.graphs import B, Edit, R, W
from breaking.handmade import HandMade, Reversing
from breaking.originals import Original, hand, lowered, operator, reversing, scan, traced

from rnnedge_exporters.layers.weights import read_layer

CAUSE = "swapped directions"


def _exchange(*slots: int, part: Part = ALL) -> Callable[[Edit], None]:
    """Exchange the rows of both directions in W, R or B of the operators."""

    def change(edit: Edit) -> None:
        for index, node in enumerate(edit.recurrent):
            for slot in slots:
                if part.has(index, 0) and node.inputs[slot] is not None:
                    edit.change(node, slot, lambda array: array[::-1])

    return change


def _scan_exchanged(original: Original, part: Part = ALL) -> Callable[[], onnx.ModelProto]:
    """Build the scans with the weights of both directions exchanged."""

    def make() -> onnx.ModelProto:
        layer = read_layer(original.layer)
        layers = tuple(
            tuple(reversed(weights)) if part.has(index, 0) else weights
            for index, weights in enumerate(layer.layers)
        )
        return lowered(original, replace(layer, layers=layers))

    return make


def _outputs_exchanged(edit: Edit) -> None:
    """Read the directions of Y, [time, directions, batch, hidden], backward first."""
    for node in edit.recurrent:
        edit.after(node.outputs[0], "Gather", edit.integers(1, 0), axis=1)


def _scan_outputs_exchanged(edit: Edit) -> None:
    """Join the outputs of the scans backward first."""
    for node in edit.nodes("Concat"):
        if node.attributes["axis"].as_int() == 2:
            forward, backward = node.inputs
            node.replace_input_with(0, backward)
            node.replace_input_with(1, forward)


def _scan_directions(attribute: str, layer: int | None = None) -> Callable[[Edit], None]:
    """Forget an attribute of the scans that says which way they walk or write."""

    def change(edit: Edit) -> None:
        for number, node in enumerate(edit.nodes("Scan")):
            if layer in (None, number // 2):
                zeros = [0] * len(node.attributes[attribute].as_ints())
                node.attributes[attribute] = ir.AttrInt64s(attribute, zeros)

    return change


def _scans_forward(edit: Edit) -> None:
    _scan_directions("scan_input_directions")(edit)
    _scan_directions("scan_output_directions")(edit)


class BackwardFirst(HandMade):
    """Puts the outputs in the order of the words `backward, forward`."""

    def join(self, outputs: list[str]) -> str:
        return super().join(outputs[::-1])


class AllForward(HandMade):
    """Forgets `direction`."""

    def attributes(self, index: int, direction: int) -> dict[str, Any]:
        return super().attributes(index, 0)


class ForwardOnTop(HandMade):
    """Forgets `direction` above the first layer."""

    def attributes(self, index: int, direction: int) -> dict[str, Any]:
        return super().attributes(index, 0 if index else direction)


class OtherWeights(HandMade):
    """Takes the weights that end in `_reverse` for the forward direction."""

    def source(self, index: int, direction: int) -> str:
        return super().source(index, 1 - direction)


class OutputStaysReversed(Reversing):
    """Reverses the input of the backward direction, and leaves its output in that order."""

    def reversed_output(self, y: str) -> str:
        return y


class OnlyOutputReversed(Reversing):
    """Reverses the output of the backward direction, which ran forward."""

    def run(self, x: str, index: int, direction: int) -> list[str]:
        y, *finals = HandMade.run(self, x, index, direction)
        return [self.reversed(y) if direction else y, *finals]


def _edited(
    mistake: str, original: Original, change: Callable[[Edit], None], place: str | None = None
) -> Broken:
    return edited(CAUSE, mistake, original, change, place)


def _scanned(original: Original, part: Part = ALL) -> Broken:
    return made(CAUSE, "weights", original, _scan_exchanged(original, part), part.place)


def _both(make: Callable[..., Original], cell: str, layers: int = 1, **options: Any) -> Original:
    return make(cell, layers, bidirectional=True, **options)


BROKEN = (
    _edited("weights", _both(traced, "rnn", batch_first=True), _exchange(W, R, B)),
    by_hand(CAUSE, "outputs", _both(hand, "rnn", 2), BackwardFirst),
    _edited("forward", _both(scan, "rnn", lengths=True), _scans_forward, "backward"),
    _edited("only_R", _both(operator, "rnn", 2, states=False), _exchange(R)),
    by_hand(CAUSE, "weights", _both(hand, "rnn", 3, bias=False), OtherWeights),
    edited(
        CAUSE,
        "weights",
        _both(operator, "relu", 2),
        _exchange(W, R, B),
        keeps_contract=True,
    ),
    by_hand(
        CAUSE, "output_stays_reversed", _both(reversing, "relu"), OutputStaysReversed, "backward"
    ),
    _scanned(_both(scan, "relu", 3, batch_first=True), Part(1)),
    _edited("outputs", _both(operator, "relu", lengths=True), _outputs_exchanged),
    _edited("weights", _both(traced, "lstm", 2), _exchange(W, R, B, part=Part(1)), "layer 1"),
    by_hand(CAUSE, "outputs", _both(hand, "lstm", batch_first=True), BackwardFirst),
    by_hand(CAUSE, "forward", _both(hand, "lstm", 2), AllForward, "backward"),
    _edited(
        "output_stays_reversed",
        _both(scan, "lstm", states=False),
        _scan_directions("scan_output_directions"),
        "backward",
    ),
    _scanned(_both(scan, "lstm", 2, proj_size=3)),
    _edited("weights", _both(operator, "gru"), _exchange(W, R, B)),
    by_hand(
        CAUSE, "output_stays_reversed", _both(reversing, "gru", 2), OutputStaysReversed, "backward"
    ),
    by_hand(CAUSE, "only_output_reversed", _both(reversing, "gru"), OnlyOutputReversed, "backward"),
    by_hand(CAUSE, "forward", _both(hand, "gru", 2), ForwardOnTop, "layer 1, backward"),
    _edited("outputs", _both(traced, "gru", 2, batch_first=True), _outputs_exchanged),
    _edited("outputs", _both(scan, "gru", 2), _scan_outputs_exchanged),
)
