"""Two ONNX files of the same network: what is right passes, what is wrong is found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from endless_loop import endless_loop
from onnx import TensorProto, helper, numpy_helper
from onnx_files import node_file, tagger
from torch import nn

from rnnedge import Report, export, quantize, validate
from rnnedge.errors import GoldenError, ModelError, OptionError
from rnnedge_runtime import Session
from rnnedge_runtime.proof.golden import read_golden
from rnnedge_runtime.proof.golden_check import check_golden

AXES = ["time", "batch", 5]


@pytest.fixture(scope="module")
def layer() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(5, 16, num_layers=2)


@pytest.fixture(scope="module")
def original(layer: nn.GRU, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "original.onnx"
    export(layer, path)
    return path


def edited(path: Path, into: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
    """Write a copy of a model that is another file: without the contract, and edited."""
    model = onnx.load(path)
    del model.metadata_props[:]
    edit(model)
    onnx.save(model, into)
    return into


def rename(**names: str) -> Callable[[onnx.ModelProto], None]:
    """Return what renames values."""

    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*model.graph.input, *model.graph.output):
            value.name = names.get(value.name, value.name)

    return edit


def change(part: str, place: int) -> Callable[[onnx.ModelProto], None]:
    """Return what changes one number of an input of a recurrent node."""

    def edit(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.op_type == "GRU" and part in n.name)
        tensor = next(t for t in model.graph.initializer if t.name == node.input[place])
        array = numpy_helper.to_array(tensor).copy()
        array.flat[3] += 0.25
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return edit


# --- what is right --------------------------------------------------------------------------------


def test_two_forms_of_a_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(5, 8, bidirectional=True)
    export(layer, tmp_path / "a.onnx", lowering="scan", lengths=True)
    export(layer, tmp_path / "b.onnx", lowering="operator", lengths=True)
    report = validate(tmp_path / "a.onnx", against=tmp_path / "b.onnx")
    assert report, report
    cases = {result.case for result in report.results}
    assert report.coverage is not None
    nodes = report.coverage.nodes
    assert report.verdict == (
        f"PASS: a.onnx computes what b.onnx computes, in {len(cases)} of {len(cases)} cases; "
        f"all {nodes} nodes ran"
    )
    assert {case.ragged for case in cases} == {case.random_state for case in cases} == {True, False}
    assert report.rounding is None
    assert str(report).splitlines()[0].strip() == "parity with the original"
    assert {result.torch_error for result in report.results} == {None}


def test_a_file_beside_itself(original: Path) -> None:
    report = validate(original, against=original, quick=True)
    assert report, report
    assert {result.error for result in report.results} == {0.0}


def test_errors_over_time_are_kept(original: Path) -> None:
    report = validate(original, against=original, quick=True)
    assert [(curve.name, len(curve.model), curve.torch) for curve in report.curves] == [
        ("output", 7, ())
    ]


def test_other_names_are_matched_by_place(original: Path, tmp_path: Path) -> None:
    other = edited(original, tmp_path / "o.onnx", rename(input="x", output="y", h_0="s", h_n="s_n"))
    report = validate(other, against=original, quick=True)
    assert report, report
    assert report.notes[0] == (
        "inputs and outputs have other names, and were matched by place: input is x, h_0 is s, "
        "output is y, h_n is s_n"
    )


def test_states_of_one_file_start_from_zeros(layer: nn.GRU, original: Path, tmp_path: Path) -> None:
    export(layer, tmp_path / "plain.onnx", states=False)
    for model, against in (
        (tmp_path / "plain.onnx", original),
        (original, tmp_path / "plain.onnx"),
    ):
        report = validate(model, against=against, quick=True)
        assert report, report
        assert "states start from zeros, since only one of the files takes them" in report.notes


def test_an_output_that_the_file_does_not_have(original: Path, tmp_path: Path) -> None:
    fewer = edited(original, tmp_path / "fewer.onnx", lambda model: model.graph.output.pop())
    report = validate(fewer, against=original, quick=True)
    assert report, report
    assert [output.name for output in report.outputs] == ["output"]
    assert "not compared, since the file does not have it: h_n" in report.notes


# --- what is wrong --------------------------------------------------------------------------------


def failing(model: Path, against: Path, **options: Any) -> Report:
    report = validate(model, against=against, quick=True, **options)
    assert not report
    return report


def test_another_weight_is_named(original: Path, tmp_path: Path) -> None:
    report = failing(edited(original, tmp_path / "o.onnx", change("1", 2)), original)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "other weights"
    assert report.diagnosis.evidence == (
        "its numbers are in no weight of the file; those of 3 of 4 weights of the original are"
    )
    assert report.verdict.endswith("; other weights")


def test_first_layer_that_differs_is_named(original: Path, tmp_path: Path) -> None:
    """Its weights are those of the original, its bias is not."""
    report = failing(edited(original, tmp_path / "o.onnx", change("1", 3)), original)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "a layer differs"
    assert "1" in report.diagnosis.place
    assert report.diagnosis.evidence.endswith("; 2 layers before it agree")


def test_a_fixed_axis_is_named(original: Path, tmp_path: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7

    report = failing(edited(original, tmp_path / "o.onnx", fix), original)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "refuses inputs"
    assert str(report.diagnosis.smallest) == "time 1, batch 1"


def test_failing_inputs_are_kept(original: Path, tmp_path: Path) -> None:
    other = edited(original, tmp_path / "o.onnx", change("1", 3))
    failing(other, original, failing=tmp_path / "failing.npz")
    with np.load(tmp_path / "failing.npz") as arrays:
        assert {"input/input", "expected/output", "got/output"} <= set(arrays)


def test_other_data_is_refused(original: Path, tmp_path: Path) -> None:
    tagger(tmp_path / "tagger.onnx", "GRU", 8)
    with pytest.raises(ModelError, match=r"expected the data inputs of .*, got x int64\["):
        validate(tmp_path / "tagger.onnx", against=original)


# --- files that end their process, or never end ---------------------------------------------------


def _with(nodes: list[onnx.NodeProto], path: Path, **constants: Any) -> Path:
    floats = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [floats("input", TensorProto.FLOAT, AXES)],
        [floats("output", TensorProto.FLOAT, AXES)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return _with([helper.make_node("Identity", ["input"], ["output"])], tmp_path / "plain.onnx")


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    return _with([endless_loop("input", "output")], tmp_path / "endless.onnx", true=True)


@pytest.fixture
def aborting(tmp_path: Path) -> Path:
    """A file whose GRU sees no steps."""
    nodes = [
        helper.make_node("Slice", ["input", "zero", "zero", "zero"], ["none"]),
        helper.make_node("GRU", ["none", "W", "R"], ["", "h"], hidden_size=4),
        helper.make_node("ReduceSum", ["h"], ["sum"], keepdims=0),
        helper.make_node("Add", ["input", "sum"], ["output"]),
    ]
    weights = {"W": np.ones((1, 12, 5), np.float32), "R": np.ones((1, 12, 4), np.float32)}
    return _with(nodes, tmp_path / "aborting.onnx", zero=np.array([0]), **weights)


def test_a_file_that_never_ends(endless: Path, plain: Path) -> None:
    report = failing(endless, plain, time_limit=1)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "never ends"
    assert len(report.results) == 1
    assert "stopped after case 1 of 8: never ends" in report.notes
    assert "raised: it did not end within 1 s" in report.verdict


def test_an_original_that_never_ends(endless: Path, plain: Path) -> None:
    message = r"endless\.onnx: expected an original that answers, but at .* it did not end"
    with pytest.raises(ModelError, match=message):
        validate(plain, against=endless, time_limit=1)


def test_a_file_that_ends_its_process(aborting: Path, plain: Path) -> None:
    report = failing(aborting, plain)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "crash"
    assert report.diagnosis.evidence == "it ended the process: SIGABRT"


def test_an_original_that_ends_its_process(aborting: Path, plain: Path) -> None:
    with pytest.raises(
        ModelError, match=r"got a refusal of all; .*: it ended the process: SIGABRT$"
    ):
        validate(plain, against=aborting, quick=True)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("device", "cuda"), ("isolated", False), ("engine", "native"), ("latency", True)],
        *[("cases", ()), ("calibrate", "x")],
    ],
)
def test_options_of_a_pytorch_source(name: str, value: Any, original: Path) -> None:
    with pytest.raises(OptionError, match=rf"^{name}: requires a PyTorch source, got .*: leave it"):
        validate(original, against=original, **{name: value})


def proves(folder: Path, model: Path) -> bool:
    """Whether a device finds that a model computes what its golden vectors say."""
    findings = check_golden(Session(model), read_golden(folder), model=model)
    return all(finding.passed for finding in findings)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_golden_vectors(dtype: Any, original: Path, tmp_path: Path) -> None:
    model = original
    if dtype == "float16":
        model = tmp_path / "small.onnx"
        quantize(original, model, quantize=None, dtype=dtype)
    assert validate(model, against=original, quick=True, golden=tmp_path / "golden")
    assert proves(tmp_path / "golden", model)


def test_golden_vectors_of_other_names(original: Path, tmp_path: Path) -> None:
    """They are the file's own."""
    other = edited(original, tmp_path / "o.onnx", rename(input="x", output="y", h_0="s", h_n="s_n"))
    assert validate(other, against=original, quick=True, golden=tmp_path / "golden")
    assert proves(tmp_path / "golden", other)


def test_no_golden_vectors_of_integers(tmp_path: Path) -> None:
    source = node_file(tmp_path / "model.onnx", "LSTM")
    quantize(source, tmp_path / "small.onnx", quantize="int8:all")
    message = r"^golden: expected a file that computes with floats, but .* computes rnn with int"
    with pytest.raises(GoldenError, match=message):
        validate(tmp_path / "small.onnx", against=source, golden=tmp_path / "golden")
    assert not (tmp_path / "golden").exists()
