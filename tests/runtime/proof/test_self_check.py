"""`check`: what it proves, and for each check that can fail a model that makes it fail."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Tiny, silero_style, two_inputs

from rnnedge_runtime import InputError, Session
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.proof.self_check import check

SHAPES = "outputs have the declared shapes"
FINITE = "values are finite"
REPEAT = "two runs are equal"
ROWS = "rows are independent"
CHUNKS = "chunks give the result of the whole"
PADDING = "padding is not read"
EMPTY_ROWS = "rows of length zero keep their state"
EMPTY_BATCH = "an empty batch gives empty outputs"
NO_STEPS = "a sequence without steps is refused"
ALL = {SHAPES, FINITE, REPEAT, ROWS, CHUNKS, PADDING, EMPTY_ROWS, EMPTY_BATCH, NO_STEPS}

GRU = Tiny("gru")
WITH_LENGTHS = Tiny("gru", lengths=True)


def findings(content):
    return {finding.name: finding for finding in check(Session(content))}


def ending_in(*nodes, tiny=GRU, contract=GRU.contract, **options):
    """Return `tiny` with its last node, `raw` to `output`, replaced by these."""
    graph = tiny.graph(**options)
    graph.drop("output")
    for op, inputs, outputs, attributes in nodes:
        graph.add(op, inputs, outputs, **attributes)
    return graph.content(contract)


def not_a_number():
    graph = GRU.graph()
    graph.drop("output")
    graph.constants["nan"] = np.array(np.nan, np.float32)
    graph.add("Add", ["raw", "nan"], ["output"])
    return graph.content(GRU.contract)


def promising_another_width():
    wide = TensorSpec("output", "float32", ("time", "batch", 4))
    return GRU.promising(outputs=(wide, *GRU.interface.outputs[1:]))


def promising_another_rank():
    flat = TensorSpec("output", "float32", ("time", "batch"))
    return GRU.promising(outputs=(flat, *GRU.interface.outputs[1:]))


def promising_an_axis_that_inputs_do_not_have():
    longer = TensorSpec("output", "float32", ("frames", "batch", 3))
    return GRU.promising(outputs=(longer, *GRU.interface.outputs[1:]))


def swapping_time_and_batch():
    graph = GRU.graph()
    graph.drop("output")
    graph.add("Transpose", ["raw"], ["output"], perm=[1, 0, 2])
    return graph.content(GRU.contract)


def losing_the_state_of_empty_rows():
    graph = WITH_LENGTHS.graph()
    graph.drop("h_n")
    graph.add("Identity", ["raw_h"], ["h_n"])
    return graph.content(WITH_LENGTHS.contract)


def joining_steps(count, contract=None):
    """Return a model that joins so many steps, and refuses times that are not a multiple of it."""
    graph = GRU.graph()
    graph.drop("output")
    graph.constants["joined"] = np.array([-1, count, 0, 3])
    graph.add("Shape", ["raw"], ["apart"])
    graph.add("Unsqueeze", ["raw", "zero"], ["deep"])  # [1, time, batch, 3]
    graph.add("Reshape", ["deep", "joined"], ["groups"])  # [time / count, count, batch, 3]
    graph.add("Reshape", ["groups", "apart"], ["output"])
    return graph.content(contract)


PLUS_BATCH_MEAN = [
    ("ReduceMean", ["raw"], ["mean"], {"axes": [1]}),
    ("Add", ["raw", "mean"], ["output"], {}),
]
PLUS_TIME_MEAN = [
    ("ReduceMean", ["raw"], ["mean"], {"axes": [0]}),
    ("Add", ["raw", "mean"], ["output"], {}),
]
NOISE = [
    ("RandomNormalLike", ["raw"], ["noise"], {}),
    ("Add", ["raw", "noise"], ["output"], {}),
]
PLUS_ONE = [("Cos", ["raw"], ["output"], {})]  # cos(0) is 1, in the padding too
BROKEN = {
    "wrong-width": (SHAPES, promising_another_width(), "output is [1, 1, 3], declared [1, 1, 4]"),
    "time-and-batch-swapped": (
        SHAPES,
        swapping_time_and_batch(),
        "output is [3, 1, 3], declared [1, 3, 3]",
    ),
    "wrong-rank": (SHAPES, promising_another_rank(), "output is [1, 1, 3], declared [1, 1]"),
    "nan-weights": (FINITE, not_a_number(), "output has NaN or infinity at time 1, batch 1"),
    "noise": (REPEAT, ending_in(*NOISE), "the same input gave different outputs"),
    "mean-over-rows": (ROWS, ending_in(*PLUS_BATCH_MEAN), "largest difference "),
    "nan-in-rows": (ROWS, not_a_number(), "largest difference nan"),
    "mean-over-time": (CHUNKS, ending_in(*PLUS_TIME_MEAN), "largest difference "),
    "state-ignored-by-another-maker": (
        CHUNKS,
        GRU.graph(start=False).content(),
        "a node (GRU) loses its hidden state (initial_h) between calls",
    ),
    "state-ignored": (CHUNKS, GRU.graph(start=False).content(GRU.contract), "largest difference "),
    "lengths-ignored": (
        PADDING,
        WITH_LENGTHS.graph(ends=False).content(WITH_LENGTHS.contract),
        "outputs depend on the padding",
    ),
    "one-in-the-padding": (
        PADDING,
        ending_in(*PLUS_ONE, tiny=WITH_LENGTHS, contract=WITH_LENGTHS.contract),
        "output is not zero past a row",
    ),
    "empty-rows-lose-their-state": (
        EMPTY_ROWS,
        losing_the_state_of_empty_rows(),
        "the state of a row of length zero changed",
    ),
    "one-length-only": (SHAPES, joining_steps(5), "ONNX Runtime failed: Reshape node"),
    "even-lengths-of-a-layer": (
        SHAPES,
        joining_steps(2, GRU.contract),
        "ONNX Runtime failed: Reshape node",
    ),
    "size-not-known": (
        EMPTY_BATCH,
        promising_an_axis_that_inputs_do_not_have(),
        "axis batch is empty, and ONNX Runtime may abort the process on it",
    ),
}


@pytest.mark.parametrize(("name", "content", "detail"), BROKEN.values(), ids=BROKEN)
def test_a_broken_model_fails(name, content, detail):
    finding = findings(content)[name]
    assert finding.passed is False
    assert finding.detail.startswith(detail)


def test_wrong_shapes_end_the_checks():
    rest = [finding for finding in check(Session(swapping_time_and_batch()))][1:]
    assert {(finding.passed, finding.detail) for finding in rest} == {
        (None, "not checked: the shapes are wrong")
    }


def test_a_model_that_runs_without_steps_fails(monkeypatch):
    session = Session(GRU.content)
    answer = session.run(GRU.input(1, 2))
    monkeypatch.setattr(Session, "_empty_result", lambda *_: answer)
    finding = next(f for f in check(session) if f.name == NO_STEPS)
    assert (finding.passed, finding.detail) == (False, "it was run")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_everything_applies_to_a_layer_with_lengths_and_states(cell):
    given = findings(Tiny(cell, lengths=True).content)
    assert {name: finding.passed for name, finding in given.items()} == dict.fromkeys(ALL, True)


NOT_APPLYING = {
    "no-lengths": (GRU.content, {PADDING, EMPTY_ROWS}),
    "no-states": (Tiny("gru", lengths=True, states=False).content, {CHUNKS, EMPTY_ROWS}),
    "both-directions": (Tiny("gru", lengths=True, bidirectional=True).content, {CHUNKS}),
    "batch-first": (Tiny("gru", lengths=True, batch_first=True).content, set()),
    "two-inputs": (two_inputs()[1], {PADDING, EMPTY_ROWS}),
    "foreign": (GRU.graph().content(), {PADDING, EMPTY_ROWS, EMPTY_BATCH}),
    "foreign-both-directions": (
        Tiny("gru", bidirectional=True).graph().content(),
        {CHUNKS, PADDING, EMPTY_ROWS, EMPTY_BATCH},
    ),
    "foreign-mean-over-time": (
        ending_in(*PLUS_TIME_MEAN, contract=None),
        {CHUNKS, PADDING, EMPTY_ROWS, EMPTY_BATCH},
    ),
    "foreign-output-axes-unnamed": (
        replace(
            graph := GRU.graph(),
            outputs=[replace(spec, axes=(None, None, 3)) for spec in graph.outputs],
        ).content(),
        {PADDING, EMPTY_ROWS, EMPTY_BATCH},
    ),
}


@pytest.mark.parametrize(("content", "without"), NOT_APPLYING.values(), ids=NOT_APPLYING)
def test_what_does_not_apply_neither_passes_nor_fails(content, without):
    given = findings(content)
    expected = {name: None if name in without else True for name in ALL}
    assert {name: finding.passed for name, finding in given.items()} == expected


def test_a_model_that_refuses_some_lengths_is_checked_at_the_others():
    given = findings(joining_steps(2))
    without = {CHUNKS, PADDING, EMPTY_ROWS, EMPTY_BATCH}
    assert {name: finding.passed for name, finding in given.items()} == {
        name: None if name in without else True for name in ALL
    }
    assert given[SHAPES].detail.startswith("at 2 of 6 shapes; refused at time 1: ONNX Runtime fa")
    assert given[CHUNKS].detail.startswith("the model refuses some lengths: ONNX Runtime failed: ")


ROUNDED = [
    ("DynamicQuantizeLinear", ["raw"], ["bytes", "scale", "zero_point"], {}),
    ("DequantizeLinear", ["bytes", "scale", "zero_point"], ["output"], {}),
]
INT8 = replace(GRU.contract, quantization="int8")


def test_a_model_that_rounds_activations_moves_rows_and_chunks_a_little():
    assert findings(ending_in(*ROUNDED))[ROWS].passed is False
    given = findings(ending_in(*ROUNDED, contract=INT8))
    assert {name for name, finding in given.items() if finding.passed is False} == set()
    for name in (ROWS, CHUNKS):
        assert given[name].passed is None
        assert given[name].detail.startswith(
            "int8 activations are rounded over all rows and steps: "
        )


@pytest.mark.parametrize(
    ("name", "nodes"), [(ROWS, PLUS_BATCH_MEAN), (CHUNKS, PLUS_TIME_MEAN)], ids=["rows", "chunks"]
)
def test_a_model_that_rounds_activations_moves_them_no_more(name, nodes):
    assert findings(ending_in(*nodes, contract=INT8))[name].passed is False


def test_a_model_of_one_step_has_no_time_to_check():
    graph = GRU.graph()
    graph.inputs[0] = TensorSpec("input", "float32", (1, "batch", 2))
    graph.outputs[0] = TensorSpec("output", "float32", (1, "batch", 3))
    given = findings(graph.content())
    without = {CHUNKS, PADDING, EMPTY_ROWS, EMPTY_BATCH, NO_STEPS}
    assert {name for name, finding in given.items() if finding.passed is None} == without
    assert {finding.passed for finding in given.values()} == {True, None}


def test_a_model_of_text_is_an_error(monkeypatch):
    monkeypatch.setitem(tiny_onnx.DTYPES, "string", 8)
    node = tiny_onnx.node("Identity", ["text"], ["same"])
    text, same = (tiny_onnx.value(name, "string", ["batch"]) for name in ("text", "same"))
    session = Session(tiny_onnx.model([node], [text], [same], {}))
    message = r"^text tensor\(string\)\[batch\]: expected an input of floats, integers or flags$"
    with pytest.raises(InputError, match=message):
        check(session)


def test_a_single_number_is_made_up():
    given = check(Session(silero_style()[1]))
    assert {finding.passed for finding in given} == {True, None}
