"""`assert_parity`, which people use in their own test suites."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from rnnedge import Tolerance, export
from rnnedge.testing import assert_parity


def _gru(seed: int) -> nn.GRU:
    torch.manual_seed(seed)
    return nn.GRU(3, 4)


def test_layer_is_exported_and_passes() -> None:
    report = assert_parity(_gru(0), lengths=True, quick=True)
    assert report
    assert report.contract is not None
    assert report.contract.interface.lengths == "lengths"


def test_module_is_exported_and_passes() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(x)[0])

    assert assert_parity(Tagger(), example_inputs=(torch.zeros(2, 5, 3),), quick=True)


def test_file_that_fits_passes(tmp_path: Path) -> None:
    export(_gru(0), tmp_path / "model.onnx")
    assert assert_parity(_gru(0), tmp_path / "model.onnx", quick=True)


def test_checkpoint_and_file(tmp_path: Path) -> None:
    export(_gru(0), tmp_path / "model.onnx")
    torch.save(_gru(0).state_dict(), tmp_path / "w.pt")
    assert assert_parity(tmp_path / "w.pt", tmp_path / "model.onnx", quick=True)


def test_failure_says_the_cause_and_writes_a_report(tmp_path: Path) -> None:
    export(_gru(1), tmp_path / "model.onnx")
    report = tmp_path / "parity.xml"
    with pytest.raises(AssertionError, match=r"(?s)cause +other weights.*FAIL: model\.onnx is not"):
        assert_parity(_gru(0), tmp_path / "model.onnx", quick=True, report=report)
    assert "<testsuite" in report.read_text(encoding="utf-8")


def test_tolerance_is_kept_to(tmp_path: Path) -> None:
    export(_gru(1), tmp_path / "model.onnx")
    loose = Tolerance(absolute=100)
    assert assert_parity(_gru(0), tmp_path / "model.onnx", quick=True, tolerance=loose)


def test_options_beside_a_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^lengths: how to export, and there is a model already$"):
        assert_parity(_gru(0), tmp_path / "model.onnx", lengths=True)


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"^source: expected an nn\.Module to export, got PosixPath"
    ):
        assert_parity(tmp_path / "w.pt")
