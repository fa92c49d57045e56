"""Cells whose states have more axes, are dicts or nested, and that take more than their input."""

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge import Recurrent, StateError
from rnnedge_runtime import Session

SIZES = ((2, 1), (1, 7), (3, 30), (5, 4))
"""Batch and time."""


class ConvLSTM(nn.Module):
    """https://arxiv.org/abs/1506.04214"""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 + 3, 4 * 3, 3, padding=1)

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = x.new_zeros(x.shape[0], 3, *x.shape[2:])
        return zeros, zeros

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i, f, o, g = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, h, c


class Memory(nn.Module):
    """A state that is a dict, with its keys in another order each time."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 6)
        self.state_sizes = {"slow": (2, 6), "h": 6}

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        h = self.cell(x, state["h"])
        slow = 0.9 * state["slow"] + 0.1 * torch.stack([h, h * h], 1)
        return slow.sum(1), {"h": h, "slow": slow}


class Attention(nn.Module):
    """A step of an attention decoder (https://arxiv.org/abs/1409.0473)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.query = nn.LSTMCell(4 + 5, 6), nn.Linear(6, 5)
        self.state_sizes = (6, 6)

    def forward(
        self, x: Tensor, h: Tensor, c: Tensor, *, memory: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        energy = (memory * self.query(h)[:, None]).sum(-1)
        outside = torch.arange(memory.shape[1]) >= ends[:, None]
        weights = energy.masked_fill(outside, -1e4).softmax(-1)
        context = (weights[..., None] * memory).sum(1)
        h, c = self.cell(torch.cat([x, context], -1), (h, c))
        return torch.cat([h, context], -1), h, c


class Nested(nn.Module):
    """A tuple and a dict, a counter and a flag."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(4, 6), nn.GRUCell(6, 5)

    def initial_state(self, x: Tensor) -> tuple[Any, ...]:
        def zeros(size: int) -> Tensor:
            return x.new_zeros(x.shape[0], size)

        steps = torch.zeros(x.shape[0], dtype=torch.int64)
        return (
            (zeros(6), zeros(6)),
            {"h": zeros(5), "seen": torch.zeros(x.shape[0], 1, dtype=torch.bool)},
            steps,
        )

    def forward(
        self, x: Tensor, pair: tuple[Tensor, Tensor], state: dict[str, Tensor], steps: Tensor
    ) -> tuple[Any, ...]:
        h, c = self.first(x, pair)
        y = self.second(h, state["h"])
        seen = state["seen"] | (y[:, :1] > 0.2)
        return y * (1 + steps[:, None] % 3) + seen, (h, c), {"seen": seen, "h": y}, steps + 1


class Called(nn.Module):
    def __init__(self, cell: Callable[[], nn.Module], *, both: bool = False) -> None:
        super().__init__()
        reverse = cell() if both else None
        self.layer = Recurrent(cell(), reverse_cell=reverse, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


class WithLengths(Called):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.layer(x, lengths=lengths)


class WithMemory(Called):
    def forward(self, x: Tensor, lengths: Tensor, memory: Tensor, ends: Tensor) -> Any:
        return self.layer(x, None, lengths, memory=memory, ends=ends)[0]


class BesideALoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.u = Recurrent(Memory(), batch_first=True), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y, h, outputs = self.layer(x)[0], x.new_zeros(x.size(0), 6), []
        for t in range(y.size(1)):
            h = torch.tanh(self.u(h) + y[:, t])
            outputs.append(h)
        return torch.stack(outputs, 1)


def frames(batch: int, time: int) -> dict[str, Tensor]:
    return {"x": torch.randn(batch, time, 4)}


def images(batch: int, time: int) -> dict[str, Tensor]:
    return {"x": torch.randn(batch, time, 2, 4, 5)}


def ragged(batch: int, time: int) -> dict[str, Tensor]:
    return {"lengths": torch.randint(0, time + 1, (batch,))}


def attended(batch: int, time: int) -> dict[str, Tensor]:
    return {"memory": torch.randn(batch, 7, 5), "ends": torch.randint(1, 8, (batch,))}


Inputs = Callable[[int, int], dict[str, Tensor]]
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Inputs, ...], int]] = {
    "conv": (lambda: Called(ConvLSTM), (images,), 2),
    "conv-both-ways-lengths": (lambda: WithLengths(ConvLSTM, both=True), (images, ragged), 0),
    "attention-lengths": (lambda: WithMemory(Attention), (frames, ragged, attended), 2),
    "nested": (lambda: Called(Nested), (frames,), 5),
    "beside-a-loop": (BesideALoop, (frames,), 3),
}
"""The module, its inputs, and how many states are lifted."""


def drawn(makers: tuple[Inputs, ...], batch: int, time: int) -> dict[str, Tensor]:
    return {name: x for make in makers for name, x in make(batch, time).items()}


def in_float64(module: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    twin = copy.deepcopy(module).double()
    given = {k: x.double() if x.is_floating_point() else x for k, x in inputs.items()}
    with torch.inference_mode():
        return [x for x in torch.utils._pytree.tree_leaves(twin(**given)) if x is not None]


def answers(session: Session, inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    feeds = {name: x.numpy() for name, x in inputs.items()}
    lengths = feeds.pop("lengths", None)
    return session.run(feeds, lengths=lengths).outputs


@pytest.mark.parametrize("name", CASES)
def test_right_at_every_size_and_in_chunks(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, makers, states = CASES[name]
    module, path = make().eval(), tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=drawn(makers, 2, 9))
    session = Session(path, threads=1)
    assert len(session.interface.states) == states
    for batch, time in SIZES:
        inputs = drawn(makers, batch, time)
        found = answers(session, inputs)
        specs = session.interface.outputs
        for spec, wanted in zip(specs, in_float64(module, inputs), strict=False):
            answer = found[spec.name]  # the file drops the axis of directions of lifted states
            np.testing.assert_allclose(answer, wanted.numpy(), rtol=0, atol=5e-6)
    if states and session.interface.lengths is None:
        assert_chunks_equal_the_whole(session, drawn(makers, 3, 8))


def assert_chunks_equal_the_whole(session: Session, inputs: dict[str, Tensor]) -> None:
    whole = answers(session, inputs)[session.interface.outputs[0].name]
    stream = session.stream(batch=3)
    cuts = (0, 3, 4, 8)
    parts = [stream.step(inputs["x"][:, a:b].numpy()) for a, b in pairwise(cuts)]
    first = [part if isinstance(part, np.ndarray) else next(iter(part.values())) for part in parts]
    np.testing.assert_allclose(np.concatenate(first, 1), whole, rtol=0, atol=5e-6)


def test_states_are_named_by_the_keys_of_a_dict(tmp_path: Path) -> None:
    module = Called(Memory).eval()
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=frames(2, 9))
    pairs = Session(tmp_path / "m.onnx").interface.states
    assert [pair.input for pair in pairs] == ["layer.h_0", "layer.slow_0"]


def test_open_axes_of_an_image(tmp_path: Path) -> None:
    module = Called(ConvLSTM).eval()
    axes = {"x": {0: "batch", 1: "time", 3: "height", 4: "width"}}
    path = tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=images(2, 9), dynamic_axes=axes)
    x = torch.randn(3, 5, 2, 6, 8)
    state = (np.zeros((3, 3, 6, 8), np.float32),) * 2
    result = Session(path).run(x.numpy(), state=state)
    wanted, _ = copy.deepcopy(module)(x)
    np.testing.assert_allclose(result.output, wanted.detach().numpy(), rtol=0, atol=5e-6)


class Extra(Memory):
    def forward(self, x: Tensor, state: dict[str, Tensor]) -> Any:
        y, state = super().forward(x, state)
        return y, {**state, "last": y}


class Growing(Memory):
    def forward(self, x: Tensor, state: dict[str, Tensor]) -> Any:
        y, after = super().forward(x, state)
        return y, {**after, "slow": torch.cat([state["slow"], y[:, None]], 1)}


class OtherDtype(Memory):
    def forward(self, x: Tensor, state: dict[str, Tensor]) -> Any:
        y, after = super().forward(x, state)
        return y, {**after, "h": after["h"].double()}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Extra, r"Recurrent\(Extra\): expected y_t and 2 state\(s\) from the cell, as .*'slow'"),
        (Growing, r"Recurrent\(Growing\): a state starts as .*\[2, 2, 6\], .* \w+.*\[2, 3, 6\]"),
        (OtherDtype, r"Recurrent\(OtherDtype\): a state starts as torch.float32"),
    ],
)
def test_what_a_cell_returns_is_checked(
    cell: type[nn.Module], message: str, tmp_path: Path
) -> None:
    with pytest.raises(rnnedge.ExportError, match=message) as caught:
        rnnedge.export(Called(cell), tmp_path / "m.onnx", example_inputs=frames(2, 9))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"h": torch.zeros(1, 2, 6)}, r"expected 2 tensor\(s\), got 1"),
        ((torch.zeros(1, 2, 6), torch.zeros(1, 2, 2, 6)), "expected the structure"),
        ({"h": torch.zeros(2, 6), "slow": torch.zeros(1, 2, 2, 6)}, r"expected \[1, 2, 6\], got"),
        ({"h": torch.zeros(1, 2, 5), "slow": torch.zeros(1, 2, 2, 6)}, r"got \[1, 2, 5\]"),
    ],
)
def test_a_state_that_is_not_the_cell_s_is_refused(state: Any, message: str) -> None:
    with pytest.raises(StateError, match=message):
        Recurrent(Memory())(torch.zeros(3, 2, 4), state)


@pytest.mark.parametrize("sizes", [("6",), ((2, "a"),), (None,)], ids=str)
def test_sizes_are_checked(sizes: Any) -> None:
    with pytest.raises(rnnedge.ExportError, match="expected for each state a size, or a tuple"):
        Recurrent(Memory(), state_sizes=sizes)


def test_it_trains_from_a_state_that_it_returned() -> None:
    layer = Recurrent(Memory())
    x = torch.randn(6, 2, 4)
    whole, _ = layer(x)
    first, state = layer(x[:2])
    second, _ = layer(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    whole.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
