"""Weights of another checkpoint, of another layer, and weights that were transposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
from breaking.broken import ALL, Broken, Part, by_hand, edited, made
from breaking.graphs import Edit, R, W
from breaking.handmade import Array, HandMade
from breaking.originals import Original, changed, hand, lowered, operator, scan, traced
from numpy.typing import NDArray

from rnnedge_exporters.layers.weights import DirectionWeights, read_layer

OTHER = "other weights"
TRANSPOSED = "transposed weights"


def _from_other_checkpoint(original: Original, slot: int, part: Part = ALL) -> Broken:
    """Take W or R of a part from a layer that was trained elsewhere."""

    def change(edit: Edit) -> None:
        class Other(HandMade):
            def __init__(self) -> None:
                super().__init__(original)
                self.layer = original.seeded(original.seed + 1)

        other = Other()
        name, tensor = {W: ("weight_ih", "W"), R: ("weight_hh", "R")}[slot]
        for index, node in enumerate(edit.recurrent):
            array = edit.array(node, slot)
            for direction in range(len(array)):
                if part.has(index, direction):
                    rows = other.weight(name, index, direction)
                    array[direction] = other.reorder(rows, tensor, index, direction)
            edit.put(node, slot, array)

    return edited(OTHER, f"other_{'W' if slot == W else 'R'}", original, change, part.place)


class Earlier(HandMade):
    """Has the weights of an earlier epoch: all are a little different."""

    def weight(self, name: str, index: int, direction: int) -> Array:
        right = super().weight(name, index, direction)
        noise = np.random.default_rng(index).standard_normal(right.shape).astype(np.float32)
        return right + 0.05 * noise


class ForwardForBoth(HandMade):
    """Forgets `_reverse` in the names of weights."""

    def source(self, index: int, direction: int) -> str:
        return super().source(index, 0)


class LayerTwice(HandMade):
    """Has the weights of layer 1 in layer 2 too."""

    def source(self, index: int, direction: int) -> str:
        return super().source(min(index, 1), direction)


def _scan_layer_twice(original: Original) -> Broken:
    """Build the scans of layer 2 from the weights of layer 1."""

    def make() -> onnx.ModelProto:
        layer = read_layer(original.layer)
        first, second, _ = layer.layers
        return lowered(original, replace(layer, layers=(first, second, second)))

    return made(OTHER, "layer_twice", original, make, "layer 2")


def _scanned(
    cause: str,
    mistake: str,
    original: Original,
    change: Callable[[DirectionWeights], DirectionWeights],
    part: Part = ALL,
) -> Broken:
    def make() -> onnx.ModelProto:
        return lowered(original, changed(read_layer(original.layer), change, part))

    return made(cause, mistake, original, make, part.place)


def _other_projection(weights: DirectionWeights) -> DirectionWeights:
    return replace(weights, weight_hr=_random_like(weights.weight_hr))


def _other_hh(weights: DirectionWeights) -> DirectionWeights:
    return replace(weights, weight_hh=_random_like(weights.weight_hh))


def _random_like(array: Array) -> Array:
    bound = np.abs(array).max()
    return np.random.default_rng(1).uniform(-bound, bound, array.shape).astype(np.float32)


def _transposed(gates: Sequence[int] | None = None, part: Part = ALL) -> Callable[[Edit], None]:
    """Transpose blocks of R, [hidden, hidden] each, in the operators."""

    def change(edit: Edit) -> None:
        for index, node in enumerate(edit.recurrent):
            array = edit.array(node, R)
            hidden = array.shape[2]
            blocks = array.reshape(len(array), -1, hidden, hidden)  # a view
            for direction, rows in enumerate(blocks):
                for gate in range(len(rows)) if gates is None else gates:
                    if part.has(index, direction):
                        rows[gate] = rows[gate].T.copy()
            edit.put(node, R, array)

    return change


class TransposesR(HandMade):
    """Takes PyTorch's weight_hh for [in, out], block by block."""

    def reorder(self, rows: Array, tensor: str, index: int, direction: int) -> Array:
        rows = super().reorder(rows, tensor, index, direction)
        return blocks_transposed(rows) if tensor == "R" else rows


def _hh_transposed(weights: DirectionWeights) -> DirectionWeights:
    return replace(weights, weight_hh=blocks_transposed(weights.weight_hh))


def blocks_transposed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    hidden = rows.shape[1]
    return np.concatenate([block.T for block in np.split(rows, len(rows) // hidden)])


_OTHER = (
    _from_other_checkpoint(operator("rnn"), R),
    by_hand(OTHER, "layer_twice", hand("rnn", 3, bidirectional=True), LayerTwice, "layer 2"),
    by_hand(
        OTHER,
        "forward_for_both",
        hand("relu", bidirectional=True, batch_first=True),
        ForwardForBoth,
        "backward",
    ),
    _scanned(OTHER, "other_R", scan("relu", 2), _other_hh, Part(1)),
    _from_other_checkpoint(traced("lstm", 2, bidirectional=True), R, Part(0, 1)),
    by_hand(OTHER, "earlier", hand("lstm", 2), Earlier),
    _scanned(OTHER, "other_P", scan("lstm", proj_size=3), _other_projection),
    _scan_layer_twice(scan("lstm", 3, batch_first=True)),
    _from_other_checkpoint(operator("gru", 2, bidirectional=True), W, Part(1)),
    _from_other_checkpoint(traced("gru", states=False), W),
)
_TRANSPOSED = (
    edited(TRANSPOSED, "R", operator("rnn", 2), _transposed()),
    _scanned(TRANSPOSED, "R", scan("relu", 2, bidirectional=True), _hh_transposed),
    edited(TRANSPOSED, "R", traced("lstm", bidirectional=True), _transposed()),
    edited(TRANSPOSED, "block", operator("lstm", 2), _transposed([0], Part(1)), "layer 1"),
    by_hand(TRANSPOSED, "R", hand("gru", batch_first=True), TransposesR),
    edited(
        TRANSPOSED,
        "R",
        traced("gru", bidirectional=True),
        _transposed(part=Part(None, 1)),
        "backward",
    ),
)

BROKEN = (*_OTHER, *_TRANSPOSED)
