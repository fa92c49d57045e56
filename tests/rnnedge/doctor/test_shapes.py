"""Sizes: frozen axes, wrong declarations, and rows that are mixed with each other."""

from __future__ import annotations

from collections.abc import Callable

import handmade
import numpy as np
import onnx
from onnx import helper

from rnnedge.doctor import Examination, Finding

Found = Callable[..., dict[str, Finding]]


def _reshaped(*shape: int) -> onnx.ModelProto:
    """Make an LSTM whose output is reshaped to a constant, as constant folding leaves it."""
    model = handmade.plain("LSTM")
    del model.graph.node[1:]
    model.graph.node.append(helper.make_node("Reshape", ["Y", "shape"], ["y"], name="fold"))
    constant = onnx.numpy_helper.from_array(np.array(shape, np.int64), "shape")
    model.graph.initializer.append(constant)
    return model


def test_open_axes_are_no_finding(found: Found) -> None:
    assert set(found(handmade.plain("RNN", states=True))) == set()


def test_axes_whose_names_say_nothing(found: Found) -> None:
    """As tf2onnx calls them, in a model whose operators do not show which is which."""
    words = handmade.value("words", ["unk__0", "unk__1"], onnx.TensorProto.INT64)
    lookup = helper.make_node("Gather", ["table", "words"], ["y"])
    table = {"table": np.ones((9, 4), np.float32)}
    y = handmade.value("y", ["unk__0", "unk__1", 4])
    assert set(found(handmade.build([lookup], [words], [y], table))) == set()


def test_time_held_by_a_reshape(found: Found) -> None:
    finding = found(_reshaped(6, -1, 4))["frozen-time"]
    assert finding.severity == "error"
    assert finding.where == "x axis 0"
    assert "only 6 works" in finding.problem
    assert "rows and columns are confused" in finding.problem
    assert "fold holds [6, -1, 4]" in finding.problem


def test_batch_held_by_a_reshape(found: Found) -> None:
    finding = found(_reshaped(-1, 2, 4))["frozen-batch"]
    assert finding.severity == "error"
    assert finding.where == "x axis 1"
    assert "only 2 works" in finding.problem


def test_both_held_by_a_reshape(found: Found) -> None:
    findings = found(_reshaped(6, 2, 4))
    assert "only 6 works" in findings["frozen-time"].problem
    assert "only 2 works" in findings["frozen-batch"].problem


def test_time_of_one_step(found: Found) -> None:
    assert "only 1 works" in found(_reshaped(1, -1, 4))["frozen-time"].problem


def test_size_that_is_declared_and_true_is_a_warning(found: Found) -> None:
    model = _reshaped(6, -1, 4)
    model.graph.input[0].CopyFrom(handmade.value("x", [6, "batch", 3]))
    finding = found(model)["frozen-time"]
    assert finding.severity == "warning"
    assert finding.problem == "time is fixed at 6 (fold holds [6, -1, 4])"


def test_size_that_only_the_declaration_fixes(found: Found) -> None:
    findings = found(handmade.plain("LSTM", axes=(5, 2, 3)))
    assert "time is declared as 5, and the graph takes any" in findings["declared-time"].problem
    assert "batch is declared as 2, and the graph takes any" in findings["declared-batch"].problem


def test_declared_output_that_is_not_the_real_one(found: Found) -> None:
    model = handmade.plain("LSTM")
    model.graph.output[0].CopyFrom(handmade.value("y", [5, "batch", 4]))
    finding = found(model)["declared-shape"]
    assert finding.where == "y"
    assert finding.problem == (
        "is declared as [5, batch, 4], and comes as [7, 3, 4] at time 7, batch 3"
    )


def test_declared_name_that_stands_for_another_size(found: Found) -> None:
    model = handmade.plain("LSTM")
    model.graph.output[0].CopyFrom(handmade.value("y", ["batch", "time", 4]))
    assert "declared-shape" in found(model)


def test_rows_that_see_each_other(found: Found) -> None:
    mean = helper.make_node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1)
    model = handmade.with_head([mean, helper.make_node("Sub", ["a", "m"], ["b"])])
    finding = found(model)["row-coupling"]
    assert finding.severity == "error"
    assert finding.where == "y"


def test_steps_that_see_each_other_are_no_coupling(found: Found) -> None:
    mean = helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=1)
    model = handmade.with_head([mean, helper.make_node("Sub", ["a", "m"], ["b"])])
    assert "row-coupling" not in found(model)


def test_rows_that_see_each_other_at_a_fixed_batch(found: Found) -> None:
    mean = helper.make_node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1)
    parts = [mean, helper.make_node("Sub", ["a", "m"], ["n"])]
    model = handmade.with_head(
        [*parts, helper.make_node("Reshape", ["n", "shape"], ["b"])],
        {"shape": np.array([-1, 2, 4], np.int64)},
    )
    model.graph.input[0].CopyFrom(handmade.value("x", [7, 2, 3]))
    findings = found(model)
    assert findings["frozen-batch"].problem.startswith("batch is fixed at 2")
    assert "row-coupling" in findings


def test_batch_first_input(found: Found) -> None:
    assert set(found(handmade.keras("GRU"))) == {"empty-crash", "hides-nan", "states-hidden"}


def _two_sequences(x: handmade.Axes, y: handmade.Axes) -> onnx.ModelProto:
    """Make an encoder whose final state starts a decoder over its own sequence."""
    encoder = handmade.recurrent_weights("RNN", prefix="e/")
    decoder = handmade.recurrent_weights("RNN", prefix="d/", seed=5)
    nodes = [
        helper.make_node("RNN", ["x", *encoder], ["", "h"], name="encoder", hidden_size=4),
        helper.make_node("RNN", ["y", *decoder, "", "h"], ["Y"], name="decoder", hidden_size=4),
        helper.make_node("Squeeze", ["Y", "one"], ["z"]),
    ]
    return handmade.build(
        nodes,
        [handmade.value("x", x), handmade.value("y", y)],
        [handmade.value("z", [y[0], y[1], 4])],
        {**encoder, **decoder, "one": np.array([1], np.int64)},
    )


def test_two_sequences_of_their_own_lengths(found: Found) -> None:
    model = _two_sequences(["source", "batch", 3], ["target", "batch", 3])
    assert set(found(model)) == {"states-hidden"}


def test_two_sequences_of_fixed_lengths(found: Found) -> None:
    findings = found(_two_sequences([7, 2, 3], [5, 2, 3]))
    assert findings["declared-time"].where == "x axis 0"
    assert "no-run" not in findings


def test_model_without_a_batch_axis(found: Found) -> None:
    model = handmade.plain("RNN")
    model.graph.node[0].input[0] = "rows"
    model.graph.node.insert(0, helper.make_node("Unsqueeze", ["x", "one"], ["rows"]))
    model.graph.input[0].CopyFrom(handmade.value("x", ["time", 3]))
    for info, axes in zip(model.graph.output, (["time", 1, 4], [1, 1, 4]), strict=True):
        info.CopyFrom(handmade.value(info.name, axes))
    assert set(found(model)) == {"states-hidden"}


def test_facts(examined: Callable[..., Examination]) -> None:
    diagnosis = examined(handmade.plain("GRU", direction="bidirectional"))
    assert diagnosis.facts[0] == "opset 17, IR version 8, made by handmade"
    assert diagnosis.facts[1] == "recurrent layers: 1 GRU (bidirectional)"
    assert diagnosis.facts[2].startswith("run at 9 size(s), well at 9: time 1, batch 3; ")


def test_nothing_found_is_said(examined: Callable[..., Examination]) -> None:
    diagnosis = examined(handmade.plain("RNN", states=True))
    assert diagnosis
    assert diagnosis.verdict.endswith("model.onnx: nothing found")


def test_model_without_recurrent_layers(examined: Callable[..., Examination]) -> None:
    model = handmade.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [handmade.value("x", ["batch", 3])],
        [handmade.value("y", ["batch", 4])],
        {"w": handmade.random(3, 4)},
    )
    diagnosis = examined(model)
    assert diagnosis
    assert "recurrent layers: none found" in diagnosis.facts
