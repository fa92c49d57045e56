"""Cells of the user's own: trained a few steps, exported, equal."""

import itertools
from pathlib import Path

import module_zoo
import numpy as np
import pytest
import torch
from pairwise import pairwise
from torch import Tensor, nn

import rnnedge
from rnnedge import Recurrent, StateError
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session


class IndRnn(nn.Module):
    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.input = nn.Linear(features, hidden_size)
        self.weight = nn.Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.input(x) + self.weight * h)
        return h, h


class MinGru(nn.Module):
    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.gate, self.new = nn.Linear(features, hidden_size), nn.Linear(features, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.sigmoid(self.gate(x))
        h = (1 - z) * h + z * self.new(x)
        return h, h


class Coupled(nn.Module):
    """An LSTM whose input gate is one minus its forget gate; its output has another width."""

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.state_sizes = (hidden_size, hidden_size)
        self.gates = nn.Linear(features + hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f, g, o = self.gates(torch.cat([x, h], 1)).chunk(3, 1)
        f = torch.sigmoid(f)
        c = f * c + (1 - f) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return self.out(h), h, c


class Clipped(nn.Module):
    """Hard sigmoid, a clipped state, and a cell of PyTorch's inside."""

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = nn.GRUCell(features, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h).clamp(-0.4, 0.4)
        return nn.functional.hardsigmoid(h), h


CELLS = [IndRnn, MinGru, Coupled, Clipped, module_zoo.Peephole]


def _trained(cell: type[nn.Module], **options: object) -> Recurrent:
    torch.manual_seed(0)
    reverse = cell(4, 5) if options.pop("bidirectional", False) else None
    layer = Recurrent(cell(4, 5), reverse_cell=reverse, **options)  # type: ignore[arg-type]
    x = torch.randn(9, 4, 4)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    losses = []
    for _ in range(5):
        loss = (layer(x)[0] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return layer


@pytest.mark.parametrize(
    ("cell", "batch_first", "bidirectional"),
    pairwise(list(itertools.product(CELLS, (False, True), (False, True)))),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_trained_cell_is_exported_right(
    cell: type[nn.Module], batch_first: bool, bidirectional: bool, tmp_path: Path, worker: Worker
) -> None:
    layer = _trained(cell, batch_first=batch_first, bidirectional=bidirectional)
    shape = (2, 6, 4) if batch_first else (6, 2, 4)
    rnnedge.export(layer, tmp_path / "m.onnx", example_inputs=(torch.zeros(shape),))
    report = rnnedge.validate(tmp_path / "m.onnx", against=layer, worker=worker)
    assert report, report


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_lengths(bidirectional: bool, tmp_path: Path) -> None:
    layer = _trained(module_zoo.Peephole, bidirectional=bidirectional)
    examples = {"input": torch.zeros(6, 3, 4), "lengths": torch.tensor([6, 2, 4])}
    rnnedge.export(layer, tmp_path / "m.onnx", example_inputs=examples)
    session = Session(tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((8, 4, 4)).astype(np.float32)
    lengths = np.array([3, 8, 0, 1])
    state = tuple(
        np.random.default_rng(1).standard_normal((1 + bidirectional, 4, 5)).astype(np.float32)
        for _ in range(2)
    )
    with torch.inference_mode():
        output, finals = layer.double()(
            torch.from_numpy(x).double(),
            tuple(torch.from_numpy(s).double() for s in state) if not bidirectional else None,
            torch.from_numpy(lengths),
        )
    given = session.run(x, lengths=lengths, state=None if bidirectional else state)
    assert np.abs(given.output - output.numpy()).max() < 1e-5
    ours = [given.outputs[spec.name] for spec in session.interface.outputs[1:]]
    for mine, theirs in zip(ours, finals, strict=True):
        assert np.abs(mine - theirs.numpy()).max() < 1e-5


def test_a_row_is_computed_alone_in_torch_too() -> None:
    layer = _trained(MinGru, bidirectional=True).eval()
    x = torch.randn(7, 2, 4)
    both, _ = layer(x, None, torch.tensor([7, 3]))
    alone, _ = layer(x[:3, 1:])
    assert torch.allclose(both[:3, 1:], alone, atol=1e-6)
    assert not both[3:, 1].any()


def test_cell_without_sizes_is_refused() -> None:
    with pytest.raises(rnnedge.ExportError, match="expected a cell with hidden_size or state_size"):
        Recurrent(nn.Linear(3, 3))


def test_cell_that_returns_the_wrong_number(tmp_path: Path) -> None:
    layer = Recurrent(nn.GRUCell(4, 5))  # returns h alone, not (y, h)
    with pytest.raises(rnnedge.ExportError):
        rnnedge.export(layer, tmp_path / "m.onnx", example_inputs=(torch.zeros(6, 2, 4),))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("states", [0, 1, 3])
def test_a_state_of_another_number_of_tensors_is_refused(states: int) -> None:
    layer = Recurrent(Coupled(2, 3))
    message = rf"^state: expected 2 tensor\(s\), got {states}: pass a tensor, or a tuple"
    with pytest.raises(StateError, match=message):
        layer(torch.zeros(4, 1, 2), (torch.zeros(1, 1, 3),) * states)
