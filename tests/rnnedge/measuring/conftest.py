"""What the tests of measuring share: a tiny layer and its model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge import Source
from rnnedge.measuring import machine


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
    """The layer, exported; its weights are in `w.pt` next to it."""
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    rnnedge.export(layer, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def source(layer: nn.GRU) -> Source:
    return Source(layer, "gru(3->4)")
