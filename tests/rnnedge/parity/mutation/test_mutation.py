"""A sweep notices every change of every weight, in each form that a layer takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from commands import Done
from onnx import numpy_helper
from torch import Tensor, nn

import rnnedge
from rnnedge import export, validate


class Tagger(nn.Module):
    """Words and their features to scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.project = nn.Embedding(12, 6), nn.Linear(3, 6)
        self.gru, self.head = nn.GRU(6, 6), nn.Linear(6, 4)

    def forward(self, words: Tensor, features: Tensor) -> Tensor:
        x = self.embed(words) + self.project(features)
        y: Tensor = self.head(self.gru(x)[0]).log_softmax(-1)
        return y


EXAMPLE = (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 2, 3))
KINDS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    f"{layer.__name__}, {name}": (lambda layer=layer: layer(4, 5), options)
    for layer in (nn.RNN, nn.LSTM, nn.GRU)
    for name, options in {
        "operator": {"lowering": "operator"},
        "scan": {"lowering": "scan"},
        "int8": {"quantize": "int8"},
        "int8:all": {"quantize": "int8:all"},
        "float16": {"dtype": "float16"},
        "cuda float16": {"dtype": "float16", "target": "cuda"},
    }.items()
} | {
    f"module, {name}": (Tagger, {"example_inputs": EXAMPLE, **options})
    for name, options in {
        "float32": {},
        "int8": {"quantize": "int8"},
        "int8:all": {"quantize": "int8:all"},
        "float16": {"dtype": "float16"},
    }.items()
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_noticed(kind: str, tmp_path: Path) -> None:
    make, options = KINDS[kind]
    torch.manual_seed(0)
    module, path = make(), tmp_path / "model.onnx"
    export(module, path, validate=False, **options)
    report = validate(path, against=module, isolated=False, quick=True, mutate=True)
    assert report.mutation is not None, report
    assert report.mutation.tensors >= 3
    assert report.mutation.unnoticed == ()
    assert report.word == "PASS"


@pytest.mark.parametrize("quantize", [False, True])
def test_all_is_noticed_beside_a_file(quantize: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    export(nn.LSTM(8, 8, bidirectional=True), tmp_path / "a.onnx", validate=False)
    export(nn.LSTM(8, 8), tmp_path / "b.onnx", lowering="scan", validate=False)
    if quantize:
        rnnedge.quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", force=True)
    against = tmp_path / ("a.onnx" if quantize else "b.onnx")
    report = validate(tmp_path / "b.onnx", against=against, quick=True, mutate=True)
    assert report.mutation is not None, report
    assert report.mutation.unnoticed == ()
    assert report.mutation.disturbed > report.mutation.tensors > 2


# --- what is not noticed --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A file with a weight that no output depends on."""
    torch.manual_seed(0)
    layer, path = nn.GRU(3, 4), tmp_path_factory.mktemp("idle") / "idle.onnx"
    export(layer, path, validate=False)
    model = onnx.load(path)
    spare = numpy_helper.from_array(torch.ones(3).numpy(), "spare")
    model.graph.initializer.append(spare)
    model.graph.node.append(onnx.helper.make_node("Identity", ["spare"], ["unused"]))
    onnx.save(model, path)
    return path, layer


def test_what_does_not_matter_is_named(idle: tuple[Path, nn.Module]) -> None:
    path, layer = idle
    report = validate(path, against=layer, isolated=False, quick=True, mutate=True)
    assert report
    assert report.mutation is not None
    assert report.mutation.unnoticed == ("spare", "spare[1]")
    assert report.word == "PASS IN PART"
    assert report.verdict.endswith("; not covered: a change of spare goes unnoticed and 1 more")
    assert report.to_dict()["mutation"]["unnoticed"] == ("spare", "spare[1]")
    assert "not noticed: spare" in str(report)


def test_strict_coverage(idle: tuple[Path, nn.Module]) -> None:
    path, layer = idle
    options: dict[str, Any] = {"isolated": False, "quick": True, "strict_coverage": True}
    assert validate(path, against=layer, **options)
    assert not validate(path, against=layer, mutate=True, **options)


def test_a_wrong_file_is_not_mutated(idle: tuple[Path, nn.Module]) -> None:
    report = validate(idle[0], against=nn.GRU(3, 4), isolated=False, quick=True, mutate=True)
    assert not report
    assert report.mutation is None


def test_command(rnn: Callable[..., Done], idle: tuple[Path, nn.Module]) -> None:
    path, layer = idle
    torch.save(layer.state_dict(), "weights.pt")
    done = rnn("validate", str(path), "--against", "weights.pt", "--quick", "--mutate")
    assert done.code == 0
    assert "mutation: 6 of 8 changes of 4 weight tensors were noticed" in done.out
    assert "not noticed: spare" in done.out
