"""Biases of which a half is lost, counted twice, or on the wrong side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from breaking.broken import ALL, Broken, Part, by_hand, edited, made
from breaking.graphs import B, Edit
from breaking.handmade import Array, HandMade
from breaking.originals import Original, changed, hand, lowered, operator, scan, traced

from rnnedge_exporters.layers.weights import DirectionWeights, read_layer

CAUSE = "bias halves"

Halves = Callable[[Array, Array], tuple[Array, Array]]
"""From bias_ih and bias_hh to what stands in their places."""


def no_recurrent(ih: Array, hh: Array) -> tuple[Array, Array]:
    return ih, np.zeros_like(hh)


def no_input(ih: Array, hh: Array) -> tuple[Array, Array]:
    return np.zeros_like(ih), hh


def doubled(ih: Array, hh: Array) -> tuple[Array, Array]:
    return 2 * ih, 2 * hh


def sum_in_both(ih: Array, hh: Array) -> tuple[Array, Array]:
    return ih + hh, ih + hh


def sum_in_input(ih: Array, hh: Array) -> tuple[Array, Array]:
    """Right for RNN and LSTM; in a GRU the reset gate scales one block of the recurrent half."""
    return ih + hh, np.zeros_like(hh)


def exchanged(ih: Array, hh: Array) -> tuple[Array, Array]:
    """Wrong for a GRU alone, like `sum_in_input`."""
    return hh, ih


def input_twice(ih: Array, hh: Array) -> tuple[Array, Array]:
    return ih, ih


def in_file(halves: Halves, part: Part = ALL) -> Callable[[Edit], None]:
    """Change B of the operators."""

    def change(edit: Edit) -> None:
        for index, node in enumerate(edit.recurrent):
            array = edit.array(node, B)
            for direction, row in enumerate(array):
                if part.has(index, direction):
                    array[direction] = np.concatenate(halves(*np.split(row, 2)))
            edit.put(node, B, array)

    return change


def in_code(halves: Halves, part: Part = ALL) -> type[HandMade]:
    """Write B wrong."""

    class Wrong(HandMade):
        def biases(self, ih: Array, hh: Array, index: int, direction: int) -> tuple[Array, Array]:
            return halves(ih, hh) if part.has(index, direction) else (ih, hh)

    return Wrong


def in_scan(original: Original, halves: Halves, part: Part = ALL) -> Callable[[], onnx.ModelProto]:
    """Build the scan from wrong biases."""

    def change(weights: DirectionWeights) -> DirectionWeights:
        ih, hh = halves(weights.bias_ih, weights.bias_hh)
        return replace(weights, bias_ih=ih, bias_hh=hh)

    return lambda: lowered(original, changed(read_layer(original.layer), change, part))


def _edited(original: Original, halves: Halves, part: Part = ALL, *, contract=False) -> Broken:
    change = in_file(halves, part)
    return edited(CAUSE, halves.__name__, original, change, part.place, keeps_contract=contract)


def _by_hand(original: Original, halves: Halves, part: Part = ALL) -> Broken:
    return by_hand(CAUSE, halves.__name__, original, in_code(halves, part), part.place)


def _scanned(original: Original, halves: Halves, part: Part = ALL) -> Broken:
    make = in_scan(original, halves, part)
    return made(CAUSE, halves.__name__, original, make, part.place)


BROKEN = (
    _edited(operator("rnn"), no_recurrent, contract=True),
    _edited(traced("rnn", 2, bidirectional=True), no_input),
    _by_hand(hand("rnn", batch_first=True, states=False), input_twice),
    _scanned(scan("rnn", 2, bidirectional=True, lengths=True), no_recurrent),
    _edited(operator("relu", 2, bidirectional=True), doubled),
    _by_hand(hand("relu"), no_recurrent),
    _edited(traced("relu", 3, batch_first=True), no_input),
    _edited(traced("lstm"), no_recurrent),
    _by_hand(hand("lstm", 2, bidirectional=True), sum_in_both),
    _edited(operator("lstm", 2, batch_first=True), no_recurrent, Part(1)),
    _edited(operator("lstm", bidirectional=True), no_input, Part(None, 1)),
    _scanned(scan("lstm", 2, proj_size=3), no_recurrent),
    _edited(operator("gru"), exchanged),
    _by_hand(hand("gru", 2, bidirectional=True), sum_in_input),
    _edited(traced("gru", 2, bidirectional=True, batch_first=True), no_recurrent),
    _scanned(scan("gru", lengths=True), sum_in_input),
    _edited(operator("gru", 3, states=False), exchanged, Part(2)),
    _by_hand(hand("gru", bidirectional=True), no_recurrent, Part(None, 1)),
    _scanned(scan("gru", bidirectional=True, batch_first=True), doubled),
)
