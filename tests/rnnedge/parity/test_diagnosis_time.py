"""A validation that fails takes no longer than it may, on one thread, and says what it left out."""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import rnnedge
from rnnedge.cli import main
from rnnedge.errors import OptionError


class _Counting(nn.Module):
    """A module that notes on how many threads it runs."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, width, batch_first=True)
        self.seen: list[int] = []

    def __deepcopy__(self, memo: dict[int, object]) -> _Counting:
        return self  # all copies note in one place

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(torch.get_num_threads())
        output: Tensor = self.rnn(x)[0]
        return output


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.LSTM, Path]:
    """A layer, and its file with one number of a weight changed."""
    torch.manual_seed(0)
    layer = nn.LSTM(4, 6, num_layers=2, bidirectional=True)
    path = tmp_path_factory.mktemp("broken") / "model.onnx"
    rnnedge.export(layer, path, validate=False)
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if len(t.dims) == 3)
    values = numpy_helper.to_array(weight).copy()
    values[0, 3, 1] += 0.1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    return layer, path


def test_without_time_the_report_says_what_was_not_searched(broken: tuple[nn.LSTM, Path]) -> None:
    layer, path = broken
    report = rnnedge.validate(path, against=layer, quick=True, diagnosis_time=0)
    assert not report
    assert report.diagnosis is not None
    text = str(report.diagnosis)
    assert "not finished" in text
    assert "of its parts left out" in text
    assert "0 known mistakes tried" in text


def test_with_time_nothing_is_left_undone(broken: tuple[nn.LSTM, Path]) -> None:
    layer, path = broken
    began = time.process_time()
    report = rnnedge.validate(path, against=layer, quick=True)
    assert report.diagnosis is not None
    assert report.diagnosis.unfinished == ()
    assert report.diagnosis.cause == "other weights"
    assert time.process_time() - began < 20  # 1 s; processor time, so that a busy machine passes


def test_the_command_takes_the_time(
    broken: tuple[nn.LSTM, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, path = broken
    weights = tmp_path / "weights.pt"
    torch.save(layer.state_dict(), weights)
    options = ["--against", str(weights), "--quick", "--diagnosis-time", "0"]
    with pytest.raises(SystemExit) as stopped:
        main(["validate", str(path), *options])
    assert stopped.value.code == 3
    assert "not finished" in capsys.readouterr().out


def test_two_files_have_nothing_to_search(broken: tuple[nn.LSTM, Path]) -> None:
    _, path = broken
    with pytest.raises(OptionError, match="diagnosis_time: requires a PyTorch source"):
        rnnedge.validate(path, against=path, diagnosis_time=3.0)


def test_a_small_module_runs_on_one_thread_and_the_callers_threads_come_back(
    tmp_path: Path,
) -> None:
    module = _Counting()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        path = tmp_path / "model.onnx"
        rnnedge.export(module, path, example_inputs=(torch.zeros(2, 5, 4),))
        rnnedge.validate(path, against=module, quick=True)
        assert set(module.seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
