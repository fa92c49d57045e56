"""ONNX files that cannot be quantized, and the one line that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import node_file, product_file, scan_file
from torch import nn

from rnnedge_exporters import ExportError, WeightsError, export
from rnnedge_exporters.quantization.onnx_file import reading
from rnnedge_exporters.quantization.onnx_file.quantize import quantize
from rnnedge_runtime import WriteError


def refused(path: Path, message: str, error: type[ExportError] = ExportError, **more: Any) -> None:
    """Ask for a file that is refused, with nothing written."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(error, match=message) as raised:
        quantize(path, path.parent / "small.onnx", **more)
    assert "\n" not in str(raised.value)
    assert sorted(path.parent.iterdir()) == before


@pytest.fixture
def lstm(tmp_path: Path) -> Path:
    return node_file(tmp_path / "model.onnx", "LSTM")


def changed(path: Path, change: Any) -> Path:
    """Change the graph of a file."""
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": None}, "model.onnx: is an ONNX file already: say what to do with it, quant"),
        ({"quantize": "int4"}, "^quantize: expected None, 'int8' or 'int8:all', got 'int4'"),
        ({"dtype": "float16"}, "^dtype='float16': requires quantize=None, got 'int8'"),
        ({"target": "tpu"}, "^target: expected 'cpu', 'cuda', 'portable' or 'c', got 'tpu'$"),
        ({"quantize": "int8:all", "target": "cuda"}, "^quantize='int8:all': the CUDA provider has"),
        ({"keep_float32": ["no"]}, r"^keep_float32: .*model.onnx has no 'no'; it has rnn$"),
    ],
)
def test_options(options: dict[str, Any], message: str, lstm: Path) -> None:
    refused(lstm, message, **options)


def test_quantized_by_onnxruntime(tmp_path: Path) -> None:
    source = node_file(tmp_path / "float.onnx", "LSTM")
    path = tmp_path / "model.onnx"
    onnxruntime.quantization.quantize_dynamic(source, path)
    refused(path, r"model.onnx: expected float32 weights, got DynamicQuantizeLSTM rnn_quant, whi")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"quantize": "int8"}, r"int8 that .*Cast widens, which is quantized already: take the fl"),
        ({"quantize": "int8:all"}, "DynamicQuantizeLinear rnn/l0/DynamicQuantizeLinear, which is"),
        ({"quantize": None, "dtype": "float16"}, "float16 that .*Cast widens, which is quantized"),
    ],
)
def test_quantized_by_rnnedge(options: dict[str, Any], found: str, lstm: Path) -> None:
    small = quantize(lstm, lstm.parent / "int8.onnx", **options).path
    refused(small, f"int8.onnx: expected float32 weights, got {found}")


def test_quantized_with_a_contract(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(nn.GRU(3, 4), path, quantize="int8")
    refused(path, "model.onnx: expected float32 weights, got a file that rnnedge wrote in int8: ")


@pytest.mark.parametrize("opset", [14, 24, "17"])
def test_opset(opset: Any, lstm: Path) -> None:
    refused(lstm, f"^opset: expected 17, that of .*model.onnx, to 23, got {opset!r}$", opset=opset)


@pytest.mark.parametrize("op", ["QLinearMatMul", "DequantizeLinear", "MatMulNBits"])
def test_operators_of_quantized_files(op: str, lstm: Path) -> None:
    node = helper.make_node(op, ["Y"], ["z"], name="odd", domain="com.microsoft")
    changed(lstm, lambda graph: graph.node.append(node))
    refused(lstm, f"expected float32 weights, got {op} odd, which is quantized already: take the ")


def test_weights_that_are_computed(lstm: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
        graph.node.insert(0, helper.make_node("Mul", ["R", "s"], ["R2"], name="scale"))
        graph.node[1].input[2] = "R2"

    changed(lstm, change)
    refused(
        lstm,
        r"^LSTM rnn: expected constant weights R, got R2, which scale \(Mul\) computes: export the",
    )


def test_weights_that_are_an_input(lstm: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        (tensor,) = [one for one in graph.initializer if one.name == "W"]
        graph.initializer.remove(tensor)
        graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, tensor.dims))

    changed(lstm, change)
    refused(lstm, "^LSTM rnn: expected constant weights W, got W: export the model again with its")


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "float16"), (np.float64, "double")])
def test_other_floats(dtype: Any, name: str, tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "LSTM", dtype=dtype)
    refused(path, f"^LSTM rnn: expected float32 weights W, got {name}: convert the model to float3")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_without_a_number(value: float, lstm: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        (tensor,) = [one for one in graph.initializer if one.name == "R"]
        array = numpy_helper.to_array(tensor).copy()
        array[0, 3, :2] = value
        tensor.CopyFrom(numpy_helper.from_array(array, "R"))

    changed(lstm, change)
    refused(
        lstm, "^LSTM rnn, weights R: expected finite numbers to quantize, got 2 of ", WeightsError
    )


def test_weights_too_large_for_half(tmp_path: Path) -> None:
    path = product_file(tmp_path / "model.onnx", "MatMul", 64, 8)

    def change(graph: onnx.GraphProto) -> None:
        large = np.full((64, 8), 1e5, np.float32)
        graph.initializer[0].CopyFrom(numpy_helper.from_array(large, "B"))

    changed(path, change)
    message = "^MatMul score, weights B: expected at most 65504, the largest float16, got 1e.05"
    refused(path, message, WeightsError, quantize=None, dtype="float16")


def test_nothing_to_quantize(tmp_path: Path) -> None:
    path = product_file(tmp_path / "model.onnx", "MatMul", 3, 4)
    refused(path, r"model.onnx: found nothing to quantize: no RNN, LSTM, GRU, MatMul, Gemm, Conv ")


def test_weights_that_are_filled(tmp_path: Path) -> None:
    """Written out, they would make the file grow."""
    path = product_file(tmp_path / "model.onnx", "MatMul", 64, 64)

    def change(graph: onnx.GraphProto) -> None:
        graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([64, 64]), "shape"))
        graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["B"]))

    changed(path, change)
    refused(path, r"model.onnx: found nothing to quantize: ")


def test_an_opset_before_all(tmp_path: Path) -> None:
    path = product_file(tmp_path / "model.onnx", "MatMul", 64, 64)
    model = onnx.load(path)
    model.opset_import[0].version = 6
    onnx.save(model, path)
    refused(path, "model.onnx: expected opset 7 or later, got 6: convert it with onnx.version_conv")


def test_everything_is_kept(lstm: Path) -> None:
    refused(lstm, "model.onnx: found nothing to quantize: ", keep_float32=["rnn"])


@pytest.mark.parametrize(
    ("op", "options", "reason"),
    [
        ("LSTM", {"clip": 1.0}, "it clips at 1"),
        ("GRU", {}, r"it resets before the recurrent product \(linear_before_reset=0\)"),
        (
            "RNN",
            {"opset": 14},
            "the file has opset 14, and what computes in int8 needs 17 .opset=17 converts it.",
        ),
    ],
)
def test_int8_everywhere(op: str, options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", op, **options)
    message = f"^quantize='int8:all': {op} rnn cannot compute in int8, since {reason}: quantize='i"
    refused(path, message, quantize="int8:all")


def test_int8_everywhere_inside_an_if(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(nn.RNN(3, 16), path)
    message = "^quantize='int8:all': RNN l0/few/RNN cannot compute in int8, since it is inside a c"
    refused(path, message, quantize="int8:all")


def test_int8_everywhere_of_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(nn.RNN(3, 16), path, lowering="scan")
    message = (
        "^quantize='int8:all': Scan l0/Scan cannot compute in int8, since it is not an RNN, LSTM"
    )
    refused(path, message, quantize="int8:all")


def test_int8_everywhere_of_a_scan_with_weights_around_it(tmp_path: Path) -> None:
    path = scan_file(tmp_path / "model.onnx", 64)
    message = (
        "^quantize='int8:all': Scan Scan of h_n cannot compute in int8, since it is not an RNN, "
    )
    refused(path, message, quantize="int8:all")


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "no.onnx", "no.onnx: expected an ONNX file, found no such file$")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not at all"])
def test_another_kind_of_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, "model.onnx: expected an ONNX model")


def test_a_file_cut_short(lstm: Path) -> None:
    lstm.write_bytes(lstm.read_bytes()[:-200])
    refused(lstm, "model.onnx: expected an ONNX model: the file is of another kind, damaged, cut s")


def test_a_file_too_large(lstm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 1_000)
    refused(lstm, "model.onnx: expected at most 1,000 bytes, including its weights, got ")


def test_external_data_that_is_not_there(lstm: Path) -> None:
    onnx.save(onnx.load(lstm), lstm, save_as_external_data=True, location="gone", size_threshold=0)
    (lstm.parent / "gone").unlink()
    refused(lstm, "model.onnx: cannot be read: ")


def test_folder_that_is_not_there(lstm: Path) -> None:
    with pytest.raises(WriteError, match="expected an existing folder, found no folder"):
        quantize(lstm, lstm.parent / "no" / "small.onnx")
