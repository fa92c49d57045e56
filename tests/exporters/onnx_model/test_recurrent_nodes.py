"""What a recurrent node has that the PyTorch layer of its name does not; the order of gates."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from rnnedge_exporters.onnx_model.recurrent_nodes import (
    activations_of,
    gates_to_onnx,
    gates_to_pytorch,
    is_recurrent,
    is_relu,
    peculiarities,
)
from rnnedge_runtime.contract import Cell


def _node(op: str, *, peepholes: bool = False, **options: object) -> onnx.NodeProto:
    names = ["x", "w", "r", "", "", "", "", "p"] if peepholes else ["x", "w", "r"]
    return helper.make_node(op, names, ["", "h"], hidden_size=2, **options)


def _found(node: onnx.NodeProto | ir.Node) -> list[str]:
    return [one.attribute for one in peculiarities(node)]


USUAL = {
    "rnn": _node("RNN"),
    "relu": _node("RNN", activations=["Relu"]),
    "relu in lower case": _node("RNN", activations=["relu"]),
    "relu both ways": _node("RNN", direction="bidirectional", activations=["Relu", "Relu"]),
    "lstm": _node("LSTM"),
    "lstm with its defaults named": _node("LSTM", activations=["sigmoid", "TANH", "Tanh"]),
    "gru": _node("GRU", linear_before_reset=1),
    "batch first": _node("LSTM", layout=1),
}
PECULIAR = {
    "activations": _node("LSTM", activations=["HardSigmoid", "Tanh", "Tanh"]),
    "another activation one way": _node(
        "RNN", direction="bidirectional", activations=["Tanh", "Relu"]
    ),
    "activations of one direction for two": _node(
        "GRU", direction="bidirectional", activations=["Sigmoid", "Tanh"], linear_before_reset=1
    ),
    "clip": _node("RNN", clip=3.5),
    "peepholes": _node("LSTM", peepholes=True),
    "coupled gates": _node("LSTM", input_forget=1),
    "reset before": _node("GRU"),
}
NAMES = ["activations"] * 3 + ["clip", "P", "input_forget", "linear_before_reset"]


@pytest.mark.parametrize("node", USUAL.values(), ids=USUAL)
def test_pytorch_has_it(node: onnx.NodeProto) -> None:
    assert _found(node) == []


@pytest.mark.parametrize(
    ("node", "name"), [*zip(PECULIAR.values(), NAMES, strict=True)], ids=PECULIAR
)
def test_pytorch_does_not_have_it(node: onnx.NodeProto, name: str) -> None:
    assert _found(node) == [name]


@pytest.mark.parametrize("node", PECULIAR.values(), ids=PECULIAR)
def test_onnx_ir_tells_the_same(node: onnx.NodeProto) -> None:
    assert list(peculiarities(ir.from_proto(node))) == list(peculiarities(node))


def test_all_of_them_are_told() -> None:
    node = _node("LSTM", peepholes=True, clip=1.0, input_forget=1)
    assert [one.text for one in peculiarities(node)] == [
        "it clips at 1",
        "it has peepholes",
        "it couples its gates (input_forget=1)",
    ]


def test_defaults_of_both_directions() -> None:
    node = _node("GRU", direction="bidirectional")
    assert activations_of(node) == ["Sigmoid", "Tanh", "Sigmoid", "Tanh"]


def test_relu_is_that_of_every_direction() -> None:
    assert not is_relu(_node("RNN", direction="bidirectional", activations=["Relu", "Tanh"]))


def test_operator_of_another_domain() -> None:
    assert not is_recurrent(helper.make_node("LSTM", ["x"], ["y"], domain="my.operators"))


GATES: dict[Cell, tuple[str, str]] = {
    "rnn": ("h", "h"),
    "lstm": ("ifgo", "iofg"),
    "gru": ("rzn", "zrn"),
}


@pytest.mark.parametrize("cell", GATES)
def test_order_of_gates(cell: Cell) -> None:
    ours, theirs = (np.repeat(list(text), 2) for text in GATES[cell])
    assert (gates_to_onnx(cell, ours) == theirs).all()
    assert (gates_to_pytorch(cell, theirs) == ours).all()
