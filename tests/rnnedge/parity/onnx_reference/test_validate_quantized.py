"""Rounded weights compared with the ONNX file that they were made from: what is right passes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_files import node_file, product_file, scan_file, tagger
from torch import nn

from rnnedge import Report, export, quantize, validate
from rnnedge.errors import ExportError, ModelError


def proven(source: Path, **options: Any) -> Report:
    """Quantize a file, and prove what came out."""
    small = source.parent / "small.onnx"
    quantize(source, small, **options)
    return validate(small, against=source)


def integers(report: Report) -> tuple[str, ...]:
    """The layers that the file computes with integers."""
    assert report.rounding is not None
    return report.rounding.integers


OPS = {"RNN": {}, "LSTM": {}, "GRU": {"linear_before_reset": 1}}
DIRECTIONS = ("forward", "reverse", "bidirectional")


@pytest.mark.parametrize("given", [{}, {"lengths": True}, {"states": True}], ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("op", OPS)
def test_nodes_in_integers(op: str, direction: str, given: dict[str, Any], tmp_path: Path) -> None:
    source = node_file(tmp_path / "model.onnx", op, direction=direction, **OPS[op], **given)
    report = proven(source, quantize="int8:all")
    assert report, report
    assert len({result.case for result in report.results}) >= 8
    assert integers(report) == ("rnn",)
    assert all(output.tolerance < 1e-3 for output in report.outputs), report


@pytest.mark.parametrize("op", OPS)
def test_nodes_that_stay(op: str, tmp_path: Path) -> None:
    more = {"lengths": True, "states": True, "direction": "bidirectional"}
    report = proven(node_file(tmp_path / "model.onnx", op, **OPS[op], **more))
    assert report, report
    assert integers(report) == ()
    assert all(output.tolerance < 1e-3 for output in report.outputs), report


def test_what_it_says(tmp_path: Path) -> None:
    report = proven(tagger(tmp_path / "model.onnx", "GRU", 384))
    assert report, report
    assert report.verdict.startswith(
        "PASS: small.onnx computes what model.onnx computes with its weights rounded, 1 of its "
        "layers with activations of 8 bits, in 13 of 13 cases; all 40 nodes ran, all 50 table rows "
        "were looked up; the rounding moves y by up to "
    )
    assert report.rounding is not None
    (cost,) = report.rounding.costs
    assert 1e-5 < cost.mean_abs < cost.max_abs < 0.01
    assert [output.name for output in report.outputs] == [
        "/rnn/GRU",
        "y",
        "what layers of integers take",
    ]
    # Step by step, the layer must meet the rounding of floats, which its cost would hide.
    assert report.outputs[0].tolerance < 1e-4 < cost.max_abs
    assert "| /rnn/GRU " in str(report)
    assert report.to_dict()["passed"] is True


def test_a_last_state_alone(tmp_path: Path) -> None:
    """Its steps cannot be seen in the file: what rounding at random does is allowed."""
    for cell in ("LSTM", "GRU"):
        report = proven(tagger(tmp_path / "model.onnx", cell, 24, last=True), quantize="int8:all")
        assert report, report


@pytest.mark.parametrize(
    ("op", "addend"), [("MatMul", ""), ("Gemm", ""), ("Gemm", "constant"), ("Gemm", "input")]
)
def test_a_large_product(op: str, addend: str, tmp_path: Path) -> None:
    report = proven(product_file(tmp_path / "model.onnx", op, 520, 520, addend=addend))
    assert report, report
    assert integers(report) == ("score",)


def test_a_product_of_a_stack(tmp_path: Path) -> None:
    report = proven(product_file(tmp_path / "model.onnx", "MatMul", 2, 520, 520))
    assert report, report
    assert integers(report) == ()


def test_integers_inside_a_scan(tmp_path: Path) -> None:
    report = proven(scan_file(tmp_path / "model.onnx"), quantize="int8:all")
    assert report, report


HALF = {"quantize": None, "dtype": "float16"}


@pytest.mark.parametrize(
    ("layer", "options", "how"),
    [
        (nn.RNN(5, 24), {}, {}),
        (nn.RNN(5, 24, 2, bidirectional=True), {"lengths": True}, HALF),
        (nn.GRU(5, 24, 2, batch_first=True), {"lengths": True}, {}),
        (nn.GRU(5, 24), {}, HALF),
        (nn.LSTM(5, 24, proj_size=8), {"states": False}, {}),
        (nn.LSTM(5, 256), {}, {}),
        (nn.RNN(5, 512), {"lengths": True}, {}),
    ],
    ids=str,
)
def test_exports_of_rnnedge(
    layer: nn.RNNBase, options: dict[str, Any], how: dict[str, Any], tmp_path: Path
) -> None:
    export(layer, tmp_path / "model.onnx", **options)
    report = proven(tmp_path / "model.onnx", **how)
    assert report, report
    beside_torch = validate(tmp_path / "small.onnx", against=layer, quick=True, isolated=False)
    assert beside_torch, beside_torch
    assert beside_torch.rounding is not None


@pytest.mark.parametrize("opset", [7, 11, 16])
def test_older_opsets(opset: int, tmp_path: Path) -> None:
    source = node_file(tmp_path / "model.onnx", "LSTM", opset=opset)
    for options in ({}, {"quantize": "int8:all", "opset": 17}):
        report = proven(source, **options)
        assert report, report


@pytest.mark.skipif(find_spec("silero_vad") is None, reason="needs silero-vad")
@pytest.mark.parametrize("name", ["silero_vad.onnx", "silero_vad_16k_sequence.onnx"])
def test_silero(name: str, tmp_path: Path) -> None:
    spec = find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    source = tmp_path / "model.onnx"
    source.write_bytes((Path(spec.origin).parent / "data" / name).read_bytes())
    report = proven(source)
    assert report, report
    assert (tmp_path / "small.onnx").stat().st_size < 0.3 * source.stat().st_size


def test_a_rounding_of_another_file(tmp_path: Path) -> None:
    """One whose weights have other names, so that nothing says which is which."""
    source = node_file(tmp_path / "model.onnx", "LSTM")
    quantize(source, tmp_path / "small.onnx")
    model = onnx.load(source)
    names = {tensor.name: f"{tensor.name}_other" for tensor in model.graph.initializer}
    for named in (*model.graph.initializer, *model.graph.node):
        if isinstance(named, onnx.NodeProto):
            named.input[:] = [names.get(name, name) for name in named.input]
        else:
            named.name = names[named.name]
    onnx.save(model, source)
    with pytest.raises(ModelError, match=r"expected weights of .* in int8 or float16, found none"):
        validate(tmp_path / "small.onnx", against=source)


def test_a_rounded_file_as_the_original(tmp_path: Path) -> None:
    source = node_file(tmp_path / "model.onnx", "LSTM")
    quantize(source, tmp_path / "small.onnx", quantize=None, dtype="float16")
    message = (
        r"small.onnx: expected float32 weights, got .*: take the float32 file that it was made"
    )
    with pytest.raises(ExportError, match=message):
        validate(source, against=tmp_path / "small.onnx")


def test_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    for number in (1, 2):
        export(nn.GRU(5, 24), tmp_path / f"{number}.onnx")
    quantize(tmp_path / "1.onnx", tmp_path / "small.onnx")
    report = validate(tmp_path / "small.onnx", against=tmp_path / "2.onnx")
    assert not report
    assert "FAIL: small.onnx is not 2.onnx with its weights rounded: output off by " in str(report)


def test_an_original_that_takes_nothing(tmp_path: Path) -> None:
    source = node_file(tmp_path / "model.onnx", "LSTM")
    model = onnx.load(source)
    shape = onnx.numpy_helper.from_array(np.array([3, 3, 3]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["Y", "shape"], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, None))
    onnx.save(model, source)
    quantize(source, tmp_path / "small.onnx")
    message = r"model.onnx: expected an original that takes one of \d+ cases, got a refusal of all"
    with pytest.raises(ModelError, match=message):
        validate(tmp_path / "small.onnx", against=source)
