"""Each other thing that can be wrong: operators, weights, states, chance, unrolled recurrences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from torch import nn

import rnnedge
from rnnedge.doctor import Finding, examine

Found = Callable[..., dict[str, Finding]]
USUAL = {"empty-crash", "hides-nan"}
"""What every LSTM and GRU has on ONNX Runtime's CPU."""


def _change(model: onnx.ModelProto, name: str, array: np.ndarray) -> onnx.ModelProto:
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    return model


DIFFERS = {
    "gru": (handmade.plain("GRU", states=True), "linear_before_reset=0"),
    "clip": (handmade.plain("LSTM", states=True, clip=1.5), "it clips at 1.5"),
    "sigmoid": (
        handmade.plain("RNN", states=True, activations=["Sigmoid"]),
        "its activations are Sigmoid",
    ),
    "input_forget": (handmade.plain("LSTM", states=True, input_forget=1), "input_forget=1"),
}


@pytest.mark.parametrize(("model", "words"), DIFFERS.values(), ids=DIFFERS)
def test_what_no_layer_of_torch_computes(model: onnx.ModelProto, words: str, found: Found) -> None:
    finding = found(model)["not-pytorch"]
    assert finding.severity == "note"
    assert words in finding.problem


SAME = {
    "gru": handmade.plain("GRU", states=True, linear_before_reset=1),
    "relu": handmade.plain("RNN", states=True, activations=["Relu"]),
    "lstm": handmade.plain("LSTM", states=True),
    "spelt": handmade.plain("LSTM", states=True, activations=["Sigmoid", "Tanh", "Tanh"]),
}


@pytest.mark.parametrize("model", SAME.values(), ids=SAME)
def test_what_a_layer_of_torch_computes(model: onnx.ModelProto, found: Found) -> None:
    assert set(found(model)) <= USUAL


def test_peepholes(found: Found) -> None:
    model = handmade.plain("LSTM", states=True)
    model.graph.node[0].input.append("P")
    model.graph.initializer.append(onnx.numpy_helper.from_array(handmade.random(1, 12), "P"))
    assert "peepholes" in found(model)["not-pytorch"].problem


def test_weights_that_are_no_numbers(found: Found) -> None:
    weights = handmade.random(1, 16, 4)
    weights[0, 3, 2] = np.nan
    findings = found(_change(handmade.plain("LSTM"), "R", weights))
    assert {"frozen-time", "row-coupling", "nondeterministic"}.isdisjoint(findings)
    finding = findings["bad-weights"]
    assert finding.severity == "error"
    assert finding.where == "R"
    assert finding.problem.startswith("1 of 64 values are NaN or infinite")


def test_nan_that_is_hidden(found: Found) -> None:
    assert "hides-nan" in found(handmade.plain("LSTM"))
    assert "hides-nan" not in found(handmade.plain("RNN"))
    assert "hides-nan" in found(handmade.plain("RNN", activations=["Relu"]))


def test_weights_stored_again(found: Found) -> None:
    weights = {"u": handmade.random(4, 100), "v": handmade.random(4, 100)}
    nodes = [
        helper.make_node("MatMul", ["a", "u"], ["p"]),
        helper.make_node("MatMul", ["a", "v"], ["q"]),
        helper.make_node("Concat", ["p", "q"], ["r"], axis=2),
        helper.make_node("Slice", ["r", "begin", "end", "axes"], ["b"]),
    ]
    cut = {"begin": np.array([0]), "end": np.array([4]), "axes": np.array([2])}
    finding = found(handmade.with_head(nodes, weights | cut))["duplicate-weights"]
    assert "1,600 bytes" in finding.problem
    assert finding.fixable


def test_dropout_in_training(found: Found) -> None:
    node = helper.make_node("Dropout", ["a", "half", "yes"], ["b"])
    weights = {"half": np.array(0.5, np.float32), "yes": np.array(True)}
    findings = found(handmade.with_head([node], weights))
    assert findings["dropout"].severity == "error"
    assert "row-coupling" not in findings


def test_batch_norm_in_training(found: Found) -> None:
    ones = np.ones(4, np.float32)
    nodes = [
        helper.make_node("Transpose", ["a"], ["t"], perm=[1, 2, 0]),
        helper.make_node(
            "BatchNormalization",
            ["t", *("ones", "zeros", "zeros", "ones")],
            ["n", "mean", "variance"],
            training_mode=1,
        ),
        helper.make_node("Transpose", ["n"], ["b"], perm=[2, 0, 1]),
    ]
    model = handmade.with_head(nodes, {"ones": ones, "zeros": 0 * ones})
    assert found(model)["training"].severity == "error"


def test_noise(found: Found) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["a"], ["r"]),
        helper.make_node("Add", ["a", "r"], ["b"]),
    ]
    findings = found(handmade.with_head(nodes))
    assert findings["random"].where == "RandomNormalLike of r"
    assert findings["nondeterministic"].where == "y"


def test_constant_lengths(found: Found) -> None:
    model = handmade.plain("LSTM", axes=(5, 2, 3))
    model.graph.node[0].input.append("lengths")
    lengths = np.array([5, 5], np.int32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(lengths, "lengths"))
    findings = found(model)
    assert "sequence_lens is the constant [5, 5]" in findings["fixed-lengths"].problem
    assert findings["frozen-batch"].problem.startswith("batch is fixed at 2")


def test_hidden_states(found: Found) -> None:
    finding = found(handmade.with_head(layers=2))["states-hidden"]
    assert finding.where == "stack/l0/RNN, stack/l1/RNN"
    assert finding.problem.startswith(
        "starts from zeros at each call, and its final state is not an output"
    )
    assert finding.fixable


def test_states_that_come_out_and_do_not_go_in(found: Found) -> None:
    problem = found(handmade.plain("GRU"))["states-hidden"].problem
    assert problem.startswith("starts from zeros at each call: ")


@pytest.mark.parametrize(("kept", "lost"), [("h", "c"), ("c", "h")])
def test_one_state_of_an_lstm_that_is_lost(kept: str, lost: str, found: Found) -> None:
    model = handmade.plain("LSTM", states=True)
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    position = 5 + "hc".index(lost)
    (info,) = [info for info in model.graph.input if info.name == node.input[position]]
    model.graph.input.remove(info)
    node.input[position] = ""
    finding = found(model)["state-lost"]
    assert (finding.severity, finding.where) == ("warning", node.name)
    assert finding.problem.startswith(f"initial_{kept} is an input and initial_{lost} is not")


def test_learned_initial_state(found: Found) -> None:
    model = handmade.plain("GRU", axes=("time", 1, 3), states=True)
    del model.graph.input[1:]
    start = onnx.numpy_helper.from_array(handmade.random(1, 1, 4), "h_0")
    model.graph.initializer.append(start)
    finding = found(model)["states-hidden"]
    assert finding.problem.startswith("starts from constants at each call")
    assert not finding.fixable


@pytest.mark.parametrize("direction", ["bidirectional", "reverse"])
def test_model_that_reads_the_future_is_not_asked_for_states(direction: str, found: Found) -> None:
    assert "states-hidden" not in found(handmade.plain("LSTM", direction=direction))


def test_decoder_that_starts_from_its_encoder(found: Found) -> None:
    encoder = handmade.recurrent_weights("GRU", prefix="e/")
    decoder = handmade.recurrent_weights("GRU", prefix="d/", seed=5)
    nodes = [
        helper.make_node("GRU", ["x", *encoder], ["", "h"], name="encoder", hidden_size=4),
        helper.make_node("GRU", ["x", *decoder, "", "h"], ["Y"], name="decoder", hidden_size=4),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
    ]
    model = handmade.build(
        nodes,
        [handmade.value("x", ["time", "batch", 3])],
        [handmade.value("y", ["time", "batch", 4])],
        {**encoder, **decoder, "one": np.array([1], np.int64)},
    )
    assert found(model)["states-hidden"].where == "encoder"


def _unrolled(steps: int, *, shared: bool = False) -> onnx.ModelProto:
    """Make a recurrence step by step; `shared`, a stack of layers with the same weights instead."""
    nodes, weights = [], {"W": handmade.random(3, 4), "R": handmade.random(4, 4, seed=1)}
    state, outputs = "", []
    for t in range(steps):
        weights |= {f"{t}": np.array(t)}
        if shared and t:
            parts = [helper.make_node("MatMul", [state, "R"], [f"p{t}"])]
        else:
            parts = [
                helper.make_node("Gather", ["x", f"{t}"], [f"x{t}"], axis=0),
                helper.make_node("MatMul", [f"x{t}", "W"], [f"i{t}" if state else f"p{t}"]),
            ]
            if state:
                parts.append(helper.make_node("MatMul", [state, "R"], [f"r{t}"]))
                parts.append(helper.make_node("Add", [f"i{t}", f"r{t}"], [f"p{t}"]))
        state = f"h{t}"
        nodes += [*parts, helper.make_node("Tanh", [f"p{t}"], [state])]
        outputs.append(state)
    nodes.append(helper.make_node("Identity", [state], ["y"]))
    return handmade.build(
        nodes,
        [handmade.value("x", ["time", "batch", 3])],
        [handmade.value("y", ["batch", 4])],
        weights,
    )


def test_unrolled_recurrence_whose_first_step_was_folded(found: Found) -> None:
    findings = found(_unrolled(6))
    assert findings["unrolled"].problem.startswith(
        "a recurrence is written out step by step: 6 steps, 5 products with 1 matrix"
    )
    assert "only 6 works" in findings["frozen-time"].problem
    assert "12 runs, and the answer is that to 6 steps" in findings["frozen-time"].problem


def test_layers_that_share_weights_are_no_recurrence(found: Found) -> None:
    assert "unrolled" not in found(_unrolled(6, shared=True))


@pytest.mark.parametrize("op", ["RNN", "GRU"])
def test_double(op: str, found: Found) -> None:
    model = handmade.plain(op, states=True)
    for tensor in [*model.graph.initializer]:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            _change(model, tensor.name, array.astype(np.float64))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = TensorProto.DOUBLE
    findings = found(model)
    assert not {"refused", "no-run"}.isdisjoint(findings)


OURS = {
    "rnn": (nn.RNN(3, 4), {}, set()),
    "lstm": (nn.LSTM(3, 4, 2), {}, USUAL),
    "gru": (nn.GRU(3, 4, batch_first=True, bidirectional=True), {"lengths": True}, USUAL),
    "proj": (nn.LSTM(3, 4, proj_size=2), {}, set()),
    "stateless": (nn.GRU(3, 4), {"states": False}, {*USUAL, "states-hidden"}),
}


@pytest.mark.parametrize(("layer", "options", "kinds"), OURS.values(), ids=OURS)
def test_file_of_ours(
    layer: nn.Module, options: dict[str, bool], kinds: set[str], tmp_path: Path
) -> None:
    rnnedge.export(layer, tmp_path / "model.onnx", **options)  # type: ignore[arg-type]
    diagnosis = examine(tmp_path / "model.onnx")
    assert {finding.kind for finding in diagnosis.general} == kinds
    assert {finding.severity for finding in diagnosis.findings} <= {"note"}
