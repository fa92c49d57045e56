"""What cannot be exported is refused in one line that names it, and leaves no file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_exporters.sandbox.session import Worker


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5, batch_first=True)


class LoopOverCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), 5)
        for t in range(x.size(1)):  # the line that is named
            h, c = self.cell(x[:, t], (h, c) if t % 2 else (c, h))
        return h


class BranchOnLength(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(1) > 50:
            x = x * 2
        return self.rnn(x)[0]


class FlattenedTime(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(35, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0].flatten(1))


class BranchOnValues(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = x * 2
        return self.rnn(x)[0]


class Untranslated(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(self.rnn(x)[0])


class NoTensors(Base):
    def forward(self, x: Tensor) -> str:
        self.rnn(x)
        return "nothing"


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Fine(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Uncopyable(Fine):
    def __deepcopy__(self, memo: Any) -> "Uncopyable":
        raise TypeError("holds a lock")


X = torch.zeros(3, 7, 4)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (LoopOverCell(), r"the loop at line \d+ of test_refused.py .*; it carries h and c\."),
        (LoopOverCell(), r"rnnedge\.Recurrent\(cell\)"),
        (BranchOnLength(), r"axis time would be limited to 50 by line \d+ of test_refused.py"),
        (FlattenedTime(), r"axis 1 of x \(time\) would be fixed to 7 by line \d+ of test_refused"),
        (BranchOnValues(), r"depends on the values of a tensor .* at line \d+ of test_refused.py"),
        (Untranslated(), r"operator \S*bessel_j0\S* .*has no translation"),
        (NoTensors(), "expected tensors as its result"),
        (Plain(), r"expected nn\.RNN, nn\.LSTM, nn\.GRU or their cells inside"),
        (Uncopyable(), r"cannot be copied \(TypeError: holds a lock\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_refused_in_one_line(
    module: nn.Module, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(rnnedge.ExportError, match=message) as caught:
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")  # torch's pages of text are for verbose=True


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (None, "expected example_inputs"),
        ((), "missing a required argument: 'x'"),
        ((X, X), "too many positional arguments"),
        ({"y": X}, "missing a required argument: 'x'"),
        ((torch.zeros(3, 7, 6),), r"does not run on the example inputs x \[3, 7, 6\]"),
        ((1.5,), r"or a NumPy array among example_inputs, got none \(x is a float\): torch.tensor"),
    ],
    ids=["none", "too few", "too many", "wrong name", "wrong size", "no tensor"],
)
def test_example_inputs_that_do_not_fit(examples: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(Fine(), tmp_path / "m.onnx", example_inputs=examples)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"y": {0: "batch"}}, "no input 'y'; there are x"),
        ({"x": {3: "time"}}, "x has the axes 0 to 2, got 3"),
        ({"x": {0: "a batch"}}, "expected a name for x"),
        ({"x": {2: "features"}}, r"axis 2 of x \(features\) would be fixed to 4"),
    ],
    ids=["input", "axis", "name", "fixed"],
)
def test_dynamic_axes_that_do_not_fit(axes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(Fine(), tmp_path / "m.onnx", example_inputs=(X,), dynamic_axes=axes)


def test_dynamic_axes_are_the_only_dynamic_ones(tmp_path: Path) -> None:
    axes = {"x": {1: "steps"}}
    result = rnnedge.export(
        Fine(), tmp_path / "m.onnx", example_inputs=(X,), dynamic_axes=axes, states=False
    )
    assert result.contract.interface.inputs[0].axes == (3, "steps", 4)
    assert result.contract.interface.outputs[0].axes == (3, "steps", 5)


def test_scripted_module(tmp_path: Path) -> None:
    retires = (DeprecationWarning, FutureWarning)  # up to torch 2.14, and from 2.15 on
    with pytest.warns(retires, match="torch.jit.script"):
        scripted = torch.jit.script(Fine())
    with pytest.raises(rnnedge.ExportError, match="got a scripted one"):
        rnnedge.export(scripted, tmp_path / "m.onnx", example_inputs=(X,))


def test_failed_export_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    module = BranchOnValues()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(rnnedge.ExportError):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    assert module.training
    assert "forward" not in vars(module.rnn)
    assert "_pack_padded_sequence" not in vars(torch._VF)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("opset", [19, 20, 21, 22, 23])
def test_other_opsets(opset: int, tmp_path: Path, worker: Worker) -> None:
    module = Fine()
    result = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,), opset=opset)
    assert result.contract.opset == opset
    assert rnnedge.validate(tmp_path / "m.onnx", against=module, worker=worker)


def test_opset_below_that_of_modules(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match="expected 18 or more for a module, got 17"):
        rnnedge.export(Fine(), tmp_path / "m.onnx", example_inputs=(X,), opset=17)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_modules_in_other_dtypes_are_exported_as_float32(
    dtype: torch.dtype, tmp_path: Path, worker: Worker
) -> None:
    module = Fine().to(dtype)
    result = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X.to(dtype),))
    assert result.contract.interface.inputs[0].dtype == "float32"
    assert rnnedge.validate(tmp_path / "m.onnx", against=module, worker=worker)
