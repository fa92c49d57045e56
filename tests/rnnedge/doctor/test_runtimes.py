"""What other runtimes make of a model, as notes or, when it is meant for one, as more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import onnx
import pytest
from torch import nn

import rnnedge
from rnnedge import InputError
from rnnedge.cuda_fallbacks import cuda_fallbacks
from rnnedge.doctor import Examination, examine
from rnnedge.doctor.checks.runtimes import RUNTIMES

Examined = Callable[..., Examination]


def _told(diagnosis: Examination, runtime: str) -> list[tuple[str, str]]:
    return [(f.severity, f.problem) for f in diagnosis.runtimes if f.where == runtime]


CUDA = {
    "relu": (handmade.plain("RNN", activations=["Relu"]), True),
    "tanh": (handmade.plain("RNN"), False),
    "clip": (handmade.plain("LSTM", clip=1.0), True),
    "input_forget": (handmade.plain("LSTM", input_forget=1), True),
    "lstm": (handmade.plain("LSTM"), False),
    "gru": (handmade.plain("GRU"), True),
    "gru_of_torch": (handmade.plain("GRU", linear_before_reset=1), False),
    "hard_sigmoid": (handmade.plain("LSTM", activations=["HardSigmoid", "Tanh", "Tanh"]), True),
    "relu_gru": (
        handmade.plain("GRU", linear_before_reset=1, activations=["Sigmoid", "Relu"]),
        True,
    ),
    "other_case": (handmade.plain("LSTM", activations=["sigmoid", "tanh", "tanh"]), False),
    "input_forget_off": (handmade.plain("LSTM", input_forget=0), False),
}


@pytest.mark.parametrize(("model", "falls_back"), CUDA.values(), ids=CUDA)
def test_cuda(model: onnx.ModelProto, falls_back: bool, examined: Examined) -> None:
    """With the reasons that `inspect` gives."""
    told = [problem.partition(": ")[2] for _, problem in _told(examined(model), "cuda")]
    assert bool(told) is falls_back
    reasons = [fallback.reason for fallback in cuda_fallbacks(model.graph.node)]
    assert told == [f"falls back to the CPU: {reason}" for reason in reasons]


def test_runtimes_are_notes_unless_asked_for(examined: Examined) -> None:
    model = handmade.plain("GRU")
    assert {f.severity for f in examined(model).runtimes} == {"note"}
    asked = examined(model, runtimes=["cuda", "onnx2c"])
    assert {f.where: f.severity for f in asked.runtimes} == {"cuda": "warning", "onnx2c": "error"}
    assert not asked


def test_runtimes_are_not_counted_unless_asked_for(examined: Examined) -> None:
    model = handmade.plain("RNN", states=True)
    assert examined(model).verdict.endswith("nothing found")
    assert "1 error" in examined(model, runtimes=["onnx2c"]).verdict


def test_unknown_runtime(examined: Examined) -> None:
    with pytest.raises(InputError, match=r"^runtimes: expected some of cpu, cuda, .*got 'abacus'$"):
        examined(handmade.plain("RNN"), runtimes=["abacus"])


def test_time_limit_of_nothing(examined: Examined) -> None:
    with pytest.raises(InputError, match=r"^time_limit: expected above 0 seconds, got 0$"):
        examined(handmade.plain("RNN"), time_limit=0)


def test_lengths(tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4, bidirectional=True)
    rnnedge.export(layer, tmp_path / "model.onnx", lengths=True)
    told = {f.where: f.problem for f in examine(tmp_path / "model.onnx").runtimes}
    assert "silently wrong" in told["openvino"]
    assert "sequence_lens only as a constant" in told["tract"]
    assert {"webnn", "ncnn"} <= set(told)
    rnnedge.export(layer, tmp_path / "model.onnx")
    without = {f.where for f in examine(tmp_path / "model.onnx").runtimes}
    assert {"openvino", "tract", "ncnn", "webnn"}.isdisjoint(without)


def test_scan(tmp_path: Path) -> None:
    rnnedge.export(nn.LSTM(3, 4, proj_size=2), tmp_path / "model.onnx")
    told = {f.where: f.problem for f in examine(tmp_path / "model.onnx").runtimes}
    assert "no Scan or Loop" in told["webgpu"]
    assert "CUDA graphs" in told["cuda"]


def test_half(examined: Examined) -> None:
    model = handmade.plain("LSTM")
    for tensor in [*model.graph.initializer]:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), tensor.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert _told(examined(model), "cpu")[0][1].endswith("float16 runs through casts to float32")


def test_every_runtime_has_a_rule() -> None:
    assert list(RUNTIMES) == [
        *("cpu", "cuda", "webgpu", "webnn", "coreml", "nnapi", "openvino", "mnn"),
        *("onnx.reference", "tract", "emx-onnx-cgen", "onnx2c", "ncnn", "onnxruntime-node"),
        *("onnxruntime-web", "rnnedge-wasm", "rnnedge-native"),
    ]
