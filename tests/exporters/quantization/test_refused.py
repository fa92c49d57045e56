"""What cannot be written in fewer bits, and the one line that says so."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from rnnedge_exporters import ExportError, WeightsError, export


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int16"}, "^quantize: expected None, 'int8' or 'int8:all', got 'int16'$"),
        ({"quantize": True}, "^quantize: expected None, 'int8' or 'int8:all', got True$"),
        ({"quantize": "int4"}, "^quantize: expected .*, got 'int4': 4 bits make five to ten times"),
        ({"dtype": "bfloat16"}, "^dtype: expected 'float32' or 'float16', got 'bfloat16'$"),
        ({"dtype": torch.float16}, "^dtype: expected .*, got torch.float16$"),
        (
            {"dtype": "float16", "quantize": "int8"},
            "^dtype='float16': requires quantize=None, got 'int8': int8 is the smaller one$",
        ),
        (
            {"quantize": "int8:all", "lowering": "scan"},
            "^lowering='scan': computes in float32, and quantize='int8:all' in int8: leave one",
        ),
        (
            {"lowering": "scan_nbits"},
            "^lowering='scan_nbits': computes in int8 on a CPU, and requires quantize='int8' and",
        ),
        (
            {"quantize": "int8", "lowering": "scan_int8", "target": "cuda"},
            "^lowering='scan_int8': computes in int8 on a CPU, and requires quantize='int8' and",
        ),
        (
            {"quantize": "int8", "lowering": "operator_int8"},
            "^lowering 'operator_int8': the layer is not an LSTM, or has a projection or",
        ),
        (
            {"quantize": "int8:all", "target": "cuda"},
            "^quantize='int8:all': the CUDA provider has no recurrent layer in int8: quantize='int",
        ),
    ],
)
def test_option(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export(nn.GRU(3, 4), tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_without_a_number(value: float, tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4)
    with torch.no_grad():
        layer.weight_hh_l0[2, :2] = value
    with pytest.raises(
        WeightsError,
        match=r"^weight_hh_l0: expected finite numbers to quantize, got 2 of 64 that are NaN",
    ):
        export(layer, tmp_path / "model.onnx", quantize="int8")


def test_weights_without_a_number_inside_a_module(tmp_path: Path) -> None:
    module = nn.ModuleDict({"rnn": nn.GRU(3, 4), "head": nn.Linear(4, 2)})
    with torch.no_grad():
        module["head"].weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"^head.weight: expected finite numbers to quantize"):
        export(module, tmp_path / "model.onnx", quantize="int8")


def test_weights_that_half_cannot_hold(tmp_path: Path) -> None:
    layer = nn.GRU(3, 4)
    with torch.no_grad():
        layer.weight_ih_l0[0, 0] = -7e4
    with pytest.raises(
        WeightsError,
        match=r"^weight_ih_l0: expected at most 65504, the largest float16, got 7e",
    ):
        export(layer, tmp_path / "model.onnx", dtype="float16")


def test_what_is_quantized_already(tmp_path: Path) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that torchao will follow
        quantized = torch.ao.quantization.quantize_dynamic(Tagger(), {nn.LSTM})
    with pytest.raises(
        WeightsError,
        match=r"^rnn: expected float weights, got LSTM, which is quantized already: export the flo",
    ):
        export(
            quantized,
            tmp_path / "model.onnx",
            example_inputs=(torch.zeros(5, 2, 3),),
            quantize="int8",
        )
