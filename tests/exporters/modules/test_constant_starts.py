"""States that start from a constant other than zero are lifted, with a flag for each row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session


class Learned(nn.Module):
    """A learned start of two layers; the layer behind it starts from zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.next = nn.LSTM(4, 6, 2, batch_first=True), nn.GRU(6, 3, batch_first=True)
        self.h_0, self.c_0 = (nn.Parameter(torch.randn(2, 1, 6)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        start = self.h_0.expand(-1, x.size(0), -1).contiguous(), self.c_0.repeat(1, x.size(0), 1)
        output: Tensor = self.next(self.rnn(x, start)[0])[0]
        return output


class Loop(nn.Module):
    """A Python loop whose states start from ones and from -infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h, most, outputs = x.new_ones(x.size(0), 6), x.new_full((x.size(0), 6), -torch.inf), []
        for t in range(x.size(1)):
            h = torch.tanh(self.u(h) + self.w(x[:, t]))
            most = torch.maximum(most, h)
            outputs.append(h + most)
        return torch.stack(outputs, 1)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.start = nn.GRUCell(4, 6), nn.Parameter(torch.randn(6))

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.start.expand(x.size(0), -1), x.new_zeros(x.size(0), 2, 6)

    def forward(self, x: Tensor, h: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.cell(x, h)
        past = torch.stack([past[:, 1], h], 1)
        return past.sum(1), h, past


MODULES: dict[str, Callable[[], nn.Module]] = {
    "layers": Learned,
    "loop": Loop,
    "cell": lambda: rnnedge.Recurrent(Cell(), batch_first=True),
}
STATES = {
    "layers": ["rnn.h_0", "rnn.c_0", "rnn.started_0", "next.h_0"],
    "loop": ["loop.h_0", "loop.c_0", "loop.started_0"],
    "cell": ["h_0", "c_0", "started_0"],
}


@pytest.fixture(scope="module", params=MODULES)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, nn.Module, Path]:
    torch.manual_seed(0)
    module = MODULES[request.param]().eval()
    path = tmp_path_factory.mktemp(request.param) / "m.onnx"
    rnnedge.export(module, path, example_inputs=(torch.randn(2, 9, 4),), states=True)
    return request.param, module, path


Exported = tuple[str, nn.Module, Path]


def whole(module: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        answer = module(torch.from_numpy(x))
    output: Tensor = answer if isinstance(answer, Tensor) else answer[0]
    return output.numpy()


def test_states_have_a_flag(exported: Exported) -> None:
    name, _, path = exported
    assert [pair.input for pair in Session(path).interface.states] == STATES[name]


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
def test_a_stream_starts_from_the_constant(exported: Exported, engine: str) -> None:
    _, module, path = exported
    if engine == "native":
        pytest.importorskip("rnnedge_native")
    session = Session(path, threads=1, engine=engine)  # type: ignore[arg-type]
    x = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
    expected = whole(module, x)
    stream = session.stream(batch=2)
    for t in range(6):
        answer = stream.step(x[:, t])
        step = answer if isinstance(answer, np.ndarray) else next(iter(answer.values()))
        np.testing.assert_allclose(step, expected[:, t], rtol=0, atol=2e-6)
    stream.reset(rows=[1])  # which starts again, while the other row goes on
    answer = stream.step(x[:, 0])
    step = answer if isinstance(answer, np.ndarray) else next(iter(answer.values()))
    np.testing.assert_allclose(step[1], expected[1, 0], rtol=0, atol=2e-6)
    assert np.abs(step[0] - expected[0, 0]).max() > 1e-3


def test_it_is_validated_from_states_too(exported: Exported, worker: Worker) -> None:
    _, module, path = exported
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report


class OfTheLength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        start = x.new_ones(1, x.size(0), 6) * x.size(1) / 10
        output: Tensor = self.rnn(x, start)[0]
        return output


def test_a_start_that_depends_on_the_length_is_not_lifted(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    result = rnnedge.export(OfTheLength(), path, example_inputs=(torch.randn(2, 9, 4),))
    assert not result.contract.interface.states
    assert "chunks of" in " ".join(result.notes)
