"""torch's table of translations, which is read once."""

import sys
import types
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter import _registration

import rnnedge
from rnnedge_exporters.modules import translations

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
