"""Ways of writing a module that have a trap in them: exported right, or refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnnedge
from rnnedge_exporters.sandbox.session import Worker

X = torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(2))


class StateInBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)
        self.register_buffer("h", torch.zeros(1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        output, h = self.rnn(x, self.h)
        self.h.copy_(h)
        return output


class StateDetached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5)
        self.h = self.c = torch.zeros(1, 1, 5)

    def forward(self, x: Tensor) -> Tensor:
        output, (self.h, self.c) = self.rnn(x, (self.h.detach(), self.c.detach()))
        return output


class DictionaryIn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.rnn(batch["x"] * batch["gain"])[0]


class ChangedInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, 0] = 0
        x[-1] += 1
        return self.rnn(x)[0]


class OnlySingle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.half().float())[0]


class Hooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)
        self.rnn.register_forward_hook(lambda _module, _inputs, result: (result[0] * 2, result[1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


@pytest.mark.parametrize(
    ("module", "example", "note"),
    [
        (StateInBuffer(), (X,), "the batch is fixed to 1"),
        (StateDetached(), (X,), "the batch is fixed to 1"),
        (DictionaryIn(), ({"x": X, "gain": X},), ""),
        (ChangedInPlace(), (X,), "the last step is changed in place"),
        (OnlySingle(), (X,), ""),
        (Hooked(), (X,), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_exported_right(
    module: nn.Module, example: Any, note: str, tmp_path: Path, worker: Worker
) -> None:
    result = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
    report = rnnedge.validate(tmp_path / "m.onnx", against=module, worker=worker)
    assert report, report
    assert any(note in given for given in result.notes) or not note


def test_report_says_when_the_reference_is_single(tmp_path: Path, worker: Worker) -> None:
    module = OnlySingle()
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    report = rnnedge.validate(tmp_path / "m.onnx", against=module, worker=worker)
    assert "the reference is PyTorch float32: the module refuses float64" in report.notes


def test_weight_norm_by_hooks(tmp_path: Path, worker: Worker) -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        module = nn.Sequential(torch.nn.utils.weight_norm(nn.GRU(4, 5), "weight_hh_l0"))
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    assert rnnedge.validate(tmp_path / "m.onnx", against=module, worker=worker)


class ListOfLengths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(pack_padded_sequence(x, torch.tensor([6, 4, 2])))[1]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            ListOfLengths(),
            r"axis 1 of x \(batch\) would be fixed to 3 by line \d+ of test_kinds.py",
        ),
    ],
    ids=["constant lengths"],
)
def test_refused(module: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X.expand(6, 3, 4),))
    assert not list(tmp_path.iterdir())
