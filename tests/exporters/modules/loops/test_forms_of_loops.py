"""Forms that published loops have: several sequences, parts of an axis, structures of states."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

SIZES = ((2, 2), (1, 7), (3, 30), (4, 9))
"""Batch and time."""


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.u, self.pair = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(8, 6)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(h))


class ThreeSequences(Base):
    """Values, masks and times, as GRU-D and BRITS take them; one more is longer than it need be."""

    def forward(self, x: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        h, before, outputs = x.new_zeros(x.size(0), 6), times[:, 0], []
        for t in range(x.size(1)):
            h = torch.exp(-torch.relu(times[:, t] - before)).unsqueeze(1) * h
            h, before = self.step(x[:, t] * mask[:, t], h), times[:, t]
            outputs.append(h)
        return torch.stack(outputs, 1)


class ListFilledAhead(Base):
    """Each turn writes what the next one reads, as in models of the world with actions."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        states = [x.new_zeros(x.size(0), 6)] * (x.size(1) + 1)
        for t in range(x.size(1)):
            states[t + 1] = self.step(x[:, t], states[t] * gate[:, t])
        return torch.stack(states[1:], 1)


class EverySecondStep(Base):
    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for t in range(0, x.size(1), 2):
            h = self.step(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1)


class EverySecondStepBack(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1) - 1, -1, -2):
            h = self.step(x[:, t], h)
        return h


class Pairs(Base):
    """Two steps a turn, as in a pyramid of layers."""

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1) // 2):
            pair = torch.cat([x[:, 2 * t], x[:, 2 * t + 1]], -1)
            h = torch.tanh(self.pair(pair) + self.u(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class ReversedByIndices(Base):
    def forward(self, x: Tensor) -> Tensor:
        order = torch.LongTensor(list(range(x.size(1)))[::-1])
        h, outputs = x.new_zeros(x.size(0), 6), []
        for x_t in x.index_select(1, order).split(1, dim=1):
            h = self.step(x_t.squeeze(1), h)
            outputs.append(h)
        return torch.stack(outputs, 1).index_select(1, order)


class Chunks(Base):
    """A permutation, a list to PyTorch, is a new constant in each turn."""

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for _, x_t in enumerate(x.chunk(x.size(1), dim=1)):
            h = self.step(x_t.squeeze(1), h[:, [1, 0, 3, 2, 5, 4]])
            outputs.append(h)
        return torch.stack(outputs, 1)


class Stack(Base):
    """The first turn reads the top of a stack that no turn has written to."""

    def forward(self, x: Tensor) -> Tensor:
        stack, outputs = x.new_zeros(x.size(0), 3, 6), []
        for t in range(x.size(1)):
            h = self.step(x[:, t], stack[:, 0] + stack[:, 1:2].squeeze(1))
            stack = torch.cat([h.unsqueeze(1), stack[:, :-1]], 1) * (torch.eye(3).sum(1)[:, None])
            outputs.append(h)
        return torch.stack(outputs, 1)


class PartOfAStep(Base):
    """`x[:, t, 0]` is a part of a step, and no step itself."""

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            h = self.step(x[:, t], h) * torch.sigmoid(x[:, t, 0])[:, None]
            outputs.append(h)
        return torch.stack(outputs, 1)


class Windows(Base):
    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1) - 1):
            h = torch.tanh(self.pair(x[:, t : t + 2].flatten(1)) + self.u(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class RowsOfAgents(Base):
    """Each row of the state is an agent of a scene; what it starts from counts them."""

    def forward(self, x: Tensor) -> Tensor:
        scenes, steps, agents, features = x.shape
        h, outputs = x.new_zeros(scenes * agents, 6), []
        for t in range(steps):
            h = self.step(x[:, t].reshape(scenes * agents, features), h)
            outputs.append(h.view(scenes, agents, 6))
        return torch.stack(outputs, 1)


SEQUENCE = (torch.randn(2, 9, 4),)
CASES: dict[type[nn.Module], tuple[Tensor, ...]] = {
    ThreeSequences: (*SEQUENCE, torch.ones(2, 9, 4), torch.rand(2, 9).cumsum(1)),
    ListFilledAhead: (*SEQUENCE, torch.rand(2, 9, 6)),
    **dict.fromkeys((EverySecondStep, EverySecondStepBack, Pairs), SEQUENCE),
    **dict.fromkeys((ReversedByIndices, Chunks, Stack, PartOfAStep, Windows), SEQUENCE),
    RowsOfAgents: (torch.randn(2, 9, 3, 4),),
}
STREAMED = (ListFilledAhead, Chunks, Stack, PartOfAStep)


def in_float64(module: nn.Module, inputs: list[Tensor]) -> np.ndarray:
    torch.set_default_dtype(torch.float64)
    try:
        result: Tensor = copy.deepcopy(module).double()(*(x.double() for x in inputs))
    finally:
        torch.set_default_dtype(torch.float32)
    return result.detach().numpy()


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_right_at_every_size(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=CASES[kind])
    session = Session(tmp_path / "m.onnx", threads=1)
    specs = session.interface.data_inputs
    assert all(spec.axes[:2] == ("batch", "time") for spec in specs)
    for sizes in SIZES:
        inputs = [torch.rand(*sizes, *example.shape[2:]) for example in CASES[kind]]
        arrays = {spec.name: x.numpy() for spec, x in zip(specs, inputs, strict=True)}
        answers = session.run(arrays).outputs
        answer = answers[session.interface.outputs[0].name]
        np.testing.assert_allclose(answer, in_float64(module, inputs), rtol=0, atol=2e-6)
    assert bool(session.interface.states) == (kind in STREAMED)
    if kind in STREAMED:
        stream, parts = session.stream(batch=sizes[0]), []
        for start, end in ((0, 4), (4, 5), (5, 9)):
            chunk = {name: x[:, start:end] for name, x in arrays.items()}
            parts.append(stream.step(chunk if len(chunk) > 1 else next(iter(chunk.values()))))
        np.testing.assert_allclose(np.concatenate(parts, 1), answer, rtol=0, atol=1e-6)
