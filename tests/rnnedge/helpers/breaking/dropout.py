"""Dropout that still drops.

ONNX Runtime takes a `Dropout` out of the graph at its default optimization level, whatever
`training_mode` says, unless its mask is read or its result leaves the model. What other runtimes
would drop, and it does not, is in `UNSEEN`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from breaking.broken import Broken, by_hand, edited
from breaking.graphs import Edit
from breaking.handmade import HandMade
from breaking.originals import Original, hand, operator, scan, traced
from onnx import TensorProto

CAUSE = "dropout left on"
RATE = 0.3


def _between(edit: Edit) -> list[ir.Value]:
    """Return the output of every layer but the last: what the layers above the first read."""
    readers = edit.recurrent or edit.nodes("MatMul")
    values = list({id(node.inputs[0]): node.inputs[0] for node in readers}.values())
    return values[1:]


def _dropout(edit: Edit) -> None:
    """Leave `Dropout` between the layers in training mode."""
    for value in _between(edit):
        _add_dropout(edit, value)


def _seeded_dropout(edit: Edit) -> None:
    for value in _between(edit):
        _add_dropout(edit, value, seed=7)


def _dropout_after_all(edit: Edit) -> None:
    """Leave it in training mode after every layer, the last one too."""
    for value in [*_between(edit), edit.graph.outputs[0]]:
        _add_dropout(edit, value)


def _add_dropout(edit: Edit, value: ir.Value, **attributes: Any) -> None:
    ratio = edit.constant(np.array(RATE, np.float32))
    training = edit.constant(np.array(True))
    edit.after(value, "Dropout", ratio, training, **attributes)


def _uniform_mask(edit: Edit) -> None:
    """Multiply by a mask of random numbers, as a functional dropout that was traced does."""
    for value in _between(edit):
        _add_mask(edit, value)


def _uniform_mask_on_top(edit: Edit) -> None:
    """Do so below the last layer only."""
    _add_mask(edit, _between(edit)[-1])


def _add_mask(edit: Edit, value: ir.Value) -> None:
    rate = edit.constant(np.array(RATE, np.float32))
    scale = edit.constant(np.array(1 / (1 - RATE), np.float32))
    numbers = ir.node("RandomUniformLike", [value], {"dtype": 1})
    kept = ir.node("GreaterOrEqual", [numbers.outputs[0], rate])
    mask = ir.node("Cast", kept.outputs, {"to": 1})
    scaled = ir.node("Mul", [mask.outputs[0], scale])
    edit.graph.insert_after(value.producer(), [numbers, kept, mask, scaled])
    edit.after(value, "Mul", scaled.outputs[0])


class Training(HandMade):
    """Writes the dropout that it finds in the layer, in training mode."""

    def between(self, y: str, index: int) -> str:
        return self.dropout(y)

    def dropout(self, y: str, outputs: int = 1) -> str:
        ratio = self.constant("ratio", np.array(self.layer.dropout, np.float32))
        training = self.constant("training", np.array(True))
        return self.ops("Dropout", y, ratio, training, outputs=outputs)[-1]


class TrainingAfterAll(Training):
    """Writes it after every layer, the last one too."""

    def leave(self, y: str) -> str:
        return self.dropout(super().leave(y))

    def rename(self, name: str, wanted: str) -> None:
        """Let the `Dropout` itself give the output."""
        if wanted == "y":
            self.nodes[-1].output[0] = wanted
        else:
            super().rename(name, wanted)


class Locked(Training):
    """Takes the mask of the first step for all steps, as variational dropout does."""

    def between(self, y: str, index: int) -> str:
        step = self.op("Slice", y, self.integers(0), self.integers(1), self.integers(0))
        mask = self.op("Cast", self.dropout(step, outputs=2), to=TensorProto.FLOAT)
        scale = self.constant("scale", np.array(1 / (1 - self.layer.dropout), np.float32))
        return self.op("Mul", y, self.op("Mul", mask, scale))


class DrawsMask(HandMade):
    """Draws a mask of zeros and ones from `Bernoulli`."""

    def between(self, y: str, index: int) -> str:
        keep = 1 - self.layer.dropout
        zero = self.constant("zero", np.array(0, np.float32))
        chance = self.op("Add", self.op("Mul", y, zero), self.constant("keep", np.float32(keep)))
        mask = self.op("Bernoulli", chance, dtype=TensorProto.FLOAT)
        scale = self.constant("scale", np.array(1 / keep, np.float32))
        return self.op("Mul", y, self.op("Mul", mask, scale))


def _edited(original: Original, change: Callable[[Edit], None], place: str | None = None) -> Broken:
    return edited(CAUSE, change.__name__.strip("_"), original, change, place)


def _by_hand(original: Original, writer: type[HandMade]) -> Broken:
    return by_hand(CAUSE, writer.__name__.lower(), original, writer)


def _dropping(make: Callable[..., Original], cell: str, layers: int, **options: bool) -> Original:
    return make(cell, layers, dropout=RATE, **options)


BROKEN = (
    _edited(_dropping(operator, "rnn", 2), _uniform_mask),
    _by_hand(_dropping(hand, "rnn", 3, bidirectional=True), DrawsMask),
    _edited(_dropping(traced, "relu", 2, batch_first=True, states=False), _uniform_mask),
    _edited(_dropping(scan, "relu", 2, bidirectional=True), _dropout_after_all),
    _by_hand(_dropping(hand, "lstm", 2), Locked),
    _edited(_dropping(traced, "lstm", 2, bidirectional=True, batch_first=True), _uniform_mask),
    _edited(_dropping(operator, "lstm", 3), _uniform_mask_on_top, "layer 1"),
    _edited(_dropping(scan, "gru", 3, lengths=True), _uniform_mask),
    _edited(_dropping(operator, "gru", 2, bidirectional=True), _dropout_after_all),
    _by_hand(_dropping(hand, "gru", 2), TrainingAfterAll),
)
UNSEEN = (
    _by_hand(_dropping(hand, "lstm", 3), Training),
    _edited(_dropping(traced, "rnn", 2, bidirectional=True, batch_first=True), _dropout),
    _edited(_dropping(operator, "gru", 3), _seeded_dropout),
)
"""Wrong where nothing optimizes the dropout away, and right in ONNX Runtime by default."""
