"""Cells with another activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
from breaking.broken import ALL, Broken, Part, by_hand, edited
from breaking.graphs import Edit, W
from breaking.handmade import HandMade
from breaking.originals import Original, hand, operator, scan, traced

CAUSE = "activation"

DEFAULTS = {
    "RNN": ["Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
}
"""For each operator, the activations of one direction."""


def in_file(
    names: Sequence[str], part: Part = ALL, **parameters: list[float]
) -> Callable[[Edit], None]:
    """Give the directions of the operators the activations `names`."""

    def change(edit: Edit) -> None:
        for index, node in enumerate(edit.recurrent):
            directions = len(edit.array(node, W))
            given = node.attributes.get("activations")
            right = given.as_strings()[: len(names)] if given else DEFAULTS[node.op_type]
            chosen = [names if part.has(index, way) else right for way in range(directions)]
            flat = [name for names_of_one in chosen for name in names_of_one]
            node.attributes["activations"] = ir.AttrStrings("activations", flat)
            for name, numbers in parameters.items():
                node.attributes[name] = ir.AttrFloat32s(name, numbers * directions)

    return change


def _lost(edit: Edit) -> None:
    """Leave the operator its default, which is tanh."""
    for node in edit.recurrent:
        del node.attributes["activations"]


def in_body(old: str, new: str, part: Part = ALL) -> Callable[[Edit], None]:
    """Take another activation in the bodies of the scans, of which each layer has one."""

    def change(edit: Edit) -> None:
        # That of a plain RNN hands on the sum; all its outputs get their activation afterwards.
        behind = edit.nodes(old)
        for index, body in enumerate(edit.bodies()):
            for node in [*body, *behind[index : index + 1]]:
                if node.op_type == old and part.has(index, 0):
                    node.op_type = new

    return change


def in_code(*names: str) -> type[HandMade]:
    """Write these activations into every operator."""

    class Wrong(HandMade):
        def attributes(self, index: int, direction: int) -> dict[str, Any]:
            return super().attributes(index, direction) | {"activations": list(names)}

    return Wrong


def _edited(
    mistake: str,
    original: Original,
    names: Sequence[str],
    part: Part = ALL,
    **parameters: list[float],
) -> Broken:
    return edited(CAUSE, mistake, original, in_file(names, part, **parameters), part.place)


def _in_scan(mistake: str, original: Original, old: str, new: str, part: Part = ALL) -> Broken:
    return edited(CAUSE, mistake, original, in_body(old, new, part), part.place)


BROKEN = (
    _edited("relu", operator("rnn"), ["Relu"]),
    _edited("affine", operator("rnn", 2, bidirectional=True), ["Affine"], activation_alpha=[1.0]),
    _edited("relu", traced("rnn", 2, batch_first=True), ["Relu"], Part(1)),
    _edited("softsign", traced("rnn", bidirectional=True, states=False), ["Softsign"]),
    _in_scan("relu", scan("rnn", 2), "Tanh", "Relu", Part(0)),
    edited(CAUSE, "lost", traced("relu", 2, bidirectional=True), _lost),
    edited(CAUSE, "lost", operator("relu"), _lost, keeps_contract=True),
    _edited("half", operator("relu", bidirectional=True), ["Tanh"], Part(None, 1)),
    by_hand(CAUSE, "leaky", hand("relu", 2, batch_first=True), in_code("LeakyRelu")),
    by_hand(CAUSE, "hard", hand("lstm", 2), in_code("HardSigmoid", "Tanh", "Tanh")),
    _edited("relu_output", operator("lstm", bidirectional=True), ["Sigmoid", "Tanh", "Relu"]),
    _edited("relu_cell", traced("lstm", states=False), ["Sigmoid", "Relu", "Tanh"]),
    _in_scan("hard", scan("lstm", proj_size=3), "Sigmoid", "HardSigmoid"),
    by_hand(CAUSE, "hard", hand("gru", bidirectional=True), in_code("HardSigmoid", "Tanh")),
    _edited("relu", traced("gru", 2), ["Sigmoid", "Relu"]),
    _in_scan("hard", scan("gru", bidirectional=True), "Sigmoid", "HardSigmoid"),
)
