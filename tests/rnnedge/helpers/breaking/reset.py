"""GRUs that reset before the recurrent product, as the paper does and PyTorch does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from breaking.broken import ALL, Broken, Part, by_hand, edited
from breaking.graphs import Edit, constant_of
from breaking.handmade import Array, HandMade
from breaking.originals import Original, hand, operator, scan, traced

CAUSE = "linear_before_reset"


def _lost(edit: Edit) -> None:
    """Leave the operator its default, which is 0."""
    for node in edit.recurrent:
        del node.attributes[CAUSE]


def zero_in(layer: int) -> Callable[[Edit], None]:
    """Set the attribute of one operator to 0."""

    def change(edit: Edit) -> None:
        edit.recurrent[layer].attributes[CAUSE] = ir.AttrInt64(CAUSE, 0)

    return change


def _in_body(edit: Edit) -> None:
    """Compute `(r * h) @ R_n + B_n` in the bodies, instead of `r * (h @ R_n + B_n)`."""
    for body in edit.bodies():
        for gemm, tanh in zip(_all(body, "Gemm"), _all(body, "Tanh"), strict=True):
            _reset_first(body, gemm, tanh)


def _reset_first(body: ir.Graph, gemm: ir.Node, tanh: ir.Node) -> None:
    """Do so in one direction, of whose nodes these are two."""
    add = tanh.inputs[0].producer()
    reset = add.inputs[1].producer().inputs[0]
    weights, bias = (constant_of(value) for value in gemm.inputs[1:])
    hidden = len(weights)
    scaled = ir.node("Mul", [reset, gemm.inputs[0]])
    constants = [
        _initializer(body, f"{gemm.name}/{name}", array)
        for name, array in (("R_n", weights[:, 2 * hidden :]), ("B_n", bias[2 * hidden :]))
    ]
    product = ir.node("Gemm", [scaled.outputs[0], *constants])
    body.insert_before(add, [scaled, product])
    add.replace_input_with(1, product.outputs[0])


def _all(body: ir.Graph, op_type: str) -> list[ir.Node]:
    return [node for node in body if node.op_type == op_type]


def _initializer(body: ir.Graph, name: str, array: Array) -> ir.Value:
    tensor = ir.tensor(np.asarray(array, order="C"), name=name)
    dtype = ir.TensorType(tensor.dtype)
    made = ir.Value(name=name, type=dtype, shape=tensor.shape, const_value=tensor)
    body.register_initializer(made)
    return made


class Unknown(HandMade):
    """Never heard of the attribute."""

    part = ALL

    def attributes(self, index: int, direction: int) -> dict[str, Any]:
        made = super().attributes(index, direction)
        if self.part.has(index, direction):
            del made[CAUSE]
        return made


class UnknownBackward(Unknown):
    """Lost the attribute where the code for one direction was copied for the other."""

    part = Part(None, 1)


def _edited(
    mistake: str, original: Original, change: Callable[[Edit], None], place: str | None = None
) -> Broken:
    return edited(CAUSE, mistake, original, change, place)


BROKEN = (
    edited(CAUSE, "lost", operator("gru"), _lost, keeps_contract=True),
    _edited("lost", traced("gru", 2, bidirectional=True, batch_first=True), _lost),
    _edited("lost", traced("gru", bias=False), _lost),
    _edited("lost", operator("gru", 2, bidirectional=True, lengths=True), _lost),
    _edited("zero", operator("gru", 2), zero_in(1), "layer 1"),
    by_hand(CAUSE, "unknown", hand("gru", 3), Unknown),
    by_hand(CAUSE, "unknown", hand("gru", bidirectional=True), UnknownBackward, "backward"),
    _edited("in_body", scan("gru", 2), _in_body),
    _edited("in_body", scan("gru", bidirectional=True, states=False), _in_body),
)
