"""A loop over recurrent cells is exported as recurrent layers, where nothing else has a state."""

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

SIZES = ((2, 2), (1, 1), (3, 30), (4, 9))
"""Batch and time."""


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(4, 6), nn.GRUCell(6, 5, bias=False)
        self.rnn = nn.RNNCell(4, 6, nonlinearity="relu")
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)
        self.dropout, self.start = nn.Dropout(0.5), nn.Linear(4, 6)


class Head(Base):
    """Outputs are written in place, and computed of the state."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.size(0), 6)
        output = x.new_zeros(x.size(0), x.size(1), 3)
        for t in range(x.size(1)):
            h, c = self.lstm(x[:, t], (h, c))
            output[:, t] = self.head(self.dropout(torch.tanh(h)))
        return output, c


class Stacked(Base):
    """Two layers in one loop, something between them, and a residual around the second."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = torch.zeros(x.size(0), 6)
        g, outputs = torch.zeros(x.size(0), 5), []
        for x_t in x.unbind(1):
            h, c = self.lstm(x_t, (h, c))
            g = self.gru(self.norm(self.dropout(h)), g)
            outputs.append(torch.cat([g, h[:, :2]], -1).unsqueeze(1))
        return torch.cat(outputs, 1), h


class Backwards(Base):
    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for t in reversed(range(x.size(1))):
            h = self.rnn(x[:, t], h)
            outputs.insert(0, h)
        return torch.stack(outputs, 1)


class StartsFromAnInput(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, outputs = torch.tanh(self.start(x[:, 0])), []
        for t in range(x.size(1)):
            h = self.rnn(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1), h


class NoState(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = self.rnn(x[:, t], h)
        seen = torch.stack([torch.relu(self.start(x[:, t])) for t in range(x.size(1))], 1)
        return seen * h.unsqueeze(1)


class CellStateOfEachTurn(Base):
    """An LSTM layer gives the last cell state only."""

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), 6)
        outputs = []
        for t in range(x.size(1)):
            h, c = self.lstm(x[:, t], (h, c))
            outputs.append(h + c)
        return torch.stack(outputs, 1)


class Feedback(Base):
    """The input of a turn depends on the output of the one before."""

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            h = self.rnn(x[:, t] + h[:, :4], h)
            outputs.append(h)
        return torch.stack(outputs, 1)


class Twice(Base):
    """One cell takes two steps a turn."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = self.rnn(x[:, t], self.rnn(x[:, t], h))
        return h


CASES = {
    Head: {"LSTM": 1},
    Stacked: {"LSTM": 1, "GRU": 1},
    Backwards: {},
    StartsFromAnInput: {},
    NoState: {},
    CellStateOfEachTurn: {"Scan": 1},
    Feedback: {"Scan": 1},
    Twice: {"Scan": 1},
}
"""How many nodes of each kind it becomes; a relu RNN is not a Scan."""
STREAMED = (Head, Stacked, CellStateOfEachTurn, Feedback, Twice)


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_right_at_every_size(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = kind().eval(), tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=(torch.randn(2, 9, 4),))
    nodes = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert {name: nodes[name] for name in ("LSTM", "GRU", "Scan") if nodes[name]} == CASES[kind]
    session = Session(path, threads=1)
    twin = copy.deepcopy(module).double()
    for sizes in SIZES:
        x = torch.rand(*sizes, 4)
        torch.set_default_dtype(torch.float64)
        try:
            expected = twin(x.double())
        finally:
            torch.set_default_dtype(torch.float32)
        answers = session.run(x.numpy()).outputs
        wanted = expected if isinstance(expected, tuple) else (expected,)
        for one, spec in zip(wanted, session.interface.outputs, strict=False):
            answer = answers[spec.name]
            np.testing.assert_allclose(answer, one.detach().numpy(), rtol=0, atol=2e-6)
    assert bool(session.interface.states) == (kind in STREAMED)


def test_states_are_those_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    module, x = Stacked().eval(), torch.randn(2, 9, 4)
    rnnedge.export(module, path, example_inputs=(x,))
    session = Session(path, threads=1)
    assert [s.input for s in session.interface.states] == ["loop.h_0", "loop.c_0", "loop_1.h_0"]
    stream = session.stream(batch=2)
    name = session.interface.outputs[0].name
    parts = [stream.step(x.numpy()[:, a:b])[name] for a, b in ((0, 4), (4, 5), (5, 9))]
    wanted = module(x)[0].detach().numpy()
    np.testing.assert_allclose(np.concatenate(parts, 1), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_compared_with_its_source(quantize: str | None, tmp_path: Path) -> None:
    module, path = Stacked().eval(), tmp_path / "m.onnx"
    example = (torch.randn(2, 9, 4),)
    result = rnnedge.export(module, path, example_inputs=example, quantize=quantize)
    assert rnnedge.validate(path, against=module, quick=True)
    assert ("loop" in str(result.quantization)) == (quantize == "int8")
    module.lstm.weight_hh.data[0, 0] += 0.5
    assert not rnnedge.validate(path, against=module, quick=True)
