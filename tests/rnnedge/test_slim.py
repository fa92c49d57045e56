"""`rnnedge slim`: the ORT-format file gives what the model gives, and the list is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import helper, numpy_helper
from torch import nn

import rnnedge
from rnnedge.cli import commands
from rnnedge.errors import UnequalError
from rnnedge.slim import CONFIG, write_slim
from rnnedge_runtime import Session
from rnnedge_runtime.errors import EngineError, ModelError, WriteError
from rnnedge_runtime.latency import random_inputs

MODELS: dict[str, tuple[nn.Module, dict[str, Any]]] = {
    "lstm": (nn.LSTM(3, 4), {"lengths": True}),
    "rnn": (nn.RNN(3, 4), {}),
    "projected": (nn.LSTM(3, 4, proj_size=2, bidirectional=True), {}),
    "int8": (nn.GRU(3, 4, batch_first=True), {"quantize": "int8:all"}),
}
INSIDE = {"projected": {"Scan", "MatMul", "Tanh"}, "int8": {"MatMulInteger"}, "rnn": {"If", "RNN"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, (layer, options) in MODELS.items():
        rnnedge.export(layer, folder / f"{name}.onnx", validate=False, **options)
    theirs = onnx.load(folder / "lstm.onnx")
    del theirs.metadata_props[:]
    onnx.save(theirs, folder / "theirs.onnx")
    return folder


@pytest.mark.parametrize("name", [*MODELS, "theirs"])
def test_the_file_gives_what_the_model_gives(name: str, folder: Path, tmp_path: Path) -> None:
    written = write_slim(folder / f"{name}.onnx", tmp_path / "slim")
    assert written.difference <= 1e-6
    there = {path.name for path in (tmp_path / "slim").iterdir()}
    assert there == {f"{name}.ort", CONFIG}
    assert written.bytes_after == (tmp_path / "slim" / f"{name}.ort").stat().st_size
    names = {operator.rpartition(":")[2] for operator in written.operators}
    assert INSIDE.get(name, {"LSTM"}) <= names
    assert all(re.fullmatch(r"[\w.]+:\d+:\w+", operator) for operator in written.operators)


def test_the_runtime_streams_it(folder: Path, tmp_path: Path) -> None:
    write_slim(folder / "int8.onnx", tmp_path / "slim")
    before = Session(folder / "int8.onnx", engine="onnxruntime")
    after = Session(tmp_path / "slim" / "int8.ort", engine="onnxruntime")
    assert after.contract == before.contract
    streams = before.stream(), after.stream()
    for step in range(3):
        frame = random_inputs(before, 1, 1, step)["input"][:, 0]
        expected, got = (stream.step(frame) for stream in streams)
        np.testing.assert_array_equal(got, expected)


def test_the_list_has_no_path_and_every_type(folder: Path, tmp_path: Path) -> None:
    write_slim(folder / "int8.onnx", tmp_path / "slim")
    text = (tmp_path / "slim" / CONFIG).read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert 'Sigmoid{"inputs": {"0": ["float"]}}' in text


def test_another_answer_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of another model of the same shape comes out of the conversion."""
    torch.manual_seed(1)
    rnnedge.export(nn.LSTM(3, 4), tmp_path / "other.onnx", lengths=True, validate=False)
    convert = rnnedge.slim._convert
    monkeypatch.setattr(
        "rnnedge.slim._convert", lambda model, made: convert(tmp_path / "other.onnx", made)
    )
    with pytest.raises(UnequalError, match=r"differs by .*; nothing was written"):
        write_slim(folder / "lstm.onnx", tmp_path / "slim")
    assert not (tmp_path / "slim").exists()


def test_a_folder_with_other_files_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"found notes\.txt in it: give another folder \(-o\)"):
        write_slim(folder / "lstm.onnx", tmp_path)
    with pytest.raises(WriteError, match="which is read here"):
        write_slim(folder / "lstm.onnx", folder)


def test_a_link_to_nothing_is_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "slim").symlink_to("nowhere")
    write_slim(folder / "rnn.onnx", tmp_path / "slim")
    assert (tmp_path / "slim" / "rnn.ort").exists()
    assert not (tmp_path / "nowhere").exists()


def test_a_model_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    value = lambda name: helper.make_tensor_value_info(name, 1, ["time", "batch", 7])  # noqa: E731
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=4)
    weights = [
        numpy_helper.from_array(np.ones((1, 12, width), np.float32), name)
        for name, width in (("w", 3), ("r", 4))
    ]
    y = helper.make_tensor_value_info("y", 1, ["time", 1, "batch", 4])
    graph = helper.make_graph([node], "g", [value("x")], [y], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "wide.onnx",
    )
    with pytest.raises(EngineError, match="the model cannot be run: "):
        write_slim(tmp_path / "wide.onnx", tmp_path / "slim")
    assert not (tmp_path / "slim").exists()


def test_what_it_wrote_is_replaced(folder: Path, tmp_path: Path) -> None:
    write_slim(folder / "lstm.onnx", tmp_path / "slim")
    write_slim(folder / "rnn.onnx", tmp_path / "slim")
    assert not (tmp_path / "slim" / "lstm.ort").exists()


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        write_slim(tmp_path / "none.onnx", tmp_path / "slim")


def test_the_command_tells_sizes(folder: Path, tmp_path: Path) -> None:
    model = str(folder / "lstm.onnx")
    done = CliRunner().invoke(commands, ["slim", model, "-o", str(tmp_path / "slim")])
    assert done.exit_code == 0, done.output
    assert f"{Path(model).stat().st_size:,} bytes" in done.output
    assert "operators that the ONNX" in done.output
