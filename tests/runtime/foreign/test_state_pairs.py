"""States that a graph determines, signals that look like states, and files long to walk."""

from itertools import pairwise

import numpy as np
import pytest
import tiny_onnx
from tiny_onnx import node, value

from rnnedge_runtime import Session, StateError
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.foreign.axis_roles import find_axis_roles
from rnnedge_runtime.foreign.state_pairs import find_states
from rnnedge_runtime.onnx_file import read_graph

SQUARE = np.eye(4, dtype=np.float32)


def model(nodes, inputs, outputs, **more):
    """Return a model of inputs and outputs float32 [batch, 4]."""
    specs = [
        [value(name, "float32", ["batch", 4]) for name in names] for names in (inputs, outputs)
    ]
    return tiny_onnx.model([*nodes], *specs, {"W": SQUARE, "V": SQUARE}, **more)


def pairs(content):
    session = Session(content)
    return {pair.output: pair.input for pair in session.interface.states}, session.doubts


def gated(kept):
    """Return `sigmoid(W x) * tanh(V x)`, added to something."""
    return [
        node("MatMul", ["x", "W"], ["wx"]),
        node("MatMul", ["u", "V"], ["vx"]),
        node("Sigmoid", ["wx"], ["gate"]),
        node("Tanh", ["vx"], ["new"]),
        node("Mul", ["gate", "new"], ["added"]),
        *kept,
    ]


def test_a_gate_keeps_a_state():
    kept = [node("Mul", ["gate", "u"], ["old"]), node("Add", ["old", "added"], ["y"])]
    assert pairs(model(gated(kept), "xu", "y")) == ({"y": "u"}, ())


def test_a_residual_around_gates_is_a_signal():
    assert pairs(model(gated([node("Add", ["u", "added"], ["y"])]), "xu", "y")) == ({}, ())


def test_a_mask_is_no_gate_of_a_state():
    nodes = [
        node("MatMul", ["x", "W"], ["wx"]),
        node("Sigmoid", ["wx"], ["mask"]),
        node("Mul", ["mask", "mic_in"], ["mic_out"]),
    ]
    found, doubts = pairs(model(nodes, ["x", "mic_in"], ["mic_out"]))
    assert found == {}
    assert doubts == (
        "'mic_in' may be a state that 'mic_out' goes to, but only their names say so: if it is "
        "one, open the model with states={'mic_out': 'mic_in'}",
    )


def test_a_doubt_is_said_where_a_stream_is_refused():
    nodes = [node("Relu", ["signal_in"], ["signal_out"])]
    with pytest.raises(StateError, match=r"states=\{'signal_out': 'signal_in'\}$"):
        Session(model(nodes, ["signal_in"], ["signal_out"])).stream()


def rnn_cell(x, h, y):
    return [
        node("MatMul", [x, "W"], ["wx"]),
        node("MatMul", [h, "V"], ["vh"]),
        node("Add", ["wx", "vh"], ["sum"]),
        node("Tanh", ["sum"], [y]),
    ]


def test_names_tell_the_state_of_a_decomposed_rnn():
    """Signal and state of such a cell are the same to the graph."""
    assert pairs(model(rnn_cell("x", "h_in", "h_out"), ["x", "h_in"], ["h_out"])) == (
        {"h_out": "h_in"},
        (),
    )


def test_without_names_neither_is_a_state():
    assert pairs(model(rnn_cell("a", "b", "c"), "ab", "c")) == ({}, ())


def test_two_gru_like_states_of_one_output_are_a_doubt():
    nodes = [
        node("MatMul", ["a", "W"], ["wa"]),
        node("Sigmoid", ["wa"], ["z"]),
        node("Tanh", ["wa"], ["n"]),
        node("Mul", ["a", "b"], ["ab"]),
        node("Mul", ["z", "ab"], ["old"]),
        node("Add", ["old", "n"], ["c"]),
    ]
    found, doubts = pairs(model(nodes, "ab", "c"))
    assert found == {}
    assert len(doubts) == 2
    assert doubts[0].startswith("'a' may be a state that 'c' goes to, but so may 'b'")


def test_states_that_are_told_are_taken():
    content = model(rnn_cell("a", "b", "c"), "ab", "c")
    session = Session(content, states={"c": "b"})
    assert [(pair.output, pair.input) for pair in session.interface.states] == [("c", "b")]
    assert session.doubts == ()


def test_a_chain_of_a_thousand_nodes_is_followed():
    names = ["x", *(f"v{i}" for i in range(3000)), "y"]
    chain = [node("Identity", [a], [b]) for a, b in pairwise(names)]
    content = tiny_onnx.model(
        chain, [value("x", "float32", [1, 4])], [value("y", "float32", [1, 4])], {}
    )
    file = read_graph(content)
    specs = [(TensorSpec(name, "float32", (1, 4)),) for name in "xy"]
    assert find_states(file, *specs) == ((), ())
    assert find_axis_roles(file) == {}


def test_functions_that_call_the_next_twice_are_left():
    """Sixty of them hold 2**60 nodes."""
    names = [f"f{i}" for i in range(60)]
    functions = [
        tiny_onnx.function(
            "mine",
            name,
            ["a"],
            ["c"],
            [
                node(after, ["a"], ["b"], domain="mine" if after != "Relu" else ""),
                node(after, ["b"], ["c"], domain="mine" if after != "Relu" else ""),
            ],
        )
        for name, after in zip(names, [*names[1:], "Relu"], strict=True)
    ]
    content = tiny_onnx.model(
        [node("f0", ["x"], ["y"], domain="mine")],
        [value("x", "float32", [1, 4])],
        [value("y", "float32", [1, 4])],
        {},
        functions=functions,
        domains=["mine"],
    )
    file = read_graph(content)
    specs = [(TensorSpec(name, "float32", (1, 4)),) for name in "xy"]
    assert find_states(file, *specs)[0] == ()
