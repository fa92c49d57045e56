"""torch's table of translations, which is read once."""

import sys
import types
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter import _registration

import rnnedge
from rnnedge_exporters.modules import translations
from rnnedge_runtime import Session

REGISTRY = _registration.ONNXRegistry
MODULE = nn.Sequential(nn.GRU(3, 4))
X = torch.zeros(5, 2, 3)


def exported(path: Path) -> bytes:
    rnnedge.export(MODULE, path, example_inputs=(X,))
    return path.read_bytes()


def read_again(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("the table was read again")


def test_a_second_export_does_not_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = exported(tmp_path / "first.onnx")
    monkeypatch.setattr(REGISTRY, "from_torchlib", read_again)
    assert exported(tmp_path / "second.onnx") == first


def test_the_first_export_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translations, "_kept", {})
    monkeypatch.setattr(REGISTRY, "from_torchlib", read_again)
    with pytest.raises(rnnedge.ExportError, match="the table was read again"):
        exported(tmp_path / "m.onnx")


class Squeezes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, h = self.rnn(x)
        return y.squeeze(2), h.squeeze(0).squeeze(-1), y[None].squeeze((0, 3))


def test_squeezing_an_axis_of_more_than_one_changes_nothing(tmp_path: Path) -> None:
    module, x = Squeezes().eval(), torch.randn(3, 5, 3)
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(torch.zeros(2, 6, 3),))
    session = Session(tmp_path / "m.onnx", threads=1)
    answers = session.run(x.numpy()).outputs
    for spec, wanted in zip(session.interface.outputs, module(x), strict=False):
        assert answers[spec.name].shape == wanted.shape
        assert np.abs(answers[spec.name] - wanted.detach().numpy()).max() < 1e-6


def test_torch_has_its_own_back(tmp_path: Path) -> None:
    own = vars(REGISTRY)["from_torchlib"]
    exported(tmp_path / "m.onnx")
    assert vars(REGISTRY)["from_torchlib"] is own


def test_a_torch_that_keeps_it_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = exported(tmp_path / "first.onnx")
    monkeypatch.setattr(translations, "_kept", {})
    monkeypatch.setitem(sys.modules, _registration.__name__, types.ModuleType("another"))
    assert exported(tmp_path / "second.onnx") == first
    assert not translations._kept


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, _ = self.rnn(x)
        return torch.cumprod(y, 2), torch.cumprod(y, 1), y.prod(-1)


def test_products_along_an_axis(tmp_path: Path) -> None:
    module, x = Products().eval(), torch.randn(3, 5, 3)
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(torch.zeros(2, 6, 3),))
    session = Session(tmp_path / "m.onnx", threads=1)
    answers = session.run(x.numpy()).outputs
    for spec, wanted in zip(session.interface.outputs, module(x), strict=False):
        np.testing.assert_allclose(answers[spec.name], wanted.detach(), rtol=0, atol=1e-6)
