"""Which layers compute in int8, and that the contract says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from rnnedge_exporters import export


@pytest.mark.parametrize(
    ("layer", "options", "expected"),
    [
        (nn.RNN(2, 511), {}, "scan"),
        (nn.RNN(2, 512), {}, "scan_int8"),
        (nn.GRU(2, 383), {}, "operator"),
        (nn.GRU(2, 384), {}, "scan_int8"),
        (nn.LSTM(2, 255), {}, "operator"),
        (nn.LSTM(2, 256), {}, "operator_int8"),
        (nn.LSTM(2, 512), {}, "operator_int8"),
        (nn.LSTM(2, 512), {"lowering": "scan_nbits"}, "scan_nbits"),
        (nn.LSTM(2, 256), {"lengths": True}, "operator"),
        (nn.LSTM(2, 384), {"lengths": True}, "scan_int8"),
        (nn.LSTM(2, 384), {"target": "portable"}, "scan_int8"),
        (nn.LSTM(2, 384), {"target": "cuda"}, "operator"),
        (nn.LSTM(2, 512, proj_size=128), {}, "scan"),
        (nn.LSTM(2, 512, proj_size=256), {}, "scan_int8"),
        (nn.LSTM(2, 512), {"lowering": "operator"}, "operator"),
        (nn.LSTM(2, 4), {"quantize": "int8:all"}, "operator_int8"),
        (nn.LSTM(2, 4), {"quantize": "int8:all", "lengths": True}, "scan_int8"),
        (nn.LSTM(2, 4, proj_size=2), {"quantize": "int8:all"}, "scan_int8"),
        (nn.RNN(2, 4), {"quantize": "int8:all"}, "scan_int8"),
        (nn.GRU(2, 4), {"quantize": "int8:all"}, "scan_int8"),
    ],
    ids=str,
)
def test_form(layer: nn.RNNBase, options: dict, expected: str, tmp_path: Path) -> None:
    result = export(layer, tmp_path / "model.onnx", **{"quantize": "int8"} | options)
    (info,), (report,) = result.contract.layers, result.quantization
    assert info.lowering == expected
    assert report.reason == info.reason != ""
    assert report.done == ("computes" if "_" in expected else "stored") + " in int8"
    assert report.bytes_after < report.bytes_before
    assert 0 < report.weight_error < 0.01
    assert 0 < report.output_error < 0.1


def test_reason_says_what_was_measured(tmp_path: Path) -> None:
    wide = export(nn.GRU(2, 384), tmp_path / "model.onnx", quantize="int8")
    reason = wide.contract.layers[0].reason
    assert reason.startswith("from width 384 on, int8 is 1.4 to 1.8 times as fast")
    narrow = export(nn.GRU(2, 64), tmp_path / "model.onnx", quantize="int8")
    assert narrow.contract.layers[0].reason.endswith(
        "; below width 384, int8 makes the cell no faster"
    )


def test_contract_says_it(tmp_path: Path) -> None:
    contract = export(nn.GRU(2, 3), tmp_path / "model.onnx", quantize="int8:all").contract
    assert (contract.quantization, contract.dtype) == ("int8:all", "float32")
    contract = export(nn.GRU(2, 3), tmp_path / "model.onnx", dtype="float16").contract
    assert (contract.quantization, contract.dtype) == (None, "float16")


def test_float32_reports_nothing(tmp_path: Path) -> None:
    assert export(nn.GRU(2, 3), tmp_path / "model.onnx").quantization == ()
