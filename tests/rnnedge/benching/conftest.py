"""What the tests of measuring share: a tiny layer, its model, and one command at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge import Source
from rnnedge.benching import machine
from rnnedge.cli import main


@dataclass(frozen=True)
class Done:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.fixture
def rnn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """A function that runs one command in the folder of the model, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capsys.readouterr()
        return Done(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session", autouse=True)
def _small_peak() -> Iterator[None]:
    """Measure the peak of the machine with a small product: no test is about how large it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_PEAK_SIZES", (32,))
        patch.setattr(machine, "_PEAK_SECONDS", 0.0)
        yield


@pytest.fixture
def layer() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(3, 4)


@pytest.fixture
def model(tmp_path: Path, layer: nn.GRU) -> Path:
    """The layer, exported; its weights are in `w.pt` beside it."""
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    rnnedge.export(layer, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def source(layer: nn.GRU) -> Source:
    return Source(layer, "gru(3->4)")
