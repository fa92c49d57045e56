"""A model is run in the other runtime that it is meant for, where that is installed."""

from __future__ import annotations

from pathlib import Path

import handmade
import pytest
from torch import nn

import rnnedge
from rnnedge.doctor import Finding, examine
from rnnedge_exporters.sandbox.other_runtimes import RUNNABLE, Installed

LAYERS = {
    "rnn": nn.RNN(3, 4),
    "relu": nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": nn.LSTM(3, 4, bidirectional=True),
    "gru": nn.GRU(3, 4),
}


def _installed(runtime: str) -> pytest.MarkDecorator:
    missing = RUNNABLE[runtime].version() is None
    return pytest.mark.skipif(missing, reason=f"{runtime} is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the operator of each layer, without lengths and with."""
    folder = tmp_path_factory.mktemp("layers")
    for name, layer in LAYERS.items():
        for lengths in (False, True):
            path = folder / f"{name}{'_lengths' * lengths}.onnx"
            rnnedge.export(layer, path, lengths=lengths, lowering="operator", validate=False)
    return folder


def _found(path: Path, runtime: str) -> list[Finding]:
    return [f for f in examine(path, runtimes=[runtime]).runtimes if f.where == runtime]


RIGHT = [
    pytest.param(name, runtime, marks=_installed(runtime))
    for runtime, names in {
        "onnx.reference": ("rnn", "lstm", "gru"),
        "openvino": ("rnn", "relu", "lstm", "gru"),
        "tract": ("rnn", "lstm", "gru"),
        "ncnn": ("rnn", "lstm", "gru"),
        "onnxruntime-node": ("relu", "lstm", "relu_lengths", "lstm_lengths"),
    }.items()
    for name in names
]


@pytest.mark.parametrize(("name", "runtime"), RIGHT)
def test_right(name: str, runtime: str, files: Path) -> None:
    (finding,) = _found(files / f"{name}.onnx", runtime)
    assert (finding.severity, finding.basis) == ("note", "run here")
    assert "answers as ONNX Runtime in" in finding.problem


WRONG = [
    pytest.param(name, runtime, marks=_installed(runtime))
    for runtime, names in {
        "onnx.reference": ("rnn_lengths", "lstm_lengths", "gru_lengths"),
        "openvino": ("rnn_lengths", "relu_lengths", "lstm_lengths", "gru_lengths"),
        "tract": ("relu",),
        "ncnn": ("relu",),
    }.items()
    for name in names
]


@pytest.mark.parametrize(("name", "runtime"), WRONG)
def test_wrong_by_how_much_and_documented(name: str, runtime: str, files: Path) -> None:
    """What the doctor says without a run is what a run shows."""
    path = files / f"{name}.onnx"
    ran = _found(path, runtime)[0]
    assert (ran.severity, ran.basis) == ("error", "run here")
    assert "answers wrongly in" in ran.problem
    assert " off by " in ran.problem
    rules = [f for f in examine(path).runtimes if f.where == runtime]
    assert {rule.basis for rule in rules} == {"documented only"}
    assert any("silently wrong" in rule.problem for rule in rules)


REFUSED = [
    pytest.param(name, runtime, marks=_installed(runtime))
    for runtime, names in {
        "onnx.reference": ("relu",),
        "tract": ("rnn_lengths", "lstm_lengths", "gru_lengths"),
        "ncnn": ("lstm_lengths",),
    }.items()
    for name in names
]


@pytest.mark.parametrize(("name", "runtime"), REFUSED)
def test_refused_in_its_own_words_and_documented(name: str, runtime: str, files: Path) -> None:
    path = files / f"{name}.onnx"
    (ran,) = _found(path, runtime)
    assert (ran.severity, ran.basis) == ("error", "run here")
    assert "refuses" in ran.problem
    assert [f.basis for f in examine(path).runtimes if f.where == runtime]


def test_a_runtime_that_is_not_installed(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"openvino": Installed(lambda: None, "pip install openvino")}
    monkeypatch.setattr("rnnedge.doctor.running.elsewhere.RUNNABLE", missing)
    *rules, said = _found(files / "lstm_lengths.onnx", "openvino")
    assert said.problem == "not installed here, so not run"
    assert said.remedy.startswith("pip install openvino")
    assert [rule.basis for rule in rules] == ["documented only"]
    assert [rule.severity for rule in rules] == ["error"]


def test_a_model_that_onnx_runtime_does_not_run(tmp_path: Path) -> None:
    path = handmade.save(handmade.plain("LSTM", layout=1), tmp_path)
    (finding,) = _found(path, "onnx.reference")
    assert "not run" in finding.problem


def test_a_model_for_the_cpu_alone(tmp_path: Path) -> None:
    """DynamicQuantizeLSTM is ONNX Runtime's own, and its other providers have no kernel."""
    path = tmp_path / "int8.onnx"
    rnnedge.export(nn.LSTM(32, 64), path, quantize="int8:all", lowering="operator_int8")
    told = {f.where: f.problem for f in examine(path).runtimes if "DynamicQuantize" in f.problem}
    assert {"cuda", "webgpu", "webnn", "coreml", "nnapi", "openvino", "onnx.reference"} <= set(told)
    assert "falls back to it" in told["cuda"]
