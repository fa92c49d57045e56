"""A Python loop over time in a module's own forward is exported as a Scan, right at any size."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

SIZES = ((2, 1), (3, 2), (1, 7), (3, 30), (5, 13))
"""Batch and time."""


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.u, self.v = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.cell = nn.LSTMCell(4, 6)


class Stacked(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 6)
        outputs = []
        for t in range(x.size(1)):
            h = torch.tanh(self.w(x[:, t]) + self.u(h))
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class Cells(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.size(0), 6)
        outputs = []
        for x_t in x.unbind(1):
            h, c = self.cell(x_t, (h, c))
            outputs.append(h.unsqueeze(1))
        return torch.cat(outputs, 1), c


class Preallocated(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        output = x.new_zeros(x.size(0), x.size(1), 6)
        for t in range(x.size(1)):
            h = torch.tanh(self.w(x[:, t]) + self.u(h))
            output[:, t] = h
        return output


class Backwards(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.size(0), 6)
        output = x.new_zeros(x.size(0), x.size(1), 6)
        for t in range(x.size(1) - 1, -1, -1):
            h = torch.tanh(self.w(x[:, t]) + self.u(h))
            output[:, t] = h
        return output, h


class BothWays(Base):
    def forward(self, x: Tensor) -> Tensor:
        forwards, h = [], x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = torch.tanh(self.w(x[:, t]) + self.u(h))
            forwards.append(h)
        backwards: list[Tensor] = []
        h = x.new_zeros(x.size(0), 6)
        for t in reversed(range(x.size(1))):
            h = torch.tanh(self.w(x[:, t]) + self.v(h))
            backwards.insert(0, h)
        return torch.stack([torch.cat(p, -1) for p in zip(forwards, backwards, strict=True)], 1)


class LoopPerLayer(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.w(x)
        for layer in (self.u, self.v):
            h, outputs = x.new_zeros(x.size(0), 6), []
            for t in range(y.size(1)):
                h = torch.tanh(layer(h) + y[:, t])
                outputs.append(h)
            y = torch.stack(outputs, 1)
        return y


class FirstTurnDiffers(Base):
    def forward(self, x: Tensor) -> Tensor:
        h, outputs = None, []
        for t in range(x.size(1)):
            h = self.w(x[:, t]) if h is None else torch.tanh(self.w(x[:, t]) + self.u(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class Growing(Base):
    def forward(self, x: Tensor) -> Tensor:
        t, h, y = 0, x.new_zeros(x.size(0), 6), x.new_zeros(x.size(0), 0, 6)
        while t < x.size(1):
            h = torch.tanh(self.w(x[:, t]) + self.u(h))
            y = torch.cat([y, h.unsqueeze(1)], 1)
            t += 1
        return y


class Difference(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.w(x[:, 0])
        for t in range(1, x.size(1)):
            h = torch.tanh(self.w(x[:, t] - x[:, t - 1]) + self.u(h))
        return h


class MeanSoFar(Base):
    def forward(self, x: Tensor) -> Tensor:
        total, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            total = total + x[:, t]
            outputs.append(total / (t + 1))
        return torch.stack(outputs, 1)


class BesideALayer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, h, outputs = self.rnn(x)[0], x.new_zeros(x.size(0), 6), []
        for y_t in y.unbind(1):
            h = 0.5 * h + self.u(y_t)
            outputs.append(h)
        return torch.stack(outputs, 1)


class AttributeOfForward(Base):
    """What is carried is in an attribute that only forward makes, as in Tacotron's decoder."""

    def forward(self, x: Tensor) -> Tensor:
        self.h, outputs = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            self.h = torch.tanh(self.u(self.h) + self.w(x[:, t]))
            outputs += [self.h.squeeze(1)]  # no axis of 1: PyTorch leaves it as it is
        return torch.stack(outputs, 1)


class AttributeOfTheFirstCall(Base):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "h"):
            self.h = x.new_zeros(x.size(0), 6)
        outputs = []
        for t in range(x.size(1)):
            self.h = torch.tanh(self.u(self.h) + self.w(x[:, t]))
            outputs.append(self.h)
        return torch.stack(outputs, 1)


ATTRIBUTES = (AttributeOfForward, AttributeOfTheFirstCall)
STREAMED = (*ATTRIBUTES, Stacked, Cells, Preallocated, LoopPerLayer, Growing, BesideALayer)
OTHERS = (Backwards, BothWays, FirstTurnDiffers, Difference, MeanSoFar)


@pytest.mark.parametrize("kind", [*STREAMED, *OTHERS], ids=lambda kind: kind.__name__)
def test_loop_is_right_at_every_size(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = kind().eval(), tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=(torch.randn(2, 9, 4),))
    session = Session(path, threads=1)
    assert bool(session.interface.states) == (kind in STREAMED)
    for batch, time in SIZES:
        twin = copy.deepcopy(module).double()  # an attribute that it sets is gone with it
        x = torch.randn(batch, time, 4)
        torch.set_default_dtype(torch.float64)
        try:
            expected = twin(x.double())
        finally:
            torch.set_default_dtype(torch.float32)
        expected = expected if isinstance(expected, tuple) else (expected,)
        answers = session.run({"x": x.numpy()}).outputs
        for wanted, spec in zip(expected, session.interface.outputs, strict=False):
            answer = answers[spec.name]
            np.testing.assert_allclose(answer, wanted.detach().numpy(), rtol=0, atol=2e-6)


def test_input_parts_are_computed_of_all_steps_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    rnnedge.export(Stacked(), path, example_inputs=(torch.randn(2, 9, 4),))
    graph = onnx.load(path).graph
    (scan,) = [node for node in graph.node if node.op_type == "Scan"]
    body = next(a.g for a in scan.attribute if a.name == "body")
    products = ("Gemm", "MatMul")
    assert [node.op_type in products for node in graph.node].count(True) == 1
    assert [node.op_type in products for node in body.node].count(True) == 1


def test_a_thousand_steps_are_never_unrolled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    export = torch.export.export

    def noting(*args: Any, **kwargs: Any) -> Any:
        program = export(*args, **kwargs)
        sizes.append(len(program.graph.nodes))
        return program

    monkeypatch.setattr(torch.export, "export", noting)
    example = (torch.randn(1, 1000, 4),)
    rnnedge.export(Stacked(), tmp_path / "m.onnx", example_inputs=example)
    assert len(sizes) > 1
    assert max(sizes) < 100


class EqualSizes(nn.Module):
    """As many inner turns, features and rows as steps in the example."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = torch.zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            for _ in range(4):
                h = torch.tanh(self.w(x[:, t]) + self.u(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


def test_equal_sizes_are_told_apart(tmp_path: Path) -> None:
    module, path = EqualSizes().eval(), tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=(torch.randn(4, 4, 4),))
    session = Session(path, threads=1)
    for batch, time in SIZES:
        x = torch.randn(batch, time, 4)
        answer = session.run({"x": x.numpy()}).outputs["output"]
        np.testing.assert_allclose(answer, module(x).detach().numpy(), rtol=0, atol=2e-6)
