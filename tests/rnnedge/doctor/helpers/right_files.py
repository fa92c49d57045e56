"""Random right files of `rnnedge.export`, for whoever must not raise an alarm.

Layers of all cells, forms, precisions and interfaces, and modules with what a broken model has too:
strides, masks of infinity, windows of samples, packed rows, heads over the last step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnedge
from rnnedge.errors import ExportError

_CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
Made = tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]


class _Strided(nn.Module):
    """A convolution that takes several steps at once, and a head over every step."""

    def __init__(self, rnn: nn.Module, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 5, stride, stride=stride, padding=padding)
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        frames = self.conv(x.transpose(1, 2)).transpose(1, 2)
        output: Tensor = self.rnn(frames)[0]
        return output


class _Attention(nn.Module):
    """Attention over the steps before, by a mask of infinity."""

    def __init__(self, rnn: nn.Module, size: int) -> None:
        super().__init__()
        self.rnn, self.key = rnn, nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        scores = y @ self.key(y).transpose(1, 2)
        steps = torch.arange(x.shape[1])
        scores = scores.masked_fill(steps[None, :] > steps[:, None], float("-inf"))
        output: Tensor = scores.softmax(-1) @ y
        return output


class _Packed(nn.Module):
    """Rows of their own lengths, and the state at their ends."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output: Tensor = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=x.shape[1]
        )[0]
        return output


class _Words(nn.Module):
    """A table of words, and a head over the last step."""

    def __init__(self, rnn: nn.Module, size: int) -> None:
        super().__init__()
        self.table, self.rnn, self.head = nn.Embedding(11, 5), rnn, nn.Linear(size, 3)

    def forward(self, ids: Tensor) -> Tensor:
        output: Tensor = self.head(self.rnn(self.table(ids))[0][:, -1])
        return output


class _Normed(nn.Module):
    """Norms, a skip connection and a mean over the steps."""

    def __init__(self, rnn: nn.Module, size: int) -> None:
        super().__init__()
        self.norm, self.batch_norm = nn.LayerNorm(5), nn.BatchNorm1d(size)
        self.rnn, self.head = rnn, nn.Linear(size, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(self.norm(x))[0]
        y = self.batch_norm(y.transpose(1, 2)).transpose(1, 2)
        output: Tensor = (x + self.head(y)).mean(1)
        return output


def _rnn(draw: random.Random, features: int) -> tuple[nn.RNNBase, int]:
    """Draw a layer with the batch first, and the features of its output."""
    cell, hidden, both = draw.choice([*_CELLS]), draw.choice([3, 6, 9]), draw.random() < 0.3
    more: dict[str, Any] = {"nonlinearity": draw.choice(["tanh", "relu"])} if cell == "rnn" else {}
    layer = _CELLS[cell](
        features,
        hidden,
        num_layers=draw.choice([1, 1, 2]),
        bidirectional=both,
        batch_first=True,
        **more,
    )
    return layer, hidden * (1 + both)


def _strided(draw: random.Random) -> Made:
    stride = draw.choice([2, 3, 4])
    module = _Strided(_rnn(draw, 5)[0], stride, draw.choice([0, 1]))
    return module, (torch.randn(2, 12, 4),), {}


def _attention(draw: random.Random) -> Made:
    return _Attention(*_rnn(draw, 5)), (torch.randn(2, 7, 5),), {}


def _packed(draw: random.Random) -> Made:
    module = _Packed(_rnn(draw, 5)[0])
    return module, (torch.randn(3, 7, 5), torch.tensor([7, 3, 5])), {}


def _words(draw: random.Random) -> Made:
    return _Words(*_rnn(draw, 5)), (torch.randint(0, 11, (2, 7)),), {}


def _normed(draw: random.Random) -> Made:
    return _Normed(*_rnn(draw, 5)), (torch.randn(2, 7, 5),), {}


def _layer(draw: random.Random) -> Made:
    cell, hidden = draw.choice([*_CELLS]), draw.choice([3, 8])
    more: dict[str, Any] = {"nonlinearity": draw.choice(["tanh", "relu"])} if cell == "rnn" else {}
    if cell == "lstm" and draw.random() < 0.3:
        more["proj_size"] = 2
    layer = _CELLS[cell](
        draw.choice([1, 3, 7]),
        hidden,
        num_layers=draw.choice([1, 1, 2, 3]),
        bias=draw.random() < 0.8,
        batch_first=draw.random() < 0.5,
        bidirectional=draw.random() < 0.4,
        **more,
    )
    options: dict[str, Any] = {
        "lengths": draw.random() < 0.4,
        "states": draw.choice([None, True, False]),
        "target": draw.choice(["cpu", "cuda", "portable"]),
        "lowering": draw.choice([None, None, "operator", "scan", "switch"]),
        "quantize": draw.choice([None, None, None, "int8", "int8:all"]),
        "opset": draw.choice([None, None, 19, 21]),
    }
    if options["quantize"] is None and draw.random() < 0.2:
        options["dtype"] = "float16"
    return layer, (), options


_MADE: tuple[Callable[[random.Random], Made], ...] = (
    *(_layer, _layer, _layer, _strided, _attention, _packed, _words, _normed),
)


def right_file(seed: int, path: Path) -> str | None:
    """Write a random right file.

    Args:
        seed: What decides which.
        path: The `.onnx` file to write.

    Returns:
        What was exported, or None where the options cannot be combined.
    """
    draw = random.Random(seed)
    torch.manual_seed(seed)
    module, example, options = draw.choice(_MADE)(draw)
    more = {"example_inputs": example} if example else {}
    try:
        rnnedge.export(module.eval(), path, **more, **options)
    except ExportError:
        return None
    layer = module if isinstance(module, nn.RNNBase) else getattr(module, "rnn", module)
    given = {name: value for name, value in options.items() if value not in (None, False)}
    return f"{type(module).__name__} of {layer} {given}"
