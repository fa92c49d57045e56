"""Subclasses of recurrent layers with their own forward, and modules without such layers."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnedge
from rnnedge import Recurrent
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session


class OnlyOutput(nn.GRU):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


class TimeSecond(nn.LSTM):
    """Takes the batch first, and returns its states under the names of lifted ones."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        y, h = super().forward(x.transpose(0, 1), hx)
        return torch.relu(y.transpose(0, 1)), h


class Twice(nn.RNN):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y, h = super().forward(x)
        return super().forward(y, h)[0]


class Doubled(OnlyOutput):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Packing(nn.LSTM):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        output: Any = super().forward(packed)[0]  # type: ignore[arg-type]
        return pad_packed_sequence(output, total_length=x.shape[0])[0]


class Leaky(nn.Module):
    hidden_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = 0.5 * h + 0.5 * torch.tanh(self.input(x) + self.state(h))
        return h, h


class OwnRecurrent(Recurrent):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x + 1)[0]


class Inside(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn = layer
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        result = self.rnn(x)
        return self.head(result[0] if isinstance(result, tuple) else result)


X = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
MODULES: dict[str, Callable[[], nn.Module]] = {
    "output alone": lambda: OnlyOutput(4, 4),
    "batch first": lambda: TimeSecond(4, 4),
    "twice": lambda: Twice(4, 4, nonlinearity="relu"),
    "of a subclass": lambda: Doubled(4, 4, bidirectional=True),
    "inside": lambda: Inside(TimeSecond(4, 4)),
    "own cell": lambda: Inside(OwnRecurrent(Leaky())),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_calls_the_layers_forward_is_exported(
    name: str, tmp_path: Path, worker: Worker
) -> None:
    torch.manual_seed(0)
    module, path = MODULES[name](), tmp_path / "m.onnx"
    result = rnnedge.export(module, path, example_inputs=(X,))
    assert [layer.cell for layer in result.contract.layers]
    twin = copy.deepcopy(module).double()
    for time, batch in ((8, 2), (1, 1)):
        x = np.random.default_rng(time).standard_normal((time, batch, 4)).astype(np.float32)
        want = twin(torch.from_numpy(x).double())
        want = want[0] if isinstance(want, tuple) else want
        got = next(iter(Session(path).run(x).outputs.values()))
        assert np.abs(got - want.detach().numpy()).max() < 1e-6
    # States that are lifted out of the layer are put in where the subclass calls it.
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report


def test_a_packing_subclass(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Packing(4, 4)
    lengths = torch.tensor([3, 5, 1])
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X, lengths), states=False)
    x = np.random.default_rng(0).standard_normal((9, 2, 4)).astype(np.float32)
    rows = np.array([4, 9])
    want = module.double()(torch.from_numpy(x).double(), torch.from_numpy(rows))
    got = Session(tmp_path / "m.onnx").run(x, lengths=rows).output
    assert np.abs(got - want.detach().numpy()).max() < 1e-6


def test_int8_of_a_subclass_is_proven(tmp_path: Path, worker: Worker) -> None:
    torch.manual_seed(0)
    module, path = TimeSecond(4, 64), tmp_path / "m.onnx"
    data = [{"x": X.numpy()}, {"x": -X.numpy()}]
    rnnedge.export(module, path, example_inputs=(X,), quantize="int8:all", calibrate=data)
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report
    assert report.rounding is not None
    assert report.rounding.integers


class HandWritten(nn.Module):
    """A GRU as torchrl and many papers write it: a Python loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(8, 8)
        self.new = nn.Linear(8, 4)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        r, z = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        return z * h + (1 - z) * torch.tanh(self.new(torch.cat([x, r * h], 1)))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 4)
        outputs = []
        for x_t in x.unbind(0):
            h = self.step(x_t, h)
            outputs.append(h)
        return torch.stack(outputs)


class OwnRecurrence(nn.GRU):
    forward = HandWritten.forward  # type: ignore[assignment]

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight_ih_l0[:4].T + h @ self.weight_hh_l0[:4].T)


class Alternating(HandWritten):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 4)
        for t, x_t in enumerate(x):  # the loop that is named
            h = self.step(x_t, h) if t % 2 else torch.tanh(h + x_t)
        return h


class OverTheBatch(HandWritten):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row.cumsum(0) for row in x.transpose(0, 1)])


class NoLoop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(x)
        return x


class NeverCalled(nn.GRU):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return nn.GRU.forward(self, x)[0]


@pytest.mark.parametrize("module", [HandWritten(), Inside(OwnRecurrence(4, 4))])
def test_hand_written_recurrence_is_a_scan(
    module: nn.Module, tmp_path: Path, worker: Worker
) -> None:
    path = tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=(X,))
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            Alternating(),
            r"the loop at line \d+ of test_own_forwards.py \(for t, x_t in enumerate\(x\): .*\) "
            r"cannot become a Scan: .*; it carries h\. .* forward\(x_t, h\) returns \(y_t, h\), "
            r"and run it with rnnedge.Recurrent\(cell\)",
        ),
        (OverTheBatch(), r"a Python loop \(line \d+ .*for row in x.* over axis 1 of x\)"),
        (NoLoop(), r"found none: torch.onnx.export serves a module without recurrence"),
        (NeverCalled(4, 4), r"does not run its recurrent layers \(itself\).*super\(\).forward"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else "",
)
def test_without_a_recurrent_layer_the_loop_is_named(
    module: nn.Module, message: str, tmp_path: Path
) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    assert not list(tmp_path.iterdir())
