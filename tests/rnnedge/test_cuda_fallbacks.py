"""What the CUDA provider would hand to the CPU, read from the graph alone."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import NodeProto, helper

from rnnedge.cuda_fallbacks import Fallback, cuda_fallbacks


def _node(kind: str, inputs: int = 3, **attributes: Any) -> NodeProto:
    names = ["x", "w", "r", "b", "lengths", "h_0", "c_0", "p"][:inputs]
    return helper.make_node(kind, names, ["y"], name="n", hidden_size=4, **attributes)


STAYS = {
    "rnn": _node("RNN"),
    "rnn-both-tanh": _node("RNN", activations=["Tanh", "tanh"]),
    "lstm": _node("LSTM", activations=["Sigmoid", "Tanh", "Tanh"], input_forget=0),
    "lstm-with-states": _node("LSTM", inputs=7),
    "gru": _node("GRU", linear_before_reset=1),
    "scan": helper.make_node("Scan", ["x"], ["y"]),
    "another-domain": helper.make_node("RNN", ["x"], ["y"], domain="mine", clip=1.0),
}


@pytest.mark.parametrize("node", STAYS.values(), ids=STAYS)
def test_what_stays_on_the_gpu(node: NodeProto) -> None:
    assert cuda_fallbacks([node]) == ()


FALLS = {
    "relu": (_node("RNN", activations=["Relu"]), "its activation is Relu"),
    "relu-one-way": (_node("RNN", activations=["Tanh", "Relu"]), "its activation is Relu"),
    "hard-sigmoid": (
        _node("GRU", activations=["HardSigmoid", "Tanh"], linear_before_reset=1),
        "its activation is HardSigmoid",
    ),
    "another-order": (
        _node("GRU", activations=["Sigmoid", "Tanh", "Sigmoid", "Sigmoid"], linear_before_reset=1),
        "its activation is Sigmoid",
    ),
    "alpha": (_node("RNN", activation_alpha=[1.0]), "it has activation_alpha"),
    "beta": (_node("RNN", activation_beta=[1.0]), "it has activation_beta"),
    "clip": (_node("LSTM", clip=5.0), "it has clip"),
    "input-forget": (_node("LSTM", input_forget=1), "it couples its gates (input_forget=1)"),
    "peepholes": (_node("LSTM", inputs=8), "it has peepholes"),
    "reset-after": (_node("GRU"), "it resets before the recurrent product (linear_before_reset=0)"),
    "two-reasons": (
        _node("LSTM", inputs=8, clip=5.0),
        "it has clip, it has peepholes",
    ),
}


@pytest.mark.parametrize(("node", "reason"), FALLS.values(), ids=FALLS)
def test_what_falls_back(node: NodeProto, reason: str) -> None:
    assert cuda_fallbacks([node]) == (Fallback("n", node.op_type, reason),)
