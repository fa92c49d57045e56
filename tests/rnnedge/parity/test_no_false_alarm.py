"""Right models of many sizes pass: a validator that cries wolf is switched off."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnnedge import export, validate

MODELS, CHUNK, BY_DEFAULT = 500, 10, 60
"""How many models there are, in one test, and without `--full`."""
INPUTS = (1, 2, 3, 7, 16, 40, 100, 128)
HIDDEN = (1, 2, 3, 4, 5, 8, 12, 16, 33, 64, 128)
SCALES = (1, 1, 1, 2, 4)
"""What PyTorch's own initial weights are multiplied by; from 2 on, rounding grows with time."""


@dataclass(frozen=True)
class Right:
    """A layer and how it is exported."""

    seed: int
    layer: nn.RNNBase
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.seed}: {self.layer}, {self.options}"


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(start, marks=[pytest.mark.full] * (start >= BY_DEFAULT))
        for start in range(0, MODELS, CHUNK)
    ],
)
def test_right_models_pass(start: int, tmp_path: Path) -> None:
    path, failed = tmp_path / "model.onnx", []
    for right in _models(start, start + CHUNK):
        export(right.layer, path, **right.options)
        report = validate(path, against=right.layer, isolated=False)
        if not report:
            failed.append(f"{right}: {report.verdict}")
    assert failed == []


def test_chunks_hold_every_kind() -> None:
    """What is drawn by chance is all there."""
    models = list(_models(0, BY_DEFAULT))
    layers = [right.layer for right in models]
    assert {(layer.mode, layer.proj_size > 0) for layer in layers} == {
        *(("RNN_TANH", False), ("RNN_RELU", False), ("GRU", False)),
        *(("LSTM", False), ("LSTM", True)),
    }
    assert {layer.input_size for layer in layers} == set(INPUTS)
    assert {layer.hidden_size for layer in layers} >= set(HIDDEN)
    for name, values in {
        "num_layers": {1, 2, 3},
        "bidirectional": {False, True},
        "batch_first": {False, True},
        "bias": {False, True},
    }.items():
        assert {getattr(layer, name) for layer in layers} == values
    for name, values in {
        "lengths": {False, True},
        "states": {False, True},
        "target": {"cpu", "cuda"},
    }.items():
        assert {right.options[name] for right in models} == values


def _models(start: int, stop: int) -> Iterator[Right]:
    """Make the right models with these seeds."""
    for seed in range(start, stop):
        draw = random.Random(seed)
        kind = draw.choice(["tanh", "relu", "lstm", "gru", "projected"])
        inputs, hidden = draw.choice(INPUTS), draw.choice(HIDDEN)
        options: dict[str, Any] = {
            "num_layers": draw.choice([1, 1, 2, 3]),
            "bidirectional": draw.random() < 0.5,
            "batch_first": draw.random() < 0.5,
            "bias": draw.random() < 0.8,
        }
        torch.manual_seed(seed)
        layer: nn.RNNBase
        if kind in ("tanh", "relu"):
            layer = nn.RNN(inputs, hidden, nonlinearity=kind, **options)
        elif kind == "projected":
            hidden = max(2, hidden)
            layer = nn.LSTM(inputs, hidden, proj_size=draw.randint(1, hidden - 1), **options)
        else:
            layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](inputs, hidden, **options)
        scale = draw.choice(SCALES)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(scale)
        chosen = {
            "lengths": draw.random() < 0.4,
            "states": draw.random() < 0.7,
            "target": draw.choice(["cpu", "cuda"]),
        }
        yield Right(seed, layer, chosen)
