"""Layers that make more error than is allowed stay in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Done
from torch import Tensor, nn

from rnnedge import export, export_within, validate
from rnnedge.errors import ExportError, InputError


class Two(nn.Module):
    """A second layer that makes a large error, and costs few bytes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.GRU(8, 32), nn.Linear(32, 16)
        with torch.no_grad():
            self.head.weight *= 30

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


EXAMPLE = (torch.zeros(5, 1, 8),)
INT8: dict[str, Any] = {"quantize": "int8", "example_inputs": EXAMPLE}


def _data() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((20, 3, 8)).astype(np.float32)}


def _error(path: Path, module: nn.Module) -> float:
    report = validate(path, against=module, isolated=False, quick=True, calibrate=_data())
    assert report, report
    return max(cost.max_abs for cost in report.calibration)


def test_worst_for_its_bytes_is_kept(tmp_path: Path) -> None:
    module, path = Two(), tmp_path / "m.onnx"
    export(module, path, calibrate=_data(), **INT8)
    before = _error(path, module)
    export(module, path, keep_float32=["head.weight"], calibrate=_data(), **INT8)
    limit = (before + _error(path, module)) / 2
    result = export_within(module, path, max_error=limit, calibrate=_data(), **INT8)
    done = {layer.name: layer.done for layer in result.quantization}
    assert done == {"rnn": "stored in int8", "head.weight": "kept in float32"}
    assert _error(path, module) <= limit < before
    reason = result.quantization[1].reason
    assert reason.startswith("alone it makes an error of ")
    assert reason.endswith(" and saves 1,472 bytes")
    assert result.notes[-1].endswith(f"on the calibration data, at most {limit:g} allowed")


def test_nothing_is_kept_that_need_not_be(tmp_path: Path) -> None:
    module = Two()
    result = export_within(module, tmp_path / "m.onnx", max_error=10, **INT8)
    whole = export(module, tmp_path / "n.onnx", **INT8)
    assert result.path.read_bytes() == whole.path.read_bytes()
    assert "on random input with a fixed seed, at most 10 allowed" in result.notes[-1]


def test_same_twice(tmp_path: Path) -> None:
    layer = nn.RNN(3, 8)
    options: dict[str, Any] = {"max_error": 1e-3, "quantize": "int8:all"}
    one = export_within(layer, tmp_path / "a.onnx", **options)
    other = export_within(layer, tmp_path / "b.onnx", **options)
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.notes == other.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_error": 0, "quantize": "int8"}, r"^max_error: expected above 0, got 0$"),
        ({"max_error": 0.1}, r"^max_error: requires quantize='int8' or dtype='float16'$"),
        (
            {"max_error": 1e-12, "quantize": "int8"},
            r"^max_error=1e-12: float32 itself is off by .* here, with all 1 layers kept in it$",
        ),
    ],
)
def test_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_within(nn.GRU(3, 4), tmp_path / "m.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^calibration data: expected input float32\[time, "):
        export_within(
            nn.GRU(3, 4),
            tmp_path / "m.onnx",
            max_error=1,
            quantize="int8",
            calibrate={"input": np.ones((4, 1, 5), np.float32)},
        )


def test_command(rnn: Callable[..., Done]) -> None:
    gru = ("--cell", "gru", "--input-size", "3", "--hidden-size", "16")
    done = rnn("export", *gru, "--quantize", "int8", "-o", "m.onnx", "--max-error", "1e-4")
    assert done.code == 0
    assert "kept in float32: alone it makes an error of " in done.out
    assert "note: off by " in done.out
    done = rnn("export", *gru, "-o", "m.onnx", "--max-error", "1e-4")
    assert done.code == 1
    assert done.err == "rnnedge: max_error: requires quantize='int8' or dtype='float16'\n"
