"""What torch fixes or refuses while it traces, and need not: numbers, pooling, dataclasses."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session

X = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.rnn(x)[0])

    def after(self, y: Tensor) -> Any:
        return y


class RangeOfAxes(Base):
    def after(self, y: Tensor) -> Tensor:
        return y.mean(torch.arange(1, y.ndim).tolist())


class IndexFromTensor(Base):
    def after(self, y: Tensor) -> Tensor:
        first, last = torch.tensor([3, 1]).sort().values
        return y[..., int(first) : int(last) + 1] + torch.linspace(0, 1, 3).numpy()[1].item()


class FlagInABuffer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ready", torch.tensor([True, False]))
        self.register_buffer("scale", torch.tensor(2.0))

    def after(self, y: Tensor) -> Tensor:
        if self.ready.all():
            return y
        return y * self.scale if bool(self.ready[0]) and self.scale > 1 else -y


class WrittenTo(Base):
    """A known number that changes in place: what is asked of it is what it is then."""

    def after(self, y: Tensor) -> Tensor:
        sizes = torch.zeros(3)
        sizes[1:] += 2
        view = sizes[:2]
        view.mul_(3)
        return y * torch.stack([sizes, sizes]).sum()


class MadeFromTheInput(Base):
    """Not a constant, although it starts as one."""

    def after(self, y: Tensor) -> Tensor:
        ramp = torch.arange(y.size(1)).to(y) + torch.arange(4).sum()
        return y * ramp.unsqueeze(1)


class CausalPool(Base):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool1d(2, 1, 1)

    def after(self, y: Tensor) -> Tensor:
        return self.rnn(self.pool(y.transpose(1, 2))[:, :, : y.size(1)].transpose(1, 2))[0]


class Pools(Base):
    def after(self, y: Tensor) -> Any:
        z = y.transpose(1, 2)
        strided = torch.max_pool1d(z, 3, 2, 1)
        dilated = nn.functional.max_pool1d(z, 3, stride=1, dilation=2, padding=1)
        return strided, dilated, nn.functional.max_pool1d(z, 2, ceil_mode=True)


@dataclass
class Scores:
    scores: Tensor
    hidden: Any
    count: int = 3


class Dataclass(Base):
    def forward(self, x: Tensor) -> Scores:
        y, h = self.rnn(x)
        return Scores(y, [h, {"inner": Scores(y + 1, None)}])


class NumberBeside(Base):
    def after(self, y: Tensor) -> Any:
        return y, 3, "word", None


MODULES: list[tuple[Base, list[str]]] = [
    (RangeOfAxes(), ["output"]),
    (IndexFromTensor(), ["output"]),
    (FlagInABuffer(), ["output"]),
    (WrittenTo(), ["output"]),
    (MadeFromTheInput(), ["output"]),
    (CausalPool(), ["output"]),
    (Pools(), ["output", "output_1", "output_2"]),
    (Dataclass(), ["scores", "hidden_0", "scores_1"]),
    (NumberBeside(), ["output"]),
]


@pytest.mark.parametrize(
    ("module", "outputs"), MODULES, ids=[type(module).__name__ for module, _ in MODULES]
)
def test_exported_right_at_other_shapes(
    module: Base, outputs: list[str], tmp_path: Path, worker: Worker
) -> None:
    path = tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=(X,), states=False)
    session = Session(path)
    assert [spec.name for spec in session.interface.outputs] == outputs
    twin = copy.deepcopy(module).double()
    for batch, time in ((2, 9), (1, 5)):
        x = np.random.default_rng(time).standard_normal((batch, time, 4)).astype(np.float32)
        wanted = _tensors(twin(torch.from_numpy(x).double()))
        for got, want in zip(session.run(x).outputs.values(), wanted, strict=True):
            assert got.shape == want.shape
            assert np.abs(got - want.detach().numpy()).max() < 2e-6
    assert rnnedge.validate(path, against=module, quick=True, worker=worker)


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    parts = vars(result).values() if isinstance(result, Scores) else result
    parts = parts.values() if isinstance(parts, dict) else parts
    nested = isinstance(result, Scores | dict | tuple | list)
    return [tensor for part in parts for tensor in _tensors(part)] if nested else []


class ByAScalar(Base):
    def forward(self, x: Tensor, scale: Tensor, on: Tensor, count: Tensor) -> Tensor:
        return self.rnn(x)[0] * torch.where(on, scale, -scale) + count


def test_inputs_without_axes(tmp_path: Path, worker: Worker) -> None:
    path, module = tmp_path / "m.onnx", ByAScalar()
    example = (X, torch.tensor(0.5), torch.tensor(True), torch.tensor(2))
    result = rnnedge.export(module, path, example_inputs=example)
    assert [spec.axes for spec in result.contract.interface.data_inputs[1:]] == [(), (), ()]
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report


class Untranslated(Base):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def after(self, y: Tensor) -> Tensor:
        if self.name == "median":
            return y.median(-1).values
        if self.name == "kthvalue":
            return y.kthvalue(2, -1).values
        return torch.cummax(y, 1).values


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("median", r"aten.median at line \d+ of .*: x.sort\(dim\)"),
        ("kthvalue", r"aten.kthvalue at line \d+ of test_traced_forward.py .*select\(dim, k - 1\)"),
        ("cummax", r"aten.cummax at line \d+ of test_traced_forward.py has no translation"),
    ],
)
def test_an_operator_without_translation_is_named_with_its_line(
    name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(Untranslated(name), tmp_path / "m.onnx", example_inputs=(X,))


class MedianBySort(Base):
    def after(self, y: Tensor) -> Tensor:
        return y.sort(1).values.select(1, (y.size(1) - 1) // 2)


def test_what_the_error_says_instead_of_median_is_right(tmp_path: Path) -> None:
    rnnedge.export(MedianBySort(), tmp_path / "m.onnx", example_inputs=(X,), states=False)
    for time in (5, 8):
        x = np.random.default_rng(time).standard_normal((2, time, 4)).astype(np.float32)
        want = Base()(torch.from_numpy(x)).median(1).values.detach().numpy()
        assert np.abs(Session(tmp_path / "m.onnx").run(x).output - want).max() < 1e-6


class ZerosSliced(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("other", torch.zeros(64))
        self.register_buffer("start", torch.zeros(1, 64, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, self.start[:, : x.size(0)])[0]


class TableSliced(Base):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 64, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x + self.table[:, : x.size(1)])[0]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (ZerosSliced(), r"limited to 64 by line \d+ .*: self.start has 64 .*x.new_zeros\(...\)"),
        (TableSliced(), r"limited to 64 by line \d+ .*: self.table has 64 .*torch.arange does"),
    ],
    ids=["zeros", "a table"],
)
def test_a_tensor_that_limits_an_axis_is_named(module: Base, message: str, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))


class SqueezeAll(Base):
    def after(self, y: Tensor) -> Tensor:
        return y[:, -1:].squeeze()


class SqueezeBatch(Base):
    def after(self, y: Tensor) -> Tensor:
        return y.squeeze(0)


class SqueezeTwo(Base):
    def after(self, y: Tensor) -> Tensor:
        return y[:, -1:].squeeze((-3, 1))


def test_squeeze_of_every_axis_is_explained(tmp_path: Path, worker: Worker) -> None:
    path, module = tmp_path / "m.onnx", SqueezeAll()
    result = rnnedge.export(module, path, example_inputs=(X,))
    assert any("drops batch too where it is 1" in note for note in result.notes)
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "axis of 1 dropped"
    assert "where output float32[batch, 4] is said" in str(report)


@pytest.mark.parametrize("module", [SqueezeBatch(), SqueezeTwo()], ids=["one", "two"])
def test_squeeze_of_a_dynamic_axis_is_refused(module: Base, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"squeeze\(.*\) at line .* drops batch where"):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))


def test_squeeze_of_a_fixed_axis_is_right(tmp_path: Path) -> None:
    path, module = tmp_path / "m.onnx", SqueezeBatch()
    rnnedge.export(
        module, path, example_inputs=(X[:1],), dynamic_axes={"x": {1: "time"}}, states=False
    )
    x = np.random.default_rng(0).standard_normal((1, 9, 4)).astype(np.float32)
    want = module(torch.from_numpy(x)).detach().numpy()
    assert np.abs(Session(path).run(x).output - want).max() < 1e-6
