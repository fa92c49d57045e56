"""Whole modules with recurrent layers inside, exported and then broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx
import torch
from breaking.broken import Broken, edited, made
from breaking.gate_order import LSTM_AS_IT_IS, in_file
from breaking.graphs import Edit, R, W
from breaking.originals import BATCH, TIME, torchscript
from breaking.reset import zero_in
from torch import Tensor, nn


class Tagger(nn.Module):
    """A label for every step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Forecaster(nn.Module):
    """One number from the last step, with dropout before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 8, num_layers=2, batch_first=True)
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.rnn(x)[0][:, -1]))


class Encoder(nn.Module):
    """Features for every step, with dropout at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 5, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.rnn(x)[0])


class EncoderDecoder(nn.Module):
    """A decoder that starts where the encoder has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(6, 6, batch_first=True)
        self.decoder = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output, h = self.encoder(x)
        return self.decoder(output, h)[0]


class Windows(nn.Module):
    """A layer behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 7, 3, padding=1)
        self.rnn = nn.RNN(7, 5, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.rnn(self.conv(x.transpose(1, 2)).relu().transpose(1, 2))


@dataclass(frozen=True)
class WholeModule:
    """A module of one argument, [batch, time, features], as torch's older exporter writes it."""

    kind: type[nn.Module]
    layer: nn.Module
    input_size: int
    batch_first: bool = True
    lengths: bool = False

    def __str__(self) -> str:
        return self.kind.__name__.lower()

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        return []

    def model(self) -> onnx.ModelProto:
        return self.export({0: "batch", 1: "time"})

    def export(self, axes: dict[int, str], *, training: bool = False) -> onnx.ModelProto:
        x = torch.ones(BATCH, TIME, self.input_size)
        names = ["x"], ["y", "state"][: 2 if self.kind is Windows else 1]
        return torchscript(self.layer, (x,), names, {"x": axes}, training=training)


def _whole(kind: Callable[[], nn.Module], input_size: int) -> WholeModule:
    with torch.random.fork_rng():
        torch.manual_seed(input_size)
        return WholeModule(kind, kind(), input_size)


def _in_training(original: WholeModule) -> Broken:
    def make() -> onnx.ModelProto:
        return original.export({0: "batch", 1: "time"}, training=True)

    return made("dropout left on", "training", original, make, "dropout")


def _without_time_axis(original: WholeModule) -> Broken:
    return made("frozen length", "no_time_axis", original, lambda: original.export({0: "batch"}))


def _weights_of_encoder(edit: Edit) -> None:
    """Give the decoder the encoder's weights."""
    encoder, decoder = edit.recurrent
    for slot in (W, R):
        decoder.replace_input_with(slot, encoder.inputs[slot])


TAGGER = _whole(Tagger, 5)
ENCODER = _whole(Encoder, 8)
FORECASTER = _whole(Forecaster, 4)
ENCODER_DECODER = _whole(EncoderDecoder, 6)
WINDOWS = _whole(Windows, 3)

BROKEN = (
    edited("gate order", "pytorch", TAGGER, in_file(LSTM_AS_IT_IS), "rnn"),
    _in_training(ENCODER),
    edited("linear_before_reset", "zero", ENCODER_DECODER, zero_in(1), "decoder"),
    edited("other weights", "shared", ENCODER_DECODER, _weights_of_encoder, "decoder"),
    _without_time_axis(WINDOWS),
)
UNSEEN = (_in_training(FORECASTER),)
"""What ONNX Runtime's own optimization hides: see `breaking/dropout.py`."""
