"""Files on an NVIDIA GPU against PyTorch; skipped where onnxruntime has no CUDA provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from rnnedge import RNNSpec, build, export, validate
from rnnedge_runtime import Session

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="this onnxruntime has no CUDAExecutionProvider",
    ),
]
LAYERS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm", "bidirectional": True},
    "gru": {"cell": "gru", "num_layers": 2},
    "proj": {"cell": "lstm", "proj_size": 6},
}
WRITTEN: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16": {"dtype": "float16"},
    "int8": {"quantize": "int8"},
}


class Tagger(nn.Module):
    """Letters in, scores out, through a convolution and both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.conv = nn.Conv1d(8, 12, 3, padding=1)
        self.rnn = nn.GRU(12, 16, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(32, 5)

    def forward(self, letters: Tensor) -> Tensor:
        x = self.conv(self.embedding(letters).transpose(1, 2)).transpose(1, 2).relu()
        return self.scores(self.rnn(x)[0])


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_a_layer(
    options: dict[str, Any], written: dict[str, Any], lengths: bool, tmp_path: Path
) -> None:
    layer = build(RNNSpec(input_size=10, hidden_size=12, **options), seed=0)
    path = tmp_path / "model.onnx"
    export(layer, path, target="cuda", lengths=lengths, **written)
    report = validate(path, against=layer, device="cuda", quick=True)
    assert report, report


@pytest.mark.parametrize("target", ["cpu", "portable"])
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_a_layer_that_was_exported_for_another_target(
    options: dict[str, Any], target: str, tmp_path: Path
) -> None:
    if target == "portable" and "proj_size" in options:
        pytest.skip("the operator has no projection")
    layer = build(RNNSpec(input_size=10, hidden_size=12, **options), seed=0)
    path = tmp_path / "model.onnx"
    export(layer, path, target=target)  # type: ignore[arg-type]
    report = validate(path, against=layer, device="cuda", quick=True)
    assert report, report


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_module(written: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Tagger().eval(), tmp_path / "model.onnx"
    letters = torch.randint(0, 20, (3, 11))
    export(module, path, example_inputs=(letters,), target="cuda", **written)
    report = validate(path, against=module, device="cuda", quick=True)
    assert report, report


@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_the_target_cuda_leaves_no_recurrence_to_the_cpu(
    options: dict[str, Any], tmp_path: Path
) -> None:
    layer = build(RNNSpec(input_size=10, hidden_size=12, **options), seed=0)
    path = tmp_path / "model.onnx"
    export(layer, path, target="cuda")
    info = Session(path, device="cuda").info
    assert not {"RNN", "LSTM", "GRU", "Scan"} & {node.operator for node in info.fell_back}
