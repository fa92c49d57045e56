"""Gates in an order that is not the operator's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
from breaking.broken import ALL, Broken, Part, by_hand, edited, made
from breaking.graphs import B, Edit, R, W
from breaking.handmade import ORDERS, Array, HandMade, permuted
from breaking.originals import Original, changed, hand, lowered, operator, scan, traced

from rnnedge_exporters.layers.weights import DirectionWeights, read_layer

CAUSE = "gate order"

# For each gate of ONNX, in ONNX's order, the block that a mistaken converter takes from PyTorch.
# Right are (0, 3, 1, 2) for LSTM and (1, 0, 2) for GRU.
LSTM_AS_IT_IS = (0, 1, 2, 3)
LSTM_INVERSE = (0, 2, 3, 1)  # the right permutation, applied in the wrong sense
LSTM_TENSORFLOW = (0, 2, 1, 3)  # i, j, f, o
LSTM_OUTPUT_AND_FORGET = (0, 1, 3, 2)
GRU_AS_IT_IS = (0, 1, 2)
GRU_NEW_FIRST = (2, 0, 1)
GRU_NEW_FOR_RESET = (1, 2, 0)


def in_file(
    order: Sequence[int], slots: Sequence[int] = (W, R, B), part: Part = ALL
) -> Callable[[Edit], None]:
    """Reorder the blocks in W, R or B of the operators."""

    def change(edit: Edit) -> None:
        for index, node in enumerate(edit.recurrent):
            right = ORDERS[node.op_type.lower()]
            blocks = [right.index(block) for block in order]
            for slot in slots:
                halves = 2 if slot == B else 1
                array = edit.array(node, slot)
                for direction, rows in enumerate(array):
                    if part.has(index, direction):
                        parts = [permuted(half, blocks) for half in np.split(rows, halves)]
                        array[direction] = np.concatenate(parts)
                edit.put(node, slot, array)

    return change


def in_code(
    order: Sequence[int], tensors: Sequence[str] = ("W", "R", "Wb", "Rb"), part: Part = ALL
) -> type[HandMade]:
    """Reorder wrongly while writing."""

    class Wrong(HandMade):
        def reorder(self, rows: Array, tensor: str, index: int, direction: int) -> Array:
            if tensor in tensors and part.has(index, direction):
                return permuted(rows, order)
            return super().reorder(rows, tensor, index, direction)

    return Wrong


def in_scan(
    original: Original, order: Sequence[int], part: Part = ALL
) -> Callable[[], onnx.ModelProto]:
    """Reorder the rows though the body of the scan splits them in PyTorch's order."""

    def change(weights: DirectionWeights) -> DirectionWeights:
        return replace(
            weights,
            weight_ih=permuted(weights.weight_ih, order),
            weight_hh=permuted(weights.weight_hh, order),
            bias_ih=permuted(weights.bias_ih, order),
            bias_hh=permuted(weights.bias_hh, order),
        )

    return lambda: lowered(original, changed(read_layer(original.layer), change, part))


def _outputs_of_split_exchanged(edit: Edit) -> None:
    """Read forget and output gate from each other's part of the product."""
    for body in edit.bodies():
        for split in [node for node in body if node.op_type == "Split"]:  # one in each direction
            _, forget, _, output = split.outputs
            readers = [(reader, slot, output) for reader, slot in forget.uses()]
            readers += [(reader, slot, forget) for reader, slot in output.uses()]
            for reader, slot, other in readers:
                reader.replace_input_with(slot, other)


def _edited(
    mistake: str,
    original: Original,
    order: Sequence[int],
    slots: Sequence[int] = (W, R, B),
    part: Part = ALL,
    *,
    contract: bool = False,
) -> Broken:
    change = in_file(order, slots, part)
    return edited(CAUSE, mistake, original, change, part.place, keeps_contract=contract)


def _by_hand(
    mistake: str,
    original: Original,
    order: Sequence[int],
    tensors: Sequence[str] = ("W", "R", "Wb", "Rb"),
    part: Part = ALL,
) -> Broken:
    return by_hand(CAUSE, mistake, original, in_code(order, tensors, part), part.place)


def _scanned(mistake: str, original: Original, order: Sequence[int], part: Part = ALL) -> Broken:
    return made(CAUSE, mistake, original, in_scan(original, order, part), part.place)


_LSTM = (
    _edited("pytorch", traced("lstm", batch_first=True), LSTM_AS_IT_IS),
    _edited("pytorch", operator("lstm", 2, bidirectional=True), LSTM_AS_IT_IS, contract=True),
    _edited("tensorflow", operator("lstm", bidirectional=True, lengths=True), LSTM_TENSORFLOW),
    _by_hand("inverse", hand("lstm", 3), LSTM_INVERSE),
    _edited("only_W", traced("lstm", 2, bidirectional=True, batch_first=True), LSTM_AS_IT_IS, [W]),
    _edited("only_R", operator("lstm", states=False), LSTM_AS_IT_IS, [R]),
    _by_hand("only_B", hand("lstm", bidirectional=True), LSTM_AS_IT_IS, ["Wb", "Rb"]),
    _edited("output_and_forget", operator("lstm", 3), LSTM_OUTPUT_AND_FORGET, part=Part(1)),
    _by_hand("pytorch", hand("lstm", 2, bidirectional=True), LSTM_AS_IT_IS, part=Part(None, 1)),
    _scanned("onnx", scan("lstm", batch_first=True), (0, 3, 1, 2)),
    edited(
        CAUSE,
        "split_exchanged",
        scan("lstm", bidirectional=True, states=False),
        _outputs_of_split_exchanged,
    ),
    _scanned("onnx", scan("lstm", 2, bidirectional=True, proj_size=3), (0, 3, 1, 2), Part(1, 0)),
    _scanned("tensorflow", scan("lstm", lengths=True, proj_size=2), (0, 2, 1, 3)),
)
_GRU = (
    _edited("pytorch", operator("gru"), GRU_AS_IT_IS, contract=True),
    _edited("pytorch", traced("gru", 2, bidirectional=True), GRU_AS_IT_IS),
    _by_hand("new_for_reset", hand("gru", 2, batch_first=True), GRU_NEW_FOR_RESET),
    _edited("only_W", traced("gru", bidirectional=True, batch_first=True), GRU_AS_IT_IS, [W]),
    _edited("only_R", operator("gru", 3, bidirectional=True), GRU_AS_IT_IS, [R]),
    _by_hand("only_half_of_B", hand("gru"), GRU_AS_IT_IS, ["Rb"]),
    _edited("new_first", operator("gru", 2, states=False), GRU_NEW_FIRST, part=Part(0)),
    _by_hand(
        "pytorch",
        hand("gru", bidirectional=True, states=False),
        GRU_AS_IT_IS,
        part=Part(None, 1),
    ),
    _scanned("onnx", scan("gru", 2, bidirectional=True, batch_first=True), (1, 0, 2)),
    _edited("pytorch", operator("gru", bias=False, lengths=True), GRU_AS_IT_IS, [W, R]),
)

BROKEN = (*_LSTM, *_GRU)
